"""Plans: from values to values."""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from pfkeyx import (
    AES_CTR,
    KEEP,
    SA,
    Action,
    AddressPair,
    AddressUpdate,
    AlreadyExistsError,
    Attribute,
    Direction,
    Encryption,
    InvalidRequestError,
    Key,
    Loss,
    Mark,
    Method,
    Mode,
    Offload,
    Policy,
    SAId,
    Selector,
    Support,
    TcpEncap,
    Template,
    UdpEncap,
    UnsupportedError,
)
from pfkeyx.migration.planning import make_plan
from pfkeyx.migration.update import Keep
from pfkeyx.model import Encap, IPAddress, Prefix, any_selector
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
    SECRET,
    UPDATE,
)

V6 = AddressPair(ip_address("2001:db8::2"), ip_address("2001:db8::1"))


def moved(policy: Policy, source: IPAddress, destination: IPAddress) -> Policy:
    (template,) = policy.templates
    return replace(policy, templates=(replace(template, source=source, destination=destination),))


def test_a_tunnel_moves_in_two_steps_outbound_first() -> None:
    plan = make_plan(UPDATE, SAS, POLICIES, EVERY_METHOD)
    outbound, inbound = plan.steps
    assert [step.outbound for step in plan.steps] == [True, False]
    assert [(m.before.id, m.after.source, m.after.destination) for m in outbound.sas] == [
        (OUTBOUND.id, NEW_LOCAL, REMOTE)
    ]
    assert [(m.before.id, m.after.source, m.after.destination) for m in inbound.sas] == [
        (INBOUND.id, REMOTE, NEW_LOCAL)
    ]
    assert [m.after for m in outbound.policies] == [moved(POLICIES[0], NEW_LOCAL, REMOTE)]
    assert [m.after for m in inbound.policies] == [moved(p, REMOTE, NEW_LOCAL) for p in POLICIES[1:]]


def test_everything_but_the_addresses_stays_as_it_is() -> None:
    for step in make_plan(UPDATE, SAS, POLICIES, EVERY_METHOD).steps:
        for move in step.sas:
            assert replace(move.after, id=move.before.id, source=move.before.source) == move.before


def test_the_first_method_that_loses_nothing_is_taken() -> None:
    plan = make_plan(UPDATE, SAS, POLICIES, EVERY_METHOD)
    assert {move.method for move in plan.sa_moves()} == {Method.MIGRATE_STATE}
    assert {move.undo for move in plan.sa_moves()} == {Method.MIGRATE_STATE}
    assert [method for method, _ in plan.steps[0].sas[0].passed_over] == [Method.ADDRUPDATE]


def test_a_method_that_the_kernel_lacks_is_passed_over_with_the_reason() -> None:
    plan = make_plan(UPDATE, SAS, POLICIES, NO_MIGRATE_STATE)
    assert {move.method for move in plan.sa_moves()} == {Method.MIGRATE}
    assert (Method.MIGRATE_STATE, "the kernel has no XFRM_MSG_MIGRATE_STATE") in plan.steps[0].sas[0].passed_over


ADDRUPDATE = EVERY_METHOD | {Method.ADDRUPDATE: Support(True, "the kernel understands SADB_X_ADDRUPDATE")}


def test_a_kernel_that_has_addrupdate_moves_by_it() -> None:
    plan = make_plan(UPDATE, SAS, POLICIES, ADDRUPDATE)
    assert {(move.method, move.undo) for move in plan.sa_moves()} == {(Method.ADDRUPDATE, Method.ADDRUPDATE)}
    assert plan.losses == {Loss.TIMER_PHASE}
    # What travels over PF_KEY is no part of the datagram that blocks its policies.
    assert "allow again only when it is known to have moved" in str(plan)


def test_a_plan_says_what_addrupdate_loses_where_nothing_can_be_blocked() -> None:
    lost = "outbound packets between the move of their SA and that of its policies"
    assert lost in str(make_plan(UPDATE, SAS, POLICIES, ADDRUPDATE, can_block=False))
    assert lost not in str(make_plan(UPDATE, SAS, POLICIES, ADDRUPDATE))


