"""`pfkeyx tunnel`, `address-update` and `top` on a real kernel, as a process, with live SAs."""

import signal
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from pfkeyx import AES_GCM, Encryption, Engine, Key, UdpEncap
from tests.kernel.command import pfkeyx_does, works
from tests.kernel.interruption import InterruptedTransport, Moment, kill_this_process
from tests.kernel.values import ADDRESSES, make_sa

GCM = "--encryption", "aes-gcm"


def add_tunnel(family: int, *more: str, reqid: int = 7) -> None:
    at = ADDRESSES[family]
    works(
        *("tunnel", "add", "--local", str(at.roaming), "--remote", str(at.gateway), "--reqid", str(reqid)),
        *("--local-net", str(at.roaming_net), "--remote-net", str(at.gateway_net), "--spi-out", "0xc0ffee01"),
        *more,
    )


def test_a_tunnel_is_added_listed_moved_and_deleted(own_network_namespace: None) -> None:  # noqa: ARG001
    at = ADDRESSES[6]
    add_tunnel(6, *GCM, "--generate-keys", "--soft", "50m", "--hard", "1h")
    (tunnel,) = works("tunnel", "list", "--json").json["tunnel"]
    assert (tunnel["local"], tunnel["remote"], tunnel["state"]) == (str(at.roaming), str(at.gateway), "up")
    assert tunnel["outbound"][0]["spi"] == "0xc0ffee01"
    assert len(tunnel["policies"]) == 3

    move = "tunnel", "move", "--reqid", "7", "--local", str(at.roaming_later)
    plan = works(*move, "--dry-run").out
    assert plan.startswith(f"move {at.roaming} - {at.gateway} to {at.roaming_later} - {at.gateway}")
    assert works("tunnel", "list").out.startswith(f"{at.roaming} - {at.gateway}  reqid 7  up\n")
    moved = works(*move).out
    assert moved.startswith(plan)
    assert moved.endswith("moved 2 SAs and 3 policies\n")
    assert all(len(line) <= 80 for line in moved.splitlines())
    assert works(*move).out == "nothing to do: it has been moved already\n"
    assert works("tunnel", "list").out.startswith(f"{at.roaming_later} - {at.gateway}  reqid 7  up\n")

    back = works("tunnel", "move", "--spi", "0xc0ffee01", "--local", str(at.roaming), "--encap", "udp", "--json").json
    assert len(back["report"]["sas"]) == 2
    assert back["report"]["sas"][0]["after"]["encap"]["type"] == "udp"
    assert works("tunnel", "delete", "--reqid", "7").out.startswith("deleted:\n")
    with Engine.open("xfrm") as engine:
        assert (engine.dump_sas(), engine.dump_policies()) == ([], [])


