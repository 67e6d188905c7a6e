"""A request to XFRM whose answer is not complete yet: what has come of it, and what it comes to. No socket is here."""

import errno
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from pfkeyx.entries import Messages
from pfkeyx.errors import AnswerLostError, KernelError, MalformedReplyError
from pfkeyx.operation import Joined, Request
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm import parts
from pfkeyx.xfrm.answers import Answer, Wire
from pfkeyx.xfrm.datagram import HEADER_SIZE, Header
from pfkeyx.xfrm.numbers import NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR
from pfkeyx.xfrm.received import Received
from pfkeyx.xfrm.refusal import explain

#: The errno of an acknowledgement.
_SUCCESS = bytes(4)


class Waiting:
    """A request whose answer is not complete yet."""

    __slots__ = ("_answer", "_is_torn", "_messages", "_parts", "_request", "error", "message", "was_interrupted")

    def __init__(self, request: Request[Any]) -> None:
        self._request = request
        wire: Wire = request.wire
        #: The message that asks.
        self.message = wire.message
        self._answer = wire.answer
        self.begin()

    def begin(self) -> None:
        """Forget what came of an earlier try."""
        self._messages: list[bytes] = []
        self._parts: list[Sequence[Any]] = []
        self._is_torn = self.was_interrupted = False
        self.error: KernelError | None = None

    @property
    def operation(self) -> str:
        """What is asked for."""
        return self._request.operation

    @property
    def is_table(self) -> bool:
        """Whether SAs or policies are dumped, which the C core takes in."""
        return self._answer is Answer.DUMP

    @property
    def entry_type(self) -> int:
        """The type of a dump's entries."""
        return wire.ENTRIES[int.from_bytes(self.message[4:6], sys.byteorder)]

    def take(self, header: Header, message: bytes) -> bool:
        """Take one message of the answer; return whether the answer is complete."""
        if self._answer.is_dump and header.flags & NLM_F_DUMP_INTR:
            self.tear()
        if header.type == NLMSG_ERROR:
            self._acknowledge(message, header.flags)
            return True
        if header.type == NLMSG_DONE:
            (status,) = struct.unpack_from("=i", message, HEADER_SIZE) if header.length >= HEADER_SIZE + 4 else (0,)
            if status < 0:
                self.refuse(-status, "the dump broke off")
            elif self._is_torn:
                self.was_interrupted = True
                self.refuse(errno.EINTR, "the dump was interrupted by changes; ask again")
            return True
        if header.type not in wire.RECEIVED:
            raise MalformedReplyError(f"XFRM answered {self._request.operation} with message {header.type}")
        self._messages.append(message)
        return self._answer is Answer.ONE

    def take_entries(self, messages: Messages) -> None:
        """Take a part of a dump."""
        self._parts.append(self._request.decode(messages))

    def tear(self) -> None:
        """Take note that the table was changed while it was dumped."""
        self._is_torn = True

    def refuse(self, code: int, detail: str = "", attribute: str | None = None) -> None:
        """Let the answer be a refusal: what was said of it, and what we know of it."""
        detail = "; ".join(filter(None, (detail, self._request.hints.get(code))))
        self.error = KernelError.of(code, self._request.operation, self._request.subject, detail, attribute)

    def lose(self, code: int) -> None:
        """Let the answer be one that never came."""
        advice = "ask again" if self._answer.is_dump else "the kernel may have done it: look before asking again"
        detail = f"the answer was lost; {advice}"
        self.error = AnswerLostError(code, self._request.operation, self._request.subject, detail)

    def reply(self) -> Any:
        """Return the decoded answer, or the `KernelError`."""
        if self.error is not None:
            return self.error
        return self.take_out() if self.is_table else self._request.decode(self._messages)

    def take_out(self) -> Sequence[Any]:
        """Return what has come of a dump since the last time."""
        parts, self._parts = self._parts, []
        return Joined(parts)

    def _acknowledge(self, message: bytes, flags: int) -> None:
        # A success may carry text too, so only the number decides.
        if message[HEADER_SIZE : HEADER_SIZE + len(_SUCCESS)] != _SUCCESS:
            acknowledgement = Received(wire.error_msg, message)
            refusal = parts.decoding(partial(explain, flags=flags, request=self.message), acknowledgement)
            self.refuse(-acknowledgement["error"], refusal.text, refusal.attribute)


class Unanswered:
    """The requests of a datagram, by the numbers of its messages, until the kernel has run them all.

    What waits for an answer is made when something is said of it: of most that are acknowledged nothing is.
    """

    def __init__(self, first: int, count: int, make: Callable[[int], Waiting]) -> None:
        self._first = first
        self._left = count
        self._last = count - 1
        self._make = make
        self._answered: set[int] = set()
        #: What something was said of, by its place in the datagram.
        self.told: dict[int, Waiting] = {}

    def __len__(self) -> int:
        return self._left

    @property
    def table(self) -> Waiting | None:
        """A dump that the C core takes in, which travels alone."""
        item = self._at(0) if self._last == 0 else None
        return item if item is not None and item.is_table else None

    def at(self, sequence: int) -> Waiting | None:
        """Return what is answered under a number, None when it is somebody else's or answered already."""
        place = (sequence - self._first) & 0xFFFFFFFF
        return self._at(place) if self._left and place <= self._last and place not in self._answered else None

    def complete(self, sequence: int) -> int:
        """Take note that an answer is complete, and return of how many more that says that they are done."""
        place = (sequence - self._first) & 0xFFFFFFFF
        self._answered.add(place)
        self._left -= 1
        if place != self._last:
            return 0
        # The kernel runs a datagram in order: what it has not refused by now, it has done.
        done, self._left = self._left, 0
        return done

    def refuse(self, code: int) -> None:
        """Let all be refused."""
        for item in self._end():
            item.refuse(code)

    def lose(self, code: int) -> None:
        """Let the answers be lost that are not complete."""
        for item in self._end():
            item.lose(code)

    def _end(self) -> Iterator[Waiting]:
        places = range(self._last + 1) if self._left else ()
        self._left = 0
        return (self._at(place) for place in places if place not in self._answered)

    def _at(self, place: int) -> Waiting:
        waiting = self.told.get(place)
        if waiting is None:
            waiting = self.told[place] = self._make(place)
        return waiting
