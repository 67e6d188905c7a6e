"""A plan as a value: what a move will do, step by step, and what it would lose. How it is made is not known here."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from pfkeyx.migration.update import KEEP, AddressUpdate
from pfkeyx.model import SA, Action, Policy, Template
from pfkeyx.model.addresses import unspecified
from pfkeyx.model.deferred import changed


class Method(Enum):
    """A way to move an SA, in the order in which they are tried."""

    #: PF_KEY: one SA, by its SPI (draft-schilcher-mobike-pfkey-extension §3).
    ADDRUPDATE = "ADDRUPDATE"
    #: XFRM: one SA, by its SPI.
    MIGRATE_STATE = "MIGRATE_STATE"
    #: XFRM: the newest SA of each template of a policy.
    MIGRATE = "MIGRATE"
    #: XFRM: the SA is deleted, and added with its whole state.
    REPLACE = "REPLACE"
    #: PF_KEY: as MIGRATE.
    SADB_X_MIGRATE = "SADB_X_MIGRATE"


class Loss(Enum):
    """What does not survive a method, in words. Those that are not `minor` have to be accepted."""

    SEQUENCE_REPEAT = "a packet that is on its way while the SA moves may use a sequence number that is used again"
    OFFLOAD = "the offload to hardware"
    UNKNOWN_ATTRIBUTES = "attributes that have no name here; if one is lost that is seen, and undone"
    SEQUENCE_GAP = "4096 sequence numbers, which are passed over"
    RECEIVED_MEANWHILE = "the replay window's memory of packets that come in while the SA moves"
    FAILURES = "the counts of failures"
    LAST_USED = "the time of the last use"
    SOFT_LIMIT = "that a soft limit was reached: it is told again"
    UNSEEN = "what PF_KEY does not show of policies, such as which algorithms a template allows"
    TIMER_PHASE = "when progress is told next"

    @property
    def minor(self) -> bool:
        """Whether it is told, and need not be accepted."""
        return self not in GRAVE


#: Losses that have to be accepted.
GRAVE = frozenset({Loss.SEQUENCE_REPEAT, Loss.OFFLOAD, Loss.UNKNOWN_ATTRIBUTES})


@dataclass(frozen=True, slots=True)
class SAMove:
    """One SA as it is and as it shall be, without its counters, the method, and the one by which it is undone.

    `passed_over` says, of each method that was tried before, why it could not be taken.
    """

    before: SA
    after: SA
    method: Method
    undo: Method
    losses: frozenset[Loss] = frozenset()
    passed_over: tuple[tuple[Method, str], ...] = ()

    def reversed(self) -> "SAMove":
        """Return the move that undoes this one."""
        return SAMove(self.after, self.before, self.undo, self.method)

    def as_json(self) -> dict[str, Any]:
        """Return the move as what `json.dumps` takes; no key is in it."""
        return {
            "spi": f"{self.before.id.spi:#010x}",
            "protocol": str(self.before.id.protocol),
            "from": _ends_as_json(self.before),
            "to": _ends_as_json(self.after),
            "method": self.method.value,
            "undo": self.undo.value,
            "passed_over": [{"method": method.value, "reason": reason} for method, reason in self.passed_over],
            "losses": [loss.name for loss in Loss if loss in self.losses],
        }

    def __str__(self) -> str:
        encap = f" in {self.after.encap}" if self.after.encap and self.after.encap != self.before.encap else ""
        return f"{self.before}  to  {self.after.source} -> {self.after.destination}{encap}"


@dataclass(frozen=True, slots=True)
class PolicyMove:
    """One policy as it is and as it shall be.

    An outbound one that blocks and has templates was left by an interrupted move. One that does not change is blocked
    while the SAs that it uses move. One whose selector changes is another policy for the kernel: it is added before the
    old one is deleted.
    """

    before: Policy
    after: Policy
    #: The move of a policy that is alike and moves alike, of which is known what is asked of this one.
    like: "PolicyMove | None" = field(default=None, compare=False, repr=False)

    @property
    def blocked(self) -> Policy:
        """The policy as it is while its SAs move: its templates stay, as the mark of a move that is not over."""
        return changed(self.before, action=Action.BLOCK)

    @property
    def opened(self) -> Policy:
        """An inbound policy as it is while its SAs move: a template takes its SA, known by the reqid, from any peer.

        The kernel compares an inbound packet's SA with a template's source, which one of the two has first anew.
        """
        if self.like is not None and self.like.opened is self.like.before:
            return self.before
        pairs = zip(self.before.templates, self.after.templates, strict=True)
        templates = tuple(_opened(old, new) for old, new in pairs)
        return self.before if templates == self.before.templates else changed(self.before, templates=templates)

    @property
    def changes(self) -> bool:
        """Whether it is another afterwards; a policy that does not change is only blocked meanwhile."""
        return self.before is not self.after and self.before != self.after

    @property
    def changes_templates(self) -> bool:
        """Whether it finds its SAs elsewhere afterwards."""
        if self.like is not None:
            return self.like.changes_templates
        return self.before.templates != self.after.templates

    @property
    def renamed(self) -> bool:
        """Whether it is found by another selector afterwards."""
        return self.before.handle != self.after.handle

    @property
    def has_optional(self) -> bool:
        """Whether packets leave in clear when an SA that it uses is not there."""
        if self.like is not None:
            return self.like.has_optional
        return any(template.optional for template in (*self.before.templates, *self.after.templates))

    def reversed(self) -> "PolicyMove":
        """Return the move that undoes this one; what an earlier move had left blocked is not blocked again."""
        was_blocked = self.before.action != self.after.action
        return PolicyMove(self.after, changed(self.before, action=self.after.action) if was_blocked else self.before)

    def as_json(self) -> dict[str, Any]:
        """Return the move as what `json.dumps` takes."""
        return {
            "policy": str(self.before),
            "from": [_template_as_json(template) for template in self.before.templates],
            "to": [_template_as_json(template) for template in self.after.templates],
            "selector": str(self.after.selector),
        }

    def __str__(self) -> str:
        return f"policy {self.before}" + (f"  to  {self.after.selector}" if self.renamed else "")


@dataclass(frozen=True, slots=True)
class Step:
    """What is done, and undone, together: SAs of one direction and the policies that use them.

    `can_block` says whether packets can be kept from an outbound policy while its SAs move.
    """

    outbound: bool
    sas: tuple[SAMove, ...]
    policies: tuple[PolicyMove, ...]
    can_block: bool = True

    @property
    def is_blocked(self) -> bool:
        """Whether nothing passes its policies while its SAs move."""
        # PF_KEY cannot block a policy and keep its templates, by which SAs are found.
        return self.outbound and bool(self.sas) and self.can_block

    @property
    def is_read_first(self) -> bool:
        """Whether an SA's state is read, while nothing can use it, before it moves."""
        return any(self.is_read(move) for move in self.sas)

    def is_read(self, move: SAMove) -> bool:
        """Whether the state of this SA is read before it moves."""
        return move.method is Method.REPLACE or (self.outbound and move.method is Method.MIGRATE)

    def as_json(self) -> dict[str, Any]:
        """Return the step as what `json.dumps` takes."""
        return {
            "direction": "outbound" if self.outbound else "inbound",
            "sas": [move.as_json() for move in self.sas],
            "policies": [move.as_json() for move in self.policies],
        }

    def lines(self) -> Iterator[str]:
        """Yield what is in the step, for people."""
        for move in self.sas:
            yield f"     {move}"
            yield f"       by {move.method.value}" + (
                f", undone by {move.undo.value}" if move.undo is not move.method else ""
            )
        yield from (f"     {move}" for move in self.policies)

    @property
    def is_cautious(self) -> bool:
        """Whether packets are let through only when it is known that the SAs have moved.

        They could leave in clear; and what travels over PF_KEY is no part of a datagram.
        """
        return any(move.method is Method.ADDRUPDATE for move in self.sas) or (
            self.is_blocked and any(move.has_optional for move in self.policies)
        )


