"""How the answer to an XFRM request ends, and how it is read. What is asked is not known here."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from pfkeyx.entries import Entries, Messages
from pfkeyx.errors import MalformedReplyError
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm import parts
from pfkeyx.xfrm.numbers import NLM_F_DUMP
from pfkeyx.xfrm.received import received

T = TypeVar("T")


class Answer(Enum):
    """How an answer ends."""

    ACK = "an acknowledgement"
    ONE = "one message"
    DUMP = "SAs or policies up to the end mark, read as they come"
    TABLE = "messages up to the end mark, read together"

    @property
    def is_dump(self) -> bool:
        """Whether it is the kernel's dump of a table."""
        return self in (Answer.DUMP, Answer.TABLE)


class Wire(NamedTuple):
    """A whole netlink message, sequence number still 0, and how its answer ends."""

    message: bytearray
    answer: Answer

    def __repr__(self) -> str:
        return f"Wire({len(self.message)} bytes, {self.answer.name})"


def is_dump(message_type: int, flags: int) -> bool:
    """Return whether the kernel answers with a dump: one bit of the two is enough for it, which to others mean else."""
    return message_type in (wire.XFRM_MSG_GETSA, wire.XFRM_MSG_GETPOLICY) and bool(flags & NLM_F_DUMP)


def nothing(_: Sequence[bytes]) -> None:
    """Read the answer that is only an acknowledgement."""


def only(messages: Sequence[bytes], decode: Callable[[Any], T]) -> T:
    """Read the answer that is one message."""
    return parts.decoding(decode, received(_one(messages)))


def only_entry(messages: Sequence[bytes], read: Callable[[bytes], T]) -> T:
    """Read the answer that is one SA or policy."""
    return read(_one(messages))


def every_entry(messages: Messages, read: Callable[[bytes], T]) -> Sequence[T]:
    """Read a part of a dump."""
    return Entries(messages, read)


def _one(messages: Sequence[bytes]) -> bytes:
    if len(messages) != 1:
        raise MalformedReplyError(f"{len(messages)} messages where the kernel answers with one")
    return messages[0]
