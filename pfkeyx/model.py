"""What an IPsec stack holds, as values: SAs, policies, and what they are made of.

Everything is a frozen, slotted dataclass of `ipaddress` types, ints and enums; nothing here knows how a
kernel spells it, checks it against a kernel, or does I/O. SPIs and ports are ints in host order.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from typing import Self

from pfkeyx.algorithms import Algorithm

IPAddress = IPv4Address | IPv6Address
#: A network; an interface where the kernel keeps host bits beyond the prefix, which a network cannot hold.
Prefix = IPv4Network | IPv6Network | IPv4Interface | IPv6Interface


class _OpenEnum(IntEnum):
    """An enum of what has a name here; a kernel's other numbers become members named after themselves."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = str(value)
        member._value_ = value
        return member


class Protocol(_OpenEnum):
    """An IPsec protocol, by its IP protocol number."""

    ESP = 50
    AH = 51
    IPCOMP = 108

    def __str__(self) -> str:
        return self.name.lower()


class Mode(_OpenEnum):
    """How an SA wraps packets (RFC 4301 §3.2)."""

    TRANSPORT = 0
    TUNNEL = 1
    BEET = 4

    def __str__(self) -> str:
        return self.name.lower()


class Direction(_OpenEnum):
    """Where in a packet's way a policy stands; FORWARD is for what arrived through a tunnel and goes on.

    Numbers beyond these are policies of single sockets, which a dump shows and nobody else can change.
    """

    IN = 0
    OUT = 1
    FORWARD = 2

    def __str__(self) -> str:
        return "fwd" if self is Direction.FORWARD else self.name.lower()


class Action(IntEnum):
    """What a policy does with a packet; ALLOW means "through the templates, if there are any"."""

    ALLOW = 0
    BLOCK = 1

    def __str__(self) -> str:
        return self.name.lower()


class SAState(IntEnum):
    """The life of an SA (RFC 2367 §1.4)."""

    LARVAL = 0
    MATURE = 1
    DYING = 2
    DEAD = 3


class SAFlag(IntFlag):
    """Flags of an SA that both kernel interfaces know (`XFRM_STATE_*`, `SADB_SAFLAGS_*`)."""

    NO_ECN = 1
    DECAP_DSCP = 2
    NO_PMTU_DISCOVERY = 4
    WILDCARD_RECEIVE = 8
    ICMP = 16
    AF_UNSPEC = 32
    ALIGN4 = 64
    ESN = 128


NO_FLAGS = SAFlag(0)


