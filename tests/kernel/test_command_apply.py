"""`pfkeyx apply` and `export` on a real kernel: the same state comes back, and what fails changes nothing."""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

# An ordinary user may not be able to read it where the tests run.
import pfkeyx.document.apply  # noqa: F401
from pfkeyx import SA, Action, DefaultPolicy, Engine, Key, Policy, Replay, Usage
from pfkeyx.document.plain import document, sa_from_plain
from pfkeyx.opening import EngineName
from tests.document_schema import schema
from tests.kernel import ip_xfrm_policies, ip_xfrm_sas
from tests.kernel.command import NOBODY, pfkeyx_does, works
from tests.kernel.ip_xfrm import ip_does, ip_shows
from tests.kernel.kernel_state import State, differences, read_state
from tests.kernel.values import ADDRESSES, make_policies, make_sa

VALIDATOR = Draft202012Validator(schema())
SCRIPT = Path(__file__).parent / "setkey" / "features.conf"
#: What the kernel numbers, counts and dates itself.
_KERNELS_OWN = ("sa.seq", "policy.index", "policy.curlft", "use_time", "add_time")


@pytest.fixture
def xfrm(own_network_namespace: None) -> Iterator[Engine]:  # noqa: ARG001
    """Open an engine that sees everything."""
    with Engine.open("xfrm") as engine:
        yield engine


def state_of(engine: Engine) -> State:
    """Return all that the kernel shows, but for what it numbers, counts and dates itself."""
    return {key: value for key, value in read_state(engine).items() if not any(own in key[1] for own in _KERNELS_OWN)}


def everything_listed() -> list[str]:
    """Return what `ip` shows, in its order; the kernel gives policies their indexes."""
    return ip_shows("state") + [re.sub(r" index \d+ ", " ", shown) for shown in ip_shows("policy")]


def everything() -> tuple[list[SA], list[Policy]]:
    """Return SAs and policies of every kind; each policy has a priority of its own, by which it is known again."""
    sas = [case.value for kind in (*ip_xfrm_sas.KINDS.values(), ip_xfrm_sas.RESTORED) for case in kind]
    policies = [case.value for kind in ip_xfrm_policies.KINDS.values() for case in kind]
    return sas, [replace(policy, priority=1000 + n) for n, policy in enumerate(policies)]


def test_what_is_exported_and_applied_is_the_same_field_by_field(xfrm: Engine) -> None:
    sas, policies = everything()
    xfrm.add_sas(sas)
    xfrm.add_policies(policies)
    xfrm.set_default_policy(DefaultPolicy(forward=Action.BLOCK))
    used = xfrm.get_sa(ip_xfrm_sas.RESTORED[0].value.id)
    xfrm.delete_sa(used.id)
    xfrm.restore_sa(replace(used, replay=Replay(1000, 900, (0xFF,)), usage=Usage(5000, 50, 1700000000, 1700000001)))
    before, listed = state_of(xfrm), everything_listed()
    exported = pfkeyx_does("export", "--show-keys")
    assert (exported.status, exported.err) == (0, "")
    empty(xfrm)

    applied = works("apply", "-", given=exported.out)
    assert applied.out == f"added {len(sas)} SAs, {len(policies)} policies\nset default policy\n"
    assert differences(before, state_of(xfrm)) == []
    assert everything_listed() == listed
    assert works("export", "--show-keys").out == exported.out


def empty(engine: Engine) -> None:
    engine.flush_sas()
    for policy in engine.dump_policies():
        engine.delete_policy(policy.id)
    engine.set_default_policy(DefaultPolicy())


