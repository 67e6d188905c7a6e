"""SAs of every kind that `ip xfrm state` can name, and its words for them. `ip`'s own defaults are left out of these.

Not here is what Debian 12's `ip` has no word for (a direction, one CPU, keepalives, a mapping threshold, IPTFS), what
needs a security module, an interface that does its work, or Mobile IPv6, and the encapsulation of ESP that is no
standard.
"""

from ipaddress import ip_address, ip_interface, ip_network
from itertools import count
from typing import Any

from pfkeyx import (
    AES_CBC,
    AES_CTR,
    AES_GCM,
    AES_XCBC_MAC,
    CHACHA20_POLY1305,
    DEFLATE,
    HMAC_SHA1,
    HMAC_SHA256,
    HMAC_SHA384,
    HMAC_SHA512,
    NULL,
    SA,
    Algorithm,
    Encryption,
    Lifetime,
    Limit,
    Mark,
    Mode,
    Port,
    Protocol,
    Replay,
    SAFlag,
    SAId,
    Selector,
    UdpEncap,
)
from pfkeyx.algorithms import (
    AES_CCM,
    AES_CMAC,
    AES_GMAC,
    AUTH_NULL,
    BLOWFISH_CBC,
    CAMELLIA_CBC,
    CAST_CBC,
    DES_CBC,
    HMAC_MD5,
    HMAC_RIPEMD160,
    HMAC_SHA256_96,
    HMAC_SM3,
    LZJH,
    LZS,
    SERPENT_CBC,
    SM4_CBC,
    TRIPLE_DES_CBC,
    TWOFISH_CBC,
    Kind,
    by_xfrm_name,
)
from pfkeyx.model import SAExtraFlag, TcpEncap, any_selector
from tests.kernel.ip_xfrm import Case
from tests.kernel.values import ADDRESSES, authentication, encryption, key

_spis = count(0x1000)
_IP_CALLS = {Protocol.ESP: "esp", Protocol.AH: "ah", Protocol.IPCOMP: "comp"}


def _sa(
    words: str, *, outer: int = 4, protocol: Protocol = Protocol.ESP, mark: Mark | None = None, **fields: Any
) -> Case[SA]:
    """Return a case of an SA that is what `ip` makes by itself, but for what `words` and `fields` say alike."""
    ends = ADDRESSES[outer]
    sa_id = SAId(ends.gateway, next(_spis), protocol, mark)
    defaults: dict[str, Any] = {"mode": Mode.TRANSPORT, "replay_window": 0}
    name = f"src {ends.roaming} dst {ends.gateway} proto {_IP_CALLS[protocol]} spi {sa_id.spi:#x}"
    return Case(f"xfrm state add {name} {words}", SA(sa_id, ends.roaming, **(defaults | fields)))


def _hex(size: int) -> str:
    return f"0x{key(size).reveal().hex()}" if size else '""'


def _esp(words: str, **fields: Any) -> Case[SA]:
    suite = f"enc cbc(aes) {_hex(16)} auth-trunc hmac(sha1) {_hex(20)} 96"
    return _sa(f"{suite} {words}", **{"encryption": encryption(), "authentication": authentication(), **fields})


def _cipher(name: str, algorithm: Algorithm, size: int) -> Case[SA]:
    return _sa(f"enc {name} {_hex(size)}", encryption=encryption(algorithm, size))


def _aead(name: str, algorithm: Algorithm, size: int, icv_bits: int) -> Case[SA]:
    return _sa(f"aead {name} {_hex(size)} {icv_bits}", encryption=Encryption(algorithm, key(size), icv_bits))


def _integrity(name: str, algorithm: Algorithm, size: int, icv_bits: int) -> Case[SA]:
    words = f"auth-trunc {name} {_hex(size)} {icv_bits}"
    return _sa(words, protocol=Protocol.AH, authentication=authentication(algorithm, size, icv_bits))


def _compression(name: str, algorithm: Algorithm, **fields: Any) -> Case[SA]:
    return _sa(f"comp {name}", protocol=Protocol.IPCOMP, compression=algorithm, **fields)


