"""The request socket of PF_KEY: bytes out, messages in, matched to what was asked.

The kernel broadcasts the answers to changes to every PF_KEY socket, so most of what arrives may be others' and is
passed over. It drops what does not fit the receive buffer without a word: no answer means that it was lost.
"""

import errno
import os
import random
import socket
from array import array
from collections.abc import Generator, Iterator, Sequence
from itertools import compress, groupby
from typing import Any, NoReturn, Self

from pfkeyx.alike import Alike
from pfkeyx.entries import Messages
from pfkeyx.errors import AnswerLostError, KernelError, MalformedReplyError, UnsupportedError
from pfkeyx.native import ffi, lib
from pfkeyx.operation import Batch, Exchange, Joined, Request, Stream
from pfkeyx.pfkey.answers import NOT_TAKEN_IN, Answer, Wire
from pfkeyx.pfkey.message import Header, Message, MessageType, read, read_header
from pfkeyx.pfkey.sockets import PfkeySocket

#: Their answers, and what others cause meanwhile, stay far below the receive buffer.
_PIPELINED = 32
#: The same of what is only acknowledged, and octets of it.
_ACKNOWLEDGED, _SENT = 64, 1 << 20
#: The kernel's own numbers, which a dump's entries, XFRM's requests and acquires have, stay below ours.
_FIRST_SEQ = 1 << 31
#: After so many messages the driver has a turn: it knows how long the answer is still waited for, and who else waits.
_TURN = 64
#: Octets of a dump that are taken in before they are handed on, and the driver has its turn.
_TOGETHER = 64 << 10
#: What only reads is asked again when its answer was lost; so often in all.
_ATTEMPTS = 3
_LOST = (
    "the answer was lost, since AF_KEY drops silently what a full receive buffer cannot hold; "
    "the kernel may have done it: look before asking again"
)
_READING = {MessageType.GET, MessageType.DUMP, MessageType.X_SPDGET, MessageType.X_SPDDUMP}


