"""The operation that moves, against a kernel that refuses at every step."""

import errno
import gc
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pfkeyx import (
    AES_CTR,
    SA,
    Action,
    AddressPair,
    AddressUpdate,
    AlreadyExistsError,
    Encryption,
    Engine,
    InvalidRequestError,
    KernelError,
    Key,
    Lifetime,
    Limit,
    Mark,
    MigrationError,
    MigrationPlan,
    Policy,
    Progress,
    Replay,
    SAId,
    UnsupportedError,
    Usage,
)
from pfkeyx.migration.reading import FEW, Snapshot, read_back
from pfkeyx.testing import Refusal, ScriptedKernel
from pfkeyx.xfrm import XfrmDialect
from tests.unit.samples import INBOUND, LOCAL, NEW_LOCAL, OUTBOUND, POLICIES, REMOTE, SAS, SECRET, UPDATE, USAGE

Script = list[tuple[str, Any]]

OUT, IN, FORWARD = POLICIES


def at_new(policy: Policy) -> Policy:
    (template,) = policy.templates
    ends = (NEW_LOCAL, REMOTE) if policy is OUT else (REMOTE, NEW_LOCAL)
    return replace(policy, templates=(replace(template, source=ends[0], destination=ends[1]),))


NEW_OUTBOUND = replace(OUTBOUND, source=NEW_LOCAL)
NEW_INBOUND = replace(INBOUND, id=SAId(NEW_LOCAL, INBOUND.id.spi))
NEW_SAS = [NEW_OUTBOUND, NEW_INBOUND]
NEW_POLICIES = [at_new(policy) for policy in POLICIES]


def state(sas: list[SA], policies: list[Policy], update: AddressUpdate = UPDATE) -> Script:
    """Return what is read: SAs both ways between the old ends and the new ones, what is where they go, and policies."""
    ids = {sa.id for sa in sas}
    headings = ((sa, update.heading(sa.source, sa.destination)) for sa in sas)
    targets = (replace(sa.id, destination=heading.destination) for sa, heading in headings if heading is not None)
    free: Script = [("get SA", Refusal(errno.ESRCH)) for target in targets if target not in ids]
    return [("dump SAs", sas), *([("dump SAs", [])] * 3), *free, ("dump policies", policies)]


def found(sas: list[SA], policies: list[Policy], before: Sequence[SA] = SAS, after: Sequence[SA] = ()) -> Script:
    """Return what is read back of SAs that have moved, and of policies: each where it should be and where it was."""
    pairs = zip(after or sas, before, strict=True)
    there = {sa.id: sa for sa in sas}
    return [
        *(("get SA", there.get(it, Refusal(errno.ESRCH))) for it in dict.fromkeys(sa.id for p in pairs for sa in p)),
        *(("get policy", policy) for policy in policies),
    ]


PROBES: Script = [("probe", Refusal(3)), ("probe", Refusal(22))]
OLD_STATE = state(list(SAS), list(POLICIES))
NEW_STATE = state(NEW_SAS, NEW_POLICIES)
FOUND = found(NEW_SAS, NEW_POLICIES)
#: Both directions travel in one datagram, which the kernel runs to its end whatever it refuses.
BRACKET: Script = [("update policy", None), ("migrate SA", None), ("update policy", None)]
INWARD: Script = [("migrate SA", None), ("update policy", None), ("update policy", None)]
WHOLE: Script = BRACKET + INWARD
POLICIES_BACK: Script = [("update policy", None)] * 3


def migrate(script: Script) -> tuple[ScriptedKernel, Engine]:
    kernel = ScriptedKernel(script)
    return kernel, Engine(XfrmDialect(), kernel)


def refused(script: Script, index: int, errno: int = 22) -> Script:
    operation, _ = script[index]
    return [*script[:index], (operation, Refusal(errno)), *script[index + 1 :]]


