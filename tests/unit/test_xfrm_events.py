"""What XFRM's groups announce, as events: messages in, values out, and what is passed over."""

import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfkeyx import (
    Acquire,
    Action,
    AddressPair,
    Change,
    DefaultPolicy,
    DefaultPolicyChange,
    Event,
    EventsLostError,
    Expire,
    MalformedReplyError,
    Mark,
    Migrated,
    Mode,
    NatMapping,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    PolicyId,
    PolicyType,
    Progress,
    ProgressCause,
    Protocol,
    Replay,
    Report,
    SAChange,
    SAFlush,
    SAId,
    SAMigrated,
    SAProgress,
    TcpEncap,
    Template,
    UdpEncap,
    Usage,
)
from pfkeyx.dialect import EventSource
from pfkeyx.xfrm import codec, layout, parts
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.listening import XfrmEvents
from tests.unit.samples import LOCAL, NEW_LOCAL, REMOTE
from tests.unit.xfrm_announcements import (
    LABEL,
    POLICY,
    REPLAY_STATE,
    REPLAY_STATE_ESN,
    SA,
    SENDER,
    SEQUENCE,
    TEMPLATE,
    USAGE,
    acquire,
    expire,
    message,
    migrated,
    nat_mapping,
    policy_deletion,
    policy_expire,
    policy_flush,
    policy_message,
    report,
    sa_deletion,
    sa_flush,
    sa_message,
    sa_migrated,
    sa_progress,
)

Listen = Callable[..., EventSource]
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


def as_written(event: object) -> object:
    if isinstance(event, SAChange):
        return replace(event, sa=event.sa.as_written())
    if isinstance(event, PolicyChange | PolicyExpire):
        return replace(event, policy=event.policy.as_written())
    if isinstance(event, Acquire) and event.policy is not None:
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
    (
        acquire(),
        Acquire(
            LOCAL,
            REMOTE,
            Protocol.ESP,
            9,
            4711,
            POLICY.selector,
            7,
            security_context=LABEL,
            policy=replace(POLICY, security_context=LABEL),
            cpu=3,
        ),
    ),
    (expire(0), Expire(SA.id, LOCAL, 7, hard=False)),
    (expire(1), Expire(SA.id, LOCAL, 7, hard=True)),
    (nat_mapping(), NatMapping(SA.id.spi, LOCAL, 4500, NEW_LOCAL, 61234, SAId(REMOTE, SA.id.spi), 7)),
    (migrated(), Migrated(POLICY.id, OLD_AND_NEW, AddressPair(NEW_LOCAL, REMOTE), UdpEncap(4500, 61234))),
    (policy_expire(0), PolicyExpire(POLICY, hard=False)),
    (policy_expire(1), PolicyExpire(POLICY, hard=True)),
    (sa_migrated([]), SAMigrated(SA.id, NEW_LOCAL, REMOTE, 8, None)),
    (
        sa_migrated([("XFRMA_ENCAP", {"encap_type": 0})], parts.selector_fields(POLICY.selector)),
        SAMigrated(SA.id, NEW_LOCAL, REMOTE, 8, POLICY.selector, removes_encap=True),
    ),
    (
        sa_migrated(
            [("XFRMA_ENCAP", parts.encap_fields(TcpEncap(1, 2))), ("XFRMA_MARK", {"v": 5, "m": 6})],
            None,
            {"v": 0, "m": 7},
        ),
        SAMigrated(replace(SA.id, mark=Mark(0, 7)), NEW_LOCAL, REMOTE, 8, None, encap=TcpEncap(1, 2), mark=Mark(5, 6)),
    ),
    (
        sa_progress(16, [REPLAY_STATE, USAGE]),
        SAProgress(
            SA.id,
            LOCAL,
            7,
            Progress(Replay(9, 8, (0xFF,)), Usage(4096, 9, 100, 101)),
            ProgressCause.PACKETS,
        ),
    ),
    (
        # Flags that say what a question asks for are no causes.
        sa_progress(32 | 1 | 2 | 4 | 8, [REPLAY_STATE_ESN, ("XFRMA_MARK", {"v": 5, "m": 6})]),
        SAProgress(
            replace(SA.id, mark=Mark(5, 6)),
            LOCAL,
            7,
            Progress(Replay((1 << 32) + 9, (2 << 32) + 8, (1, 2))),
            ProgressCause.TIMER,
        ),
    ),
    (sa_progress(64, []), SAProgress(SA.id, LOCAL, 7, Progress(), ProgressCause.SET)),
    (report([]), Report(60, POLICY.selector)),
    (report([("XFRMA_COADDR", NEW_LOCAL.packed + bytes(12))]), Report(60, POLICY.selector, NEW_LOCAL)),
    (
        message(wire.userpolicy_default_msg, wire.XFRM_MSG_GETDEFAULT, {"in": 1, "fwd": 2, "out": 2}),
        DefaultPolicyChange(DefaultPolicy(inbound=Action.BLOCK)),
    ),
    (sa_message(wire.XFRM_MSG_NEWSA), SAChange(Change.ADDED, SA)),
    (sa_message(wire.XFRM_MSG_UPDSA), SAChange(Change.UPDATED, SA)),
    (sa_deletion(), SAChange(Change.DELETED, SA)),
    (sa_flush(255), SAFlush(None)),
    (sa_flush(0), SAFlush(None)),
    (sa_flush(51), SAFlush(Protocol.AH)),
    (policy_message(wire.XFRM_MSG_NEWPOLICY), PolicyChange(Change.ADDED, POLICY)),
    (policy_message(wire.XFRM_MSG_UPDPOLICY), PolicyChange(Change.UPDATED, POLICY)),
    (policy_deletion(), PolicyChange(Change.DELETED, POLICY)),
    (policy_flush(0), PolicyFlush()),
    (policy_flush(1), PolicyFlush(PolicyType.SUB)),
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
        ((), [1, 2, 3, 4, 5, 6, 7, 8]),
        ((Acquire,), [1]),
        ((Expire, NatMapping), [2, 8]),
        ((SAFlush,), [3]),
        ((SAChange, SAFlush), [3]),
        ((PolicyFlush, Migrated), [4, 7]),
        ((PolicyExpire, DefaultPolicyChange), [2, 4]),
        ((SAProgress, Report, SAMigrated), [5, 6, 7]),
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
    newer, default_policy = message(wire.empty_msg, 99, {}), message(wire.empty_msg, wire.XFRM_MSG_GETDEFAULT, {})
    datagram = sa_message(wire.XFRM_MSG_NEWSA) + newer + default_policy + sa_flush(255) + bytes(3) + expire(1)
    kernel[1].send(datagram)
    assert listen(SAFlush, Expire).receive() == [SAFlush(None), Expire(SA.id, LOCAL, 7, hard=True)]


