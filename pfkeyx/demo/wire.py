"""The sniffer: our own packet sockets on the router's links, which see what each end really sends.

It reads the outer IP header and ESP (RFC 4303 §2), knows no key, and believes nobody. Nothing here judges.
"""

import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from pfkeyx.demo.traffic import MAGIC, SO_TIMESTAMPNS, stamped_packets
from pfkeyx.demo.worker import IsOver
from pfkeyx.model import IPAddress
from pfkeyx.testing import Namespace

_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_ESP = 50
_ESP_HEADER = struct.Struct("!II")
_IPV6_HEADER = 40
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # <linux/socket.h>, <linux/if_packet.h>
_RECEIVE_BUFFER = 4 << 20
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class EspPacket:
    """An ESP packet: when it was on the wire, its outer addresses, SPI, sequence number, and its payload's size."""

    time_ns: int
    source: IPAddress
    destination: IPAddress
    spi: int
    sequence: int
    size: int


@dataclass(frozen=True, slots=True)
class ClearPacket:
    """A packet that should have been inside ESP and was not."""

    time_ns: int
    source: IPAddress
    destination: IPAddress


@dataclass(frozen=True, slots=True)
class Capture:
    """What was on the wire; `missed` packets were there too and could not be looked at."""

    esp: tuple[EspPacket, ...]
    clear: tuple[ClearPacket, ...]
    missed: int


class Sniffer:
    """Packet sockets on the links of a namespace, for what comes in on them in one IP version."""

    def __init__(self, space: Namespace, links: Iterable[str], version: int, inside: Iterable[IPAddress]) -> None:
        self._inside = frozenset(inside)
        self._sockets = [space.call(partial(_listen, link, _ETHERTYPES[version])) for link in links]

    def run(self, is_over: IsOver) -> Capture:
        """Take packets until it is over, and return what was seen."""
        packets: list[tuple[bytes, int]] = []
        while not is_over():
            time.sleep(_PAUSE_S)
            packets += self._waiting()
        packets += self._waiting()
        esp, clear = [], []
        for data, time_ns in sorted(packets, key=lambda packet: packet[1]):
            match parse(data, time_ns, self._inside):
                case EspPacket() as packet:
                    esp.append(packet)
                case ClearPacket() as packet:
                    clear.append(packet)
        return Capture(tuple(esp), tuple(clear), sum(map(_missed, self._sockets)))

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets:
            sock.close()

    def _waiting(self) -> Iterator[tuple[bytes, int]]:
        for sock in self._sockets:
            yield from stamped_packets(sock)


def parse(data: bytes, time_ns: int, inside: frozenset[IPAddress]) -> EspPacket | ClearPacket | None:
    """Return what an IP packet shows; None when it is neither ESP nor anything that belongs into the tunnel."""
    if data[0] >> 4 == 4:
        header, protocol = 4 * (data[0] & 15), data[9]
        source, destination = ip_address(data[12:16]), ip_address(data[16:20])
    else:
        header, protocol = _IPV6_HEADER, data[6]
        source, destination = ip_address(data[8:24]), ip_address(data[24:40])
    if MAGIC in data or source in inside or destination in inside:
        return ClearPacket(time_ns, source, destination)
    if protocol != _ESP:
        return None
    spi, sequence = _ESP_HEADER.unpack_from(data, header)
    return EspPacket(time_ns, source, destination, spi, sequence, len(data) - header)


def _listen(link: str, ethertype: int) -> socket.socket:
    # Opened without a protocol, so that it hears nothing before it is bound to its link.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setblocking(False)
    sock.bind((link, ethertype))
    return sock


def _missed(sock: socket.socket) -> int:
    statistics = sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
    _, drops = struct.unpack("@II", statistics)
    return int(drops)
