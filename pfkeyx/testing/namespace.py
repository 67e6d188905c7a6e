"""Network namespaces without names: they end with the test, and with what was started in them.

Nothing here knows what is built in one.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pfkeyx.engine import Engine
from pfkeyx.errors import KernelError, UnsupportedError

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # <linux/sockios.h>, <linux/if.h>
_OWN = Path("/proc/thread-self/ns/net")
_STOPPING_S = 10
#: What is done, and what it takes.
_MAKE = (
    "make a network namespace",
    "needs CAP_SYS_ADMIN: run as root, in a privileged container, or by unshare --user --map-root-user --net",
)
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace that is kept by a file descriptor; use it in `with`.

    At its end what was started in it is stopped, and its SAs are gone. Synchronization: one thread.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._started: list[subprocess.Popen[str]] = []

    @classmethod
    def own(cls) -> Self:
        """Return the calling thread's."""
        return cls(_open_own())

    @classmethod
    def new(cls, sysctls: Mapping[str, str] | None = None) -> Self:
        """Make one, with lo up and `sysctls`, named below net/, set; the caller stays where it is.

        Raises `NotPermittedError` without the right to make one, `UnsupportedError` where /proc/sys is read-only.
        """

        def make() -> int:
            _unshare()
            if sysctls:
                set_sysctls(sysctls)
            return _open_own()

        return cls(_in_thread(make))

    @property
    def descriptor(self) -> int:
        """The file descriptor, open until `close`."""
        return self._descriptor

    @property
    def path(self) -> str:
        """Where this process and others find it, as `Engine.open(netns=...)`, nsenter(1) and `pfkeyx --netns` do."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def call(self, function: Callable[[], T]) -> T:
        """Return what `function` returns in there, in a thread of its own; sockets that it opens stay in there."""

        def enter_and_call() -> T:
            _check(_libc.setns(self._descriptor, _CLONE_NEWNET), "enter a network namespace")
            return function()

        return _in_thread(enter_and_call)

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program in there to its end; `options` are those of `subprocess.run`.

        Raises `subprocess.CalledProcessError` when it fails, unless `check` is False.
        """
        return self.call(lambda: subprocess.run(command, check=check, text=True, **options))

    def start(self, *command: str, **options: Any) -> "subprocess.Popen[str]":
        """Start a program in there, which is stopped when the namespace is closed; `options` are those of `Popen`."""
        process = self.call(lambda: subprocess.Popen(command, text=True, **options))
        self._started.append(process)
        return process

    def dropped(self) -> dict[str, int]:
        """Return what the kernel counts of the packets that IPsec dropped in there, by its names (xfrm_proc.rst).

        It is empty where the kernel counts nothing.
        """

        def read() -> str:
            # /proc/net is the main thread's.
            path = Path("/proc/thread-self/net/xfrm_stat")
            return path.read_text() if path.exists() else ""

        return {name: int(count) for name, count in map(str.split, self.call(read).splitlines())}

    def close(self) -> None:
        """Stop what was started, and let go of the namespace."""
        while self._started:
            _stop(self._started.pop())
        self.call(_empty_sad)
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def fresh_namespace() -> Iterator[Namespace]:
    """Move the calling thread into a network namespace made for it, with lo up, until the block ends.

    Raises `NotPermittedError` without the right to make one and to come back.
    """
    before = _open_own()
    try:
        # Root of a user namespace alone could not come back into a network that is not of it.
        _check(_libc.setns(before, _CLONE_NEWNET), *_MAKE)
        _unshare()
        try:
            with Namespace.own() as namespace:
                yield namespace
        finally:
            _check(_libc.setns(before, _CLONE_NEWNET), "leave a network namespace")
    finally:
        os.close(before)


def set_sysctls(values: Mapping[str, str]) -> None:
    """Set what is below /proc/sys/net in the calling thread's namespace, as far as the kernel has it."""
    for name, value in values.items():
        path = Path("/proc/sys/net") / name
        try:
            if path.exists():
                path.write_text(value)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            hint = "it is read-only here: run in a privileged container, or as root"
            raise UnsupportedError(str(path), hint) from error


def _open_own() -> int:
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)


def _unshare() -> None:
    _check(_libc.unshare(_CLONE_NEWNET), *_MAKE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))


def _empty_sad() -> None:
    # Linux 7.3 was seen to panic, in xfrm6_tunnel_destroy, after a namespace had ended in which IPComp had its tunnels.
    with suppress(UnsupportedError), Engine.open("xfrm") as engine:
        engine.flush_sas()


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(_STOPPING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _in_thread(function: Callable[[], T]) -> T:
    # A thread that entered a namespace is not used for anything else.
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function).result()


def _check(result: int, operation: str, hint: str = "") -> None:
    if result != 0:
        raise KernelError.of(ctypes.get_errno() or errno.EIO, operation, detail=hint)