@pytest.mark.parametrize(
    ("sa", "encap", "reason"),
    [
        (replace(OUTBOUND, id=replace(OUTBOUND.id, mark=Mark(7))), KEEP, "unmarked"),
        (replace(OUTBOUND, offload=Offload(2)), KEEP, "interface"),
        (replace(OUTBOUND, encap=TcpEncap()), None, "in UDP"),
        (replace(OUTBOUND, encap=UdpEncap(original_address=LOCAL)), UdpEncap(4501, 4500), "in UDP"),
    ],
    ids=["mark", "offload", "TCP", "address before a NAT"],
)
def test_addrupdate_is_not_used_for_what_pf_key_cannot_say(sa: SA, encap: UdpEncap | Keep | None, reason: str) -> None:
    plan = make_plan(replace(UPDATE, encap=encap), [sa], POLICIES, ADDRUPDATE)
    first = plan.steps[0].sas[0]
    assert first.method is not Method.ADDRUPDATE
    assert reason in dict(first.passed_over)[Method.ADDRUPDATE]


def test_an_optional_template_is_no_obstacle_where_its_policy_can_be_blocked() -> None:
    out, *others = POLICIES
    optional = replace(out, templates=tuple(replace(it, optional=True) for it in out.templates))
    plan = make_plan(UPDATE, SAS, [optional, *others], ADDRUPDATE)
    assert {move.method for move in plan.sa_moves()} == {Method.ADDRUPDATE}
    alone = {method: Support(False, "") for method in Method} | {Method.ADDRUPDATE: Support(True, "")}
    with pytest.raises(UnsupportedError, match="cannot block a policy whose template is optional"):
        make_plan(UPDATE, SAS, [optional, *others], alone, can_block=False)


def test_only_what_would_be_blocked_is_held() -> None:
    held = make_plan(UPDATE, SAS, POLICIES, EVERY_METHOD, hold=True)
    assert [held.is_held(step) for step in held.steps] == [True, False]
    by_policy = make_plan(UPDATE, SAS, POLICIES, NO_MIGRATE_STATE, hold=True)
    assert not any(by_policy.is_held(step) for step in by_policy.steps)


def test_a_forced_method_is_taken() -> None:
    plan = make_plan(UPDATE, SAS, POLICIES, EVERY_METHOD, Method.MIGRATE)
    assert {move.method for move in plan.sa_moves()} == {Method.MIGRATE}


def test_aes_ctr_is_not_given_to_a_kernel_migration() -> None:
    ctr = Encryption(AES_CTR, Key(SECRET[:20]))
    sas = [replace(sa, encryption=ctr) for sa in SAS]
    plan = make_plan(UPDATE, sas, POLICIES, EVERY_METHOD)
    assert {(move.method, move.undo) for move in plan.sa_moves()} == {(Method.REPLACE, Method.REPLACE)}
    with pytest.raises(UnsupportedError, match="IV generator"):
        make_plan(UPDATE, sas, POLICIES, EVERY_METHOD, Method.MIGRATE_STATE)


@pytest.mark.parametrize(
    ("sas", "reason"),
    [
        ([*SAS, replace(OUTBOUND, id=SAId(REMOTE, 0xC0FFEE03))], "newest of several"),
        ([replace(sa, id=replace(sa.id, mark=Mark(5))) for sa in SAS], "marked"),
        ([replace(sa, if_id=5) for sa in SAS], "interface id"),
    ],
)
def test_migrate_is_not_used_where_it_would_leave_an_sa_behind(sas: list[SA], reason: str) -> None:
    plan = make_plan(UPDATE, sas, POLICIES, NO_MIGRATE_STATE)
    first = plan.steps[0].sas[0]
    assert first.method is Method.REPLACE
    assert reason in dict(first.passed_over)[Method.MIGRATE]
    with pytest.raises(UnsupportedError, match=reason):
        make_plan(UPDATE, sas, POLICIES, NO_MIGRATE_STATE, Method.MIGRATE)


def one_sided(direction: Direction, host: Prefix) -> Selector:
    anywhere = ip_network("0.0.0.0/0")
    return Selector(host, anywhere) if direction is Direction.OUT else Selector(anywhere, host)


def host_to_any(direction: Direction) -> tuple[SA, Policy]:
    """Return an SA of the host in transport mode, and a policy that takes it for any other host."""
    sa = replace(OUTBOUND if direction is Direction.OUT else INBOUND, mode=Mode.TRANSPORT)
    return sa, Policy(one_sided(direction, ip_network(LOCAL)), direction, (Template(mode=Mode.TRANSPORT, reqid=7),))


