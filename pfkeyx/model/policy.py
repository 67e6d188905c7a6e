"""Policies, what they ask for, and what they are found by."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from struct import Struct
from types import MappingProxyType
from typing import Any, ClassVar

from pfkeyx.model.addresses import IPAddress, Port, Selector, prefix_address, prefix_length
from pfkeyx.model.deferred import Deferred, Handle
from pfkeyx.model.numbers import (
    NO_POLICY_FLAGS,
    Action,
    Direction,
    Mode,
    PolicyFlag,
    PolicyType,
    Protocol,
    Share,
)
from pfkeyx.model.parts import (
    NO_LIMITS,
    NO_MARK,
    Attribute,
    Lifetime,
    Mark,
    Offload,
    SecurityContext,
    Usage,
    found_by,
)

#: As the C core has them of what is read (PFKEYX_POLICY_HANDLE).
_HANDLE = Struct(">BB16s16s4B4HiIIII")


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
    share: Share = Share.ANY
    algorithm_masks: tuple[int, int, int] = (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class PolicyId:
    """What a policy is looked up by."""

    selector: Selector
    direction: Direction
    mark: Mark | None = None
    if_id: int = 0
    type: PolicyType = PolicyType.MAIN
    security_context: SecurityContext | None = None

    @property
    def handle(self) -> Handle:
        """The identity as bytes, for looking up."""
        selector, mark, context = self.selector, self.mark or NO_MARK, self.security_context
        source, destination = selector.source, selector.destination
        handle = _HANDLE.pack(
            *(self.direction, source.version),
            *(prefix_address(source).packed, prefix_address(destination).packed),
            *(prefix_length(source), prefix_length(destination), selector.protocol, self.type),
            *(*_port_handle(selector.source_port), *_port_handle(selector.destination_port)),
            *(selector.interface_index, selector.user, mark.value, mark.mask, self.if_id),
        )
        return handle if context is None else handle + bytes((context.algorithm, context.doi)) + context.context

    def __str__(self) -> str:
        policy_type = f" {self.type}" if self.type else ""
        return f"{self.direction} {self.selector}{policy_type}{found_by(self.mark, self.if_id)}"


def _port_handle(port: Port | None) -> tuple[int, int]:
    return (0, 0) if port is None or not port.mask else (port.value, port.mask)


@dataclass(frozen=True, slots=True, eq=False)
class Policy(Deferred):
    """An entry of the SPD (RFC 4301 §4.4.1); of two that fit, the one with the lower `priority` wins.

    `index`, which PF_KEY calls the policy's id, is the kernel's: XFRM takes it as a wish for a new policy, 0 for none,
    and PF_KEY takes none. `usage` is ignored in what is written.
    """

    selector: Selector
    direction: Direction
    templates: tuple[Template, ...] = ()
    action: Action = Action.ALLOW
    priority: int = 0
    lifetime: Lifetime = NO_LIMITS
    mark: Mark | None = None
    if_id: int = 0
    type: PolicyType = PolicyType.MAIN
    flags: PolicyFlag = NO_POLICY_FLAGS
    share: Share = Share.ANY
    offload: Offload | None = None
    security_context: SecurityContext | None = None
    other: tuple[Attribute, ...] = ()
    index: int = 0
    usage: Usage | None = None

    identifying: ClassVar[Set[str]] = frozenset(PolicyId.__match_args__)
    most_wanted: ClassVar[tuple[str, ...]] = ("handle", "direction", "templates", "action")
    counted: ClassVar[Mapping[str, Any]] = MappingProxyType({"index": 0, "usage": None})

    @property
    def id(self) -> PolicyId:
        """What this policy is looked up by."""
        return PolicyId(self.selector, self.direction, self.mark, self.if_id, self.type, self.security_context)

    def make_handle(self) -> Handle:
        """See `Deferred.make_handle`."""
        return self.id.handle

    def __str__(self) -> str:
        return str(self.id)


@dataclass(frozen=True, slots=True)
class DefaultPolicy:
    """What is done with packets that no policy is for, by direction; a namespace begins by allowing them."""

    inbound: Action = Action.ALLOW
    forward: Action = Action.ALLOW
    outbound: Action = Action.ALLOW


@dataclass(frozen=True, slots=True)
class HashThreshold:
    """Policies whose prefixes have at least so many bits, local and remote, are found by hash, and others in a list."""

    local: int
    remote: int


@dataclass(frozen=True, slots=True)
class SPDInfo:
    """How full the SPD is: policies by direction, those of sockets beside them, and the buckets of its hash table."""

    inbound: int
    outbound: int
    forward: int
    socket_inbound: int
    socket_outbound: int
    socket_forward: int
    buckets: int
    buckets_maximum: int
    ipv4: HashThreshold
    ipv6: HashThreshold