@pytest.mark.parametrize(("sender", "sequence", "is_told"), [(SENDER, SEQUENCE, 0), (SENDER, 43, 1), (0, SEQUENCE, 1)])
def test_a_change_that_was_asked_for_here_is_no_event(
    listen: Listen, kernel: tuple[socket.socket, socket.socket], sender: int, sequence: int, is_told: int
) -> None:
    listener = listen()
    for datagram in (sa_message(wire.XFRM_MSG_NEWSA, sender, sequence), sa_progress(64, [], 50, sender, sequence)):
        kernel[1].send(datagram)
        assert len(listener.receive()) == is_told


def test_an_sa_that_is_not_of_ipsec_is_passed_over(listen: Listen, kernel: tuple[socket.socket, socket.socket]) -> None:
    mobile = replace(SA, id=replace(SA.id, protocol=Protocol(43)))
    fields, attributes = codec.sa_fields(mobile), codec.sa_attributes(mobile)
    kernel[1].send(message(wire.usersa_msg, wire.XFRM_MSG_NEWSA, fields, attributes))
    listener = listen()
    assert listener.receive() == []
    for datagram in (sa_flush(43), sa_progress(16, [], 43), sa_migrated([], protocol=43)):
        kernel[1].send(datagram)
        assert listener.receive() == []


def test_the_template_that_wants_an_sa_is_the_one_of_its_protocol(
    listen: Listen, kernel: tuple[socket.socket, socket.socket]
) -> None:
    compressed = Template(Protocol.IPCOMP, Mode.TUNNEL, ip_address("2001:db8::2"), ip_address("2001:db8::1"), reqid=99)
    policy = replace(POLICY, templates=(compressed, TEMPLATE))
    fields = {
        "id": {"daddr": REMOTE.packed, "proto": 50},
        "saddr": LOCAL.packed,
        "sel": parts.selector_fields(POLICY.selector),
        "policy": codec.policy_fields(policy),
    }
    kernel[1].send(message(wire.acquire_msg, wire.XFRM_MSG_ACQUIRE, fields, codec.policy_attributes(policy)))
    (event,) = listen().receive()
    assert isinstance(event, Acquire)
    assert (event.source, event.destination, event.reqid, event.cpu) == (LOCAL, REMOTE, 7, None)


def test_a_move_keeps_the_type_of_its_policy(listen: Listen, kernel: tuple[socket.socket, socket.socket]) -> None:
    attributes = [("XFRMA_POLICY_TYPE", {"type": 1}), ("XFRMA_MIGRATE", [])]
    fields = codec.policy_id_fields(POLICY.id)
    kernel[1].send(message(wire.userpolicy_id_msg, wire.XFRM_MSG_MIGRATE, fields, attributes))
    assert listen().receive() == [Migrated(PolicyId(POLICY.selector, POLICY.direction, type=PolicyType.SUB), ())]


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
        message(wire.userpolicy_default_msg, wire.XFRM_MSG_GETDEFAULT, {"in": 9}),
    ],
    ids=[
        "an SA's deletion without it",
        "a policy's deletion without it",
        "an empty SA",
        "an empty flush",
        "a default that is neither",
    ],
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
