"""Moves that cannot be, that are refused midway, or that were interrupted: all or nothing, and it converges."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

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
    KernelError,
    Method,
    MigrationError,
    Policy,
    UnsupportedError,
)
from pfkeyx.migration.move import migrate
from pfkeyx.operation import Batch, Exchange, run
from pfkeyx.xfrm import XfrmDialect, XfrmTransport
from tests.kernel.moves import check_wire, move, places, put_ahead, updates
from tests.kernel.topology import INWARD_SPI, Road
from tests.kernel.traffic import Traffic
from tests.kernel.values import authentication, encryption

GCM = (encryption(AES_GCM, 20), None)


#: Which datagram moves the inbound side; MIGRATE blocks the outbound side in one of its own.
INBOUND_STEP = {Method.MIGRATE_STATE: 2, Method.MIGRATE: 3}


class InterruptedTransport(XfrmTransport):
    """A transport in which something happens before the nth datagram of a move."""

    def __init__(self, before: int, happening: Callable[[], None]) -> None:
        super().__init__()
        self._left = before
        self._happening = happening

    def exchange(self, batch: Batch) -> Exchange:
        if batch.one_datagram:
            self._left -= 1
            if self._left == 0:
                self._happening()
        return (yield from super().exchange(batch))


class Killed(BaseException):
    """The end of a process, as far as a kernel can tell."""


def _kill() -> None:
    raise Killed


def test_a_move_that_is_refused_midway_is_undone(road: Road, traffic: Traffic, method: Method) -> None:
    road.set_up_tunnel(*GCM)
    first, second = places(road.family)
    update, _ = updates(first, second)
    engine = road.roaming.engine
    traffic.send()
    before = _everything(engine)
    inbound = next(sa for sa in before[0] if sa.id.spi == INWARD_SPI)
    occupant = replace(inbound.as_written(), id=replace(inbound.id, destination=second.roaming), reqid=99)
    plan = engine.plan_migration(update, method)
    with (
        closing(InterruptedTransport(INBOUND_STEP[method], lambda: engine.add_sa(occupant))) as transport,
        pytest.raises(MigrationError, match="everything is back at the old addresses") as refusal,
    ):
        run(migrate(XfrmDialect(), plan), transport)
    assert refusal.value.rolled_back
    assert refusal.value.moved == ()
    assert isinstance(refusal.value.__cause__, KernelError)
    engine.delete_sa(occupant.id)
    assert _everything(engine) == ([put_ahead(sa, method, 2) for sa in before[0]], before[1])
    traffic.send()
    check_wire(road, [first], came_back=method)


def test_a_move_that_was_interrupted_is_finished_by_the_same_call(road: Road, traffic: Traffic, method: Method) -> None:
    road.set_up_tunnel(*GCM)
    first, second = places(road.family)
    update, _ = updates(first, second)
    engine = road.roaming.engine
    plan = engine.plan_migration(update, method)
    with closing(InterruptedTransport(INBOUND_STEP[method], _kill)) as transport, pytest.raises(Killed):
        run(migrate(XfrmDialect(), plan), transport)
    assert {sa.source for sa in engine.dump_sas()} == {second.roaming, second.gateway}
    assert {sa.destination for sa in engine.dump_sas()} == {first.roaming, first.gateway}
    move(road, first, second, method)
    traffic.send()
    check_wire(road, [second])


def test_a_move_that_was_interrupted_in_the_bracket_has_failed_closed_and_is_finished(
    road: Road, traffic: Traffic
) -> None:
    road.set_up_tunnel(*GCM)
    first, second = places(road.family)
    update, _ = updates(first, second)
    engine = road.roaming.engine
    plan = engine.plan_migration(update, Method.MIGRATE)
    with closing(InterruptedTransport(2, _kill)) as transport, pytest.raises(Killed):
        run(migrate(XfrmDialect(), plan), transport)
    with pytest.raises(PermissionError):
        traffic.outward.send(1)
    move(road, first, second, Method.MIGRATE)
    traffic.send()
    check_wire(road, [second])


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


def test_aes_ctr_is_not_moved_by_a_method_that_would_kill_it(road: Road) -> None:
    road.set_up_tunnel(encryption(AES_CTR, 20), authentication())
    engine = road.roaming.engine
    before = _everything(engine)
    update, _ = updates(*places(road.family))
    with pytest.raises(UnsupportedError, match="aes-ctr"):
        engine.migrate(update)
    assert _everything(engine) == before


def test_the_pfkey_engine_names_the_one_that_can_move(road: Road) -> None:
    road.set_up_tunnel(encryption(), authentication(), engine_name="pfkey")
    update, _ = updates(*places(road.family))
    with road.roaming.open("pfkey") as engine:
        with pytest.raises(UnsupportedError, match="xfrm engine"):
            engine.migrate(update)
        with pytest.raises(UnsupportedError, match="xfrm engine"):
            engine.plan_migration(update)


def _everything(engine: Engine) -> tuple[list[SA], list[Policy]]:
    """Return the whole SAD and SPD, counters included, in an order of their own, but without a policy's counters.

    A policy that is written again counts from zero.
    """
    return (
        sorted(engine.dump_sas(), key=lambda sa: sa.id.spi),
        sorted((replace(p, usage=None) for p in engine.dump_policies()), key=lambda policy: policy.direction),
    )
