"""`pfkeyx sa` on a real kernel, as a process: what it prints, what the kernel has then, and how it ends."""

import json
import os
from pathlib import Path

import pytest

from pfkeyx import AES_CBC, AES_GCM, HMAC_SHA256, Engine, Feature, Key, SAId
from pfkeyx.document.plain import sa_from_plain
from pfkeyx.opening import EngineName
from tests.kernel.audit import requires
from tests.kernel.command import NOBODY, pfkeyx_does, works
from tests.kernel.values import ADDRESSES, make_sa, roaming_tunnel

AT = ADDRESSES[4]
ENDS = str(AT.roaming), str(AT.gateway)
#: Recognisable wherever they might leak.
KEY, SECOND_KEY = bytes(range(0x40, 0x60)), bytes(range(0x60, 0x80))


def test_an_sa_is_added_shown_and_deleted(engine: Engine, engine_name: EngineName, tmp_path: Path) -> None:
    at = ADDRESSES[4 if engine_name == "xfrm" else 6]
    keys = tmp_path / "keys"
    keys.write_text(f"# of a test\n0x{KEY.hex()}\n\n{SECOND_KEY[:20].hex()}  # hmac-sha1\n")
    over = "--engine", engine_name
    added = works(
        *(*over, "sa", "add", str(at.roaming), str(at.gateway), "--spi", "0x1001", "--reqid", "7"),
        *("--encryption", "aes-cbc", "--authentication", "hmac-sha1", "--key-file", str(keys), "--hard", "1h,10GiB"),
    )
    assert added.out == f"added esp 0x00001001 {at.roaming} -> {at.gateway}\n"
    sa = engine.get_sa(SAId(at.gateway, 0x1001))
    assert sa.encryption is not None
    assert (sa.encryption.algorithm, sa.encryption.key) == (AES_CBC, Key(KEY))
    assert (sa.lifetime.hard.seconds, sa.lifetime.hard.octets) == (3600, 10 << 30)

    shown = works(*over, "sa", "list").out
    assert f"esp 0x00001001  {at.roaming} -> {at.gateway}  tunnel  reqid 7" in shown
    assert "aes-cbc 256 bits  key (hidden)" in shown
    assert shown.endswith("1 SA\n")
    assert KEY.hex() not in shown + works(*over, "--json", "sa", "list").out
    whole = works("sa", "get", "0x1001", *over, "--show-keys", "--json").json
    assert sa_from_plain(whole["sa"][0]).as_written() == sa.as_written()

    assert works(*over, "sa", "delete", "0x1001").out == f"deleted esp 0x00001001 {at.roaming} -> {at.gateway}\n"
    assert engine.dump_sas() == []


def test_an_spi_is_reserved_and_the_larval_sa_is_completed(engine: Engine, engine_name: EngineName) -> None:
    spi = works("--engine", engine_name, "sa", "get-spi", *ENDS, "--reqid", "7").out.strip()
    assert "larval" in works("--engine", engine_name, "sa", "get", spi).out
    works(
        *("--engine", engine_name, "sa", "update", *ENDS, "--spi", spi, "--reqid", "7"),
        *("--encryption", "aes-cbc", "--authentication", "hmac-sha1", "--generate-keys"),
    )
    (sa,) = engine.dump_sas()
    assert sa.id.spi == int(spi, 16)
    assert sa.encryption is not None
    assert sa.encryption.key.bits == 256


def test_keys_come_from_standard_input_and_are_shown_when_asked_for(engine: Engine, engine_name: EngineName) -> None:
    if engine_name == "pfkey":
        refused = pfkeyx_does(
            *("--engine", "pfkey", "sa", "add", *ENDS, "--spi", "0x1001", "--encryption", "aes-gcm"),
            *("--key-file", "-"),
            given=KEY.hex() + "00010203",
        )
        assert refused.status == 3
        assert "aes-gcm" in refused.err
        assert "xfrm" in refused.err
        return
    added = works(
        *("sa", "add", *ENDS, "--spi", "0x1001", "--encryption", "aes-gcm/96", "--key-file", "-", "--show-keys"),
        given=KEY.hex() + "00010203",
    )
    assert f"0x{KEY.hex()}00010203" in added.out
    (sa,) = engine.dump_sas()
    assert sa.encryption is not None
    assert (sa.encryption.algorithm, sa.encryption.icv_bits) == (AES_GCM, 96)


