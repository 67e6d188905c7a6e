"""What a kernel says unasked: limits that were reached, packets that want an SA, and what others change."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pfkeyx import (
    SA,
    Acquire,
    AddressPair,
    AsyncEngine,
    Change,
    Direction,
    Engine,
    Event,
    EventsLostError,
    EventStream,
    Expire,
    Lifetime,
    Limit,
    Migrated,
    NatMapping,
    NotFoundError,
    Policy,
    PolicyChange,
    PolicyFlush,
    Port,
    Protocol,
    SAChange,
    SAFlush,
    UdpEncap,
)
from pfkeyx.model import EVERY_SA
from pfkeyx.opening import EngineName
from pfkeyx.operation import Request, ask, run
from pfkeyx.testing import Traffic
from pfkeyx.xfrm import XfrmDialect, XfrmTransport
from pfkeyx.xfrm.entry import SAEntry
from tests.kernel.topology import INWARD_SPI, Road
from tests.kernel.values import ADDRESSES, authentication, encryption, make_policies, make_sa, roaming_tunnel

_PATIENCE_S = 120
SUITE = (encryption(), authentication())
LIMITS = Lifetime(soft=Limit(seconds=3000), hard=Limit(seconds=3600))


@pytest.fixture
def events(engine: Engine) -> Iterator[EventStream]:
    """Listen to all events of the test's namespace, over the engine's interface."""
    with engine.watch() as events:
        yield events


@pytest.fixture
def changes(engine: Engine) -> Iterator[EventStream]:
    """Listen to what others change; PF_KEY tells that without a registration, which takes an emulated kernel long."""
    with engine.watch(SAChange, SAFlush, PolicyChange, PolicyFlush) as changes:
        yield changes


@pytest.fixture(params=["xfrm", "pfkey"], ids=["other-xfrm", "other-pfkey"])
def other(request: pytest.FixtureRequest, own_network_namespace: None) -> Iterator[Engine]:  # noqa: ARG001
    """Open another engine of each kernel interface in turn."""
    with Engine.open(request.param) as other:
        yield other


def test_an_sa_is_announced_at_its_limits_of_time_octets_and_packets(
    engine: Engine, road: Road, traffic: Traffic
) -> None:
    at = road.addresses
    sas = [
        make_sa(road.family, 0x1000 + reqid, reqid=reqid, lifetime=Lifetime(soft, hard))
        for reqid, (soft, hard) in enumerate(
            (
                (Limit(seconds=1), Limit(seconds=6)),
                (Limit(octets=1), Limit(octets=1000)),
                (Limit(packets=1), Limit(packets=2)),
            ),
            start=1,
        )
    ]
    out = make_policies(road.family)[0]
    (template,) = out.templates
    engine.add_policies(
        replace(
            out,
            selector=replace(out.selector, protocol=socket.IPPROTO_UDP, destination_port=Port(sa.reqid)),
            templates=(replace(template, reqid=sa.reqid),),
        )
        for sa in sas
    )
    with engine.watch(Expire) as events:
        engine.add_sas(sas)
        # The kernel looks at what was counted before it counts, so at the second packet, and at the third.
        for _, sa in product(range(3), sas[1:]):
            with suppress(OSError):
                traffic.outward.sender.sendto(bytes(600), (str(at.gateway_inner), sa.reqid))
        told = [_next(events) for _ in range(2 * len(sas))]
    assert set(told) == {Expire(sa.id, sa.source, sa.reqid, hard=hard) for sa in sas for hard in (False, True)}
    for sa in sas:
        assert told.index(Expire(sa.id, sa.source, sa.reqid, hard=False)) < told.index(
            Expire(sa.id, sa.source, sa.reqid, hard=True)
        )
        with pytest.raises(NotFoundError):
            engine.get_sa(sa.id)


def test_a_packet_without_an_sa_asks_for_one(engine: Engine, events: EventStream, road: Road, traffic: Traffic) -> None:
    engine.add_policies(make_policies(road.family))
    out = next(policy for policy in engine.dump_policies() if policy.direction is Direction.OUT)
    traffic.outward.sender.sendto(b"a first packet", traffic.outward.destination)
    event = _next(events)
    assert isinstance(event, Acquire)
    assert (event.source, event.destination) == (road.addresses.roaming, road.addresses.gateway)
    assert event.protocol is Protocol.ESP
    assert event.policy_id == out.index
    assert engine.get_policy(event.policy_id).as_written() == out.as_written()
    if engine.name == "xfrm":
        assert event.reqid == 7
        assert event.selector is not None
        assert event.selector.destination == road.addresses.gateway_net
        assert event.policy is not None
        assert replace(event.policy, usage=None) == replace(out, usage=None)
    # The larval SA that waits is found by its sequence, whatever else is asked for. That is the event's, unless both
    # kernel interfaces are there, and the other one's module was loaded later.
    assert event.sequence != 0
    spi = engine.get_spi(event.source, event.destination, reqid=99, sequence=_larval_sequence())
    assert [(sa.id.spi, sa.reqid) for sa in engine.dump_sas()] == [(spi, 7)]


@pytest.mark.parametrize("family", [4], indirect=True)
def test_a_packet_that_asked_for_an_sa_in_time_arrives(engine: Engine, road: Road, traffic: Traffic) -> None:
    gateway, here = road.gateway.engine, roaming_tunnel(road.family)
    there = here.reversed()
    Path("/proc/sys/net/core/xfrm_larval_drop").write_text("0")
    engine.add_policies(here.policies())
    gateway.add_policies(there.policies())
    with engine.watch(Acquire) as acquires:
        traffic.outward.send_one(1)
        acquire = _next(acquires)
        assert isinstance(acquire, Acquire)
        spi = gateway.get_spi(acquire.source, acquire.destination, reqid=there.reqid)
        gateway.update_sa(there.inbound(spi, *SUITE))
        engine.add_sa(here.outbound(spi, *SUITE))
        traffic.outward.wait_for(0)
    assert traffic.outward.arrived == [1]
    (sa,) = engine.dump_sas()
    assert sa.usage is not None
    assert (sa.id.spi, sa.usage.packets) == (spi, 1)


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


def test_what_an_engine_changes_itself_is_no_event(
    engine: Engine, changes: EventStream, other: Engine, family: int
) -> None:
    sa, policy = make_sa(family), make_policies(family)[0]
    engine.add_sas([sa, make_sa(family, 0x1001)])
    engine.update_sa(replace(sa, lifetime=LIMITS))
    engine.delete_sa(sa.id)
    engine.flush_sas()
    engine.add_policies(make_policies(family))
    engine.update_policy(replace(policy, priority=9))
    engine.delete_policy(policy.id)
    engine.flush_policies()
    other.add_sa(sa)
    assert _next_sa_change(changes) == (Change.ADDED, sa)
    assert changes.next(timeout_s=0) is None


def test_what_others_do_to_sas_is_told(changes: EventStream, other: Engine, family: int) -> None:
    sa = make_sa(family)
    longer = replace(sa, lifetime=LIMITS)
    other.add_sa(sa)
    assert _next_sa_change(changes) == (Change.ADDED, sa)
    other.update_sa(longer)
    assert _next_sa_change(changes) == (Change.UPDATED, longer)
    other.delete_sa(sa.id)
    assert _next_sa_change(changes) == (Change.DELETED, longer)
    other.add_sa(sa)
    assert _next_sa_change(changes) == (Change.ADDED, sa)
    other.flush_sas(Protocol.ESP)
    assert _next(changes) == SAFlush(Protocol.ESP)
    other.add_sa(sa)
    assert _next_sa_change(changes) == (Change.ADDED, sa)
    other.flush_sas()
    assert _next(changes) == SAFlush(None)
    assert changes.next(timeout_s=0) is None


def test_what_others_do_to_policies_is_told(changes: EventStream, other: Engine, family: int) -> None:
    policy = make_policies(family)[0]
    stronger = replace(policy, priority=9)
    other.add_policy(policy)
    index = other.dump_policies()[0].index
    assert _next_policy_change(changes) == (Change.ADDED, replace(policy, index=index))
    other.update_policy(stronger)
    assert _next_policy_change(changes) == (Change.UPDATED, replace(stronger, index=index))
    other.delete_policy(index)
    assert _next_policy_change(changes) == (Change.DELETED, replace(stronger, index=index))
    other.add_policy(policy)
    assert _next_policy_change(changes)[0] is Change.ADDED
    other.delete_policy(policy.id)
    assert _next_policy_change(changes)[0] is Change.DELETED
    other.add_policy(policy)
    assert _next_policy_change(changes)[0] is Change.ADDED
    other.flush_policies()
    assert _next(changes) == PolicyFlush()
    assert changes.next(timeout_s=0) is None


def test_a_move_is_told_whoever_made_it(engine: Engine, family: int) -> None:
    at = ADDRESSES[family]
    out = make_policies(family)[0]
    (old,) = out.templates
    new = replace(old, source=at.roaming_later)
    engine.add_policy(out)
    with engine.watch(Migrated) as events, closing(XfrmTransport()) as mover:
        run(ask(XfrmDialect().migrate_policy(out.id, [(old, new)])), mover)
        assert _next(events) == Migrated(out.id, ((old, new),))
        if isinstance(engine._transport, XfrmTransport):
            run(ask(XfrmDialect().migrate_policy(out.id, [(new, old)])), engine._transport)
            assert _next(events) == Migrated(out.id, ((new, old),))
        assert events.next(timeout_s=0) is None


def test_the_addresses_of_the_key_managers_are_told_with_a_move(engine: Engine, family: int) -> None:
    at = ADDRESSES[family]
    out = make_policies(family)[0]
    (old,) = out.templates
    new = replace(old, source=at.roaming_later)
    engine.add_policy(out)
    with engine.watch(Migrated) as events, closing(XfrmTransport()) as mover:
        pair = AddressPair(at.roaming_later, at.gateway)
        run(ask(XfrmDialect().migrate_policy(out.id, [(old, new)], kmaddress=pair)), mover)
        assert _next(events) == Migrated(out.id, ((old, new),), pair)


def test_a_peer_that_is_heard_from_another_port_is_told(engine: Engine, road: Road, traffic: Traffic) -> None:
    _, there = road.set_up_tunnel(*SUITE, encap=UdpEncap())
    road.decapsulate(4500)
    traffic.send(1)
    with engine.watch(NatMapping) as events:
        gateway = road.gateway.engine
        outbound = next(sa for sa in gateway.dump_sas() if sa.id.spi == INWARD_SPI)
        gateway.update_sa(replace(outbound.as_written(), encap=UdpEncap(61234, 4500)))
        traffic.inward.send(1)
        event = _next(events)
    assert isinstance(event, NatMapping)
    told = (event.spi, event.old_address, event.old_port, event.new_address, event.new_port)
    assert told == (INWARD_SPI, there.local, 4500, there.local, 61234)
    if engine.name == "xfrm":
        assert (event.sa_id, event.reqid) == (outbound.id, 7)


def test_a_listener_that_is_too_slow_learns_that_it_lost_events(engine: Engine, other: Engine) -> None:
    sas = [make_sa(4, spi) for spi in range(0x1000, 0x1040)]
    with engine.watch(SAChange) as events:
        _shrink(events.fileno())
        other.add_sas(sas)
        assert _lost(events)
        other.delete_sa(sas[0].id)
        assert _next_sa_change(events) == (Change.DELETED, sas[0])


def _larval_sequence() -> int:
    """Return the number by which the only SA of the namespace, a larval one, is found."""
    request: Request[Sequence[Any]] = XfrmDialect().dump_sas(EVERY_SA)
    with closing(XfrmTransport()) as transport:
        (larval,) = run(ask(replace(request, decode=list)), transport)
    return int(SAEntry(larval)["seq"])


def _shrink(fd: int) -> None:
    """Leave a socket no more room for what arrives than the kernel insists on."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, fileno=os.dup(fd)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)


def _lost(events: EventStream) -> bool:
    """Read what waits; return whether something was lost."""
    lost = False
    while True:
        try:
            if events.next(timeout_s=0) is None:
                return lost
        except EventsLostError:
            lost = True


async def test_events_are_awaited_beside_requests(engine_name: EngineName) -> None:
    sa = make_sa(6, lifetime=Lifetime(hard=Limit(seconds=1)))
    async with AsyncEngine.open(engine_name) as engine, engine.watch(Expire) as events:
        await engine.add_sa(sa)
        assert await events.next() == Expire(sa.id, sa.source, sa.reqid, hard=True)
        assert await engine.dump_sas() == []


def _next_sa_change(events: EventStream) -> tuple[Change, SA]:
    event = _next(events)
    assert isinstance(event, SAChange)
    return event.change, event.sa.as_written()


def _next_policy_change(events: EventStream) -> tuple[Change, Policy]:
    event = _next(events)
    assert isinstance(event, PolicyChange)
    return event.change, replace(event.policy, usage=None)


def _next(events: EventStream) -> Event:
    event = events.next(_PATIENCE_S)
    assert event is not None, f"no event came in {_PATIENCE_S} s"
    return event
