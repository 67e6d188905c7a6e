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
from pfkeyx.operation import Dialect
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
    (lambda e: e.add_sa(replace(IPCOMP, replay_window=32)), "IPComp has no sequence numbers .* give replay_window=0"),
    (lambda e: e.add_sa(replace(OUTBOUND, compression=DEFLATE)), "esp does not compress"),
    (lambda e: e.add_sa(replace(OUTBOUND, security_context=SecurityContext(b""))), "has 1 to 4096 bytes, not 0"),
    (
        lambda e: e.add_policy(replace(POLICY, security_context=SecurityContext(bytes(4097)))),
        "has 1 to 4096 bytes, not 4097",
    ),
    (lambda e: e.add_sa(replace(OUTBOUND, security_context=SecurityContext(b"x", doi=256))), "doi 256 does not fit 8"),
]


@pytest.mark.parametrize("dialect", [XfrmDialect(), PfkeyDialect()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(("attempt", "complaint"), ATTEMPTS, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_input_is_refused_before_anything_is_sent(dialect: Dialect, attempt: Attempt, complaint: str) -> None:
    kernel = ScriptedKernel([])
    with pytest.raises(InvalidRequestError, match=complaint):
        attempt(Engine(dialect, kernel))
    assert kernel.asked == []


def test_an_unknown_algorithm_is_answered_with_those_there_are() -> None:
    with pytest.raises(InvalidRequestError, match=r"unknown algorithm 'rot13': take one of null, .*aes-gcm"):
        by_name("rot13")


def test_invalid_requests_are_value_errors_too() -> None:
    assert issubclass(InvalidRequestError, ValueError)
