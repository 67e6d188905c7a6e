"""Running a job on the host's own kernel, in a fresh network namespace; the host's own is never touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from lab import LabError, tools
from lab.job import TIMED_OUT, Job

_PROBE = Path(__file__).with_name("probe.py")


def can_run() -> bool:
    """Whether the host's kernel has AF_KEY, XFRM and ESP, and lets us make a namespace to use them in."""
    try:
        command = [*_enter_namespace(), sys.executable, str(_PROBE)]
    except LabError:
        return False
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def run(job: Job) -> int:
    """Run the job on the host's kernel and return its exit status, or `TIMED_OUT`."""
    in_namespace = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", *job.command]
    process = subprocess.Popen(
        [*_enter_namespace(), *in_namespace],
        stdin=subprocess.DEVNULL,
        env=job.environment("host"),
        start_new_session=True,
    )
    try:
        status = process.wait(job.timeout_s)
    except subprocess.TimeoutExpired:
        print("lab: the time limit is over, the command is stopped", file=sys.stderr)
        return TIMED_OUT
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return status if status >= 0 else 128 - status


def _enter_namespace() -> list[str]:
    """Return the command that runs its arguments in a fresh network namespace, as root in there."""
    tools.find("ip", "iproute2")
    unshare = [tools.find("unshare", "util-linux"), "--net"]
    return unshare if os.geteuid() == 0 else [*unshare, "--user", "--map-root-user"]
