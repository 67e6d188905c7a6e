"""Policies, what they ask for, and what they are found by."""

from dataclasses import dataclass, replace

from pfkeyx.model.addresses import IPAddress, Selector
from pfkeyx.model.numbers import Action, Direction, Mode, Protocol
from pfkeyx.model.parts import NO_LIMITS, Attribute, Lifetime, Mark, SecurityContext, Usage


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

    `index`, which PF_KEY calls the policy's id, and `usage` are the kernel's and are ignored in what is written.
    """

    selector: Selector
    direction: Direction
    templates: tuple[Template, ...] = ()
    action: Action = Action.ALLOW
    priority: int = 0
    lifetime: Lifetime = NO_LIMITS
    mark: Mark | None = None
    if_id: int = 0
    type: int = 0
    flags: int = 0
    share: int = 0
    security_context: SecurityContext | None = None
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
