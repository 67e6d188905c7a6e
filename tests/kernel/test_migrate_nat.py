"""A tunnel moves behind a router that masquerades, there, and away again, with traffic both ways after each move."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise

import pytest

from pfkeyx import AES_GCM, HMAC_SHA256, SA, Method, MigrationReport, NatMapping
from pfkeyx.testing import Traffic
from tests.kernel.moves import Place, check_wire
from tests.kernel.nat import BEHIND, PUBLIC, NatRoad, check_router, move, update
from tests.kernel.topology import INWARD_SPI, OUTWARD_SPI
from tests.kernel.traffic import traffic_over
from tests.kernel.values import authentication, encryption

GCM = (encryption(AES_GCM, 20), None)
CBC = (encryption(), authentication(HMAC_SHA256, 32))
_PATIENCE_S = 120


@pytest.fixture
def road(own_network_namespace: None) -> Iterator[NatRoad]:  # noqa: ARG001
    """Lay the road that has two ways; see `NatRoad`."""
    with ExitStack() as stack:
        yield NatRoad(stack)


@pytest.fixture
def traffic(road: NatRoad) -> Iterator[Traffic]:
    """Open sockets at both ends of the tunnel."""
    with traffic_over(road) as traffic:
        yield traffic


#: In the long form of the tests also by the method that every kernel has.
METHODS: list[Method | None] = [None, Method.REPLACE] if os.environ.get("SOAK") else [None]


@pytest.fixture(params=METHODS, ids=lambda method: method.value if method else "as planned")
def method(request: pytest.FixtureRequest) -> Method | None:
    """Return the method that is forced, None for the one that the plan chooses."""
    chosen: Method | None = request.param
    return chosen


def test_a_tunnel_goes_behind_a_nat_and_back(road: NatRoad, traffic: Traffic, method: Method | None) -> None:
    road.set_up_tunnel(*CBC)
    _travel(road, traffic, [road.direct, road.behind(), road.direct], method)
    assert all(sa.encap is None for sa in road.roaming.engine.dump_sas())


def test_a_tunnel_goes_from_one_address_behind_a_nat_to_another(
    road: NatRoad, traffic: Traffic, method: Method | None
) -> None:
    road.set_up_tunnel(*GCM)
    here, there = (road.behind(address) for address in BEHIND)
    assert here.mapped_port != there.mapped_port
    _travel(road, traffic, [road.direct, here, there, here], method)


def test_a_tunnel_goes_from_ipv4_behind_a_nat_to_ipv6_without_one_and_back(
    road: NatRoad, traffic: Traffic, method: Method | None
) -> None:
    road.set_up_tunnel(*GCM)
    _travel(road, traffic, [road.direct, road.behind(), road.direct_ipv6, road.behind()], method)


def test_migrate_takes_a_tunnel_behind_a_nat(road: NatRoad, traffic: Traffic) -> None:
    road.set_up_tunnel(*GCM)
    _travel(road, traffic, [road.direct, road.behind()], Method.MIGRATE)


def test_a_flood_goes_behind_a_nat_and_back_without_a_repeat(road: NatRoad, traffic: Traffic) -> None:
    road.set_up_tunnel(*GCM)
    path = [road.direct, road.behind(), road.direct]
    with traffic.flood():
        for old, new in pairwise(path):
            move(road, old, new)
            traffic.wait_until_it_flows()
    check_wire(road, path)
    check_router(road)
    for stream in (traffic.outward, traffic.inward):
        assert len(set(stream.arrived)) == len(stream.arrived)


@pytest.mark.parametrize("is_renumbered", [False, True], ids=["port", "address and port"])
def test_a_mapping_that_changes_is_told_and_a_move_of_one_end_repairs_the_traffic(
    road: NatRoad, traffic: Traffic, method: Method | None, is_renumbered: bool
) -> None:
    road.set_up_tunnel(*GCM)
    before = road.behind()
    _travel(road, traffic, [road.direct, before])
    gateway = road.gateway.engine
    (inbound,) = (sa for sa in gateway.dump_sas() if sa.id.spi == OUTWARD_SPI)
    with road.gateway.namespace.call(lambda: gateway.watch(NatMapping)) as events:
        if is_renumbered:
            road.renumber()
        road.masquerade(range(50000, 60000))
        traffic.outward.send(1)
        event = events.next(_PATIENCE_S)
        assert isinstance(event, NatMapping)
        assert event == NatMapping(
            OUTWARD_SPI,
            PUBLIC[0],
            before.mapped_port,
            PUBLIC[is_renumbered],
            event.new_port,
            inbound.id,
            inbound.reqid,
        )
        assert 50000 <= event.new_port < 60000
        after = replace(before, mapped_address=event.new_address, mapped_port=event.new_port)
        report = gateway.migrate(gateway.plan_migration(update(before.inward, after.inward), method))
        _check_kept(report)
        assert len(report.sas) == 2
        traffic.send()
        assert events.next(timeout_s=0) is None
    check_wire(road, [road.direct, before, after])
    check_router(road)


def _travel(road: NatRoad, traffic: Traffic, path: Sequence[Place], method: Method | None = None) -> None:
    """Go from place to place, with traffic at each; everything stays as it was, and the wires show the path."""
    traffic.send()
    for old, new in pairwise(path):
        for report in move(road, old, new, method):
            _check_kept(report)
            assert {sa.id.spi for _, sa in report.sas} == {OUTWARD_SPI, INWARD_SPI}
        traffic.send()
    check_wire(road, path)
    check_router(road)
    for host in (road.roaming, road.gateway):
        assert {_counts(sa)[0] for sa in host.engine.dump_sas()} == {3 * len(path)}


def _check_kept(report: MigrationReport) -> None:
    assert all(_counts(old) == _counts(new) for old, new in report.sas)


def _counts(sa: SA) -> tuple[int, int, int]:
    assert sa.usage is not None
    return sa.usage.packets, sa.usage.octets, sa.usage.added
