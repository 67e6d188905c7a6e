"""Scripts of setkey as values: what each word stands for, and what is wrong by file and line."""

import re
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from socket import gaierror
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfkeyx import (
    SA,
    Action,
    Direction,
    InvalidRequestError,
    Key,
    Limit,
    Mode,
    Policy,
    Port,
    Protocol,
    SAId,
    Selector,
    Template,
    UdpEncap,
    UnsupportedError,
)
from pfkeyx.document.setkey import statements as does
from pfkeyx.document.setkey.parser import parse
from pfkeyx.model import SecurityContext, SPIRequest
from pfkeyx.pfkey import PfkeyDialect
from pfkeyx.xfrm import XfrmDialect

SOURCE, DESTINATION = ip_address("192.0.2.1"), ip_address("192.0.2.2")
ADD = "add 192.0.2.1 192.0.2.2"
SPD = "spdadd 10.0.0.0/8 10.1.0.0/16"
HERE, THERE = ip_network("10.0.0.1"), ip_network("10.0.0.2")
TUNNEL = Template(source=SOURCE, destination=DESTINATION)


def only(text: str, **settings: Any) -> Any:
    (found,) = parse(text, "script", **settings).statements
    return found[1]


def sa_of(text: str) -> SA:
    (sa,) = only(text).sas
    assert isinstance(sa, SA)
    return sa


def policy_of(text: str) -> Policy:
    policy = only(f"{SPD} any -P out {text};").specs[0].policy
    assert isinstance(policy, Policy)
    return policy


def test_an_sa_is_what_pf_key_makes_without_options() -> None:
    sa = sa_of(f"{ADD} esp 0x1001 -E null;")
    assert sa.id == SAId(DESTINATION, 0x1001)
    assert (sa.source, sa.mode, sa.reqid, sa.replay_window) == (SOURCE, Mode.TRANSPORT, 0, 0)


def test_options_of_an_sa_are_read_in_any_order() -> None:
    options = "-m tunnel -u 7 -r 16 -lh 3600 -ls 3000 -bh 2000 -bs 1000 -f seq-pad"
    algorithms = '-E aes-cbc 0x000102030405060708090a0b0c0d0e0f -A hmac-md5 "0123456789abcdef"'
    sa = sa_of(f"{ADD} esp 5 {options} {algorithms};")
    assert sa == sa_of(f"{ADD} esp 5 {algorithms} {options};")
    assert (sa.mode, sa.reqid, sa.replay_window) == (Mode.TUNNEL, 7, 16)
    assert (sa.lifetime.soft, sa.lifetime.hard) == (Limit(1000, None, 3000), Limit(2000, None, 3600))
    assert sa.encryption is not None
    assert sa.authentication is not None
    assert (sa.encryption.key, sa.authentication.key) == (Key(bytes(range(16))), Key(b"0123456789abcdef"))


def test_a_label_ends_with_a_zero() -> None:
    sa = sa_of(f'{ADD} esp 5 -ctx 1 1 "system_u:object_r:ipsec_t" -E null;')
    assert sa.security_context == SecurityContext(b"system_u:object_r:ipsec_t\0", 1, 1)


def test_ports_of_esp_udp_are_4500_unless_they_are_given() -> None:
    assert sa_of(f"{ADD} esp-udp 5 -E null;").encap == UdpEncap()
    assert sa_of("add 192.0.2.1[500] 192.0.2.2[any] esp-udp 5 -E null;").encap == UdpEncap(500, 4500)
    script = parse(f"{ADD} esp-udp 10.0.0.1 5 -E null;", "script")
    assert script.warnings == ("script:1: Linux ignores the original address of esp-udp",)


def test_a_key_of_any_bytes_is_those_bytes() -> None:
    text = f'{ADD} ah 5 -A hmac-md5 "#; \\ä\udcff 567890";'
    sa = sa_of(text)
    assert sa.authentication is not None
    assert sa.authentication.key.reveal() == b"#; \\\xc3\xa4\xff 567890"


