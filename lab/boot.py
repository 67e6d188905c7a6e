"""Running a job on a kernel of the matrix, booted by virtme-ng over the host's own file system."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from lab import cache, guest, kvm, module, tools
from lab.cache import Image
from lab.job import Job
from lab.kernels import Kernel

_GUEST = "/run/lab"  # where guest.sh expects the folders that are exported to it
_GUEST_SCRIPT = Path(__file__).with_name("guest.sh")


def run(kernel: Kernel, job: Job) -> int:
    """Boot the newest image of `kernel`, run the job in it, return the job's exit status.

    Where KVM does not work the guest is emulated. Raises `LabError` when a tool is missing or when the guest
    ends before the job did.
    """
    virtme = tools.find_python_script("virtme-run", "virtme-ng")
    tools.find("qemu-system-x86_64", "qemu-system-x86")
    tools.find("busybox", "busybox-static")
    with cache.image(kernel) as image, tempfile.TemporaryDirectory(prefix="pfkeyx-lab-") as name:
        shared = Path(name)
        guest.write_command(job, kernel.name, shared)
        if kernel.has_addrupdate:
            module.build(kernel, image, shared / "af_key.ko")
        command = _virtme_command(virtme, image, job, shared)
        command += [] if kvm.works(image.vmlinuz, cache.folder()) else ["--disable-kvm"]
        return guest.run(command, shared, job.timeout_s, image.release)


def _virtme_command(virtme: str, image: Image, job: Job, shared: Path) -> list[str]:
    arguments = [str(_GUEST_SCRIPT), str(image.modules), *map(str, job.rwdirs)]
    (shared / "start").write_text(f"exec sh {shlex.join(arguments)} 2>&1\n")
    command = [virtme, "--kimg", str(image.vmlinuz), "--mods", "auto", "--force-9p", "--show-boot-console"]
    command += ["--name", "lab", "--user", "root", "--cpus", str(job.cpus), "--memory", "2G"]
    command += ["--overlay-rwdir", "/tmp"]  # guest.sh lays its own; this has virtme load the module for them
    command += ["--rodir", f"{_GUEST}/root=/", "--rwdir", f"{_GUEST}/shared={shared}"]
    for number, folder in enumerate(job.rwdirs):
        command += ["--rwdir", f"{_GUEST}/rw/{number}={folder}"]
    return [*command, "--script-sh", f"sh {_GUEST}/shared/start"]
