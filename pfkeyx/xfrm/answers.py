"""How the answer to an XFRM request ends, and how it is read. What is asked is not known here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from pyroute2.netlink import NLM_F_DUMP, nlmsg

from pfkeyx.errors import MalformedReplyError
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm import parts

T = TypeVar("T")


class Answer(Enum):
    """How an answer ends."""

    ACK = "an acknowledgement"
    ONE = "one message"
    DUMP = "messages up to the end mark, each read as it comes"
    TABLE = "messages up to the end mark, read together"

    @property
    def is_dump(self) -> bool:
        """Whether it is the kernel's dump of a table."""
        return self in (Answer.DUMP, Answer.TABLE)


@dataclass(frozen=True, slots=True)
class Wire:
    """A whole netlink message, sequence number still 0, and how its answer ends."""

    message: bytearray
    answer: Answer

    def __repr__(self) -> str:
        return f"Wire({len(self.message)} bytes, {self.answer.name})"


def is_dump(message_type: int, flags: int) -> bool:
    """Return whether the kernel answers with a dump: one bit of the two is enough for it, which to others mean else."""
    return message_type in (wire.XFRM_MSG_GETSA, wire.XFRM_MSG_GETPOLICY) and bool(flags & NLM_F_DUMP)


def nothing(_: Sequence[nlmsg]) -> None:
    """Read the answer that is only an acknowledgement."""


def only(messages: Sequence[nlmsg], decode: Callable[[Any], T]) -> T:
    """Read the answer that is one message."""
    if len(messages) != 1:
        raise MalformedReplyError(f"{len(messages)} messages where the kernel answers with one")
    return parts.decoding(decode, messages[0])


def every(messages: Sequence[nlmsg], decode: Callable[[Any], T]) -> list[T]:
    """Read the answer that is a dump."""
    return [parts.decoding(decode, message) for message in messages]