@dataclass(frozen=True, slots=True)
class Left:
    """What stays where it is, and why."""

    item: SA | Policy
    reason: str

    def __str__(self) -> str:
        return f"{_named(self.item)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What a move will do, to be read before it runs: the steps in order, undone in reverse when one is refused.

    `method` is the one that was forced, if any. With `hold` the policies of SAs that move by MIGRATE_STATE are not
    blocked. `left` is what the update is about and nothing can move.
    """

    update: AddressUpdate
    steps: tuple[Step, ...]
    method: Method | None = None
    hold: bool = False
    left: tuple[Left, ...] = ()
    #: What it was made of, until it is carried out.
    made_of: Any = field(default=None, init=False, compare=False, repr=False)

    def of(self, made_of: object) -> "MigrationPlan":
        """Return the plan, which remembers what it was made of."""
        object.__setattr__(self, "made_of", made_of)
        return self

    @property
    def losses(self) -> frozenset[Loss]:
        """What of the SAs would not survive."""
        return frozenset().union(*{move.losses for move in self.sa_moves()})

    def refusals(self, accept: Iterable[Loss]) -> tuple[Loss, ...]:
        """Return the losses that have to be accepted and are not; a forced method was accepted as it is."""
        if self.method is not None:
            return ()
        missing = (self.losses & GRAVE) - frozenset(accept)
        return tuple(loss for loss in Loss if loss in missing)

    def sa_moves(self) -> Iterator[SAMove]:
        """Yield the moves of SAs in the order of the steps."""
        return (move for step in self.steps for move in step.sas)

    def policy_moves(self) -> Iterator[PolicyMove]:
        """Yield the moves of policies in the order of the steps."""
        return (move for step in self.steps for move in step.policies)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as what `json.dumps` takes; no key is in it."""
        return {
            "update": _update_as_json(self.update),
            "method": self.method and self.method.value,
            "hold": self.hold,
            "steps": [step.as_json() for step in self.steps],
            "losses": [loss.name for loss in Loss if loss in self.losses],
            "left": [{"item": _named(left.item), "reason": left.reason} for left in self.left],
        }

    def __str__(self) -> str:
        lines = [f"move {self.update}"]
        if not self.steps:
            lines.append("  nothing to do: it has been moved already")
        for number, step in enumerate(self.steps, 1):
            lines.append(f"{number}. {self._title(step)}")
            lines += step.lines()
        passed_over = Counter(entry for move in self.sa_moves() for entry in move.passed_over)
        for (method, reason), count in passed_over.items():
            lines.append(f"passed over {method.value} for {count} {'SA' if count == 1 else 'SAs'}: {reason}")
        lines += [f"may be lost: {loss}" for loss in self._told_losses()]
        lines += [f"left: {left}" for left in self.left]
        return "\n".join(lines)

    def _title(self, step: Step) -> str:
        if not step.sas:
            return "policies that no SA answers to"
        if not step.outbound:
            return f"inbound: {'read its state, ' if step.is_read_first else ''}move, then its policies"
        if self.is_held(step):
            return "outbound: move, then its policies, in one datagram; packets without an SA are held by the kernel"
        if not step.is_blocked:
            return "outbound: move, then its policies"
        if step.is_cautious:
            return "outbound: block its policies; move; allow again only when it is known to have moved"
        if step.is_read_first:
            return "outbound: block its policies; then move, put the sequence ahead and allow, in one datagram"
        return "outbound: block its policies, move, allow again, in one datagram"

    def _told_losses(self) -> Iterator[str]:
        if any(step.is_blocked and step.policies and not self.is_held(step) for step in self.steps):
            yield "outbound packets while they are blocked: refused to a local sender, dropped when forwarded"
        if any(step.outbound and not step.is_blocked and step.is_cautious for step in self.steps):
            yield "outbound packets between the move of their SA and that of its policies: they find none"
        if any(not step.outbound and step.sas for step in self.steps):
            yield "inbound packets that are still on their way to the old addresses"
            yield "inbound packets that arrive between the move of their SA and that of its policies"
        if any(move.renamed for move in self.policy_moves()):
            yield "the protection of what is still sent from or to an old address: its policy goes with the address"
        if any(move.changes for move in self.policy_moves()):
            yield "a policy's age and the time of its last use; of one that gets another selector also its index"
        yield from (loss.value for loss in Loss if loss in self.losses)

    def is_held(self, step: Step) -> bool:
        """Whether the packets of a step are left to the kernel while its SAs move, and not refused."""
        return self.hold and step.is_blocked and not step.is_read_first and not step.is_cautious


def _opened(old: Template, new: Template) -> Template:
    if old.source is None or old.source == new.source or not old.reqid:
        return old
    return replace(old, source=unspecified(old.source.version))


def _update_as_json(update: AddressUpdate) -> dict[str, Any]:
    encap, named = update.encap, update.named_policies
    return {
        "old": str(update.old),
        "new": str(update.new),
        "since": [str(place) for place in update.since],
        "encap": "keep" if encap is KEEP else encap and str(encap),
        "sas": update.sas and [str(named) for named in update.sas],
        "policies": update.policies if named is None else [str(policy) for policy in named],
    }


def _ends_as_json(sa: SA) -> dict[str, Any]:
    return {
        "source": str(sa.source),
        "destination": str(sa.destination),
        "encap": sa.encap and str(sa.encap),
    }


def _template_as_json(template: Template) -> dict[str, Any]:
    return {
        "protocol": str(template.protocol),
        "mode": str(template.mode),
        "source": template.source and str(template.source),
        "destination": template.destination and str(template.destination),
        "reqid": template.reqid,
    }


def _named(item: SA | Policy) -> str:
    return f"policy {item}" if isinstance(item, Policy) else str(item)
