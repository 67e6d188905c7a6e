"""Moves that something happens to between two datagrams: a process that is killed, or another that changes things too.

A kernel runs a datagram to its end, so that what a killed process leaves behind is told by how many are through.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import IntEnum
from itertools import count

import pytest

from pfkeyx import AddressUpdate, Method, MigrationError, MigrationReport
from pfkeyx.migration.move import migrate, plan_migration
from pfkeyx.operation import Batch, Exchange, run
from pfkeyx.pfkey import PfkeyDialect, PfkeyTransport
from pfkeyx.xfrm import XfrmDialect, XfrmTransport

#: What only reads, by the first word of the operation.
_READING = {"dump", "get", "probe"}
_PATIENCE_S = 120
_PAUSE_S = 0.02
_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """Just before the nth datagram that changes something, or just after it."""

    number: int
    after: bool = False

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} datagram {self.number}"


def moments() -> Iterator[Moment]:
    """Yield all moments, in order."""
    for number in count(1):
        yield Moment(number)
        yield Moment(number, after=True)


class InterruptedTransport(XfrmTransport):
    """A transport that counts the datagrams which change something, and lets things happen at moments of a move."""

    def __init__(self, happenings: Mapping[Moment, Callable[[], None]]) -> None:
        super().__init__(open_aside=lambda _: _InterruptedAside(self))
        self._happenings = happenings
        self.count = 0

    def exchange(self, batch: Batch) -> Exchange:
        """Exchange, and let happen what is to happen before or after."""
        return self.interrupt(batch, super().exchange(batch))

    def interrupt(self, batch: Batch, exchange: Exchange) -> Exchange:
        """Do an exchange of either interface, and let happen what is to happen before or after."""
        if not batch.one_datagram:
            changes = [r.operation for r in batch.requests if r.operation.split()[0] not in _READING]
            assert not changes, f"outside of a datagram that is counted: {changes}"
            return (yield from exchange)
        self.count += 1
        self._happenings.get(Moment(self.count), _nothing)()
        replies = yield from exchange
        self._happenings.get(Moment(self.count, after=True), _nothing)()
        return replies


class _InterruptedAside(PfkeyTransport):
    """PF_KEY beside an interrupted transport, which counts its messages too."""

    def __init__(self, beside: InterruptedTransport) -> None:
        super().__init__()
        self._beside = beside

    def exchange(self, batch: Batch) -> Exchange:
        """Exchange, and let happen what is to happen before or after."""
        return self._beside.interrupt(batch, super().exchange(batch))


def migrate_interrupted(
    update: AddressUpdate, method: Method | None, happenings: Mapping[Moment, Callable[[], None]]
) -> tuple[MigrationReport | MigrationError, int]:
    """Move in this process; return the report or error, and how many datagrams changed something."""
    with closing(InterruptedTransport(happenings)) as transport:
        dialect = XfrmDialect(PfkeyDialect)
        plan = run(plan_migration(dialect, update, method), transport)
        try:
            return run(migrate(dialect, plan), transport), transport.count
        except MigrationError as error:
            return error, transport.count


def kill_this_process() -> None:
    """End this process as nothing can prevent it."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_this_process_soon(delay_s: float) -> None:
    """Have another process end this one in a while: in the midst of a system call, if that is when it comes."""
    this = os.pidfd_open(os.getpid())
    if os.fork() == 0:
        time.sleep(delay_s)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(this, signal.SIGKILL)
        os._exit(0)


class Ending(IntEnum):
    """How a process that was to move ended: its exit code."""

    KILLED = -signal.SIGKILL
    MOVED = 0
    REFUSED = 2


def migrate_in_process(
    update: AddressUpdate,
    method: Method | None,
    happenings: Mapping[Moment, Callable[[], None]],
    meanwhile: Callable[[], None],
) -> Ending:
    """Move in a process of its own, to which things happen; call `meanwhile` in this one until that has ended."""

    def move() -> None:
        result, _ = migrate_interrupted(update, method, happenings)
        sys.exit(Ending.REFUSED if isinstance(result, MigrationError) else Ending.MOVED)

    child = _fork.Process(target=move)
    child.start()
    deadline = time.monotonic() + _PATIENCE_S
    while child.is_alive() and time.monotonic() < deadline:
        meanwhile()
        child.join(_PAUSE_S)
    if child.exitcode is None:
        child.kill()
        pytest.fail(f"a move was not at its end after {_PATIENCE_S} s")
    return Ending(child.exitcode)


def _nothing() -> None:
    pass