def _ah(words: str, **fields: Any) -> Case[SA]:
    suite = f"auth-trunc hmac(sha1) {_hex(20)} 96"
    return _sa(f"{suite} {words}", protocol=Protocol.AH, authentication=authentication(), **fields)


def _hosts(source: str, destination: str) -> Selector:
    return Selector(ip_network(source), ip_network(destination))


def _selected(words: str, outer: int = 4, **about: Any) -> Case[SA]:
    """Return a case of an SA for some packets between two networks."""
    nets = _NETS[outer]
    selector = Selector(*nets, **about)
    return _esp(
        f"mode tunnel sel src {nets[0]} dst {nets[1]} {words}", outer=outer, mode=Mode.TUNNEL, selector=selector
    )


_NETS = {
    4: (ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16")),
    6: (ip_network("fd00::/8"), ip_network("fd00:1::/32")),
}
_HOST_BITS = Selector(ip_interface("10.0.0.1/8"), ip_interface("10.1.0.1/16"))

MODES_AND_FAMILIES = [
    _esp(""),
    _esp("", outer=6),
    _esp("mode tunnel", mode=Mode.TUNNEL),
    _esp("mode tunnel", outer=6, mode=Mode.TUNNEL),
    _esp("mode tunnel sel src ::/0 dst ::/0", mode=Mode.TUNNEL, selector=any_selector(6)),
    _esp("mode tunnel sel src 0.0.0.0/0 dst 0.0.0.0/0", outer=6, mode=Mode.TUNNEL, selector=any_selector(4)),
    _esp("mode beet", mode=Mode.BEET),
    _esp("mode beet", outer=6, mode=Mode.BEET),
    _esp("mode beet sel src fd00::1 dst fd00::2", mode=Mode.BEET, selector=_hosts("fd00::1", "fd00::2")),
    _esp("mode beet sel src 10.0.0.1 dst 10.0.0.2", outer=6, mode=Mode.BEET, selector=_hosts("10.0.0.1", "10.0.0.2")),
    _ah(""),
    _ah("mode tunnel", outer=6, mode=Mode.TUNNEL),
    _compression("deflate", DEFLATE),
    _compression("deflate mode tunnel", DEFLATE, mode=Mode.TUNNEL),
    _compression("deflate mode tunnel", DEFLATE, outer=6, mode=Mode.TUNNEL),
]

ALGORITHMS = [
    *(_cipher("cbc(aes)", AES_CBC, size) for size in (16, 24, 32)),
    *(_cipher("rfc3686(ctr(aes))", AES_CTR, size) for size in (20, 28, 36)),
    *(_cipher("cbc(camellia)", CAMELLIA_CBC, size) for size in (16, 24, 32)),
    _cipher("cbc(des3_ede)", TRIPLE_DES_CBC, 24),
    _cipher("ecb(cipher_null)", NULL, 0),
    _cipher("aes", AES_CBC, 16),
    *(_aead("rfc4106(gcm(aes))", AES_GCM, size, icv) for size in (20, 28, 36) for icv in (64, 96, 128)),
    *(_aead("rfc4309(ccm(aes))", AES_CCM, size, icv) for size in (19, 27, 35) for icv in (64, 96, 128)),
    _aead("rfc4543(gcm(aes))", AES_GMAC, 20, 128),
    _aead("rfc7539esp(chacha20,poly1305)", CHACHA20_POLY1305, 36, 128),
    *(_integrity("hmac(md5)", HMAC_MD5, 16, icv) for icv in (96, 128)),
    *(_integrity("hmac(sha1)", HMAC_SHA1, 20, icv) for icv in (96, 160)),
    _integrity("hmac(sha256)", HMAC_SHA256_96, 32, 96),
    *(_integrity("hmac(sha256)", HMAC_SHA256, 32, icv) for icv in (128, 256)),
    *(_integrity("hmac(sha384)", HMAC_SHA384, 48, icv) for icv in (192, 384)),
    *(_integrity("hmac(sha512)", HMAC_SHA512, 64, icv) for icv in (256, 512)),
    *(_integrity("xcbc(aes)", AES_XCBC_MAC, 16, icv) for icv in (96, 128)),
    *(_integrity("cmac(aes)", AES_CMAC, 16, icv) for icv in (96, 128)),
    _integrity("hmac(sha1)", by_xfrm_name("hmac(sha1)", Kind.AUTHENTICATION, 80), 20, 80),
    _sa(f"auth hmac(sha1) {_hex(20)}", protocol=Protocol.AH, authentication=authentication()),
    _sa(f"auth hmac(sha256) {_hex(32)}", protocol=Protocol.AH, authentication=authentication(HMAC_SHA256_96, 32)),
    _sa(
        'enc ecb(cipher_null) "" auth digest_null ""',
        encryption=encryption(NULL, 0),
        authentication=authentication(AUTH_NULL, 0),
    ),
]

#: Each of these some kernels have, and others refuse.
RARE = {
    "des": _cipher("cbc(des)", DES_CBC, 8),
    "cast5": _cipher("cbc(cast5)", CAST_CBC, 16),
    "blowfish": _cipher("cbc(blowfish)", BLOWFISH_CBC, 56),
    "serpent": _cipher("cbc(serpent)", SERPENT_CBC, 32),
    "twofish": _cipher("cbc(twofish)", TWOFISH_CBC, 32),
    "sm4": _cipher("cbc(sm4)", SM4_CBC, 16),
    "rmd160": _integrity("hmac(rmd160)", HMAC_RIPEMD160, 20, 96),
    "sm3": _integrity("hmac(sm3)", HMAC_SM3, 32, 256),
    "lzs": _compression("lzs", LZS),
    "lzjh": _compression("lzjh", LZJH),
    "espintcp": _esp("encap espintcp 4500 4500 0.0.0.0", encap=TcpEncap()),
}

#: No kernel has it.
INVENTED = _cipher("cbc(enigma)", by_xfrm_name("cbc(enigma)", Kind.ENCRYPTION), 16)

NAT_TRAVERSAL = [
    _esp("mode tunnel encap espinudp 4500 4500 0.0.0.0", mode=Mode.TUNNEL, encap=UdpEncap()),
    _esp("encap espinudp 4500 40001 0.0.0.0", encap=UdpEncap(4500, 40001)),
    _esp("encap espinudp 1 65535 198.51.100.9", encap=UdpEncap(1, 65535, ip_address("198.51.100.9"))),
    _esp("mode tunnel encap espinudp 4500 4500 ::", outer=6, mode=Mode.TUNNEL, encap=UdpEncap()),
    _esp("encap espinudp 4500 4501 fd00::9", outer=6, encap=UdpEncap(4500, 4501, ip_address("fd00::9"))),
]

REPLAY = [
    *(_esp(f"replay-window {size}", replay_window=size) for size in (1, 16, 32, 33, 64, 1000, 4096)),
    *(
        _esp(f"replay-window {size} flag esn", replay_window=size, flags=SAFlag.ESN)
        for size in (1, 32, 33, 64, 128, 1024, 4096)
    ),
]

RESTORED = [
    _esp("replay-window 32 replay-seq 5 replay-oseq 7", replay_window=32, replay=Replay(7, 5, (0,))),
    _esp("replay-window 64 replay-seq 5 replay-oseq 7", replay_window=64, replay=Replay(7, 5, (0, 0))),
    _esp(
        "replay-window 128 flag esn replay-seq 5 replay-seq-hi 6 replay-oseq 7 replay-oseq-hi 8",
        replay_window=128,
        flags=SAFlag.ESN,
        replay=Replay(8 << 32 | 7, 6 << 32 | 5, (0, 0, 0, 0)),
    ),
]

FLAGS = [
    _esp("flag noecn", flags=SAFlag.NO_ECN),
    _esp("flag decap-dscp", flags=SAFlag.DECAP_DSCP),
    _esp("flag nopmtudisc", flags=SAFlag.NO_PMTU_DISCOVERY),
    _esp("flag wildrecv", flags=SAFlag.WILDCARD_RECEIVE),
    _esp("flag icmp", flags=SAFlag.ICMP),
    _esp("mode tunnel flag af-unspec", mode=Mode.TUNNEL, flags=SAFlag.AF_UNSPEC),
    _ah("flag align4", flags=SAFlag.ALIGN4),
    _esp("flag noecn decap-dscp nopmtudisc icmp", flags=SAFlag(1 | 2 | 4 | 16)),
    _esp("extra-flag dont-encap-dscp", extra_flags=SAExtraFlag.DONT_ENCAP_DSCP),
    _esp("extra-flag oseq-may-wrap", extra_flags=SAExtraFlag.SEQUENCE_MAY_WRAP),
    _esp("extra-flag dont-encap-dscp oseq-may-wrap", extra_flags=SAExtraFlag(3)),
]

IDENTITIES = [
    _esp("reqid 7", reqid=7),
    _esp("reqid 4294967295", reqid=0xFFFFFFFF),
    _esp("mark 5", mark=Mark(5)),
    _esp("mark 0x50 mask 0xf0", mark=Mark(0x50, 0xF0)),
    _esp("output-mark 7", output_mark=Mark(7)),
    _esp("output-mark 0x700 mask 0xff00", output_mark=Mark(0x700, 0xFF00)),
    _esp("if_id 9", if_id=9),
    _esp("if_id 0xffffffff mark 1 output-mark 2", if_id=0xFFFFFFFF, mark=Mark(1), output_mark=Mark(2)),
    _esp("mode tunnel tfcpad 1200", mode=Mode.TUNNEL, tfc_padding=1200),
]

LIMITS = [
    _esp("limit byte-soft 1000000", lifetime=Lifetime(soft=Limit(octets=1000000))),
    _esp("limit byte-hard 18446744073709551614", lifetime=Lifetime(hard=Limit(octets=2**64 - 2))),
    _esp("limit packet-soft 900 limit packet-hard 1000", lifetime=Lifetime(Limit(packets=900), Limit(packets=1000))),
    _esp("limit time-soft 3000 limit time-hard 3600", lifetime=Lifetime(Limit(seconds=3000), Limit(seconds=3600))),
    _esp(
        "limit time-use-soft 5 limit time-use-hard 6", lifetime=Lifetime(Limit(idle_seconds=5), Limit(idle_seconds=6))
    ),
    _esp(
        "limit byte-soft 1001 limit byte-hard 1002 limit packet-soft 103 limit packet-hard 104 "
        "limit time-soft 3005 limit time-hard 3006 limit time-use-soft 3007 limit time-use-hard 3008",
        lifetime=Lifetime(Limit(1001, 103, 3005, 3007), Limit(1002, 104, 3006, 3008)),
    ),
]

SELECTORS = [
    _selected(""),
    _selected("", outer=6),
    _selected("proto tcp sport 7 dport 9", protocol=6, source_port=Port(7), destination_port=Port(9)),
    _selected("proto udp dport 53", outer=6, protocol=17, destination_port=Port(53)),
    _selected("proto icmp type 8 code 0", protocol=1, source_port=Port(8), destination_port=Port(0)),
    _selected("proto ipv6-icmp type 128", outer=6, protocol=58, source_port=Port(128)),
    _selected("proto gre key 1.2.3.4", protocol=47, source_port=Port(0x0102), destination_port=Port(0x0304)),
    _selected("proto 99", protocol=99),
    _selected("dev lo", interface_index=1),
    _esp("mode tunnel sel src 10.0.0.1/8 dst 10.1.0.1/16", mode=Mode.TUNNEL, selector=_HOST_BITS),
    _esp("sel src 192.0.2.2/32 dst 192.0.2.1/32", selector=_hosts("192.0.2.2", "192.0.2.1")),
]

KINDS = {
    "modes-and-families": MODES_AND_FAMILIES,
    "algorithms": ALGORITHMS,
    "nat-traversal": NAT_TRAVERSAL,
    "replay": REPLAY,
    "flags": FLAGS,
    "identities": IDENTITIES,
    "limits": LIMITS,
    "selectors": SELECTORS,
}
