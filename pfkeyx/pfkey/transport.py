"""The request socket of PF_KEY: bytes out, messages in, matched to what was asked.

The kernel broadcasts the answers to changes to every PF_KEY socket, so most of what arrives may be others' and is
passed over. It drops what does not fit the receive buffer without a word: no answer means that it was lost.
"""

import errno
import os
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, Self

from pfkeyx.errors import ClosedError, KernelError, UnsupportedError
from pfkeyx.events import Acquire, Event, Expire
from pfkeyx.native import ffi, lib, open_raw
from pfkeyx.operation import Batch, Exchange, Request
from pfkeyx.pfkey.codec import decode_acquire, decode_expire
from pfkeyx.pfkey.messages import Message, build, read, read_header
from pfkeyx.pfkey.requests import Answer

#: Their answers, and what others cause meanwhile, stay far below the receive buffer.
_PIPELINED = 32
#: The kernel's own numbers, which a dump's entries, XFRM's requests and acquires have, stay below ours.
_FIRST_SEQ = 1 << 31


def open_socket(netns: str | None) -> socket.socket:
    """Return a PF_KEY socket in `netns` (a name under /run/netns or a path; None = the caller's).

    Raises `UnsupportedError` when the kernel has no PF_KEY, `NotPermittedError` without the right to open or enter,
    `NotFoundError` when there is no such namespace.
    """
    try:
        descriptor = open_raw(socket.AF_KEY, lib.PF_KEY_V2, netns)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            hint = "this kernel has no PF_KEY: load af_key, or open the xfrm engine"
            raise UnsupportedError("AF_KEY", hint) from error
        subject = f"in namespace {netns}" if netns else ""
        raise KernelError.of(error.errno or errno.EIO, "open PF_KEY socket", subject) from error
    return socket.socket(socket.AF_KEY, socket.SOCK_RAW, lib.PF_KEY_V2, fileno=descriptor)


