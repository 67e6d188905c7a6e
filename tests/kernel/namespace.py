"""A fresh network namespace for every test, and the guard that refuses to go on without one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pfkeyx.testing import fresh_namespace

_THREAD_NAMESPACE = Path("/proc/thread-self/ns/net")
_SESSION_NAMESPACE = _THREAD_NAMESPACE.stat().st_ino


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
    with fresh_namespace():
        refuse_foreign_namespace()
        yield