def test_a_move_that_is_killed_is_finished_by_the_same_command(
    own_network_namespace: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = ADDRESSES[4]
    move = "tunnel", "move", "--reqid", "7", "--local", str(at.roaming_later), "--method", "REPLACE"
    blocked = 0
    for number in count(1):
        add_tunnel(4, *GCM, "--generate-keys")
        dying = partial(InterruptedTransport, {Moment(number, after=True): kill_this_process})
        with monkeypatch.context() as patch:
            patch.setattr("pfkeyx.xfrm.XfrmTransport", lambda *_, dying=dying: dying())
            done = pfkeyx_does(*move)
        if done.status == 0:
            break
        assert done.status == -signal.SIGKILL
        blocked += "blocked by a move that was interrupted: move it again to finish" in works("tunnel", "list").out
        works(*move)
        assert works("tunnel", "list").out.startswith(f"{at.roaming_later} - {at.gateway}  reqid 7  up\n")
        works("tunnel", "delete", "--reqid", "7")
    assert number > 2
    assert blocked > 0


def test_keys_of_a_tunnel_are_read_outbound_first(own_network_namespace: None, tmp_path: Path) -> None:  # noqa: ARG001
    keys = [bytes([number]) * 36 for number in (1, 2)]
    (tmp_path / "keys").write_text("\n".join(key.hex() for key in keys))
    add_tunnel(4, *GCM, "--key-file", str(tmp_path / "keys"), "--spi-in", "0xc0ffee02", "--encap", "udp:4500:4501")
    with Engine.open("xfrm") as engine:
        outbound, inbound = sorted(engine.dump_sas(), key=lambda sa: sa.id.spi)
    assert (outbound.encryption, inbound.encryption) == tuple(Encryption(AES_GCM, Key(key)) for key in keys)
    assert (outbound.encap, inbound.encap) == (UdpEncap(4500, 4501), UdpEncap(4501, 4500))
    assert f"0x{keys[0].hex()}" in works("tunnel", "list", "--show-keys").out


def test_a_tunnel_that_cannot_be_added_whole_leaves_nothing(own_network_namespace: None) -> None:  # noqa: ARG001
    add_tunnel(4, *GCM, "--generate-keys")
    with Engine.open("xfrm") as engine:
        before = {sa.id for sa in engine.dump_sas()}
        at = ADDRESSES[4]
        refused = pfkeyx_does(
            *("tunnel", "add", "--local", str(at.roaming), "--remote", str(at.gateway), "--reqid", "8"),
            *("--local-net", str(at.roaming_net), "--remote-net", str(at.gateway_net), "--spi-out", "0xc0ffee03"),
            *(*GCM, "--generate-keys"),
        )
        assert refused.status == 1
        assert "File exists" in refused.err
        assert {sa.id for sa in engine.dump_sas()} == before


def test_all_tunnels_of_an_address_move_when_that_is_meant(own_network_namespace: None) -> None:  # noqa: ARG001
    at = ADDRESSES[4]
    add_tunnel(4, *GCM, "--generate-keys")
    with Engine.open("xfrm") as engine:
        engine.add_sa(make_sa(4, 0x2001, reqid=8))
    move = "tunnel", "move", "--all-from", str(at.roaming), "--local", str(at.roaming_later)
    refused = pfkeyx_does(*move)
    assert refused.status == 2
    assert f"This moves all 3 SAs of {at.roaming}. Give --yes" in refused.err
    assert works(*move, "--yes").out.endswith("moved 3 SAs and 3 policies\n")
    with Engine.open("xfrm") as engine:
        assert all(at.roaming not in (sa.source, sa.destination) for sa in engine.dump_sas())


def test_pf_key_moves_only_what_its_owner_accepts(own_network_namespace: None) -> None:  # noqa: ARG001
    at = ADDRESSES[4]
    add_tunnel(4, "--encryption", "aes-cbc", "--authentication", "hmac-sha1", "--generate-keys", "--engine", "pfkey")
    move = "--engine", "pfkey", "tunnel", "move", "--reqid", "7", "--local", str(at.roaming_later)
    refused = pfkeyx_does(*move)
    if refused.status:  # a kernel with SADB_X_ADDRUPDATE loses nothing
        assert refused.status == 3
        assert "--accept sequence-repeat" in refused.err
        works(*move, "--accept", "sequence-repeat")
    assert str(at.roaming_later) in works("--engine", "pfkey", "tunnel", "list").out


def test_one_sa_gets_another_address_and_its_policies_stay(own_network_namespace: None) -> None:  # noqa: ARG001
    at = ADDRESSES[4]
    add_tunnel(4, *GCM, "--generate-keys")
    done = works("address-update", "0xc0ffee01", "--new-source", str(at.roaming_later))
    assert "moved 1 SA and 0 policies\nits policies are as they were" in done.out
    listed = works("tunnel", "list").out
    assert "no outbound SA" in listed
    assert listed.endswith("1 tunnel; 1 SA of no tunnel\n")
    report = works("address-update", "0xc0ffee01", "--new-source", str(at.roaming), "--json").json["report"]
    assert report["sas"][0]["after"]["source"] == str(at.roaming)


def test_top_prints_a_table_once(own_network_namespace: None) -> None:  # noqa: ARG001
    at = ADDRESSES[6]
    add_tunnel(6, "--encryption", "aes-cbc", "--authentication", "hmac-sha1", "--generate-keys", "--hard", "1h")
    table = works("top", "--once").out
    assert all(text in table for text in (str(at.roaming), str(at.gateway), "up", "0 B/s", "59 min"))
    (row,) = works("top", "--once", "--json", "--engine", "pfkey").json["tunnel"]
    assert (row["local"], row["out_rate"], row["reqid"]) == (str(at.roaming), 0, 7)


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ("tunnel move --reqid 7 --local 192.0.2.9", 2, "none matches"),
        ("tunnel move --all-from 192.0.2.2 --local 192.0.2.9", 2, "there is no SA at 192.0.2.2"),
        ("tunnel delete", 2, "none matches"),
        ("address-update 0x1001 --new-source 192.0.2.9", 1, "No such process"),
    ],
)
def test_a_refusal_is_one_line_and_a_status(
    arguments: str,
    status: int,
    complaint: str,
    own_network_namespace: None,  # noqa: ARG001
) -> None:
    done = pfkeyx_does(*arguments.split())
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith("pfkeyx: ")
    assert complaint in done.err
