"""What several unit tests share."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from pfkeyx.xfrm import XfrmTransport
from tests.unit.xfrm_bytes import PORT

#: How long an example takes to make, and how large it is, is no fault.
UNTIMED = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("untimed", deadline=None, suppress_health_check=UNTIMED)
settings.load_profile("untimed")


@pytest.fixture
def ends() -> Iterator[tuple[XfrmTransport, socket.socket]]:
    """Return a transport, and the other end of its socket, which is the kernel's."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    transport = XfrmTransport.over(ours, PORT)
    yield transport, kernels
    transport.close()
    kernels.close()
