"""A fresh network namespace for every test, and the guard that refuses to go on without one."""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfkeyx import Engine

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

_THREAD_NAMESPACE = Path("/proc/thread-self/ns/net")
_SESSION_NAMESPACE = _THREAD_NAMESPACE.stat().st_ino
_libc = ctypes.CDLL(None, use_errno=True)


def refuse_foreign_namespace() -> None:
    """Fail the test when it is in the namespace that the session, or pid 1, lives in."""
    here = _THREAD_NAMESPACE.stat().st_ino
    try:
        foreign = {_SESSION_NAMESPACE, Path("/proc/1/ns/net").stat().st_ino}
    except PermissionError:  # inside a user namespace pid 1 is out of reach, and so is its network
        foreign = {_SESSION_NAMESPACE}
    if here in foreign:
        pytest.fail("this test would change a network namespace that is not its own")


@pytest.fixture(autouse=True)
def own_network_namespace() -> Iterator[None]:
    """Run the test in a network namespace made for it, with lo up; leave it afterwards."""
    before = os.open(_THREAD_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(CLONE_NEWNET), "a network namespace could not be made: run kernel tests by lab/run")
        refuse_foreign_namespace()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        yield
        empty_sad()
        _check(_libc.setns(before, CLONE_NEWNET), "the test's network namespace could not be left")
    finally:
        os.close(before)


def empty_sad() -> None:
    """Leave no SAs behind in the calling thread's namespace.

    Linux 7.3 was seen to panic, in xfrm6_tunnel_destroy, after a namespace had ended in which IPComp had its tunnels.
    """
    with Engine.open("xfrm") as engine:
        engine.flush_sas()


def _check(result: int, failure: str) -> None:
    if result != 0:
        pytest.fail(f"{failure} ({os.strerror(ctypes.get_errno())})")
