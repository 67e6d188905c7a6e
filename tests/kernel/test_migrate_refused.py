"""Moves that cannot be, or that are refused midway: all or nothing, and what is said of it is so."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest

from pfkeyx import (
    AES_CTR,
    AES_GCM,
    SA,
    Action,
    AlreadyExistsError,
    Direction,
    Engine,
    InvalidRequestError,
    Method,
    MigrationError,
    MigrationReport,
    Policy,
    UnsupportedError,
)
from pfkeyx.testing import Traffic
from tests.kernel.interruption import migrate_interrupted, moments
from tests.kernel.moves import check_wire, move, places, updates
from tests.kernel.scenes import IS_SOAK, METHODS, STRANGER, NamedScene, Scene, State, by_method
from tests.kernel.topology import INWARD_SPI, Road
from tests.kernel.values import authentication, encryption

GCM = (encryption(AES_GCM, 20), None)
OUTBOUND, INBOUND = 0, 1


def _put_in_the_way(scene: Scene) -> None:
    scene.put_in_the_way()


def _delete_sa(scene: Scene, number: int) -> None:
    scene.engine.delete_sa(_sa_of(scene, number).id)


def _take_sa_away(scene: Scene, number: int) -> None:
    """Have an SA be where nobody looks for it, and somebody else's."""
    sa = _sa_of(scene, number)
    scene.engine.delete_sa(sa.id)
    elsewhere = replace(sa.id, destination=scene.new.roaming + 17)
    scene.engine.restore_sa(replace(sa, id=elsewhere, reqid=STRANGER))


def _sa_of(scene: Scene, number: int) -> SA:
    spi = scene.state(scene.old).sas[number].id.spi
    return next(sa for sa in scene.sas() if sa.id.spi == spi)


def _delete_policy(scene: Scene, direction: Direction) -> None:
    policy = next(policy for policy in scene.engine.dump_policies() if policy.direction is direction)
    scene.engine.delete_policy(policy.id)


#: What makes a kernel refuse a part of a move, or what others may do meanwhile; and whether all can be as before then.
TROUBLES: dict[str, tuple[Callable[[Scene], None], bool]] = {
    "place_taken": (_put_in_the_way, True),
    "outbound_policy_deleted": (partial(_delete_policy, direction=Direction.OUT), True),
    "inbound_policy_deleted": (partial(_delete_policy, direction=Direction.IN), True),
    "outbound_sa_deleted": (partial(_delete_sa, number=OUTBOUND), False),
    "inbound_sa_deleted": (partial(_delete_sa, number=INBOUND), False),
    "inbound_sa_taken_away": (partial(_take_sa_away, number=INBOUND), False),
}
SHORT = [
    *((Scene, method, "place_taken") for method in METHODS[Scene]),
    *((NamedScene, method, "place_taken") for method in METHODS[NamedScene]),
    (Scene, Method.MIGRATE, "inbound_policy_deleted"),
    (NamedScene, Method.REPLACE, "outbound_policy_deleted"),
    (Scene, Method.REPLACE, "inbound_sa_taken_away"),
]
LONG = [(kind, method, trouble) for kind, methods in METHODS.items() for method in methods for trouble in TROUBLES]


@pytest.fixture
def scene(kind: type[Scene], road: Road) -> Iterator[Scene]:
    """Set up what is moved."""
    with ExitStack() as stack:
        yield kind(road, GCM, stack)


@pytest.mark.parametrize("family", [4, 6] if IS_SOAK else [4], ids=lambda version: f"IPv{version}")
@by_method("kind", "method", "trouble", cases=LONG if IS_SOAK else SHORT)
def test_a_move_that_is_troubled_at_any_moment_is_undone_or_says_what_is_where(
    scene: Scene, method: Method, trouble: str
) -> None:
    happening, can_be_undone = TROUBLES[trouble]
    for moment in moments():
        scene.lay()
        scene.check_is_at(scene.old)
        before = {sa.id.spi: sa for sa in scene.sas()}
        result, count = migrate_interrupted(
            scene.update(scene.old, scene.new), method, {moment: partial(happening, scene)}
        )
        if isinstance(result, MigrationReport):
            _check_policies_and_sas(scene, scene.state(scene.new))
        else:
            _check_is_true(scene, result)
            assert result.rolled_back or not can_be_undone, str(result)
        if isinstance(result, MigrationError) and result.rolled_back:
            _check_is_whole(scene, before)
            scene.check_is_at(scene.old)
        else:
            scene.send()
        if count < moment.number:
            break
    assert moment.number > 1
    scene.check_wire()


def _check_policies_and_sas(scene: Scene, state: State) -> None:
    assert {sa.as_written() for sa in scene.sas()} == set(state.sas)
    assert {policy.as_written() for policy in scene.engine.dump_policies()} == set(state.policies)


