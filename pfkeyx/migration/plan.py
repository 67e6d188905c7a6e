"""From what the kernel holds and what is asked to a plan: which SAs and policies, by which method, in which order.

Pure: the SAD, the SPD and the probes' answers come in as values, and the plan is a value.
"""

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from pfkeyx.errors import AlreadyExistsError, InvalidRequestError, UnsupportedError
from pfkeyx.features import Feature, Support
from pfkeyx.migration.update import KEEP, AddressUpdate, Keep
from pfkeyx.model import (
    SA,
    Action,
    Direction,
    Encap,
    IPAddress,
    Mode,
    Policy,
    Protocol,
    SAFlag,
    SAId,
    Selector,
    Template,
    UdpEncap,
    any_selector,
)


class Method(Enum):
    """A way to move an SA, in the order in which they are tried."""

    MIGRATE_STATE = "MIGRATE_STATE"
    MIGRATE = "MIGRATE"


#: RFC 3686, whatever the cipher.
_COUNTER_MODE = "rfc3686("
_FEATURES = {Method.MIGRATE_STATE: Feature.MIGRATE_STATE, Method.MIGRATE: Feature.MIGRATE}


@dataclass(frozen=True, slots=True)
class SAMove:
    """One SA as it is and as it shall be, without its counters."""

    before: SA
    after: SA

    def __str__(self) -> str:
        return f"{self.before}  to  {self.after.source} -> {self.after.destination}"


@dataclass(frozen=True, slots=True)
class PolicyMove:
    """One policy as it is and as it shall be; a blocked one that has templates was left by an interrupted move."""

    before: Policy
    after: Policy

    def __str__(self) -> str:
        return f"policy {self.before}"


