"""The sockets of XFRM: bytes out, messages in, matched to what was asked. What messages mean is not known here.

pyroute2 declares the messages. The socket is made and driven here and not by pyroute2's own classes, because those
bring an event loop of their own, cannot be made inside a running one, send one message a datagram, and fork a child
to enter a namespace.
"""

import errno
import fcntl
import os
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

from pfkeyx.alike import Alike
from pfkeyx.entries import Received
from pfkeyx.errors import ClosedError, KernelError, MalformedReplyError, UnsupportedError
from pfkeyx.native import RECEIVE_BUFFER, ffi, lib, open_raw
from pfkeyx.operation import Batch, Exchange, Request, Stream, Transport
from pfkeyx.xfrm.answers import Answer
from pfkeyx.xfrm.datagram import DATAGRAM, walk
from pfkeyx.xfrm.numbers import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
)
from pfkeyx.xfrm.waiting import Unanswered, Waiting

_SOL_NETLINK = 270  # <linux/socket.h>
#: <linux/sockios.h>: a descriptor of a socket's namespace.
_SIOCGSKNS = 0x894C
#: So many answers stay far below any receive buffer.
_PIPELINED = 64
#: So many messages travel in a datagram of which only refusals are answered.
_ACKNOWLEDGED = 256
#: So often is a dump asked for that changes interrupt.
_DUMP_TRIES = 3
#: After so many messages of an answer the driver has a turn: it knows who else waits.
_TURN = 1024
#: Octets of a dump that are taken in before they are handed on.
_TOGETHER = 64 << 10
#: Octets of the send buffer that netlink_sendmsg() keeps for itself.
_SEND_OVERHEAD = 32
#: Octets of the receive buffer that an acknowledgement takes with the kernel's own notes on it, 960 by Linux 7.3, and
#: what any other answer takes at most: the kernel allots no more than 8 KiB (NLMSG_GOODSIZE).
_ACKNOWLEDGEMENT_ROOM = 2 << 10
_ANSWER_ROOM = 9 << 10


