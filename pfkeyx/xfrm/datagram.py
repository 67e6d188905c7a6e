"""Netlink's framing: a datagram's messages, each with its header.

No socket is here, and what a message means is not known here.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pfkeyx.errors import MalformedReplyError

_HEADER = struct.Struct("=IHHII")
HEADER_SIZE = _HEADER.size
#: Bytes; the kernel sends no datagram that is larger, those of a dump have 32 KiB.
DATAGRAM = 1 << 16


class Header(NamedTuple):
    """A netlink message header: `sender` is nlmsg_pid, in an answer the socket's, in an event its causer's."""

    length: int
    type: int
    flags: int
    sequence: int
    sender: int


def walk(data: bytes) -> Iterator[tuple[Header, bytes]]:
    """Yield the messages of a datagram, each with its header; raises `MalformedReplyError`."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise MalformedReplyError(f"XFRM: {len(data) - offset} bytes where a message should begin")
        header = Header(*_HEADER.unpack_from(data, offset))
        if not _HEADER.size <= header.length <= len(data) - offset:
            raise MalformedReplyError(f"XFRM: a message claims {header.length} bytes of {len(data) - offset}")
        yield header, data[offset : offset + header.length]
        offset += (header.length + 3) & ~3
