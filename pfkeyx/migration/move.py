"""The operations that plan and move: read, do each step, believe nothing that was not read back, undo on refusal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from pfkeyx.dialect import Dialect
from pfkeyx.errors import InvalidRequestError, MigrationError, PfkeyxError, UnsupportedError
from pfkeyx.features import Feature
from pfkeyx.migration.methods import MigratingDialect, perform, requests
from pfkeyx.migration.plan import Method, MigrationPlan, PolicyMove, SAMove, Step, make_plan
from pfkeyx.migration.report import MigrationReport
from pfkeyx.migration.update import AddressUpdate
from pfkeyx.model import EVERY_SA, SA, Policy, PolicyId, SAId
from pfkeyx.operation import Operation, ask

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole SAD and SPD at one moment."""

    sas: tuple[SA, ...]
    policies: tuple[Policy, ...]

    def sa(self, sa_id: SAId) -> SA | None:
        """Return the SA of this identity."""
        return next((sa for sa in self.sas if sa.id == sa_id), None)

    def policy(self, policy_id: PolicyId) -> Policy | None:
        """Return the policy of this identity."""
        return next((policy for policy in self.policies if policy.id == policy_id), None)


def plan_migration(dialect: Dialect, update: AddressUpdate, method: Method | None = None) -> Operation[MigrationPlan]:
    """Read the kernel and return the plan for an update; nothing is changed."""
    plan, _ = yield from _plan(dialect, update, method)
    return plan


def migrate(dialect: Dialect, what: MigrationPlan | AddressUpdate) -> Operation[MigrationReport]:
    """Move what an update or a plan says, all or nothing, and report what was read back.

    Raises `InvalidRequestError` for a plan that the kernel's state has outrun, and `MigrationError` when a step was
    refused or was not found done; earlier steps were undone then, as the error says.
    """
    if isinstance(what, MigrationPlan):
        plan, before = yield from _plan(dialect, what.update, what.method)
        if plan != what:
            raise InvalidRequestError(
                f"migrate {what.update}: the SAD or SPD has changed since this plan was made; plan again"
            )
    else:
        plan, before = yield from _plan(dialect, what, None)
    migrating = _migrating(dialect)
    # All requests are built before one is sent, the undoing ones too: what could not be said is refused here.
    for step in plan.steps:
        requests(migrating, step)
        requests(migrating, step.reversed(step.sas))
    begun: list[Step] = []
    try:
        for step in plan.steps:
            begun.append(step)
            yield from perform(migrating, step)
        after = yield from _snapshot(dialect)
    except PfkeyxError as error:
        raise (yield from _roll_back(migrating, begun, str(error))) from error
    if difference := next(_differences(plan.steps, before, after), None):
        raise (yield from _roll_back(migrating, begun, difference))
    return MigrationReport(
        plan,
        tuple((_found(before.sa(m.before.id)), _found(after.sa(m.after.id))) for m in _sa_moves(plan.steps)),
        tuple(
            (_found(before.policy(m.before.id)), _found(after.policy(m.after.id))) for m in _policy_moves(plan.steps)
        ),
    )


def _plan(dialect: Dialect, update: AddressUpdate, method: Method | None) -> Operation[tuple[MigrationPlan, Snapshot]]:
    _migrating(dialect)
    supports = {}
    for feature in (Feature.MIGRATE_STATE, Feature.MIGRATE):
        supports[feature] = yield from dialect.supports(feature)
    snapshot = yield from _snapshot(dialect)
    return make_plan(update, snapshot.sas, snapshot.policies, supports, method), snapshot


def _migrating(dialect: Dialect) -> MigratingDialect:
    if not isinstance(dialect, MigratingDialect):
        raise UnsupportedError(f"moving SAs over {dialect.name}", "open the xfrm engine, which sees the same SAs")
    return dialect


def _snapshot(dialect: Dialect) -> Operation[Snapshot]:
    sas = yield from ask(dialect.dump_sas(EVERY_SA))
    policies = yield from ask(dialect.dump_policies())
    return Snapshot(tuple(sas), tuple(policies))


