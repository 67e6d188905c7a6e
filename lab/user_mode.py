"""Running a job on a kernel of the matrix in user mode: there the kernel is a program like any other.

An emulated guest slows Python down five times as much as it does the kernel, so that no ratio of the two is true. User
Mode Linux (Documentation/virt/uml) runs both as fast as the host does; only to enter the kernel takes long. Debian's
kernels are built for it from their source, with what user_mode.config asks for, and kept beside their modules.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import LabError, cache, debian, tools
from lab.cache import Image
from lab.job import Job
from lab.kernels import Kernel

_CONFIG = Path(__file__).with_name("user_mode.config")
_GUEST_SCRIPT = Path(__file__).with_name("user_mode.sh")
_MEMORY_MIB = 6 << 10
_BUILDERS = {"bc": "bc", "bison": "bison", "flex": "flex", "gcc": "gcc", "make": "make", "xz": "xz-utils"}


def command(kernel: Kernel, image: Image, job: Job, shared: Path) -> list[str]:
    """Return what starts `image` in user mode, built if need be, with a job whose command is in the shared folder.

    Raises `LabError` when a tool is missing, or when the kernel cannot be built.
    """
    if kernel.has_addrupdate or job.cpus != 1 or job.disk or job.ports:
        raise LabError("a kernel in user mode is a stock one with one CPU, no disk and no ports: leave those away")
    words = shlex.join(["sh", str(_GUEST_SCRIPT), *map(str, [shared, *job.rwdirs])])
    start = shared / "start"
    start.write_text(f"#!/bin/sh\nexec {words}\n")
    start.chmod(0o755)
    program = [str(_build(kernel, image)), "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={start}"]
    program += [f"mem={_MEMORY_MIB}M", "con=null", "con0=null", "seccomp=auto"]
    # The guest's memory is a file, which is no faster than the file system that it is in.
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free >> 20 > _MEMORY_MIB
    return ["env", f"TMPDIR={memory}", *program] if has_room else program


def _build(kernel: Kernel, image: Image) -> Path:
    """Return the program that `image` is in user mode; it is built when it is not there."""
    home = image.modules / "user-mode"
    config = _CONFIG.read_text()
    with cache.lock(image.modules / "user-mode.lock", fcntl.LOCK_EX):
        made_of = home / "made-of"
        if made_of.exists() and made_of.read_text() == config:
            return home / "linux"
        for program, package in _BUILDERS.items():
            tools.find(program, package)
        print(f"lab: building {image.release} for user mode, which takes some minutes", file=sys.stderr)
        home.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".user-mode-", dir=image.modules) as folder:
            packages = debian.fetch_source(kernel.suites, Path(folder, "apt"), image.release, image.series)
            debian.unpack(packages, Path(folder))
            shutil.copy(_make(Path(folder), image), home / "linux")
        made_of.write_text(config)
    return home / "linux"


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
