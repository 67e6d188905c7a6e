"""The isolation that every kernel test relies on."""

import socket
from pathlib import Path

import pytest

from tests.kernel.namespace import refuse_foreign_namespace


def test_a_test_has_a_network_with_lo_alone() -> None:
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


def test_the_guard_refuses_the_namespace_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_foreign_namespace()
    here = Path("/proc/thread-self/ns/net").stat().st_ino
    monkeypatch.setattr("tests.kernel.namespace._SESSION_NAMESPACE", here)
    with pytest.raises(pytest.fail.Exception, match="not its own"):
        refuse_foreign_namespace()
