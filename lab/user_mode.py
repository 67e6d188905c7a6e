"""Running a job on a kernel of the matrix in user mode: there the kernel is a program like any other.

An emulated guest slows Python down five times as much as it does the kernel, so that no ratio of the two is true. User
Mode Linux (Documentation/virt/uml) runs both as fast as the host does; only to enter the kernel takes long. Some suites
of Debian have it as a package. Other kernels are built for it from their source, with what user_mode.config asks for,
and kept beside their modules.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import LabError, cache, debian, guest, tools
from lab.cache import Image, Program
from lab.job import Job
from lab.kernels import Kernel

_CONFIG = Path(__file__).with_name("user_mode.config")
_GUEST_SCRIPT = Path(__file__).with_name("user_mode.sh")
_MEMORY_MIB = 6 << 10
_MAPPINGS = Path("/proc/sys/vm/max_map_count")
_BUILDERS = {"bc": "bc", "bison": "bison", "flex": "flex", "gcc": "gcc", "make": "make", "xz": "xz-utils"}


def run(kernel: Kernel, job: Job, disk: Path | None = None) -> int:
    """Start `kernel` in user mode, fetched or built if need be, run the job in it, return the job's exit status.

    The image of a disk is /dev/ubda there; what is written to it is thrown away with the guest. Raises `LabError` when
    a tool is missing, when the kernel cannot be built, or when the guest ends before the job did.
    """
    if kernel.has_addrupdate or job.cpus != 1:
        raise LabError("a kernel in user mode is a stock one with one CPU: leave those away")
    tools.find("busybox", "busybox-static")
    _allow_mappings(_MAPPINGS)
    with _program(kernel) as program, tempfile.TemporaryDirectory(prefix="pfkeyx-lab-") as name:
        shared = Path(name)
        guest.write_command(job, kernel.name, shared)
        return guest.run(_command(program, job, disk, shared), shared, job.timeout_s, kernel.name)


def _allow_mappings(path: Path) -> None:
    """Let a process have a mapping for each page of the guest's memory, as that of a program in there may need.

    Beyond the limit, by default 256 MiB of pages that lie apart, the program would wait for ever.
    """
    wanted = _MEMORY_MIB << 8
    if int(path.read_text()) >= wanted:
        return
    try:
        path.write_text(f"{wanted}\n")
        print(f"lab: vm.max_map_count is {wanted} now, for large programs in the guest", file=sys.stderr)
    except OSError:
        print(f"lab: a large program would stop in the guest: sysctl vm.max_map_count={wanted}", file=sys.stderr)


@contextmanager
def _program(kernel: Kernel) -> Iterator[Program]:
    if kernel.user_mode:
        with cache.user_mode(kernel, kernel.user_mode) as program:
            yield program
    else:
        with cache.image(kernel) as image:
            yield Program(build(kernel, image), None)


def _command(program: Program, job: Job, disk: Path | None, shared: Path) -> list[str]:
    words = shlex.join(["sh", str(_GUEST_SCRIPT), str(program.modules or ""), *map(str, [shared, *job.rwdirs])])
    start = shared / "start"
    start.write_text(f"#!/bin/sh\nexec {words}\n")
    start.chmod(0o755)
    command = [str(program.path), "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={start}"]
    command += [f"mem={_MEMORY_MIB}M", "con=null", "con0=null", "seccomp=auto", f"uml_dir={shared}"]
    command += [f"ubd0={shared}/written,{disk}"] if disk else []
    # The guest's memory is a file, which is no faster than the file system that it is in.
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free >> 20 > _MEMORY_MIB
    return ["env", f"TMPDIR={memory}", *command] if has_room else command


def build(kernel: Kernel, image: Image) -> Path:
    """Return the program that `image` is in user mode; it is built when it is not there as user_mode.config asks."""
    home = image.modules / "user-mode"
    # Clones whose configurations differ may share the cache.
    program = home / hashlib.sha256(_CONFIG.read_bytes()).hexdigest()
    with cache.lock(image.modules / "user-mode.lock", fcntl.LOCK_EX):
        if not program.exists():
            for tool, package in _BUILDERS.items():
                tools.find(tool, package)
            print(f"lab: building {image.release} for user mode, which takes some minutes", file=sys.stderr)
            for leftover in image.modules.glob(".user-mode-*"):
                shutil.rmtree(leftover)
            home.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".user-mode-", dir=image.modules) as folder:
                packages = debian.fetch_source(kernel.suites, Path(folder, "apt"), image.release, image.series)
                debian.unpack(packages, Path(folder))
                _make(Path(folder), image).rename(program)
    return program


def _make(folder: Path, image: Image) -> Path:
    source, output = folder / "source", folder / "output"
    source.mkdir()
    archive = folder / f"usr/src/linux-source-{image.series}.tar.xz"
    _call(["tar", "--extract", "--file", str(archive), "--directory", str(source), "--strip-components", "1"], image)
    make = ["make", "--silent", f"--jobs={os.cpu_count()}", "-C", str(source), "ARCH=um", f"O={output}"]
    output.mkdir()
    _call([*make, f"KCONFIG_ALLCONFIG={_CONFIG}", "allnoconfig"], image)
    _call([*make, "linux"], image)
    return output / "linux"


def _call(command: list[str], image: Image) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{image.release} could not be built for user mode:\n{done.stdout}{done.stderr}")
