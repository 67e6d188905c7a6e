"""What hangs together in a plan: which SAs and policies are one step, and what no other tunnel loses by it."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import permutations

import pytest

from pfkeyx import (
    AES_CBC,
    SA,
    Action,
    AddressPair,
    AddressUpdate,
    AlreadyExistsError,
    Direction,
    InvalidRequestError,
    Mark,
    Method,
    MigrationPlan,
    Mode,
    Policy,
    Protocol,
    SAId,
    Selector,
    Step,
    Template,
    Tunnel,
)
from pfkeyx.migration.planning import make_plan
from pfkeyx.model import IPAddress
from tests.unit.samples import (
    EVERY_METHOD,
    GCM,
    INBOUND,
    LOCAL,
    NEW_LOCAL,
    NO_MIGRATE_STATE,
    OUTBOUND,
    POLICIES,
    REMOTE,
    SAS,
    UPDATE,
)

ANY = ip_address("0.0.0.0")
OTHER_REMOTE = ip_address("203.0.113.2")
V6 = AddressPair(ip_address("2001:db8::2"), ip_address("2001:db8::1"))
WHOLE_GATEWAY = AddressUpdate(LOCAL, NEW_LOCAL)
OUT, IN, FORWARD = POLICIES


def plan(
    sas: Sequence[SA], policies: Sequence[Policy], update: AddressUpdate = UPDATE, *, kernels: bool = False
) -> MigrationPlan:
    """Plan with every method, or, with `kernels`, on a kernel that moves SAs through policies alone."""
    return make_plan(update, sas, policies, NO_MIGRATE_STATE if kernels else EVERY_METHOD)


def spis(step: Step) -> list[int]:
    return [move.before.id.spi for move in step.sas]


def moved(policy: Policy) -> Policy:
    """Return a policy with all templates of the tunnel at the new local address."""
    ends = {LOCAL: NEW_LOCAL}
    return replace(
        policy,
        templates=tuple(
            replace(t, source=ends.get(t.source, t.source), destination=ends.get(t.destination, t.destination))  # type: ignore[arg-type]
            for t in policy.templates
        ),
    )


def with_templates(policy: Policy, *templates: Template, **changed: object) -> Policy:
    return replace(policy, templates=templates, **changed)  # type: ignore[arg-type]


def another(sa: SA, **changed: object) -> SA:
    """Return an SA beside this one."""
    return replace(sa, id=replace(sa.id, spi=sa.id.spi + 0x10), **changed)  # type: ignore[arg-type]


def tunnel_to(remote: IPAddress, number: int, reqid: int) -> tuple[list[SA], list[Policy]]:
    """Return one of a gateway's tunnels."""
    net = ip_network(f"10.{3 + number // 250}.{number % 250}.0/24")
    tunnel = Tunnel(LOCAL, remote, ip_network("10.1.0.0/16"), net, reqid)
    sas = [tunnel.outbound(0x1000 + number, GCM), tunnel.inbound(0x9000 + number, GCM)]
    return sas, list(tunnel.policies())


# ---- reqids ----


def test_templates_without_a_reqid_use_every_sa_between_their_ends() -> None:
    policies = [with_templates(p, replace(p.templates[0], reqid=0)) for p in POLICIES]
    outbound, inbound = plan(SAS, policies).steps
    assert (spis(outbound), spis(inbound)) == ([OUTBOUND.id.spi], [INBOUND.id.spi])
    assert [move.after for move in outbound.policies] == [moved(policies[0])]
    assert [move.after for move in inbound.policies] == [moved(p) for p in policies[1:]]


def test_sas_of_different_reqids_that_one_template_without_a_reqid_finds_are_not_moved_through_it() -> None:
    policies = [with_templates(p, replace(p.templates[0], reqid=0)) for p in POLICIES]
    sas = [*SAS, *(another(sa, reqid=8) for sa in SAS)]
    assert {move.method for move in plan(sas, policies, kernels=True).sa_moves()} == {Method.REPLACE}


