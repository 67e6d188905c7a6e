"""What is asked over XFRM, byte by byte where `<linux/xfrm.h>` has it, and what is not asked at all."""

import errno
import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, TypeVar

import pytest

from pfkeyx import (
    DEFLATE,
    SA,
    Acquire,
    AddressPair,
    Direction,
    Engine,
    Feature,
    InvalidRequestError,
    KernelError,
    MalformedReplyError,
    Mark,
    Mode,
    Offload,
    PolicyType,
    Progress,
    Protocol,
    Replay,
    SAFilter,
    SAFlag,
    SAId,
    SecurityContext,
    UdpEncap,
    UnsupportedError,
    Usage,
)
from pfkeyx.model import SPIRequest
from pfkeyx.operation import Batch, Operation, Request
from pfkeyx.pfkey.message import Message, MessageType
from pfkeyx.testing import ScriptedKernel
from pfkeyx.xfrm import XfrmDialect
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.answers import Answer
from tests.unit.samples import LOCAL, OUTBOUND, POLICIES, REMOTE

T = TypeVar("T")
DIALECT = XfrmDialect()
HEADER = 16
REQUEST, ACK, DUMP = 1, 4, 0x300
EXCL, CREATE = 0x200, 0x400
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


def refused(code: int) -> KernelError:
    return KernelError.of(code, "probe")


def drive(operation: Operation[T], *replies: list[Any] | KernelError) -> tuple[T, list[Batch]]:
    """Run an operation on these replies and refusals; return its result and what it asked."""
    asked = []
    try:
        batch = next(operation)
        for reply in replies:
            assert isinstance(batch, Batch)
            asked.append(batch)
            batch = operation.throw(reply) if isinstance(reply, KernelError) else operation.send(reply)
    except StopIteration as stop:
        assert len(asked) == len(replies)
        return stop.value, asked
    raise AssertionError(f"{batch} is not expected")


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
    wanted = SPIRequest(LOCAL, REMOTE, protocol, reqid=7, maximum=maximum, sequence=4711)
    message_type, flags, info, attributes = parts(DIALECT.get_spi(wanted), 232)
    assert attributes == {}
    assert (message_type, flags) == (22, REQUEST)
    assert struct.unpack_from("=II", info, 204) == (4711, 7)
    assert struct.unpack_from("=II", info, 224) == (0x100, asked)


def test_an_spi_is_asked_for_with_all_that_its_sa_is_found_by() -> None:
    wanted = SPIRequest(LOCAL, REMOTE, mark=Mark(1, 3), if_id=9, direction=Direction.IN, cpu=0)
    request = DIALECT.get_spi(wanted)
    numbers = {31: struct.pack("=I", 9), 33: bytes([1]), 35: bytes(4)}
    assert parts(request, 232)[3] == {21: struct.pack("=II", 1, 3)} | numbers
    assert request.needs == (Feature.IF_ID, Feature.SA_DIRECTION, Feature.SA_CPU)


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


@pytest.mark.parametrize(
    ("policy_type", "attributes"), [(PolicyType.MAIN, {}), (PolicyType.SUB, {16: b"\1" + bytes(5)})]
)
def test_a_flush_is_of_the_policies_of_one_type(policy_type: PolicyType, attributes: dict[int, bytes]) -> None:
    assert parts(DIALECT.flush_policies(policy_type), 0) == (29, REQUEST | ACK, b"", attributes)


@pytest.mark.parametrize("hard", [False, True])
def test_an_sa_or_a_policy_is_told_to_expire(hard: bool) -> None:
    marked = replace(OUTBOUND.id, mark=Mark(5))
    message_type, flags, state, attributes = parts(DIALECT.expire_sa(marked, hard), 232)
    assert (message_type, flags, state[224], set(attributes)) == (24, REQUEST | ACK, hard, {21})
    assert struct.unpack_from(">IB", state, 72) == (OUTBOUND.id.spi, 50)
    message_type, flags, policy, attributes = parts(DIALECT.expire_policy(8 * 5 + 2, hard), 176)
    assert (message_type, flags, policy[168], attributes) == (27, REQUEST | ACK, hard, {})
    assert struct.unpack_from("=IB", policy, 156) == (8 * 5 + 2, Direction.FORWARD)
    policy = parts(DIALECT.expire_policy(POLICIES[1].id, hard), 176)[2]
    assert struct.unpack_from("=IB", policy, 156) == (0, Direction.IN)


