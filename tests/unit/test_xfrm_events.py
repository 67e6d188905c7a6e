"""What XFRM's groups announce, as events: messages in, values out, and what is passed over."""

import errno
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfkeyx import (
    Acquire,
    AddressPair,
    Change,
    Event,
    EventsLostError,
    Expire,
    MalformedReplyError,
    Migrated,
    Mode,
    NatMapping,
    PolicyChange,
    PolicyFlush,
    PolicyId,
    Protocol,
    SAChange,
    SAFlush,
    SAId,
    SecurityContext,
    Template,
)
from pfkeyx.operation import EventSource
from pfkeyx.xfrm import XfrmEvents, codec, layout, parts
from pfkeyx.xfrm import messages as wire
from tests.unit.samples import LOCAL, NEW_LOCAL, OUTBOUND, POLICIES, REMOTE

Listen = Callable[..., EventSource]
SENDER, SEQUENCE = 4711, 42
SA = OUTBOUND.as_written()
POLICY = POLICIES[0]
(TEMPLATE,) = POLICY.templates
LABEL = SecurityContext(b"system_u:object_r:ipsec_spd_t:s0\0")
KINDS: tuple[type[Event], ...] = get_args(Event)


@pytest.fixture
def groups() -> list[int]:
    """Return the groups that were joined, once a listener is open."""
    return []


@pytest.fixture
def kernel() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    yield ours, kernels
    ours.close()
    kernels.close()


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch, kernel: tuple[socket.socket, socket.socket], groups: list[int]) -> Listen:
    def open_socket(netns: str | None, joined: Sequence[int], _: int) -> socket.socket:
        assert netns == "here"
        groups.extend(joined)
        return kernel[0]

    monkeypatch.setattr("pfkeyx.xfrm.listening.open_socket", open_socket)

    def open_listener(*kinds: type[Event]) -> EventSource:
        return XfrmEvents(kinds or KINDS, "here", lambda sender, sequence: (sender, sequence) == (SENDER, SEQUENCE))

    return open_listener


def message(
    message_class: type[wire.xfrm_message],
    number: int,
    fields: dict[str, Any],
    attributes: list[tuple[str, Any]] | None = None,
    sender: int = 0,
    sequence: int = 0,
) -> bytes:
    data = parts.encode(message_class, number, 0, fields, attributes)
    data[8:16] = sequence.to_bytes(4, "little") + sender.to_bytes(4, "little")
    return bytes(data)


def sa_message(number: int, sender: int = 0, sequence: int = 0) -> bytes:
    return message(wire.usersa_msg, number, codec.sa_fields(SA), codec.sa_attributes(SA), sender, sequence)


def sa_deletion() -> bytes:
    attributes = [("XFRMA_SA", codec.sa_fields(SA)), *codec.sa_attributes(SA)]
    return message(wire.usersa_id_msg, wire.XFRM_MSG_DELSA, codec.sa_id_fields(SA.id), attributes)


def policy_message(number: int) -> bytes:
    return message(wire.userpolicy_msg, number, codec.policy_fields(POLICY), codec.policy_attributes(POLICY))


def policy_deletion() -> bytes:
    attributes = [("XFRMA_POLICY", codec.policy_fields(POLICY)), *codec.policy_attributes(POLICY)]
    return message(wire.userpolicy_id_msg, wire.XFRM_MSG_DELPOLICY, {"index": 9}, attributes)


def sa_flush(protocol: int) -> bytes:
    # The kernel ends it after its single byte.
    return struct.pack("=IHHIIB", 17, wire.XFRM_MSG_FLUSHSA, 0, 0, 0, protocol)


def policy_flush() -> bytes:
    return message(wire.empty_msg, wire.XFRM_MSG_FLUSHPOLICY, {}, [("XFRMA_POLICY_TYPE", {"type": 0})])


def nat_mapping() -> bytes:
    fields = {
        "id": codec.sa_id_fields(SA.id),
        "reqid": 7,
        "old_saddr": LOCAL.packed,
        "new_saddr": NEW_LOCAL.packed,
        "old_sport": 4500,
        "new_sport": 61234,
    }
    return message(wire.mapping_msg, wire.XFRM_MSG_MAPPING, fields)


def move(new_source: str, new_destination: str, family: int) -> dict[str, Any]:
    return {
        "old_saddr": LOCAL.packed,
        "old_daddr": REMOTE.packed,
        "new_saddr": ip_address(new_source).packed,
        "new_daddr": ip_address(new_destination).packed,
        "proto": 50,
        "mode": 1,
        "reqid": 7,
        "old_family": 2,
        "new_family": family,
    }