def test_a_document_over_either_interface_gives_the_same_state(engine: Engine, engine_name: EngineName) -> None:
    engine.add_sas([make_sa(4, 0x1001), make_sa(6, 0x1002)])
    engine.add_policies(make_policies(4))
    before = engine.dump_sas(), [policy.as_written() for policy in engine.dump_policies()]
    for form in ("toml", "json"):
        exported = pfkeyx_does("--engine", engine_name, "--show-keys", "export", form)
        assert ("PF_KEY shows no sequence numbers" in exported.err) == (engine_name == "pfkey")
        VALIDATOR.validate((json if form == "json" else tomllib).loads(exported.out))
        engine.flush_sas()
        engine.flush_policies()
        works("--engine", engine_name, "apply", "-", given=exported.out)
        after = engine.dump_sas(), [policy.as_written() for policy in engine.dump_policies()]
        assert [sa.as_written() for sa in after[0]] == [sa.as_written() for sa in before[0]]
        assert after[1] == before[1]
        again = pfkeyx_does("--engine", engine_name, "apply", "-", given=exported.out)
        assert again.status == 1
        assert "File exists (--sync changes only what differs)" in again.err
        assert again.err.endswith("nothing was changed\n")


def test_what_is_left_out_of_an_export_is_said(xfrm: Engine) -> None:
    at = ADDRESSES[4]
    xfrm.get_spi(at.gateway, at.roaming)
    xfrm.add_sa(make_sa(4))
    done = pfkeyx_does("export")
    assert done.status == 0
    assert "left out: 1 larval SA\n" in done.err
    assert "the keys are left out" in done.err
    assert make_sa(4).encryption.key.reveal().hex() not in done.out  # type: ignore[union-attr]
    refused = pfkeyx_does("apply", "-", given=done.out)
    assert refused.status == 2
    assert "stdin: sa[0].encryption.key: it was left out of the document; write that with --show-keys" in refused.err


def test_an_apply_that_fails_in_the_middle_leaves_the_state_as_it_was(engine: Engine, engine_name: EngineName) -> None:
    engine.add_sa(make_sa(4, 0x2001))
    present = make_policies(4)
    engine.add_policy(present[1])
    with Engine.open("xfrm") as xfrm:
        before = state_of(xfrm)
        text = json.dumps(document([make_sa(4, 0x1001), make_sa(4, 0x1002)], present, show_keys=True))
        done = pfkeyx_does("--engine", engine_name, "apply", "-", given=text)
        assert done.status == 1
        assert "add policy in" in done.err
        assert done.err.endswith("; everything is as it was before\n")
        assert differences(before, state_of(xfrm)) == []


def test_sync_changes_only_what_differs(engine: Engine, engine_name: EngineName) -> None:
    kept, limited, rekeyed, dropped = (make_sa(4, spi, reqid=spi) for spi in (0x1001, 0x1002, 0x1003, 0x1004))
    engine.add_sas([kept, limited, rekeyed, dropped])
    out, inward, forward = make_policies(4)
    engine.add_policies([out, inward])
    index = engine.get_policy(inward.id).index
    longer = replace(limited, lifetime=replace(limited.lifetime, hard=replace(limited.lifetime.hard, seconds=9999)))
    assert rekeyed.encryption is not None
    fresh = replace(rekeyed, encryption=replace(rekeyed.encryption, key=Key(bytes(range(100, 116)))))
    added, changed = make_sa(4, 0x1005), replace(inward, priority=5)
    text = json.dumps(document([kept, longer, fresh, added], [changed, forward], show_keys=True))
    over = "--engine", engine_name
    plan = works(*over, "apply", "--sync", "--dry-run", "-", given=text).out.splitlines()
    assert [line.split(" ")[:3] for line in plan[:-1]] == [
        ["would", verb, noun]
        for verb, noun in (
            ("add", "SA"),
            ("change", "SA"),
            ("change", "SA"),
            ("change", "policy"),
            ("add", "policy"),
            ("delete", "policy"),
            ("delete", "SA"),
        )
    ]
    refused = pfkeyx_does(*over, "apply", "--sync", "-", given=text)
    assert (refused.status, "--yes" in refused.err) == (2, True)
    done = works(*over, "apply", "--sync", "--yes", "-", given=text)
    assert done.out == (
        "added 1 SA, 1 policy\nchanged 2 SAs, 1 policy\ndeleted 1 policy, 1 SA\nalready as wanted: 1 SA\n"
    )
    assert {sa.as_written() for sa in engine.dump_sas()} == {kept, longer, fresh, added}
    assert {policy.as_written() for policy in engine.dump_policies()} == {changed, forward}
    assert engine.get_policy(inward.id).index == index
    assert (
        works(*over, "apply", "--sync", "-", given=text).out == "nothing to do\nalready as wanted: 4 SAs, 2 policies\n"
    )


