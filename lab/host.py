"""Running a job on the host's own kernel, in a fresh network namespace; the host's own is never touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lab import LabError, tools
from lab.job import Job, run_in_session

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
    return run_in_session(
        [*_enter_namespace(), *in_namespace],
        stdin=subprocess.DEVNULL,
        environment=job.environment("host"),
        timeout_s=job.timeout_s,
    )


def _enter_namespace() -> list[str]:
    """Return the command that runs its arguments in a fresh network namespace, as root in there."""
    tools.find("ip", "iproute2")
    unshare = [tools.find("unshare", "util-linux"), "--net"]
    return unshare if os.geteuid() == 0 else [*unshare, "--user", "--map-root-user"]
