"""What several unit tests share."""

import socket
from collections.abc import Iterator

import pytest

from pfkeyx.xfrm import XfrmTransport
from tests.unit.xfrm_bytes import PORT


@pytest.fixture
def ends() -> Iterator[tuple[XfrmTransport, socket.socket]]:
    """Return a transport, and the other end of its socket, which is the kernel's."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    transport = XfrmTransport.over(ours, PORT)
    yield transport, kernels
    transport.close()
    kernels.close()
