"""A command that the lab runs, with the rules that hold wherever it runs: its environment, how it may end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from lab import LabError

FAILED = 125
TIMED_OUT = 124
INTERRUPTED = 130

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Job:
    """A command, the folders that it may write, the variables that it keeps, seconds to live, and its guest's CPUs."""

    command: tuple[str, ...]
    rwdirs: tuple[Path, ...] = ()
    variables: tuple[str, ...] = ()
    timeout_s: float = 3600.0
    cpus: int = 1

    def environment(self, kernel_name: str) -> dict[str, str]:
        """Return the small environment of the command: the usual variables, the named ones, LAB_KERNEL."""
        names = (*_KEPT_VARIABLES, *self.variables)
        kept = {name: os.environ[name] for name in names if name in os.environ}
        return {**kept, "LAB_KERNEL": kernel_name}


def run_in_session(
    command: Sequence[str],
    *,
    stdin: int | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> int:
    """Run a command in a session of its own and return its exit status as a shell gives it, or `TIMED_OUT`.

    When we are interrupted, so is the session, and it may take its time to clean up, until we are a second time.
    Raises `LabError` when the command cannot be started.
    """
    # Who is interrupted while a process is started never learns which it is, and would leave it behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    try:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            env=environment,
            start_new_session=True,
            preexec_fn=_allow_endings,  # noqa: PLW1509 (there are no threads here)
        )
    except OSError as error:
        _allow_endings()
        raise LabError(f"{command[0]} cannot be run: {error.strerror}") from None
    try:
        _allow_endings()
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        print("lab: the time limit is over, the command is stopped", file=sys.stderr)
        return TIMED_OUT
    except KeyboardInterrupt:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return status if status >= 0 else 128 - status


def _allow_endings() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)


def status_of(work: Callable[[], int]) -> int:
    """Return the status that `work` returns, or else say in a sentence how it ended: `FAILED` or `INTERRUPTED`."""
    # SIGINT too: what a shell starts in the background would ignore it, and so would what is started here.
    for ending in _ENDINGS:
        signal.signal(ending, _interrupt)
    try:
        return work()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return INTERRUPTED


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
