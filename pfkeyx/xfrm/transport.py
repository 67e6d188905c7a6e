"""The request socket of XFRM, and its event socket: bytes out, messages in, matched to what was asked.

pyroute2 declares the messages. The socket is made and driven here and not by pyroute2's own classes, because those
bring an event loop of their own, cannot be made inside a running one, send one message a datagram, and fork a child
to enter a namespace.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Self

from pyroute2.netlink import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_EXT_ACK,
    NETLINK_XFRM,
    NLM_F_ACK_TLVS,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
)
from pyroute2.netlink.exceptions import NetlinkDecodeError

from pfkeyx.errors import EventsLostError, KernelError, MalformedReplyError, UnsupportedError
from pfkeyx.events import Acquire, Event, Expire
from pfkeyx.native import open_raw
from pfkeyx.operation import Batch, Exchange, Request
from pfkeyx.xfrm import codec
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.requests import Answer

_NETLINK_CAP_ACK = 10
_HEADER = struct.Struct("=IHHII")
#: So many acknowledgements stay far below any receive buffer.
_PIPELINED = 64
_DATAGRAM = 1 << 20


def open_socket(netns: str | None, groups: Sequence[int] = ()) -> socket.socket:
    """Return a NETLINK_XFRM socket in `netns` (a name under /run/netns or a path; None = the caller's).

    Raises `UnsupportedError` when the kernel has no XFRM, `NotPermittedError` without the right to enter or listen.
    """
    try:
        descriptor = open_raw(socket.AF_NETLINK, NETLINK_XFRM, netns)
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            raise UnsupportedError("XFRM", "this kernel has no XFRM netlink: load xfrm_user") from error
        raise KernelError.of(error.errno or errno.EIO, "open XFRM socket", netns or "") from error
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM, fileno=descriptor)
    try:
        sock.setsockopt(SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        sock.bind((0, 0))
        for group in groups:
            sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except OSError as error:
        sock.close()
        raise KernelError.of(error.errno or errno.EIO, "open XFRM socket", netns or "") from error
    return sock


class XfrmTransport:
    """A socket for requests. Synchronization: one operation at a time, from one thread."""

    def __init__(self, netns: str | None = None) -> None:
        self._begin(open_socket(netns))

    @classmethod
    def over(cls, sock: socket.socket) -> Self:
        """Return a transport over a non-blocking NETLINK_XFRM socket that is open already, and is closed with it."""
        transport = cls.__new__(cls)
        transport._begin(sock)
        return transport

    def _begin(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sequence = int.from_bytes(os.urandom(3), "big")

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def exchange(self, batch: Batch) -> Exchange:
        """Send a batch and return, in order, each one's reply or `KernelError`; see `Transport.exchange`."""
        replies: list[Any] = []
        for requests in _datagrams(batch):
            replies += yield from self._exchange_datagram(requests)
        return replies

    def _exchange_datagram(self, requests: Sequence[Request[Any]]) -> Exchange:
        waiting: dict[int, _Waiting] = {}
        taken = 0
        for request in requests:
            self._sequence = (self._sequence + 1) & 0xFFFFFFFF
            waiting[self._sequence] = _Waiting(request)
            struct.pack_into("=I", request.wire.message, 8, self._sequence)
        answered = list(waiting.values())
        try:
            # The bytes have keys in them, and no name here that a traceback could show.
            self._socket.send(b"".join(request.wire.message for request in requests))
        except OSError as error:
            for item in answered:
                item.refuse(error.errno or errno.EIO)
            return [item.reply() for item in answered]
        while waiting:
            try:
                data = self._socket.recv(_DATAGRAM)
            except BlockingIOError:
                try:
                    yield taken
                except TimeoutError:
                    _lose(waiting, errno.ETIMEDOUT)
                continue
            except OSError as error:
                _lose(waiting, error.errno or errno.EIO)
                continue
            for header, offset in _walk(data):
                asked = waiting.get(header.sequence)
                if asked is None:
                    continue
                taken += 1
                if asked.take(header, data, offset):
                    del waiting[header.sequence]
        return [item.reply() for item in answered]


_GROUPS: dict[type[Event], int] = {Acquire: wire.XFRMNLGRP_ACQUIRE, Expire: wire.XFRMNLGRP_EXPIRE}


class XfrmEvents:
    """A socket that only listens. Synchronization: one thread."""

    def __init__(self, kinds: Sequence[type[Event]], netns: str | None = None) -> None:
        self._socket = open_socket(netns, [_GROUPS[kind] for kind in kinds])

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def receive(self) -> list[Event]:
        """Return the events of one datagram, none when nothing waits.

        Raises `EventsLostError` when the kernel had to drop some.
        """
        try:
            data = self._socket.recv(_DATAGRAM)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise EventsLostError("XFRM events came faster than they were read: dump again") from error
            raise KernelError.of(error.errno or errno.EIO, "receive XFRM events") from error
        return [
            decode(_decode(wire.RECEIVED[header.type], data, offset))
            for header, offset in _walk(data)
            if (decode := _EVENTS.get(header.type)) is not None
        ]


_EVENTS: dict[int, Callable[[wire.xfrm_message], Event]] = {
    wire.XFRM_MSG_ACQUIRE: codec.decode_acquire,
    wire.XFRM_MSG_EXPIRE: codec.decode_expire,
}


class _Header:
    __slots__ = ("flags", "length", "sequence", "type")

    def __init__(self, length: int, message_type: int, flags: int, sequence: int) -> None:
        self.length = length
        self.type = message_type
        self.flags = flags
        self.sequence = sequence


class _Waiting:
    """A request whose answer is not complete yet."""

    def __init__(self, request: Request[Any]) -> None:
        self._request = request
        self._messages: list[wire.xfrm_message] = []
        self._error: KernelError | None = None

    def take(self, header: _Header, data: bytes, offset: int) -> bool:
        """Take one message of the answer; return whether the answer is complete."""
        if header.type == NLMSG_ERROR:
            self._acknowledge(_decode(wire.error_msg, data, offset), header.flags)
            return True
        if header.type == NLMSG_DONE:
            (status,) = struct.unpack_from("=i", data, offset + _HEADER.size) if header.length > _HEADER.size else (0,)
            if status < 0:
                self.refuse(-status, "the dump broke off")
            return True
        message_class = wire.RECEIVED.get(header.type)
        if message_class is None:
            raise MalformedReplyError(f"XFRM answered {self._request.operation} with message {header.type}")
        self._messages.append(_decode(message_class, data, offset))
        return self._request.wire.answer is Answer.ONE

    def refuse(self, code: int, detail: str = "") -> None:
        """Let the answer be a refusal."""
        self._error = KernelError.of(code, self._request.operation, self._request.subject, detail)

    def reply(self) -> Any:
        """Return the decoded answer, or the `KernelError`."""
        return self._error if self._error is not None else self._request.decode(self._messages)

    def _acknowledge(self, message: Any, flags: int) -> None:
        # A success may carry text too, so only the number decides.
        if message["error"]:
            text = message.get_attr("NLMSGERR_ATTR_MSG") if flags & NLM_F_ACK_TLVS else None
            self.refuse(-message["error"], text or "")


def _datagrams(batch: Batch) -> Iterator[Sequence[Request[Any]]]:
    if batch.one_datagram:
        yield batch.requests
        return
    # The kernel runs one dump at a time on a socket, so a dump travels alone.
    run: list[Request[Any]] = []
    for request in batch.requests:
        if request.wire.answer is Answer.DUMP:
            yield from _chunks(run)
            run = []
            yield [request]
        else:
            run.append(request)
    yield from _chunks(run)


def _chunks(requests: Sequence[Request[Any]]) -> Iterator[Sequence[Request[Any]]]:
    rest = iter(requests)
    while chunk := list(islice(rest, _PIPELINED)):
        yield chunk


def _lose(waiting: dict[int, _Waiting], code: int) -> None:
    for item in waiting.values():
        item.refuse(code, "the answer was lost; the kernel may have done it: look before asking again")
    waiting.clear()


def _walk(data: bytes) -> Iterator[tuple[_Header, int]]:
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise MalformedReplyError(f"XFRM: {len(data) - offset} bytes where a message should begin")
        length, message_type, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset:
            raise MalformedReplyError(f"XFRM: a message claims {length} bytes of {len(data) - offset}")
        yield _Header(length, message_type, flags, sequence), offset
        offset += (length + 3) & ~3


def _decode(message_class: type[Any], data: bytes, offset: int) -> Any:
    message = message_class(data, offset=offset)
    try:
        message.decode()
    except (NetlinkDecodeError, ValueError, struct.error) as error:
        raise MalformedReplyError(f"XFRM: {message_class.__name__}: {error}") from error
    return message
