"""A live tunnel moves, and the wire is the witness: no packet in clear, no sequence number sent twice."""

import select
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from pfkeyx import (
    AES_CTR,
    AES_GCM,
    HMAC_SHA256,
    SA,
    Authentication,
    Direction,
    Encryption,
    Feature,
    Lifetime,
    Limit,
    Method,
    Policy,
    UdpEncap,
    UnsupportedError,
)
from pfkeyx.testing import Traffic
from tests.kernel.audit import is_lacking, requires
from tests.kernel.moves import Place, check_wire, move, places, put_ahead, updates
from tests.kernel.topology import OUTWARD_SPI, Road
from tests.kernel.values import ADDRESSES, authentication, encryption

Suite = tuple[Encryption, Authentication | None]
GCM: Suite = (encryption(AES_GCM, 20), None)
CBC_SHA256: Suite = (encryption(), authentication(HMAC_SHA256, 32))
CBC_SHA1: Suite = (encryption(), authentication())
CTR: Suite = (encryption(AES_CTR, 20), authentication())


def test_a_tunnel_goes_to_the_other_family_and_back(road: Road, traffic: Traffic, method: Method) -> None:
    road.set_up_tunnel(*GCM)
    home, _ = places(road.family)
    abroad, _ = places({4: 6, 6: 4}[road.family])
    with traffic.flood():
        move(road, home, abroad, method)
        traffic.wait_until_it_flows()
        move(road, abroad, home, method)
        traffic.wait_until_it_flows()
    check_wire(road, [home, abroad, home])


def test_both_ends_of_the_tunnel_may_change_at_once(road: Road, traffic: Traffic, method: Method) -> None:
    road.set_up_tunnel(*CBC_SHA256)
    first, _ = places(road.family)
    other = ADDRESSES[{4: 6, 6: 4}[road.family]]
    last = Place(other.roaming_later, other.gateway)
    traffic.send()
    move(road, first, last, method)
    traffic.send()
    check_wire(road, [first, last])


def test_a_move_keeps_keys_limits_counters_and_replay_windows(road: Road, traffic: Traffic, method: Method) -> None:
    road.set_up_tunnel(*CBC_SHA1)
    limits = Lifetime(
        soft=Limit(octets=10**9, packets=10**6, seconds=3000, idle_seconds=3001),
        hard=Limit(octets=2 * 10**9, packets=2 * 10**6, seconds=3600, idle_seconds=3601),
    )
    first, second = places(road.family)
    with road.roaming.open("xfrm") as xfrm, road.roaming.open("pfkey") as pfkey:
        for sa in xfrm.dump_sas():
            xfrm.update_sa(replace(sa, lifetime=limits))
        traffic.send()
        before = [sorted(witness.dump_sas(), key=_spi) for witness in (xfrm, pfkey)]
        policies = pfkey.dump_policies()
        assert all(sa.replay is not None and sa.usage is not None and sa.usage.packets == 3 for sa in before[0])
        report, _ = move(road, first, second, method)
        after = [sorted(witness.dump_sas(), key=_spi) for witness in (xfrm, pfkey)]
        assert after == [[put_ahead(_moved(sa, first, second), method) for sa in sas] for sas in before]
        assert all(sa.lifetime == limits for sa in after[0])
        assert sorted((old for old, _ in report.sas), key=_spi) == before[0]
        assert sorted((new for _, new in report.sas), key=_spi) == after[0]
        assert _written(pfkey.dump_policies()) == _written([_moved_policy(p, first, second) for p in policies])
        assert {p.id: p.index for p in pfkey.dump_policies()} == {p.id: p.index for p in policies}
    traffic.send()
    check_wire(road, [first, second])


def test_the_method_is_the_first_that_this_kernel_has(road: Road) -> None:
    road.set_up_tunnel(*GCM)
    update, _ = updates(*places(road.family))
    plan = road.roaming.engine.plan_migration(update)
    methods = {move.method for move in plan.sa_moves()}
    passed_over = {entry for move in plan.sa_moves() for entry in move.passed_over}
    if not is_lacking(Feature.ADDRUPDATE):
        assert methods == {Method.ADDRUPDATE}
    elif not is_lacking(Feature.MIGRATE_STATE):
        assert methods == {Method.MIGRATE_STATE}
        assert {method for method, _ in passed_over} == {Method.ADDRUPDATE}
    else:
        assert methods == {Method.MIGRATE}
        assert (Method.MIGRATE_STATE, "the kernel has no XFRM_MSG_MIGRATE_STATE") in passed_over


def test_an_encapsulation_is_kept(road: Road, traffic: Traffic, method: Method) -> None:
    _move_encap(road, traffic, method, UdpEncap(), UdpEncap())


def test_an_encapsulation_gets_other_ports(road: Road, traffic: Traffic, method: Method) -> None:
    _move_encap(road, traffic, method, UdpEncap(), UdpEncap(4501, 4500))


def test_an_encapsulation_is_added(road: Road, traffic: Traffic, method: Method) -> None:
    _move_encap(road, traffic, method, None, UdpEncap())


@requires(Feature.MIGRATE_STATE)
def test_an_encapsulation_is_taken_away(road: Road, traffic: Traffic) -> None:
    _move_encap(road, traffic, Method.MIGRATE_STATE, UdpEncap(), None)


def test_an_encapsulation_is_taken_away_by_replacing_the_sa(road: Road, traffic: Traffic) -> None:
    _move_encap(road, traffic, Method.REPLACE, UdpEncap(), None)