def test_transport_mode_follows_its_hosts() -> None:
    hosts = Selector(ip_network(LOCAL), ip_network(REMOTE))
    sas = [replace(OUTBOUND, mode=Mode.TRANSPORT, selector=hosts)]
    template = Template(mode=Mode.TRANSPORT, reqid=7)
    policy = Policy(hosts, Direction.OUT, (template,))
    plan = make_plan(UPDATE, sas, [policy], EVERY_METHOD)
    (step,) = plan.steps
    moved_hosts = Selector(ip_network(NEW_LOCAL), ip_network(REMOTE))
    assert [move.after.selector for move in step.sas] == [moved_hosts]
    assert [move.after for move in step.policies] == [replace(policy, selector=moved_hosts)]
    assert step.policies[0].renamed


@pytest.mark.parametrize("direction", [Direction.OUT, Direction.IN])
def test_a_policy_of_one_host_follows_a_whole_gateway(direction: Direction) -> None:
    sa, policy = host_to_any(direction)
    (step,) = make_plan(AddressUpdate(LOCAL, NEW_LOCAL), [sa], [policy], EVERY_METHOD).steps
    assert [move.after.selector for move in step.policies] == [one_sided(direction, ip_network(NEW_LOCAL))]


@pytest.mark.parametrize("direction", [Direction.OUT, Direction.IN])
def test_a_policy_of_one_host_that_other_hosts_may_need_is_left_and_said_so(direction: Direction) -> None:
    sa, policy = host_to_any(direction)
    plan = make_plan(UPDATE, [sa], [policy], EVERY_METHOD)
    assert [left.item for left in plan.left] == [policy]
    assert "not for the new addresses" in str(plan)
    assert policy not in [move.after for move in plan.policy_moves() if move.renamed]


def test_a_policy_of_hosts_that_is_for_the_new_address_too_stays_as_it_is() -> None:
    sa, policy = host_to_any(Direction.OUT)
    wide = replace(policy, selector=any_selector(4))
    plan = make_plan(UPDATE, [sa], [wide], EVERY_METHOD)
    assert plan.left == ()
    assert [(move.before, move.after) for move in plan.policy_moves()] == [(wide, wide)]


def test_a_policy_between_two_hosts_does_not_overwrite_another() -> None:
    hosts, later = (Selector(ip_network(local), ip_network(REMOTE)) for local in (LOCAL, NEW_LOCAL))
    sas = [replace(OUTBOUND, mode=Mode.TRANSPORT, selector=hosts)]
    template = Template(mode=Mode.TRANSPORT, reqid=7)
    policies = [Policy(hosts, Direction.OUT, (template,)), Policy(later, Direction.OUT, (template,), priority=5)]
    with pytest.raises(AlreadyExistsError, match="another policy has the new selector"):
        make_plan(UPDATE, sas, policies, EVERY_METHOD)


def test_a_policy_between_two_hosts_that_was_left_blocked_does_not_stand_in_the_way_back() -> None:
    old, new = (Selector(ip_network(local), ip_network(REMOTE)) for local in (LOCAL, NEW_LOCAL))
    template = Template(mode=Mode.TRANSPORT, reqid=7)
    left = Policy(old, Direction.OUT, (template,), Action.BLOCK)
    moved_policy = Policy(new, Direction.OUT, (template,))
    moved_sa = replace(OUTBOUND, source=NEW_LOCAL, mode=Mode.TRANSPORT, selector=new)
    back = AddressUpdate(UPDATE.new, UPDATE.old)
    for policies in ([left, moved_policy], [moved_policy, left]):
        plan = make_plan(back, [moved_sa], policies, EVERY_METHOD)
        assert replace(left, action=Action.ALLOW) in [move.after for move in plan.policy_moves()]


def test_a_larval_sa_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="larval"):
        make_plan(UPDATE, [replace(OUTBOUND, encryption=None)], POLICIES, EVERY_METHOD)


def test_an_update_of_addresses_that_nobody_has_is_refused() -> None:
    update = AddressUpdate(AddressPair(ip_address("192.0.2.99"), REMOTE), UPDATE.new)
    sas_elsewhere = [replace(OUTBOUND, source=ip_address("192.0.2.77"))]
    with pytest.raises(InvalidRequestError, match=r"no SA at 192\.0\.2\.99"):
        make_plan(update, sas_elsewhere, POLICIES, EVERY_METHOD)


