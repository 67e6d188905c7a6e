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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pfkeyx.errors import KernelError
from pfkeyx.operation import Batch, Exchange, Request, Stream


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

    def aside(self) -> "ScriptedKernel":
        """Return this kernel, which expects what is asked of both interfaces in one order."""
        return self

    def another(self) -> "ScriptedKernel":
        """Return a further opening of the same kernel, with the same script."""
        other = ScriptedKernel(())
        other._script, other.asked = self._script, self.asked
        return other

    def has_sent(self, sender: int, sequence: int) -> bool:
        """Return False: nobody listens to this kernel."""
        del sender, sequence
        return False

    def exchange(self, batch: Batch) -> Exchange:
        """Answer a batch from the script."""
        yield from ()
        return [self._answer(request, batch.one_datagram) for request in batch.requests]

    def stream(self, request: Request[Sequence[Any]]) -> Stream:
        """Answer a dump from the script, all at once."""
        reply = self._answer(request, one_datagram=False)
        if isinstance(reply, KernelError):
            raise reply
        yield reply

    def _answer(self, request: Request[Any], one_datagram: bool) -> Any:
        self.asked.append((request.operation, request.subject, one_datagram))
        expected, reply = self._script.popleft() if self._script else ("nothing more", None)
        if request.operation != expected:
            raise AssertionError(f"{request.operation} {request.subject} was asked, {expected} was expected")
        if isinstance(reply, Refusal):
            return KernelError.of(reply.errno, request.operation, request.subject, reply.detail)
        return reply
