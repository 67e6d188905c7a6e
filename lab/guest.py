"""Watching over a guest: what it writes is copied to our own output while it runs, and it is ended in time.

A console is not used for the job: it loses bytes and mixes streams. The job's output goes to files in a folder that
guest and host share, and so does its exit status; a guest that ends without writing that has failed.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from lab import LabError
from lab.job import TIMED_OUT, Job

_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
_POLL_S = 0.05
_CONSOLE_LINES = 15


def write_command(job: Job, kernel_name: str, shared: Path) -> None:
    """Write the script `command` into the shared folder, which the guest runs there."""
    environment = [f"{name}={value}" for name, value in job.environment(kernel_name).items()]
    words = shlex.join([*environment, *job.command])
    (shared / "command").write_text(f"cd {shlex.quote(str(Path.cwd()))} && exec env -i {words}\n")


def run(command: list[str], shared: Path, timeout_s: float, release: str) -> int:
    """Run the guest that `command` starts until its job is done, and return the job's exit status.

    A job that takes longer than its time limit is stopped with its guest, and the status is `TIMED_OUT`.
    Raises `LabError`, with the guest's last words, when it ends before the job did.
    """
    status = _watch(command, shared, time.monotonic() + timeout_s)
    if status is not None:
        return status
    said = [line for log in ("console", "script-output") for line in _last_lines(shared / log)]
    last_words = "\n".join(said) or "(nothing)"
    raise LabError(f"the guest with kernel {release} ended before the command did; its console said:\n{last_words}")


def _last_lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-_CONSOLE_LINES:]


def _watch(command: list[str], shared: Path, deadline: float) -> int | None:
    """Run a guest until it ends, copying the job's output; None when the job left no exit status."""
    with ExitStack() as open_files:
        # qemu opens each of the two anew and writes from its start, so they cannot be one file.
        script_output = open_files.enter_context((shared / "script-output").open("wb"))
        console = open_files.enter_context((shared / "console").open("wb"))
        for name in ("stdout", "stderr"):
            (shared / name).touch()
        streams = [
            (open_files.enter_context((shared / "stdout").open("rb")), sys.stdout.buffer),
            (open_files.enter_context((shared / "stderr").open("rb")), sys.stderr.buffer),
        ]
        _adopt_orphans()
        guest = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=script_output,
            stderr=console,
            env={**os.environ, "TMPDIR": str(shared)},
            start_new_session=True,
        )
        try:
            while guest.poll() is None and time.monotonic() < deadline:
                _copy_new_bytes(streams)
                time.sleep(_POLL_S)
            timed_out = guest.returncode is None
        finally:
            _end(guest)
        _copy_new_bytes(streams)
    if timed_out:
        print("lab: the time limit is over, the guest is stopped", file=sys.stderr)
        return TIMED_OUT
    status = shared / "status"
    return int(status.read_text()) if status.exists() else None


def _copy_new_bytes(streams: Sequence[tuple[BinaryIO, BinaryIO]]) -> None:
    for source, target in streams:
        while chunk := source.read(1 << 16):
            target.write(chunk)
        target.flush()


def _adopt_orphans() -> None:
    """Have qemu handed to us when virtme dies before it, so that `_end` can wait for its end too."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end(guest: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a guest and what it started, which share a process group, and wait for both."""
    with suppress(ProcessLookupError):
        os.killpg(guest.pid, signal.SIGKILL)
    guest.wait()
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-guest.pid, 0)
