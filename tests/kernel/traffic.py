"""Packets through a road's tunnel."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pfkeyx.model import IPAddress
from pfkeyx.testing import Traffic
from pfkeyx.testing import traffic as testing
from tests.kernel.topology import Host, Road

PORT = testing.PORT


@contextmanager
def traffic_over(road: Road) -> Iterator[Traffic]:
    """Open the sockets of both ends, on the tunnel's inner addresses."""
    at = road.addresses
    with ExitStack() as stack:
        here = stack.enter_context(open_socket(road.roaming, at.roaming_inner))
        there = stack.enter_context(open_socket(road.gateway, at.gateway_inner))
        yield Traffic.between(here, there, (road.roaming.wire, road.gateway.wire))


def open_socket(host: Host, address: IPAddress, port: int = PORT) -> socket.socket:
    """Open one end of a stream in a host."""
    return testing.open_socket(host.namespace, address, port)