def test_of_an_odd_number_of_digits_the_first_stands_alone() -> None:
    sa = sa_of(f"{ADD} esp 5 -E des-cbc 0x123456789abcdef;")
    assert sa.encryption is not None
    assert sa.encryption.key == Key(bytes.fromhex("0123456789abcdef"))


def test_what_only_looks_up_or_deletes_is_read() -> None:
    sa_id = SAId(DESTINATION, 5)
    assert only("get 192.0.2.1 192.0.2.2 esp 5;") == does.GetSA(sa_id)
    assert only("delete -4 192.0.2.1[500] 192.0.2.2 esp-udp 5;") == does.DeleteSA(sa_id)
    assert only("deleteall 192.0.2.1 192.0.2.2 ah;") == does.DeleteSAs(Protocol.AH, ((SOURCE, DESTINATION),))
    assert only("flush;") == does.FlushSAs(None)
    assert only("flush esp-udp;") == does.FlushSAs(Protocol.ESP)
    assert only("dump ipcomp;") == does.DumpSAs(Protocol.IPCOMP)
    assert only("spddump;") == does.DumpPolicies()
    assert only("spdflush;") == does.FlushPolicies()
    assert only("getspi 192.0.2.1 192.0.2.2 esp 0;") == does.GetSPI(
        SPIRequest(SOURCE, DESTINATION, mode=Mode.TRANSPORT)
    )
    chosen = SPIRequest(SOURCE, DESTINATION, mode=Mode.TUNNEL, reqid=7, minimum=0x500, maximum=0x500)
    assert only("getspi 192.0.2.1 192.0.2.2 esp 0x500 -m tunnel -u 7;") == does.GetSPI(chosen)


@pytest.mark.parametrize("word", ["exit", "quit", "bye"])
def test_nothing_is_read_behind_the_end(word: str) -> None:
    assert len(parse(f"flush; {word}; nonsense", "script").statements) == 1


def test_comments_strings_and_lines_are_told_apart() -> None:
    script = parse('# flush;\nflush; # "a\n\ndump\n; add 192.0.2.1 192.0.2.2 esp\n5 -E null -A null;', "script")
    assert [place for place, _ in script.statements] == ["script:2", "script:4", "script:5"]


