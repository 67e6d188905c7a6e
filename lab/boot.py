"""Running a job on a kernel of the matrix, booted by virtme-ng over the host's own file system.

The console is not used for the job: a guest's console loses bytes and mixes streams. The job's output goes to
files in a folder that guest and host share; the host copies them to its own stdout and stderr while the guest
runs. The job's exit status is a file there too, and a guest that ends without writing it has failed.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from lab import LabError, cache, kvm, module, tools
from lab.cache import Image
from lab.job import TIMED_OUT, Job
from lab.kernels import Kernel

_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
_POLL_S = 0.05
_CONSOLE_LINES = 15
_GUEST = "/run/lab"  # where guest.sh expects the folders that are exported to it
_GUEST_SCRIPT = Path(__file__).with_name("guest.sh")


def run(kernel: Kernel, job: Job) -> int:
    """Boot the newest image of `kernel`, run the job in it, return the job's exit status.

    A job that takes longer than its time limit is stopped with its guest, and the status is `TIMED_OUT`.
    Raises `LabError` when a tool is missing or when the guest ends before the job did.
    """
    virtme = tools.find_python_script("virtme-run", "virtme-ng")
    tools.find("qemu-system-x86_64", "qemu-system-x86")
    tools.find("busybox", "busybox-static")
    with cache.image(kernel) as image, tempfile.TemporaryDirectory(prefix="pfkeyx-lab-") as name:
        shared = Path(name)
        if kernel.has_addrupdate:
            module.build(kernel, image, shared / "af_key.ko")
        _write_scripts(kernel, image, job, shared)
        command = _virtme_command(virtme, image, job, shared)
        status = _watch(command, shared, time.monotonic() + job.timeout_s)
        if status is not None:
            return status
        said = [line for log in ("console", "script-output") for line in _last_lines(shared / log)]
    last_words = "\n".join(said) or "(nothing)"
    raise LabError(
        f"the guest with kernel {image.release} ended before the command did; its console said:\n{last_words}"
    )


def _last_lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-_CONSOLE_LINES:]


def _virtme_command(virtme: str, image: Image, job: Job, shared: Path) -> list[str]:
    command = [virtme, "--kimg", str(image.vmlinuz), "--mods", "auto", "--force-9p", "--show-boot-console"]
    command += ["--name", "lab", "--user", "root", "--cpus", str(job.cpus), "--memory", "2G"]
    if not kvm.works(image.vmlinuz, cache.folder()):
        command.append("--disable-kvm")
    command += ["--overlay-rwdir", "/tmp"]  # guest.sh lays its own; this has virtme load the module for them
    command += ["--rodir", f"{_GUEST}/root=/", "--rwdir", f"{_GUEST}/shared={shared}"]
    for number, folder in enumerate(job.rwdirs):
        command += ["--rwdir", f"{_GUEST}/rw/{number}={folder}"]
    command += [f"--qemu-opt={word}" for word in devices(job)]
    return [*command, "--script-sh", f"sh {_GUEST}/shared/start"]


def devices(job: Job) -> list[str]:
    """Return qemu's arguments for the job's disk and for its network, which has nothing but the ports."""
    arguments = []
    if job.disk:
        name = str(job.disk).replace(",", ",,")
        arguments += ["-drive", f"if=virtio,format=raw,snapshot=on,file={name}"]
    if job.ports:
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{port}-:{port}" for port in job.ports)
        arguments += ["-netdev", f"user,id=lab,restrict=on{forwards}", "-device", "virtio-net-pci,netdev=lab"]
    return arguments


def _write_scripts(kernel: Kernel, image: Image, job: Job, shared: Path) -> None:
    """Write what the guest runs: `start`, which calls guest.sh, and `command`, which guest.sh calls."""
    arguments = [str(_GUEST_SCRIPT), str(image.modules), *map(str, job.rwdirs)]
    (shared / "start").write_text(f"exec sh {shlex.join(arguments)} 2>&1\n")
    environment = [f"{name}={value}" for name, value in job.environment(kernel.name).items()]
    words = shlex.join([*environment, *job.command])
    (shared / "command").write_text(f"cd {shlex.quote(str(Path.cwd()))} && exec env -i {words}\n")


def _watch(command: list[str], shared: Path, deadline: float) -> int | None:
    """Run virtme until it ends, copying the job's output; None when the job left no exit status."""
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
    """Kill what is left of virtme and its qemu, which share a process group, and wait for both."""
    with suppress(ProcessLookupError):
        os.killpg(guest.pid, signal.SIGKILL)
    guest.wait()
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-guest.pid, 0)
