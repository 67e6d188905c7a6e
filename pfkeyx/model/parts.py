"""What SAs and policies are made of: keys, algorithms at work, limits, marks and the rest."""

import os
from dataclasses import dataclass, field, replace
from typing import Self

from pfkeyx.algorithms import Algorithm
from pfkeyx.model.addresses import IPAddress
from pfkeyx.model.numbers import NO_OFFLOAD_FLAGS, OffloadFlag


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


#: What any packet has, and what is as good as none.
NO_MARK = Mark(0, 0)


def found_by(mark: Mark | None, if_id: int = 0) -> str:
    """Return, for people, what an SA or a policy is found by beside its addresses, beginning with a space."""
    return (f" mark {mark}" if mark is not None else "") + (f" if_id {if_id}" if if_id else "")


@dataclass(frozen=True, slots=True)
class _Encap:
    """The ports of the outer header, in host order, and the peer's address as it was before the NAT (RFC 3948 §3.1.2).

    Linux keeps `original_address` and makes no use of it.
    """

    source_port: int = 4500
    destination_port: int = 4500
    original_address: IPAddress | None = None

    def reversed(self) -> Self:
        """Return the encapsulation of the other direction."""
        return replace(self, source_port=self.destination_port, destination_port=self.source_port)


@dataclass(frozen=True, slots=True)
class UdpEncap(_Encap):
    """ESP in UDP (RFC 3948)."""

    def __str__(self) -> str:
        return f"udp {self.source_port} -> {self.destination_port}"


@dataclass(frozen=True, slots=True)
class TcpEncap(_Encap):
    """ESP in TCP (RFC 9329); the TCP socket has to be somebody's, who gives it the "espintcp" protocol."""

    def __str__(self) -> str:
        return f"tcp {self.source_port} -> {self.destination_port}"


Encap = UdpEncap | TcpEncap


@dataclass(frozen=True, slots=True)
class Offload:
    """The interface whose hardware does the work of an SA or a policy.

    For cryptography alone it is a wish: where the interface cannot, the kernel does the work itself, and the SA is read
    back without. A policy is given to hardware with `OffloadFlag.PACKET` only, by kernels since 6.2; others ignore it.
    """

    interface_index: int
    flags: OffloadFlag = NO_OFFLOAD_FLAGS


@dataclass(frozen=True, slots=True)
class Iptfs:
    """How an SA in IPTFS mode gathers and sends packets (RFC 9347); None is the kernel's own choice.

    Times are in microseconds, sizes in octets: `drop_time_us` is how long a missing packet is waited for,
    `reorder_window` how many packets may be out of order, `init_delay_us` how long the first packet waits for others,
    `queue_octets` how much may wait, `packet_octets` the size of what is sent, 0 for the path's.
    """

    drop_time_us: int | None = None
    reorder_window: int | None = None
    dont_fragment: bool = False
    init_delay_us: int | None = None
    queue_octets: int | None = None
    packet_octets: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """When an SA or policy ends; None is never.

    `seconds` count from its making; `idle_seconds` of an SA from its first use, of a policy from its last. Linux counts
    neither `octets` nor `packets` for a policy.
    """

    octets: int | None = None
    packets: int | None = None
    seconds: int | None = None
    idle_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Soft and hard limits (RFC 2367 §2.3.2): at the soft one a daemon is warned, at the hard one it is over."""

    soft: Limit = Limit()
    hard: Limit = Limit()


NO_LIMITS = Lifetime()


@dataclass(frozen=True, slots=True)
class Usage:
    """What has gone through: octets, packets, when it was made and first used (epoch seconds, 0 = never).

    Linux counts neither octets nor packets for a policy, and its `first_used` is when it was used last. Of an SA, some
    kernels tell `last_used` over XFRM.
    """

    octets: int
    packets: int
    added: int
    first_used: int
    last_used: int | None = None


@dataclass(frozen=True, slots=True)
class Failures:
    """Packets that an inbound SA dropped: too old for its window, seen before, and with a wrong ICV."""

    too_old: int
    replayed: int
    integrity: int


@dataclass(frozen=True, slots=True)
class Replay:
    """Sequence numbers: last one sent, highest one received, and the received ones below it as window bits.

    Linux has two forms of a window. One with ESN or more than 32 packets has the `extended` one, where the bits are a
    ring of words; a smaller one may have it too, and has to be written as it was read.
    """

    outbound: int
    inbound: int
    bitmap: tuple[int, ...] = ()
    extended: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that this model does not name, kept as it came so that an update gives it back.

    Its bytes are not shown, since nobody knows that they are no key.

    >>> Attribute(99, bytes(4))
    Attribute(99, 4 bytes)
    """

    number: int
    data: bytes

    def __repr__(self) -> str:
        return f"Attribute({self.number}, {len(self.data)} bytes)"


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """A label for a security module (RFC 2367's successor of sensitivities); Linux ignores it where no module wants it.

    `algorithm` and `doi` are 1 and 1 for SELinux (XFRM_SC_ALG_SELINUX, XFRM_SC_DOI_LSM).
    """

    context: bytes
    algorithm: int = 1
    doi: int = 1
