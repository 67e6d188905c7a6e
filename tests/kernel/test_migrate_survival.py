"""What survives a move by each method: all that a kernel shows is compared, and nothing may be lost unannounced."""

import re
import time
from collections.abc import Callable
from functools import partial

import pytest

from pfkeyx import Engine, Loss, Method, MigrationPlan, Progress, Replay, UnsupportedError
from pfkeyx.opening import EngineName
from pfkeyx.testing import Traffic
from tests.kernel.audit import requires
from tests.kernel.kernel_state import Difference, State, differences, moved_back, name_of, read_state
from tests.kernel.record import Record
from tests.kernel.survival import METHODS, PASSING, USED, WRITTEN, Case, Property, claim
from tests.kernel.topology import INWARD_SPI, Road

_PATIENCE_S = 120
#: What becomes of each property.
Outcomes = dict[Property, str]
#: What the plan announces for an SA, and what the fields begin with that then may differ.
_LOSSES = {
    Loss.SEQUENCE_GAP: ("sa.XFRMA_REPLAY_VAL.oseq", "sa.XFRMA_REPLAY_ESN_VAL.oseq"),
    Loss.OFFLOAD: ("sa.XFRMA_OFFLOAD_DEV.",),
    Loss.FAILURES: ("sa.stats.",),
    Loss.LAST_USED: ("sa.XFRMA_LASTUSED",),
    Loss.SOFT_LIMIT: ("sa.state",),
}
#: What it announces for policies, in words.
_POLICY_LOSSES = {
    "a policy's age": ("policy.curlft.add_time",),
    "the time of its last use": ("policy.curlft.use_time",),
    "its index": ("policy.index",),
}


@pytest.fixture(params=[pytest.param(m, marks=requires(feature), id=m.value) for m, feature in METHODS.items()])
def method(request: pytest.FixtureRequest) -> Method:
    """Each method in turn."""
    chosen: Method = request.param
    return chosen


def _params(cases: tuple[Case, ...]) -> list[object]:
    return [pytest.param(it, marks=[requires(it.feature)] if it.feature else [], id=it.name) for it in cases]


@pytest.mark.parametrize("case", _params(WRITTEN))
def test_what_is_not_kept_was_announced(case: Case, method: Method, record: Record) -> None:
    with Engine.open("xfrm") as xfrm, Engine.open(_engine_name(method)) as mover:
        for family in case.families:
            if _write(case, mover, xfrm, family):
                outcomes = _outcomes(case, family, mover, method, partial(read_state, xfrm))
            else:
                outcomes = dict.fromkeys(case.properties, _CANNOT_BE_SAID)
            _claim(record, method, family, outcomes)
            _flush(xfrm)


@pytest.mark.parametrize("family", USED.families, indirect=True)
def test_what_packets_have_left_is_kept_or_its_loss_was_announced(
    road: Road, traffic: Traffic, method: Method, record: Record
) -> None:
    xfrm = road.roaming.engine
    with road.roaming.open("pfkey") as pfkey, road.roaming.open(_engine_name(method)) as mover:
        USED.write(mover, xfrm, road.family)
        USED.holding(road.family).from_there().write(road.gateway.engine, road.gateway.engine)
        traffic.send(2)
        _fail_once(road, traffic)
        # Times are told in seconds: those of the move shall be others.
        time.sleep(1.1)

        def read() -> State:
            return read_state(xfrm) | {(name_of(sa), "sa.state"): sa.state for sa in pfkey.dump_sas()}

        outcomes = _outcomes(USED, road.family, mover, method, read)
    _claim(record, method, road.family, outcomes)


@pytest.mark.parametrize("family", [4], indirect=True)
def test_packets_pass_afterwards(road: Road, traffic: Traffic, method: Method, record: Record) -> None:
    road.decapsulate(4500)
    with road.roaming.open(_engine_name(method)) as here, road.gateway.open(_engine_name(method)) as there:
        for case in PASSING:
            outcomes = dict.fromkeys(case.properties, _CANNOT_BE_SAID)
            if _write(case, here, road.roaming.engine, road.family):
                case.holding(road.family).from_there().write(there, road.gateway.engine)
                traffic.send(1)
                outcomes = _outcomes(case, road.family, here, method, partial(read_state, road.roaming.engine))
            if _MOVES in outcomes.values():
                plan = there.plan_migration(case.update_there(road.family), method)
                there.migrate(plan, accept=plan.losses)
                traffic.send(1)
            _claim(record, method, road.family, outcomes)
            _flush(road.roaming.engine)
            _flush(road.gateway.engine)


