"""From what the kernel holds and what is asked to a plan: which SAs and policies, by which method, in which order.

Pure: the SAD, the SPD and the probes' answers come in as values, and the plan is a value.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from pfkeyx.algorithms import AES_CTR
from pfkeyx.errors import AlreadyExistsError, InvalidRequestError, UnsupportedError
from pfkeyx.features import Feature, Support
from pfkeyx.migration.update import KEEP, AddressUpdate, Keep
from pfkeyx.model import SA, Action, Direction, IPAddress, Mode, Policy, Template, UdpEncap, any_selector


class Method(Enum):
    """A way to move an SA, in the order in which they are tried."""

    MIGRATE_STATE = "MIGRATE_STATE"
    MIGRATE = "MIGRATE"


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
    """What is done in one datagram: the SAs and policies of one direction, by one method.

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
        """Which packets may not arrive, whatever the method; everything else must."""
        losses = []
        if any(step.outbound and step.policies for step in self.steps):
            losses.append("outbound packets while they are blocked: refused to a local sender, dropped when forwarded")
        if any(not step.outbound and step.sas for step in self.steps):
            losses.append("inbound packets that are still on their way to the old addresses")
            losses.append("inbound packets that arrive between the move of their SA and that of its policies")
        return tuple(losses)

    def __str__(self) -> str:
        lines = [f"move {self.update}"]
        if not self.steps:
            lines.append("  nothing to do: it has been moved already")
        for number, step in enumerate(self.steps, 1):
            if step.outbound:
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
    old, new = update.old, update.new
    if not _between(sas, update, old.local, old.remote) and not _between(sas, update, new.local, new.remote):
        named = f" named {', '.join(map(str, update.sas))}" if update.sas is not None else ""
        raise InvalidRequestError(f"plan migration: there is no SA{named} at {old}; is the old address right?")
    steps = []
    for outbound in (True, False):
        moves = tuple(_sa_moves(update, sas, outbound))
        policy_moves = tuple(_policy_moves(update, sas, policies, outbound)) if update.policies else ()
        if not moves and not policy_moves:
            continue
        _check_targets(moves, sas)
        steps.append(_step(outbound, moves, policy_moves, supports, method))
    return MigrationPlan(update, tuple(steps), method)


def _between(
    sas: Iterable[SA], update: AddressUpdate, local: IPAddress, remote: IPAddress, outbound: bool | None = None
) -> list[SA]:
    pairs = {True: (local, remote), False: (remote, local)}
    wanted = set(pairs.values()) if outbound is None else {pairs[outbound]}
    return [sa for sa in sas if (sa.source, sa.destination) in wanted and _is_named(sa, update)]


def _is_named(sa: SA, update: AddressUpdate) -> bool:
    # After a move an SA has another destination, and is still the one that was named.
    return update.sas is None or any(
        (sa.id.spi, sa.id.protocol, sa.id.mark) == (named.spi, named.protocol, named.mark) for named in update.sas
    )


def _sa_moves(update: AddressUpdate, sas: Sequence[SA], outbound: bool) -> Iterable[SAMove]:
    source, destination = _ends(update, outbound)
    for sa in _between(sas, update, update.old.local, update.old.remote, outbound):
        before = sa.as_written()
        after = replace(
            before,
            id=replace(sa.id, destination=destination),
            source=source,
            encap=_encap_after(sa, update.encap, outbound),
            selector=None if before.effective_selector == any_selector(source.version) else before.effective_selector,
        )
        if after != before:
            yield SAMove(before, after)


def _ends(update: AddressUpdate, outbound: bool) -> tuple[IPAddress, IPAddress]:
    new = update.new
    return (new.local, new.remote) if outbound else (new.remote, new.local)


def _encap_after(sa: SA, encap: UdpEncap | Keep | None, outbound: bool) -> UdpEncap | None:
    if encap is KEEP:
        return sa.encap
    return encap if outbound or encap is None else encap.reversed()


def _policy_moves(
    update: AddressUpdate, sas: Sequence[SA], policies: Sequence[Policy], outbound: bool
) -> Iterable[PolicyMove]:
    concerned = [
        *_between(sas, update, update.old.local, update.old.remote, outbound),
        *_between(sas, update, update.new.local, update.new.remote, outbound),
    ]
    reqids = {sa.reqid for sa in concerned}
    directions = (Direction.OUT,) if outbound else (Direction.IN, Direction.FORWARD)
    for policy in policies:
        if policy.direction not in directions:
            continue
        before = policy.as_written()
        templates = tuple(_moved_template(t, update, reqids, outbound) for t in before.templates)
        interrupted = before.action is Action.BLOCK and any(
            (t.source, t.destination) == _ends(update, outbound) for t in templates
        )
        after = replace(before, templates=templates, action=Action.ALLOW if interrupted else before.action)
        if after != before:
            yield PolicyMove(before, after)


def _moved_template(template: Template, update: AddressUpdate, reqids: set[int], outbound: bool) -> Template:
    old = update.old
    at = (old.local, old.remote) if outbound else (old.remote, old.local)
    if (template.source, template.destination) != at or (template.reqid and template.reqid not in reqids):
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
                17, "plan migration", move.before, f"{occupant} has the same SPI at the new address: delete it first"
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
        reason = _objection(method, sas, policies, supports)
        if reason is None:
            return Step(outbound, method, sas, policies, tuple(passed_over))
        passed_over.append((method, reason))
    reasons = "; ".join(f"{method.value}: {reason}" for method, reason in passed_over)
    raise UnsupportedError(f"moving {', '.join(str(move.before) for move in sas)} without a loss", reasons)


def _objection(
    method: Method,
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
        if sa.encryption is not None and sa.encryption.algorithm is AES_CTR:
            return "every kernel migration forgets the IV generator of AES-CTR, and the SA is dead afterwards"
        if sa.encryption is None and sa.authentication is None:
            return f"{sa} is larval, and has no keys yet"
        if sa.mode is not Mode.TUNNEL:
            return f"{sa} is in {sa.mode} mode, whose selectors would have to follow"
    return _migrate_objection(sas, policies) if method is Method.MIGRATE else None


def _migrate_objection(sas: Sequence[SAMove], policies: Sequence[PolicyMove]) -> str | None:
    if any(move.before.id.mark or move.before.if_id for move in sas):
        return "it does not find marked policies, nor those of an interface id, on every kernel"
    if any(move.before.mark or move.before.if_id for move in policies):
        return "it does not find marked policies, nor those of an interface id, on every kernel"
    if len({(move.before.id.protocol, move.before.mode, move.before.reqid) for move in sas}) < len(sas):
        return "it moves only the newest of several SAs with one reqid"
    if len({move.after.encap for move in sas}) > 1:
        return "it gives all SAs the same encapsulation"
    if any(move.before.encap and not move.after.encap for move in sas):
        return "it cannot remove an encapsulation on every kernel"
    if not any(t != u for move in policies for t, u in zip(move.before.templates, move.after.templates, strict=True)):
        return "it finds SAs only through a policy with the old addresses"
    return None
