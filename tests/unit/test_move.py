"""The operation that moves, against a kernel that refuses at every step."""

import errno
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
    Encryption,
    Engine,
    InvalidRequestError,
    KernelError,
    Key,
    Lifetime,
    Limit,
    MigrationError,
    Policy,
    Progress,
    Replay,
    SAId,
    Usage,
)
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


def state(sas: list[SA], policies: list[Policy]) -> Script:
    """Return what is read: SAs to the old local address, to the new one, and to the remote one, and policies."""
    return [("dump SAs", sas), ("dump SAs", []), ("dump SAs", []), ("dump policies", policies)]


PROBES: Script = [("probe", Refusal(3)), ("probe", Refusal(22))]
OLD_STATE = state(list(SAS), list(POLICIES))
NEW_STATE = state(NEW_SAS, NEW_POLICIES)
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
    kernel, engine = migrate(PROBES + OLD_STATE + WHOLE + NEW_STATE)
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
    kernel, engine = migrate(probes + OLD_STATE + outward + inward + NEW_STATE)
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
    kernel, engine = migrate(PROBES + OLD_STATE + BRACKET + opening + INWARD + state(after, moved))
    engine.migrate(AddressUpdate(AddressPair(LOCAL, REMOTE), AddressPair(LOCAL, peer)))
    assert [subject for _, subject, _ in kernel.asked[9:11]] == [
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
    back = [subject for operation, subject, _ in kernel.asked[-7:-4] if operation == "update policy"]
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
    kernel, engine = migrate(PROBES + OLD_STATE + WHOLE + OLD_STATE + OLD_STATE + POLICIES_BACK + OLD_STATE)
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
    after = state([wrong, NEW_INBOUND], NEW_POLICIES)
    undo = INWARD + BRACKET
    _, engine = migrate(PROBES + OLD_STATE + WHOLE + after + after + undo + OLD_STATE)
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
    unreadable: Script = [("dump SAs", Refusal(105))]
    _, engine = migrate(PROBES + OLD_STATE + WHOLE + unreadable + unreadable)
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
    after = state([NEW_OUTBOUND, emptied], NEW_POLICIES)
    _, engine = migrate(PROBES + OLD_STATE + WHOLE + after + after + INWARD + BRACKET + OLD_STATE)
    with pytest.raises(MigrationError, match="forgot which packets it had received"):
        engine.migrate(UPDATE)


def test_counters_that_go_on_do_not_outdate_a_plan() -> None:
    busy = state([replace(OUTBOUND, replay=Replay(99, 0, (0,))), INBOUND], list(POLICIES))
    after = state([replace(NEW_OUTBOUND, replay=Replay(100, 0, (0,))), NEW_INBOUND], NEW_POLICIES)
    kernel, engine = migrate(PROBES + OLD_STATE + busy + WHOLE + after)
    engine.migrate(engine.plan_migration(UPDATE))
    assert kernel.is_finished


def test_what_has_moved_is_not_moved_again() -> None:
    kernel, engine = migrate(PROBES + NEW_STATE + NEW_STATE)
    assert str(engine.migrate(UPDATE)) == "nothing was moved: it had been moved already"
    assert kernel.is_finished


def test_a_move_that_stopped_between_the_steps_is_finished_by_the_same_call() -> None:
    halfway = state([NEW_OUTBOUND, INBOUND], [at_new(OUT), IN, FORWARD])
    kernel, engine = migrate(PROBES + halfway + INWARD + NEW_STATE)
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
    kernel, engine = migrate(PROBES + state([], [blocked, IN, FORWARD]) + POLICIES_BACK + state([], NEW_POLICIES))
    engine.migrate(UPDATE)
    assert kernel.is_finished
