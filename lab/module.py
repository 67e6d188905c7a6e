"""Building af_key with SADB_X_ADDRUPDATE from kernel/, for a kernel of the cache; it is kept beside its modules."""

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
from pathlib import Path

from lab import LabError, cache, debian, tools
from lab.cache import Image
from lab.kernels import Kernel

_SOURCES = Path(__file__).resolve().parent.parent / "kernel"


def build(kernel: Kernel, image: Image, target: Path) -> None:
    """Write the module for `image` to `target`; it is built when it is not there or not of what kernel/ is now."""
    home = image.modules / "addrupdate"
    with cache.lock(image.modules / "addrupdate.lock", fcntl.LOCK_EX):
        source = home / "usr/src" / f"linux-source-{image.series}.tar.xz"
        if not home.exists():
            print(f"lab: fetching the headers and the source of {image.release}", file=sys.stderr)
            _fetch(kernel, image, home)
        _forget_what_is_of_another_code(home / "build")
        _make(image, home, source)
        source.unlink(missing_ok=True)
        shutil.copy(home / "build/af_key.ko", target)


def _fetch(kernel: Kernel, image: Image, home: Path) -> None:
    for leftover in image.modules.glob(".addrupdate-*"):
        shutil.rmtree(leftover)
    unfinished = Path(tempfile.mkdtemp(prefix=".addrupdate-", dir=image.modules))
    packages = debian.fetch_module_inputs(kernel.suites, unfinished / "apt", image.release, image.series)
    debian.unpack(packages, unfinished)
    shutil.rmtree(unfinished / "apt")
    _say_where(_headers(unfinished, image), home)
    for program in _programs(unfinished / "usr/lib"):
        _run_with_own_libraries(program, unfinished, home)
    unfinished.rename(home)


def _headers(home: Path, image: Image) -> Path:
    return home / "usr/src" / f"linux-headers-{image.release}"


def _say_where(headers: Path, home: Path) -> None:
    """Have the headers find their other parts below `home`: they expect them in /usr/src."""
    makefile = headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{home}/usr/src/"))


def _programs(folder: Path) -> Iterator[Path]:
    """Find the programs of kbuild, but for those that only call another of them by their own name."""
    for path in sorted(folder.glob("linux-kbuild-*/**/*")):
        if path.is_symlink() or not path.is_file() or list(path.parent.glob(f"{path.name}.real-*")):
            continue
        with path.open("rb") as file:
            if os.access(path, os.X_OK) and file.read(4) == b"\x7fELF":
                yield path


def _run_with_own_libraries(program: Path, tree: Path, home: Path) -> None:
    """Put a script in the program's place that runs it with the C library from its own suite."""
    loader = next(path for path in tree.glob("**/ld-linux-x86-64.so.2") if not path.is_symlink())
    folders = [home / name / "x86_64-linux-gnu" for name in ("lib", "usr/lib")]
    binary = program.rename(program.with_name(f"{program.name}.elf"))
    command = [home / loader.relative_to(tree), "--library-path", ":".join(map(str, folders))]
    words = shlex.join(map(str, [*command, home / binary.relative_to(tree)]))
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)


def _forget_what_is_of_another_code(output: Path) -> None:
    """Have make build anew after a change; it goes by times, which say nothing of two clones that share a cache."""
    code = hashlib.sha256()
    for path in [*sorted(_SOURCES.glob("*.[ch]")), _SOURCES / "af_key.patch", _SOURCES / "Makefile"]:
        code.update(path.read_bytes())
    made_of = output / "made-of"
    if not made_of.exists() or made_of.read_text() != code.hexdigest():
        for name in ("af_key.c", "af_key.ko"):
            (output / name).unlink(missing_ok=True)
        output.mkdir(exist_ok=True)
        made_of.write_text(code.hexdigest())


def _make(image: Image, home: Path, source: Path) -> None:
    variables = {
        "KERNEL": image.release,
        "HEADERS": str(_headers(home, image)),
        "SOURCE": str(source),
        "OUTPUT": str(home / "build"),
        "CC": tools.find("gcc", "gcc"),
    }
    make = [tools.find("make", "make"), "-C", str(_SOURCES), *(f"{name}={value}" for name, value in variables.items())]
    tools.find("patch", "patch")
    done = subprocess.run(make, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"the module for {image.release} could not be built:\n{done.stdout}{done.stderr}")