def test_a_tunnel_moves_in_one_datagram() -> None:
    kernel, engine = migrate(PROBES + OLD_STATE + WHOLE + FOUND)
    report = engine.migrate(UPDATE)
    done = [(operation, subject) for operation, subject, together in kernel.asked if together]
    assert done == [
        ("update policy", replace(OUT, action=Action.BLOCK)),
        ("migrate SA", OUTBOUND.as_written()),
        ("update policy", at_new(OUT)),
        ("migrate SA", INBOUND.as_written()),
        ("update policy", at_new(IN)),
        ("update policy", at_new(FORWARD)),
    ]
    assert report.sas == ((OUTBOUND, NEW_OUTBOUND), (INBOUND, NEW_INBOUND))
    assert str(report).endswith("moved 2 SAs and 3 policies")


def test_migrate_by_policy_moves_each_direction_through_one_policy() -> None:
    probes: Script = [("probe", Refusal(22)), ("probe", Refusal(22))]
    outward: Script = [
        ("update policy", None),
        ("get SA", OUTBOUND),
        ("migrate policy", None),
        ("set sequence number", None),
        ("update policy", None),
    ]
    inward: Script = [("migrate policy", None), ("update policy", None), ("update policy", None)]
    kernel, engine = migrate(probes + OLD_STATE + outward + inward + FOUND)
    engine.migrate(UPDATE)
    assert [subject for operation, subject, _ in kernel.asked if operation == "migrate policy"] == [OUT.id, IN.id]


def test_migrate_by_policy_does_not_put_a_sequence_number_ahead_that_has_no_room() -> None:
    probes: Script = [("probe", Refusal(22)), ("probe", Refusal(22))]
    used_up = replace(OUTBOUND, replay=Replay(0xFFFFFFF0, 0, (0,)))
    outward: Script = [("update policy", None), ("get SA", used_up)]
    kernel, engine = migrate(probes + OLD_STATE + outward + OLD_STATE + POLICIES_BACK + OLD_STATE)
    with pytest.raises(MigrationError, match="rekey it") as caught:
        engine.migrate(UPDATE)
    assert caught.value.rolled_back
    assert kernel.is_finished


def test_while_the_peer_moves_inbound_packets_pass_whichever_address_their_sa_has() -> None:
    peer = ip_address("203.0.113.9")
    after = [replace(OUTBOUND, id=SAId(peer, OUTBOUND.id.spi)), replace(INBOUND, source=peer)]
    out, *inward = (policy.templates[0] for policy in POLICIES)
    templates = [replace(out, destination=peer), *(replace(template, source=peer) for template in inward)]
    moved = [replace(policy, templates=(template,)) for policy, template in zip(POLICIES, templates, strict=True)]
    opening: Script = [("update policy", None), ("update policy", None)]
    update = AddressUpdate(AddressPair(LOCAL, REMOTE), AddressPair(LOCAL, peer))
    before = state(list(SAS), list(POLICIES), update)
    kernel, engine = migrate(PROBES + before + BRACKET + opening + INWARD + found(after, moved))
    engine.migrate(update)
    first = len(PROBES + before + BRACKET)
    assert [subject for _, subject, _ in kernel.asked[first : first + 2]] == [
        replace(policy, templates=(replace(policy.templates[0], source=ip_address("0.0.0.0")),))
        for policy in (IN, FORWARD)
    ]
    assert kernel.is_finished


@pytest.mark.parametrize("index", range(len(WHOLE)))
def test_whatever_is_refused_the_policies_are_written_back(index: int) -> None:
    kernel, engine = migrate(PROBES + OLD_STATE + refused(WHOLE, index) + OLD_STATE + POLICIES_BACK + OLD_STATE)
    with pytest.raises(MigrationError) as caught:
        engine.migrate(UPDATE)
    assert caught.value.rolled_back
    assert caught.value.moved == ()
    assert isinstance(caught.value.__cause__, KernelError)
    end = -len(OLD_STATE)
    back = [subject for operation, subject, _ in kernel.asked[end - 3 : end] if operation == "update policy"]
    assert back == [IN, FORWARD, OUT]
    assert kernel.is_finished