def test_an_occupied_place_is_refused_before_anything_is_done() -> None:
    occupant = replace(INBOUND, id=SAId(NEW_LOCAL, INBOUND.id.spi))
    with pytest.raises(AlreadyExistsError, match="same SPI at the new address"):
        make_plan(UPDATE, [*SAS, occupant], POLICIES, EVERY_METHOD)


def test_a_tunnel_that_has_moved_needs_no_steps() -> None:
    sas = [
        replace(OUTBOUND, source=NEW_LOCAL),
        replace(INBOUND, id=SAId(NEW_LOCAL, INBOUND.id.spi)),
    ]
    policies = [moved(POLICIES[0], NEW_LOCAL, REMOTE), *(moved(p, REMOTE, NEW_LOCAL) for p in POLICIES[1:])]
    plan = make_plan(UPDATE, sas, policies, EVERY_METHOD)
    assert plan.steps == ()
    assert "moved already" in str(plan)


def test_a_blocked_policy_with_templates_is_an_interrupted_move_and_is_finished() -> None:
    blocked = replace(POLICIES[0], action=Action.BLOCK)
    plan = make_plan(UPDATE, SAS, [blocked, *POLICIES[1:]], EVERY_METHOD)
    assert plan.steps[0].policies[0].after == moved(POLICIES[0], NEW_LOCAL, REMOTE)


def test_a_policy_that_blocks_and_has_no_templates_stays() -> None:
    wall = Policy(POLICIES[0].selector, Direction.OUT, action=Action.BLOCK, priority=9)
    plan = make_plan(UPDATE, SAS, [*POLICIES, wall], EVERY_METHOD)
    assert wall not in [move.before for step in plan.steps for move in step.policies]


def test_all_policies_between_the_addresses_move_but_those_of_single_sockets() -> None:
    (template,) = POLICIES[0].templates
    trap = replace(POLICIES[0], templates=(replace(template, reqid=8),), priority=1)
    of_a_socket = replace(POLICIES[0], direction=Direction(4))
    plan = make_plan(UPDATE, SAS, [*POLICIES, trap, of_a_socket], EVERY_METHOD)
    assert [move.before for move in plan.policy_moves()] == [*POLICIES, trap]


def test_policies_of_other_reqids_stay_where_sas_are_named() -> None:
    (template,) = POLICIES[0].templates
    foreign = replace(POLICIES[0], templates=(replace(template, reqid=8),), priority=1)
    update = replace(UPDATE, sas=(OUTBOUND.id, INBOUND.id))
    plan = make_plan(update, SAS, [*POLICIES, foreign], EVERY_METHOD)
    assert [move.before for move in plan.steps[0].policies] == [POLICIES[0]]


def test_a_name_that_no_sa_has_is_refused() -> None:
    update = replace(UPDATE, sas=(OUTBOUND.id, SAId(REMOTE, 0x999)))
    with pytest.raises(InvalidRequestError, match="no SA esp 0x00000999"):
        make_plan(update, SAS, POLICIES, EVERY_METHOD)


def test_a_name_means_one_direction_also_where_both_have_the_same_spi() -> None:
    mirrored = replace(INBOUND, id=SAId(LOCAL, OUTBOUND.id.spi))
    plan = make_plan(replace(UPDATE, sas=(OUTBOUND.id,)), [OUTBOUND, mirrored], POLICIES, EVERY_METHOD)
    assert [move.before.id for step in plan.steps for move in step.sas] == [OUTBOUND.id]


def test_what_an_acquire_left_behind_does_not_stop_a_move() -> None:
    larval = replace(OUTBOUND, id=SAId(REMOTE, 0), encryption=None)
    assert make_plan(UPDATE, [*SAS, larval], POLICIES, EVERY_METHOD) == make_plan(UPDATE, SAS, POLICIES, EVERY_METHOD)


def test_a_policy_that_somebody_else_blocked_stays_blocked() -> None:
    quarantined = replace(POLICIES[1], action=Action.BLOCK)
    plan = make_plan(UPDATE, SAS, [POLICIES[0], quarantined, POLICIES[2]], EVERY_METHOD)
    assert [move.after.action for move in plan.steps[1].policies] == [Action.BLOCK, Action.ALLOW]


