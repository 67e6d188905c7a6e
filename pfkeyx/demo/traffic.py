"""Numbered UDP packets: how one looks, and the end of a stream that sends its own and notes what arrives.

Times are nanoseconds since the epoch, in the clock by which the kernel stamps packets. Nothing here counts or judges.
"""

import errno
import itertools
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pfkeyx.demo.worker import IsOver
from pfkeyx.model import IPAddress
from pfkeyx.testing import Namespace

#: In every packet; seen on the wire outside ESP it means that the packet left in clear.
MAGIC = b"pfkeyx: numbered"
_HEADER = struct.Struct("!16sI")

#: A packet's size tells its number modulo SIZES, so that it can be recognised when it is encrypted.
SIZES = 64
#: A multiple of every cipher's block, so that padding does not hide it.
SIZE_STEP = 16

PORT = 7000
_RETRY_S = 0.0002
#: What send() says while a policy blocks, an SA is being replaced, or a route is changing.
_REFUSALS = {errno.EPERM, errno.EINVAL, errno.EAGAIN, errno.ENOBUFS, errno.ENETUNREACH, errno.EHOSTUNREACH}

SO_TIMESTAMPNS = 35  # <asm-generic/socket.h>; Python has no name for it
_TIMESPEC = struct.Struct("@ll")
_LARGEST = 2048


@dataclass(frozen=True, slots=True)
class Sent:
    """A packet that was sent, when, and how often the kernel refused it before."""

    number: int
    time_ns: int
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet that arrived, and when."""

    number: int
    time_ns: int


@dataclass(slots=True)
class Log:
    """What one end of the two streams sent and got."""

    sent: list[Sent] = field(default_factory=list)
    arrived: list[Arrival] = field(default_factory=list)


def packet(number: int) -> bytes:
    """Return the payload of a numbered packet."""
    return _HEADER.pack(MAGIC, number) + bytes(SIZE_STEP * (number % SIZES))


def number_of(payload: bytes) -> int | None:
    """Return a payload's number, None when it is not one of ours."""
    if len(payload) < _HEADER.size:
        return None
    magic, number = _HEADER.unpack_from(payload)
    return number if magic == MAGIC else None


class End:
    """One end of the streams: a UDP socket in a namespace, and the loop that uses it."""

    def __init__(self, space: Namespace, here: IPAddress, there: IPAddress, rate: int) -> None:
        family = socket.AF_INET if here.version == 4 else socket.AF_INET6
        self._socket = space.call(lambda: socket.socket(family, socket.SOCK_DGRAM))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setblocking(False)
        self._socket.bind((str(here), PORT))
        self._peer = (str(there), PORT)
        self._interval_ns = 10**9 // rate

    def run(self, is_over: IsOver) -> Log:
        """Send a packet every interval and receive, until it is over; return what was sent and what arrived."""
        log = Log()
        due = time.time_ns()
        while not is_over():
            if (sent := self._send(len(log.sent), is_over)) is not None:
                log.sent.append(sent)
            log.arrived += self.arrivals()
            # Who is late does not hurry: a burst would overflow what a steady stream never fills.
            due = max(due + self._interval_ns, time.time_ns())
            time.sleep(max(0, due - time.time_ns()) / 1e9)
        return log

    def arrivals(self) -> Iterator[Arrival]:
        """Take what has arrived and was not taken yet."""
        for payload, time_ns in stamped_packets(self._socket):
            if (number := number_of(payload)) is not None:
                yield Arrival(number, time_ns)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, number: int, is_over: IsOver) -> Sent | None:
        """Send a packet, again and again while it is refused; None when that did not end."""
        payload = packet(number)
        for refusals in itertools.count():
            time_ns = time.time_ns()
            try:
                self._socket.sendto(payload, self._peer)
            except OSError as refusal:
                if refusal.errno not in _REFUSALS:
                    raise
                if is_over():
                    break
                time.sleep(_RETRY_S)
            else:
                return Sent(number, time_ns, refusals)
        return None


def stamped_packets(sock: socket.socket) -> Iterator[tuple[bytes, int]]:
    """Take all packets that wait in a non-blocking socket, each with the kernel's time stamp."""
    while True:
        try:
            data, ancillary, _, _ = sock.recvmsg(_LARGEST, socket.CMSG_SPACE(_TIMESPEC.size))
        except BlockingIOError:
            return
        seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
        yield data, seconds * 10**9 + nanoseconds
