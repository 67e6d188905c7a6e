"""Which SAs and policies a move takes along, whatever they are, and which it leaves; with traffic before and after."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_network

import pytest

from pfkeyx import (
    AddressPair,
    AddressUpdate,
    Direction,
    Engine,
    Feature,
    Method,
    MigrationReport,
    PolicyType,
    Selector,
    UdpEncap,
    UnsupportedError,
)
from pfkeyx.testing import Traffic
from pfkeyx.testing.wire import UDP
from tests.kernel import holdings
from tests.kernel.audit import requires
from tests.kernel.holdings import Change, policies, sas
from tests.kernel.interface import IF_ID, make_interface, route_into_interfaces
from tests.kernel.moves import Place, check_wire, move, places, updates
from tests.kernel.scope import (
    carry,
    check_lines,
    check_templates,
    check_ways,
    for_ports,
    give_policy,
    lay,
    mark_packets,
    moved,
    numbered,
    of_both_types,
    one_after_another,
    open_line,
    to,
    written,
)
from tests.kernel.topology import DEVICE, INWARD_SPI, OUTWARD_SPI, Road
from tests.kernel.traffic import PORT

IPv4 = pytest.mark.parametrize("family", [4], ids=["IPv4"], indirect=True)
IPv6 = pytest.mark.parametrize("family", [6], ids=["IPv6"], indirect=True)


def methods(*methods: Method) -> pytest.MarkDecorator:
    """Run a test by the method that the plan chooses, and by each of these."""
    names = ["as planned", *(str(method.value) for method in methods)]
    return pytest.mark.parametrize("method", [None, *methods], ids=names)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@IPv4
@methods(Method.REPLACE)
def test_sas_move_alone_and_their_policies_when_the_caller_moves_those(
    road: Road, traffic: Traffic, method: Method | None
) -> None:
    lay(road)
    first, second = places(road.family)
    traffic.send()
    for host, update in zip((road.roaming, road.gateway), updates(first, second), strict=True):
        before = written(host.engine)
        report = migrate(host.engine, replace(update, policies=False), method)
        assert (len(report.sas), report.policies) == (2, ())
        assert written(host.engine) == before
        for policy in before:
            host.engine.update_policy(moved(policy, first, second))
    traffic.send()
    check_wire(road, [first, second])


@IPv6
@methods(Method.MIGRATE, Method.REPLACE)
def test_only_the_sas_that_are_named_move_and_their_policies(
    road: Road, stack: ExitStack, method: Method | None
) -> None:
    first, second = places(road.family)
    for number in range(2):
        lay(road, numbered(number))
    lines = [open_line(road, stack, PORT + number) for number in range(2)]
    check_lines(lines)
    for host, update in zip((road.roaming, road.gateway), updates(first, second), strict=True):
        before = host.engine.dump_policies()
        named = tuple(sa.id for sa in host.engine.dump_sas() if sa.reqid == 8)
        report = migrate(host.engine, replace(update, sas=named), method)
        assert {old.id for old, _ in report.sas} == set(named)
        assert {policy.id for policy, _ in report.policies} == {
            policy.id for policy in before if policy.templates[0].reqid == 8
        }
    check_lines(lines)
    check_ways(road, {0: [first], 1: [first, second]})


@IPv4
@methods(Method.MIGRATE)
def test_forty_policies_of_one_sa_move_with_it(road: Road, stack: ExitStack, method: Method | None) -> None:
    lay(road, for_ports(*range(PORT, PORT + 40)))
    first, second = places(road.family)
    lines = [open_line(road, stack, port) for port in (PORT, PORT + 39)]
    check_lines(lines)
    reports = move(road, first, second, method)
    assert [(len(report.sas), len(report.policies)) for report in reports] == [(2, 120), (2, 80)]
    check_templates(road, second)
    check_lines(lines)
    check_wire(road, [first, second])


@IPv6
@methods(Method.REPLACE)
def test_the_old_and_the_new_sas_of_a_rekey_move_and_the_new_ones_stay_in_use(
    road: Road, traffic: Traffic, method: Method | None
) -> None:
    lay(road, holdings.rekeyed, one_after_another)
    first, second = places(road.family)
    traffic.send()
    for report in move(road, first, second, method):
        assert len(report.sas) == 4
    traffic.send()
    check_ways(road, {1: [first, second]})
    for host in (road.roaming, road.gateway):
        for sa in host.engine.dump_sas():
            if sa.id.spi in (OUTWARD_SPI + 1, INWARD_SPI + 1):
                host.engine.delete_sa(sa.id)
    traffic.send()
    check_ways(road, {0: [second], 1: [first, second]})


@IPv4
@requires(Feature.SUB_POLICY)
@methods(Method.MIGRATE, Method.REPLACE)
def test_policies_of_both_types_move(road: Road, stack: ExitStack, method: Method | None) -> None:
    lay(road, of_both_types)
    first, second = places(road.family)
    lines = [open_line(road, stack, port) for port in (PORT, PORT + 1)]
    check_lines(lines)
    for report in move(road, first, second, method):
        assert {policy.type for policy, _ in report.policies} == {PolicyType.MAIN, PolicyType.SUB}
    check_templates(road, second)
    check_lines(lines)
    check_wire(road, [first, second])


@IPv4
@methods(Method.REPLACE)
def test_marked_sas_and_policies_move(road: Road, traffic: Traffic, method: Method | None) -> None:
    lay(road, holdings.marked)
    first, second = places(road.family)
    for host, stream in ((road.roaming, traffic.outward), (road.gateway, traffic.inward)):
        mark_packets(host, stream.sender, 5)
    traffic.send()
    move(road, first, second, method)
    traffic.send()
    check_wire(road, [first, second])


@IPv6
@methods(Method.REPLACE)
def test_the_tunnel_of_an_xfrm_interface_moves(road: Road, traffic: Traffic, method: Method | None) -> None:
    lay(road, sas(if_id=IF_ID), policies(if_id=IF_ID))
    for host in (road.roaming, road.gateway):
        make_interface(host, IF_ID)
    route_into_interfaces(road)
    first, second = places(road.family)
    traffic.send()
    move(road, first, second, method)
    traffic.send()
    check_wire(road, [first, second])


@IPv4
def test_the_policy_of_a_socket_is_told_and_left(road: Road, traffic: Traffic, stack: ExitStack) -> None:
    lay(road)
    first, second = places(road.family)
    engine = road.roaming.engine
    give_policy(road, traffic.outward.sender)
    (of_socket,) = (policy for policy in engine.dump_policies() if policy.direction > Direction.FORWARD)
    plan = engine.plan_migration(updates(first, second)[0])
    assert [left.item for left in plan.left] == [of_socket.as_written()]
    assert "socket" in str(plan)
    reports = move(road, first, second)
    assert len(reports[0].policies) == 3
    assert of_socket.as_written() in written(engine)
    with pytest.raises(BlockingIOError):
        traffic.outward.send_one(0)
    open_line(road, stack, PORT + 1).send(1)
    check_wire(road, [second])


@pytest.mark.parametrize(
    ("family", "change"),
    [(4, holdings.in_ah), (6, holdings.compressed)],
    ids=["ESP in AH", "IPComp in ESP"],
    indirect=["family"],
)
@methods(Method.REPLACE)
def test_the_sas_of_a_bundle_move_together(road: Road, traffic: Traffic, change: Change, method: Method | None) -> None:
    lay(road, change)
    first, second = places(road.family)
    carry(traffic)
    for report in move(road, first, second, method):
        assert len(report.sas) == 4
        assert [len(step.sas) for step in report.plan.steps] == [2, 2]
    carry(traffic)
    check_wire(road, [first, second])
    for host in (road.roaming, road.gateway):
        assert [sa.usage and sa.usage.packets for sa in host.engine.dump_sas()] == [12] * 4


@pytest.mark.parametrize(
    ("family", "has_selector"), [(4, True), (6, False)], ids=["SA with a selector", "SA without"], indirect=["family"]
)
@methods(Method.REPLACE)
def test_between_two_hosts_selectors_and_policies_follow(road: Road, method: Method | None, has_selector: bool) -> None:
    lay(road, holdings.between_hosts, *([] if has_selector else [sas(selector=None)]))
    first, second = places(road.family)
    _send_between(road, first)
    move(road, first, second, method)
    _send_between(road, second)
    check_ways(road, {0: [first, second]})
    outward = Selector(ip_network(second.roaming), ip_network(second.gateway))
    ways = {OUTWARD_SPI: outward, INWARD_SPI: Selector(outward.destination, outward.source)}
    for host in (road.roaming, road.gateway):
        selectors = {policy.selector for policy in host.engine.dump_policies()}
        assert selectors == {replace(selector, protocol=UDP) for selector in ways.values()}
        for sa in host.engine.dump_sas():
            assert sa.selector == (ways[sa.id.spi] if has_selector else None)


@IPv4
@methods(Method.REPLACE)
def test_where_a_template_is_optional_nothing_leaves_in_clear(road: Road, method: Method | None) -> None:
    # Newer kernels refuse outbound templates of tunnels that are optional.
    lay(road, holdings.between_hosts, holdings.templates(optional=True))
    first, second = places(road.family)
    _send_between(road, first)
    move(road, first, second, method)
    _send_between(road, second)
    check_ways(road, {0: [first, second]})


@IPv6
@methods(Method.MIGRATE, Method.REPLACE)
def test_all_tunnels_of_a_gateway_follow_its_address_and_keep_their_encapsulations(
    road: Road, stack: ExitStack, method: Method | None
) -> None:
    first, second = places(road.family)
    peers = [first.gateway + 10 + number for number in range(5)]
    road.gateway.namespace.ip("\n".join(f"addr add {peer}/64 dev {DEVICE} nodad" for peer in peers))
    road.decapsulate(4500)
    encaps = [UdpEncap() if number == 0 else None for number in range(5)]
    for number, (peer, encap) in enumerate(zip(peers, encaps, strict=True)):
        lay(road, numbered(number), to(peer, encap))
    lines = [open_line(road, stack, PORT + number) for number in range(5)]
    check_lines(lines)
    report = migrate(road.roaming.engine, AddressUpdate(first.roaming, second.roaming), method)
    assert (len(report.sas), len(report.policies)) == (10, 15)
    for peer in peers:
        update = AddressUpdate(AddressPair(peer, first.roaming), AddressPair(peer, second.roaming))
        migrate(road.gateway.engine, update, method)
    check_lines(lines)
    ways = {
        number: [Place(place.roaming, peer, encap) for place in (first, second)]
        for number, (peer, encap) in enumerate(zip(peers, encaps, strict=True))
    }
    check_ways(road, ways)


@IPv4
def test_migrate_says_what_it_cannot_find(road: Road) -> None:
    first, second = places(road.family)
    update, _ = updates(first, second)
    for change in (holdings.marked, holdings.rekeyed, holdings.between_hosts):
        lay(road, change)
        with pytest.raises(UnsupportedError):
            road.roaming.engine.plan_migration(update, Method.MIGRATE)
        for host in (road.roaming, road.gateway):
            host.engine.flush_sas()
            host.engine.flush_policies()


def migrate(engine: Engine, update: AddressUpdate, method: Method | None) -> MigrationReport:
    return engine.migrate(engine.plan_migration(update, method))


def _send_between(road: Road, place: Place) -> None:
    with ExitStack() as stack:
        open_line(road, stack, PORT, (place.roaming, place.gateway)).send(1)
