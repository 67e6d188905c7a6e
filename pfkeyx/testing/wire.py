"""What goes over the wire, seen by a packet socket: it knows no key, and believes nobody's word."""

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import TracebackType
from typing import Self

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_STATISTICS = 6
SO_RCVBUFFORCE = 33
ESP, AH, UDP = 50, 51, 17
_BUFFER = 32 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """A packet as it left a host: its outermost addresses, and where it is ESP, in UDP too, or AH, SPI and number.

    `spi` is None where it is neither, `ports` are those of UDP.
    """

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    spi: int | None = None
    sequence: int = 0
    ports: tuple[int, int] | None = None

    @property
    def outside(self) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address, tuple[int, int] | None]:
        """What tells one place of a tunnel from another."""
        return self.source, self.destination, self.ports


class Wire:
    """Listens to what a device of the calling thread's namespace sends, or all do; use it in `with`.

    Where much is sent, `read` it from time to time: what a full socket cannot hold is lost.
    """

    def __init__(self, device: str | None = None) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        enlarge(self._socket)
        if device:
            self._socket.bind((device, ETH_P_ALL))
        self._socket.setblocking(False)
        self._frames: list[Frame] = []

    def read(self) -> None:
        """Take over what waits in the socket."""
        with suppress(BlockingIOError):
            while True:
                packet, (_, _, packet_type, *_) = self._socket.recvfrom(2048)
                if packet_type == socket.PACKET_OUTGOING and packet[0] >> 4 in (4, 6):
                    self._frames.append(_parse(packet))

    def frames(self) -> list[Frame]:
        """Return the IP packets that were sent so far, in order; raises `AssertionError` when some were lost."""
        self.read()
        _, dropped = struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        if dropped:
            raise AssertionError(f"the packet socket lost {dropped} frames, so nothing can be said of the rest")
        return self._frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()


def enlarge(sock: socket.socket) -> None:
    """Give a socket all the room for arriving packets that it may have."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:  # inside a user namespace
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


def _parse(packet: bytes) -> Frame:
    if packet[0] >> 4 == 4:
        ends, protocol, payload = packet[12:20], packet[9], packet[4 * (packet[0] & 15) :]
    else:
        ends, protocol, payload = packet[8:40], packet[6], packet[40:]
    half = len(ends) // 2
    source, destination = ip_address(ends[:half]), ip_address(ends[half:])
    ports = None
    if protocol == UDP:
        ports = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
        payload = payload[8:]
        # RFC 3948 §2.2: four zero bytes are IKE's mark, and stand where an SPI would.
        if 4500 not in ports or payload[:4] == bytes(4):
            return Frame(source, destination, ports=ports)
    elif protocol == AH:
        # RFC 4302 §2: as in ESP, but for what comes before.
        payload = payload[4:]
    elif protocol != ESP:
        return Frame(source, destination)
    spi, sequence = int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")
    return Frame(source, destination, spi, sequence, ports)
