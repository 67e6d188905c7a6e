"""What a kernel says unasked: limits that were reached, and packets that want an SA."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from pfkeyx import Acquire, AsyncEngine, Direction, Engine, Event, EventStream, Expire, Lifetime, Limit, NotFoundError
from pfkeyx.engine import EngineName
from tests.kernel.topology import INWARD_SPI, OUTWARD_SPI, Road
from tests.kernel.traffic import Traffic
from tests.kernel.values import authentication, encryption, make_policies, make_sa

_PATIENCE_S = 120
SUITE = (encryption(), authentication())


@pytest.fixture
def events(engine: Engine) -> Iterator[EventStream]:
    """Listen to all events of the test's namespace, over the engine's interface."""
    with engine.watch() as events:
        yield events


def test_an_sa_that_gets_old_is_announced_and_goes(engine: Engine, events: EventStream) -> None:
    lifetime = Lifetime(soft=Limit(seconds=1), hard=Limit(seconds=3))
    sas = [make_sa(family, lifetime=lifetime) for family in (4, 6)]
    engine.add_sas(sas)
    assert {_next(events), _next(events)} == {Expire(sa.id, sa.source, sa.reqid, hard=False) for sa in sas}
    assert {_next(events), _next(events)} == {Expire(sa.id, sa.source, sa.reqid, hard=True) for sa in sas}
    for sa in sas:
        with pytest.raises(NotFoundError):
            engine.get_sa(sa.id)


@pytest.mark.parametrize("family", [4], indirect=True)
def test_an_sa_that_has_carried_enough_packets_is_announced(
    engine: Engine, events: EventStream, road: Road, traffic: Traffic
) -> None:
    road.set_up_tunnel(*SUITE)
    outbound = next(sa for sa in engine.dump_sas() if sa.id.spi == OUTWARD_SPI)
    engine.update_sa(replace(outbound.as_written(), lifetime=Lifetime(soft=Limit(packets=2), hard=Limit(packets=4))))
    traffic.outward.send(3)
    assert _next(events) == Expire(outbound.id, outbound.source, outbound.reqid, hard=False)
    traffic.outward.send(1)
    with suppress(OSError):
        traffic.outward.sender.sendto(b"one too many", traffic.outward.destination)
    assert _next(events) == Expire(outbound.id, outbound.source, outbound.reqid, hard=True)
    assert [sa.id.spi for sa in engine.dump_sas()] == [INWARD_SPI]


@pytest.mark.parametrize("family", [6], indirect=True)
def test_a_packet_without_an_sa_asks_for_one(engine: Engine, events: EventStream, road: Road, traffic: Traffic) -> None:
    engine.add_policies(make_policies(road.family))
    index = next(policy.index for policy in engine.dump_policies() if policy.direction is Direction.OUT)
    traffic.outward.sender.sendto(b"a first packet", traffic.outward.destination)
    event = _next(events)
    assert isinstance(event, Acquire)
    assert (event.source, event.destination) == (road.addresses.roaming, road.addresses.gateway)
    assert event.policy_index == index
    if engine.name == "xfrm":
        assert event.reqid == 7
        assert event.selector is not None
        assert event.selector.destination == road.addresses.gateway_net


def test_only_the_kinds_that_were_asked_for_come(road: Road, traffic: Traffic) -> None:
    engine = road.roaming.engine
    engine.add_policies(make_policies(road.family))
    sa = make_sa(road.family, lifetime=Lifetime(hard=Limit(seconds=1)), reqid=99)
    with engine.watch(Expire) as expiries, engine.watch() as all_events:
        traffic.outward.sender.sendto(b"a first packet", traffic.outward.destination)
        assert isinstance(_next(all_events), Acquire)
        engine.add_sa(sa)
        assert _next(expiries) == Expire(sa.id, sa.source, sa.reqid, hard=True)


def test_requests_and_events_have_sockets_of_their_own(engine: Engine, events: EventStream) -> None:
    assert events.fileno() != engine._transport.fileno()
    # What is asked, and what it changes, is no event, and an event does not disturb an answer.
    for spi in range(0x1000, 0x1020):
        engine.add_sa(make_sa(4, spi))
    assert len(engine.dump_sas()) == 32
    assert events.next(timeout_s=0) is None


async def test_events_are_awaited_beside_requests(engine_name: EngineName) -> None:
    sa = make_sa(6, lifetime=Lifetime(hard=Limit(seconds=1)))
    async with AsyncEngine.open(engine_name) as engine, engine.watch(Expire) as events:
        await engine.add_sa(sa)
        assert await events.next() == Expire(sa.id, sa.source, sa.reqid, hard=True)
        assert await engine.dump_sas() == []


def _next(events: EventStream) -> Event:
    event = events.next(_PATIENCE_S)
    assert event is not None, f"no event came in {_PATIENCE_S} s"
    return event
