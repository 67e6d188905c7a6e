"""The declarations of XFRM in pyroute2's own hands: its socket and its marshal, without anything else of pfkeyx."""

from collections.abc import Iterator
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import Any

import pytest
from pyroute2.netlink import (
    NETLINK_XFRM,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
)
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nlsocket import NetlinkSocket

from pfkeyx.xfrm import messages as wire
from tests.kernel.ip_xfrm import ip_does, ip_shows

ACKED = NLM_F_REQUEST | NLM_F_ACK
CREATED = ACKED | NLM_F_CREATE | NLM_F_EXCL


@pytest.fixture
def sock(own_network_namespace: None) -> Iterator[Any]:  # noqa: ARG001
    """Open pyroute2's socket, which is told what the messages are."""
    with NetlinkSocket(family=NETLINK_XFRM) as sock:
        sock.bind()
        sock.register_policy(wire.RECEIVED)
        yield sock


def ask(sock: Any, message: Any, message_type: int, flags: int) -> list[Any]:
    return list(sock.nlm_request(message, msg_type=message_type, msg_flags=flags))


def packed(text: str) -> bytes:
    return ip_address(text).packed.ljust(16, b"\0")


def test_its_dump_shows_the_sas_of_ip(sock: Any) -> None:
    ip_does(
        [
            "xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1001 reqid 7 mode tunnel replay-window 64"
            " flag esn aead rfc4106(gcm(aes)) 0x00112233445566778899aabbccddeeff00112233 128"
            " encap espinudp 4500 4501 0.0.0.0 mark 5 mask 0xff if_id 9 extra-flag dont-encap-dscp",
            "xfrm state add src 2001:db8::1 dst 2001:db8::2 proto ah spi 0x1002 mode transport replay-window 32"
            " auth-trunc hmac(sha256) 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 128",
        ]
    )
    dumped = ask(sock, wire.empty_msg(), wire.XFRM_MSG_GETSA, NLM_F_REQUEST | NLM_F_DUMP)
    esp, ah = sorted(dumped, key=lambda message: int(message["id"]["spi"]))

    assert (esp["id"], esp["saddr"]) == (
        {"daddr": packed("192.0.2.2"), "spi": 0x1001, "proto": 50},
        packed("192.0.2.1"),
    )
    assert (esp["family"], esp["mode"], esp["reqid"]) == (AF_INET, 1, 7)
    aead = esp.get_attr("XFRMA_ALG_AEAD")
    assert aead["alg_name"].rstrip(b"\0") == b"rfc4106(gcm(aes))"
    assert (aead["alg_key_len"], aead["alg_icv_len"]) == (160, 128)
    assert aead["alg_key"].hex() == "00112233445566778899aabbccddeeff00112233"
    encap = esp.get_attr("XFRMA_ENCAP")
    assert (encap["encap_type"], encap["encap_sport"], encap["encap_dport"]) == (wire.UDP_ENCAP_ESPINUDP, 4500, 4501)
    assert esp.get_attr("XFRMA_MARK") == {"v": 5, "m": 0xFF}
    assert esp.get_attr("XFRMA_IF_ID") == 9
    assert esp.get_attr("XFRMA_SA_EXTRA_FLAGS") == 1
    window = esp.get_attr("XFRMA_REPLAY_ESN_VAL")
    assert (window["bmp_len"], window["replay_window"], window["bmp"]) == (2, 64, bytes(8))

    assert (ah["family"], ah["mode"], ah["replay_window"]) == (AF_INET6, 0, 32)
    assert ah.get_attr("XFRMA_ALG_AUTH_TRUNC")["alg_trunc_len"] == 128
    assert ah.get_attr("XFRMA_REPLAY_VAL") == {"oseq": 0, "seq": 0, "bitmap": 0}