class PfkeyTransport:
    """A socket for requests. Synchronization: one operation at a time, from one thread."""

    def __init__(self, netns: str | None = None) -> None:
        self._begin(PfkeySocket(netns), netns)

    @classmethod
    def over(cls, sock: socket.socket) -> Self:
        """Return a transport over a non-blocking PF_KEY socket that is open already, and is closed with it."""
        transport = cls.__new__(cls)
        transport._begin(PfkeySocket.over(sock), None)
        return transport

    def _begin(self, sock: PfkeySocket, netns: str | None) -> None:
        self._socket = sock
        self._netns = netns
        self._first = random.SystemRandom().getrandbits(31)
        self._numbered = 0
        self._pid = os.getpid()
        self._progress = 0
        self._dump = ffi.new("struct pfkeyx_dump *")

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket, and wipe what was received last."""
        self._socket.close()

    def another(self) -> "PfkeyTransport":
        """Open a further socket in the same namespace."""
        return PfkeyTransport(self._netns)

    def aside(self) -> NoReturn:
        """Raise `UnsupportedError`: nothing is asked over XFRM by who speaks PF_KEY."""
        raise UnsupportedError("XFRM", "this engine speaks PF_KEY: open the xfrm engine")

    def has_sent(self, sender: int, sequence: int) -> bool:
        """Return whether a change with this pid and seq was asked for here."""
        return (
            sender == self._pid
            and sequence >= _FIRST_SEQ
            and (sequence - self._first - 1) % _FIRST_SEQ < self._numbered
        )

    def exchange(self, batch: Batch) -> Exchange:
        """Send a batch and return, in order, each one's reply or `KernelError`; see `Transport.exchange`.

        Raises `UnsupportedError` for several requests that have to be one datagram: PF_KEY takes one message a time.
        """
        if batch.one_datagram and len(batch.requests) > 1:
            raise UnsupportedError("one_datagram", "PF_KEY takes one message a time; open the xfrm engine")
        if isinstance(batch.requests, Alike):
            return (yield from self._exchange_alike(batch.requests))
        replies: list[Any] = []
        for requests in _pipelines(batch.requests):
            asked = [_Waiting(request) for request in requests]
            yield from self._ask(asked)
            for _ in range(1, _ATTEMPTS):
                if again := [item for item in asked if item.is_lost and item.message.type in _READING]:
                    yield from self._ask(again)
            replies += [item.reply() for item in asked]
        return replies

    def _exchange_alike(self, requests: Alike) -> Exchange:
        """Send what is only acknowledged, of which nothing is made but of what is refused."""
        replies: list[Any] = [None] * len(requests)
        first = 0
        for part in requests.parts:
            for messages in part.cut(_SENT, _ACKNOWLEDGED):
                answers = array("H", bytes(2 * len(messages)))
                lost = yield from self._acknowledged(messages, answers)
                for place in compress(range(len(messages)), answers):
                    item = _Waiting(requests[first + place])
                    item.answer(answers[place], lost)
                    replies[first + place] = item.error
                first += len(messages)
        return replies

    def _acknowledged(self, messages: Messages, answers: "array[int]") -> Generator[int, None, int]:
        """Send messages and take in their answers; return the errno of those that are lost."""
        yield from self._begin_anew()
        asked = ffi.new("struct pfkeyx_asked *")
        asked.first, asked.pid, asked.count = (self._first + self._numbered + 1) % _FIRST_SEQ, self._pid, len(messages)
        asked.type = read_header(messages[0]).type
        self._numbered += len(messages)
        self._socket.send_asked(messages, answers, asked)
        passed = 0
        while left := asked.left:
            try:
                came = self._socket.receive_answers(answers, asked, _TURN)
            except KernelError as error:
                return error.errno or errno.EIO
            self._progress += left - asked.left
            passed += came
            if asked.left and (not came or passed >= _TURN):
                passed = 0
                try:
                    yield self._progress
                except TimeoutError:
                    return errno.ETIMEDOUT
        return 0

    def stream(self, request: Request[Sequence[Any]]) -> Stream:
        """Send a dump and hand out its entries as they come; see `Transport.stream`.

        Raises `KernelError` when an entry was lost: those before it have been handed out.
        """
        dump = _Waiting(request)
        waiting = self._send_all([dump])
        while waiting:
            self._receive_entries(waiting, dump)
            entries = dump.take_out()
            if waiting or entries:
                try:
                    yield entries
                except TimeoutError:
                    _lose(waiting)
        if dump.error is not None:
            raise dump.error

    def _ask(self, items: Sequence["_Waiting"]) -> Iterator[int]:
        """Send requests and take in their answers."""
        yield from self._begin_anew()
        waiting = self._send_all(items)
        passed = 0
        while waiting:
            try:
                came = self._receive(waiting)
            except KernelError as error:
                _lose(waiting, error.errno or errno.EIO)
                continue
            passed += came
            if not came:
                # A refusal would have been here, since the kernel answers while it takes a request.
                for item in [item for item in waiting.values() if item.wire.answer is Answer.NONE]:
                    item.is_complete = True
                    del waiting[item.seq]
            if waiting and (not came or passed >= _TURN):
                passed = 0
                try:
                    yield self._progress
                except TimeoutError:
                    _lose(waiting)

    def _begin_anew(self) -> Iterator[int]:
        # The driver's patience does, for what others have said and then for the answers.
        self._progress += 1
        yield from self._discard()
        self._progress += 1

    def _send_all(self, items: Sequence["_Waiting"]) -> dict[int, "_Waiting"]:
        """Send requests and return those that were taken, by their numbers."""
        for item in items:
            item.begin(item.wire.sequence or self._next_seq())
            item.message.stamp(item.seq, self._pid)
            if error := self._socket.send_bytes(item.message):
                item.refuse(error, NOT_TAKEN_IN)
        return {item.seq: item for item in items if not item.is_complete}

    def _discard(self) -> Iterator[int]:
        """Read what waits: others' broadcasts, which would take the answers' room, or an abandoned dump."""
        try:
            # A socket that is broken says so when its answer is read.
            while self._socket.pass_over(_TURN) == _TURN:
                yield self._progress
        except TimeoutError:
            # Others talk faster than this reads; the answers are found among what they say.
            return

    def _receive(self, waiting: dict[int, "_Waiting"]) -> int:
        """Take in what waits; return for how much of a turn that is, 0 when nothing waits any more."""
        first = next(iter(waiting.values()))
        if first.is_table:  # which travels alone
            return self._receive_entries(waiting, first)
        data = self._socket.receive_view()
        if data is None:
            return 0
        self._take(waiting, data)
        return 1

    def _receive_entries(self, waiting: dict[int, "_Waiting"], item: "_Waiting") -> int:
        """Take in some entries of a dump; see `_receive`."""
        dump = self._dump
        dump.sequence, dump.pid, dump.number, dump.type = item.seq, self._pid, item.last_number, item.message.type
        entries = self._socket.receive_entries(dump, _TOGETHER)
        item.last_number = dump.number
        self._progress += len(entries)
        if entries:
            item.take_entries(entries)
        match -entries.status:
            case 0:
                item.end(entries.last)
                del waiting[item.seq]
            case errno.EBADMSG:
                raise MalformedReplyError(f"PF_KEY answered {item.operation} with what is no entry, or makes no sense")
            case errno.EAGAIN:
                return 0
            case code if code > 0:
                _lose(waiting, code)
        return _TURN

    def _take(self, waiting: dict[int, "_Waiting"], data: memoryview) -> None:
        """Take in a message, unless it is somebody else's."""
        header = read_header(data)
        item = self._asked(waiting, header, data)
        if item is None:
            return
        self._progress += 1
        item.take(header, data)
        if item.is_complete:
            del waiting[item.seq]

    def _asked(self, waiting: dict[int, "_Waiting"], header: Header, data: memoryview) -> "_Waiting | None":
        """Return the request that a message answers, None when it is somebody else's."""
        if header.pid == self._pid:
            # The entries of a dump carry their own numbers; a dump travels alone.
            item = waiting.get(header.seq) or next(
                (other for other in waiting.values() if other.is_dump and header.seq < _FIRST_SEQ), None
            )
            return item if item is not None and item.message.is_answered_by(header) else None
        if (header.type, header.pid, header.seq) == (MessageType.X_MIGRATE, 0, 0):
            # That a move was made is announced without numbers, to its sender too.
            return next((item for item in waiting.values() if item.is_announced_by(data)), None)
        return None

    def _next_seq(self) -> int:
        self._numbered += 1
        return _FIRST_SEQ + (self._first + self._numbered) % _FIRST_SEQ