@dataclass(frozen=True, slots=True)
class Step:
    """What is done, and undone, together: the SAs and policies of one direction, by one method.

    `passed_over` says, of each method that was tried before this one, why it could not be taken.
    """

    outbound: bool
    method: Method
    sas: tuple[SAMove, ...]
    policies: tuple[PolicyMove, ...]
    passed_over: tuple[tuple[Method, str], ...] = ()

    def reversed(self, sas: Iterable[SAMove]) -> "Step":
        """Return the step that undoes this one for `sas`, those of it that have moved."""
        return Step(
            outbound=self.outbound,
            method=self.method,
            sas=tuple(SAMove(move.after, move.before) for move in sas),
            policies=tuple(PolicyMove(move.after, move.before) for move in self.policies),
        )


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What a move will do, to be read before it runs: the steps in order, undone in reverse when one is refused.

    `method` is the one that was forced, if any.
    """

    update: AddressUpdate
    steps: tuple[Step, ...]
    method: Method | None = None

    @property
    def may_lose(self) -> tuple[str, ...]:
        """What may be lost, whatever the method: packets that may not arrive, and what nobody here knows of an SA."""
        losses = []
        if any(step.outbound and step.policies for step in self.steps):
            losses.append("outbound packets while they are blocked: refused to a local sender, dropped when forwarded")
        if any(not step.outbound and step.sas for step in self.steps):
            losses.append("inbound packets that are still on their way to the old addresses")
            losses.append("inbound packets that arrive between the move of their SA and that of its policies")
        for move in (move for step in self.steps for move in step.sas if move.before.other):
            numbers = ", ".join(str(attribute.number) for attribute in move.before.other)
            losses.append(f"attributes {numbers} of {move.before}, not known here; a loss would be seen and undone")
        return tuple(losses)

    def __str__(self) -> str:
        lines = [f"move {self.update}"]
        if not self.steps:
            lines.append("  nothing to do: it has been moved already")
        for number, step in enumerate(self.steps, 1):
            if step.outbound and step.method is Method.MIGRATE:
                title = "outbound: block its policies; then move, put the sequence ahead and allow, in one datagram"
            elif step.outbound:
                title = "outbound: block its policies, move, allow again, in one datagram"
            else:
                title = "inbound: move, then its policies, in one datagram"
            lines.append(f"{number}. {title}")
            lines += [f"     {move}" for move in (*step.sas, *step.policies)]
            lines.append(f"     method {step.method.value}; undone by the same in the other direction")
            lines += [f"     passed over {method.value}: {reason}" for method, reason in step.passed_over]
        lines += [f"may be lost: {loss}" for loss in self.may_lose]
        return "\n".join(lines)


def make_plan(
    update: AddressUpdate,
    sas: Sequence[SA],
    policies: Sequence[Policy],
    supports: Mapping[Feature, Support],
    method: Method | None = None,
) -> MigrationPlan:
    """Return the plan for `update`, given the whole SAD and SPD and what the kernel can do.

    `method` forces one. Raises `InvalidRequestError` when nothing is at the old or new addresses,
    `AlreadyExistsError` when a new place is taken, `UnsupportedError` when no method loses nothing.
    """
    _check_found(update, sas)
    steps = []
    for outbound in (True, False):
        moves = tuple(_sa_moves(update, sas, outbound))
        policy_moves = tuple(_policy_moves(update, sas, policies, outbound)) if update.policies else ()
        if not moves and not policy_moves:
            continue
        _check_targets(moves, sas)
        steps.append(_step(outbound, moves, policy_moves, supports, method))
    return MigrationPlan(update, tuple(steps), method)


def _check_found(update: AddressUpdate, sas: Sequence[SA]) -> None:
    old, new = update.old, update.new
    found = [*_between(sas, update, old.local, old.remote), *_between(sas, update, new.local, new.remote)]
    missing = [named for named in update.sas or () if not any(_is_the_named(sa, named, update) for sa in found)]
    if missing or not found:
        what = f"SA {', '.join(map(str, missing))}" if missing else "SA"
        raise InvalidRequestError(f"plan migration: there is no {what} at {old}; is the old address right?")


def _between(
    sas: Iterable[SA], update: AddressUpdate, local: IPAddress, remote: IPAddress, outbound: bool | None = None
) -> list[SA]:
    pairs = {True: (local, remote), False: (remote, local)}
    wanted = set(pairs.values()) if outbound is None else {pairs[outbound]}
    # What an ACQUIRE left behind has no SPI, and goes by itself.
    at_hand = [sa for sa in sas if (sa.source, sa.destination) in wanted and sa.id.spi]
    if update.sas is None:
        return at_hand
    return [sa for sa in at_hand if any(_is_the_named(sa, named, update) for named in update.sas)]


def _is_the_named(sa: SA, named: SAId, update: AddressUpdate) -> bool:
    # After a move an SA has another destination, and is still the one that was named.
    ends = ({update.old.local, update.new.local}, {update.old.remote, update.new.remote})
    same_end = any(named.destination in end and sa.destination in end for end in ends)
    return same_end and replace(sa.id, destination=named.destination) == named


def _sa_moves(update: AddressUpdate, sas: Sequence[SA], outbound: bool) -> Iterable[SAMove]:
    source, destination = _ends(update, outbound)
    for sa in _between(sas, update, update.old.local, update.old.remote, outbound):
        before = sa.as_written()
        moved = before.moved(source, destination, _encap_after(sa, update.encap, outbound))
        after = replace(moved, selector=_selector_after(before, source.version))
        if after != before:
            yield SAMove(before, after)


def _selector_after(sa: SA, version: int) -> Selector | None:
    if sa.selector is None and SAFlag.AF_UNSPEC in sa.flags:
        return None
    selector = sa.effective_selector
    return None if selector == any_selector(version) and SAFlag.AF_UNSPEC not in sa.flags else selector


def _ends(update: AddressUpdate, outbound: bool) -> tuple[IPAddress, IPAddress]:
    new = update.new
    return (new.local, new.remote) if outbound else (new.remote, new.local)


def _encap_after(sa: SA, encap: UdpEncap | Keep | None, outbound: bool) -> Encap | None:
    if encap is KEEP:
        return sa.encap
    return encap if outbound or encap is None else encap.reversed()


def _policy_moves(
    update: AddressUpdate, sas: Sequence[SA], policies: Sequence[Policy], outbound: bool
) -> Iterable[PolicyMove]:
    reqids = None
    if update.sas is not None:
        at_old = _between(sas, update, update.old.local, update.old.remote, outbound)
        at_new = _between(sas, update, update.new.local, update.new.remote, outbound)
        reqids = {sa.reqid for sa in (*at_old, *at_new)}
    directions = (Direction.OUT,) if outbound else (Direction.IN, Direction.FORWARD)
    for policy in policies:
        if policy.direction not in directions:
            continue
        before = policy.as_written()
        templates = tuple(_moved_template(t, update, reqids, outbound) for t in before.templates)
        # Only outbound policies are ever blocked by a move.
        interrupted = (
            outbound
            and before.action is Action.BLOCK
            and any((t.source, t.destination) == _ends(update, outbound) and _has_reqid(t, reqids) for t in templates)
        )
        after = replace(before, templates=templates, action=Action.ALLOW if interrupted else before.action)
        if after != before:
            yield PolicyMove(before, after)


def _has_reqid(template: Template, reqids: set[int] | None) -> bool:
    """Return whether a template is for SAs of these reqids; None are all."""
    return reqids is None or not template.reqid or template.reqid in reqids


def _moved_template(template: Template, update: AddressUpdate, reqids: set[int] | None, outbound: bool) -> Template:
    old = update.old
    at = (old.local, old.remote) if outbound else (old.remote, old.local)
    if (template.source, template.destination) != at or not _has_reqid(template, reqids):
        return template
    source, destination = _ends(update, outbound)
    return replace(template, source=source, destination=destination)


def _check_targets(moves: Sequence[SAMove], sas: Sequence[SA]) -> None:
    # MIGRATE onto an occupied place makes 6.1 and 6.12 warn and taint, so it is never tried.
    moving = {move.before.id for move in moves}
    taken = {(sa.id.spi, sa.id.protocol, sa.destination): sa for sa in sas if sa.id not in moving}
    for move in moves:
        occupant = taken.get((move.after.id.spi, move.after.id.protocol, move.after.destination))
        if occupant is not None:
            raise AlreadyExistsError(
                errno.EEXIST,
                "plan migration",
                move.before,
                f"{occupant} has the same SPI at the new address: delete it first",
            )


def _step(
    outbound: bool,
    sas: tuple[SAMove, ...],
    policies: tuple[PolicyMove, ...],
    supports: Mapping[Feature, Support],
    forced: Method | None,
) -> Step:
    passed_over: list[tuple[Method, str]] = []
    for method in (forced,) if forced else Method:
        reason = _objection(method, outbound, sas, policies, supports)
        if reason is None:
            return Step(outbound, method, sas, policies, tuple(passed_over))
        passed_over.append((method, reason))
    reasons = "; ".join(f"{method.value}: {reason}" for method, reason in passed_over)
    raise UnsupportedError(f"moving {', '.join(str(move.before) for move in sas)} without a loss", reasons)


def _objection(
    method: Method,
    outbound: bool,
    sas: Sequence[SAMove],
    policies: Sequence[PolicyMove],
    supports: Mapping[Feature, Support],
) -> str | None:
    """Return why a method cannot move these without a loss, None when it can."""
    if not sas:
        return None
    support = supports[_FEATURES[method]]
    if not support.available:
        return support.reason
    for sa in (move.before for move in sas):
        if sa.encryption is not None and sa.encryption.algorithm.xfrm_name.startswith(_COUNTER_MODE):
            return f"every kernel migration forgets the IV generator of {sa.encryption.algorithm}: the SA would be dead"
        if sa.id.protocol not in (Protocol.ESP, Protocol.AH):
            return f"{sa} is neither ESP nor AH"
        if sa.encryption is None and sa.authentication is None:
            return f"{sa} is larval, and has no keys yet"
        if sa.mode is not Mode.TUNNEL:
            return f"{sa} is in {sa.mode} mode, whose selectors would have to follow"
    if outbound and any(template.optional for move in policies for template in move.before.templates):
        return "an optional template would let packets pass in clear if its SA could not be moved"
    return _migrate_objection(sas, policies) if method is Method.MIGRATE else None


def _migrate_objection(sas: Sequence[SAMove], policies: Sequence[PolicyMove]) -> str | None:
    if any(move.before.id.mark or move.before.if_id for move in sas):
        return "it does not find marked policies, nor those of an interface id, on every kernel"
    if any(move.before.mark or move.before.if_id for move in policies):
        return "it does not find marked policies, nor those of an interface id, on every kernel"
    if any(move.before.offload for move in sas):
        return "it drops the offload to hardware"
    if unknown := sorted({attribute.number for move in sas for attribute in move.before.other}):
        return f"whether it keeps attributes {', '.join(map(str, unknown))} is not known"
    wanted = {(move.before.id.protocol, move.before.mode, move.before.reqid) for move in sas}
    if len(wanted) < len(sas):
        return "it moves only the newest of several SAs with one reqid"
    if len({move.after.encap for move in sas}) > 1:
        return "it gives all SAs the same encapsulation"
    if any(move.before.encap and not move.after.encap for move in sas):
        return "it cannot remove an encapsulation on every kernel"
    pairs = leading_pairs(policies)
    if {(old.protocol, old.mode, old.reqid) for old, _ in pairs} != wanted:
        return "it finds SAs only through a policy that names each of them at the old addresses"
    return None


def leading_pairs(policies: Sequence[PolicyMove]) -> tuple[tuple[Template, Template], ...]:
    """Return the old and new templates of the policy through which MIGRATE is asked, those that change."""
    if not policies:
        return ()
    move = leading_policy(policies)
    pairs = zip(move.before.templates, move.after.templates, strict=True)
    return tuple((old, new) for old, new in pairs if old != new)


def leading_policy(policies: Sequence[PolicyMove]) -> PolicyMove:
    """Return the policy through which MIGRATE is asked: `in` before `fwd`, which is only looked up for what goes on."""
    return min(policies, key=lambda move: move.before.direction is Direction.FORWARD)