_KEPT, _LOST, _MOVES, _NOT_TRIED, _CANNOT_BE_SAID = "kept", "lost", "moves", "not tried", "PF_KEY cannot say it"


def _write(case: Case, maker: Engine, xfrm: Engine, family: int) -> bool:
    """Write what moves, over the interface that moves it; return whether that can say it."""
    try:
        case.write(maker, xfrm, family)
    except UnsupportedError:
        assert maker.name == "pfkey"
        return False
    return True


def _flush(engine: Engine) -> None:
    engine.flush_sas()
    for policy_type in {policy.type for policy in engine.dump_policies()}:
        engine.flush_policies(policy_type)


def _outcomes(case: Case, family: int, mover: Engine, method: Method, read: Callable[[], State]) -> Outcomes:
    """Move, and return what becomes of each property of a case; no loss is unannounced."""
    before = read()
    try:
        plan = mover.plan_migration(case.update(family), method)
    except UnsupportedError as refusal:
        assert differences(before, read()) == []
        return {it: f"refused: {_reason(refusal)}" for it in case.properties}
    mover.migrate(plan, accept=plan.losses)
    after = moved_back(read(), case.moved(family))
    changed = [it for it in differences(before, after) if not it.field.startswith(case.replaced)]
    unannounced = sorted({it.field for it in changed if not _is_announced(it, plan)})
    assert unannounced == [], f"lost by {method.value}, and not announced: {unannounced}"
    return {it: _outcome(it, before, changed) for it in case.properties}


def _is_announced(difference: Difference, plan: MigrationPlan) -> bool:
    if difference.field.startswith("policy."):
        return any(words in str(plan) and difference.field.startswith(it) for words, it in _POLICY_LOSSES.items())
    announced = {loss for move in plan.sa_moves() if name_of(move.before) == difference.item for loss in move.losses}
    return any(loss in announced and difference.field.startswith(it) for loss, it in _LOSSES.items())


def _outcome(it: Property, before: State, changed: list[Difference]) -> str:
    if not it.fields:
        return _MOVES
    if not any(field.startswith(it.fields) and _is_set(field, value) for (_, field), value in before.items()):
        return _NOT_TRIED
    own = [difference for difference in changed if difference.field.startswith(it.fields)]
    if not own:
        return _KEPT
    if all(difference.field.endswith(".oseq") for difference in own):
        (ahead,) = {difference.after - difference.before for difference in own}
        assert ahead > 0
        return f"{ahead} ahead"
    return _LOST


def _is_set(field: str, value: object) -> bool:
    """Return whether a value says something: an attribute that is there does, whatever is in it."""
    return bool(value) or ("XFRMA_" in field and "." not in field.partition("XFRMA_")[2])


def _reason(refusal: UnsupportedError) -> str:
    """Return why a plan was refused, without the method and without which SA it is."""
    _, _, reason = (refusal.hint or refusal.feature).partition(": ")
    return re.sub(r"\w+ 0x[0-9a-f]{8} \S+ -> \S+", "the SA", reason)


def _claim(record: Record, method: Method, family: int, outcomes: Outcomes) -> None:
    for it, outcome in outcomes.items():
        record.claim(claim(it, method, family), outcome)


def _engine_name(method: Method) -> EngineName:
    return "pfkey" if method is Method.SADB_X_MIGRATE else "xfrm"


def _fail_once(road: Road, traffic: Traffic) -> None:
    """Have the roaming host's inbound SA drop a packet that is too old, and count it."""
    engine = road.roaming.engine
    inbound = next(sa for sa in engine.dump_sas() if sa.id.spi == INWARD_SPI)
    engine.set_progress(inbound, Progress(replay=Replay(0, 1000, (0xFFFFFFFF,))))
    traffic.inward.send_one(0)
    deadline = time.monotonic() + _PATIENCE_S
    while (failures := engine.get_sa(inbound.id).failures) is None or not failures.too_old:
        assert time.monotonic() < deadline, f"no packet was dropped by {inbound} in {_PATIENCE_S} s"
        time.sleep(0.05)
