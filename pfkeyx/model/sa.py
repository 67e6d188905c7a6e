"""Security associations, and what they are found by."""

from dataclasses import dataclass, replace

from pfkeyx.algorithms import Algorithm
from pfkeyx.model.addresses import IPAddress, Prefix, Selector, any_selector
from pfkeyx.model.numbers import NO_FLAGS, Mode, Protocol, SAFlag, SAState
from pfkeyx.model.parts import (
    NO_LIMITS,
    Attribute,
    Authentication,
    Encryption,
    Lifetime,
    Mark,
    Replay,
    SecurityContext,
    UdpEncap,
    Usage,
)


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
    XFRM not `state`; they are None then. So is `selector` where the SA takes every packet of its own IP version, and
    over PF_KEY also where it takes those of the other. IPComp has a `compression`, neither of the other algorithms,
    and no replay window.
    """

    id: SAId
    source: IPAddress
    mode: Mode = Mode.TUNNEL
    reqid: int = 0
    encryption: Encryption | None = None
    authentication: Authentication | None = None
    compression: Algorithm | None = None
    encap: UdpEncap | None = None
    selector: Selector | None = None
    lifetime: Lifetime = NO_LIMITS
    replay_window: int = 32
    flags: SAFlag = NO_FLAGS
    if_id: int = 0
    security_context: SecurityContext | None = None
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