def test_packets_of_an_optional_template_pass_only_when_their_sa_has_moved() -> None:
    (template,) = POLICIES[0].templates
    optional = replace(POLICIES[0], templates=(replace(template, optional=True),))
    plan = make_plan(UPDATE, SAS, [optional, *POLICIES[1:]], EVERY_METHOD)
    assert [step.is_cautious for step in plan.steps] == [True, False]
    with pytest.raises(InvalidRequestError, match="leave in clear"):
        make_plan(replace(UPDATE, policies=False), SAS, [optional, *POLICIES[1:]], EVERY_METHOD)


def test_tunnels_that_share_nothing_are_steps_of_their_own() -> None:
    others = [replace(sa, id=replace(sa.id, spi=sa.id.spi + 16), reqid=8) for sa in SAS]
    theirs = [replace(p, templates=(replace(p.templates[0], reqid=8),), priority=1) for p in POLICIES]
    plan = make_plan(UPDATE, [*SAS, *others], [*POLICIES, *theirs], NO_MIGRATE_STATE)
    assert [(len(step.sas), len(step.policies)) for step in plan.steps] == [(1, 1), (1, 2), (1, 1), (1, 2)]
    assert {move.method for move in plan.sa_moves()} == {Method.MIGRATE}


def test_migrate_is_not_used_for_sas_that_are_offloaded() -> None:
    sas = [replace(sa, offload=Offload(2)) for sa in SAS]
    plan = make_plan(UPDATE, sas, POLICIES, NO_MIGRATE_STATE)
    assert {move.method for move in plan.sa_moves()} == {Method.REPLACE}
    assert "it would lose the offload" in dict(plan.steps[0].sas[0].passed_over)[Method.MIGRATE]


def test_a_loss_that_no_method_spares_has_to_be_accepted() -> None:
    sas = [replace(sa, offload=Offload(2), encryption=replace(GCM, key=Key(bytes(36)))) for sa in SAS]
    plan = make_plan(UPDATE, sas, POLICIES, NO_MIGRATE_STATE)
    assert {move.method for move in plan.sa_moves()} == {Method.MIGRATE}
    assert plan.refusals(()) == (Loss.OFFLOAD,)
    assert plan.refusals({Loss.OFFLOAD}) == ()
    assert make_plan(UPDATE, sas, POLICIES, NO_MIGRATE_STATE, Method.MIGRATE).refusals(()) == ()


def test_migrate_is_not_used_for_sas_with_attributes_that_nobody_here_knows() -> None:
    sas = [replace(sa, other=(Attribute(60, bytes(8)), Attribute(99, bytes(4)))) for sa in SAS]
    plan = make_plan(UPDATE, sas, POLICIES, NO_MIGRATE_STATE)
    assert {move.method for move in plan.sa_moves()} == {Method.REPLACE}
    forced = make_plan(UPDATE, sas, POLICIES, NO_MIGRATE_STATE, Method.MIGRATE)
    assert Loss.UNKNOWN_ATTRIBUTES in forced.losses


def test_policies_stay_when_the_update_says_so() -> None:
    update = replace(UPDATE, policies=False)
    plan = make_plan(update, SAS, POLICIES, EVERY_METHOD)
    assert [move.before for move in plan.policy_moves() if move.before != move.after] == []


def test_only_the_named_sas_move() -> None:
    twin = replace(OUTBOUND, id=SAId(REMOTE, 0xC0FFEE03))
    update = replace(UPDATE, sas=(twin.id,))
    plan = make_plan(update, [*SAS, twin], POLICIES, EVERY_METHOD)
    assert [move.before.id for step in plan.steps for move in step.sas] == [twin.id]


def test_encapsulation_is_kept_changed_or_removed_as_asked() -> None:
    encap = UdpEncap(4500, 54321)
    sas = [replace(OUTBOUND, encap=encap), replace(INBOUND, encap=encap.reversed())]

    def encaps(wanted: UdpEncap | Keep | None) -> list[Encap | None]:
        update = replace(UPDATE, encap=wanted)
        return [move.after.encap for step in make_plan(update, sas, POLICIES, EVERY_METHOD).steps for move in step.sas]

    assert encaps(KEEP) == [encap, encap.reversed()]
    assert encaps(UdpEncap(4500, 4500)) == [UdpEncap(4500, 4500), UdpEncap(4500, 4500)]
    assert encaps(None) == [None, None]