def test_a_refusal_inbound_moves_the_outbound_sa_back() -> None:
    halfway = state([NEW_OUTBOUND, INBOUND], NEW_POLICIES)
    undo: Script = [("update policy", None)] * 2 + BRACKET
    kernel, engine = migrate(PROBES + OLD_STATE + refused(WHOLE, 3) + halfway + undo + OLD_STATE)
    with pytest.raises(MigrationError, match="everything is back") as caught:
        engine.migrate(UPDATE)
    assert caught.value.rolled_back
    assert [subject for operation, subject, together in kernel.asked if operation == "migrate SA" and together] == [
        OUTBOUND.as_written(),
        INBOUND.as_written(),
        NEW_OUTBOUND.as_written(),
    ]
    assert kernel.is_finished


def test_when_the_undo_is_refused_too_the_error_says_what_is_where() -> None:
    halfway = state([NEW_OUTBOUND, INBOUND], [at_new(OUT), IN, FORWARD])
    undo: Script = [("update policy", None)] * 2 + BRACKET
    _, engine = migrate(PROBES + OLD_STATE + refused(WHOLE, 3) + halfway + refused(undo, 3) + halfway)
    with pytest.raises(MigrationError, match="undoing it: migrate SA") as caught:
        engine.migrate(UPDATE)
    assert not caught.value.rolled_back
    assert caught.value.moved == (OUTBOUND.as_written(), OUT)
    assert caught.value.not_moved == (INBOUND.as_written(), IN, FORWARD)


def test_a_success_that_moved_nothing_is_not_believed() -> None:
    nothing = found(list(SAS), list(POLICIES), after=NEW_SAS)
    kernel, engine = migrate(PROBES + OLD_STATE + WHOLE + nothing + OLD_STATE + POLICIES_BACK + OLD_STATE)
    with pytest.raises(MigrationError, match="is not at the new addresses") as caught:
        engine.migrate(UPDATE)
    assert caught.value.rolled_back
    assert kernel.is_finished


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (replace(NEW_OUTBOUND, reqid=0), "lost something: reqid"),
        (replace(NEW_OUTBOUND, replay=Replay(0, 0, (0,))), "counters went back"),
        (replace(NEW_OUTBOUND, replay=Replay(99, 0, (0,)), usage=Usage(0, 0, 1, 2)), "counters went back"),
        (replace(NEW_OUTBOUND, replay=Replay(41, 0, (0,)), usage=replace(USAGE, octets=1)), "counters went back"),
    ],
)
def test_a_move_that_lost_something_is_undone(wrong: SA, complaint: str) -> None:
    seen = found([wrong, NEW_INBOUND], NEW_POLICIES)
    after = state([wrong, NEW_INBOUND], NEW_POLICIES)
    undo = INWARD + BRACKET
    _, engine = migrate(PROBES + OLD_STATE + WHOLE + seen + after + undo + OLD_STATE)
    with pytest.raises(MigrationError, match=complaint) as caught:
        engine.migrate(UPDATE)
    assert caught.value.rolled_back


def test_an_sa_that_did_not_come_back_whole_is_not_called_rolled_back() -> None:
    halfway = state([NEW_OUTBOUND, INBOUND], [at_new(OUT), IN, FORWARD])
    undo: Script = [("update policy", None)] * 2 + BRACKET
    after = state([replace(OUTBOUND, reqid=0)], list(POLICIES))
    _, engine = migrate(PROBES + OLD_STATE + refused(WHOLE, 3) + halfway + undo + after)
    with pytest.raises(MigrationError, match=r"is not as it was; esp 0xc0ffee02 .* is gone") as caught:
        engine.migrate(UPDATE)
    assert not caught.value.rolled_back


def test_when_the_kernel_cannot_be_read_any_more_the_error_says_so() -> None:
    lost: Script = [("get SA", Refusal(105))] * 3
    unreadable: Script = [("dump SAs", Refusal(105))]
    _, engine = migrate(PROBES + OLD_STATE + WHOLE + lost + unreadable)
    with pytest.raises(MigrationError, match="what is where could not be read") as caught:
        engine.migrate(UPDATE)
    assert not caught.value.rolled_back


def test_a_policy_that_could_not_be_written_back_is_found_before_anything_is_sent() -> None:
    limited = replace(IN, lifetime=Lifetime(hard=Limit(octets=0)))
    kernel, engine = migrate(PROBES + state(list(SAS), [OUT, limited, FORWARD]))
    with pytest.raises(InvalidRequestError, match="a limit of 0"):
        engine.migrate(UPDATE)
    assert kernel.is_finished