def test_a_sync_that_fails_in_the_middle_leaves_the_state_as_it_was(xfrm: Engine) -> None:
    here, changed, gone = (make_sa(4, spi) for spi in (0x1001, 0x1002, 0x1003))
    xfrm.add_sas([here, changed, gone])
    old, (new, *_) = make_policies(6), make_policies(4)
    xfrm.add_policies(old)
    before = state_of(xfrm)
    other = replace(changed, replay_window=64)
    invented = replace(make_sa(4, 0x1009), encryption=ip_xfrm_sas.INVENTED.value.encryption)
    # What no kernel has is refused by none but the kernel, when everything before it is done.
    bad = replace(new, templates=(replace(new.templates[0], reqid=0),), if_id=7)
    text = json.dumps(document([here, other, invented], [bad], show_keys=True))
    done = pfkeyx_does("apply", "--sync", "--yes", "-", given=text)
    assert done.status == 1
    assert "add SA esp 0x00001009" in done.err
    assert differences(before, state_of(xfrm)) == []


def test_an_sa_that_sync_replaces_goes_on_ahead_of_its_number(xfrm: Engine) -> None:
    sa = make_sa(4, 0x1001)
    xfrm.restore_sa(replace(sa, replay=Replay(1000, 0, (0,)), usage=Usage(5000, 50, 1700000000, 0)))
    wanted = replace(sa, replay_window=64, reqid=8)
    works("apply", "--sync", "--yes", "-", given=json.dumps(document([wanted], [], show_keys=True)))
    (found,) = xfrm.dump_sas()
    assert found.as_written() == wanted
    assert found.replay is not None
    assert found.usage is not None
    assert (found.replay.outbound, found.usage.octets) == (1000 + 4096, 5000)


def test_sequence_numbers_are_put_ahead_when_that_is_asked_for(xfrm: Engine) -> None:
    sa = replace(make_sa(4, 0x1001), replay=Replay(1000, 5, (1,)), usage=Usage(5000, 50, 1700000000, 0))
    text = json.dumps(document([sa], show_keys=True))
    works("apply", "--ahead", "100000", "-", given=text)
    (found,) = xfrm.dump_sas()
    assert found.replay == Replay(101000, 5, (1,))


def test_apply_as_an_ordinary_user_is_refused_and_check_is_not() -> None:
    text = json.dumps(document([make_sa(4)], show_keys=True))
    refused = pfkeyx_does("apply", "-", given=text, user=NOBODY)
    assert refused.status == 1
    assert "needs CAP_NET_ADMIN" in refused.err
    checked = pfkeyx_does("apply", "--check", "-", given=text, user=NOBODY)
    assert (checked.status, checked.out) == (0, "stdin is good: 1 SA, 0 policies\n")


def test_a_setkey_script_gives_what_ip_says_of_it(engine_name: EngineName, xfrm: Engine) -> None:
    ip_does(SCRIPT.with_suffix(".ip").read_text().splitlines())
    expected = [sa.as_written() for sa in xfrm.dump_sas()], [_unmasked(policy) for policy in xfrm.dump_policies()]
    listed = everything_listed()
    done = pfkeyx_does("--engine", engine_name, "apply", "--format", "setkey", str(SCRIPT))
    assert done.status == 0, done.err
    assert done.out.endswith("94 statements done\n")
    assert len(done.err.splitlines()) == 5
    assert [sa.as_written() for sa in xfrm.dump_sas()] == expected[0]
    assert [_unmasked(policy) for policy in xfrm.dump_policies()] == expected[1]
    if engine_name == "xfrm":
        assert everything_listed() == listed