def test_a_filtered_list_says_what_it_left_out(own_network_namespace: None) -> None:  # noqa: ARG001
    with Engine.open("xfrm") as engine:
        tunnel = roaming_tunnel(4)
        engine.add_sas([make_sa(4, 0x1001), make_sa(4, 0x1002, reqid=8), make_sa(6, 0x1003)])
        engine.add_policies(tunnel.policies())
    assert works("sa", "list", "--reqid", "8").out.endswith("1 SA; 2 left out by the filters\n")
    assert "2 SAs; 1 left out" in works("sa", "list", "--address", f"{AT.gateway}/24").out
    assert "0x00001001" in works("sa", "list", "--direction", "out", "--protocol", "esp").out
    done = pfkeyx_does("sa", "list", "--spi", "0x1003", "--json")
    assert [sa["spi"] for sa in done.json["sa"]] == ["0x00001003"]
    assert done.err == "1 SA; 2 left out by the filters\n"
    assert works("sa", "count").out == "3 SAs\n"
    assert works("sa", "count", "--json", "--engine", "pfkey").json == {"version": 1, "count": 3}


@requires(Feature.MARK)
def test_every_option_of_an_sa_reaches_the_kernel(own_network_namespace: None) -> None:  # noqa: ARG001
    works(
        *("sa", "add", *ENDS, "--spi", "0x1001", "--reqid", "9", "--encryption", "aes-cbc"),
        *("--authentication", "hmac-sha256", "--generate-keys", "--encap", "udp:4500:4501", "--soft", "50m,9GiB"),
        *("--hard", "1h,10GiB,1000packets,idle=5m", "--selector", "192.0.2.2", "192.0.2.0/24", "--esn"),
        *("--replay-window", "128", "--flag", "no-ecn", "--flag", "dont-encap-dscp", "--if-id", "5"),
        *("--mark", "6/0xff", "--output-mark", "7", "--tfc-padding", "1000"),
    )
    shown = works("sa", "list").out
    for text in (
        *("reqid 9", "hmac-sha256 256 bits icv 128", "encap udp 4500 -> 4501", "soft in ", "hard in "),
        *("soft at 9.0 GiB", "hard at 1000 packets", "hard idle 5 min", "192.0.2.2/32 -> 192.0.2.0/24", "esn"),
        *("replay-window 128", "no-ecn", "dont-encap-dscp", "if_id 5", "mark 0x6/0xff", "output-mark 0x7/0xffffffff"),
        "tfc-padding 1000",
    ):
        assert text in " ".join(shown.split())
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert HMAC_SHA256.name in json.dumps(works("sa", "get", "0x1001", "--json").json)


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ("sa get 0x1001", 1, "pfkeyx: get SA 0x00001001: No such process (see pfkeyx sa list)\n"),
        ("sa delete 0x1001 --destination 192.0.2.1 --protocol esp", 1, "No such process"),
        (
            "sa add 192.0.2.1 192.0.2.2 --spi 0x1001 --encryption aes-gcm",
            2,
            "give --key-file FILE|- or --generate-keys",
        ),
        ("sa add 192.0.2.1 2001:db8::1 --spi 1 --encryption null", 2, "is IPv4 and 2001:db8::1 is IPv6"),
        ("--engine pfkey sa add 192.0.2.1 192.0.2.2 --spi 300 --encryption null --if-id 4", 3, "if_id"),
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
    assert done.err.count("\n") == 1
    assert complaint in done.err


def test_what_is_there_already_is_refused_and_a_flush_that_is_meant_is_done(engine: Engine) -> None:
    engine.add_sa(make_sa(4, 0x1001))
    again = "sa", "add", *ENDS, "--spi", "0x1001", "--encryption", "null"
    refused = pfkeyx_does(*again)
    assert refused.status == 1
    assert "File exists" in refused.err
    assert works("sa", "flush", "--yes", "--protocol", "ah").out == "deleted all SAs of ah\n"
    assert len(engine.dump_sas()) == 1
    assert works("sa", "flush", "--netns", str(os.getpid())).out == "deleted all SAs\n"
    assert engine.dump_sas() == []


@pytest.mark.parametrize(
    "arguments", ["sa list", "--engine pfkey policy list", "tunnel list", "top --once", "monitor --raw"]
)
def test_an_ordinary_user_is_told_what_it_takes(arguments: str, own_network_namespace: None) -> None:  # noqa: ARG001
    done = pfkeyx_does(*arguments.split(), user=NOBODY)
    assert (done.status, done.out) == (1, "")
    assert "needs CAP_NET_ADMIN in the namespace: run as root, or with sudo" in done.err
    assert done.err.count("\n") == 1
