"""The XFRM transport over a socket pair: the other end is played by the test, byte by byte."""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from threading import Thread

import pytest

from pfkeyx import SA, KernelError, MalformedReplyError, NotFoundError, NotPermittedError
from pfkeyx.model import EVERY_SA
from pfkeyx.operation import Batch, ask, run, run_stream
from pfkeyx.xfrm import XfrmDialect, XfrmTransport, codec, messages, parts
from tests.unit.samples import INBOUND, OUTBOUND

DIALECT = XfrmDialect()
ACK_TLVS = 0x200
PORT = 4711


@pytest.fixture
def ends() -> Iterator[tuple[XfrmTransport, socket.socket]]:
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    transport = XfrmTransport.over(ours, PORT)
    yield transport, kernels
    transport.close()
    kernels.close()


def sequences(datagram: bytes) -> list[int]:
    found, offset = [], 0
    while offset < len(datagram):
        length, _, _, sequence, _ = struct.unpack_from("=IHHII", datagram, offset)
        found.append(sequence)
        offset += (length + 3) & ~3
    return found


def ack(sequence: int, error: int = 0, text: str = "") -> bytes:
    attribute = struct.pack("=HH", 5 + len(text), 1) + text.encode() + b"\0" if text else b""
    attribute += bytes(-len(attribute) % 4)
    body = struct.pack("=iIHHII", -error, 20, 16, 5, sequence, 0) + attribute
    flags = 0x100 | (ACK_TLVS if text else 0)
    return struct.pack("=IHHII", 16 + len(body), 2, flags, sequence, 0) + body


def test_acknowledgements_are_matched_by_sequence_whatever_their_order(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.delete_sa(OUTBOUND.id), DIALECT.delete_sa(INBOUND.id))))
    next(generator)
    first, second = sequences(kernels.recv(1 << 16))
    kernels.send(ack(second) + ack(999) + ack(first, 3, "no such state"))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    refusal, success = stop.value.value
    assert isinstance(refusal, NotFoundError)
    assert str(refusal) == "delete SA esp 0xc0ffee01 to 203.0.113.1: No such process (no such state)"
    assert success is None


def test_all_requests_of_a_batch_are_sent_before_the_first_answer_is_read(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.delete_sa(OUTBOUND.id), DIALECT.delete_sa(INBOUND.id))))
    next(generator)
    assert len(sequences(kernels.recv(1 << 16))) == 2


def test_a_success_with_text_is_a_success(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.delete_sa(OUTBOUND.id),)))
    next(generator)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(ack(sequence, 0, "Failed to send migration notification"))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == [None]


def test_no_permission_says_what_to_do(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.flush_sas(None),)))
    next(generator)
    kernels.send(ack(sequences(kernels.recv(1 << 16))[0], 1))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    (refusal,) = stop.value.value
    assert isinstance(refusal, NotPermittedError)
    assert "needs CAP_NET_ADMIN" in str(refusal)


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
    with pytest.raises(MalformedReplyError, match="usersa_msg"):
        next(generator)


def test_a_dump_that_ends_with_an_error_is_not_taken_for_whole(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.dump_sas(EVERY_SA),)))
    next(generator)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(struct.pack("=IHHIIi", 20, 3, 2, sequence, 0, -105))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert "the dump broke off" in str(stop.value.value[0])


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


def sa_entry(sequence: int, sa: SA = OUTBOUND) -> bytes:
    fields, attributes = codec.sa_fields(sa), codec.sa_attributes(sa)
    entry = parts.encode(messages.usersa_msg, messages.XFRM_MSG_NEWSA, 2, fields, attributes)
    struct.pack_into("=I", entry, 8, sequence)
    return bytes(entry)


def done(sequence: int, error: int = 0) -> bytes:
    return struct.pack("=IHHIIi", 20, 3, 2, sequence, 0, -error)


def spis(entries: list[SA]) -> list[int]:
    return [sa.id.spi for sa in entries]


def test_a_dump_is_handed_out_datagram_by_datagram(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    stream = transport.stream(DIALECT.dump_sas(EVERY_SA))
    assert next(stream) == []
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(sa_entry(sequence) + sa_entry(sequence, INBOUND))
    assert spis(next(stream)) == [OUTBOUND.id.spi, INBOUND.id.spi]
    kernels.send(ack(999))
    kernels.send(sa_entry(sequence, INBOUND))
    assert spis(next(stream)) == [INBOUND.id.spi]
    assert next(stream) == []
    kernels.send(sa_entry(sequence) + done(sequence))
    assert spis(next(stream)) == [OUTBOUND.id.spi]
    assert next(stream, None) is None


def test_an_empty_dump_hands_out_nothing(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    stream = transport.stream(DIALECT.dump_policies())
    assert next(stream) == []
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(done(sequence))
    assert next(stream, None) is None


def test_a_dump_that_breaks_off_hands_out_what_came_and_then_says_so(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    transport, kernels = ends
    stream = transport.stream(DIALECT.dump_sas(EVERY_SA))
    next(stream)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(sa_entry(sequence) + done(sequence, 105))
    assert spis(next(stream)) == [OUTBOUND.id.spi]
    with pytest.raises(KernelError, match=r"dump SAs: No buffer space available \(the dump broke off\)"):
        next(stream)


def test_a_dump_whose_rest_never_comes_is_reported_as_lost(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, _ = ends
    stream = transport.stream(DIALECT.dump_sas(EVERY_SA))
    next(stream)
    with pytest.raises(KernelError, match="the answer was lost") as refusal:
        stream.throw(TimeoutError())
    assert refusal.value.errno == errno.ETIMEDOUT


def test_a_dump_that_may_not_be_sent_is_refused(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    kernels.close()
    with pytest.raises(KernelError, match="dump SAs: Broken pipe"):
        next(transport.stream(DIALECT.dump_sas(EVERY_SA)))


def test_the_streaming_driver_waits_reads_and_closes(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(XfrmTransport, "another", lambda self: self)
        entries = run_stream(DIALECT.dump_sas(EVERY_SA), transport)
        _stream_from(entries, kernels)
    assert transport.fileno() == -1


def _stream_from(entries: Iterable[SA], kernels: socket.socket) -> None:

    def answer() -> None:
        (sequence,) = sequences(kernels.recv(1 << 16))
        kernels.send(sa_entry(sequence))
        kernels.send(sa_entry(sequence, INBOUND) + done(sequence))

    kernel = Thread(target=answer)
    kernel.start()
    assert spis(list(entries)) == [OUTBOUND.id.spi, INBOUND.id.spi]
    kernel.join()


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
