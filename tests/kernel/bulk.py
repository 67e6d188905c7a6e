"""A gateway with many tunnels, each to a remote end of its own. Nothing here moves them.

They are written as bytes that are made once, since to build each request would take most of the time that there is.
"""

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from pyroute2.netlink import NLM_F_ACK

from pfkeyx import AES_GCM, SA, AddressUpdate, Engine, Policy, Tunnel
from pfkeyx.model import IPAddress
from pfkeyx.xfrm import XfrmDialect
from pfkeyx.xfrm.transport import open_socket
from tests.kernel.values import ADDRESSES, encryption

INNER = ADDRESSES[4].roaming_inner
EARLIER, LATER = ADDRESSES[4].roaming, ADDRESSES[4].roaming_later
UPDATE = AddressUpdate(EARLIER, LATER)
REMOTE_ENDS, REMOTE_INNERS = ip_network("198.18.0.0/16"), ip_network("10.64.0.0/16")
_OUTBOUND_SPIS, _INBOUND_SPIS, _REQIDS = 0x1001_0000, 0x2001_0000, 0x3001_0000
_SUITE = encryption(AES_GCM, 20)
_MARKER = 0xABCD


def tunnel(number: int, local: IPAddress = EARLIER) -> Tunnel:
    """Return a tunnel of the gateway, as the gateway sees it."""
    remote, inner = REMOTE_ENDS[number], REMOTE_INNERS[number]
    return Tunnel(local, remote, ip_network(INNER), ip_network(inner), _REQIDS + number)


def remote_tunnel(number: int) -> Tunnel:
    """Return a tunnel as its remote end sees it."""
    return tunnel(number).reversed()


def tunnel_sas(number: int, local: IPAddress = EARLIER) -> tuple[SA, SA]:
    """Return the gateway's outbound and inbound SA of a tunnel."""
    there = tunnel(number, local)
    return there.outbound(outbound_spi(number), _SUITE), there.inbound(inbound_spi(number), _SUITE)


def add_remote_end(engine: Engine, number: int) -> None:
    """Write the SAs and policies of a tunnel's remote end."""
    there = remote_tunnel(number)
    engine.add_sas([there.outbound(inbound_spi(number), _SUITE), there.inbound(outbound_spi(number), _SUITE)])
    engine.add_policies(there.policies())


def write_tunnels(numbers: Iterable[int]) -> None:
    """Write tunnels into the calling thread's namespace."""
    dialect = XfrmDialect()
    requests = (
        *map(dialect.add_sa, tunnel_sas(_MARKER)),
        *map(dialect.add_policy, tunnel(_MARKER).policies()),
    )
    written = b"".join(_unacknowledged(request.wire.message) for request in requests)
    assert all(word in written for word in _words(_MARKER))
    with open_socket(None) as sock:
        for number in numbers:
            datagram = written
            for marked, wanted in zip(_words(_MARKER), _words(number), strict=True):
                datagram = datagram.replace(marked, wanted)
            sock.send(datagram)
        try:
            refusal = sock.recv(4096)
        except BlockingIOError:
            refusal = b""
    assert not refusal


def held(engine: Engine) -> tuple[list[SA], list[Policy]]:
    """Return what a kernel holds, without counters, in an order of its own."""
    return in_order([sa.as_written() for sa in engine.dump_sas()], [p.as_written() for p in engine.dump_policies()])


def written(numbers: Sequence[int], local: IPAddress) -> tuple[list[SA], list[Policy]]:
    """Return the SAs and policies of tunnels, in the same order."""
    return in_order(
        [sa for number in numbers for sa in tunnel_sas(number, local)],
        [policy for number in numbers for policy in tunnel(number, local).policies()],
    )


def in_order(sas: Iterable[SA], policies: Iterable[Policy]) -> tuple[list[SA], list[Policy]]:
    """Return SAs and policies in an order of their own."""
    return (
        sorted(sas, key=lambda sa: (sa.id.spi, sa.source, sa.destination)),
        sorted(policies, key=lambda policy: (policy.templates[0].reqid, policy.direction)),
    )


def outbound_spi(number: int) -> int:
    """Return the SPI under which the gateway sends through a tunnel."""
    return _OUTBOUND_SPIS + number


def inbound_spi(number: int) -> int:
    """Return the SPI under which the remote end sends through a tunnel."""
    return _INBOUND_SPIS + number


def _unacknowledged(message: bytearray) -> bytes:
    (flags,) = struct.unpack_from("=H", message, 6)
    struct.pack_into("=H", message, 6, flags & ~NLM_F_ACK)
    return bytes(message)


def _words(number: int) -> tuple[bytes, ...]:
    """Return what is different in the bytes of each tunnel."""
    return (
        REMOTE_ENDS[number].packed,
        REMOTE_INNERS[number].packed,
        outbound_spi(number).to_bytes(4, "big"),
        inbound_spi(number).to_bytes(4, "big"),
        struct.pack("=I", _REQIDS + number),
    )