def test_one_remote_and_many_reqids_are_as_many_steps_each_way() -> None:
    parts = [tunnel_to(REMOTE, number, reqid=100 + number) for number in range(20)]
    sas, policies = [sa for them, _ in parts for sa in them], [p for _, them in parts for p in them]
    steps = plan(sas, policies, kernels=True).steps
    assert [len(step.sas) for step in steps] == [1] * 40
    assert {move.method for step in steps for move in step.sas} == {Method.MIGRATE}
    for step in steps:
        (reqid,) = {template.reqid for move in step.policies for template in move.before.templates}
        assert reqid == step.sas[0].before.reqid


def test_one_reqid_and_many_remotes_are_as_many_steps_each_way() -> None:
    remotes = [ip_address(f"203.0.113.{number + 1}") for number in range(20)]
    parts = [tunnel_to(remote, number, reqid=7) for number, remote in enumerate(remotes)]
    sas, policies = [sa for them, _ in parts for sa in them], [p for _, them in parts for p in them]
    steps = plan(sas, policies, WHOLE_GATEWAY, kernels=True).steps
    assert [len(step.sas) for step in steps] == [1] * 40
    assert {move.method for step in steps for move in step.sas} == {Method.MIGRATE}


# ---- templates ----


def test_an_inbound_template_between_any_ends_stays_as_it_is() -> None:
    wild = with_templates(IN, replace(IN.templates[0], source=ANY, destination=ANY))
    inbound = plan(SAS, [OUT, wild, FORWARD]).steps[1]
    assert spis(inbound) == [INBOUND.id.spi]
    assert [move.before for move in inbound.policies] == [FORWARD]


def test_a_template_with_one_open_end_moves_its_other_one() -> None:
    half = with_templates(IN, replace(IN.templates[0], source=ANY))
    inbound = plan(SAS, [OUT, half, FORWARD]).steps[1]
    after = next(move.after for move in inbound.policies if move.before == half)
    assert (after.templates[0].source, after.templates[0].destination) == (ANY, NEW_LOCAL)


def test_a_template_with_one_open_end_that_goes_to_ipv6_is_of_ipv6() -> None:
    half = with_templates(IN, replace(IN.templates[0], source=ANY))
    inbound = plan(SAS, [OUT, half, FORWARD], AddressUpdate(UPDATE.old, V6)).steps[1]
    after = next(move.after for move in inbound.policies if move.before == half)
    assert (after.templates[0].source, after.templates[0].destination) == (ip_address("::"), V6.local)


def test_an_outbound_policy_whose_template_names_no_ends_is_blocked_and_does_not_change() -> None:
    wild = with_templates(OUT, replace(OUT.templates[0], source=ANY, destination=ANY))
    outbound = plan(SAS, [wild, IN, FORWARD]).steps[0]
    assert [(move.before, move.after) for move in outbound.policies] == [(wild, wild)]


def test_of_a_policy_with_templates_of_two_tunnels_the_one_that_moves_changes() -> None:
    outer = replace(OUT.templates[0], source=LOCAL, destination=OTHER_REMOTE, reqid=8)
    nested = with_templates(OUT, OUT.templates[0], outer)
    sa = replace(OUTBOUND, id=SAId(OTHER_REMOTE, 0xA8), reqid=8)
    outbound = plan([*SAS, sa], [nested, IN, FORWARD], kernels=True).steps[0]
    assert spis(outbound) == [OUTBOUND.id.spi]
    (move,) = outbound.policies
    assert move.after == with_templates(OUT, replace(OUT.templates[0], source=NEW_LOCAL), outer)


def test_two_tunnels_that_one_policy_nests_move_together_with_their_gateway() -> None:
    outer = replace(OUT.templates[0], source=LOCAL, destination=OTHER_REMOTE, reqid=8)
    nested = with_templates(OUT, OUT.templates[0], outer)
    sa = replace(OUTBOUND, id=SAId(OTHER_REMOTE, 0xA8), reqid=8)
    (outbound,) = (step for step in plan([*SAS, sa], [nested, IN, FORWARD], WHOLE_GATEWAY).steps if step.outbound)
    assert sorted(spis(outbound)) == sorted([OUTBOUND.id.spi, 0xA8])
    assert [move.after for move in outbound.policies] == [moved(nested)]