def _unmasked(policy: Policy) -> Policy:
    # PF_KEY leaves the masks of its templates empty.
    templates = (replace(template, algorithm_masks=(0, 0, 0)) for template in policy.templates)
    return replace(policy.as_written(), templates=tuple(templates))


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("add 192.0.2.1 192.0.2.2 ipcomp 0x1009 -C lzs;", "script:3: add SA ipcomp 0x00001009"),
        ("delete 192.0.2.1 192.0.2.2 esp 0x9999;", "script:3: get SA esp 0x00009999 to 192.0.2.2: No such process"),
    ],
)
def test_a_script_that_fails_leaves_the_state_as_it_was(
    engine: Engine, engine_name: EngineName, statement: str, complaint: str, tmp_path: Path
) -> None:
    engine.add_sas([make_sa(4, 0x3001), make_sa(4, 0x3002)])
    engine.add_policies(make_policies(4))
    with Engine.open("xfrm") as xfrm:
        before = state_of(xfrm)
        script = tmp_path / "script"
        before_it = "flush; spdflush; getspi 192.0.2.1 192.0.2.2 esp 0;\n"
        add = "add 192.0.2.2 192.0.2.1 esp 0x2001 -E null -A null; spdadd 10.0.0.0/8 10.0.0.0/8 any -P in none;\n"
        script.write_text(before_it + add + statement)
        done = pfkeyx_does("--engine", engine_name, "apply", "--format", "setkey", str(script))
        assert done.status == 1
        assert complaint.replace("script", str(script)) in done.err
        assert done.err.endswith("; everything is as it was before\n")
        changed = differences(before, state_of(xfrm))
    if engine_name == "pfkey":
        assert changed == []
    else:
        # Either may have sent something in the moment between reading and deletion.
        assert {(each.item, each.before, each.after) for each in changed} == {
            ("esp 0x3001", 0, 4096),
            ("esp 0x3002", 0, 4096),
        }
        assert all(each.field.endswith(".oseq") for each in changed)


def test_unique_without_an_id_is_a_reqid_that_nothing_has(engine: Engine, engine_name: EngineName) -> None:
    script = (
        "spdadd 10.0.0.0/8 10.1.0.0/16 any -P out ipsec esp/tunnel/192.0.2.1-192.0.2.2/unique ah/transport//unique;"
    )
    works("--engine", engine_name, "apply", "--format", "setkey", "-", given=script)
    (policy,) = engine.dump_policies()
    first, second = (template.reqid for template in policy.templates)
    assert 0 < first != second > 0


def test_what_a_script_shows_is_shown_without_keys_and_in_json_too(engine_name: EngineName) -> None:
    script = 'add 192.0.2.1 192.0.2.2 esp 7 -E aes-cbc "sixteen letters.";\nget 192.0.2.1 192.0.2.2 esp 7; spddump;'
    over = "--engine", engine_name, "apply", "--format", "setkey"
    text = works(*over, "-", given=script).out
    assert "esp 0x00000007" in text
    assert b"sixteen letters.".hex() not in text
    works("sa", "delete", "7")
    shown: Any = works(*over, "--json", "--show-keys", "-", given=script).json
    assert shown["statements"] == 3
    assert [result["place"] for result in shown["results"]] == ["stdin:2", "stdin:2"]
    assert sa_from_plain(shown["results"][0]["result"][0]).encryption.key == Key(b"sixteen letters.")  # type: ignore[union-attr]


def test_an_algorithm_that_some_kernels_lack_is_loaded_or_refused_with_its_line() -> None:
    script = f"add 192.0.2.1 192.0.2.2 esp 7\n-E blowfish-cbc 0x{bytes(range(1, 17)).hex()};"
    done = pfkeyx_does("apply", "--format", "setkey", "-", given=script)
    if done.status:
        assert done.status == 1
        assert done.err.startswith("pfkeyx: stdin:1: add SA esp 0x00000007 192.0.2.1 -> 192.0.2.2: ")
    else:
        assert works("sa", "list").out.startswith("esp 0x00000007")