def test_a_plan_that_the_sad_has_outrun_is_refused_before_anything_is_done() -> None:
    rekeyed = state([replace(OUTBOUND, id=SAId(REMOTE, 0xC0FFEE05)), INBOUND], list(POLICIES))
    kernel, engine = migrate(PROBES + OLD_STATE + rekeyed)
    plan = engine.plan_migration(UPDATE)
    with pytest.raises(InvalidRequestError, match="plan again"):
        engine.migrate(plan)
    assert kernel.is_finished


def test_a_replay_window_that_was_emptied_is_seen() -> None:
    emptied = replace(NEW_INBOUND, replay=Replay(0, 39, (0,)))
    after = [NEW_OUTBOUND, emptied]
    seen = found(after, NEW_POLICIES) + state(after, NEW_POLICIES)
    _, engine = migrate(PROBES + OLD_STATE + WHOLE + seen + INWARD + BRACKET + OLD_STATE)
    with pytest.raises(MigrationError, match="forgot which packets it had received"):
        engine.migrate(UPDATE)


def test_counters_that_go_on_do_not_outdate_a_plan() -> None:
    busy = state([replace(OUTBOUND, replay=Replay(99, 0, (0,))), INBOUND], list(POLICIES))
    after = found([replace(NEW_OUTBOUND, replay=Replay(100, 0, (0,))), NEW_INBOUND], NEW_POLICIES)
    kernel, engine = migrate(PROBES + OLD_STATE + busy + WHOLE + after)
    engine.migrate(engine.plan_migration(UPDATE))
    assert kernel.is_finished


def test_what_has_moved_is_not_moved_again() -> None:
    kernel, engine = migrate(PROBES + NEW_STATE)
    assert str(engine.migrate(UPDATE)) == "nothing was moved: it had been moved already"
    assert kernel.is_finished


def test_a_move_that_stopped_between_the_steps_is_finished_by_the_same_call() -> None:
    halfway = state([NEW_OUTBOUND, INBOUND], [at_new(OUT), IN, FORWARD])
    kernel, engine = migrate(PROBES + halfway + INWARD + found([NEW_INBOUND], NEW_POLICIES[1:], [INBOUND]))
    engine.migrate(UPDATE)
    assert kernel.is_finished


def test_an_sa_whose_addition_was_refused_after_its_deletion_is_put_back_from_what_was_read() -> None:
    ctr = Encryption(AES_CTR, Key(SECRET[:20]))
    out, inward = (replace(sa, encryption=ctr) for sa in SAS)
    begin: Script = [
        ("update policy", None),
        ("get SA", out),
        ("get SA", inward),
        ("get SA", Refusal(errno.ESRCH)),
        ("get progress", Progress()),
        ("get progress", Progress()),
    ]
    change: Script = [
        ("delete SA", None),
        ("restore SA", None),
        ("update policy", None),
        ("delete SA", None),
        ("restore SA", Refusal(errno.ENOMEM)),
        ("update policy", None),
        ("update policy", None),
    ]
    moved = replace(out, source=NEW_LOCAL)
    back: Script = [
        ("restore SA", None),
        *state([moved, inward], NEW_POLICIES),
        *POLICIES_BACK,
        ("get SA", moved),
        ("get progress", Progress()),
        ("delete SA", None),
        ("restore SA", None),
        ("update policy", None),
        ("get progress", Progress()),
    ]
    read = state([out, inward], list(POLICIES))
    kernel, engine = migrate(PROBES + read + begin + change + state([moved], NEW_POLICIES) + back + read)
    with pytest.raises(MigrationError, match="everything is back") as caught:
        engine.migrate(UPDATE)
    assert caught.value.rolled_back
    restored = [subject for operation, subject, _ in kernel.asked if operation == "restore SA"]
    assert restored[2] == inward
    assert kernel.is_finished


