"""Security associations, and what they are found by."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from ipaddress import ip_network
from struct import Struct
from types import MappingProxyType
from typing import Any, ClassVar

from pfkeyx.algorithms import Algorithm
from pfkeyx.model.addresses import IPAddress, Prefix, Selector, any_selector, prefix_host
from pfkeyx.model.deferred import Deferred, Handle, changed
from pfkeyx.model.numbers import NO_EXTRA_FLAGS, NO_FLAGS, Direction, Mode, Protocol, SAExtraFlag, SAFlag, SAState
from pfkeyx.model.parts import (
    NO_LIMITS,
    NO_MARK,
    Attribute,
    Authentication,
    Encap,
    Encryption,
    Failures,
    Iptfs,
    Lifetime,
    Mark,
    Offload,
    Replay,
    SecurityContext,
    Usage,
    found_by,
)

#: As the C core has them of what is read (PFKEYX_SA_HANDLE).
_HANDLE = Struct(">BIB16sII")


@dataclass(frozen=True, slots=True)
class SAId:
    """What an SA is looked up by (RFC 4301 §4.1): destination, SPI, protocol, and Linux's mark.

    The kernel compares only the bits of the SA's own mask, so that one without a mark is found by any.
    """

    destination: IPAddress
    spi: int
    protocol: Protocol = Protocol.ESP
    mark: Mark | None = None

    @property
    def handle(self) -> Handle:
        """The identity as bytes, for looking up."""
        address, mark = self.destination, self.mark or NO_MARK
        return _HANDLE.pack(self.protocol, self.spi, address.version, address.packed, mark.value, mark.mask)

    def __str__(self) -> str:
        return f"{self.protocol} {self.spi:#010x} to {self.destination}{found_by(self.mark)}"


@dataclass(frozen=True, slots=True, eq=False)
class SA(Deferred):
    """A security association: how it is found, what it does, and, when it was read, how it stands.

    `state`, `usage`, `replay` and `failures` are the kernel's and are ignored in what is written, but for
    `Engine.restore_sa`. PF_KEY does not tell `replay` and `failures`, XFRM not `state`; they are None then. So is
    `selector` where the SA takes every packet of its own IP version, and over PF_KEY also where it takes those of the
    other. IPComp has a `compression`, neither of the other algorithms, and no replay window.

    `output_mark` is put on what the SA has wrapped; `tfc_padding` is the size in octets that packets are padded to
    (RFC 4303 §2.7). `direction`, where it is given, makes the kernel check that the rest fits it. An outbound SA in UDP
    keeps its NAT's mapping alive every `nat_keepalive_s` seconds; an inbound one tells of a new mapping (`NatMapping`)
    at most every `mapping_threshold_s` seconds. `cpu` is the only one that uses the SA (RFC 9611). `care_of` is Mobile
    IPv6's (RFC 6275).
    """

    id: SAId
    source: IPAddress
    mode: Mode = Mode.TUNNEL
    reqid: int = 0
    encryption: Encryption | None = None
    authentication: Authentication | None = None
    compression: Algorithm | None = None
    encap: Encap | None = None
    selector: Selector | None = None
    lifetime: Lifetime = NO_LIMITS
    replay_window: int = 32
    flags: SAFlag = NO_FLAGS
    extra_flags: SAExtraFlag = NO_EXTRA_FLAGS
    if_id: int = 0
    output_mark: Mark | None = None
    offload: Offload | None = None
    tfc_padding: int = 0
    direction: Direction | None = None
    nat_keepalive_s: int = 0
    mapping_threshold_s: int = 0
    cpu: int | None = None
    iptfs: Iptfs | None = None
    care_of: IPAddress | None = None
    security_context: SecurityContext | None = None
    other: tuple[Attribute, ...] = ()
    state: SAState | None = None
    usage: Usage | None = None
    replay: Replay | None = None
    failures: Failures | None = None

    identifying: ClassVar[Set[str]] = frozenset({"id"})
    most_wanted: ClassVar[tuple[str, ...]] = ("handle", "id", "source", "mode", "reqid")
    counted: ClassVar[Mapping[str, Any]] = MappingProxyType(dict.fromkeys(("state", "usage", "replay", "failures")))

    def make_handle(self) -> Handle:
        """See `Deferred.make_handle`."""
        return self.id.handle

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

    def moved(self, source: IPAddress, destination: IPAddress, encap: Encap | None) -> "SA":
        """Return the SA as it is between new addresses, in `encap`, None for none.

        It takes the same packets as before, but in transport mode, where a selector that is of its two ends follows
        them. Without an encapsulation there is no NAT whose mapping is kept or told of, and an address from before a
        NAT is of one IP version.
        """
        if encap is not None and encap.original_address is not None:
            is_of_one = encap.original_address.version == destination.version
            encap = encap if is_of_one else replace(encap, original_address=None)
        changes: dict[str, Any] = {"source": source, "encap": encap}
        changes["selector"] = self._moved_selector(source, destination)
        sa_id = self.id
        if destination != sa_id.destination:
            changes["id"] = SAId(destination, sa_id.spi, sa_id.protocol, sa_id.mark)
        if encap is None and self.encap is not None:
            changes |= {"nat_keepalive_s": 0, "mapping_threshold_s": 0}
        # What stays needs not be worked out again.
        return changed(self, **{name: value for name, value in changes.items() if value is not getattr(self, name)})

    def _moved_selector(self, source: IPAddress, destination: IPAddress) -> Selector | None:
        if self.selector is None:
            has_same_version = source.version == self.source.version and self.mode is not Mode.TRANSPORT
            if has_same_version or SAFlag.AF_UNSPEC in self.flags:
                return None
        selector = self.effective_selector
        if self.mode is Mode.TRANSPORT:
            if (prefix_host(selector.source), prefix_host(selector.destination)) == (self.source, self.destination):
                return replace(selector, source=ip_network(source), destination=ip_network(destination))
            if selector == any_selector(self.source.version):
                return None
        is_usual = selector == any_selector(source.version) and SAFlag.AF_UNSPEC not in self.flags
        return None if is_usual else selector

    def __str__(self) -> str:
        return f"{self.id.protocol} {self.id.spi:#010x} {self.source} -> {self.destination}"


@dataclass(frozen=True, slots=True)
class SPIRequest:
    """What an SPI is reserved for (RFC 2367 §3.1.1): see `Engine.get_spi`."""

    source: IPAddress
    destination: IPAddress
    protocol: Protocol = Protocol.ESP
    mode: Mode = Mode.TUNNEL
    reqid: int = 0
    minimum: int = 0x100
    maximum: int | None = None
    sequence: int = 0
    mark: Mark | None = None
    if_id: int = 0
    direction: Direction | None = None
    cpu: int | None = None

    def __str__(self) -> str:
        return f"{self.protocol} {self.source} -> {self.destination}{found_by(self.mark, self.if_id)}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an SA is: what `Engine.get_progress` reads and `Engine.set_progress` writes (XFRM's "aevents").

    `replay` and `usage` are what a second gateway needs to take over. The kernel announces progress (`SAProgress`)
    after `replay_threshold` packets, and `timer_ms` milliseconds, which are read in steps of 100, after the last
    announcement if there was any traffic. None was not read, or shall stay as it is.
    """

    replay: Replay | None = None
    usage: Usage | None = None
    replay_threshold: int | None = None
    timer_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SADInfo:
    """How full the SAD is: SAs, and the buckets of their hash table, now and at most."""

    count: int
    buckets: int
    buckets_maximum: int


@dataclass(frozen=True, slots=True)
class SAFilter:
    """Which SAs a dump shows; the kernel does the choosing. None is any.

    An SA's own source and destination have to lie in the prefixes given.
    """

    protocol: Protocol | None = None
    source: Prefix | None = None
    destination: Prefix | None = None

    def __str__(self) -> str:
        named = (("", self.protocol), ("from ", self.source), ("to ", self.destination))
        return " ".join(f"{name}{value}" for name, value in named if value is not None)


#: Every SA.
EVERY_SA = SAFilter()