def test_aes_ctr_is_moved_by_the_first_method_that_keeps_it_alive(road: Road, traffic: Traffic) -> None:
    road.set_up_tunnel(*CTR)
    first, second = places(road.family)
    traffic.send()
    reports = move(road, first, second)
    expected = Method.REPLACE if is_lacking(Feature.ADDRUPDATE) else Method.ADDRUPDATE
    assert {sa.method for report in reports for sa in report.plan.sa_moves()} == {expected}
    traffic.send()
    check_wire(road, [first, second])


def test_the_kernels_own_migration_of_a_policy_leaves_aes_ctr_dead(road: Road, traffic: Traffic) -> None:
    engine = road.roaming.engine

    def migrate(new: Place) -> None:
        for policy in engine.dump_policies():
            (old,) = policy.templates
            template = replace(old, source=new.roaming)
            if policy.direction is Direction.OUT:
                engine.migrate_policy(policy.id, [(old, template)])

    _check_only_aes_ctr_dies(road, traffic, migrate)


@requires(Feature.MIGRATE_STATE)
def test_the_kernels_own_migration_of_an_sa_leaves_aes_ctr_dead(road: Road, traffic: Traffic) -> None:
    engine = road.roaming.engine

    def migrate(new: Place) -> None:
        (sa,) = (sa for sa in engine.dump_sas() if sa.id.spi == OUTWARD_SPI)
        (policy,) = (policy for policy in engine.dump_policies() if policy.direction is Direction.OUT)
        engine.migrate_sa(sa, new.roaming, new.gateway, encap=None)
        engine.update_policy(replace(policy, templates=(replace(policy.templates[0], source=new.roaming),)))

    _check_only_aes_ctr_dies(road, traffic, migrate)


@requires(Feature.MIGRATE_STATE)
def test_what_an_sa_did_for_its_nat_ends_with_its_encapsulation(road: Road) -> None:
    road.set_up_tunnel(*GCM, encap=UdpEncap())
    engine = road.roaming.engine
    for sa in engine.dump_sas():
        outbound = sa.id.spi == OUTWARD_SPI
        forms = {True: (Direction.OUT, 0, 20, 0), False: (Direction.IN, 32, 0, 7)}
        direction, window, keepalive_s, threshold_s = forms[outbound]
        engine.delete_sa(sa.id)
        kept = replace(sa, direction=direction, replay_window=window, nat_keepalive_s=keepalive_s)
        engine.add_sa(replace(kept.as_written(), mapping_threshold_s=threshold_s))
    first, second = places(road.family, UdpEncap())
    update, _ = updates(first, replace(second, encap=None))
    engine.migrate(update)
    assert {(sa.encap, sa.nat_keepalive_s, sa.mapping_threshold_s) for sa in engine.dump_sas()} == {(None, 0, 0)}


def test_an_encapsulation_is_not_taken_away_by_a_method_that_cannot(road: Road) -> None:
    road.set_up_tunnel(*GCM, encap=UdpEncap())
    first, second = places(road.family, UdpEncap())
    update, _ = updates(first, replace(second, encap=None))
    with pytest.raises(UnsupportedError, match="cannot remove an encapsulation"):
        road.roaming.engine.plan_migration(update, Method.MIGRATE)


def test_a_tunnel_made_over_pfkey_is_moved_over_xfrm(road: Road, traffic: Traffic, method: Method) -> None:
    road.set_up_tunnel(*CBC_SHA1, engine_name="pfkey")
    first, second = places(road.family)
    with traffic.flood():
        move(road, first, second, method)
        traffic.wait_until_it_flows()
    check_wire(road, [first, second])


def _check_only_aes_ctr_dies(road: Road, traffic: Traffic, migrate: Callable[[Place], None]) -> None:
    """Assert that after the kernel's own migration AES-CBC goes on and AES-CTR does not: it has no IV generator."""
    _, second = places(road.family)
    road.set_up_tunnel(*CBC_SHA1)
    migrate(second)
    traffic.outward.send(1)
    for host in (road.roaming, road.gateway):
        host.engine.flush_sas()
        host.engine.flush_policies()
    road.set_up_tunnel(*CTR)
    traffic.outward.send(1)
    migrate(second)
    before = road.gateway.namespace.dropped()
    while road.gateway.namespace.dropped() == before:
        traffic.outward.send_one(0)
        assert not select.select([traffic.outward.receiver], (), (), 0)[0], "AES-CTR goes on"
    told = {name for name, number in road.gateway.namespace.dropped().items() if number != before[name]}
    assert told <= {"XfrmInStateProtoError", "XfrmInStateModeError"}


def _move_encap(road: Road, traffic: Traffic, method: Method, before: UdpEncap | None, after: UdpEncap | None) -> None:
    road.decapsulate(4500, 4501)
    road.set_up_tunnel(*GCM, encap=before)
    first, second = places(road.family, before)
    second = replace(second, encap=after)
    traffic.send()
    move(road, first, second, method)
    traffic.send()
    check_wire(road, [first, second])
    assert {sa.encap for sa in road.roaming.engine.dump_sas()} == {after, after and after.reversed()}


def _spi(sa: SA) -> int:
    return sa.id.spi


def _moved(sa: SA, old: Place, new: Place) -> SA:
    if sa.source == old.roaming:
        return replace(sa, source=new.roaming)
    return replace(sa, id=replace(sa.id, destination=new.roaming))


def _moved_policy(policy: Policy, old: Place, new: Place) -> Policy:
    (template,) = policy.templates
    if template.source == old.roaming:
        return replace(policy, templates=(replace(template, source=new.roaming),))
    return replace(policy, templates=(replace(template, destination=new.roaming),))


def _written(policies: Iterable[Policy]) -> dict[object, Policy]:
    return {policy.id: policy.as_written() for policy in policies}
