"""Moves whose SAs and policies are all named: they move, whatever else is there, and nothing else does."""

from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

from pfkeyx import (
    SA,
    AddressUpdate,
    Engine,
    InvalidRequestError,
    Loss,
    Method,
    Policy,
    PolicyId,
    Port,
    SAId,
)
from pfkeyx.opening import EngineName
from pfkeyx.testing import Traffic
from pfkeyx.testing.wire import UDP
from tests.kernel import holdings
from tests.kernel.holdings import Change
from tests.kernel.moves import Place, places, updates
from tests.kernel.scope import (
    check_lines,
    check_ways,
    for_ports,
    lay,
    mark_packets,
    numbered,
    one_after_another,
    open_line,
)
from tests.kernel.topology import INWARD_SPI, OUTWARD_SPI, Host, Road
from tests.kernel.traffic import PORT

IPv4 = pytest.mark.parametrize("family", [4], ids=["IPv4"], indirect=True)
#: The reqid of the first tunnel.
REQID = 7


def named(host: Host, update: AddressUpdate, reqid: int = REQID) -> AddressUpdate:
    """Return an update that names what a host has of a reqid."""
    sas = tuple(sa.id for sa in host.engine.dump_sas() if sa.reqid == reqid)
    policies = tuple(policy.id for policy in host.engine.dump_policies() if policy.templates[0].reqid == reqid)
    return replace(update, sas=sas, policies=policies)


def names(update: AddressUpdate) -> tuple[PolicyId, ...]:
    """Return the names of the policies in an update that has some."""
    assert update.named_policies is not None
    return update.named_policies


def named_updates(road: Road, old: Place, new: Place) -> list[tuple[Host, AddressUpdate]]:
    hosts = (road.roaming, road.gateway)
    return [(host, named(host, update)) for host, update in zip(hosts, updates(old, new), strict=True)]


def of_others(engine: Engine) -> tuple[list[SA], list[Policy]]:
    """Return what is not of the first tunnel, with all that the kernel counts."""
    sas = sorted((sa for sa in engine.dump_sas() if sa.reqid != REQID), key=lambda sa: sa.id.spi)
    policies = (policy for policy in engine.dump_policies() if policy.templates[0].reqid != REQID)
    return sas, sorted(policies, key=lambda policy: policy.index)


def test_a_named_tunnel_moves_and_those_beside_it_stay(road: Road, engine_name: EngineName) -> None:
    first, second = places(road.family)
    for number in range(3):
        lay(road, numbered(number))
    with ExitStack() as stack:
        lines = [open_line(road, stack, PORT + number) for number in range(3)]
        check_lines(lines)
        for host, update in named_updates(road, first, second):
            before = of_others(host.engine)
            with host.open(engine_name) as engine:
                report = engine.migrate(update, accept={Loss.SEQUENCE_REPEAT})
                assert (len(report.sas), len(report.policies)) == (2, len(names(update)))
                again = engine.migrate(update)
                assert (again.sas, again.policies) == ((), ())
            assert of_others(host.engine) == before
        check_lines(lines)
    check_ways(road, {0: [first, second], 1: [first], 2: [first]})


@IPv4
def test_a_policy_that_is_not_named_stays_and_its_packets_find_no_sa(road: Road, engine_name: EngineName) -> None:
    first, second = places(road.family)
    lay(road, for_ports(PORT, PORT + 1))
    host, update = named_updates(road, first, second)[0]
    unnamed = [name for name in names(update) if name.selector.destination_port == Port(PORT + 1)]
    update = replace(update, policies=tuple(name for name in names(update) if name not in unnamed))
    with ExitStack() as stack:
        lines = [open_line(road, stack, PORT + number) for number in range(2)]
        check_lines(lines)
        before = [host.engine.get_policy(name).as_written() for name in unnamed]
        with host.open(engine_name) as engine:
            assert len(engine.migrate(update, accept={Loss.SEQUENCE_REPEAT}).policies) == len(unnamed) == 3
        assert [host.engine.get_policy(name).as_written() for name in unnamed] == before
        with suppress(BlockingIOError):
            lines[1].outward.send_one(0)
    check_ways(road, {0: [first]})
    assert len([frame for frame in road.roaming.wire.frames() if frame.spi]) == len(lines)


