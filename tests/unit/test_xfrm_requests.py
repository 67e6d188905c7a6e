"""What is asked over XFRM, byte by byte where `<linux/xfrm.h>` has it, and what is not asked at all."""

import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from pfkeyx import (
    DEFLATE,
    SA,
    Acquire,
    Direction,
    Engine,
    Feature,
    Mode,
    Protocol,
    SAFilter,
    SAId,
    SecurityContext,
    UnsupportedError,
)
from pfkeyx.operation import Request
from pfkeyx.pfkey.message import Message, MessageType
from pfkeyx.testing import ScriptedKernel
from pfkeyx.xfrm import XfrmDialect
from tests.unit.samples import LOCAL, OUTBOUND, POLICIES, REMOTE

DIALECT = XfrmDialect()
HEADER = 16
REQUEST, ACK, DUMP = 1, 4, 0x300
ACQUIRE = Acquire(LOCAL, REMOTE, Protocol.ESP, policy_id=9, sequence=4711)
IPCOMP = SA(SAId(REMOTE, 0x1234, Protocol.IPCOMP), LOCAL, compression=DEFLATE, replay_window=0)


def parts(request: Request[Any], size: int) -> tuple[int, int, bytes, dict[int, bytes]]:
    """Return a request's message type and flags, its struct of `size` bytes, and its attributes."""
    data = bytes(request.wire.message)
    length, message_type, flags = struct.unpack_from("=IHH", data)
    assert length == len(data)
    attributes, offset = {}, HEADER + (size + 3) // 4 * 4
    while offset < length:
        size_of_attribute, number = struct.unpack_from("=HH", data, offset)
        attributes[number] = data[offset + 4 : offset + size_of_attribute]
        offset += (size_of_attribute + 3) // 4 * 4
    return message_type, flags, data[HEADER : HEADER + size], attributes


@pytest.mark.parametrize(
    ("protocol", "maximum", "asked"),
    [
        (Protocol.ESP, None, 0xFFFFFFFF),
        (Protocol.AH, None, 0xFFFFFFFF),
        (Protocol.IPCOMP, None, 0xFFFF),
        (Protocol.IPCOMP, 0x200, 0x200),
    ],
)
def test_an_spi_is_asked_for_an_acquires_larval_sa_and_up_to_the_protocols_largest(
    protocol: Protocol, maximum: int | None, asked: int
) -> None:
    request = DIALECT.get_spi(LOCAL, REMOTE, protocol, Mode.TUNNEL, 7, 0x100, maximum, 4711)
    message_type, flags, info, _ = parts(request, 232)
    assert (message_type, flags) == (22, REQUEST)
    assert struct.unpack_from("=II", info, 204) == (4711, 7)
    assert struct.unpack_from("=II", info, 224) == (0x100, asked)


@pytest.mark.parametrize(("request_of", "number", "flags"), [("get_policy", 21, REQUEST), ("delete_policy", 20, 5)])
def test_a_policy_is_looked_up_by_its_selector_or_by_its_index(request_of: str, number: int, flags: int) -> None:
    look_up: Callable[[object], Request[Any]] = getattr(DIALECT, request_of)
    message_type, sent_flags, policy_id, _ = parts(look_up(POLICIES[2].id), 64)
    assert (message_type, sent_flags) == (number, flags)
    assert policy_id[:20] == ip_address("10.1.0.0").packed + bytes(12) + ip_address("10.2.0.0").packed
    assert struct.unpack_from("=IB", policy_id, 56) == (0, Direction.FORWARD)
    _, _, policy_id, attributes = parts(look_up(8 * 5 + 2), 64)
    assert policy_id == bytes(56) + struct.pack("=IB3x", 8 * 5 + 2, Direction.FORWARD)
    assert attributes == {}


