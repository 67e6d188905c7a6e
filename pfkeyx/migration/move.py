"""The operations that plan and move: read, do each step, believe nothing that was not read back, undo on refusal."""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pfkeyx.dialect import Dialect
from pfkeyx.errors import (
    InvalidRequestError,
    MigrationError,
    NotFoundError,
    PfkeyxError,
    SupersededError,
    UnsupportedError,
)
from pfkeyx.features import Feature, Support
from pfkeyx.migration.methods import Supports
from pfkeyx.migration.perform import Held, chunks, perform, restore
from pfkeyx.migration.plan import Loss, Method, MigrationPlan, PolicyMove, Step
from pfkeyx.migration.planning import make_plan
from pfkeyx.migration.reading import Snapshot, can_read_by_name, read, read_back
from pfkeyx.migration.report import MigrationReport, differences, is_moved
from pfkeyx.migration.tables import Pairs, made
from pfkeyx.migration.templates import Index
from pfkeyx.migration.update import KEEP, AddressUpdate, Keep
from pfkeyx.model import SA, Action, AddressPair, Direction, IPAddress, Policy, SAId, UdpEncap
from pfkeyx.model.deferred import changed
from pfkeyx.operation import Batch, Operation, Request, ask, keep, work

#: Is told how many SAs have moved so far, and of how many.
ProgressCallback = Callable[[int, int], None]

#: What a kernel has to have for a method.
METHOD_FEATURES = {
    Method.ADDRUPDATE: Feature.ADDRUPDATE,
    Method.MIGRATE_STATE: Feature.MIGRATE_STATE,
    Method.MIGRATE: Feature.MIGRATE,
    Method.REPLACE: Feature.RESTORE,
    Method.SADB_X_MIGRATE: Feature.MIGRATE,
}
#: The interface that alone has a method.
METHOD_ENGINES = {Method.MIGRATE: "xfrm", Method.SADB_X_MIGRATE: "pfkey"}


def plan_migration(
    dialect: Dialect, update: AddressUpdate, method: Method | None = None, *, hold: bool = False
) -> Operation[MigrationPlan]:
    """Read the kernel and return the plan for an update; nothing is changed."""
    plan, _ = yield from _plan(dialect, update, method, hold=hold)
    return plan


def migrate(
    dialect: Dialect,
    what: MigrationPlan | AddressUpdate,
    accept: Iterable[Loss] = (),
    progress: ProgressCallback | None = None,
    is_superseded: Callable[[], bool] = lambda: False,
) -> Operation[MigrationReport]:
    """Move what an update or a plan says, all or nothing, and report what was read back.

    Raises `InvalidRequestError` for a plan that the kernel's state has outrun, `UnsupportedError` for a loss that is
    not accepted, `MigrationError` when a step was refused or was not found done: earlier steps were undone then, as
    the error says. `SupersededError` when `is_superseded` says so between two steps, which are not undone.
    """
    update = what.update if isinstance(what, MigrationPlan) else what
    if is_superseded():
        raise SupersededError(f"migrate {update}", moved=(), not_moved=())
    if isinstance(what, MigrationPlan):
        plan, before = yield from _plan(dialect, update, what.method, hold=what.hold, earlier=what)
        if plan is not what and plan.steps and plan != what:
            raise InvalidRequestError(f"migrate {update}: {_outrun(what, plan)} since this plan was made; plan again")
    else:
        plan, before = yield from _plan(dialect, update, None, hold=False)
    plan.of(None)  # keys of others too, which nobody asks for any more
    if refusals := plan.refusals(accept):
        losses = "; ".join(f"Loss.{loss.name}: {loss.value}" for loss in refusals)
        raise UnsupportedError(f"moving {update} without a loss", f"accept it, or leave them: {losses}")
    begun: list[Step] = []
    held: Held = {}
    done, total = 0, sum(1 for _ in plan.sa_moves())
    try:
        for chunk in chunks(plan.steps):
            if is_superseded():
                break
            begun += chunk
            yield from perform(dialect, chunk, held, hold=plan.hold)
            done += sum(len(step.sas) for step in chunk)
            if progress is not None:
                progress(done, total)
        after = yield from read_back(dialect, update, begun)
    except Exception as error:
        raise (yield from _roll_back(dialect, update, begun, held, str(error))) from error
    difference = yield from work(lambda: next(differences(begun, before, after, dialect.as_shown), None))
    if difference is not None:
        raise (yield from _roll_back(dialect, update, begun, held, difference))
    if len(begun) < len(plan.steps):
        rest = plan.steps[len(begun) :]
        raise SupersededError(f"migrate {update}", moved=_befores(begun), not_moved=_befores(rest))
    return MigrationReport(
        plan,
        Pairs(before.sas, after.sas, [(m.before.handle, m.after.handle) for m in plan.sa_moves()]),
        Pairs(
            before.policies,
            after.policies,
            [(m.before.handle, m.after.handle) for m in plan.policy_moves() if m.after is not m.before],
        ),
    )