@pytest.mark.parametrize("method", [None, Method.REPLACE], ids=["as planned", "REPLACE"])
def test_named_policies_between_hosts_are_found_before_a_move_and_after(road: Road, method: Method | None) -> None:
    first, second = places(road.family)
    lay(road, holdings.between_hosts)
    _send_between(road, first)
    for host, update in named_updates(road, first, second):
        report = host.engine.migrate(host.engine.plan_migration(update, method))
        assert (len(report.sas), len(report.policies)) == (2, 2)
        assert host.engine.plan_migration(update).steps == ()
        # By its new names it is the same.
        assert host.engine.plan_migration(named(host, update)).steps == ()
    _send_between(road, second)
    check_ways(road, {0: [first, second]})


@IPv4
@pytest.mark.parametrize("method", [None, Method.REPLACE], ids=["as planned", "REPLACE"])
@pytest.mark.parametrize(
    "changes",
    [(holdings.rekeyed, one_after_another), (holdings.marked,), (holdings.in_ah,)],
    ids=["rekeyed", "marked", "ESP in AH"],
)
def test_whatever_the_named_sas_are_they_move(
    road: Road, traffic: Traffic, method: Method | None, changes: tuple[Change, ...]
) -> None:
    first, second = places(road.family)
    lay(road, *changes)
    if holdings.marked in changes:
        for host, stream in ((road.roaming, traffic.outward), (road.gateway, traffic.inward)):
            mark_packets(host, stream.sender, 5)
    traffic.send()
    for host, update in named_updates(road, first, second):
        # Those of a bundle have two reqids.
        sas = tuple(sa.id for sa in host.engine.dump_sas())
        report = host.engine.migrate(host.engine.plan_migration(replace(update, sas=sas), method))
        assert len(report.sas) == len(sas)
    traffic.send()


@IPv4
def test_an_sa_of_the_same_policies_that_is_not_named_stays_as_it_is(road: Road) -> None:
    first, second = places(road.family)
    lay(road, holdings.rekeyed, one_after_another)
    host, update = named_updates(road, first, second)[0]
    newer = {OUTWARD_SPI + 1, INWARD_SPI + 1}
    before = [sa for sa in host.engine.dump_sas() if sa.id.spi in newer]
    older = tuple(name for name in update.sas or () if name.spi not in newer)
    report = host.engine.migrate(replace(update, sas=older))
    assert {sa.id for sa, _ in report.sas} == set(older)
    assert [sa for sa in host.engine.dump_sas() if sa.id.spi in newer] == before
    assert len(host.engine.dump_sas()) == 4


@IPv4
@pytest.mark.parametrize("missing", ["policy", "SA"])
def test_what_is_named_and_missing_is_refused_before_anything_moves(
    road: Road, engine_name: EngineName, missing: str
) -> None:
    first, second = places(road.family)
    lay(road)
    host, update = named_updates(road, first, second)[0]
    if missing == "SA":
        update = replace(update, sas=(*(update.sas or ()), SAId(second.gateway, 0xBAD)))
    else:
        out, *others = names(update)
        strange = replace(out, selector=replace(out.selector, protocol=UDP))
        update = replace(update, policies=(strange, *others))
    before = host.engine.dump_sas(), host.engine.dump_policies()
    with host.open(engine_name) as engine, pytest.raises(InvalidRequestError, match=f"there is no {missing} "):
        engine.migrate(update, accept={Loss.SEQUENCE_REPEAT})
    assert (host.engine.dump_sas(), host.engine.dump_policies()) == before


def _send_between(road: Road, place: Place) -> None:
    with ExitStack() as stack:
        open_line(road, stack, PORT, (place.roaming, place.gateway)).send(1)
