"""Bad input is refused before anything is sent, with what to do."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from pfkeyx import (
    AES_CBC,
    AES_GCM,
    DEFLATE,
    HMAC_SHA256,
    NULL,
    SA,
    Authentication,
    Direction,
    Encryption,
    Engine,
    InvalidRequestError,
    Key,
    Lifetime,
    Limit,
    Mark,
    Mode,
    Policy,
    PolicyId,
    Port,
    Protocol,
    SAFilter,
    SAId,
    SecurityContext,
    Selector,
    Template,
    UdpEncap,
    by_name,
)
from pfkeyx.checks import check_progress, check_sa, check_spi_request, check_thresholds
from pfkeyx.dialect import Dialect
from pfkeyx.model import (
    HashThreshold,
    Iptfs,
    Offload,
    OffloadFlag,
    PolicyFlag,
    PolicyType,
    Progress,
    Replay,
    SAExtraFlag,
    SAFlag,
    Share,
    SPIRequest,
    TcpEncap,
    Usage,
)
from pfkeyx.pfkey import PfkeyDialect
from pfkeyx.testing import ScriptedKernel
from pfkeyx.xfrm import XfrmDialect
from tests.unit.samples import CBC, LOCAL, OUTBOUND, REMOTE, SHA256, SHA256_96, TUNNEL

V6 = ip_address("2001:db8::1")
IPCOMP = SA(SAId(REMOTE, 0x1234, Protocol.IPCOMP), LOCAL, compression=DEFLATE, replay_window=0)
SA_CBC = TUNNEL.outbound(0xC0FFEE01, CBC, SHA256_96)
POLICY = TUNNEL.policies()[0]
KEY_17 = Key(bytes([7]) * 17)

Attempt = Callable[[Engine], object]

ATTEMPTS: list[tuple[Attempt, str]] = [
    (
        lambda e: e.add_sa(replace(SA_CBC, encryption=Encryption(AES_CBC, KEY_17))),
        r"add SA esp 0xc0ffee01 192\.0\.2\.2 -> 203\.0\.113\.1: "
        "aes-cbc takes a key of 16 or 24 or 32 bytes; this one has 17",
    ),
    (
        lambda e: e.add_sa(replace(OUTBOUND, encryption=Encryption(AES_GCM, Key(bytes([7]) * 32)))),
        r"aes-gcm takes a key of 20 or 28 or 36 bytes, of which the last 4 are the salt; this one has 32",
    ),
    (
        lambda e: e.add_sa(replace(SA_CBC, authentication=Authentication(HMAC_SHA256, KEY_17))),
        "hmac-sha256 takes a key of 32 bytes; this one has 17",
    ),
    (
        lambda e: e.add_sa(replace(SA_CBC, authentication=Authentication(HMAC_SHA256, Key(bytes([7]) * 32), 112))),
        "hmac-sha256 has an ICV of 128 or 256 bits, not 112$",
    ),
    (
        lambda e: e.add_sa(replace(SA_CBC, authentication=replace(SHA256, icv_bits=96))),
        "hmac-sha256 has an ICV of 128 or 256 bits, not 96; take hmac-sha256-96$",
    ),
    (
        lambda e: e.add_sa(replace(SA_CBC, authentication=replace(SHA256_96, icv_bits=128))),
        "hmac-sha256-96 has an ICV of 96 bits, not 128; take hmac-sha256$",
    ),
    (lambda e: e.add_sa(replace(SA_CBC, source=V6)), "is IPv6 and .* is IPv4; the two ends of an SA have the same"),
    (lambda e: e.get_spi(LOCAL, V6), "get SPI: .* the two ends of an SA have the same IP version"),
    (lambda e: e.add_sa(replace(SA_CBC, id=SAId(REMOTE, 0))), "SPI 0x0 is not between 0x1 and 0xffffffff"),
    (lambda e: e.get_sa(SAId(REMOTE, 1 << 32)), "SPI 0x100000000 is not between"),
    (lambda e: e.delete_sa(SAId(REMOTE, -1)), "SPI -0x1 is not between"),
    (lambda e: e.get_spi(LOCAL, REMOTE, minimum=0x300, maximum=0x200), "SPI range 0x300 to 0x200 is empty"),
    (lambda e: e.add_sa(replace(SA_CBC, encryption=None)), r"ESP needs an encryption algorithm \(NULL is one\)"),
    (lambda e: e.add_sa(replace(SA_CBC, reqid=1 << 32)), "reqid 4294967296 does not fit 32 bits"),
    (lambda e: e.add_sa(replace(SA_CBC, encap=UdpEncap(70000, 4500))), "source port 70000 does not fit 16 bits"),
    (
        lambda e: e.add_sa(replace(SA_CBC, encryption=Encryption(AES_CBC, Key(bytes(16))))),
        "the key for aes-cbc is all zeros, as a locked-down kernel shows keys",
    ),
    (lambda e: e.get_spi(LOCAL, REMOTE, reqid=1 << 33), "reqid 8589934592 does not fit 32 bits"),
    (lambda e: e.get_sa(SAId(REMOTE, 5, mark=Mark(1 << 40))), "mark 1099511627776 does not fit 32 bits"),
    (
        lambda e: e.delete_policy(PolicyId(Selector(ip_network("10.0.0.0/8"), ip_network("::/0")), Direction.OUT)),
        "the selector mixes IPv4 and IPv6",
    ),
    (lambda e: e.add_policy(replace(POLICY, priority=-1)), "priority -1 does not fit 32 bits"),
    (
        lambda e: e.add_policy(replace(POLICY, selector=replace(POLICY.selector, source_port=Port(65536)))),
        "source port 65536 does not fit 16 bits",
    ),
    (
        lambda e: e.add_policy(replace(POLICY, selector=replace(POLICY.selector, protocol=256))),
        "protocol 256 does not fit 8 bits",
    ),
    (lambda e: e.add_sa(replace(SA_CBC, replay_window=5000)), "replay window 5000 is not between 0 and 4096"),
    (
        lambda e: e.add_sa(replace(SA_CBC, encryption=Encryption(HMAC_SHA256, Key(bytes([7]) * 32)))),
        "hmac-sha256 does not encrypt; give it as authentication",
    ),
    (
        lambda e: e.add_sa(replace(SA_CBC, encryption=Encryption(DEFLATE, Key(b"")))),
        "deflate does not encrypt; give it as compression",
    ),
    (
        lambda e: e.add_sa(replace(SA_CBC, authentication=Authentication(DEFLATE, Key(b"")))),
        "deflate is not an authentication algorithm",
    ),
    (
        lambda e: e.add_sa(replace(SA_CBC, authentication=Authentication(AES_CBC, Key(bytes([7]) * 32)))),
        "aes-cbc is not an authentication algorithm",
    ),
    (
        lambda e: e.add_sa(replace(OUTBOUND, authentication=SHA256)),
        "aes-gcm authenticates by itself; leave authentication out",
    ),
    (
        lambda e: e.add_sa(replace(SA_CBC, id=SAId(REMOTE, 5, Protocol.AH), encryption=None, encap=UdpEncap())),
        "only ESP can be encapsulated in UDP",
    ),
    (
        lambda e: e.add_sa(replace(SA_CBC, lifetime=Lifetime(hard=Limit(seconds=0)))),
        "a limit of 0; give None for no limit",
    ),
    (
        lambda e: e.add_policy(Policy(Selector(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")), Direction.OUT)),
        "the selector mixes IPv4 and IPv6",
    ),
    (lambda e: e.add_policy(replace(POLICY, templates=POLICY.templates * 7)), "7 templates; the kernel takes 6"),
    (
        lambda e: e.add_policy(replace(POLICY, templates=(Template(source=LOCAL),))),
        "a template has both addresses or none",
    ),
    (
        lambda e: e.add_policy(replace(POLICY, templates=(Template(mode=Mode.TUNNEL),))),
        "a tunnel template needs source and destination",
    ),
    (
        lambda e: e.update_policy(replace(POLICY, templates=(Template(source=LOCAL, destination=V6),))),
        "update policy .* the two ends of an SA have the same IP version",
    ),
    (lambda e: e.get_spi(LOCAL, REMOTE, protocol=Protocol.IPCOMP, maximum=0x10000), "an IPComp CPI has 16 bits"),
    (lambda e: e.get_spi(LOCAL, REMOTE, sequence=1 << 32), "sequence 4294967296 does not fit 32 bits"),
    (lambda e: e.get_policy(0), "0 is not the index of an in, out or forward policy"),
    (lambda e: e.delete_policy(8 * 5 + 3), "43 is not the index of an in, out or forward policy"),
    (lambda e: e.get_policy(1 << 32), "4294967296 is not the index"),
    (
        lambda e: e.dump_sas(SAFilter(source=ip_network("192.0.2.0/24"), destination=ip_network("::/0"))),
        "dump SAs from 192.0.2.0/24 to ::/0: 192.0.2.0 is IPv4 and :: is IPv6",
    ),
    (lambda e: e.iter_sas(SAFilter(source=ip_network(LOCAL), destination=ip_network(V6))), "dump SAs from"),
    (lambda e: e.add_sa(replace(IPCOMP, compression=None)), "IPComp needs a compression algorithm and takes no other"),
    (
        lambda e: e.add_sa(replace(IPCOMP, encryption=Encryption(NULL, Key(b"")))),
        "IPComp needs a compression algorithm and takes no other",
    ),
    (lambda e: e.add_sa(replace(IPCOMP, authentication=SHA256)), "IPComp needs a compression algorithm"),
    (lambda e: e.add_sa(replace(IPCOMP, compression=NULL)), "null is not a compression algorithm"),
    (lambda e: e.add_sa(replace(IPCOMP, id=SAId(REMOTE, 0x10000, Protocol.IPCOMP))), "an IPComp CPI has 16 bits"),
    (
        lambda e: e.add_sa(replace(OUTBOUND, id=replace(OUTBOUND.id, protocol=Protocol.AH), authentication=SHA256)),
        "AH does not encrypt",
    ),
    (lambda e: e.add_sa(replace(OUTBOUND, lifetime=Lifetime(hard=Limit(seconds=1 << 62)))), "a limit of 46116860"),
    (lambda e: e.add_sa(replace(OUTBOUND, source="192.0.2.1")), "'192.0.2.1' is no address"),  # type: ignore[arg-type]
    (lambda e: e.get_sa(SAId("192.0.2.1", 5)), "'192.0.2.1' is no address"),  # type: ignore[arg-type]
    (lambda e: e.get_sa(SAId(ip_address("fe80::1%lo"), 5)), "fe80::1%lo has a zone"),
    (
        lambda e: e.add_sa(replace(IPCOMP, replay_window=32)),
        "IPComp has no sequence numbers .* take a window of 0",
    ),
    (lambda e: e.add_sa(replace(OUTBOUND, compression=DEFLATE)), "esp does not compress"),
    (lambda e: e.add_sa(replace(OUTBOUND, security_context=SecurityContext(b""))), "has 1 to 4096 bytes, not 0"),
    (
        lambda e: e.add_policy(replace(POLICY, security_context=SecurityContext(bytes(4097)))),
        "has 1 to 4096 bytes, not 4097",
    ),
    (lambda e: e.add_sa(replace(OUTBOUND, security_context=SecurityContext(b"x", doi=256))), "doi 256 does not fit 8"),
    (
        lambda e: e.delete_policy(replace(POLICY.id, security_context=SecurityContext(b""))),
        "has 1 to 4096 bytes, not 0",
    ),
    (lambda e: e.get_policy(replace(POLICY.id, type=PolicyType(2))), "a policy's type is main or sub, not 2"),
    (lambda e: e.add_policy(replace(POLICY, flags=PolicyFlag(256))), "flags 256 does not fit 8 bits"),
    (lambda e: e.add_policy(replace(POLICY, share=Share(4))), "share 4 is none of XFRM_SHARE_"),
    (lambda e: e.add_policy(replace(POLICY, offload=Offload(1 << 31))), "offload interface_index 2147483648 does not"),
    (lambda e: e.add_policy(replace(POLICY, index=8)), "8 is the index of another direction"),
    (lambda e: e.update_policy(replace(POLICY, index=8 * 5 + 3)), "43 is not the index of an in, out or forward"),
    (lambda e: e.add_policy(replace(POLICY, templates=(Template(mode=Mode.BEET),))), "a beet template needs source"),
    (
        lambda e: e.add_policy(replace(POLICY, templates=(Template(mode=Mode.IPTFS),))),
        "iptfs template needs source",
    ),
    (
        lambda e: e.add_policy(replace(POLICY, templates=(replace(POLICY.templates[0], share=Share(256)),))),
        "share 256 does not fit 8 bits",
    ),
    (
        lambda e: e.add_policy(replace(POLICY, templates=(replace(POLICY.templates[0], algorithm_masks=(0, 0, -1)),))),
        "algorithm mask -1 does not fit 32 bits",
    ),
]

OUT = replace(OUTBOUND, direction=Direction.OUT, replay_window=0)
IN = replace(OUTBOUND, direction=Direction.IN)
TRANSPORT = replace(OUTBOUND, mode=Mode.TRANSPORT)
AH = replace(SA_CBC, id=SAId(REMOTE, 5, Protocol.AH), encryption=None)
MOBILE = SA(SAId(V6, 0, Protocol(43)), V6, Mode.ROUTE_OPTIMIZATION, care_of=V6)
IN_IPTFS, OUT_IPTFS = replace(IN, mode=Mode.IPTFS), replace(OUT, mode=Mode.IPTFS)
ESN = replace(OUTBOUND, flags=SAFlag.ESN)

NO_SA: list[tuple[SA, str]] = [
    (replace(OUTBOUND, flags=SAFlag(256)), "flags 256 does not fit 8 bits"),
    (replace(OUTBOUND, extra_flags=SAExtraFlag(1 << 32)), "extra_flags 4294967296 does not fit 32 bits"),
    (replace(OUTBOUND, tfc_padding=-1), "tfc_padding -1 does not fit 32 bits"),
    (replace(OUTBOUND, nat_keepalive_s=1 << 32), "nat_keepalive_s 4294967296 does not fit 32 bits"),
    (replace(OUTBOUND, mapping_threshold_s=1 << 32), "mapping_threshold_s 4294967296 does not fit 32 bits"),
    (replace(OUT, cpu=-1), "cpu -1 does not fit 32 bits"),
    (replace(OUTBOUND, output_mark=Mark(1, 1 << 32)), "mask 4294967296 does not fit 32 bits"),
    (replace(OUTBOUND, offload=Offload(-1)), "offload interface_index -1 does not fit 31 bits"),
    (replace(OUTBOUND, offload=Offload(1, OffloadFlag(256))), "offload flags 256 does not fit 8 bits"),
    (replace(IN_IPTFS, iptfs=Iptfs(reorder_window=1 << 16)), "reorder_window 65536 does not fit 16 bits"),
    (replace(IN_IPTFS, iptfs=Iptfs(drop_time_us=1 << 32)), "drop_time_us 4294967296 does not fit 32 bits"),
    (replace(OUT_IPTFS, iptfs=Iptfs(queue_octets=-1)), "queue_octets -1 does not fit 32 bits"),
    (replace(OUTBOUND, direction=Direction.FORWARD), "an SA's direction is in or out, not fwd"),
    (replace(OUT, replay_window=32), "an outbound SA checks no replays; take a window of 0"),
    (replace(OUT, flags=SAFlag.DECAP_DSCP), "an outbound SA takes none of the flags DECAP_DSCP"),
    (replace(OUT, flags=SAFlag.ICMP), "an outbound SA takes none of the flags"),
    (replace(OUT, flags=SAFlag.WILDCARD_RECEIVE), "an outbound SA takes none of the flags"),
    (replace(IN, flags=SAFlag.NO_PMTU_DISCOVERY), "an inbound SA takes neither NO_PMTU_DISCOVERY nor extra flags"),
    (replace(IN, extra_flags=SAExtraFlag.SEQUENCE_MAY_WRAP), "an inbound SA takes neither"),
    (replace(OUTBOUND, cpu=0), "an SA of one CPU has a direction; give it"),
    (replace(OUTBOUND, nat_keepalive_s=20, encap=UdpEncap()), "only an outbound SA in UDP keeps a NAT's mapping"),
    (replace(IN, nat_keepalive_s=20, encap=UdpEncap()), "only an outbound SA in UDP"),
    (replace(OUT, nat_keepalive_s=20), "only an outbound SA in UDP"),
    (replace(OUT, nat_keepalive_s=20, encap=TcpEncap()), "only an outbound SA in UDP"),
    (replace(OUT, mapping_threshold_s=20, encap=UdpEncap()), "only an inbound SA with an encap tells of a new mapping"),
    (replace(IN, mapping_threshold_s=20), "only an inbound SA with an encap"),
    (replace(ESN, replay_window=0), "64-bit sequence numbers are inferred from the replay window"),
    (replace(ESN, replay_window=0, direction=Direction.IN), "64-bit sequence numbers are inferred"),
    (replace(TRANSPORT, tfc_padding=100), "only ESP in tunnel mode is padded"),
    (replace(AH, tfc_padding=100), "only ESP in tunnel mode is padded"),
    (replace(IPCOMP, tfc_padding=100), "only ESP in tunnel mode is padded"),
    (replace(OUT, iptfs=Iptfs()), "iptfs is for mode IPTFS"),
    (replace(OUTBOUND, mode=Mode.IPTFS), "an SA in mode IPTFS has a direction"),
    (replace(OUT_IPTFS, iptfs=Iptfs(drop_time_us=1)), "drop_time_us and reorder_window are for an inbound SA"),
    (replace(OUT_IPTFS, iptfs=Iptfs(reorder_window=0)), "drop_time_us and reorder_window are for an inbound SA"),
    (replace(IN_IPTFS, iptfs=Iptfs(dont_fragment=True)), "dont_fragment, .* are for an outbound SA"),
    (replace(IN_IPTFS, iptfs=Iptfs(packet_octets=0)), "dont_fragment, .* are for an outbound SA"),
    (replace(AH, encap=TcpEncap()), r"only ESP can be encapsulated in UDP \(RFC 3948\) or TCP \(RFC 9329\)"),
    (replace(OUTBOUND, encap=UdpEncap(original_address=V6)), "2001:db8::1 is IPv6 and 203.0.113.1 is IPv4"),
    (replace(OUTBOUND, care_of=V6), "2001:db8::1 is IPv6 and 203.0.113.1 is IPv4"),
    (replace(OUTBOUND, mode=Mode.IN_TRIGGER), "mode in_trigger is for policies only"),
    (replace(MOBILE, id=SAId(V6, 5, Protocol(43))), "an SA of Mobile IPv6 has no SPI; give 0"),
    (replace(MOBILE, mode=Mode.TUNNEL), "an SA of Mobile IPv6 has mode route_optimization and a care_of"),
    (replace(MOBILE, care_of=None), "an SA of Mobile IPv6 has mode route_optimization and a care_of"),
    (replace(MOBILE, authentication=SHA256), "an SA of Mobile IPv6 has no algorithms"),
    (replace(MOBILE, encap=UdpEncap()), "only ESP can be encapsulated"),
]
SOME_SA = [
    OUT,
    IN,
    MOBILE,
    replace(MOBILE, id=SAId(V6, 0, Protocol(60))),
    replace(OUT, flags=SAFlag.ESN, extra_flags=SAExtraFlag(3), nat_keepalive_s=20, encap=UdpEncap(), cpu=0),
    replace(IN, flags=SAFlag.ESN | SAFlag.DECAP_DSCP, mapping_threshold_s=20, encap=UdpEncap()),
    replace(OUTBOUND, mapping_threshold_s=20, encap=UdpEncap(original_address=REMOTE)),
    replace(OUTBOUND, tfc_padding=1400, output_mark=Mark(1), offload=Offload(2, OffloadFlag.PACKET)),
    replace(IN_IPTFS, iptfs=Iptfs(drop_time_us=1, reorder_window=0xFFFF)),
    replace(OUT_IPTFS, iptfs=Iptfs(None, None, True, 0, 0xFFFFFFFF, 0)),
]


@pytest.mark.parametrize("dialect", [XfrmDialect(), PfkeyDialect()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(("attempt", "complaint"), ATTEMPTS, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_input_is_refused_before_anything_is_sent(dialect: Dialect, attempt: Attempt, complaint: str) -> None:
    kernel = ScriptedKernel([])
    with pytest.raises(InvalidRequestError, match=complaint):
        attempt(Engine(dialect, kernel))
    assert kernel.asked == []


@pytest.mark.parametrize(("sa", "complaint"), NO_SA, ids=lambda value: value if isinstance(value, str) else "")
def test_what_no_kernel_takes_of_an_sa_is_refused_before_anything_is_sent(sa: SA, complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"add SA .*{complaint}"):
        check_sa("add SA", sa)


@pytest.mark.parametrize("sa", SOME_SA, ids=repr)
def test_what_some_kernel_takes_of_an_sa_is_not_refused(sa: SA) -> None:
    check_sa("add SA", sa)


WANTED = SPIRequest(LOCAL, REMOTE)


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (replace(WANTED, source=V6), "the two ends of an SA have the same IP version"),
        (
            replace(WANTED, if_id=1 << 32),
            "if_id 4294967296: if_id 4294967296 does not fit 32 bits",
        ),
        (replace(WANTED, mark=Mark(1 << 32)), "mark 4294967296 does not fit 32 bits"),
        (replace(WANTED, direction=Direction.FORWARD), "an SA's direction is in or out, not fwd"),
        (replace(WANTED, cpu=1 << 32), "cpu 4294967296 does not fit 32 bits"),
        (replace(WANTED, minimum=0), "SPI 0x0 is not between"),
        (replace(WANTED, protocol=Protocol.IPCOMP, minimum=0x10000), "an IPComp CPI has 16 bits"),
    ],
)
def test_a_request_for_an_spi_that_no_kernel_takes_is_refused(wanted: SPIRequest, complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"get SPI.*{complaint}"):
        check_spi_request("get SPI", wanted)
    check_spi_request("get SPI", replace(WANTED, cpu=0, direction=Direction.OUT, if_id=1, mark=Mark(1)))


@pytest.mark.parametrize(
    ("progress", "complaint"),
    [
        (Progress(), "there is nothing to set"),
        (Progress(Replay(1 << 32, 0)), "outbound 4294967296 does not fit 32 bits"),
        (Progress(Replay(0, -1)), "inbound -1 does not fit 32 bits"),
        (Progress(Replay(0, 0, (0, 1 << 32))), "a word of the bitmap 4294967296 does not fit 32 bits"),
        (Progress(usage=Usage(1 << 64, 0, 0, 0)), "octets 18446744073709551616 does not fit 64 bits"),
        (Progress(usage=Usage(0, 0, -1, 0)), "added -1 does not fit 64 bits"),
        (Progress(replay_threshold=1 << 32), "replay_threshold 4294967296 does not fit 32 bits"),
        (Progress(timer_ms=-1), "timer_ms -1 does not fit 32 bits"),
    ],
)
def test_progress_that_no_sa_can_have_made_is_refused(progress: Progress, complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"set progress esp 0xc0ffee01 .*{complaint}"):
        check_progress("set progress", OUTBOUND, progress)


def test_progress_has_64_bits_where_sequence_numbers_have() -> None:
    check_progress("set progress", ESN, Progress(Replay(1 << 63, 1 << 63, (0xFFFFFFFF,)), replay_threshold=0))


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "complaint"),
    [
        (None, None, "there is nothing to set; give the thresholds of IPv4 or of IPv6"),
        (HashThreshold(33, 0), None, "a prefix of IPv4 has 0 to 32 bits, not 33"),
        (None, HashThreshold(0, 129), "a prefix of IPv6 has 0 to 128 bits, not 129"),
        (HashThreshold(0, -1), HashThreshold(0, 0), "a prefix of IPv4 has 0 to 32 bits, not -1"),
    ],
)
def test_thresholds_beyond_an_address_are_refused(
    ipv4: HashThreshold | None, ipv6: HashThreshold | None, complaint: str
) -> None:
    with pytest.raises(InvalidRequestError, match=f"set thresholds: {complaint}"):
        check_thresholds("set thresholds", ipv4, ipv6)
    check_thresholds("set thresholds", HashThreshold(0, 32), HashThreshold(128, 0))


def test_an_unknown_algorithm_is_answered_with_those_there_are() -> None:
    with pytest.raises(InvalidRequestError, match=r"unknown algorithm 'rot13': take one of null, .*aes-gcm"):
        by_name("rot13")


def test_invalid_requests_are_value_errors_too() -> None:
    assert issubclass(InvalidRequestError, ValueError)
