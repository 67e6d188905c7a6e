"""Numbered packets through a tunnel, both ways, and which of them arrived."""

import multiprocessing
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from pfkeyx.model import IPAddress
from tests.kernel.topology import Host, Road
from tests.kernel.wire import Wire, enlarge

PORT = 9000
_PATIENCE_S = 120
_PAYLOAD = struct.Struct("=QQ")


@dataclass(slots=True)
class Stream:
    """The packets of one direction: who sends, and what has arrived so far, as numbers in order of arrival."""

    sender: socket.socket
    receiver: socket.socket
    destination: tuple[str, int]
    arrived: list[int] = field(default_factory=list)

    def send(self, count: int) -> None:
        """Send packets one after another and wait until each has arrived."""
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
        """Wait until a packet arrives that was sent after `since_ns`."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if select.select([self.receiver], (), (), 1)[0]:
                number, sent_ns = _PAYLOAD.unpack(self.receiver.recv(_PAYLOAD.size))
                self.arrived.append(number)
                if sent_ns > since_ns:
                    return
        pytest.fail(f"no packet came to {self.destination} in {_PATIENCE_S} s")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Both directions, and the wires that are read while it flows, if nobody else reads them."""

    outward: Stream
    inward: Stream
    wires: tuple[Wire, ...] = ()

    def send(self, count: int = 3) -> None:
        """Send packets one after another, each way, and wait until each has arrived."""
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


@contextmanager
def traffic_over(road: Road) -> Iterator[Traffic]:
    """Open the sockets of both ends, on the tunnel's inner addresses."""
    at = road.addresses
    with ExitStack() as stack:
        here = stack.enter_context(open_socket(road.roaming, at.roaming_inner))
        there = stack.enter_context(open_socket(road.gateway, at.gateway_inner))
        yield Traffic(
            Stream(here, there, (str(at.gateway_inner), PORT)),
            Stream(there, here, (str(at.roaming_inner), PORT)),
            (road.roaming.wire, road.gateway.wire),
        )


def open_socket(host: Host, address: IPAddress, port: int = PORT) -> socket.socket:
    """Open one end of a stream in a host."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = host.namespace.call(lambda: socket.socket(family, socket.SOCK_DGRAM))
    enlarge(sock)
    sock.bind((str(address), port))
    return sock