class PfkeyTransport:
    """A socket for requests. Synchronization: one operation at a time, from one thread."""

    def __init__(self, netns: str | None = None) -> None:
        self._begin(open_socket(netns))

    @classmethod
    def over(cls, sock: socket.socket) -> Self:
        """Return a transport over a non-blocking PF_KEY socket that is open already, and is closed with it."""
        transport = cls.__new__(cls)
        transport._begin(sock)
        return transport

    def _begin(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = ffi.gc(ffi.new("struct pfkeyx_buffer *"), lib.pfkeyx_buffer_release)
        self._seq = random.SystemRandom().getrandbits(31)
        self._pid = os.getpid()

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket, and wipe what was received last."""
        self._socket.close()
        lib.pfkeyx_buffer_release(self._buffer)

    def exchange(self, batch: Batch) -> Exchange:
        """Send a batch and return, in order, each one's reply or `KernelError`; see `Transport.exchange`.

        Raises `UnsupportedError` for a batch that has to be one datagram: PF_KEY takes one message a time.
        """
        if batch.one_datagram:
            raise UnsupportedError("one_datagram", "PF_KEY takes one message a time; open the xfrm engine")
        replies: list[Any] = []
        for requests in _pipelines(batch.requests):
            replies += yield from self._exchange_pipeline(requests)
        return replies

    def _exchange_pipeline(self, requests: Sequence[Request[Any]]) -> Exchange:
        self._discard()
        asked = [_Waiting(request, self._next_seq()) for request in requests]
        for item in asked:
            self._send(item)
        waiting = {item.seq: item for item in asked if not item.is_complete}
        taken = 0
        while waiting:
            try:
                data = self._receive()
            except BlockingIOError:
                try:
                    yield taken
                except TimeoutError:
                    _lose(waiting, errno.ETIMEDOUT)
                continue
            except OSError as error:
                _lose(waiting, error.errno or errno.EIO)
                continue
            header = read_header(data)
            if (answered := self._asked(waiting, header)) is not None:
                taken += 1
                answered.take(header, data)
                if answered.is_complete:
                    del waiting[answered.seq]
        return [item.reply() for item in asked]

    def _discard(self) -> None:
        """Read what waits: others' broadcasts, which would take the answers' room, or an abandoned dump."""
        try:
            while True:
                self._receive()
        except OSError:
            # Nothing waits; a socket that is broken says so again when its answer is read.
            return

    def _send(self, item: "_Waiting") -> None:
        item.message.stamp(item.seq, self._pid)
        status = lib.pfkeyx_send(self._open_fd(), item.message.data, item.message.size)
        if status < 0:
            item.refuse(-status)

    def _receive(self) -> memoryview:
        """Return the next message, in memory that the one after it takes over."""
        status = lib.pfkeyx_receive(self._open_fd(), self._buffer)
        if status < 0:
            raise OSError(-status, os.strerror(-status))
        return memoryview(ffi.buffer(self._buffer.data, self._buffer.size))

    def _asked(self, waiting: dict[int, "_Waiting"], header: Message) -> "_Waiting | None":
        if header.pid != self._pid:
            return None
        # The entries of a dump carry their own numbers; a dump travels alone.
        item = waiting.get(header.seq) or next(
            (other for other in waiting.values() if other.is_dump and header.seq < _FIRST_SEQ), None
        )
        return item if item is not None and item.message.type == header.type else None

    def _next_seq(self) -> int:
        self._seq = (self._seq + 1) % _FIRST_SEQ
        return _FIRST_SEQ + self._seq

    def _open_fd(self) -> int:
        fd = self._socket.fileno()
        if fd < 0:
            raise ClosedError()
        return fd


class PfkeyEvents:
    """A socket that only listens. Synchronization: one thread.

    AF_KEY drops silently what a full receive buffer cannot hold, so that lost events go unnoticed.
    """

    def __init__(self, kinds: Sequence[type[Event]], netns: str | None = None) -> None:
        self._socket = open_socket(netns)
        self._decoders = {number: decode for kind, number, decode in _EVENTS if kind in kinds}
        self._buffer = ffi.gc(ffi.new("struct pfkeyx_buffer *"), lib.pfkeyx_buffer_release)
        # Whoever has registered for any type of SA hears of all (RFC 2367 §3.1.7 has it per type).
        registration = build(lib.SADB_REGISTER, lib.SADB_SATYPE_ESP)
        status = lib.pfkeyx_send(self._socket.fileno(), registration.data, registration.size)
        if status < 0:
            self.close()
            raise KernelError.of(-status, "listen for PF_KEY events")

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket, and wipe what was received last: others' broadcasts carry keys."""
        self._socket.close()
        lib.pfkeyx_buffer_release(self._buffer)

    def receive(self) -> list[Event]:
        """Return the events that wait, none when none does."""
        events: list[Event] = []
        while (status := lib.pfkeyx_receive(self._socket.fileno(), self._buffer)) == 0:
            data = memoryview(ffi.buffer(self._buffer.data, self._buffer.size))
            decode = self._decoders.get(read_header(data).type)
            if decode is not None:
                events.append(decode(read(data)))
        if status != -errno.EAGAIN:
            raise KernelError.of(-status, "receive PF_KEY events")
        return events


_EVENTS: tuple[tuple[type[Event], int, Callable[[Message], Event]], ...] = (
    (Acquire, lib.SADB_ACQUIRE, decode_acquire),
    (Expire, lib.SADB_EXPIRE, decode_expire),
)


class _Waiting:
    """A request whose answer is not complete yet."""

    def __init__(self, request: Request[Any], seq: int) -> None:
        self._request = request
        self._messages: list[Message] = []
        self._error: KernelError | None = None
        self.seq = seq
        self.is_complete = False

    @property
    def message(self) -> Any:
        return self._request.wire.message

    @property
    def is_dump(self) -> bool:
        return self._request.wire.answer is Answer.DUMP

    def take(self, header: Message, data: memoryview) -> None:
        """Take one message of the answer."""
        if self.is_dump:
            self._take_entry(header, data)
        elif header.errno:
            self.refuse(header.errno)
        else:
            if self._request.wire.answer is Answer.ONE:
                self._messages.append(read(data))
            self.is_complete = True

    def refuse(self, code: int, detail: str = "") -> None:
        """Let the answer be a refusal."""
        self._error = KernelError.of(code, self._request.operation, self._request.subject, detail)
        self.is_complete = True

    def reply(self) -> Any:
        """Return the decoded answer, or the `KernelError`."""
        return self._error if self._error is not None else self._request.decode(self._messages)

    def _take_entry(self, header: Message, data: memoryview) -> None:
        if header.seq == self.seq:
            # A dump of nothing is answered with ENOENT.
            if header.errno == errno.ENOENT:
                self.is_complete = True
            else:
                self.refuse(header.errno)
        elif header.errno:
            # Where the kernel breaks a dump off, it puts a negative number into the byte of the last entry.
            self.refuse(256 - header.errno if header.errno > 0x7F else header.errno, "the dump broke off")
        elif header.seq not in (0, len(self._messages) + 1):
            self.refuse(errno.ENOBUFS, "entries of the dump were lost: ask again")
        else:
            self._messages.append(read(data))
            self.is_complete = header.seq == 0


def _pipelines(requests: Sequence[Request[Any]]) -> Iterator[Sequence[Request[Any]]]:
    # The kernel runs one dump at a time on a socket, so a dump travels alone.
    for is_dump, run in groupby(requests, lambda request: request.wire.answer is Answer.DUMP):
        together = list(run)
        size = 1 if is_dump else _PIPELINED
        for start in range(0, len(together), size):
            yield together[start : start + size]


def _lose(waiting: dict[int, _Waiting], code: int) -> None:
    for item in waiting.values():
        item.refuse(
            code,
            "the answer was lost, since AF_KEY drops silently what a full receive buffer cannot hold; "
            "the kernel may have done it: look before asking again",
        )
    waiting.clear()
