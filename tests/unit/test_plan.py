"""Plans: from values to values."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from pfkeyx import (
    AES_CTR,
    KEEP,
    Action,
    AddressPair,
    AddressUpdate,
    AlreadyExistsError,
    Attribute,
    Direction,
    Encryption,
    InvalidRequestError,
    Key,
    Mark,
    Method,
    Mode,
    Offload,
    Policy,
    SAId,
    UdpEncap,
    UnsupportedError,
)
from pfkeyx.migration.plan import make_plan
from pfkeyx.migration.update import Keep
from pfkeyx.model import Encap, IPAddress, any_selector
from tests.unit.samples import (
    BOTH_METHODS,
    INBOUND,
    LOCAL,
    NEW_LOCAL,
    ONLY_MIGRATE,
    OUTBOUND,
    POLICIES,
    REMOTE,
    SAS,
    UPDATE,
)

V6 = AddressPair(ip_address("2001:db8::2"), ip_address("2001:db8::1"))


def moved(policy: Policy, source: IPAddress, destination: IPAddress) -> Policy:
    (template,) = policy.templates
    return replace(policy, templates=(replace(template, source=source, destination=destination),))


def test_a_tunnel_moves_in_two_steps_outbound_first() -> None:
    plan = make_plan(UPDATE, SAS, POLICIES, BOTH_METHODS)
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
    for step in make_plan(UPDATE, SAS, POLICIES, BOTH_METHODS).steps:
        for move in step.sas:
            assert replace(move.after, id=move.before.id, source=move.before.source) == move.before


def test_the_first_method_that_loses_nothing_is_taken() -> None:
    plan = make_plan(UPDATE, SAS, POLICIES, BOTH_METHODS)
    assert {step.method for step in plan.steps} == {Method.MIGRATE_STATE}
    assert plan.steps[0].passed_over == ()


def test_a_method_that_the_kernel_lacks_is_passed_over_with_the_reason() -> None:
    plan = make_plan(UPDATE, SAS, POLICIES, ONLY_MIGRATE)
    assert {step.method for step in plan.steps} == {Method.MIGRATE}
    assert plan.steps[0].passed_over == ((Method.MIGRATE_STATE, "the kernel has no XFRM_MSG_MIGRATE_STATE"),)


def test_a_forced_method_is_taken() -> None:
    plan = make_plan(UPDATE, SAS, POLICIES, BOTH_METHODS, Method.MIGRATE)
    assert {step.method for step in plan.steps} == {Method.MIGRATE}


def test_aes_ctr_is_not_given_to_a_kernel_migration() -> None:
    ctr = Encryption(AES_CTR, Key(bytes(20)))
    sas = [replace(sa, encryption=ctr) for sa in SAS]
    with pytest.raises(UnsupportedError, match="IV generator"):
        make_plan(UPDATE, sas, POLICIES, BOTH_METHODS)


@pytest.mark.parametrize(
    ("sas", "reason"),
    [
        ([*SAS, replace(OUTBOUND, id=SAId(REMOTE, 0xC0FFEE03))], "newest of several"),
        ([replace(sa, id=replace(sa.id, mark=Mark(5))) for sa in SAS], "marked"),
        ([replace(sa, if_id=5) for sa in SAS], "interface id"),
    ],
)
def test_migrate_is_not_used_where_it_would_leave_an_sa_behind(sas: list[object], reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        make_plan(UPDATE, sas, POLICIES, ONLY_MIGRATE)  # type: ignore[arg-type]
    assert make_plan(UPDATE, sas, POLICIES, BOTH_METHODS).steps  # type: ignore[arg-type]


def test_transport_mode_is_refused() -> None:
    sas = [replace(sa, mode=Mode.TRANSPORT) for sa in SAS]
    with pytest.raises(UnsupportedError, match="selectors would have to follow"):
        make_plan(UPDATE, sas, (), BOTH_METHODS)


def test_a_larval_sa_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="larval"):
        make_plan(UPDATE, [replace(OUTBOUND, encryption=None)], POLICIES, BOTH_METHODS)


def test_an_update_of_addresses_that_nobody_has_is_refused() -> None:
    update = AddressUpdate(AddressPair(ip_address("192.0.2.99"), REMOTE), UPDATE.new)
    sas_elsewhere = [replace(OUTBOUND, source=ip_address("192.0.2.77"))]
    with pytest.raises(InvalidRequestError, match=r"no SA at 192\.0\.2\.99"):
        make_plan(update, sas_elsewhere, POLICIES, BOTH_METHODS)


def test_an_occupied_place_is_refused_before_anything_is_done() -> None:
    occupant = replace(INBOUND, id=SAId(NEW_LOCAL, INBOUND.id.spi))
    with pytest.raises(AlreadyExistsError, match="same SPI at the new address"):
        make_plan(UPDATE, [*SAS, occupant], POLICIES, BOTH_METHODS)


def test_a_tunnel_that_has_moved_needs_no_steps() -> None:
    sas = [
        replace(OUTBOUND, source=NEW_LOCAL),
        replace(INBOUND, id=SAId(NEW_LOCAL, INBOUND.id.spi)),
    ]
    policies = [moved(POLICIES[0], NEW_LOCAL, REMOTE), *(moved(p, REMOTE, NEW_LOCAL) for p in POLICIES[1:])]
    plan = make_plan(UPDATE, sas, policies, BOTH_METHODS)
    assert plan.steps == ()
    assert "moved already" in str(plan)


def test_a_blocked_policy_with_templates_is_an_interrupted_move_and_is_finished() -> None:
    blocked = replace(POLICIES[0], action=Action.BLOCK)
    plan = make_plan(UPDATE, SAS, [blocked, *POLICIES[1:]], BOTH_METHODS)
    assert plan.steps[0].policies[0].after == moved(POLICIES[0], NEW_LOCAL, REMOTE)


def test_a_policy_that_blocks_and_has_no_templates_stays() -> None:
    wall = Policy(POLICIES[0].selector, Direction.OUT, action=Action.BLOCK, priority=9)
    plan = make_plan(UPDATE, SAS, [*POLICIES, wall], BOTH_METHODS)
    assert wall not in [move.before for step in plan.steps for move in step.policies]


def test_all_policies_between_the_addresses_move_but_those_of_single_sockets() -> None:
    (template,) = POLICIES[0].templates
    trap = replace(POLICIES[0], templates=(replace(template, reqid=8),), priority=1)
    of_a_socket = replace(POLICIES[0], direction=Direction(4))
    plan = make_plan(UPDATE, SAS, [*POLICIES, trap, of_a_socket], BOTH_METHODS)
    assert [move.before for move in plan.steps[0].policies] == [POLICIES[0], trap]


def test_policies_of_other_reqids_stay_where_sas_are_named() -> None:
    (template,) = POLICIES[0].templates
    foreign = replace(POLICIES[0], templates=(replace(template, reqid=8),), priority=1)
    update = replace(UPDATE, sas=(OUTBOUND.id, INBOUND.id))
    plan = make_plan(update, SAS, [*POLICIES, foreign], BOTH_METHODS)
    assert [move.before for move in plan.steps[0].policies] == [POLICIES[0]]


def test_a_name_that_no_sa_has_is_refused() -> None:
    update = replace(UPDATE, sas=(OUTBOUND.id, SAId(REMOTE, 0x999)))
    with pytest.raises(InvalidRequestError, match="no SA esp 0x00000999"):
        make_plan(update, SAS, POLICIES, BOTH_METHODS)


def test_a_name_means_one_direction_also_where_both_have_the_same_spi() -> None:
    mirrored = replace(INBOUND, id=SAId(LOCAL, OUTBOUND.id.spi))
    plan = make_plan(replace(UPDATE, sas=(OUTBOUND.id,)), [OUTBOUND, mirrored], POLICIES, BOTH_METHODS)
    assert [move.before.id for step in plan.steps for move in step.sas] == [OUTBOUND.id]


def test_what_an_acquire_left_behind_does_not_stop_a_move() -> None:
    larval = replace(OUTBOUND, id=SAId(REMOTE, 0), encryption=None)
    assert make_plan(UPDATE, [*SAS, larval], POLICIES, BOTH_METHODS) == make_plan(UPDATE, SAS, POLICIES, BOTH_METHODS)


def test_a_policy_that_somebody_else_blocked_stays_blocked() -> None:
    quarantined = replace(POLICIES[1], action=Action.BLOCK)
    plan = make_plan(UPDATE, SAS, [POLICIES[0], quarantined, POLICIES[2]], BOTH_METHODS)
    assert [move.after.action for move in plan.steps[1].policies] == [Action.BLOCK, Action.ALLOW]


def test_an_optional_outbound_template_is_not_moved() -> None:
    (template,) = POLICIES[0].templates
    optional = replace(POLICIES[0], templates=(replace(template, optional=True),))
    with pytest.raises(UnsupportedError, match="pass in clear"):
        make_plan(UPDATE, SAS, [optional, *POLICIES[1:]], BOTH_METHODS)


def test_migrate_is_not_used_where_one_policy_does_not_name_all_sas() -> None:
    others = [replace(sa, id=replace(sa.id, spi=sa.id.spi + 16), reqid=8) for sa in SAS]
    theirs = [replace(p, templates=(replace(p.templates[0], reqid=8),), priority=1) for p in POLICIES]
    with pytest.raises(UnsupportedError, match="names each of them"):
        make_plan(UPDATE, [*SAS, *others], [*POLICIES, *theirs], ONLY_MIGRATE)
    assert len(make_plan(UPDATE, [*SAS, *others], [*POLICIES, *theirs], BOTH_METHODS).steps[0].sas) == 2


def test_migrate_is_not_used_for_sas_that_are_offloaded() -> None:
    sas = [replace(sa, offload=Offload(2)) for sa in SAS]
    with pytest.raises(UnsupportedError, match="offload"):
        make_plan(UPDATE, sas, POLICIES, ONLY_MIGRATE)


def test_migrate_is_not_used_for_sas_with_attributes_that_nobody_here_knows() -> None:
    sas = [replace(sa, other=(Attribute(60, bytes(8)), Attribute(99, bytes(4)))) for sa in SAS]
    with pytest.raises(UnsupportedError, match="whether it keeps attributes 60, 99 is not known"):
        make_plan(UPDATE, sas, POLICIES, ONLY_MIGRATE)


def test_a_plan_says_which_attributes_of_an_sa_nobody_here_knows() -> None:
    plan = make_plan(UPDATE, [replace(OUTBOUND, other=(Attribute(60, bytes(8)),)), INBOUND], POLICIES, BOTH_METHODS)
    assert [loss for loss in plan.may_lose if "60" in loss] == [
        f"attributes 60 of {OUTBOUND}, not known here; a loss would be seen and undone"
    ]


def test_policies_stay_when_the_update_says_so() -> None:
    update = replace(UPDATE, policies=False)
    plan = make_plan(update, SAS, POLICIES, BOTH_METHODS)
    assert [step.policies for step in plan.steps] == [(), ()]
    assert not any("outbound" in loss for loss in plan.may_lose)


def test_only_the_named_sas_move() -> None:
    twin = replace(OUTBOUND, id=SAId(REMOTE, 0xC0FFEE03))
    update = replace(UPDATE, sas=(twin.id,))
    plan = make_plan(update, [*SAS, twin], POLICIES, BOTH_METHODS)
    assert [move.before.id for step in plan.steps for move in step.sas] == [twin.id]


def test_encapsulation_is_kept_changed_or_removed_as_asked() -> None:
    encap = UdpEncap(4500, 54321)
    sas = [replace(OUTBOUND, encap=encap), replace(INBOUND, encap=encap.reversed())]

    def encaps(wanted: UdpEncap | Keep | None) -> list[Encap | None]:
        update = replace(UPDATE, encap=wanted)
        return [move.after.encap for step in make_plan(update, sas, POLICIES, BOTH_METHODS).steps for move in step.sas]

    assert encaps(KEEP) == [encap, encap.reversed()]
    assert encaps(UdpEncap(4500, 4500)) == [UdpEncap(4500, 4500), UdpEncap(4500, 4500)]
    assert encaps(None) == [None, None]


def test_a_kernel_that_cannot_remove_encapsulation_is_not_asked_to() -> None:
    sas = [replace(OUTBOUND, encap=UdpEncap()), replace(INBOUND, encap=UdpEncap())]
    with pytest.raises(UnsupportedError, match="cannot remove an encapsulation"):
        make_plan(replace(UPDATE, encap=None), sas, POLICIES, ONLY_MIGRATE)


def test_a_move_to_ipv6_keeps_what_the_sa_selects() -> None:
    plan = make_plan(AddressUpdate(UPDATE.old, V6), SAS, POLICIES, BOTH_METHODS)
    assert [move.after.selector for step in plan.steps for move in step.sas] == [any_selector(4), any_selector(4)]
    back = make_plan(
        AddressUpdate(V6, UPDATE.old), [m.after for s in plan.steps for m in s.sas], POLICIES, BOTH_METHODS
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
    plan = make_plan(UPDATE, SAS, POLICIES, ONLY_MIGRATE)
    assert plan == make_plan(UPDATE, SAS, POLICIES, ONLY_MIGRATE)
    assert str(plan).splitlines() == [
        "move 192.0.2.2 - 203.0.113.1 to 198.51.100.2 - 203.0.113.1",
        "1. outbound: block its policies; then move, put the sequence ahead and allow, in one datagram",
        "     esp 0xc0ffee01 192.0.2.2 -> 203.0.113.1  to  198.51.100.2 -> 203.0.113.1",
        "     policy out 10.1.0.0/16 -> 10.2.0.0/16",
        "     method MIGRATE; undone by the same in the other direction",
        "     passed over MIGRATE_STATE: the kernel has no XFRM_MSG_MIGRATE_STATE",
        "2. inbound: move, then its policies, in one datagram",
        "     esp 0xc0ffee02 203.0.113.1 -> 192.0.2.2  to  203.0.113.1 -> 198.51.100.2",
        "     policy in 10.2.0.0/16 -> 10.1.0.0/16",
        "     policy fwd 10.2.0.0/16 -> 10.1.0.0/16",
        "     method MIGRATE; undone by the same in the other direction",
        "     passed over MIGRATE_STATE: the kernel has no XFRM_MSG_MIGRATE_STATE",
        "may be lost: outbound packets while they are blocked: refused to a local sender, dropped when forwarded",
        "may be lost: inbound packets that are still on their way to the old addresses",
        "may be lost: inbound packets that arrive between the move of their SA and that of its policies",
    ]