def migrated() -> bytes:
    kmaddress = {"local": NEW_LOCAL.packed, "remote": REMOTE.packed, "family": 2}
    attributes = [
        ("XFRMA_KMADDRESS", kmaddress),
        ("XFRMA_POLICY_TYPE", {"type": 0}),
        ("XFRMA_MIGRATE", [move("198.51.100.2", "203.0.113.1", 2)]),
        ("XFRMA_MIGRATE", [move("2001:db8::2", "2001:db8::1", 10)]),
    ]
    return message(
        wire.userpolicy_id_msg, wire.XFRM_MSG_MIGRATE, codec.policy_id_fields(POLICY.id), attributes, SENDER, SEQUENCE
    )


def acquire() -> bytes:
    fields = {
        "id": {"daddr": REMOTE.packed, "proto": 50},
        "saddr": LOCAL.packed,
        "sel": parts.selector_fields(POLICY.selector),
        "policy": codec.policy_fields(POLICY) | {"index": 9},
        "seq": 4711,
    }
    labelled = codec.policy_attributes(replace(POLICY, security_context=LABEL))
    return message(wire.acquire_msg, wire.XFRM_MSG_ACQUIRE, fields, labelled)


def expire(hard: int) -> bytes:
    return message(wire.expire_msg, wire.XFRM_MSG_EXPIRE, {"state": codec.sa_fields(SA), "hard": hard})


def as_written(event: object) -> object:
    if isinstance(event, SAChange):
        return replace(event, sa=event.sa.as_written())
    if isinstance(event, PolicyChange):
        return replace(event, policy=event.policy.as_written())
    return event


OLD_AND_NEW = (
    (
        Template(Protocol.ESP, Mode.TUNNEL, LOCAL, REMOTE, reqid=7),
        Template(Protocol.ESP, Mode.TUNNEL, NEW_LOCAL, REMOTE, reqid=7),
    ),
    (
        Template(Protocol.ESP, Mode.TUNNEL, LOCAL, REMOTE, reqid=7),
        Template(Protocol.ESP, Mode.TUNNEL, ip_address("2001:db8::2"), ip_address("2001:db8::1"), reqid=7),
    ),
)
TOLD: list[tuple[bytes, Event]] = [
    (acquire(), Acquire(LOCAL, REMOTE, Protocol.ESP, 9, 4711, POLICY.selector, 7, security_context=LABEL)),
    (expire(0), Expire(SA.id, LOCAL, 7, hard=False)),
    (expire(1), Expire(SA.id, LOCAL, 7, hard=True)),
    (nat_mapping(), NatMapping(SA.id.spi, LOCAL, 4500, NEW_LOCAL, 61234, SAId(REMOTE, SA.id.spi), 7)),
    (migrated(), Migrated(POLICY.id, OLD_AND_NEW, AddressPair(NEW_LOCAL, REMOTE))),
    (sa_message(wire.XFRM_MSG_NEWSA), SAChange(Change.ADDED, SA)),
    (sa_message(wire.XFRM_MSG_UPDSA), SAChange(Change.UPDATED, SA)),
    (sa_deletion(), SAChange(Change.DELETED, SA)),
    (sa_flush(255), SAFlush(None)),
    (sa_flush(0), SAFlush(None)),
    (sa_flush(51), SAFlush(Protocol.AH)),
    (policy_message(wire.XFRM_MSG_NEWPOLICY), PolicyChange(Change.ADDED, POLICY)),
    (policy_message(wire.XFRM_MSG_UPDPOLICY), PolicyChange(Change.UPDATED, POLICY)),
    (policy_deletion(), PolicyChange(Change.DELETED, POLICY)),
    (policy_flush(), PolicyFlush()),
]


@pytest.mark.parametrize(("datagram", "event"), TOLD, ids=lambda value: type(value).__name__)
def test_an_announcement_becomes_its_event(
    listen: Listen, kernel: tuple[socket.socket, socket.socket], datagram: bytes, event: Event
) -> None:
    kernel[1].send(datagram)
    assert [as_written(told) for told in listen().receive()] == [event]


@pytest.mark.parametrize(
    ("kinds", "joined"),
    [
        ((), [1, 2, 3, 4, 7, 8]),
        ((Acquire,), [1]),
        ((Expire, NatMapping), [2, 8]),
        ((SAFlush,), [3]),
        ((SAChange, SAFlush), [3]),
        ((PolicyFlush, Migrated), [4, 7]),
    ],
)
def test_only_the_groups_that_are_needed_are_joined(
    listen: Listen, groups: list[int], kinds: tuple[type[Event], ...], joined: list[int]
) -> None:
    listen(*kinds)
    assert groups == joined


