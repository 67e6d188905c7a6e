"""Numbered packets, and what the sniffer makes of bytes on the wire."""

import struct
from ipaddress import ip_address

import pytest

from pfkeyx.demo.traffic import SIZE_STEP, SIZES, number_of, packet
from pfkeyx.demo.wire import ClearPacket, EspPacket, parse
from pfkeyx.model import IPAddress

INSIDE: frozenset[IPAddress] = frozenset({ip_address("10.1.0.1"), ip_address("fd00:1::1")})


def ipv4(source: str, destination: str, protocol: int, payload: bytes, options: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, 4 * words + len(payload), 0, 0, 64, protocol, 0)
    return header + ip_address(source).packed + ip_address(destination).packed + options + payload


def ipv6(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    header = struct.pack("!IHBB", 0x60000000, len(payload), protocol, 64)
    return header + ip_address(source).packed + ip_address(destination).packed + payload


def test_a_packet_carries_its_number() -> None:
    assert number_of(packet(123456)) == 123456


@pytest.mark.parametrize("payload", [b"", b"short", bytes(40)])
def test_a_payload_that_is_not_ours_has_no_number(payload: bytes) -> None:
    assert number_of(payload) is None


def test_a_packets_size_tells_its_number_modulo_the_number_of_sizes() -> None:
    sizes = [len(packet(number)) for number in range(2 * SIZES)]
    assert sizes[:SIZES] == sizes[SIZES:]
    assert [(size - sizes[0]) // SIZE_STEP for size in sizes[:SIZES]] == list(range(SIZES))


def test_esp_is_read_behind_ipv4_options() -> None:
    esp = struct.pack("!II", 0xC0FFEE, 7) + bytes(30)
    plain = parse(ipv4("192.0.2.2", "203.0.113.2", 50, esp), 5, INSIDE)
    assert plain == EspPacket(5, ip_address("192.0.2.2"), ip_address("203.0.113.2"), 0xC0FFEE, 7, len(esp))
    assert parse(ipv4("192.0.2.2", "203.0.113.2", 50, esp, options=bytes(8)), 5, INSIDE) == plain


def test_esp_is_read_behind_ipv6() -> None:
    esp = struct.pack("!II", 0xFFFFFFFF, 0x80000000) + bytes(30)
    assert parse(ipv6("2001:db8:1::2", "2001:db8:3::2", 50, esp), 5, INSIDE) == EspPacket(
        5, ip_address("2001:db8:1::2"), ip_address("2001:db8:3::2"), 0xFFFFFFFF, 0x80000000, len(esp)
    )


@pytest.mark.parametrize(
    "data",
    [
        ipv4("10.1.0.1", "10.2.0.2", 17, bytes(8)),
        ipv6("fd00:2::2", "fd00:1::1", 17, bytes(8)),
        ipv4("192.0.2.2", "203.0.113.2", 17, bytes(8) + packet(1)),
        ipv4("192.0.2.2", "203.0.113.2", 50, bytes(8) + packet(1)),
    ],
    ids=["inner address", "inner destination", "our payload", "our payload in ESP that does not encrypt"],
)
def test_what_belongs_into_the_tunnel_is_in_clear_elsewhere(data: bytes) -> None:
    assert isinstance(parse(data, 5, INSIDE), ClearPacket)


def test_other_traffic_is_passed_over() -> None:
    assert parse(ipv6("fe80::1", "ff02::1", 58, bytes(24)), 5, INSIDE) is None
