"""Network namespaces without names: they live as long as this process, or a socket in them, and leave nothing behind.

Nothing here knows what is built in one.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pfkeyx.errors import KernelError

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_OWN = Path("/proc/thread-self/ns/net")
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace of our own, with `sysctls` (below net/) set; it ends when it is closed and unused.

    Raises `NotPermittedError` without the right to make one.
    """

    def __init__(self, sysctls: Mapping[str, str]) -> None:
        self._descriptor = _in_thread(lambda: _make(sysctls))

    @property
    def descriptor(self) -> int:
        """A file descriptor of the namespace, open until `close`."""
        return self._descriptor

    @property
    def path(self) -> str:
        """A path by which this process and its children can open the namespace."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def run(self, function: Callable[[], T]) -> T:
        """Call a function inside, in a thread of its own, and return what it returns; sockets it opens stay inside."""

        def inside() -> T:
            _check(_libc.setns(self._descriptor, _CLONE_NEWNET), "enter a network namespace")
            return function()

        return _in_thread(inside)

    def xfrm_statistics(self) -> dict[str, int]:
        """Return the counters of /proc/net/xfrm_stat; none where the kernel keeps none."""

        def read() -> dict[str, int]:
            # /proc/net is the main thread's.
            path = Path("/proc/thread-self/net/xfrm_stat")
            lines = path.read_text().splitlines() if path.exists() else []
            return {name: int(count) for name, count in map(str.split, lines)}

        return self.run(read)

    def close(self) -> None:
        """Let go of the namespace."""
        os.close(self._descriptor)


def _make(sysctls: Mapping[str, str]) -> int:
    _check(_libc.unshare(_CLONE_NEWNET), "make a network namespace")
    descriptor = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    for name, value in sysctls.items():
        path = Path("/proc/sys/net") / name
        if path.exists():
            path.write_text(value)
    return descriptor


def _in_thread(function: Callable[[], T]) -> T:
    # A thread that entered a namespace is not used for anything else.
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function).result()


def _check(result: int, operation: str) -> None:
    if result != 0:
        raise KernelError.of(
            ctypes.get_errno() or errno.EIO, operation, detail="needs root: run it with sudo, or by `make demo`"
        )