class _Waiting:
    """A request whose answer is not complete yet."""

    __slots__ = ("_messages", "_parts", "_request", "error", "is_complete", "last_number", "message", "seq", "wire")

    def __init__(self, request: Request[Any]) -> None:
        self._request = request
        self.wire: Wire = request.wire
        self.message = self.wire.message

    def begin(self, seq: int) -> None:
        """Begin to wait, for the first time or again."""
        self.seq = seq
        self.is_complete = False
        self.error: KernelError | None = None
        self.last_number = 0
        self._messages: list[Message] = []
        self._parts: list[Sequence[Any]] = []

    @property
    def operation(self) -> str:
        """What is asked for."""
        return self._request.operation

    @property
    def is_lost(self) -> bool:
        return isinstance(self.error, AnswerLostError)

    @property
    def is_dump(self) -> bool:
        return self.wire.answer.is_dump

    @property
    def is_table(self) -> bool:
        """Whether SAs or policies are dumped, which the C core takes in."""
        return self.wire.answer is Answer.DUMP

    def is_announced_by(self, data: memoryview) -> bool:
        """Return whether a broadcast without numbers tells of what was asked."""
        return self.wire.is_announced_by is not None and self.wire.is_announced_by(read(data))

    def take(self, header: Header, data: memoryview) -> None:
        """Take one message of the answer."""
        if self.is_dump:
            self._take_entry(header, data)
        elif header.errno:
            self.refuse(header.errno)
        else:
            if self.wire.answer is Answer.ONE:
                self._messages.append(read(data))
            self.is_complete = True

    def answer(self, answer: int, lost: int) -> None:
        """Let the answer be one that the C core has noted, or lost because of an errno."""
        if answer == lib.PFKEYX_UNANSWERED:
            self.lose(lost, _LOST)
        elif answer > lib.PFKEYX_NOT_TAKEN_IN:
            self.refuse(answer - lib.PFKEYX_NOT_TAKEN_IN, NOT_TAKEN_IN)
        else:
            self.refuse(answer)

    def refuse(self, code: int, detail: str = "") -> None:
        """Let the answer be a refusal."""
        detail = detail or self._request.hints.get(code, "")
        self.error = KernelError.of(code, self._request.operation, self._request.subject, detail)
        self.is_complete = True

    def lose(self, code: int, detail: str) -> None:
        """Let the answer be one that never came."""
        self.error = AnswerLostError(code, self._request.operation, self._request.subject, detail)
        self.is_complete = True

    def take_entries(self, messages: Messages) -> None:
        """Take a part of a dump."""
        self._parts.append(self._request.decode(messages))

    def end(self, last: bytes) -> None:
        """Take the end of a dump, which is its last entry, or a message behind that."""
        if last:
            self._take_entry(read_header(last), memoryview(last))
        self.is_complete = True

    def take_out(self) -> Sequence[Any]:
        """Return what has come of a dump since the last time."""
        parts, self._parts = self._parts, []
        return Joined(parts)

    def reply(self) -> Any:
        """Return the decoded answer, or the `KernelError`."""
        if self.error is not None:
            return self.error
        return self.take_out() if self.is_table else self._request.decode(self._messages)

    def _take_entry(self, header: Header, data: memoryview) -> None:
        if header.seq == self.seq:
            # A dump of nothing is answered with ENOENT.
            if header.errno == errno.ENOENT:
                self.is_complete = True
            else:
                self.refuse(header.errno)
        elif header.errno:
            # Where the kernel breaks a dump off, it puts a negative number into the byte of the last entry.
            self.refuse(256 - header.errno if header.errno > 0x7F else header.errno, "the dump broke off")
        elif header.seq not in (0, self.last_number + 1):
            self.lose(errno.ENOBUFS, "entries of the dump were lost: ask again")
        else:
            self._messages.append(read(data))
            self.last_number = header.seq
            self.is_complete = header.seq == 0


def _pipelines(requests: Sequence[Request[Any]]) -> Iterator[Sequence[Request[Any]]]:
    # The kernel runs one dump at a time on a socket, so a dump travels alone.
    for is_dump, run in groupby(requests, lambda request: request.wire.answer.is_dump):
        together = list(run)
        size = 1 if is_dump else _PIPELINED
        for start in range(0, len(together), size):
            yield together[start : start + size]


def _lose(waiting: dict[int, _Waiting], code: int = errno.ETIMEDOUT) -> None:
    for item in waiting.values():
        item.lose(code, _LOST)
    waiting.clear()