def test_a_restored_sa_has_its_numbers_and_counters_and_no_empty_window_beside_them() -> None:
    sa = replace(OUTBOUND, flags=SAFlag.ESN, replay_window=40, replay=Replay(1 << 32 | 7, 0, (0, 0)))
    request = DIALECT.restore_sa(sa)
    message_type, flags, _, attributes = parts(request, 224)
    assert (message_type, flags) == (16, REQUEST | ACK | CREATE | EXCL)
    assert attributes[9] == struct.pack("=4Q", 1000, 10, 1, 2)
    assert attributes[23] == struct.pack("=8I", 2, 7, 0, 1, 0, 40, 0, 0)
    assert bytes(request.wire.message).count(struct.pack("=HH", 4 + 32, 23)) == 1
    legacy = parts(DIALECT.restore_sa(OUTBOUND), 224)[3]
    assert legacy[10] == struct.pack("=3I", 41, 0, 0)


@pytest.mark.parametrize("sa", [replace(OUTBOUND, replay=None), replace(OUTBOUND, usage=None)], ids=["replay", "usage"])
def test_an_sa_that_was_never_read_cannot_be_restored(sa: SA) -> None:
    with pytest.raises(InvalidRequestError, match="no replay or no usage"):
        DIALECT.restore_sa(sa)


YOUNG: list[tuple[dict[str, Any], Feature]] = [
    ({"offload": Offload(1)}, Feature.OFFLOAD),
    ({"output_mark": Mark(1)}, Feature.OUTPUT_MARK),
    ({"if_id": 1}, Feature.IF_ID),
    ({"encap": UdpEncap(), "mapping_threshold_s": 1}, Feature.MAPPING_THRESHOLD),
    ({"direction": Direction.IN}, Feature.SA_DIRECTION),
    ({"mode": Mode.IPTFS, "direction": Direction.IN}, Feature.IPTFS),
]


@pytest.mark.parametrize(("fields", "feature"), YOUNG, ids=[feature.value for _, feature in YOUNG])
def test_what_an_older_kernel_would_pass_over_is_needed(fields: dict[str, Any], feature: Feature) -> None:
    sa = replace(OUTBOUND, **fields)
    for request in (DIALECT.add_sa(sa), DIALECT.update_sa(sa), DIALECT.restore_sa(sa)):
        assert feature in request.needs
    assert DIALECT.add_sa(OUTBOUND).needs == ()


def test_a_policys_interface_is_needed_to_write_and_to_find_it() -> None:
    policy = replace(POLICIES[0], if_id=3)
    for request in (DIALECT.add_policy(policy), DIALECT.get_policy(policy.id), DIALECT.delete_policy(policy.id)):
        assert request.needs == (Feature.IF_ID,)
    assert DIALECT.add_policy(POLICIES[0]).needs == ()


@pytest.mark.parametrize(
    ("feature", "number"),
    [(Feature.AEAD, 18), (Feature.MARK, 21), (Feature.ESN, 23), (Feature.OFFLOAD, 28), (Feature.SA_CPU, 35)],
    ids=str,
)
@pytest.mark.parametrize(
    ("code", "available"), [(errno.ERANGE, True), (errno.EINVAL, True), (errno.ESRCH, False), (errno.EPERM, None)]
)
def test_an_attribute_is_known_to_a_kernel_that_refuses_it_empty(
    feature: Feature, number: int, code: int, available: bool | None
) -> None:
    dialect = XfrmDialect()
    support, (batch,) = drive(dialect.supports(feature), refused(code))
    assert support.available is available
    message_type, _, _, attributes = parts(batch.requests[0], 24)
    assert (message_type, attributes) == (18, {number: b""})
    # Only what was found out is not asked again.
    again = [refused(code)] if available is None else []
    assert drive(dialect.supports(feature), *again)[0] == support


@pytest.mark.parametrize(
    ("codes", "available"),
    [
        ((errno.ESRCH,), False),
        ((errno.ERANGE, errno.ESRCH), False),
        ((errno.ERANGE, errno.EINVAL), True),
        ((errno.ERANGE, errno.ENOSYS), None),
    ],
)
def test_a_kernel_has_iptfs_when_its_module_reads_them(codes: tuple[int, ...], available: bool | None) -> None:
    support, _ = drive(XfrmDialect().supports(Feature.IPTFS), *(refused(code) for code in codes))
    assert support.available is available