def test_a_dump_is_of_the_three_protocols_of_ipsec_or_of_one() -> None:
    message_type, flags, _, attributes = parts(DIALECT.dump_sas(SAFilter()), 0)
    assert (message_type, flags) == (18, REQUEST | DUMP)
    assert attributes == {25: bytes([255])}
    assert parts(DIALECT.dump_sas(SAFilter(Protocol.AH)), 0)[3] == {25: bytes([51])}


@pytest.mark.parametrize(
    ("matching", "address_filter"),
    [
        (
            SAFilter(source=ip_network("192.0.2.0/24")),
            bytes([192, 0, 2, 0]) + bytes(28) + struct.pack("=HBB", 2, 24, 0),
        ),
        (
            SAFilter(destination=ip_network("2001:db8::/32")),
            bytes(16) + ip_address("2001:db8::").packed + struct.pack("=HBB", 10, 0, 32),
        ),
        (
            SAFilter(source=ip_interface("192.0.2.7/24"), destination=ip_network("203.0.113.1")),
            bytes([192, 0, 2, 7]) + bytes(12) + bytes([203, 0, 113, 1]) + bytes(12) + struct.pack("=HBB", 2, 24, 32),
        ),
    ],
)
def test_the_kernel_chooses_sas_by_their_addresses(matching: SAFilter, address_filter: bytes) -> None:
    assert parts(DIALECT.dump_sas(matching), 0)[3] == {25: bytes([255]), 26: address_filter}


@pytest.mark.parametrize(("protocol", "number"), [(None, 255), (Protocol.ESP, 50), (Protocol.IPCOMP, 108)])
def test_a_flush_is_of_all_protocols_or_of_one(protocol: Protocol | None, number: int) -> None:
    request = DIALECT.flush_sas(protocol)
    assert parts(request, 1)[:3] == (28, REQUEST | ACK, bytes([number]))


def test_compression_is_a_name_without_a_key() -> None:
    _, _, info, attributes = parts(DIALECT.add_sa(IPCOMP), 224)
    assert info[56 + 20] == 108
    assert attributes == {3: b"deflate".ljust(64, b"\0") + bytes(4)}


def test_a_security_context_is_sent_with_its_length() -> None:
    label = SecurityContext(b"system_u:object_r:ipsec_spd_t:s0\0")
    in_bytes = struct.pack("=HHBBH", 8 + 33, 8, 1, 1, 33) + label.context
    for request, size in (
        (DIALECT.add_sa(replace(OUTBOUND, security_context=label)), 224),
        (DIALECT.add_policy(replace(POLICIES[0], security_context=label)), 168),
    ):
        assert parts(request, size)[3][8] == in_bytes


@pytest.mark.parametrize(
    ("attempt", "feature"),
    [
        (lambda e: e.register(), "register"),
        (lambda e: e.answer_acquire(ACQUIRE, 3), "acquire_answer"),
        (lambda e: e.exchange(Message(MessageType.REGISTER)), "pfkey"),
    ],
    ids=["register", "answer_acquire", "exchange"],
)
def test_what_only_pf_key_can_do_is_refused_with_where_to_do_it(
    attempt: Callable[[Engine], object], feature: str
) -> None:
    kernel = ScriptedKernel([])
    with pytest.raises(UnsupportedError) as refusal:
        attempt(Engine(DIALECT, kernel))
    assert refusal.value.feature == feature
    assert "open the pfkey engine" in refusal.value.hint
    assert kernel.asked == []


@pytest.mark.parametrize(
    "feature",
    [
        Feature.PFKEY,
        Feature.REGISTER,
        Feature.ACQUIRE_ANSWER,
        *(feature for feature in Feature if feature.name.startswith("SADB_")),
    ],
    ids=lambda feature: str(feature.value),
)
def test_what_only_pf_key_has_is_not_supported(feature: Feature) -> None:
    support = Engine(DIALECT, ScriptedKernel([])).supports(feature)
    assert support.available is False
    assert "PF_KEY" in support.reason or "pfkey engine" in support.reason