def test_what_was_not_asked_for_and_what_is_no_event_is_passed_over(
    listen: Listen, kernel: tuple[socket.socket, socket.socket]
) -> None:
    policy_expiry = message(wire.empty_msg, 27, {})
    default_policy = message(wire.empty_msg, 40, {})
    datagram = sa_message(wire.XFRM_MSG_NEWSA) + policy_expiry + default_policy + sa_flush(255) + bytes(3) + expire(1)
    kernel[1].send(datagram)
    assert listen(SAFlush, Expire).receive() == [SAFlush(None), Expire(SA.id, LOCAL, 7, hard=True)]


@pytest.mark.parametrize(("sender", "sequence", "is_told"), [(SENDER, SEQUENCE, 0), (SENDER, 43, 1), (0, SEQUENCE, 1)])
def test_a_change_that_was_asked_for_here_is_no_event(
    listen: Listen, kernel: tuple[socket.socket, socket.socket], sender: int, sequence: int, is_told: int
) -> None:
    kernel[1].send(sa_message(wire.XFRM_MSG_NEWSA, sender, sequence))
    assert len(listen().receive()) == is_told


def test_an_sa_that_is_not_of_ipsec_is_passed_over(listen: Listen, kernel: tuple[socket.socket, socket.socket]) -> None:
    mobile = replace(SA, id=replace(SA.id, protocol=Protocol(43)))
    fields, attributes = codec.sa_fields(mobile), codec.sa_attributes(mobile)
    kernel[1].send(message(wire.usersa_msg, wire.XFRM_MSG_NEWSA, fields, attributes))
    listener = listen()
    assert listener.receive() == []
    kernel[1].send(sa_flush(43))
    assert listener.receive() == []


def test_a_move_keeps_the_type_of_its_policy(listen: Listen, kernel: tuple[socket.socket, socket.socket]) -> None:
    attributes = [("XFRMA_POLICY_TYPE", {"type": 1}), ("XFRMA_MIGRATE", [])]
    fields = codec.policy_id_fields(POLICY.id)
    kernel[1].send(message(wire.userpolicy_id_msg, wire.XFRM_MSG_MIGRATE, fields, attributes))
    assert listen().receive() == [Migrated(PolicyId(POLICY.selector, POLICY.direction, type=1), ())]


def test_nothing_is_told_while_nothing_waits(listen: Listen) -> None:
    assert listen().receive() == []


def test_a_loss_stands_among_the_events(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = listen()

    class Overflowed:
        def recv(self, size: int) -> bytes:
            del size
            raise OSError(errno.ENOBUFS, "no buffer space")

    monkeypatch.setattr(listener, "_socket", Overflowed())
    (loss,) = listener.receive()
    assert isinstance(loss, EventsLostError)
    assert "dump again" in str(loss)


@pytest.mark.parametrize(
    "datagram",
    [
        message(wire.usersa_id_msg, wire.XFRM_MSG_DELSA, codec.sa_id_fields(SA.id)),
        message(wire.userpolicy_id_msg, wire.XFRM_MSG_DELPOLICY, {}),
        message(wire.empty_msg, wire.XFRM_MSG_NEWSA, {}),
        message(wire.empty_msg, wire.XFRM_MSG_FLUSHSA, {}),
    ],
    ids=["an SA's deletion without it", "a policy's deletion without it", "an empty SA", "an empty flush"],
)
def test_an_event_that_makes_no_sense_is_malformed(
    listen: Listen, kernel: tuple[socket.socket, socket.socket], datagram: bytes
) -> None:
    kernel[1].send(datagram)
    (error,) = listen().receive()
    assert isinstance(error, MalformedReplyError)


@given(st.sampled_from([datagram for datagram, _ in TOLD]), st.data())
def test_whatever_arrives_is_read_or_malformed(datagram: bytes, data: st.DataObject) -> None:
    damaged = bytearray(datagram)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(16, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(16, len(damaged)))
    damaged[:4] = cut.to_bytes(4, "little")
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        ours.setblocking(False)
        kernels.send(damaged[:cut])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pfkeyx.xfrm.listening.open_socket", lambda *_: ours)
            listener = XfrmEvents(KINDS, None, lambda *_: False)
            try:
                listener.receive()
            except MalformedReplyError:
                return


def test_only_the_name_of_a_compression_is_read() -> None:
    # Linux 6.1 does not set the key length of an IPComp SA that was made over PF_KEY.
    struct_with_rubbish = b"deflate".ljust(64, b"\0") + b"\xff\xff\xff\xff"
    assert layout.algorithm_name.decode_from(struct_with_rubbish, 0)[0]["alg_name"].rstrip(b"\0") == b"deflate"
