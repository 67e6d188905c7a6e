"""Values as text for people: what is shown, what is hidden, and that it fits 80 columns."""

from dataclasses import fields, replace
from io import StringIO
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from pfkeyx import (
    AES_CBC,
    AES_GCM,
    DEFLATE,
    HMAC_SHA512,
    SA,
    Action,
    Attribute,
    Authentication,
    Direction,
    Encryption,
    Failures,
    Iptfs,
    Key,
    Lifetime,
    Limit,
    Mark,
    Mode,
    Offload,
    Policy,
    PolicyFlag,
    PolicyType,
    Protocol,
    Replay,
    SAExtraFlag,
    SAFlag,
    SAId,
    SAState,
    SecurityContext,
    Tunnel,
    UdpEncap,
    Usage,
)
from pfkeyx.cli.lists import policy_lines, sa_lines
from pfkeyx.cli.text import ago, duration, fold, highlight, size, wants_colour
from pfkeyx.cli.top import Reading, rows, table
from pfkeyx.cli.tunnel_text import tunnel_lines
from pfkeyx.tunnels import find_tunnels
from tests.unit.samples import INBOUND, OUTBOUND, POLICIES, SECRET

NOW = 1_000_000
WIDE = [ip_address(f"2001:db8:{n:04x}:1111:2222:3333:4444:5555") for n in (0xAAAA, 0xBBBB)]
WIDE_NETS = [ip_network(f"2001:db8:{n:04x}:1111:2222:3333:4444:5555") for n in (0xCCCC, 0xDDDD)]
WIDE_TUNNEL = Tunnel(
    WIDE[0],
    WIDE[1],
    WIDE_NETS[0],
    WIDE_NETS[1],
    reqid=0xFFFFFFFF,
    encap=UdpEncap(65535, 65534),
    if_id=0xFFFFFFFF,
    mark=Mark(0xFFFFFFFE, 0xFFFFFFFE),
)
WIDE_SA = replace(
    WIDE_TUNNEL.outbound(
        0xFFFFFFFF, Encryption(AES_GCM, Key(SECRET)), Authentication(HMAC_SHA512, Key(SECRET[:32] * 2))
    ),
    selector=WIDE_TUNNEL.policies()[0].selector,
    flags=SAFlag(0xFF),
    lifetime=Lifetime(*[Limit(octets=1 << 60, packets=1 << 60, seconds=10**9, idle_seconds=10**9)] * 2),
    usage=Usage(octets=1 << 62, packets=1 << 60, added=NOW - 99999, first_used=5, last_used=NOW - 50),
    replay=Replay(1 << 60, 1 << 60),
    failures=Failures(1 << 31, 1 << 31, 1 << 31),
)


def test_an_sa_is_shown_with_all_that_matters_and_without_its_key() -> None:
    sa = replace(
        OUTBOUND,
        lifetime=Lifetime(Limit(seconds=3000), Limit(seconds=3600, octets=10 << 30)),
        usage=Usage(octets=13002342, packets=9812, added=NOW - 300, first_used=NOW - 200),
        failures=Failures(0, 2, 0),
    )
    assert list(sa_lines([sa], NOW)) == [
        "esp 0xc0ffee01  192.0.2.2 -> 203.0.113.1  tunnel  reqid 7",
        "    aes-gcm 256 bits icv 128  key (hidden)",
        "    replay-window 32",
        "    soft in 45 min  hard in 55 min  hard at 10.0 GiB",
        "    12.4 MiB in 9812 packets  added 5 min ago  sequence out 41",
        "    failures: 0 too old, 2 replayed, 0 integrity",
    ]


def test_an_sa_without_an_algorithm_is_larval_or_of_one_that_pf_key_does_not_show() -> None:
    bare = replace(OUTBOUND, encryption=None)
    for state, word in (
        (None, "larval"),
        (SAState.LARVAL, "larval"),
        (SAState.DEAD, "dead"),
        (SAState.MATURE, "algorithms that PF_KEY does not show"),
    ):
        assert list(sa_lines([replace(bare, state=state)], NOW))[1].strip().startswith(word)


SA_FIELDS: dict[str, Any] = {
    "id": SAId(ip_address("203.0.113.9"), 0x99, Protocol.AH, Mark(5)),
    "source": ip_address("192.0.2.9"),
    "mode": Mode.BEET,
    "reqid": 99,
    "encryption": Encryption(AES_CBC, Key(SECRET[:32])),
    "authentication": Authentication(HMAC_SHA512, Key(SECRET[:32] * 2)),
    "compression": DEFLATE,
    "encap": UdpEncap(),
    "selector": POLICIES[0].selector,
    "lifetime": Lifetime(hard=Limit(seconds=5)),
    "replay_window": 64,
    "flags": SAFlag.ESN,
    "extra_flags": SAExtraFlag.DONT_ENCAP_DSCP,
    "if_id": 3,
    "output_mark": Mark(4),
    "offload": Offload(2),
    "tfc_padding": 100,
    "direction": Direction.OUT,
    "nat_keepalive_s": 20,
    "mapping_threshold_s": 30,
    "cpu": 1,
    "iptfs": Iptfs(drop_time_us=5),
    "care_of": ip_address("192.0.2.8"),
    "security_context": SecurityContext(b"label"),
    "other": (Attribute(99, b"1234"),),
    "state": SAState.DYING,
    "usage": Usage(1, 1, 1, 1),
    "replay": Replay(7, 0),
    "failures": Failures(1, 0, 0),
}
POLICY_FIELDS: dict[str, Any] = {
    "selector": replace(POLICIES[0].selector, protocol=6),
    "direction": Direction.FORWARD,
    "templates": (),
    "action": Action.BLOCK,
    "priority": 9,
    "lifetime": Lifetime(hard=Limit(seconds=5)),
    "mark": Mark(4),
    "if_id": 3,
    "type": PolicyType.SUB,
    "flags": PolicyFlag.ICMP,
    "offload": Offload(2),
    "security_context": SecurityContext(b"label"),
    "other": (Attribute(99, b"1234"),),
    "index": 8,
    "usage": Usage(1, 1, 1, 1),
}