def _sa_moves(steps: Sequence[Step]) -> Iterator[SAMove]:
    return (move for step in steps for move in step.sas)


def _policy_moves(steps: Sequence[Step]) -> Iterator[PolicyMove]:
    return (move for step in steps for move in step.policies)


def _differences(steps: Sequence[Step], before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Say, of each object, in what it differs from what was planned: a success is believed only when read back."""
    for move in _sa_moves(steps):
        old, new = before.sa(move.before.id), _moved(after, move)
        if old is None or new is None:
            yield f"the kernel reported success, but {move.before} is not at the new addresses"
        elif new.as_written() != move.after:
            yield f"the kernel moved {move.before} and lost something: {_differing(move.after, new.as_written())}"
        elif any(count < count_before for count, count_before in zip(_counts(new), _counts(old), strict=True)):
            yield f"the kernel moved {move.before} and its counters went back"
        elif not _same_window(old, new):
            yield f"the kernel moved {move.before} and forgot which packets it had received"
    for policy_move in _policy_moves(steps):
        policy = after.policy(policy_move.after.id)
        if policy is None or policy.as_written() != policy_move.after:
            yield f"{policy_move} is not as it was written"


def _moved(now: Snapshot, move: SAMove) -> SA | None:
    """Return the SA at its new place, None when it is not there."""
    old, new = move.before, move.after
    if old.id != new.id and now.sa(old.id) is not None:
        return None  # whatever is at the new place is another's
    sa = now.sa(new.id)
    if sa is None or (sa.source, sa.destination) != (new.source, new.destination):
        return None
    return sa if (old.source, old.destination) != (new.source, new.destination) or sa.encap == new.encap else None


def _differing(planned: SA, found: SA) -> str:
    names = [field.name for field in fields(SA) if getattr(planned, field.name) != getattr(found, field.name)]
    return ", ".join(names)


def _counts(sa: SA) -> tuple[int, ...]:
    replay = (sa.replay.outbound, sa.replay.inbound) if sa.replay else (0, 0)
    return (*replay, sa.usage.packets, sa.usage.octets, sa.usage.added) if sa.usage else replay


def _same_window(old: SA, new: SA) -> bool:
    if old.replay is None or new.replay is None or old.replay.inbound != new.replay.inbound:
        return True
    # Packets may have come meanwhile that fill gaps, and none is forgotten.
    windows = zip(old.replay.bitmap, new.replay.bitmap, strict=False)
    return all(word & later == word for word, later in windows)


def _roll_back(dialect: MigratingDialect, begun: Sequence[Step], reason: str) -> Operation[MigrationError]:
    """Undo the begun steps, last first, by what the kernel holds now, and return the error that says what is where."""
    try:
        return (yield from _undo(dialect, begun, reason))
    except PfkeyxError as error:
        reason += f"; what is where could not be read: {error}"
        return MigrationError(reason, moved=(), not_moved=(), rolled_back=False)


def _undo(dialect: MigratingDialect, begun: Sequence[Step], reason: str) -> Operation[MigrationError]:
    now = yield from _snapshot(dialect)
    for step in reversed(begun):
        moved = [move for move in step.sas if _moved(now, move) is not None]
        try:
            yield from perform(dialect, step.reversed(moved))
        except PfkeyxError as error:
            reason += f"; undoing it: {error}"
    now = yield from _snapshot(dialect)
    is_whole = True
    there: list[object] = []
    here: list[object] = []
    for move in _sa_moves(begun):
        sa = now.sa(move.before.id)
        (here if _moved(now, move) is None else there).append(move.before)
        if _moved(now, move) is None and (sa is None or sa.as_written() != move.before):
            reason += f"; {move.before} is {'gone' if sa is None else 'not as it was'}"
            is_whole = False
    for policy_move in _policy_moves(begun):
        policy = now.policy(policy_move.before.id)
        is_back = policy is not None and policy.as_written() == policy_move.before
        (here if is_back else there).append(policy_move.before)
    return MigrationError(reason, moved=there, not_moved=here, rolled_back=is_whole and not there)


def _found(item: T | None) -> T:
    if item is None:
        raise LookupError("a move was verified and its object is missing")
    return item
