"""A kernel that is a list of expected requests and their replies, to test what is built on an engine without one.

>>> from pfkeyx import Engine
>>> from pfkeyx.xfrm import XfrmDialect
>>> kernel = ScriptedKernel([("dump SAs", [])])
>>> Engine(XfrmDialect(), kernel).dump_sas()
[]
>>> kernel.is_finished
True
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pfkeyx.errors import KernelError
from pfkeyx.operation import Batch, Exchange


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reply that refuses: the kernel's errno, and the text that came with it."""

    errno: int
    detail: str = ""


class ScriptedKernel:
    """A transport whose kernel expects the named operations in order, each with its decoded reply or a `Refusal`.

    `asked` is what was asked so far: operation, subject, and whether it travelled in a datagram with others. A request
    that the script does not expect raises `AssertionError`.
    """

    def __init__(self, script: Iterable[tuple[str, Any]]) -> None:
        self._script = deque(script)
        self._is_open = True
        self.asked: list[tuple[str, object, bool]] = []

    @property
    def is_finished(self) -> bool:
        """Whether everything that was expected has been asked."""
        return not self._script

    def fileno(self) -> int:
        """Return a number that stands for an open descriptor, -1 when closed; there is nothing to wait for."""
        return 0 if self._is_open else -1

    def close(self) -> None:
        """Close the kernel."""
        self._is_open = False

    def exchange(self, batch: Batch) -> Exchange:
        """Answer a batch from the script."""
        replies = []
        for request in batch.requests:
            self.asked.append((request.operation, request.subject, batch.one_datagram))
            expected, reply = self._script.popleft() if self._script else ("nothing more", None)
            if request.operation != expected:
                raise AssertionError(f"{request.operation} {request.subject} was asked, {expected} was expected")
            if isinstance(reply, Refusal):
                reply = KernelError.of(reply.errno, request.operation, request.subject, reply.detail)
            replies.append(reply)
        yield from ()
        return replies
