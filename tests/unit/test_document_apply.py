"""Documents as text, what differs from a kernel, and what is undone, against a kernel that is a script."""

import errno
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from pfkeyx import (
    AES_CBC,
    SA,
    Action,
    AsyncEngine,
    DefaultPolicy,
    Direction,
    Encryption,
    Engine,
    InvalidRequestError,
    KernelError,
    Key,
    Lifetime,
    Limit,
    Mark,
    Replay,
    SAState,
    UnsupportedError,
)
from pfkeyx.document.apply import apply, check, compare, sync
from pfkeyx.document.databases import Databases, as_exported, from_text, to_text
from pfkeyx.document.decryption import tcpdump_table, wireshark_table
from pfkeyx.document.journal import ahead, ahead_of_now
from pfkeyx.document.setkey.parser import parse
from pfkeyx.document.setkey.statements import run_script
from pfkeyx.model import any_selector
from pfkeyx.pfkey import PfkeyDialect
from pfkeyx.testing import Refusal, ScriptedKernel
from pfkeyx.xfrm import XfrmDialect
from tests.unit.samples import CBC, GCM, INBOUND, OUTBOUND, POLICIES, SAS, SECRET, SHA256, SHA256_96, TUNNEL, USAGE

NEW_OUTBOUND, NEW_INBOUND = OUTBOUND.as_written(), INBOUND.as_written()
EVERYTHING = Databases(SAS, POLICIES, DefaultPolicy(forward=Action.BLOCK))


def engine_of(script: list[tuple[str, Any]]) -> tuple[Engine, ScriptedKernel]:
    kernel = ScriptedKernel(script)
    return Engine(XfrmDialect(), kernel), kernel


# ---- as text ----


@pytest.mark.parametrize("form", ["toml", "json"])
def test_databases_come_back_from_their_text(form: str) -> None:
    assert from_text(to_text(EVERYTHING, form, show_keys=True), "vpn") == EVERYTHING
    assert from_text(to_text(Databases(), form), "vpn") == Databases()