@pytest.mark.parametrize("name", [field.name for field in fields(SA)])
def test_no_field_of_an_sa_is_missing_from_its_list(name: str) -> None:
    bare = replace(OUTBOUND, usage=None, replay=None)
    changed = replace(bare, **{name: SA_FIELDS[name]})
    assert list(sa_lines([changed], NOW)) != list(sa_lines([bare], NOW))


@pytest.mark.parametrize("name", [field.name for field in fields(Policy) if field.name != "share"])
def test_no_field_of_a_policy_is_missing_from_its_list(name: str) -> None:
    """But for what Linux does not keep: a policy's share."""
    changed = replace(POLICIES[0], **{name: POLICY_FIELDS[name]})
    assert list(policy_lines([changed], NOW)) != list(policy_lines([POLICIES[0]], NOW))


def test_a_key_is_shown_when_it_is_asked_for() -> None:
    assert f"    0x{SECRET.hex()}" in list(sa_lines([OUTBOUND], NOW, show_keys=True))
    locked = replace(OUTBOUND, encryption=Encryption(AES_GCM, Key(bytes(36))))
    assert "key (hidden by the kernel)" in "\n".join(sa_lines([locked], NOW, show_keys=True))


def test_lists_are_aligned() -> None:
    other = replace(INBOUND, source=ip_address("8.8.8.8"))
    first, second = (line for line in sa_lines([OUTBOUND, other], NOW) if line.startswith("esp"))
    assert first == "esp 0xc0ffee01  192.0.2.2 -> 203.0.113.1  tunnel  reqid 7"
    assert second == "esp 0xc0ffee02  8.8.8.8   -> 192.0.2.2    tunnel  reqid 7"


def test_a_policy_is_shown_with_its_templates() -> None:
    out = replace(POLICIES[0], action=Action.BLOCK, index=9)
    assert list(policy_lines([out], NOW)) == [
        "out  10.1.0.0/16 -> 10.2.0.0/16  block  priority 0",
        "    index 9",
        "    esp tunnel  192.0.2.2 -> 203.0.113.1  reqid 7",
    ]


def test_a_tunnel_is_shown_as_one_thing() -> None:
    found = find_tunnels([OUTBOUND, INBOUND], POLICIES[:2])
    assert list(tunnel_lines(found.tunnels)) == [
        "192.0.2.2 - 203.0.113.1  reqid 7  up",
        "    10.1.0.0/16 -> 10.2.0.0/16",
        "    out esp 0xc0ffee01  aes-gcm  1000 B in 10 packets",
        "    in  esp 0xc0ffee02  aes-gcm  1000 B in 10 packets",
        "    no fwd policy: what arrives stays on this host",
    ]


def policy_of(policy: Policy) -> Policy:
    return replace(policy, priority=0xFFFFFFFF, lifetime=WIDE_SA.lifetime, usage=WIDE_SA.usage, index=0xFFFFFFFF)


def test_lists_fit_80_columns_with_the_widest_of_all_values() -> None:
    policies = [policy_of(policy) for policy in WIDE_TUNNEL.policies()]
    found = find_tunnels([WIDE_SA], policies)
    lines = [*sa_lines([WIDE_SA], NOW), *policy_lines(policies, NOW), *tunnel_lines(found.tunnels)]
    assert found.tunnels
    assert max(len(line) for line in lines) <= 80


def test_top_fits_80_columns_with_the_widest_addresses() -> None:
    from rich.console import Console

    found = find_tunnels([WIDE_SA], WIDE_TUNNEL.policies())
    reading = Reading(10.0, NOW, found.tunnels)
    console = Console(width=80, record=True, file=StringIO())
    console.print(table(rows(None, reading)))
    lines = console.export_text().splitlines()
    assert max(len(line) for line in lines) <= 80
    assert str(WIDE[0]) in "".join(line[:39] for line in lines)


def test_only_a_piece_that_is_too_long_alone_stands_out() -> None:
    folded = fold(["a" * 50, "b" * 30, "c" * 90, "d"], "  ")
    assert folded == ["  " + "a" * 50, "    " + "b" * 30, "    " + "c" * 90, "    d"]


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (13002342, "12.4 MiB"), (1 << 63, "8.0 EiB")],
)
def test_sizes_are_for_people(octets: int, text: str) -> None:
    assert size(octets) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (3600, "1 h"), (5400, "1 h 30 min"), (90061, "1 d 1 h")]
)
def test_times_are_for_people(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_a_moment_in_the_future_is_not_called_ago() -> None:
    assert ago(NOW - 60, NOW) == "1 min ago"
    assert ago(NOW + 60, NOW).startswith("1970-01-12T13:47:40")


def test_colours_change_no_text_and_are_for_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import re
    import sys

    for line in sa_lines([WIDE_SA, OUTBOUND], NOW):
        painted = highlight(line)
        assert re.sub(r"\x1b\[\d+m", "", painted) == line
    assert "\x1b[33m0xc0ffee01\x1b[0m" in highlight("esp 0xc0ffee01")
    assert not wants_colour()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colour()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour()
