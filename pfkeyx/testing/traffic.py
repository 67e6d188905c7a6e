"""Numbered packets through a tunnel, both ways, and which of them arrived."""

import multiprocessing
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

from pfkeyx.model import IPAddress
from pfkeyx.testing.namespace import Namespace
from pfkeyx.testing.wire import Wire, enlarge

#: Where packets are sent from and to.
PORT = 9000
#: An emulated machine may stand still for long.
_PATIENCE_S = 60
_PAYLOAD = struct.Struct("=QQ")


@dataclass(slots=True)
class Stream:
    """The packets of one direction: who sends, and what has arrived so far, as numbers in order of arrival."""

    sender: socket.socket
    receiver: socket.socket
    arrived: list[int] = field(default_factory=list)

    @property
    def destination(self) -> tuple[str, int]:
        """Where they are sent: the receiver's address and port."""
        address, port, *_ = self.receiver.getsockname()
        return address, port

    def send(self, count: int) -> None:
        """Send packets one after another and wait until each has arrived; raises `AssertionError` if one does not."""
        for number in range(count):
            self.send_one(number)
            self.wait_for(0)

    def send_one(self, number: int) -> None:
        """Send one packet, and do not wait for it."""
        self.sender.sendto(_PAYLOAD.pack(number, time.monotonic_ns()), self.destination)

    def flood(self, pause_s: float) -> None:
        """Send numbered packets for ever; what the kernel refuses is not sent again."""
        number = 0
        while True:
            number += 1
            with suppress(OSError):
                self.send_one(number)
            time.sleep(pause_s)

    def wait_for(self, since_ns: int) -> None:
        """Wait until a packet arrives that was sent after `since_ns` of the monotonic clock, in nanoseconds.

        Raises `AssertionError` when none does.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if select.select([self.receiver], (), (), 1)[0]:
                number, sent_ns = _PAYLOAD.unpack(self.receiver.recv(_PAYLOAD.size))
                self.arrived.append(number)
                if sent_ns > since_ns:
                    return
        raise AssertionError(f"no packet came to {self.destination} in {_PATIENCE_S} s")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Both directions, and the wires that are read while it flows, if nobody else reads them."""

    outward: Stream
    inward: Stream
    wires: tuple[Wire, ...] = ()

    @classmethod
    def between(cls, here: socket.socket, there: socket.socket, wires: tuple[Wire, ...] = ()) -> Self:
        """Return both directions between two sockets; outward is from here to there."""
        return cls(Stream(here, there), Stream(there, here), wires)

    def send(self, count: int = 3) -> None:
        """Send packets one after another, each way, and wait until each has arrived.

        Raises `AssertionError` when one does not.
        """
        self.outward.send(count)
        self.inward.send(count)

    @contextmanager
    def flood(self, pause_s: float = 0.004) -> Iterator[None]:
        """Let two processes send without end, until the block is left."""
        fork = multiprocessing.get_context("fork")
        senders = [fork.Process(target=s.flood, args=(pause_s,)) for s in (self.outward, self.inward)]
        for sender in senders:
            sender.start()
        try:
            self.wait_until_it_flows()
            yield
        finally:
            for sender in senders:
                sender.kill()
                sender.join()

    def wait_until_it_flows(self) -> None:
        """Wait until a packet that is sent from now on arrives, each way."""
        now = time.monotonic_ns()
        self.outward.wait_for(now)
        self.inward.wait_for(now)
        for wire in self.wires:
            wire.read()


def open_socket(namespace: Namespace, address: IPAddress, port: int = PORT) -> socket.socket:
    """Open one end of a stream in a namespace."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = namespace.call(lambda: socket.socket(family, socket.SOCK_DGRAM))
    enlarge(sock)
    sock.bind((str(address), port))
    return sock