def test_an_export_is_in_the_order_in_which_it_was_made_and_without_what_is_the_kernel_s() -> None:
    larval = replace(OUTBOUND, encryption=None)
    dead = replace(INBOUND, state=SAState.LARVAL)
    of_socket = replace(POLICIES[0], direction=Direction(3))
    numbered = tuple(replace(policy, index=8 * n + 1) for n, policy in enumerate(POLICIES))
    found = Databases((OUTBOUND, larval, dead, INBOUND), (of_socket, *numbered))
    assert as_exported(found) == Databases((INBOUND, OUTBOUND), tuple(reversed(POLICIES)))
    assert as_exported(found, with_state=False).sas == (NEW_INBOUND, NEW_OUTBOUND)
    assert as_exported(Databases((replace(OUTBOUND, replay=None),))).sas == (NEW_OUTBOUND,)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "vpn.toml: version: is missing; begin with version = 1"),
        ("version = true", "vpn.toml: version: is missing"),
        ("version = 2", "vpn.toml: version: is 2; this pfkeyx reads 1"),
        ("version = 1\nsas = []", "vpn.toml: sas: there is no such table; take one of sa, policy, default_policy"),
        ("version = 1\n[sa]", r"vpn.toml: sa: is no list; write \[\[sa\]\] above each"),
        ("version = 1\n[[sa]]", r"vpn.toml: sa\[0\].destination: is missing"),
        ("version = 1\n[default_policy]\nin = 1", "vpn.toml: default_policy.in: there is no such field"),
        ('version = 1\nkey = "5ec2e7', "vpn.toml: this is no TOML: "),
        ('{"version": 1,\n"key": 5ec2e7', "vpn.toml: line 2: this is no JSON: "),
    ],
)
def test_what_is_wrong_with_a_document_is_named(text: str, complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{complaint}") as caught:
        from_text(text, "vpn.toml")
    assert "5ec2e7" not in str(caught.value)


def test_the_same_sa_twice_is_named() -> None:
    text = to_text(Databases((*SAS, OUTBOUND)), "toml", show_keys=True)
    with pytest.raises(InvalidRequestError, match=r"^vpn: sa\[2\]: esp 0xc0ffee01 to 203.0.113.1 is sa\[0\] already$"):
        from_text(text, "vpn")


# ---- what differs ----


def test_counters_and_usual_selectors_are_no_difference() -> None:
    wanted = replace(NEW_OUTBOUND, selector=any_selector(4))
    differences = compare(Databases((wanted,), POLICIES), Databases(SAS[:1], POLICIES), XfrmDialect())
    assert list(differences.changes()) == []
    assert (differences.alike_sas, differences.alike_policies) == (1, 3)


def test_what_differs_is_told_apart() -> None:
    found = Databases((OUTBOUND, INBOUND), POLICIES[:2], DefaultPolicy())
    added = replace(NEW_OUTBOUND, id=replace(OUTBOUND.id, spi=5))
    changed = replace(NEW_OUTBOUND, reqid=9)
    marked, first = replace(POLICIES[1], mark=Mark(5)), replace(POLICIES[0], priority=7)
    wanted = Databases((changed, added), (first, marked), DefaultPolicy(forward=Action.BLOCK))
    assert list(compare(wanted, found, XfrmDialect()).changes()) == [
        ("add", "SA", added),
        ("change", "SA", changed),
        ("change", "policy", first),
        ("add", "policy", marked),
        ("delete", "policy", POLICIES[1]),
        ("delete", "SA", INBOUND),
        ("set", "default policy", wanted.default_policy),
    ]


def test_larval_sas_and_policies_of_sockets_are_nobody_s_to_delete() -> None:
    found = Databases((replace(OUTBOUND, encryption=None),), (replace(POLICIES[0], direction=Direction(4)),))
    assert list(compare(Databases(), found, XfrmDialect()).changes()) == []


def test_what_a_document_does_not_speak_of_is_left_alone() -> None:
    found = Databases(SAS, POLICIES, DefaultPolicy(forward=Action.BLOCK))
    assert from_text("version = 1", "vpn") == Databases(None, None, None)
    assert list(compare(from_text("version = 1", "vpn"), found, XfrmDialect()).changes()) == []
    assert list(compare(from_text("version = 1\nsa = []", "vpn"), found, XfrmDialect()).changes()) == [
        ("delete", "SA", OUTBOUND),
        ("delete", "SA", INBOUND),
    ]


def test_what_an_interface_cannot_express_is_named_by_its_place() -> None:
    bad = replace(NEW_INBOUND, encryption=Encryption(AES_CBC, Key(b"short")))
    with pytest.raises(InvalidRequestError, match=r"^sa\[1\]: add SA esp 0xc0ffee02 .* this one has 5$"):
        check(Databases((NEW_OUTBOUND, bad)), XfrmDialect())
    with pytest.raises(UnsupportedError, match=r"^policy\[0\]: if_id: "):
        check(Databases(policies=(replace(POLICIES[0], if_id=7),)), PfkeyDialect())
    with pytest.raises(UnsupportedError, match=r"^sa\[0\]: restore: "):
        check(Databases((replace(TUNNEL.outbound(5, CBC), replay=Replay(1, 0), usage=USAGE),)), PfkeyDialect())


# ---- what is done, and undone ----


def test_sas_come_before_policies_and_the_default_policy_comes_last() -> None:
    script = [
        ("probe", None),
        ("get default policy", DefaultPolicy()),
        *[("restore SA", None)] * 2,
        *[("add policy", None)] * 3,
        ("set default policy", None),
    ]
    engine, kernel = engine_of(script)
    done = engine.run(partial(apply, databases=EVERYTHING))
    assert kernel.is_finished
    assert (done.added_sas, done.added_policies) == (SAS, POLICIES)


async def test_the_asynchronous_engine_runs_it_too() -> None:
    kernel = ScriptedKernel([("add SA", None)])
    async with AsyncEngine(XfrmDialect(), kernel) as engine:
        await engine.run(partial(apply, databases=Databases((NEW_OUTBOUND,))))
    assert kernel.is_finished


def test_what_was_added_before_a_refusal_is_deleted_again_the_newest_first() -> None:
    additions = [("add SA", None), ("add SA", None), ("add policy", None), ("add policy", Refusal(errno.EEXIST))]
    undone = [("delete policy", None), ("delete SA", Refusal(errno.ESRCH)), ("delete SA", None)]
    engine, kernel = engine_of(additions + undone)
    with pytest.raises(KernelError, match="File exists") as caught:
        engine.run(partial(apply, databases=Databases((NEW_OUTBOUND, NEW_INBOUND), POLICIES[:2])))
    assert kernel.is_finished
    assert [subject for operation, subject, _ in kernel.asked if operation == "delete SA"] == [INBOUND.id, OUTBOUND.id]
    assert caught.value.__notes__ == ["everything is as it was before"]


def test_what_cannot_be_undone_is_said() -> None:
    engine, _ = engine_of([("add SA", None), ("add SA", Refusal(errno.EEXIST)), ("delete SA", Refusal(errno.EPERM))])
    with pytest.raises(KernelError) as caught:
        engine.run(partial(apply, databases=Databases((NEW_OUTBOUND, NEW_INBOUND))))
    assert caught.value.__notes__ == [
        "could not be undone: delete SA esp 0xc0ffee01 to 203.0.113.1: Operation not permitted "
        "(needs CAP_NET_ADMIN in the namespace: run as root, or with sudo)"
    ]


READ = [("dump SAs", [OUTBOUND]), ("dump policies", []), ("probe", Refusal(errno.EINVAL))]


def test_limits_are_changed_in_place() -> None:
    wanted = replace(NEW_OUTBOUND, lifetime=Lifetime(hard=Limit(seconds=9)))
    engine, kernel = engine_of([*READ, ("update SA", None)])
    engine.run(partial(sync, databases=Databases((wanted,))))
    assert kernel.is_finished


def test_an_sa_is_replaced_in_one_datagram_and_goes_on_where_its_key_is_the_same() -> None:
    later = replace(OUTBOUND, replay=Replay(50, 0, (0,)))
    engine, kernel = engine_of([*READ, ("get SA", later), ("delete SA", None), ("restore SA", None)])
    engine.run(partial(sync, databases=Databases((replace(NEW_OUTBOUND, reqid=8),))))
    assert kernel.is_finished
    (_, _, together), (_, restored, with_deletion) = kernel.asked[-2:]
    assert together
    assert with_deletion
    assert isinstance(restored, SA)
    assert (restored.reqid, restored.replay) == (8, Replay(50 + 4096, 0, (0,)))


def test_an_sa_with_another_key_begins_anew() -> None:
    engine, kernel = engine_of([*READ, ("get SA", OUTBOUND), ("delete SA", None), ("add SA", None)])
    fresh = replace(NEW_OUTBOUND, encryption=replace(GCM, key=Key(SECRET[::-1])))
    engine.run(partial(sync, databases=Databases((fresh,))))
    assert kernel.is_finished


def test_a_refused_replacement_is_put_back_ahead_of_its_number() -> None:
    refused = [("get SA", OUTBOUND), ("delete SA", None), ("restore SA", Refusal(errno.ENOSYS)), ("restore SA", None)]
    engine, kernel = engine_of([*READ, *refused])
    with pytest.raises(KernelError):
        engine.run(partial(sync, databases=Databases((replace(NEW_OUTBOUND, reqid=8),))))
    back = kernel.asked[-1][1]
    assert isinstance(back, SA)
    assert (back.reqid, back.replay) == (7, Replay(41 + 4096, 0, (0,)))


def test_over_pf_key_an_sa_with_the_same_key_is_not_replaced() -> None:
    old = replace(TUNNEL.outbound(0x1001, CBC, SHA256_96), usage=USAGE)
    kernel = ScriptedKernel([("dump SAs", [old]), ("dump policies", []), ("get SA", old)])
    with pytest.raises(UnsupportedError, match="under the same key none may come twice"):
        Engine(PfkeyDialect(), kernel).run(partial(sync, databases=Databases((replace(old, reqid=8),))))
    assert kernel.is_finished


def test_over_pf_key_an_sa_that_is_put_back_begins_anew_and_that_is_said() -> None:
    old = replace(TUNNEL.outbound(0x1001, CBC, SHA256_96), usage=USAGE)
    statements = parse("flush; add 192.0.2.1 192.0.2.2 esp 5 -E null;", "script")
    kernel = ScriptedKernel(
        [("dump SAs", [old]), ("flush SAs", None), ("add SA", Refusal(errno.ENOSYS)), ("add SA", None)]
    )
    with pytest.raises(KernelError, match=r"^script:1: add SA") as caught:
        Engine(PfkeyDialect(), kernel).run(partial(run_script, script=statements))
    assert kernel.is_finished
    assert caught.value.__notes__ == [
        "PF_KEY cannot set sequence numbers: SAs that were put back begin anew, so rekey them"
    ]


def test_an_sa_that_is_gone_already_needs_no_deletion() -> None:
    engine, kernel = engine_of([*READ, ("get SA", Refusal(errno.ESRCH))])
    engine.run(partial(sync, databases=Databases()))
    assert kernel.is_finished


def test_an_sa_whose_keys_the_kernel_hides_is_not_replaced() -> None:
    locked = replace(OUTBOUND, encryption=Encryption(GCM.algorithm, Key(bytes(36))))
    engine, kernel = engine_of([("dump SAs", [locked]), *READ[1:], ("get SA", locked)])
    with pytest.raises(InvalidRequestError, match="the kernel hides its keys"):
        engine.run(partial(sync, databases=Databases((NEW_OUTBOUND,))))
    assert kernel.is_finished


def test_what_could_not_be_written_again_is_deleted_all_the_same_and_that_is_said() -> None:
    strange = replace(OUTBOUND, encryption=Encryption(AES_CBC, Key(b"short")))
    script = [("dump SAs", [strange]), ("flush SAs", None), ("add SA", Refusal(errno.ENOSYS))]
    engine, kernel = engine_of(script)
    statements = parse("flush; add 192.0.2.1 192.0.2.2 esp 5 -E null;", "script")
    with pytest.raises(KernelError) as caught:
        engine.run(partial(run_script, script=statements))
    assert kernel.is_finished
    assert caught.value.__notes__ == ["delete SA esp 0xc0ffee01 to 203.0.113.1 cannot be undone"]


def test_sequence_numbers_are_put_ahead_and_never_beyond_the_last() -> None:
    assert ahead(OUTBOUND, 10).replay == Replay(51, 0, (0,))
    # It may have sent something since, whatever it had when it was read.
    assert ahead(INBOUND, 10).replay == Replay(10, 39, (0xFFFFFFFF,))
    assert ahead_of_now(OUTBOUND).replay == Replay(41 + 4096, 0, (0,))
    assert ahead_of_now(replace(OUTBOUND, replay=Replay(0, 0, (0,)))).replay == Replay(4096, 0, (0,))
    assert ahead_of_now(INBOUND) == INBOUND
    declared = replace(INBOUND, direction=Direction.IN, replay=Replay(0, 0, (0,)))
    assert ahead_of_now(declared) == declared
    assert ahead(NEW_OUTBOUND, 10) == NEW_OUTBOUND
    nearly = replace(OUTBOUND, replay=Replay(0xFFFFFFF0, 0))
    assert ahead(nearly, 15).replay == Replay(0xFFFFFFFF, 0)
    with pytest.raises(UnsupportedError, match="rekey it"):
        ahead(nearly, 16)
    assert ahead_of_now(nearly).replay == Replay(0xFFFFFFFF, 0)


# ---- tables for decryption ----

CBC_SA, CUT_SA = TUNNEL.outbound(0x1001, CBC, SHA256), TUNNEL.outbound(0x1002, CBC, SHA256_96)


def test_wireshark_has_a_line_for_each_sa() -> None:
    key, secret = f"0x{SECRET[:32].hex()}", f"0x{SECRET.hex()}"
    ends = '"IPv4","192.0.2.2","203.0.113.1"'
    assert wireshark_table([NEW_OUTBOUND, CBC_SA, CUT_SA]).text.splitlines() == [
        f'{ends},"0xc0ffee01","AES-GCM with 16 octet ICV [RFC4106]","{secret}","NULL",""',
        f'{ends},"0x00001001","AES-CBC [RFC3602]","{key}","HMAC-SHA-256-128 [RFC4868]","{key}"',
        f'{ends},"0x00001002","AES-CBC [RFC3602]","{key}","HMAC-SHA-256-96 [draft-ietf-ipsec-ciph-sha-256-00]","{key}"',
    ]


def test_tcpdump_has_a_line_for_what_it_can_decrypt_and_a_reason_for_the_rest() -> None:
    table = tcpdump_table([NEW_OUTBOUND, CBC_SA, CUT_SA])
    assert table.text.splitlines() == [
        "# esp 0xc0ffee01 192.0.2.2 -> 203.0.113.1: left out, since tcpdump has no aes-gcm with a key of 288 bits",
        "# esp 0x00001001 192.0.2.2 -> 203.0.113.1: left out, since tcpdump has no ICV of 128 bits, only of 96",
        f"0x00001002@203.0.113.1 aes256-cbc-hmac96:0x{SECRET[:32].hex()}",
    ]
    assert table.left_out == 2


def test_what_cannot_be_decrypted_is_a_comment() -> None:
    hidden = replace(NEW_OUTBOUND, encryption=Encryption(GCM.algorithm, Key(bytes(36))))
    table = wireshark_table([hidden, replace(NEW_OUTBOUND, encryption=None)])
    assert [line.rpartition("since ")[2] for line in table.text.splitlines()] == [
        "the kernel hides its key",
        "it is larval",
    ]