def test_after_a_kill_sas_may_have_expired_and_policies_are_opened_all_the_same() -> None:
    blocked = replace(OUT, action=Action.BLOCK)
    there = found([], NEW_POLICIES, before=())
    kernel, engine = migrate(PROBES + state([], [blocked, IN, FORWARD]) + POLICIES_BACK + there)
    engine.migrate(UPDATE)
    assert kernel.is_finished


# ---- what is read one by one ----


def with_occupant(occupant: SA) -> Script:
    """Return what is read where something is found in the place that the inbound SA would go to."""
    return [(operation, occupant if operation == "get SA" else reply) for operation, reply in OLD_STATE]


def test_an_sa_goes_to_no_place_that_is_taken_from_anywhere() -> None:
    occupant = replace(NEW_INBOUND, source=ip_address("203.0.113.200"))
    kernel, engine = migrate(PROBES + with_occupant(occupant))
    with pytest.raises(AlreadyExistsError, match="has the same SPI at the new address"):
        engine.migrate(UPDATE)
    assert kernel.is_finished


def test_where_another_sa_is_found_all_at_the_new_ends_are_looked_at() -> None:
    unmarked = replace(NEW_INBOUND, source=ip_address("203.0.113.200"))
    marked = [replace(sa, id=replace(sa.id, mark=Mark(5))) for sa in SAS]
    dumps: Script = [("dump SAs", marked), *([("dump SAs", [])] * 3), ("get SA", unmarked)]
    wider: Script = [("dump SAs", [unmarked]), ("dump SAs", []), ("dump policies", list(POLICIES))]
    kernel, engine = migrate(PROBES + dumps + wider)
    assert {move.after.id.mark for move in engine.plan_migration(UPDATE).sa_moves()} == {Mark(5)}
    assert [str(subject) for _, subject, _ in kernel.asked[-3:-1]] == ["to 198.51.100.2/32", "to 203.0.113.1/32"]
    assert kernel.is_finished


def test_where_another_sa_is_read_back_everything_is_looked_at() -> None:
    stranger = replace(NEW_OUTBOUND, id=replace(NEW_OUTBOUND.id, mark=Mark(1)))
    seen: Script = [("get SA", stranger), ("get SA", NEW_INBOUND), ("get SA", Refusal(errno.ESRCH))]
    kernel, engine = migrate(PROBES + OLD_STATE + WHOLE + seen + NEW_STATE)
    assert engine.migrate(UPDATE).sas == ((OUTBOUND, NEW_OUTBOUND), (INBOUND, NEW_INBOUND))
    assert kernel.is_finished


def test_where_one_sa_hides_another_that_is_read_back_everything_is_looked_at() -> None:
    # The kernel finds an SA without a mark by any.
    hidden = [replace(sa, id=replace(sa.id, mark=Mark(1))) for sa in (OUTBOUND, NEW_OUTBOUND)]
    old, new = state([*SAS, hidden[0]], list(POLICIES)), state([*NEW_SAS, hidden[1]], NEW_POLICIES)
    told = {OUTBOUND.id: NEW_OUTBOUND, hidden[0].id: NEW_OUTBOUND, NEW_INBOUND.id: NEW_INBOUND}
    steps = migrate(PROBES + old)[1].plan_migration(UPDATE).steps
    ids = dict.fromkeys(sa.id for step in steps for move in step.sas for sa in (move.after, move.before))
    kernel, engine = migrate([*(("get SA", told.get(it, Refusal(errno.ESRCH))) for it in ids), *new])
    snapshot = engine.run(lambda dialect: read_back(dialect, UPDATE, steps))
    assert {sa.id.mark for sa in snapshot.sas.values()} == {None, Mark(1)}
    assert kernel.is_finished


def test_of_many_sas_no_place_is_asked_for_alone() -> None:
    many = [replace(INBOUND, id=replace(INBOUND.id, spi=0x1000 + number)) for number in range(FEW + 1)]
    dumps: Script = [("dump SAs", many), *([("dump SAs", [])] * 5), ("dump policies", list(POLICIES))]
    kernel, engine = migrate(PROBES + dumps)
    assert len(list(engine.plan_migration(UPDATE).sa_moves())) == len(many)
    assert kernel.is_finished