def test_its_dump_shows_the_policies_of_ip(sock: Any) -> None:
    ip_does(
        [
            "xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/24 proto udp sport 500 dir fwd priority 3 if_id 9"
            " tmpl src 192.0.2.1 dst 192.0.2.2 proto comp reqid 6 mode tunnel level use"
            " tmpl proto esp reqid 7 mode transport"
        ]
    )
    (policy,) = ask(sock, wire.empty_msg(), wire.XFRM_MSG_GETPOLICY, NLM_F_REQUEST | NLM_F_DUMP)
    selector = policy["sel"]
    assert (selector["saddr"], selector["prefixlen_s"]) == (packed("10.1.0.0"), 16)
    assert (selector["daddr"], selector["prefixlen_d"]) == (packed("10.2.0.0"), 24)
    assert (selector["proto"], selector["sport"], selector["sport_mask"]) == (17, 500, 0xFFFF)
    assert (policy["dir"], policy["action"], policy["priority"]) == (2, 0, 3)
    assert policy.get_attr("XFRMA_IF_ID") == 9
    compressed, encrypted = policy.get_attr("XFRMA_TMPL")
    assert (compressed["id"]["proto"], compressed["optional"], compressed["saddr"]) == (108, 1, packed("192.0.2.1"))
    assert (encrypted["id"]["proto"], encrypted["mode"], encrypted["reqid"]) == (50, 0, 7)


def test_it_adds_an_sa_and_deletes_it(sock: Any) -> None:
    sa = wire.usersa_msg()
    sa["family"], sa["mode"], sa["reqid"], sa["saddr"] = AF_INET, 1, 7, packed("192.0.2.1")
    sa["id"] = {"daddr": packed("192.0.2.2"), "spi": 0x1001, "proto": 50}
    sa["sel"] = {"family": AF_INET}
    sa["lft"] = {f"{name}_limit": wire.XFRM_INF for name in ("soft_byte", "hard_byte", "soft_packet", "hard_packet")}
    sa["attrs"] = [
        ("XFRMA_ALG_CRYPT", {"alg_name": b"cbc(aes)", "alg_key_len": 128, "alg_key": bytes(range(16))}),
        ("XFRMA_ALG_AUTH", {"alg_name": b"hmac(sha1)", "alg_key_len": 160, "alg_key": bytes(range(20))}),
        ("XFRMA_SET_MARK", 6),
        ("XFRMA_IF_ID", 9),
    ]
    ask(sock, sa, wire.XFRM_MSG_NEWSA, CREATED)
    (shown,) = ip_shows("state")
    for words in (
        "src 192.0.2.1 dst 192.0.2.2",
        "spi 0x00001001",
        "reqid 7(",
        "mode tunnel",
        "output-mark 0x6/0xffffffff",
        "if_id 0x9",
        "cbc(aes) 0x000102030405060708090a0b0c0d0e0f",
    ):
        assert words in shown

    sa_id = wire.usersa_id_msg()
    sa_id.update({"daddr": packed("192.0.2.2"), "spi": 0x1001, "family": AF_INET, "proto": 50})
    ask(sock, sa_id, wire.XFRM_MSG_DELSA, ACKED)
    assert ip_shows("state") == [""]
    with pytest.raises(NetlinkError):
        ask(sock, sa_id, wire.XFRM_MSG_DELSA, ACKED)


def test_its_tables_are_told_in_numbers_of_their_own(sock: Any) -> None:
    ip_does(["xfrm policy set hthresh4 24 32", "xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/24 dir fwd"])
    (spd,) = ask(sock, wire.spdinfo_msg(), wire.XFRM_MSG_GETSPDINFO, NLM_F_REQUEST)
    assert spd.get_attr("XFRMA_SPD_INFO")["fwdcnt"] == 1
    assert spd.get_attr("XFRMA_SPD_IPV4_HTHRESH") == {"lbits": 24, "rbits": 32}
    (sad,) = ask(sock, wire.sadinfo_msg(), wire.XFRM_MSG_GETSADINFO, NLM_F_REQUEST)
    assert sad.get_attr("XFRMA_SAD_CNT") == 0