@pytest.mark.parametrize(
    ("feature", "code", "available"),
    [
        (Feature.MIGRATE, errno.EINVAL, True),
        (Feature.MIGRATE, errno.ENOPROTOOPT, False),
        (Feature.MIGRATE_STATE, errno.ESRCH, True),
        (Feature.MIGRATE_STATE, errno.EINVAL, False),
        (Feature.SUB_POLICY, errno.ENOENT, True),
        (Feature.SUB_POLICY, errno.EINVAL, False),
        (Feature.DEFAULT_POLICY, errno.EINVAL, False),
        (Feature.DEFAULT_POLICY, errno.EIO, None),
    ],
)
def test_a_message_is_known_by_how_it_is_refused(feature: Feature, code: int, available: bool | None) -> None:
    assert drive(XfrmDialect().supports(feature), refused(code))[0].available is available


@pytest.mark.parametrize(
    "feature", [Feature.XFRM, Feature.PROGRESS, Feature.RESTORE, Feature.EXPIRE_REQUEST, Feature.TABLE_INFO]
)
def test_what_xfrm_always_had_is_not_asked_for(feature: Feature) -> None:
    assert drive(XfrmDialect().supports(feature))[0].available


@pytest.mark.parametrize(("told_ms", "hz"), [(200_000, 100), (80_000, 250), (66_600, 300), (20_000, 1000)])
def test_a_timer_is_set_in_jiffies_whose_length_is_read_off_once(told_ms: int, hz: int) -> None:
    dialect = XfrmDialect()
    read_off = [Progress(timer_ms=1000), None, Progress(timer_ms=told_ms)]
    _, first = drive(
        dialect.set_progress(OUTBOUND, Progress(timer_ms=2500, replay_threshold=3)), read_off, [None], [None]
    )
    _, second = drive(dialect.set_progress(OUTBOUND, Progress(timer_ms=1)), [None])
    assert first[0].one_datagram
    sent = [parts(request, 48) for batch in first + second for request in batch.requests]
    assert [message[0] for message in sent] == [31, 30, 31, 30, 30, 30]
    timers = [message[3].get(12) for message in sent if message[0] == 30]
    assert timers == [struct.pack("=I", n) for n in (20_000, hz, 5 * hz // 2, -(-hz // 1000))]
    assert sent[4][3][11] == struct.pack("=I", 3)


@pytest.mark.parametrize("told_ms", [None, 0, 1, 10**9])
def test_a_timer_that_makes_no_sense_is_not_reckoned_with(told_ms: int | None) -> None:
    read_off = [Progress(timer_ms=1000), None, Progress(timer_ms=told_ms)]
    with pytest.raises(MalformedReplyError, match="20000 jiffies"):
        drive(XfrmDialect().set_progress(OUTBOUND, Progress(timer_ms=1)), read_off)


@pytest.mark.parametrize("progress", [Progress(), Progress(timer_ms=-1), Progress(timer_ms=2**31)])
def test_progress_that_cannot_be_set_is_refused(progress: Progress) -> None:
    with pytest.raises(InvalidRequestError, match="set progress"):
        drive(DIALECT.set_progress(OUTBOUND, progress))


def test_a_move_says_where_the_key_managers_are() -> None:
    old = POLICIES[0].templates[0]
    pair = AddressPair(LOCAL, REMOTE)
    request = DIALECT.migrate_policy(POLICIES[0].id, [(old, replace(old, source=REMOTE))], kmaddress=pair)
    kmaddress = LOCAL.packed + bytes(12) + REMOTE.packed + bytes(12) + struct.pack("=IHxx", 0, 2)
    assert parts(request, 64)[3][19] == kmaddress


def test_a_policy_with_a_mark_is_not_moved_in_the_place_of_another() -> None:
    old = POLICIES[0].templates[0]
    with pytest.raises(UnsupportedError, match="finds no policy by its mark") as refusal:
        DIALECT.migrate_policy(replace(POLICIES[0], mark=Mark(5)).id, [(old, replace(old, source=REMOTE))])
    assert refusal.value.feature == "mark"


def test_an_sa_that_leaves_its_nat_and_comes_back_has_its_keepalives_again() -> None:
    kept = replace(OUTBOUND, encap=UdpEncap(), nat_keepalive_s=20, mapping_threshold_s=7)
    left = kept.moved(REMOTE, LOCAL, None)
    assert (left.nat_keepalive_s, left.mapping_threshold_s) == (0, 0)
    assert parts(DIALECT.migrate_sa(kept, left), 132)[3] == {4: bytes(24)}
    assert set(parts(DIALECT.migrate_sa(left, kept), 132)[3]) == {4, 32, 34}
    assert parts(DIALECT.migrate_sa(kept, kept.moved(REMOTE, LOCAL, kept.encap)), 132)[3] == {}


@pytest.mark.parametrize("protocol", [Protocol(43), Protocol(60)])
def test_an_sa_that_is_found_by_both_addresses_is_not_looked_for_by_one(protocol: Protocol) -> None:
    sa_id = SAId(ip_address("2001:db8::1"), 0, protocol)
    for ask in (DIALECT.get_sa, DIALECT.delete_sa, lambda it: DIALECT.expire_sa(it, hard=True)):
        with pytest.raises(UnsupportedError, match="XFRMA_SRCADDR"):
            ask(sa_id)


@pytest.mark.parametrize("replay", [Replay(1 << 32, 0, (0, 0)), Replay(0, 0, (1 << 32, 0))])
def test_an_sa_is_not_restored_with_numbers_that_would_begin_anew(replay: Replay) -> None:
    sa = replace(OUTBOUND, replay_window=64, replay=replay, usage=Usage(0, 0, 0, 0))
    with pytest.raises(InvalidRequestError, match=r"restore SA .* does not fit 32 bits"):
        DIALECT.restore_sa(sa)


def test_an_sa_whose_short_window_has_the_extended_form_is_restored_with_it() -> None:
    sa = replace(OUTBOUND, replay_window=32, replay=Replay(5, 6, (7,), extended=True), usage=Usage(0, 0, 0, 0))
    _, _, struct_bytes, attributes = parts(DIALECT.restore_sa(sa), 224)
    # The kernel takes no other window beside it.
    assert struct_bytes[215] == 0
    assert attributes[23] == struct.pack("=7I", 1, 5, 6, 0, 0, 32, 7)


def make_message(declared: type[Any], number: int, flags: int = 0, *attributes: tuple[str, Any]) -> Any:
    message = declared()
    message["header"]["type"] = number
    message["header"]["flags"] = flags
    message["attrs"] = list(attributes)
    return message


@pytest.mark.parametrize(
    ("message", "flags", "answer"),
    [
        (make_message(wire.usersa_id_msg, 18), REQUEST, Answer.ONE),
        (make_message(wire.usersa_id_msg, 18, DUMP), REQUEST | DUMP, Answer.TABLE),
        (make_message(wire.empty_msg, 21, DUMP), REQUEST | DUMP, Answer.TABLE),
        (make_message(wire.usersa_msg, 16, CREATE | EXCL), REQUEST | ACK | CREATE | EXCL, Answer.ACK),
        (make_message(wire.sadinfo_msg, 35), REQUEST, Answer.ONE),
        (make_message(wire.spdinfo_msg, 36, 0, ("XFRMA_SPD_IPV4_HTHRESH", {"lbits": 1})), REQUEST | ACK, Answer.ACK),
    ],
)
def test_a_raw_message_is_sent_as_it_is_as_often_as_one_likes(message: Any, flags: int, answer: Answer) -> None:
    first, second = DIALECT.message(message), DIALECT.message(message)
    assert first.wire == second.wire
    assert first.wire.answer is answer
    assert struct.unpack_from("=H", first.wire.message, 6) == (flags,)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (make_message(wire.usersa_msg, 18), "cannot be a usersa_msg"),
        (make_message(wire.empty_msg, 18), "cannot be a empty_msg"),
        (make_message(wire.report_msg, 32), "cannot be a report_msg"),
        (make_message(wire.usersa_id_msg, 18, 0, ("XFRMA_NEW", 1)), "there is no attribute XFRMA_NEW"),
        (make_message(wire.usersa_id_msg, 18, 0, ("XFRMA_TMPL", 1)), "cannot be encoded"),
    ],
)
def test_a_raw_message_that_is_none_is_refused(message: Any, complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=complaint):
        DIALECT.message(message)


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
        Feature.ADDRUPDATE,
        *(feature for feature in Feature if feature.name.startswith("SADB_")),
    ],
    ids=lambda feature: str(feature.value),
)
def test_what_only_pf_key_has_is_not_supported(feature: Feature) -> None:
    support = Engine(DIALECT, ScriptedKernel([])).supports(feature)
    assert support.available is False
    assert "PF_KEY" in support.reason or "pfkey engine" in support.reason