def test_what_is_not_there_hides_no_other_refusal() -> None:
    refusals: Script = [("get SA", Refusal(errno.ESRCH)), ("get SA", Refusal(errno.EPERM)), ("get SA", NEW_INBOUND)]
    _, engine = migrate(PROBES + OLD_STATE + WHOLE + refusals + OLD_STATE + POLICIES_BACK + OLD_STATE)
    with pytest.raises(MigrationError, match="not permitted") as caught:
        engine.migrate(UPDATE)
    assert caught.value.rolled_back


# ---- a plan that was made before ----


def planned_then(script: Script, probes: Script = PROBES) -> tuple[ScriptedKernel, Engine, MigrationPlan]:
    """Return a plan, and an engine whose kernel goes on by a script."""
    kernel, engine = migrate(probes + OLD_STATE + script)
    return kernel, engine, engine.plan_migration(UPDATE)


def test_what_a_plan_was_made_of_is_forgotten_when_it_is_carried_out() -> None:
    _, engine, plan = planned_then(OLD_STATE + WHOLE + FOUND)
    assert plan.made_of is not None
    assert engine.migrate(plan).plan.made_of is None


def test_a_plan_stands_while_nothing_but_counters_has_changed() -> None:
    later = [replace(sa, usage=replace(USAGE, packets=99), replay=Replay(99, 99, (1,))) for sa in SAS]
    gone_on = [replace(sa, usage=later[0].usage, replay=later[0].replay) for sa in NEW_SAS]
    then = state(later, [replace(policy, usage=USAGE, index=8) for policy in POLICIES])
    kernel, engine, plan = planned_then(then + WHOLE + found(gone_on, NEW_POLICIES))
    report = engine.migrate(plan)
    assert report.plan is plan
    assert [before for before, _ in report.sas] == later
    assert kernel.is_finished


@pytest.mark.parametrize(
    "then",
    [
        state([replace(OUTBOUND, lifetime=Lifetime(hard=Limit(seconds=60))), INBOUND], list(POLICIES)),
        state(list(SAS), [replace(OUT, priority=OUT.priority + 1), IN, FORWARD]),
        state(list(SAS), [OUT, IN]),
        state([OUTBOUND], list(POLICIES)),
    ],
    ids=["an SA is another", "a policy is another", "a policy is gone", "an SA is gone"],
)
def test_a_plan_does_not_stand_where_anything_else_has_changed(then: Script) -> None:
    _, engine, plan = planned_then(then)
    with pytest.raises(InvalidRequestError, match="since this plan was made"):
        engine.migrate(plan)


def test_a_plan_does_not_stand_where_a_method_that_needs_numbers_has_run_out_of_them() -> None:
    probes: Script = [("probe", Refusal(22)), ("probe", Refusal(22))]
    used_up = replace(OUTBOUND, replay=Replay(0xFFFFFFF0, 0, (0,)))
    kernel, engine, plan = planned_then(state([used_up, INBOUND], list(POLICIES)), probes)
    with pytest.raises(UnsupportedError, match="rekey it"):
        engine.migrate(plan)
    assert kernel.is_finished


def test_a_plan_does_not_stand_on_a_kernel_that_can_do_something_else() -> None:
    _, _, plan = planned_then([])
    _, engine = migrate([("probe", Refusal(22)), ("probe", Refusal(22)), *OLD_STATE])
    with pytest.raises(InvalidRequestError, match="since this plan was made"):
        engine.migrate(plan)


def test_a_plan_that_somebody_has_changed_is_made_again() -> None:
    _, engine, plan = planned_then(OLD_STATE)
    with pytest.raises(InvalidRequestError, match="since this plan was made"):
        engine.migrate(replace(plan, steps=plan.steps[:1]))


def test_what_is_not_wanted_any_more_is_gone_though_probes_were_refused() -> None:
    def count() -> int:
        return sum(isinstance(thing, (MigrationPlan, Snapshot, KernelError)) for thing in gc.get_objects())

    _, engine = migrate(PROBES + OLD_STATE)
    gc.collect()
    gc.disable()
    try:
        before = count()
        engine.plan_migration(UPDATE)
        assert count() == before
    finally:
        gc.enable()
