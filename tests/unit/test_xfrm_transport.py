"""The XFRM transport over a socket pair: the other end is played by the test, byte by byte."""

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import nlmsg

from pfkeyx import AnswerLostError, KernelError, MalformedReplyError, NotFoundError
from pfkeyx.model import EVERY_SA, Attribute, Replay
from pfkeyx.operation import Batch, Request, ask, run
from pfkeyx.xfrm import XfrmDialect, XfrmTransport, codec, messages
from pfkeyx.xfrm.encoding import encode
from tests.unit.samples import INBOUND, OUTBOUND, POLICIES
from tests.unit.xfrm_bytes import PORT, ack, done, sa_entry, sequences

DIALECT = XfrmDialect()


def test_acknowledgements_are_matched_by_sequence_whatever_others_cause(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.delete_sa(OUTBOUND.id), DIALECT.delete_sa(INBOUND.id))))
    next(generator)
    first, second = sequences(kernels.recv(1 << 16))
    kernels.send(ack(first, 3, "no such state") + ack(999) + ack(second))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    refusal, success = stop.value.value
    assert isinstance(refusal, NotFoundError)
    assert str(refusal) == "delete SA esp 0xc0ffee01 to 203.0.113.1: No such process (no such state)"
    assert success is None


def asks_for_acknowledgement(datagram: bytes) -> list[bool]:
    """Return which messages of a datagram have NLM_F_ACK."""
    flags, offset = [], 0
    while offset < len(datagram):
        length, _, each = struct.unpack_from("=IHH", datagram, offset)
        flags.append(bool(each & 4))
        offset += (length + 3) & ~3
    return flags


def test_only_the_last_message_of_a_datagram_is_acknowledged_and_speaks_for_those_before_it(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    transport, kernels = ends
    requests = tuple(DIALECT.delete_sa(replace(OUTBOUND.id, spi=spi)) for spi in range(1, 5))
    generator = transport.exchange(Batch(requests))
    next(generator)
    datagram = kernels.recv(1 << 16)
    assert asks_for_acknowledgement(datagram) == [False, False, False, True]
    numbers = sequences(datagram)
    kernels.send(ack(numbers[1], errno.ESRCH))
    next(generator)
    kernels.send(ack(numbers[3]))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    replies = stop.value.value
    assert [isinstance(reply, KernelError) for reply in replies] == [False, True, False, False]
    # Sent again elsewhere, a request asks as it has to there.
    generator = transport.exchange(Batch(requests[:1]))
    next(generator)
    assert asks_for_acknowledgement(kernels.recv(1 << 16)) == [True]


def test_when_the_last_answer_is_lost_so_is_what_it_would_have_said_of_the_others(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.delete_sa(OUTBOUND.id), DIALECT.delete_sa(INBOUND.id))))
    next(generator)
    first, _ = sequences(kernels.recv(1 << 16))
    kernels.send(ack(first, errno.ESRCH))
    next(generator)
    with pytest.raises(StopIteration) as stop:
        generator.throw(TimeoutError())
    refused, lost = stop.value.value
    assert isinstance(refused, NotFoundError)
    assert isinstance(lost, AnswerLostError)


def test_all_requests_of_a_batch_are_sent_before_the_first_answer_is_read(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.delete_sa(OUTBOUND.id), DIALECT.delete_sa(INBOUND.id))))
    next(generator)
    assert len(sequences(kernels.recv(1 << 16))) == 2