def test_a_kernel_that_cannot_remove_encapsulation_is_not_asked_to() -> None:
    sas = [replace(OUTBOUND, encap=UdpEncap()), replace(INBOUND, encap=UdpEncap())]
    plan = make_plan(replace(UPDATE, encap=None), sas, POLICIES, NO_MIGRATE_STATE)
    assert {move.method for move in plan.sa_moves()} == {Method.REPLACE}
    with pytest.raises(UnsupportedError, match="cannot remove an encapsulation"):
        make_plan(replace(UPDATE, encap=None), sas, POLICIES, NO_MIGRATE_STATE, Method.MIGRATE)


def test_what_a_method_cannot_undo_is_undone_by_another() -> None:
    plan = make_plan(replace(UPDATE, encap=UdpEncap()), SAS, POLICIES, NO_MIGRATE_STATE)
    assert {(move.method, move.undo) for move in plan.sa_moves()} == {(Method.MIGRATE, Method.REPLACE)}


def test_a_move_to_ipv6_keeps_what_the_sa_selects() -> None:
    plan = make_plan(AddressUpdate(UPDATE.old, V6), SAS, POLICIES, EVERY_METHOD)
    assert [move.after.selector for step in plan.steps for move in step.sas] == [any_selector(4), any_selector(4)]
    back = make_plan(
        AddressUpdate(V6, UPDATE.old), [m.after for s in plan.steps for m in s.sas], POLICIES, EVERY_METHOD
    )
    assert [move.after.selector for step in back.steps for move in step.sas] == [None, None]


@pytest.mark.parametrize(
    ("new", "complaint"),
    [
        (AddressPair(ip_address("2001:db8::2"), REMOTE), "mixes IPv4 and IPv6"),
        (AddressPair(ip_address("0.0.0.0"), REMOTE), "cannot be the end"),
        (AddressPair(ip_address("224.0.0.1"), REMOTE), "cannot be the end"),
        (AddressPair(LOCAL, REMOTE), "nothing would change"),
    ],
)
def test_an_update_that_no_sa_could_follow_is_refused(new: AddressPair, complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=complaint):
        AddressUpdate(UPDATE.old, new)


def test_a_plan_is_a_value_that_can_be_compared_and_read() -> None:
    plan = make_plan(UPDATE, SAS, POLICIES, NO_MIGRATE_STATE)
    assert plan == make_plan(UPDATE, SAS, POLICIES, NO_MIGRATE_STATE)
    assert json.loads(json.dumps(plan.as_json()))["steps"][0]["sas"][0]["method"] == "MIGRATE"
    assert SECRET.hex() not in json.dumps(plan.as_json())
    assert str(plan).splitlines() == [
        "move 192.0.2.2 - 203.0.113.1 to 198.51.100.2 - 203.0.113.1",
        "1. outbound: block its policies; then move, put the sequence ahead and allow, in one datagram",
        "     esp 0xc0ffee01 192.0.2.2 -> 203.0.113.1  to  198.51.100.2 -> 203.0.113.1",
        "       by MIGRATE",
        "     policy out 10.1.0.0/16 -> 10.2.0.0/16",
        "2. inbound: move, then its policies",
        "     esp 0xc0ffee02 203.0.113.1 -> 192.0.2.2  to  203.0.113.1 -> 198.51.100.2",
        "       by MIGRATE",
        "     policy in 10.2.0.0/16 -> 10.1.0.0/16",
        "     policy fwd 10.2.0.0/16 -> 10.1.0.0/16",
        "passed over ADDRUPDATE for 2 SAs: XFRM has no such message: it is PF_KEY's",
        "passed over MIGRATE_STATE for 2 SAs: the kernel has no XFRM_MSG_MIGRATE_STATE",
        "may be lost: outbound packets while they are blocked: refused to a local sender, dropped when forwarded",
        "may be lost: inbound packets that are still on their way to the old addresses",
        "may be lost: inbound packets that arrive between the move of their SA and that of its policies",
        "may be lost: a policy's age and the time of its last use; of one that gets another selector also its index",
        "may be lost: 4096 sequence numbers, which are passed over",
        "may be lost: the replay window's memory of packets that come in while the SA moves",
        "may be lost: the counts of failures",
        "may be lost: when progress is told next",
    ]