@pytest.mark.parametrize(
    ("words", "selector"),
    [
        ("10.0.0.0/8 10.1.0.0/16 any", Selector(ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16"))),
        ("10.0.0.1 10.1.0.1 17", Selector(ip_network("10.0.0.1"), ip_network("10.1.0.1"), 17)),
        ("10.0.0.1/8 ::/0 any", None),
        ("10.0.0.1/8 10.1.0.1 255", Selector(ip_interface("10.0.0.1/8"), ip_network("10.1.0.1"))),
        ("::/0[any] ::1[http] tcp", Selector(ip_network("::/0"), ip_network("::1"), 6, None, Port(80))),
        ("::1 ::2 icmp6 128,0", Selector(ip_network("::1"), ip_network("::2"), 58, Port(128))),
        ("::1 ::2 mh 5,0", Selector(ip_network("::1"), ip_network("::2"), 135, Port(5))),
        ("::1 ::2 135 5", Selector(ip_network("::1"), ip_network("::2"), 135, Port(5))),
        ("10.0.0.1 10.0.0.2 icmp 3,4", Selector(HERE, THERE, 1, Port(3), Port(4))),
        ("10.0.0.1 10.0.0.2 ip4", Selector(HERE, THERE, 4)),
        (
            "10.0.0.1 10.0.0.2 gre 1.2.3.4",
            Selector(HERE, THERE, 47, Port(0x102), Port(0x304)),
        ),
    ],
)
def test_a_range_and_what_is_above_it_are_a_selector(words: str, selector: Selector | None) -> None:
    text = f"spdadd {words} -P out none;"
    if selector is None:
        with pytest.raises(InvalidRequestError, match="different IP versions"):
            parse(text, "script")
    elif words.startswith("::1 ::2 mh"):
        # Not every /etc/protocols has its name.
        assert only(text.replace("mh", "135")).specs[0].policy.selector == selector
    else:
        assert only(text).specs[0].policy.selector == selector


@pytest.mark.parametrize(
    ("words", "priority"),
    [
        ("none", 0x80000000),
        ("prio 5 none", 0x80000000 - 5),
        ("priority -5 none", 0x80000000 + 5),
        ("prio low none", 0xC0000000),
        ("prio def none", 0x80000000),
        ("prio high none", 0x40000000),
        ("prio high + 7 none", 0x40000000 - 7),
        ("prio low -7 none", 0xC0000000 + 7),
        ("prio 2147483648 none", 0),
        ("prio -2147483648 none", 0xFFFFFFFF),
    ],
)
def test_priorities_are_counted_from_the_middle(words: str, priority: int) -> None:
    assert policy_of(words).priority == priority


@pytest.mark.parametrize(
    ("words", "templates"),
    [
        ("ipsec", ()),
        ("ipsec esp/tunnel/192.0.2.1-192.0.2.2/require", (TUNNEL,)),
        ("ipsec esp/tunnel/192.0.2.1-192.0.2.2", (TUNNEL,)),
        ("ipsec esp/tunnel/192.0.2.1-192.0.2.2/", (TUNNEL,)),
        ("ipsec esp/tunnel/192.0.2.1-192.0.2.2/unique:7", (replace(TUNNEL, reqid=7),)),
        ("ipsec esp/tunnel/192.0.2.1[500]-192.0.2.2[500]/default", (TUNNEL,)),
        ("ipsec ah/transport", (Template(Protocol.AH, Mode.TRANSPORT),)),
        ("ipsec ah/transport//use", (Template(Protocol.AH, Mode.TRANSPORT, optional=True),)),
        ("ipsec ah/transport/me-any/use", (Template(Protocol.AH, Mode.TRANSPORT, optional=True),)),
        ("ipsec esp/transport/192.0.2.1-192.0.2.2/require", (Template(mode=Mode.TRANSPORT),)),
        (
            "ipsec ipcomp/transport//use\n esp/tunnel/192.0.2.1-192.0.2.2 ah/transport/ esp/transport",
            (
                Template(Protocol.IPCOMP, Mode.TRANSPORT, optional=True),
                TUNNEL,
                Template(Protocol.AH, Mode.TRANSPORT),
                Template(Protocol.ESP, Mode.TRANSPORT),
            ),
        ),
    ],
)
def test_requests_are_templates(words: str, templates: tuple[Template, ...]) -> None:
    policy = policy_of(words)
    assert (policy.action, policy.templates) == (Action.ALLOW, templates)


def test_beside_an_inbound_policy_stands_one_for_what_is_forwarded() -> None:
    text = f"{SPD} any -P in ipsec esp/tunnel/192.0.2.1-192.0.2.2/unique:7 ah/transport//unique:8;"
    inward, forward = (spec.policy for spec in only(text).specs)
    assert (inward.direction, forward.direction) == (Direction.IN, Direction.FORWARD)
    assert [template.reqid for template in inward.templates] == [7, 8]
    assert [template.reqid for template in forward.templates] == [0, 8]
    assert len(only(text, with_forward=False).specs) == 1
    assert len(only("spddelete 10.0.0.0/8 10.1.0.0/16 any -P in;").specs) == 2


def test_a_level_unique_without_an_id_is_left_to_be_chosen() -> None:
    inward, forward = only(f"{SPD} any -P in ipsec esp/tunnel/192.0.2.1-192.0.2.2/unique ah/transport//unique;").specs
    assert (inward.unique, forward.unique) == ((0, 1), (1,))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("frob;", "script:1: 'frob' is no command; take one of add, get"),
        ("update 192.0.2.1 192.0.2.2 esp 5;", "script:1: setkey has no update; write delete and add"),
        ("\n\nflush", "script:3: protocol is missing at the end"),
        ("flush esp", "script:1: ; is missing at the end"),
        ("flush esp ah;", "script:1: ; is missing before ah"),
        (f"{ADD} esp-old 5 -E null;", "script:1: Linux has no ESP of RFC 1827"),
        (f"{ADD} ah-old 5 -A null;", "script:1: Linux has no AH of RFC 1826"),
        (f"{ADD} tcp 5 -A tcp-md5 'x';", "script:1: Linux has no SAs for TCP-MD5"),
        (f"{ADD} esp 5 -A hmac-md5 0x00;", "script:1: esp needs -E"),
        (f"{ADD} ah 5 -E null -A null;", "script:1: ah does not take -E and -C"),
        (f"{ADD} ipcomp 5 -C oui;", "script:1: Linux has no compression oui"),
        (f"{ADD} esp 5\n-E des-deriv 0x00;", "script:2: Linux has no des-deriv"),
        (f"{ADD} esp 5\n-E des-32iv 0x00;", "script:2: Linux has no des-32iv"),
        (f"{ADD} ah 5 -A keyed-sha1 0x00;", "script:1: Linux has no keyed-sha1"),
        (f"{ADD} ah 5 -A hmac-md4 0x00;", "script:1: 'hmac-md4' is no authentication algorithm"),
        (f"{ADD} ah 5 -A hmac-md5 00112233;", 'script:1: a key is 0x and hex digits, or a "string"'),
        (f"{ADD} ah 5 -A hmac-md5;", "script:1: key is missing before ;"),
        (f'{ADD} ah 5 -A hmac-md5 "00;\n', "script:1: a string begins here that has no end"),
        (f"{ADD} esp 0x100000000 -E null;", "script:1: '0x100000000' is no SPI of 32 bits"),
        (f"{ADD} esp spi -E null;", "script:1: 'spi' is no SPI"),
        (f"{ADD} esp 5 -x -E null;", "script:1: '-x' is no option here"),
        (f"{ADD} esp 5 -r many -E null;", "script:1: 'many' is no replay window"),
        (f"{ADD} esp 5 -f cyclic-seq -E null;", "script:1: 'cyclic-seq' is no flag"),
        ("add -n host 192.0.2.2 esp 5 -E null;", "script:1: host is no address, and -n looks no names up"),
        ("add -6 192.0.2.1 192.0.2.2 esp 5 -E null;", "script:1: 192.0.2.1 is no IPv6 address"),
        ("add 192.0.2.1 ::1 esp 5 -E null;", "script:1: the two ends are of different IP versions"),
        ("add 192.0.2.1[7] 192.0.2.2 esp 5 -E null;", "script:1: only esp-udp has ports"),
        ("add 192.0.2.1[70000] 192.0.2.2 esp-udp 5 -E null;", "script:1: '70000' is no port"),
        (f"{SPD} any;", "script:1: -P is missing before ;"),
        (f"{SPD} any -P up none;", "script:1: 'up' is no direction"),
        (f"{SPD} any -P in entrust;", "script:1: Linux refuses entrust in the SPD"),
        (f"{SPD} any -P in bypass;", "script:1: Linux refuses bypass in the SPD"),
        (f"{SPD} any -P in none esp/transport;", "script:1: none has no requests; only ipsec has"),
        (f"{SPD} any -P in ipsec esp/tunnel;", "script:1: a tunnel has two addresses"),
        (f"{SPD} any -P in ipsec esp/tunnel/me-me/use;", "script:1: write me-any or any-me"),
        (f"{SPD} any -P in ipsec esp/tunnel/192.0.2.1-::1/use;", "script:1: 192.0.2.1 and ::1 are of different IP"),
        (f"{SPD} any -P in ipsec esp/beet/192.0.2.1-192.0.2.2/use;", "script:1: 'beet' is no mode"),
        (f"{SPD} any -P in ipsec esp/transport//always;", "script:1: 'always' is no level"),
        (f"{SPD} any -P in ipsec esp/transport//use:5;", "script:1: 'use:5' is no level"),
        (f"{SPD} any -P in ipsec esp/transport//unique:x;", "script:1: 'x' is no id of unique"),
        (f"{SPD} any -P out ipsec esp/tunnel/192.0.2.1-192.0.2.2/use;", "script:1: Linux refuses the level use"),
        (f"{SPD} frob -P in none;", "script:1: 'frob' is no upper layer protocol"),
        (f"{SPD} icmp 300 -P in none;", "script:1: '300' is no type, no type,code, and no key"),
        (f"{SPD} tcp 5 -P in none;", "script:1: '5' stands where -P is expected"),
        ("spdadd 10.0.0.0/33 10.0.0.1 any -P in none;", "script:1: '33' is no prefix length"),
        ('spdadd tagged "x" -P in none;', "script:1: Linux has no tagged policies"),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_line(text: str, complaint: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(text, "script")
    assert str(caught.value).startswith(complaint)


_VOCABULARY = """
add get delete deleteall getspi flush dump spdadd spdupdate spddelete spddump spdflush exit tagged
192.0.2.1 192.0.2.2 ::1 10.0.0.0 / 8 [ ] any 4500 http -4 -6 -n esp ah ipcomp esp-udp esp-old tcp
0x1001 5 -m tunnel transport -u -r -f seq-pad -lh -bs -ctx -E aes-cbc null -A hmac-md5 -C deflate -R
-P in out fwd prio low + - ipsec none discard esp/tunnel/192.0.2.1-192.0.2.2/unique:7 icmp6 128,0 gre
; ; ; # " "x" 99999999999999999999999999"""
_WORDS = (*_VOCABULARY.split(), "\n", "\0", "\udcff")


@given(st.lists(st.sampled_from(_WORDS)).map(" ".join) | st.text())
def test_whatever_stands_in_a_script_it_is_read_or_refused_with_its_line(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pfkeyx.document.setkey.reader.getaddrinfo", _no_host)
        complaint = _complaint(text)
    assert complaint is None or re.match(r"script:\d+: ", complaint)


def _complaint(text: str) -> str | None:
    try:
        parse(text, "script").check(XfrmDialect())
    except (InvalidRequestError, UnsupportedError) as error:
        return str(error)
    return None


def _no_host(name: str, _: None) -> None:
    raise gaierror(2, f"there is no {name}")


def test_no_part_of_a_bad_key_is_in_the_error() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(f"{ADD} ah 5 -A hmac-md5 0x5ec2e75ec2e75ec2e7zz;", "script")
    assert "5ec2e7" not in str(caught.value)


def test_what_linux_passes_over_in_silence_is_a_warning() -> None:
    text = f"{ADD} ah 5 -r 64 -f zero-pad\n-A hmac-sha256 0x{bytes(32).hex()};"
    assert parse(text, "script").warnings == (
        "script:1: PF_KEY on Linux makes a replay window of 32 packets of one of 64",
        "script:1: Linux pads as RFC 4303 says, and ignores zero-pad",
        "script:2: hmac-sha256 is sent with 96 bits, as PF_KEY on Linux does; peers that follow RFC 4868 send 128",
    )


def test_what_an_interface_cannot_take_is_named_with_its_line_before_anything_is_sent() -> None:
    bad = parse(f"flush;\n{ADD} esp 5 -E aes-cbc 0x00;", "script")
    for dialect in (XfrmDialect(), PfkeyDialect()):
        with pytest.raises(InvalidRequestError, match=r"^script:2: add SA esp 0x00000005 .* this one has 1"):
            bad.check(dialect)
    deep = parse(f"\n{SPD} any -P in ipsec {'ah/transport//use ' * 7};", "script")
    with pytest.raises((InvalidRequestError, UnsupportedError), match=r"^script:2: "):
        deep.check(XfrmDialect())