@contextmanager
def small_ends(option: int, octets: int) -> Iterator[tuple[XfrmTransport, socket.socket]]:
    """Make a transport whose socket has a small buffer, and the other end."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        ours.setblocking(False)
        kernels.setblocking(False)
        # The kernel keeps twice as much.
        ours.setsockopt(socket.SOL_SOCKET, option, octets // 2)
        yield XfrmTransport.over(ours, PORT), kernels


@pytest.mark.parametrize(
    ("make_request", "option", "octets", "most"),
    [
        pytest.param(lambda: DIALECT.add_sa(OUTBOUND), socket.SO_SNDBUF, 32 + 352 * 16, 16, id="to be sent"),
        pytest.param(lambda: DIALECT.add_sa(OUTBOUND), socket.SO_SNDBUF, 30 + 352 * 16, 15, id="to be sent, just not"),
        pytest.param(lambda: DIALECT.delete_sa(OUTBOUND.id), socket.SO_RCVBUF, 8 << 11, 8, id="to be acknowledged"),
        pytest.param(lambda: DIALECT.get_sa(OUTBOUND.id), socket.SO_RCVBUF, 9 << 12, 4, id="to be answered"),
    ],
)
def test_one_datagram_that_is_too_large_is_cut_into_as_few_as_there_is_room_for(
    make_request: Callable[[], Request[Any]], option: int, octets: int, most: int
) -> None:
    with small_ends(option, octets) as (transport, kernels):
        requests = tuple(make_request() for _ in range(2 * most + 1))
        generator = transport.exchange(Batch(requests, one_datagram=True))
        numbers = []
        for amount in (most, most, 1):
            next(generator)
            asked = sequences(kernels.recv(1 << 20))
            assert len(asked) == amount
            numbers += asked
            for sequence in asked[:-1]:
                kernels.send(ack(sequence, errno.ESRCH, str(sequence)))
                next(generator)
            with pytest.raises(BlockingIOError):
                kernels.recv(1 << 20)
            kernels.send(ack(asked[-1], errno.ESRCH, str(asked[-1])))
        with pytest.raises(StopIteration) as stop:
            next(generator)
        assert [refusal.detail for refusal in stop.value.value] == [str(number) for number in numbers]
        assert numbers == sorted(numbers)


def test_a_message_that_is_too_large_by_itself_is_refused_and_the_others_are_sent() -> None:
    large = replace(OUTBOUND, other=(Attribute(99, bytes(5000)),))
    with small_ends(socket.SO_SNDBUF, 0) as (transport, kernels):
        requests = (DIALECT.add_sa(large), DIALECT.delete_sa(OUTBOUND.id))
        generator = transport.exchange(Batch(requests, one_datagram=True))
        next(generator)
        (sequence,) = sequences(kernels.recv(1 << 16))
        kernels.send(ack(sequence))
        with pytest.raises(StopIteration) as stop:
            next(generator)
    refusal, success = stop.value.value
    assert (refusal.errno, success) == (errno.EMSGSIZE, None)


def test_a_success_with_text_is_a_success(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.delete_sa(OUTBOUND.id),)))
    next(generator)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(ack(sequence, 0, "Failed to send migration notification"))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == [None]


@pytest.mark.parametrize(
    ("datagram", "complaint"),
    [
        (b"\x10\0\0", "3 bytes where a message should begin"),
        (struct.pack("=IHHII", 15, 2, 0, 1, 0), "claims 15 bytes"),
        (struct.pack("=IHHII", 4096, 16, 0, 1, 0), "claims 4096 bytes of 16"),
    ],
)
def test_a_truncated_or_oversized_reply_is_malformed(
    ends: tuple[XfrmTransport, socket.socket], datagram: bytes, complaint: str
) -> None:
    transport, kernels = ends
    kernels.send(datagram)
    with pytest.raises(MalformedReplyError, match=complaint):
        run(ask(DIALECT.delete_sa(OUTBOUND.id)), transport)


def test_a_reply_that_ends_inside_its_struct_is_malformed(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.get_sa(OUTBOUND.id),)))
    next(generator)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(struct.pack("=IHHII", 116, 16, 0, sequence, 0) + bytes(100))
    with pytest.raises(MalformedReplyError, match="SAEntry of 116 bytes"):
        next(generator)


def test_what_others_send_does_not_renew_the_patience_with_a_lost_answer(
    ends: tuple[XfrmTransport, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, kernels = ends
    monkeypatch.setattr("pfkeyx.operation.REPLY_TIMEOUT_S", 0.2)
    kernels.setblocking(False)
    clock = iter(range(1000))
    monkeypatch.setattr("pfkeyx.operation.monotonic", lambda: kernels.send(ack(999)) and next(clock) * 0.05)
    with pytest.raises(KernelError, match="the answer was lost"):
        run(ask(DIALECT.delete_sa(OUTBOUND.id)), transport)


def test_an_answer_that_never_comes_is_reported_as_lost(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, _ = ends
    generator = transport.exchange(Batch((DIALECT.delete_sa(OUTBOUND.id),)))
    next(generator)
    with pytest.raises(StopIteration) as stop:
        generator.throw(TimeoutError())
    (refusal,) = stop.value.value
    assert isinstance(refusal, KernelError)
    assert "the answer was lost" in str(refusal)


def answer(message_class: type[nlmsg], number: int, fields: Any, attributes: list[tuple[str, Any]]) -> bytes:
    return bytes(encode(message_class, number, 0, fields, attributes))


ANSWERED: dict[str, tuple[Request[Any], bytes]] = {
    "acknowledgement": (DIALECT.delete_sa(OUTBOUND.id), ack(0, errno.ESRCH, "no such state", 16)),
    "SA": (DIALECT.get_sa(OUTBOUND.id), sa_entry(0)),
    "dump": (DIALECT.dump_sas(EVERY_SA), done(0, errno.ENOBUFS)),
    "policy": (
        DIALECT.get_policy(POLICIES[0].id),
        answer(
            messages.userpolicy_msg,
            messages.XFRM_MSG_NEWPOLICY,
            codec.policy_fields(POLICIES[0]),
            codec.policy_attributes(POLICIES[0]),
        ),
    ),
    "progress": (
        DIALECT.get_progress(OUTBOUND.id),
        answer(
            messages.aevent_id_msg,
            messages.XFRM_MSG_NEWAE,
            {"sa_id": codec.sa_id_fields(OUTBOUND.id), "saddr": OUTBOUND.source.packed},
            [codec.replay_attribute(OUTBOUND, Replay(1, 2, (3,))), ("XFRMA_REPLAY_THRESH", 2)],
        ),
    ),
    "SAD": (
        DIALECT.get_sad_info(),
        answer(
            messages.sadinfo_msg,
            messages.XFRM_MSG_NEWSADINFO,
            {},
            [("XFRMA_SAD_CNT", 7), ("XFRMA_SAD_HINFO", {"sadhcnt": 8, "sadhmcnt": 9})],
        ),
    ),
    "SPD": (
        DIALECT.get_spd_info(),
        answer(
            messages.spdinfo_msg,
            messages.XFRM_MSG_NEWSPDINFO,
            {},
            [
                ("XFRMA_SPD_INFO", {"incnt": 1}),
                ("XFRMA_SPD_HINFO", {"spdhcnt": 1}),
                ("XFRMA_SPD_IPV4_HTHRESH", {"lbits": 32, "rbits": 32}),
                ("XFRMA_SPD_IPV6_HTHRESH", {"lbits": 128, "rbits": 128}),
            ],
        ),
    ),
    "default": (
        DIALECT.get_default_policy(),
        answer(messages.userpolicy_default_msg, messages.XFRM_MSG_GETDEFAULT, {"in": 1, "fwd": 2, "out": 2}, []),
    ),
}


@given(st.sampled_from(sorted(ANSWERED)), st.data())
def test_whatever_is_answered_is_read_refused_or_malformed(name: str, data: st.DataObject) -> None:
    request, answer = ANSWERED[name]
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        ours.setblocking(False)
        generator = XfrmTransport.over(ours, PORT).exchange(Batch((request,)))
        next(generator)
        (sequence,) = sequences(kernels.recv(1 << 16))
        damaged = bytearray(answer)
        for _ in range(data.draw(st.integers(0, 4))):
            damaged[data.draw(st.integers(4, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(16, len(damaged)))
        damaged[:4] = cut.to_bytes(4, "little")
        damaged[8:12] = sequence.to_bytes(4, "little")
        kernels.send(damaged[:cut])
        with suppress(MalformedReplyError, StopIteration):
            next(generator)


def test_a_change_is_known_by_the_sockets_number_and_a_number_that_it_has_used(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    transport, kernels = ends
    next(transport.exchange(Batch((DIALECT.delete_sa(OUTBOUND.id), DIALECT.delete_sa(INBOUND.id)))))
    datagram = kernels.recv(1 << 16)
    first, last = sequences(datagram)
    assert struct.unpack_from("=I", datagram, 12) == (PORT,)
    assert transport.has_sent(PORT, first)
    assert transport.has_sent(PORT, last)
    assert not transport.has_sent(PORT, first - 1)
    assert not transport.has_sent(PORT, last + 1)
    assert not transport.has_sent(PORT + 1, first)