def update_address(
    dialect: Dialect,
    sa_id: SAId,
    source: IPAddress,
    destination: IPAddress,
    encap: UdpEncap | Keep | None = KEEP,
    accept: Iterable[Loss] = (),
) -> Operation[MigrationReport]:
    """Give one SA other ends and leave all policies as they are (draft-schilcher-mobike-pfkey-extension-01 §3)."""
    sa = yield from ask(dialect.get_sa(sa_id))
    old, new = AddressPair(sa.source, sa.destination), AddressPair(source, destination)
    if (yield from ask(keep(dialect.dump_policies(), partial(_takes_inbound, sa)))):
        old, new = AddressPair(old.remote, old.local), AddressPair(new.remote, new.local)
        encap = encap.reversed() if isinstance(encap, UdpEncap) else encap
    return (yield from migrate(dialect, AddressUpdate(old, new, encap, (sa.id,), policies=False), accept))


def _takes_inbound(sa: SA, policy: Policy) -> bool:
    return policy.direction is not Direction.OUT and any(Index([sa]).used_by(policy))


def _plan(
    dialect: Dialect,
    update: AddressUpdate,
    method: Method | None,
    *,
    hold: bool,
    earlier: MigrationPlan | None = None,
) -> Operation[tuple[MigrationPlan, Snapshot]]:
    """Return the plan for an update, an `earlier` one where it would be the same, and what it is made of."""
    supports = {}
    for each, feature in METHOD_FEATURES.items():
        engine = METHOD_ENGINES.get(each, dialect.name)
        if engine == dialect.name:
            supports[each] = yield from dialect.supports(feature)
        else:
            supports[each] = Support(False, f"the {engine} engine has it, which sees the same SAs")
    by_name = can_read_by_name(dialect, update) and _moves_by_spi(supports, method)
    if by_name:
        supports[Method.MIGRATE] = Support(False, "it moves the newest of several SAs, and only the named are read")
    snapshot = yield from read(dialect, update, others=not by_name)
    basis = _Basis(dialect.name, supports, snapshot)
    if earlier is not None and (yield from work(partial(basis.still_gives, earlier))):
        plan = earlier
    else:
        make = partial(make_plan, supports=supports, method=method, hold=hold, can_block=dialect.sends_together)
        plan = yield from work(partial(_make_plan, snapshot, partial(make, update)))
        plan.of(basis)
    if not dialect.sends_together:
        yield from _check_seen(dialect, plan, snapshot)
    return plan, snapshot


def _make_plan(snapshot: Snapshot, make: Callable[[Sequence[SA], Sequence[Policy]], MigrationPlan]) -> MigrationPlan:
    # Nothing of what comes is garbage before it is done, and to look for some takes as long as to make it.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return make([*snapshot.sas.values()], made(snapshot.all_policies))
    finally:
        if was_enabled:
            gc.enable()


def _moves_by_spi(supports: Supports, method: Method | None) -> bool:
    """Return whether SAs can be moved each by its SPI, whatever others there are."""
    if method is None:
        return any(supports[each].available for each in (Method.ADDRUPDATE, Method.MIGRATE_STATE))
    return method not in (Method.MIGRATE, Method.SADB_X_MIGRATE)


@dataclass(frozen=True, slots=True, eq=False)
class _Basis:
    """What a plan is made of."""

    engine: str
    supports: Supports
    snapshot: Snapshot

    def still_gives(self, plan: MigrationPlan) -> bool:
        """Return whether this plan was made of the same, so that it need not be made again to be compared."""
        made_of = plan.made_of
        if made_of is None or (made_of.engine, made_of.supports) != (self.engine, self.supports):
            return False
        # No other method looks at numbers that go on.
        is_counting = any(move.method in (Method.MIGRATE, Method.REPLACE) for move in plan.sa_moves())
        counted = SA.counted.keys() - ({"state", "replay"} if is_counting else {"state"})
        return self.snapshot.is_like(made_of.snapshot, counted)


def _check_seen(dialect: Dialect, plan: MigrationPlan, snapshot: Snapshot) -> Operation[None]:
    """Raise `UnsupportedError` for a policy that has a mark or an if_id, which PF_KEY does not show."""
    for move in plan.policy_moves():
        try:
            # It finds only those that have none; writing another would add a policy beside it.
            yield from ask(dialect.get_policy(snapshot.policies[move.before.handle].index))
        except NotFoundError as error:
            hint = f"{move} has a mark or an interface id, which PF_KEY does not show: open the xfrm engine"
            raise UnsupportedError(f"migrate {plan.update}", hint) from error


def _outrun(planned: MigrationPlan, now: MigrationPlan) -> str:
    """Say in what the SAD and SPD differ from those that a plan was made for."""
    old = {move.before.handle: move.before for move in planned.sa_moves()}
    new = {move.before.handle: move.before for move in now.sa_moves()}
    gone = [str(sa) for sa_id, sa in old.items() if sa_id not in new]
    come = [str(sa) for sa_id, sa in new.items() if sa_id not in old]
    if gone:
        return f"{', '.join(gone)} has gone from the old addresses"
    if come:
        return f"{', '.join(come)} has come to the old addresses"
    return "the SAs or policies have changed"


