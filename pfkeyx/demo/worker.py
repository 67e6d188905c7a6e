"""Work in a process of its own, so that senders and sniffers do not wait for each other or for a move.

Sockets are opened before and inherited; what the work found comes back when it is told to end.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from mmap import mmap
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

#: Says whether the work shall end.
IsOver = Callable[[], bool]


class Worker(Generic[T]):
    """A process that does `work(is_over)`, which returns soon after `is_over()` is true; use it in `with`."""

    def __init__(self, work: Callable[[IsOver], T]) -> None:
        context = multiprocessing.get_context("fork")
        # Shared memory, because it is asked between any two packets.
        self._ending = mmap(-1, 1)
        self._results, results = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(work, self._ending, os.getpid(), results), daemon=True)
        self._process.start()
        results.close()

    def end(self) -> None:
        """Tell the work to end."""
        self._ending[0] = 1

    def result(self) -> T:
        """Wait for the end and return the work's result; raises what it raised."""
        try:
            result: T | Exception = self._results.recv()
        except EOFError:
            raise RuntimeError("a process of the demonstration ended without a result") from None
        self._process.join()
        if isinstance(result, Exception):
            raise result
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._results.close()


def _run(work: Callable[[IsOver], T], ending: mmap, parent: int, results: Connection) -> None:
    # Ctrl-C is the parent's to handle; its death, however it came, ends the work too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result: T | Exception = work(lambda: ending[0] != 0 or os.getppid() != parent)
    except Exception as error:
        result = error
    results.send(result)