def test_an_ah_in_transport_mode_moves_with_the_tunnel_that_it_goes_through() -> None:
    ah = replace(
        OUTBOUND, id=SAId(REMOTE, 0xA4, Protocol.AH), mode=Mode.TRANSPORT, encryption=None, authentication=None, reqid=9
    )
    ah = replace(ah, encryption=replace(GCM, algorithm=AES_CBC))
    bundle = with_templates(OUT, OUT.templates[0], Template(Protocol.AH, Mode.TRANSPORT, reqid=9))
    outbound = plan([*SAS, ah], [bundle, IN, FORWARD]).steps[0]
    assert sorted(spis(outbound)) == sorted([OUTBOUND.id.spi, 0xA4])
    assert [move.after for move in outbound.policies] == [moved(bundle)]


def test_ipv4_in_ipv6_moves_without_its_selectors() -> None:
    tunnel = Tunnel(V6.local, V6.remote, ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16"), 7)
    new = AddressPair(ip_address("2001:db8::3"), V6.remote)
    sas = [tunnel.outbound(1, GCM), tunnel.inbound(2, GCM)]
    steps = plan(sas, tunnel.policies(), AddressUpdate(V6, new)).steps
    for move in (move for step in steps for move in step.policies):
        assert move.after.selector == move.before.selector
    for sa_move in (move for step in steps for move in step.sas):
        assert sa_move.after.selector == sa_move.before.selector


# ---- directions ----


def test_one_spi_in_both_directions_is_two_sas() -> None:
    twin = replace(INBOUND, id=SAId(LOCAL, OUTBOUND.id.spi))
    outbound, inbound = plan([OUTBOUND, twin], POLICIES).steps
    assert [move.after.id.destination for move in (*outbound.sas, *inbound.sas)] == [REMOTE, NEW_LOCAL]


def test_a_policy_of_the_other_direction_does_not_follow_an_sa_that_it_names() -> None:
    odd = with_templates(IN, OUT.templates[0], priority=1)
    steps = plan(SAS, [*POLICIES, odd]).steps
    assert odd not in [move.before for step in steps for move in step.policies]


def test_an_update_with_its_ends_swapped_is_noticed() -> None:
    swapped = AddressUpdate(AddressPair(REMOTE, LOCAL), AddressPair(REMOTE, NEW_LOCAL))
    with pytest.raises(InvalidRequestError, match=r"local|swapped"):
        plan(SAS, POLICIES, swapped)


# ---- whole gateways ----


def test_a_whole_gateway_takes_each_tunnel_along_with_its_own_remote_end() -> None:
    theirs, their_policies = tunnel_to(OTHER_REMOTE, 1, 8)
    steps = plan([*SAS, *theirs], [*POLICIES, *their_policies], WHOLE_GATEWAY).steps
    assert [(move.after.source, move.after.destination) for step in steps for move in step.sas] == [
        (NEW_LOCAL, REMOTE),
        (REMOTE, NEW_LOCAL),
        (NEW_LOCAL, OTHER_REMOTE),
        (OTHER_REMOTE, NEW_LOCAL),
    ]


def test_a_gateway_does_not_become_the_other_end_of_one_of_its_tunnels() -> None:
    theirs, their_policies = tunnel_to(NEW_LOCAL, 1, 8)
    with pytest.raises(InvalidRequestError, match=f"both ends .* would be {NEW_LOCAL}"):
        plan([*SAS, *theirs], [*POLICIES, *their_policies], WHOLE_GATEWAY)


def test_what_only_passes_the_old_address_by_stays() -> None:
    foreign = Tunnel(OTHER_REMOTE, REMOTE, ip_network("10.8.0.0/16"), ip_network("10.9.0.0/16"), 7)
    theirs = [foreign.outbound(0x81, GCM), foreign.inbound(0x82, GCM)]
    steps = plan([*SAS, *theirs], [*POLICIES, *foreign.policies()], WHOLE_GATEWAY).steps
    assert [spi for step in steps for spi in spis(step)] == [OUTBOUND.id.spi, INBOUND.id.spi]
    assert [move.before for step in steps for move in step.policies] == [OUT, IN, FORWARD]


# ---- marks and interface ids ----


def test_sas_and_policies_of_a_mark_move_with_it() -> None:
    mark = Mark(5)
    sas = [replace(sa, id=replace(sa.id, mark=mark)) for sa in SAS]
    policies = [replace(p, mark=mark) for p in POLICIES]
    steps = plan(sas, policies).steps
    assert {move.after.id.mark for step in steps for move in step.sas} == {mark}
    assert {move.after.mark for step in steps for move in step.policies} == {mark}


def test_tunnels_of_two_interfaces_keep_their_ids() -> None:
    sas = [replace(sa, if_id=1) for sa in SAS] + [another(sa, if_id=2, reqid=8) for sa in SAS]
    policies = [replace(p, if_id=1) for p in POLICIES] + [
        replace(with_templates(p, replace(p.templates[0], reqid=8)), if_id=2) for p in POLICIES
    ]
    steps = plan(sas, policies).steps
    assert len(steps) == 4
    for step in steps:
        (if_id,) = {move.after.if_id for move in step.sas}
        assert {move.after.if_id for move in step.policies} == {if_id}


# ---- places ----


def test_two_sas_that_would_be_one_are_refused() -> None:
    since = AddressPair(ip_address("198.51.100.9"), REMOTE)
    stale = replace(INBOUND, id=SAId(since.local, INBOUND.id.spi))
    with pytest.raises(AlreadyExistsError, match="same SPI at the new address"):
        plan([*SAS, stale], POLICIES, replace(UPDATE, since=(since,)))


def test_two_policies_that_would_be_one_are_refused() -> None:
    since = AddressPair(ip_address("198.51.100.9"), REMOTE)

    def between_hosts(local: IPAddress, reqid: int) -> tuple[SA, Policy]:
        selector = Selector(ip_network(local), ip_network(REMOTE))
        sa = replace(OUTBOUND, id=SAId(REMOTE, reqid), source=local, mode=Mode.TRANSPORT, reqid=reqid)
        return sa, Policy(selector, Direction.OUT, (Template(mode=Mode.TRANSPORT, reqid=reqid),))

    pairs = between_hosts(LOCAL, 0x107), between_hosts(since.local, 0x108)
    with pytest.raises(AlreadyExistsError, match="policy"):
        plan([sa for sa, _ in pairs], [policy for _, policy in pairs], replace(UPDATE, since=(since,)))


def test_a_policy_that_was_left_blocked_at_the_new_place_is_allowed() -> None:
    sas = [replace(OUTBOUND, source=NEW_LOCAL), replace(INBOUND, id=SAId(NEW_LOCAL, INBOUND.id.spi))]
    blocked = replace(moved(OUT), action=Action.BLOCK)
    (step,) = plan(sas, [blocked, moved(IN), moved(FORWARD)]).steps
    assert [(move.before, move.after) for move in step.policies] == [(blocked, moved(OUT))]


# ---- values ----


def test_plans_are_equal_whatever_the_order_in_which_the_kernel_lists_things() -> None:
    one = with_templates(OUT, replace(OUT.templates[0], source=ANY, destination=ANY, reqid=0))
    sas = [
        OUTBOUND,
        replace(OUTBOUND, id=SAId(OTHER_REMOTE, OUTBOUND.id.spi)),
        replace(OUTBOUND, id=SAId(OTHER_REMOTE, OUTBOUND.id.spi, Protocol.AH)),
    ]
    of_sockets = [replace(OUT, direction=Direction(4), priority=n) for n in (1, 2)]
    policies = [one, with_templates(OUT, *OUT.templates, priority=3, if_id=3), *of_sockets]
    wanted = plan(sas, policies, WHOLE_GATEWAY)
    for in_order in permutations(sas):
        assert plan(in_order, policies, WHOLE_GATEWAY) == wanted
    for listed in permutations(policies):
        assert plan(sas, listed, WHOLE_GATEWAY) == wanted
