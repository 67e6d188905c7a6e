"""The sockets of XFRM: bytes out, messages in, matched to what was asked. What messages mean is not known here.

pyroute2 declares the messages. The socket is made and driven here and not by pyroute2's own classes, because those
bring an event loop of their own, cannot be made inside a running one, send one message a datagram, and fork a child
to enter a namespace.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Self

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

from pfkeyx.errors import AnswerLostError, KernelError, MalformedReplyError, UnsupportedError
from pfkeyx.native import RECEIVE_BUFFER, open_raw
from pfkeyx.operation import Batch, Exchange, Request, Stream
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.requests import Answer

_NETLINK_CAP_ACK = 10
_HEADER = struct.Struct("=IHHII")
#: So many acknowledgements stay far below any receive buffer.
_PIPELINED = 64
#: Bytes; the kernel sends no datagram that is larger.
DATAGRAM = 1 << 20


def open_socket(netns: str | None, groups: Sequence[int] = (), receive_buffer: int = RECEIVE_BUFFER) -> socket.socket:
    """Return a NETLINK_XFRM socket in `netns` (a name under /run/netns or a path; None = the caller's).

    It joins `groups`, and has room for `receive_buffer` octets.

    Raises `UnsupportedError` when the kernel has no XFRM, `NotPermittedError` without the right to enter or listen.
    """
    try:
        descriptor = open_raw(socket.AF_NETLINK, NETLINK_XFRM, netns, receive_buffer)
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
        sock = open_socket(netns)
        self._begin(sock, sock.getsockname()[0], netns)

    @classmethod
    def over(cls, sock: socket.socket, port: int) -> Self:
        """Return a transport over a non-blocking NETLINK_XFRM socket that is open already, and is closed with it.

        `port` is what the kernel calls the socket, its `nl_pid`.
        """
        transport = cls.__new__(cls)
        transport._begin(sock, port, None)
        return transport

    def _begin(self, sock: socket.socket, port: int, netns: str | None) -> None:
        self._socket = sock
        self._port = port
        self._netns = netns
        self._first = self._sequence = int.from_bytes(os.urandom(3), "big")

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def another(self) -> "XfrmTransport":
        """Open a further socket in the same namespace."""
        return XfrmTransport(self._netns)

    def has_sent(self, sender: int, sequence: int) -> bool:
        """Return whether a change with this nlmsg_pid and nlmsg_seq was asked for here."""
        # Others' PF_KEY sockets are announced under numbers of their own choice, a process's id often.
        return sender == self._port and 0 < _distance(self._first, sequence) <= _distance(self._first, self._sequence)

    def exchange(self, batch: Batch) -> Exchange:
        """Send a batch and return, in order, each one's reply or `KernelError`; see `Transport.exchange`."""
        replies: list[Any] = []
        taken = 0
        for requests in _datagrams(batch):
            asked = [_Waiting(request) for request in requests]
            waiting = self._send(asked)
            while waiting:
                try:
                    taken += self._receive(waiting)
                except BlockingIOError:
                    try:
                        yield taken
                    except TimeoutError:
                        _lose(waiting, errno.ETIMEDOUT)
            replies += [item.reply() for item in asked]
        return replies

    def stream(self, request: Request[list[Any]]) -> Stream:
        """Send a dump and hand out its entries datagram by datagram; see `Transport.stream`."""
        dump = _Waiting(request)
        waiting = self._send([dump])
        while waiting:
            try:
                self._receive(waiting)
            except BlockingIOError:
                try:
                    yield []
                except TimeoutError:
                    _lose(waiting, errno.ETIMEDOUT)
            if entries := dump.take_out():
                yield entries
        if dump.error is not None:
            raise dump.error

    def _send(self, asked: Sequence["_Waiting"]) -> dict[int, "_Waiting"]:
        """Send requests in one datagram and return those whose answer is to come, by their numbers."""
        waiting: dict[int, _Waiting] = {}
        for item in asked:
            self._sequence = (self._sequence + 1) & 0xFFFFFFFF
            waiting[self._sequence] = item
            struct.pack_into("=II", item.message, 8, self._sequence, self._port)
        try:
            # The bytes have keys in them, and no name here that a traceback could show.
            self._socket.send(b"".join(item.message for item in asked))
        except OSError as error:
            for item in asked:
                item.refuse(error.errno or errno.EIO)
            return {}
        return waiting

    def _receive(self, waiting: dict[int, "_Waiting"]) -> int:
        """Take in one datagram; return how many of its messages belong to the answers.

        Raises `BlockingIOError` when none waits.
        """
        try:
            data = self._socket.recv(DATAGRAM)
        except BlockingIOError:
            raise
        except OSError as error:
            _lose(waiting, error.errno or errno.EIO)
            return 0
        taken = 0
        for header, message in walk(data):
            item = waiting.get(header.sequence)
            if item is not None:
                taken += 1
                if item.take(header, message):
                    del waiting[header.sequence]
        return taken


class Header(NamedTuple):
    """A netlink message header: `sender` is nlmsg_pid, in an answer the socket's, in an event its causer's."""

    length: int
    type: int
    flags: int
    sequence: int
    sender: int


class _Waiting:
    """A request whose answer is not complete yet."""

    def __init__(self, request: Request[Any]) -> None:
        self._request = request
        self._messages: list[wire.xfrm_message] = []
        self.error: KernelError | None = None

    @property
    def message(self) -> bytearray:
        """The message that asks."""
        message: bytearray = self._request.wire.message
        return message

    def take(self, header: Header, message: bytes) -> bool:
        """Take one message of the answer; return whether the answer is complete."""
        if header.type == NLMSG_ERROR:
            self._acknowledge(parse(wire.error_msg, message), header.flags)
            return True
        if header.type == NLMSG_DONE:
            (status,) = struct.unpack_from("=i", message, _HEADER.size) if header.length > _HEADER.size else (0,)
            if status < 0:
                self.refuse(-status, "the dump broke off")
            return True
        message_class = wire.RECEIVED.get(header.type)
        if message_class is None:
            raise MalformedReplyError(f"XFRM answered {self._request.operation} with message {header.type}")
        self._messages.append(parse(message_class, message))
        return self._request.wire.answer is Answer.ONE

    def refuse(self, code: int, detail: str = "") -> None:
        """Let the answer be a refusal."""
        detail = detail or self._request.hints.get(code, "")
        self.error = KernelError.of(code, self._request.operation, self._request.subject, detail)

    def lose(self, code: int) -> None:
        """Let the answer be one that never came."""
        detail = "the answer was lost; the kernel may have done it: look before asking again"
        self.error = AnswerLostError(code, self._request.operation, self._request.subject, detail)

    def reply(self) -> Any:
        """Return the decoded answer, or the `KernelError`."""
        return self.error if self.error is not None else self._request.decode(self._messages)

    def take_out(self) -> list[Any]:
        """Return what the messages so far say, which are forgotten."""
        messages, self._messages = self._messages, []
        entries: list[Any] = self._request.decode(messages)
        return entries

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


def _distance(first: int, sequence: int) -> int:
    return (sequence - first) & 0xFFFFFFFF


def _lose(waiting: dict[int, _Waiting], code: int) -> None:
    for item in waiting.values():
        item.lose(code)
    waiting.clear()


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


def parse(message_class: type[Any], data: bytes) -> Any:
    """Return a whole message as one of `message_class`; raises `MalformedReplyError`."""
    message = message_class(data)
    try:
        message.decode()
    except (NetlinkDecodeError, ValueError, struct.error) as error:
        raise MalformedReplyError(f"XFRM: {message_class.__name__}: {error}") from error
    return message
