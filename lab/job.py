"""A command that the lab runs, with the rules that hold wherever it runs: its environment, how it may end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from lab import LabError

FAILED = 125
TIMED_OUT = 124
INTERRUPTED = 130

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


def status_of(work: Callable[[], int]) -> int:
    """Return the status that `work` returns, or else say in a sentence how it ended: `FAILED` or `INTERRUPTED`."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
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
