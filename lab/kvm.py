"""Whether a guest really starts under KVM here: a /dev/kvm that exists may still refuse one, or hang."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lab import tools

_DEVICE = "/dev/kvm"
_TIME_LIMIT_S = 15
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def works(vmlinuz: Path, cache: Path) -> bool:
    """Start `vmlinuz` under KVM and see it run; the answer is kept in `cache` until the host boots again.

    The kernel finds no root file system, panics, and so ends qemu with status 0. Anything else, or no end
    within the time limit, means no.
    """
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return False
    boot_id = _BOOT_ID.read_text().strip()
    known = cache / "kvm"
    if known.exists() and known.read_text().split()[:1] == [boot_id]:
        return known.read_text().split()[1] == "works"
    answer = _panics_under("kvm", "host", vmlinuz)
    fresh = cache / f"kvm.{os.getpid()}"
    fresh.write_text(f"{boot_id} {'works' if answer else 'fails'}\n")
    fresh.rename(known)
    return answer


def _panics_under(accelerator: str, processor: str, vmlinuz: Path) -> bool:
    qemu = tools.find("qemu-system-x86_64", "qemu-system-x86")
    command = [qemu, "-accel", accelerator, "-cpu", processor, "-m", "256", "-nodefaults", "-no-user-config"]
    command += ["-display", "none", "-no-reboot", "-kernel", str(vmlinuz), "-append", "quiet panic=-1"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
