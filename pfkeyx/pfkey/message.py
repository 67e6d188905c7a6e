"""The raw level of PF_KEY: any message built and read by name, its extensions as values.

What a value means to IPsec is not known here, and nothing is sent or received. The values are those of
`extensions.py`; the names and numbers are those of <linux/pfkeyv2.h>.
"""

import builtins
import errno
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self, TypeVar

from pfkeyx.errors import InvalidRequestError, MalformedReplyError
from pfkeyx.native import ffi, lib
from pfkeyx.pfkey.cdata import CData, NonsenseError, fields
from pfkeyx.pfkey.describe import describe
from pfkeyx.pfkey.extensions import Extension
from pfkeyx.pfkey.layout import get, put
from pfkeyx.pfkey.numbers import ExtensionType, MessageType, SAType

__all__ = [
    "ExtensionType",
    "Message",
    "MessageType",
    "Outgoing",
    "SAType",
    "build",
    "describe",
    "read",
    "read_header",
]

E = TypeVar("E")


class Told(Protocol):
    """A message that is read: its type, what SAs it is about, and its extensions by type."""

    __slots__ = ()

    @property
    def type(self) -> MessageType:
        """The message's type."""

    @property
    def satype(self) -> SAType:
        """The message's type of SA."""

    @property
    def extensions(self) -> Mapping[int, Extension]:
        """The extensions by type."""


def need(message: Told, exttype: int, kind: type[E]) -> E:
    """Return an extension that the kernel always sends; raises `MalformedReplyError` when it did not."""
    extension = message.extensions.get(exttype)
    if not isinstance(extension, kind):
        raise MalformedReplyError(f"PF_KEY message {message.type} came without {ExtensionType(exttype)}")
    return extension


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its base header (RFC 2367 §2.1), and its extensions by type, which `repr` leaves out.

    >>> Message(MessageType.FLUSH, SAType.ESP, seq=7)
    Message(type=<MessageType.FLUSH: 9>, satype=<SAType.ESP: 3>, errno=0, seq=7, pid=0)
    """

    type: MessageType
    satype: SAType = SAType.UNSPEC
    errno: int = 0
    seq: int = 0
    pid: int = 0
    extensions: Mapping[int, Extension] = field(default_factory=dict, repr=False)

    def need(self, exttype: int, kind: builtins.type[E]) -> E:
        """Return an extension that the kernel always sends; raises `MalformedReplyError` when it did not."""
        return need(self, exttype, kind)


class Header(NamedTuple):
    """The numbers of a message's base header (RFC 2367 §2.1)."""

    type: int
    satype: int
    errno: int
    seq: int
    pid: int

    @classmethod
    def of(cls, native: CData) -> Self:
        """Return the numbers of a header that the C core has copied."""
        return cls._make(_HEADER_FIELDS(native))


_HEADER_FIELDS = fields("sadb_msg", *Header._fields)


class Outgoing:
    """A message as it is sent, whose bytes are wiped when nothing refers to it any more."""

    __slots__ = ("_data",)

    def __init__(self, data: bytearray) -> None:
        self._data = data

    def __del__(self) -> None:
        self._data[:] = bytes(len(self._data))

    def __repr__(self) -> str:
        return f"Outgoing({self.type}, {self.size} bytes)"

    @property
    def type(self) -> MessageType:
        """The message's type."""
        return MessageType(self._data[_TYPE])

    @property
    def satype(self) -> SAType:
        """The message's type of SA."""
        return SAType(self._data[_SATYPE])

    @property
    def data(self) -> CData:
        """Where the message is."""
        return ffi.from_buffer(self._data)

    @property
    def size(self) -> int:
        """How long the message is, in bytes."""
        return len(self._data)

    def is_answered_by(self, header: Header) -> bool:
        """Return whether a message is of the same type."""
        return self._data[_TYPE] == header.type

    def stamp(self, seq: int, pid: int) -> None:
        """Write the two numbers that the answer repeats."""
        _NUMBER.pack_into(self._data, _SEQ, seq)
        _NUMBER.pack_into(self._data, _PID, pid)


#: Where <linux/pfkeyv2.h> has them.
_TYPE, _SATYPE, _SEQ, _PID = (
    ffi.offsetof("struct sadb_msg", f"sadb_msg_{name}") for name in ("type", "satype", "seq", "pid")
)
_NUMBER = struct.Struct("=I")


def build(message: Message) -> Outgoing:
    """Return a whole message (RFC 2367 §2), its extensions in the order in which they are given.

    Raises `InvalidRequestError` for an extension that is not of its type, or holds what its fields cannot.
    """
    return Outgoing(build_bytes(message))


def build_bytes(message: Message) -> bytearray:
    """Return the bytes of a whole message; see `build`."""
    builder = ffi.gc(ffi.new("struct pfkeyx_builder *"), lib.pfkeyx_builder_release)
    subject = f"build {message.type}"
    try:
        lib.pfkeyx_begin(builder, message.type, message.satype, message.errno, message.seq, message.pid)
        for exttype, extension in message.extensions.items():
            subject = f"build {message.type}: {ExtensionType(exttype)}"
            put(builder, exttype, extension)
            if builder.error:
                break
    except (OverflowError, TypeError, ValueError) as error:
        raise InvalidRequestError(f"{subject}: {error}") from error
    match -lib.pfkeyx_finish(builder):
        case 0:
            return bytearray(ffi.buffer(builder.data, builder.size))
        case errno.EMSGSIZE:
            raise InvalidRequestError(f"{subject}: a message ends after 65535 words of 64 bits")
        case errno.EINVAL:
            raise InvalidRequestError(
                f"{subject}: too long a prefix, one address where it takes two, or two of different families"
            )
        case refusal:
            raise OSError(refusal, os.strerror(refusal))


def read_header(data: bytes | memoryview) -> Header:
    """Return the base header of a message; raises `MalformedReplyError`."""
    return _start(data)[1]


def read(data: bytes | memoryview) -> Message:
    """Return a whole message, an extension of a type without a name here as `Unknown`.

    Raises `MalformedReplyError`, which names what is wrong with it; so is a type of extension that comes twice
    (RFC 2367 §2.3).
    """
    reader, header = _start(data)
    message_type = MessageType(header.type)
    extensions: dict[int, Extension] = {}
    native = ffi.new("struct pfkeyx_extension *")
    while status := lib.pfkeyx_read_extension(reader, native):
        if status < 0:
            raise MalformedReplyError(
                f"PF_KEY message {message_type}: an extension at byte {reader.offset} of {len(data)} has no length "
                "or goes beyond the end"
            )
        exttype = ExtensionType(native.type)
        if exttype in extensions:
            raise MalformedReplyError(f"PF_KEY message {message_type}: {exttype} comes twice")
        try:
            extensions[exttype] = get(native)
        except NonsenseError:
            raise MalformedReplyError(
                f"PF_KEY message {message_type}: {exttype} of {native.size} bytes is cut short or makes no sense"
            ) from None
    return Message(message_type, SAType(header.satype), header.errno, header.seq, header.pid, extensions)


def _start(data: bytes | memoryview) -> tuple[CData, Header]:
    reader = ffi.new("struct pfkeyx_reader *")
    header = ffi.new("struct sadb_msg *")
    if lib.pfkeyx_read_message(reader, ffi.from_buffer(data), len(data), header):
        raise MalformedReplyError(f"{len(data)} bytes are no PF_KEY message: too few, or of another version")
    return reader, Header.of(header)
