"""What only XFRM tells unasked: policies that expire, SAs' progress, moves of single SAs, defaults, refusals."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Address, ip_network
from typing import Any

import pytest

from pfkeyx import (
    Action,
    DefaultPolicy,
    DefaultPolicyChange,
    Engine,
    Event,
    EventStream,
    Feature,
    Lifetime,
    Limit,
    Migrated,
    Mode,
    PolicyExpire,
    PolicyFlush,
    PolicyType,
    Progress,
    ProgressCause,
    Replay,
    Report,
    SAMigrated,
    SAProgress,
    Selector,
    UdpEncap,
)
from pfkeyx.model import IPAddress
from pfkeyx.testing import Traffic
from pfkeyx.xfrm import messages, parts
from tests.kernel.audit import requires
from tests.kernel.topology import OUTWARD_SPI, Road
from tests.kernel.values import ADDRESSES, authentication, encryption, make_policies, make_sa

_PATIENCE_S = 120
SUITE = (encryption(), authentication())
IPPROTO_DSTOPTS = 60


@pytest.fixture
def engine(own_network_namespace: None) -> Iterator[Engine]:  # noqa: ARG001
    """Open an engine that watches."""
    with Engine.open("xfrm") as engine:
        yield engine


@pytest.fixture
def other(own_network_namespace: None) -> Iterator[Engine]:  # noqa: ARG001
    """Open another engine, whose changes are told to the first."""
    with Engine.open("xfrm") as other:
        yield other


def test_a_policy_that_gets_old_is_announced_and_goes(engine: Engine) -> None:
    lifetime = Lifetime(soft=Limit(seconds=1), hard=Limit(seconds=4))
    policies = [replace(make_policies(family)[0], lifetime=lifetime, priority=family) for family in (4, 6)]
    with engine.watch(PolicyExpire) as events:
        engine.add_policies(policies)
        told = [_next_policy_expire(events) for _ in range(2 * len(policies))]
    for policy in policies:
        assert [it.hard for it in told if it.policy.as_written() == policy] == [False, True]
    assert engine.dump_policies() == []


@pytest.mark.parametrize("family", [4], indirect=True)
def test_the_progress_of_an_sa_is_told_after_packets_and_after_some_time(road: Road, traffic: Traffic) -> None:
    road.set_up_tunnel(*SUITE)
    engine = road.roaming.engine
    outbound = next(sa for sa in engine.dump_sas() if sa.id.spi == OUTWARD_SPI)
    causes, sent = ProgressCause(0), 0
    with engine.watch(SAProgress) as events:
        # The kernel's own thresholds are two packets and a second.
        while causes != ProgressCause.PACKETS | ProgressCause.TIMER:
            assert sent < 60, f"{sent} packets were sent, and told of was {causes!r} alone"
            traffic.outward.send(3)
            sent += 3
            while event := events.next(timeout_s=2):
                assert isinstance(event, SAProgress)
                assert (event.sa_id, event.source, event.reqid) == (outbound.id, outbound.source, outbound.reqid)
                assert event.progress.replay is not None
                assert event.progress.usage is not None
                assert 0 < event.progress.replay.outbound <= sent
                # A packet that is being sent has its number already, and is not counted yet.
                assert event.progress.replay.outbound - event.progress.usage.packets in (0, 1)
                causes |= event.cause


def test_progress_that_another_sets_is_told(engine: Engine, other: Engine, family: int) -> None:
    sa = make_sa(family)
    engine.add_sa(sa)
    with engine.watch(SAProgress) as events, engine.watch() as others:
        engine.set_progress(sa, Progress(replay=Replay(1, 2, (3,))))
        other.set_progress(sa, Progress(replay=Replay(1000, 2000, (0xF0F,))))
        event = _next(events)
        assert isinstance(event, SAProgress)
        assert (event.sa_id, event.source, event.reqid) == (sa.id, sa.source, sa.reqid)
        assert (event.cause, event.progress.replay) == (ProgressCause.SET, Replay(1000, 2000, (0xF0F,)))
        assert events.next(timeout_s=0) is None
        # There is so much of it that it is told only to those who name it.
        assert others.next(timeout_s=0) is None


def test_what_a_move_said_of_the_encapsulation_is_told(engine: Engine, other: Engine, family: int) -> None:
    out = make_policies(family)[0]
    (old,) = out.templates
    new = replace(old, source=ADDRESSES[family].roaming_later)
    engine.add_policy(out)
    with engine.watch(Migrated) as events:
        other.migrate_policy(out.id, [(old, new)], encap=UdpEncap(4500, 61234))
        assert _next(events) == Migrated(out.id, ((old, new),), encap=UdpEncap(4500, 61234))


@requires(Feature.MIGRATE_STATE)
def test_a_move_of_one_sa_is_told_with_what_became_of_its_encapsulation(
    engine: Engine, other: Engine, family: int
) -> None:
    at = ADDRESSES[family]
    sa = make_sa(family, encap=UdpEncap())
    moves: tuple[tuple[IPAddress, UdpEncap | None, dict[str, Any]], ...] = (
        (at.roaming_later, UdpEncap(), {"encap": UdpEncap()}),
        (at.roaming, UdpEncap(4500, 61234), {"encap": UdpEncap(4500, 61234)}),
        (at.roaming_later, None, {"removes_encap": True}),
    )
    engine.add_sa(sa)
    with engine.watch(SAMigrated) as events:
        for source, encap, said in moves:
            other.migrate_sa(sa, source, sa.destination, encap=encap)
            event = _next(events)
            assert isinstance(event, SAMigrated)
            assert replace(event, selector=None) == SAMigrated(sa.id, source, sa.destination, sa.reqid, None, **said)
            sa = replace(sa, source=source, encap=encap)
        assert engine.get_sa(sa.id).encap is None
        engine.migrate_sa(sa, at.roaming, sa.destination, encap=None)
        assert isinstance(_next(events), SAMigrated)


def test_the_default_policy_is_told_whoever_set_it(engine: Engine, other: Engine) -> None:
    blocked = DefaultPolicy(forward=Action.BLOCK)
    with engine.watch(DefaultPolicyChange) as events:
        for setter, policy in ((other, blocked), (engine, DefaultPolicy())):
            setter.set_default_policy(policy)
            assert _next(events) == DefaultPolicyChange(policy)


def test_the_type_of_the_policies_that_were_deleted_is_told(engine: Engine, other: Engine) -> None:
    main, (sub, *_) = make_policies(4)[0], (replace(p, type=PolicyType.SUB) for p in make_policies(4))
    engine.add_policies([main, sub])
    with engine.watch(PolicyFlush) as events:
        other.flush_policies(PolicyType.SUB)
        assert _next(events) == PolicyFlush(PolicyType.SUB)
        other.flush_policies()
        assert _next(events) == PolicyFlush(PolicyType.MAIN)


@pytest.mark.parametrize("family", [6], indirect=True)
def test_a_packet_that_mobile_ipv6_refuses_is_reported(road: Road, engine: Engine) -> None:
    """A packet that a home address came with (RFC 6275 §9.3.1) and no policy asks for that."""
    at = road.addresses
    home = IPv6Address("2001:db8:1::1")
    with engine.watch(Report) as events, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        engine.exchange(_binding(home, at.roaming_later, at.roaming))
        sock.bind((str(at.roaming_later), 5555))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, _home_address_option(home))
        # The sum is over the home address, which the sender does not know of; of a large packet it is looked at later.
        sock.sendto(bytes(200), (str(at.roaming), 9999))
        event = _next(events)
    assert isinstance(event, Report)
    assert (event.protocol, event.address) == (IPPROTO_DSTOPTS, at.roaming_later)
    # The ports are not looked at: Linux 6.1 takes them from the options, as if these were the UDP header.
    flow = replace(event.selector, source_port=None, destination_port=None, interface_index=0)
    assert flow == Selector(ip_network(home), ip_network(at.roaming), socket.IPPROTO_UDP)


def _binding(home: IPAddress, care_of: IPAddress, here: IPAddress) -> messages.usersa_msg:
    """Return the message that binds a home address to a care-of address: an SA of Mobile IPv6, which has no SPI."""
    message = messages.usersa_msg()
    message["header"]["type"] = messages.XFRM_MSG_NEWSA
    message.update(
        {
            "id": {"daddr": here.packed, "proto": IPPROTO_DSTOPTS},
            "saddr": home.packed,
            "sel": {"family": socket.AF_INET6},
            "lft": parts.lifetime_fields(Lifetime()),
            "family": socket.AF_INET6,
            "mode": Mode.ROUTE_OPTIMIZATION,
        }
    )
    message["attrs"] = [("XFRMA_COADDR", care_of.packed)]
    return message


def _home_address_option(home: IPAddress) -> bytes:
    """Return a destination options header of 24 octets, the option at 8n+6 (RFC 6275 §6.3)."""
    next_header, length, pad_n, padding, home_address = 0, 2, 1, 2, 201
    return struct.pack("BBBBxxBB", next_header, length, pad_n, padding, home_address, 16) + home.packed


def _next_policy_expire(events: EventStream) -> PolicyExpire:
    event = _next(events)
    assert isinstance(event, PolicyExpire)
    return event


def _next(events: EventStream) -> Event:
    event = events.next(_PATIENCE_S)
    assert event is not None, f"no event came in {_PATIENCE_S} s"
    return event