def _befores(steps: Iterable[Step]) -> list[object]:
    return [item for step in steps for item in (*(m.before for m in step.sas), *(m.before for m in step.policies))]


def _roll_back(
    dialect: Dialect, update: AddressUpdate, begun: Sequence[Step], held: Held, reason: str
) -> Operation[MigrationError]:
    """Undo the begun steps, last first, by what the kernel holds now, and return the error that says what is where."""
    try:
        reason += yield from _undo(dialect, update, begun, held)
        return (yield from _tell(dialect, update, begun, reason))
    except PfkeyxError as error:
        reason += f"; what is where could not be read: {error}"
        return MigrationError(reason, moved=(), not_moved=(), rolled_back=False)


def _undo(dialect: Dialect, update: AddressUpdate, begun: Sequence[Step], held: Held) -> Operation[str]:
    """Undo what was done, and return what the kernel said against it."""
    now = yield from read(dialect, update)
    complaints = ""
    if lost := [*_lost_policies(dialect, begun, now), *_lost_sas(dialect, begun, held, now)]:
        complaints += yield from _put_back(lost)
        now = yield from read(dialect, update)
    undoing: Held = {}
    for chunk in chunks([_back(step, now) for step in reversed(begun)]):
        try:
            yield from perform(dialect, chunk, undoing, is_undo=True)
        except PfkeyxError as error:
            complaints += f"; undoing it: {error}"
            back = {m.after.handle: m.before.handle for step in chunk for m in step.sas}
            read_last = {old: undoing[new] for old, new in back.items() if new in undoing}
            if read_last:
                now = yield from read(dialect, update)
                complaints += yield from _put_back(list(_lost_sas(dialect, begun, read_last, now)))
    return complaints


def _lost_policies(dialect: Dialect, begun: Sequence[Step], now: Snapshot) -> Iterator[Request[None]]:
    """Yield what puts back policies that somebody has deleted: MIGRATE finds SAs through one. Outbound they block."""
    for step in begun:
        for move in step.policies:
            if not {move.before.handle, move.after.handle} & now.policies.keys():
                lost = move.before if move.renamed else move.after
                yield dialect.update_policy(changed(lost, action=Action.BLOCK) if step.outbound else lost)


def _lost_sas(dialect: Dialect, begun: Sequence[Step], held: Held, now: Snapshot) -> Iterator[Request[None]]:
    """Yield what adds SAs again, as they were read, that are neither at the old nor at the new place.

    Their addition was refused after their deletion.
    """
    for step in begun:
        for move in step.sas:
            sa = held.get(move.before.handle)
            if sa is not None and move.before.handle not in now.sas and not is_moved(now, move):
                yield restore(dialect, changed(move.before, replay=sa.replay, usage=sa.usage), step.outbound)


def _put_back(requests: Sequence[Request[None]]) -> Operation[str]:
    complaints = ""
    for request in requests:
        try:
            yield Batch((request,), one_datagram=True)
        except PfkeyxError as error:
            complaints += f"; putting it back: {error}"
    return complaints


def _back(step: Step, now: Snapshot) -> Step:
    """Return the step that undoes what of a step has been done."""
    sas = tuple(move.reversed() for move in step.sas if is_moved(now, move))
    is_whole = all(move.before.handle in now.sas or is_moved(now, move) for move in step.sas)
    policies = tuple(_policy_back(move, now, step.outbound and not is_whole) for move in step.policies)
    return replace(step, sas=sas, policies=policies)


def _policy_back(move: PolicyMove, now: Snapshot, has_lost_sas: bool) -> PolicyMove:
    back = move.reversed()
    if has_lost_sas and move.has_optional:
        # Its packets would leave in clear.
        back = replace(back, after=changed(back.after, action=Action.BLOCK))
    # Of one that was to be renamed there may be nothing yet under the new name.
    return back if not move.renamed or move.after.handle in now.policies else PolicyMove(move.before, back.after)


def _tell(dialect: Dialect, update: AddressUpdate, begun: Sequence[Step], reason: str) -> Operation[MigrationError]:
    """Return the error that says where everything is now."""
    now = yield from read(dialect, update)
    is_whole = True
    there: list[object] = []
    here: list[object] = []
    for move in (move for step in begun for move in step.sas):
        sa = now.sas.get(move.before.handle)
        moved = is_moved(now, move)
        (there if moved else here).append(move.before)
        if not moved and (sa is None or sa.as_written() != move.before):
            reason += f"; {move.before} is {'gone' if sa is None else 'not as it was'}"
            is_whole = False
    for policy_move in (move for step in begun for move in step.policies):
        policy = now.policies.get(policy_move.before.handle)
        is_back = policy is not None and policy.as_written() == policy_move.reversed().after
        is_back = is_back and not (policy_move.renamed and policy_move.after.handle in now.policies)
        (here if is_back else there).append(policy_move.before)
    return MigrationError(reason, moved=there, not_moved=here, rolled_back=is_whole and not there)
