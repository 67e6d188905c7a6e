"""What the router saw of the wire: its log, which tcpdump writes."""

import re
from dataclasses import dataclass

_ESP = re.compile(r"IP6? (\S+) > (\S+): (?:UDP-encap: )?ESP\(spi=0x([0-9a-f]+),seq=0x([0-9a-f]+)\)")
#: What is behind the gateways, and the client's own address in the tunnel.
_INNER = re.compile(r"IP6? (?:10\.|fd00:)\S+ > |> (?:10\.|fd00:)")


@dataclass(frozen=True, slots=True)
class Packet:
    """An ESP packet: its outermost addresses, with ports where it is in UDP, as tcpdump writes them."""

    source: str
    destination: str
    spi: int
    sequence: int


def esp(log: list[str]) -> list[Packet]:
    """Return the ESP packets, in UDP or not, in order."""
    found = (_ESP.search(line) for line in log)
    return [Packet(m[1], m[2], int(m[3], 16), int(m[4], 16)) for m in found if m]


def in_clear(log: list[str]) -> list[str]:
    """Return what can be seen of packets that belong into a tunnel."""
    return [line for line in log if _INNER.search(line)]


def repeated(packets: list[Packet]) -> list[tuple[Packet, Packet]]:
    """Return the packets that did not go on in their SA's sequence numbers, each with the one before."""
    last: dict[int, Packet] = {}
    found = []
    for packet in packets:
        before = last.get(packet.spi)
        if before and packet.sequence <= before.sequence:
            found.append((before, packet))
        last[packet.spi] = packet
    return found