class Key:
    """Key bytes that are never shown: `repr` gives their number only.

    >>> Key(bytes(16))
    Key(16 bytes)
    """

    __slots__ = ("_bytes",)

    def __init__(self, key: bytes | bytearray) -> None:
        self._bytes = bytes(key)

    @classmethod
    def generate(cls, size: int) -> Self:
        """Return a fresh random key of `size` bytes, salt included where the algorithm has one."""
        return cls(os.urandom(size))

    def reveal(self) -> bytes:
        """Return the key bytes, for the kernel or for a caller who is entitled to them."""
        return self._bytes

    @property
    def bits(self) -> int:
        """The key's length in bits."""
        return 8 * len(self._bytes)

    @property
    def is_hidden(self) -> bool:
        """Whether these are only zeros, which is what a locked-down kernel shows instead of a key."""
        return len(self._bytes) > 0 and not any(self._bytes)

    def __len__(self) -> int:
        return len(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __repr__(self) -> str:
        return f"Key({len(self._bytes)} bytes)"


@dataclass(frozen=True, slots=True)
class _Keyed:
    """An algorithm at work; 0 `icv_bits` are its usual ones."""

    algorithm: Algorithm
    key: Key
    icv_bits: int = 0

    def __post_init__(self) -> None:
        if self.icv_bits == 0 and self.algorithm.icv_bits:
            object.__setattr__(self, "icv_bits", self.algorithm.icv_bits[0])


@dataclass(frozen=True, slots=True)
class Encryption(_Keyed):
    """An encryption algorithm and its key; an AEAD's key ends in the salt, and 0 `icv_bits` are its usual ones."""


@dataclass(frozen=True, slots=True)
class Authentication(_Keyed):
    """An integrity algorithm, its key, and how many bits of its output are sent; 0 are the usual ones."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A packet mark: matches where `packet & mask == value`."""

    value: int
    mask: int = 0xFFFFFFFF

    def __str__(self) -> str:
        return f"{self.value:#x}/{self.mask:#x}"


@dataclass(frozen=True, slots=True)
class UdpEncap:
    """ESP in UDP (RFC 3948): the ports of the outer header, in host order."""

    source_port: int = 4500
    destination_port: int = 4500

    def reversed(self) -> "UdpEncap":
        """Return the encapsulation of the other direction."""
        return UdpEncap(self.destination_port, self.source_port)

    def __str__(self) -> str:
        return f"udp {self.source_port} -> {self.destination_port}"


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a selector, in host order; matches where `port & mask == value`."""

    value: int
    mask: int = 0xFFFF


@dataclass(frozen=True, slots=True)
class Selector:
    """Which packets (RFC 4301 §4.4.1.1); protocol 0 and ports None match any."""

    source: Prefix
    destination: Prefix
    protocol: int = 0
    source_port: Port | None = None
    destination_port: Port | None = None
    interface_index: int = 0
    user: int = 0

    def __str__(self) -> str:
        protocol = f" protocol {self.protocol}" if self.protocol else ""
        return f"{self.source} -> {self.destination}{protocol}"


@dataclass(frozen=True, slots=True)
class Limit:
    """When an SA or policy ends; None is never. `seconds` count from its making, `idle_seconds` from first use."""

    octets: int | None = None
    packets: int | None = None
    seconds: int | None = None
    idle_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Soft and hard limits (RFC 2367 §2.3.2): at the soft one a daemon is warned, at the hard one it is over."""

    soft: Limit = Limit()
    hard: Limit = Limit()


@dataclass(frozen=True, slots=True)
class Usage:
    """What has gone through: octets, packets, when it was made and first used (epoch seconds, 0 = never)."""

    octets: int
    packets: int
    added: int
    first_used: int


@dataclass(frozen=True, slots=True)
class Replay:
    """Sequence numbers: last one sent, highest one received, and the received ones below it as window bits."""

    outbound: int
    inbound: int
    bitmap: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that this model does not name, kept as it came so that an update gives it back."""

    number: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SAId:
    """What an SA is looked up by (RFC 4301 §4.1): destination, SPI, protocol, and Linux's mark."""

    destination: IPAddress
    spi: int
    protocol: Protocol = Protocol.ESP
    mark: Mark | None = None

    def __str__(self) -> str:
        mark = f" mark {self.mark}" if self.mark else ""
        return f"{self.protocol} {self.spi:#010x} to {self.destination}{mark}"


@dataclass(frozen=True, slots=True)
class SA:
    """A security association: how it is found, what it does, and, when it was read, how it stands.

    `state`, `usage` and `replay` are the kernel's and are ignored in what is written. PF_KEY does not tell `replay`,
    XFRM not `state`; they are None then. So is `selector` where the SA takes every packet.
    """

    id: SAId
    source: IPAddress
    mode: Mode = Mode.TUNNEL
    reqid: int = 0
    encryption: Encryption | None = None
    authentication: Authentication | None = None
    encap: UdpEncap | None = None
    selector: Selector | None = None
    lifetime: Lifetime = Lifetime()
    replay_window: int = 32
    flags: SAFlag = NO_FLAGS
    if_id: int = 0
    other: tuple[Attribute, ...] = ()
    state: SAState | None = None
    usage: Usage | None = None
    replay: Replay | None = None

    @property
    def destination(self) -> IPAddress:
        """The destination address, which is part of the SA's identity."""
        return self.id.destination

    @property
    def effective_selector(self) -> Selector:
        """The SA's own selector, or the one of every packet of its family, which is what None means to the kernel."""
        return self.selector or any_selector(self.source.version)

    @property
    def esn(self) -> bool:
        """Whether sequence numbers have 64 bits (RFC 4303 §2.2.1)."""
        return SAFlag.ESN in self.flags

    def as_written(self) -> "SA":
        """Return the SA without what the kernel counts: two SAs made alike are equal in this form."""
        return replace(self, state=None, usage=None, replay=None)

    def __str__(self) -> str:
        return f"{self.id.protocol} {self.id.spi:#010x} {self.source} -> {self.destination}"


@dataclass(frozen=True, slots=True)
class Template:
    """What a policy asks for: an SA of this protocol, mode and reqid, and in tunnel mode between these addresses.

    Without `source` and `destination` it is a transport template. `optional` lets packets pass without the SA
    when there is none (RFC 2367's successors call it level "use"). The masks say which algorithms are allowed.
    """

    protocol: Protocol = Protocol.ESP
    mode: Mode = Mode.TUNNEL
    source: IPAddress | None = None
    destination: IPAddress | None = None
    reqid: int = 0
    spi: int = 0
    optional: bool = False
    share: int = 0
    algorithm_masks: tuple[int, int, int] = (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class PolicyId:
    """What a policy is looked up by."""

    selector: Selector
    direction: Direction
    mark: Mark | None = None
    if_id: int = 0
    type: int = 0

    def __str__(self) -> str:
        return f"{self.direction} {self.selector}"


@dataclass(frozen=True, slots=True)
class Policy:
    """An entry of the SPD (RFC 4301 §4.4.1); of two that fit, the one with the lower `priority` wins.

    `index` and `usage` are the kernel's and are ignored in what is written.
    """

    selector: Selector
    direction: Direction
    templates: tuple[Template, ...] = ()
    action: Action = Action.ALLOW
    priority: int = 0
    lifetime: Lifetime = Lifetime()
    mark: Mark | None = None
    if_id: int = 0
    type: int = 0
    flags: int = 0
    share: int = 0
    other: tuple[Attribute, ...] = ()
    index: int = 0
    usage: Usage | None = None

    @property
    def id(self) -> PolicyId:
        """What this policy is looked up by."""
        return PolicyId(self.selector, self.direction, self.mark, self.if_id, self.type)

    def as_written(self) -> "Policy":
        """Return the policy without what the kernel counts and numbers."""
        return replace(self, index=0, usage=None)

    def __str__(self) -> str:
        return str(self.id)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One tunnel as its owner sees it: `local` and `remote` ends (RFC 4555), and the networks behind them.

    It builds the SAs and policies of an ESP tunnel, so that the two sides of each agree.
    """

    local: IPAddress
    remote: IPAddress
    local_net: Prefix
    remote_net: Prefix
    reqid: int
    encap: UdpEncap | None = None

    def outbound(self, spi: int, encryption: Encryption, authentication: Authentication | None = None) -> SA:
        """Return the SA that the peer named with `spi`, from local to remote."""
        return SA(
            SAId(self.remote, spi),
            self.local,
            reqid=self.reqid,
            encryption=encryption,
            authentication=authentication,
            encap=self.encap,
        )

    def inbound(self, spi: int, encryption: Encryption, authentication: Authentication | None = None) -> SA:
        """Return the SA that we named with `spi`, from remote to local."""
        return SA(
            SAId(self.local, spi),
            self.remote,
            reqid=self.reqid,
            encryption=encryption,
            authentication=authentication,
            encap=self.encap.reversed() if self.encap else None,
        )

    def policies(self) -> tuple[Policy, Policy, Policy]:
        """Return the out, in and forward policies."""
        outward = Selector(self.local_net, self.remote_net)
        inward = Selector(self.remote_net, self.local_net)
        to_remote = (Template(source=self.local, destination=self.remote, reqid=self.reqid),)
        to_local = (Template(source=self.remote, destination=self.local, reqid=self.reqid),)
        return (
            Policy(outward, Direction.OUT, to_remote),
            Policy(inward, Direction.IN, to_local),
            Policy(inward, Direction.FORWARD, to_local),
        )


def any_selector(version: int) -> Selector:
    """Return the selector of every packet of IP version 4 or 6."""
    everything = ip_network("0.0.0.0/0" if version == 4 else "::/0")
    return Selector(everything, everything)


def same_family(addresses: Iterable[IPAddress | Prefix]) -> bool:
    """Return whether all addresses are of one IP version."""
    return len({address.version for address in addresses}) <= 1


def prefix_address(prefix: Prefix) -> IPAddress:
    """Return the address of a prefix, with the host bits that an interface keeps."""
    # An interface is a network too: it says .ip where it keeps host bits.
    return prefix.ip if isinstance(prefix, (IPv4Interface, IPv6Interface)) else prefix.network_address


def prefix_length(prefix: Prefix) -> int:
    """Return the number of bits of a prefix that count."""
    return prefix.network.prefixlen if isinstance(prefix, (IPv4Interface, IPv6Interface)) else prefix.prefixlen


def make_prefix(address: IPAddress, length: int) -> Prefix:
    """Return the network of the first `length` bits, or an interface where `address` has host bits beyond them."""
    interface = ip_interface((address, length))
    return interface.network if interface.network.network_address == address else interface
