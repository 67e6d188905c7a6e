"""The XFRM transport's dumps, whole and as streams: torn, broken off, given up."""

import asyncio
import errno
import gc
import socket
import struct
from collections.abc import Callable, Iterable
from threading import Thread

import pytest

from pfkeyx import SA, KernelError
from pfkeyx.model import EVERY_SA
from pfkeyx.operation import Batch, arun, ask, keep, run_stream
from pfkeyx.xfrm import XfrmDialect, XfrmTransport, messages
from tests.unit.samples import INBOUND, OUTBOUND
from tests.unit.xfrm_bytes import ack, done, sa_entry, sequences

DIALECT = XfrmDialect()


def spis(entries: Iterable[SA]) -> list[int]:
    return [sa.id.spi for sa in entries]


def test_a_dump_that_ends_with_an_error_is_not_taken_for_whole(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.dump_sas(EVERY_SA),)))
    next(generator)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(struct.pack("=IHHIIi", 20, 3, 2, sequence, 0, -105))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert "the dump broke off" in str(stop.value.value[0])


def test_entries_of_a_dump_are_decoded_as_they_come_and_what_is_not_kept_is_let_go_of(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    transport, kernels = ends
    alive = _alive(messages.usersa_msg)
    seen: list[SA] = []

    def is_inbound(sa: SA) -> bool:
        seen.append(sa)
        return sa.id == INBOUND.id

    generator = transport.exchange(Batch((keep(DIALECT.dump_sas(EVERY_SA), is_inbound),)))
    next(generator)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(sa_entry(sequence) + sa_entry(sequence, INBOUND))
    assert next(generator) == 2
    assert spis(seen) == [OUTBOUND.id.spi, INBOUND.id.spi]
    assert _alive(messages.usersa_msg) == alive
    kernels.send(sa_entry(sequence) + done(sequence))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == [[seen[1]]]


def _alive(kind: type[object]) -> int:
    gc.collect()
    return sum(isinstance(it, kind) for it in gc.get_objects())


async def test_other_tasks_have_turns_while_a_long_dump_is_read(
    ends: tuple[XfrmTransport, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pfkeyx.xfrm.transport._TOGETHER", 1)
    monkeypatch.setattr("pfkeyx.xfrm.transport._TURN", 64)
    transport, kernels = ends
    seen: list[SA] = []

    def is_unwanted(sa: SA) -> bool:
        seen.append(sa)
        return False

    dump = asyncio.create_task(arun(ask(keep(DIALECT.dump_sas(EVERY_SA), is_unwanted)), transport))
    await asyncio.sleep(0)
    (sequence,) = sequences(kernels.recv(1 << 16))
    for _ in range(3):
        kernels.send(sa_entry(sequence) * 64)
    kernels.send(done(sequence))
    turns = set()
    while not dump.done():
        turns.add(len(seen))
        await asyncio.sleep(0)
    assert turns >= {64, 128, 192}
    assert await dump == []


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


INTERRUPTED = 0x10


def torn(datagram: bytes) -> bytes:
    """Return a datagram of one message with the flag that says that the table changed under the dump."""
    flags = int.from_bytes(datagram[6:8], "little") | INTERRUPTED
    return datagram[:6] + flags.to_bytes(2, "little") + datagram[8:]


@pytest.mark.parametrize("first_try", [(torn, bytes), (bytes, torn)], ids=["an entry", "the end"])
def test_a_dump_that_was_interrupted_is_repeated(
    ends: tuple[XfrmTransport, socket.socket], first_try: tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]
) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.dump_sas(EVERY_SA),)))
    next(generator)
    (sequence,) = sequences(kernels.recv(1 << 16))
    on_entry, on_end = first_try
    kernels.send(on_entry(sa_entry(sequence)))
    kernels.send(on_end(done(sequence)))
    assert next(generator) == 2
    (again,) = sequences(kernels.recv(1 << 16))
    assert again != sequence
    kernels.send(sa_entry(again, INBOUND) + done(again))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert spis(stop.value.value[0]) == [INBOUND.id.spi]


def test_a_dump_that_is_interrupted_again_and_again_is_never_taken_for_whole(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.dump_sas(EVERY_SA),)))
    next(generator)
    for _ in range(2):
        (sequence,) = sequences(kernels.recv(1 << 16))
        kernels.send(torn(sa_entry(sequence)) + done(sequence))
        next(generator)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(torn(sa_entry(sequence)) + done(sequence))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    (refusal,) = stop.value.value
    assert (refusal.errno, refusal.detail) == (errno.EINTR, "the dump was interrupted by changes; ask again")


def test_a_stream_of_an_interrupted_dump_ends_with_the_error(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    stream = transport.stream(DIALECT.dump_sas(EVERY_SA))
    next(stream)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(torn(sa_entry(sequence)) + sa_entry(sequence, INBOUND) + done(sequence))
    assert spis(next(stream)) == [OUTBOUND.id.spi, INBOUND.id.spi]
    with pytest.raises(KernelError, match="interrupted by changes; ask again"):
        next(stream)


class Watched:
    """A socket that remembers in which order it was read and written."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.fileno, self.close = sock.fileno, sock.close
        self.done: list[str] = []

    def send(self, data: bytes) -> int:
        self.done.append("sent")
        return self._sock.send(data)

    def recv(self, size: int) -> bytes:
        data = self._sock.recv(size)
        self.done.append("read")
        return data


def test_the_rest_of_an_answer_that_was_given_up_is_read_away_before_the_next_question(
    ends: tuple[XfrmTransport, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, kernels = ends
    watched = Watched(transport._socket)
    monkeypatch.setattr(transport, "_socket", watched)
    given_up = transport.exchange(Batch((DIALECT.dump_sas(EVERY_SA),)))
    next(given_up)
    (sequence,) = sequences(kernels.recv(1 << 16))
    given_up.close()
    # A kernel would begin no second dump before the end of the first was read.
    kernels.send(sa_entry(sequence))
    kernels.send(done(sequence))
    for _ in range(2):
        generator = transport.exchange(Batch((DIALECT.dump_sas(EVERY_SA),)))
        next(generator)
        (again,) = sequences(kernels.recv(1 << 16))
        kernels.send(sa_entry(again, INBOUND) + done(again))
        with pytest.raises(StopIteration) as stop:
            next(generator)
        assert spis(stop.value.value[0]) == [INBOUND.id.spi]
    # Entries that are wanted go to the C core.
    assert watched.done == ["sent", "read", "read", "sent", "sent"]


def test_an_end_without_a_status_is_an_end(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.dump_sas(EVERY_SA),)))
    next(generator)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(struct.pack("=IHHII2x", 18, 3, 2, sequence, 0))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == [[]]