def open_socket(netns: str | None, groups: Sequence[int] = (), receive_buffer: int = RECEIVE_BUFFER) -> socket.socket:
    """Return a NETLINK_XFRM socket in `netns` (a name under /run/netns or a path; None = the caller's).

    It joins `groups`, and has room for `receive_buffer` octets.

    Raises `UnsupportedError` when the kernel has no XFRM, `NotPermittedError` without the right to enter or listen.
    """
    try:
        descriptor = open_raw(socket.AF_NETLINK, socket.NETLINK_XFRM, netns, receive_buffer)
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            raise UnsupportedError("XFRM", "this kernel has no XFRM netlink: load xfrm_user") from error
        raise KernelError.of(error.errno or errno.EIO, "open XFRM socket", netns or "") from error
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_XFRM, fileno=descriptor)
    try:
        sock.setsockopt(_SOL_NETLINK, NETLINK_CAP_ACK, 1)
        sock.setsockopt(_SOL_NETLINK, NETLINK_EXT_ACK, 1)
        sock.bind((0, 0))
        for group in groups:
            sock.setsockopt(_SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except OSError as error:
        sock.close()
        raise KernelError.of(error.errno or errno.EIO, "open XFRM socket", netns or "") from error
    return sock


class XfrmTransport:
    """A socket for requests. Synchronization: one operation at a time, from one thread."""

    def __init__(self, netns: str | None = None, open_aside: Callable[[str | None], Transport] | None = None) -> None:
        sock = open_socket(netns)
        self._begin(sock, sock.getsockname()[0], netns, open_aside)

    @classmethod
    def over(cls, sock: socket.socket, port: int) -> Self:
        """Return a transport over a non-blocking NETLINK_XFRM socket that is open already, and is closed with it.

        `port` is what the kernel calls the socket, its `nl_pid`.
        """
        transport = cls.__new__(cls)
        transport._begin(sock, port, None)
        return transport

    def _begin(
        self,
        sock: socket.socket,
        port: int,
        netns: str | None,
        open_aside: Callable[[str | None], Transport] | None = None,
    ) -> None:
        self._socket = sock
        self._port = port
        self._netns = netns
        self._open_aside = open_aside
        self._aside: Transport | None = None
        self._first = self._sequence = int.from_bytes(os.urandom(3), "big")
        self._is_behind = False
        self._dump = ffi.new("struct pfkeyx_dump *")
        self._sendable = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _SEND_OVERHEAD
        self._receivable = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._close_aside()

    def another(self) -> "XfrmTransport":
        """Open a further socket in the same namespace."""
        return XfrmTransport(self._netns)

    def aside(self) -> Transport:
        """Return a transport of PF_KEY, which is open until this one is asked something; see `Transport.aside`."""
        if self.fileno() < 0:
            raise ClosedError()
        if self._aside is None:
            if self._open_aside is None:
                raise UnsupportedError("PF_KEY", "this engine has no other socket than the one that it was given")
            self._aside = _open_in_namespace_of(self._socket, self._open_aside)
        return self._aside

    def _close_aside(self) -> None:
        if self._aside is not None:
            self._aside.close()
            self._aside = None

    def has_sent(self, sender: int, sequence: int) -> bool:
        """Return whether a change with this nlmsg_pid and nlmsg_seq was asked for here."""
        # Others' PF_KEY sockets are announced under numbers of their own choice, a process's id often.
        return sender == self._port and 0 < _distance(self._first, sequence) <= _distance(self._first, self._sequence)

    def exchange(self, batch: Batch) -> Exchange:
        """Send a batch and return, in order, each one's reply or `KernelError`; see `Transport.exchange`."""
        # While any socket of PF_KEY is open, the kernel tells it of every change: a fifth of a move.
        self._close_aside()
        requests = batch.requests
        if isinstance(requests, Alike) and not batch.one_datagram:
            return (yield from self._exchange_alike(requests))
        replies: list[Any] = []
        taken = 0
        for requests in self._datagrams(batch):
            asked = again = [Waiting(request) for request in requests]
            for _ in range(_DUMP_TRIES):
                taken = yield from self._finish(self._ask(again), taken)
                again = [item for item in again if item.was_interrupted]
                if not again:
                    break
            replies += [item.reply() for item in asked]
        return replies

    def _exchange_alike(self, requests: Alike) -> Exchange:
        """Send what is only acknowledged, of which nothing is made but of what is refused."""
        replies: list[Any] = [None] * len(requests)
        most = min(_ACKNOWLEDGED, self._receivable // _ACKNOWLEDGEMENT_ROOM)
        taken = first = 0
        for part in requests.parts:
            for datagram in part.cut(self._sendable, most):
                unanswered = self._send(datagram.data, len(datagram), partial(_waiting, requests, first))
                taken = yield from self._finish(unanswered, taken)
                for place, item in unanswered.told.items():
                    replies[first + place] = item.reply()
                first += len(datagram)
        return replies

    def stream(self, request: Request[Sequence[Any]]) -> Stream:
        """Send a dump and hand out its entries datagram by datagram; see `Transport.stream`."""
        dump = Waiting(request)
        unanswered = self._ask([dump])
        while unanswered:
            try:
                self._receive(unanswered)
            except BlockingIOError:
                try:
                    yield []
                except TimeoutError:
                    unanswered.lose(errno.ETIMEDOUT)
            if entries := dump.take_out():
                yield entries
        if dump.error is not None:
            raise dump.error

    def _datagrams(self, batch: Batch) -> Iterator[Sequence[Request[Any]]]:
        if batch.one_datagram:
            yield from self._fitting(batch.requests)
            return
        # The kernel runs one dump at a time on a socket, so a dump travels alone.
        run: list[Request[Any]] = []
        for request in batch.requests:
            if request.wire.answer.is_dump:
                yield from _chunks(run)
                run = []
                yield [request]
            else:
                run.append(request)
        yield from _chunks(run)

    def _fitting(self, requests: Sequence[Request[Any]]) -> Iterator[Sequence[Request[Any]]]:
        """Cut requests into as few datagrams as the kernel takes, and has room to answer."""
        fitting: list[Request[Any]] = []
        size = room = 0
        for request in requests:
            octets = len(request.wire.message)
            answer = _ACKNOWLEDGEMENT_ROOM if request.wire.answer is Answer.ACK else _ANSWER_ROOM
            if fitting and (size + octets > self._sendable or room + answer > self._receivable):
                yield fitting
                fitting, size, room = [], 0, 0
            fitting.append(request)
            size += octets
            room += answer
        yield fitting

    def _finish(self, unanswered: Unanswered, taken: int) -> Generator[int, None, int]:
        """Wait for the answers to a datagram; return `taken` and what these have come to."""
        turn = taken + _TURN
        while unanswered:
            try:
                taken += self._receive(unanswered)
            except BlockingIOError:
                turn = taken
            if unanswered and taken >= turn:
                turn = taken + _TURN
                try:
                    yield taken
                except TimeoutError:
                    unanswered.lose(errno.ETIMEDOUT)
        return taken

    def _ask(self, asked: Sequence[Waiting]) -> Unanswered:
        """Send requests in one datagram; see `_send`."""
        for item in asked:
            if item.was_interrupted:
                item.begin()
        messages = memoryview(bytearray().join([item.message for item in asked]))
        return self._send(messages, len(asked), asked.__getitem__)

    def _send(self, messages: memoryview, count: int, make: Callable[[int], Waiting]) -> Unanswered:
        """Send messages in one datagram and return those whose answer is to come; `make` makes one by its place."""
        if self._is_behind:
            self._catch_up()
        first = (self._sequence + 1) & 0xFFFFFFFF
        unanswered = Unanswered(first, count, make)
        lib.pfkeyx_number_xfrm(ffi.from_buffer(messages), len(messages), first, self._port)
        self._sequence = (self._sequence + count) & 0xFFFFFFFF
        # Before it is sent: an interruption comes right behind, and the kernel has begun a dump while it took that in.
        self._is_behind = True
        try:
            # The bytes have keys in them, and a view of them shows none in a traceback.
            self._socket.send(messages)
        except OSError as error:
            unanswered.refuse(error.errno or errno.EIO)
        return unanswered

    def _catch_up(self) -> None:
        """Read away the rest of an answer that was given up: before its end the kernel begins no other dump."""
        while True:
            try:
                self._socket.recv(DATAGRAM)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return

    def _receive(self, unanswered: Unanswered) -> int:
        """Take in one datagram; return how many of its messages belong to the answers.

        Raises `BlockingIOError` when none waits.
        """
        if (table := unanswered.table) is not None:
            return self._receive_entries(table, unanswered)
        try:
            data = self._socket.recv(DATAGRAM)
        except BlockingIOError:
            raise
        except OSError as error:
            unanswered.lose(error.errno or errno.EIO)
            return 0
        taken = 0
        for header, message in walk(data):
            item = unanswered.at(header.sequence)
            if item is not None:
                taken += 1
                if item.take(header, message):
                    taken += unanswered.complete(header.sequence)
        self._is_behind = bool(unanswered)
        return taken

    def _receive_entries(self, item: Waiting, unanswered: Unanswered) -> int:
        """Take in some datagrams of a dump of SAs or policies; see `_receive`."""
        dump = self._dump
        dump.sequence, dump.type, dump.torn = self._sequence, item.entry_type, 0
        entries = Received(lambda native: lib.pfkeyx_receive_xfrm_dump(self.fileno(), native, dump, _TOGETHER))
        if entries:
            item.take_entries(entries)
        if dump.torn:
            item.tear()
        match -entries.status:
            case 0:
                (last,) = walk(entries.last)
                item.take(*last)
                unanswered.complete(self._sequence)
                self._is_behind = False
                return len(entries) + 1
            case errno.EBADMSG | errno.EPROTO:
                raise MalformedReplyError(f"XFRM answered {item.operation} with what is no message, or another")
            case errno.EAGAIN if not entries:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            case code if code > 0 and code != errno.EAGAIN:
                unanswered.lose(code)
        return len(entries)


def _open_in_namespace_of(sock: socket.socket, opening: Callable[[str | None], Transport]) -> Transport:
    """Open a transport in the namespace of a socket, in which the calling thread may no longer be."""
    try:
        namespace = fcntl.ioctl(sock, _SIOCGSKNS)
    except OSError as error:
        raise KernelError.of(error.errno or errno.EIO, "find the namespace of", "a socket") from error
    try:
        # To enter another one takes more rights than to stay.
        is_ours = os.path.samestat(os.fstat(namespace), Path("/proc/thread-self/ns/net").stat())
        return opening(None if is_ours else f"/proc/self/fd/{namespace}")
    finally:
        os.close(namespace)


def _chunks(requests: Sequence[Request[Any]]) -> Iterator[Sequence[Request[Any]]]:
    rest = iter(requests)
    while chunk := list(islice(rest, _PIPELINED)):
        yield chunk


def _distance(first: int, sequence: int) -> int:
    return (sequence - first) & 0xFFFFFFFF


def _waiting(requests: Sequence[Request[Any]], first: int, place: int) -> Waiting:
    return Waiting(requests[first + place])
