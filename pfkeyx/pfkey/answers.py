"""A PF_KEY request on its way: the whole message, how its answer ends, and how a move's is recognised.

What is asked is not decided here.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, TypeVar

from pfkeyx.errors import InvalidRequestError
from pfkeyx.features import Feature
from pfkeyx.native import lib
from pfkeyx.operation import Request
from pfkeyx.pfkey.extensions import AddressExtension, PolicyExtension
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, Outgoing, build_bytes

T = TypeVar("T")

#: The detail of a refusal that is send(2)'s own. The kernel makes no answer to a message whose header it does not take:
#: one of a type that it has no number for, or one that is too long.
NOT_TAKEN_IN = "send(2) did not take the message in"


class Answer(Enum):
    """How an answer ends, and what of it is read."""

    NONE = "nothing, unless it is refused"
    ACK = "one message, of which only the errno counts"
    ONE = "one message"
    DUMP = "messages up to the one that is numbered 0, each read as it comes"
    TABLE = "messages up to the one that is numbered 0, read together"

    @property
    def is_dump(self) -> bool:
        """Whether it is the kernel's dump of a table."""
        return self in (Answer.DUMP, Answer.TABLE)


class Wire(NamedTuple):
    """A whole PF_KEY message, seq and pid still 0, and how its answer ends.

    `sequence` is the seq that the message has to have, 0 where it may be any. `is_announced_by` recognises the
    answer among broadcasts that carry neither seq nor pid, as a move's does.
    """

    message: Outgoing
    answer: Answer
    sequence: int = 0
    is_announced_by: Callable[[Message], bool] | None = None


def make_request(
    operation: str,
    subject: object,
    message: Message,
    answer: Answer,
    decode: Callable[[Any], T],
    sequence: int = 0,
    hints: Mapping[int, str] | None = None,
    needs: tuple[Feature, ...] = (),
) -> Request[T]:
    """Return the request that sends a message; raises `InvalidRequestError` for one that cannot be built."""
    outgoing = Outgoing(build_for(operation, subject, message))
    announced = partial(_is_same_move, _move(message)) if message.type is MessageType.X_MIGRATE else None
    return Request(operation, subject, Wire(outgoing, answer, sequence, announced), decode, hints or {}, needs)


def build_for(operation: str, subject: object, message: Message) -> bytearray:
    """Return the bytes of a message; raises `InvalidRequestError`, which says of what, where it cannot be built."""
    try:
        return build_bytes(message)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{operation} {subject}: {error}") from error


def _is_same_move(asked: tuple[object, ...] | None, announced: Message) -> bool:
    """Return whether a broadcast tells of the move that was asked for: the kernel repeats what it moved."""
    return asked is not None and asked == _move(announced)


def _move(message: Message) -> tuple[object, ...] | None:
    """Return what tells a move from others, None for a message that moves nothing."""
    policy = message.extensions.get(ExtensionType.X_POLICY)
    source = message.extensions.get(ExtensionType.ADDRESS_SRC)
    destination = message.extensions.get(ExtensionType.ADDRESS_DST)
    if not (
        isinstance(policy, PolicyExtension)
        and isinstance(source, AddressExtension)
        and isinstance(destination, AddressExtension)
    ):
        return None
    # Linux reads mode 0 as transport, and makes up the levels, protocol and ports that it tells.
    requests = tuple(
        (it.protocol, it.mode or lib.IPSEC_MODE_TRANSPORT, it.reqid, it.source, it.destination)
        for it in policy.requests
    )
    return *source[:2], *destination[:2], policy.direction, requests


def nothing(_messages: Sequence[Message]) -> None:
    """Decode an answer that says no more than that it was done."""
    return