def _check_is_true(scene: Scene, error: MigrationError) -> None:
    """Assert that an error says of every SA and policy where it is."""
    old, new = scene.state(scene.old), scene.state(scene.new)
    sas = [sa.as_written() for sa in scene.sas()]
    policies = [policy.as_written() for policy in scene.engine.dump_policies()]
    for sa, moved_sa in zip(old.sas, new.sas, strict=True):
        assert (sa in error.moved) == (moved_sa in sas)
        if sa in error.not_moved and sa not in sas:
            assert f"{sa} is gone" in str(error)
    for policy in old.policies:
        if policy in error.not_moved:
            assert policy in policies
        if policy in error.moved:
            assert policy not in policies
    is_as_before = set(old.sas) == set(sas) and set(old.policies) == set(policies)
    assert error.rolled_back == is_as_before
    assert error.rolled_back == ("everything is back at the old addresses" in str(error))


def _check_is_whole(scene: Scene, before: dict[int, SA]) -> None:
    """Assert that SAs that came back have their keys, their counters, and what they know of packets received."""
    for sa in scene.sas():
        old = before[sa.id.spi]
        assert sa.as_written() == old.as_written()
        assert sa.usage is not None
        assert old.usage is not None
        # A replacement forgets when an SA was used last.
        assert replace(sa.usage, last_used=None) == replace(old.usage, last_used=None)
        assert sa.replay is not None
        assert old.replay is not None
        assert sa.replay.outbound >= old.replay.outbound
        assert replace(sa.replay, outbound=0) == replace(old.replay, outbound=0)


def test_policies_that_an_interrupted_move_left_blocked_are_allowed_again(road: Road, traffic: Traffic) -> None:
    road.set_up_tunnel(*GCM)
    first, second = places(road.family)
    engine = road.roaming.engine
    outward = next(p for p in engine.dump_policies() if p.direction is Direction.OUT)
    engine.update_policy(replace(outward.as_written(), action=Action.BLOCK))
    with pytest.raises(PermissionError):
        traffic.outward.send(1)
    move(road, first, second)
    assert {policy.action for policy in engine.dump_policies()} == {Action.ALLOW}
    traffic.send()
    check_wire(road, [second])


def test_a_second_move_of_the_same_update_does_nothing(road: Road) -> None:
    road.set_up_tunnel(*GCM)
    engine = road.roaming.engine
    update, _ = updates(*places(road.family))
    assert len(engine.migrate(update).sas) == 2
    moved = _everything(engine)
    report = engine.migrate(update)
    assert (report.sas, report.policies, report.plan.steps) == ((), (), ())
    assert _everything(engine) == moved


def test_a_plan_that_is_out_of_date_is_refused(road: Road) -> None:
    road.set_up_tunnel(*GCM)
    engine = road.roaming.engine
    update, _ = updates(*places(road.family))
    plan = engine.plan_migration(update)
    engine.delete_sa(next(sa.id for sa in engine.dump_sas() if sa.id.spi == INWARD_SPI))
    before = _everything(engine)
    with pytest.raises(InvalidRequestError, match="plan again"):
        engine.migrate(plan)
    assert _everything(engine) == before


def test_a_place_that_is_taken_is_found_before_anything_moves(road: Road) -> None:
    road.set_up_tunnel(*GCM)
    engine = road.roaming.engine
    first, second = places(road.family)
    inbound = next(sa.as_written() for sa in engine.dump_sas() if sa.id.spi == INWARD_SPI)
    engine.add_sa(replace(inbound, id=replace(inbound.id, destination=second.roaming), reqid=99))
    before = _everything(engine)
    update, _ = updates(first, second)
    with pytest.raises(AlreadyExistsError, match="delete it first"):
        engine.migrate(update)
    assert _everything(engine) == before


def test_an_update_from_addresses_that_nobody_has_is_refused(road: Road) -> None:
    road.set_up_tunnel(*GCM)
    first, second = places(road.family)
    strange = replace(first, gateway=road.addresses.roaming_inner)
    update, _ = updates(strange, second)
    with pytest.raises(InvalidRequestError, match="is the old address right"):
        road.roaming.engine.migrate(update)


def test_aes_ctr_is_not_moved_by_a_method_that_would_kill_it(road: Road, method: Method) -> None:
    road.set_up_tunnel(encryption(AES_CTR, 20), authentication())
    engine = road.roaming.engine
    before = _everything(engine)
    update, _ = updates(*places(road.family))
    if method in (Method.ADDRUPDATE, Method.REPLACE):
        assert {move.method for move in engine.plan_migration(update, method).sa_moves()} == {method}
    else:
        with pytest.raises(UnsupportedError, match="aes-ctr"):
            engine.plan_migration(update, method)
    assert _everything(engine) == before


def _everything(engine: Engine) -> tuple[list[SA], list[Policy]]:
    """Return the whole SAD and SPD, counters included, in an order of their own, but without a policy's counters.

    A policy that is written again counts from zero.
    """
    return (
        sorted(engine.dump_sas(), key=lambda sa: sa.id.spi),
        sorted((replace(p, usage=None) for p in engine.dump_policies()), key=lambda policy: policy.direction),
    )
