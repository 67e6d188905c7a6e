"""The cache of fetched kernels and their headers, outside git: a folder for each, a tree for each release of it.

A tree holds what Debian's packages hold, a kernel's with modules.dep made, and appears under its name complete or not
at all. Whoever uses a tree holds a shared lock on it; one without is removed when a newer release has arrived.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab import LabError, debian, tools
from lab.kernels import Kernel

FRESH_FOR_SECONDS = 3 * 24 * 3600

#: Downloads what is newest in some suites; see `debian.fetch_newest_kernel`.
_Fetch = Callable[[Sequence[str], Path, Sequence[str]], tuple[str, list[Path]]]


@dataclass(frozen=True, slots=True)
class Image:
    """A kernel on disk that can be booted, inside a tree that ends with lib/modules/RELEASE."""

    release: str
    vmlinuz: Path
    modules: Path

    @property
    def series(self) -> str:
        """The first two numbers of the version, as they are in the names of packages."""
        return ".".join(self.release.split(".")[:2])


@dataclass(frozen=True, slots=True)
class Program:
    """A kernel in user mode, with the folder of its modules if it has any."""

    path: Path
    modules: Path | None


def folder() -> Path:
    """Return where fetched kernels are kept: $PFKEYX_LAB_CACHE, or pfkeyx/lab in the user's cache folder."""
    if chosen := os.environ.get("PFKEYX_LAB_CACHE"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "pfkeyx" / "lab"


@contextlib.contextmanager
def image(kernel: Kernel) -> Iterator[Image]:
    """Provide the newest image of `kernel`, fetched when the cache has none or has not looked for long.

    Without a network the cached one does. The image stays in place while the context is open.
    """
    with _newest("kernel", kernel.suites, folder() / kernel.stock, debian.fetch_newest_kernel) as tree:
        yield Image(tree.name, _vmlinuz(tree), (tree / "lib/modules" / tree.name).resolve())


@contextlib.contextmanager
def headers(kernel: Kernel) -> Iterator[tuple[Path, ...]]:
    """Provide the folders that a C program for `kernel` includes from, kept like its image.

    They hold no headers of the C library.
    """
    home = folder() / kernel.stock / "headers"
    fetch = partial(debian.fetch_newest, "linux-libc-dev")
    with _newest("kernel headers", kernel.suites, home, fetch) as tree:
        yield tree / "usr/include", tree / "usr/include/x86_64-linux-gnu"


@contextlib.contextmanager
def user_mode(kernel: Kernel, package: str) -> Iterator[Program]:
    """Provide `kernel` as a packaged program, kept like its image."""
    home = folder() / kernel.stock / "user-mode"
    with _newest("user mode kernel", kernel.suites, home, partial(debian.fetch_newest, package)) as tree:
        (modules,) = (tree / "usr/lib/uml/modules").iterdir()
        yield Program(tree / "usr/bin/linux.uml", modules)


@contextlib.contextmanager
def _newest(name: str, suites: Sequence[str], home: Path, fetch: _Fetch) -> Iterator[Path]:
    """Provide the newest tree below `home` of what is called `name`; it stays in place while the context is open."""
    home.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as in_use:
        with lock(home / "lock", fcntl.LOCK_EX):
            tree = _find_or_fetch(name, suites, home, fetch)
            in_use.enter_context(lock(tree, fcntl.LOCK_SH))
        yield tree


def _find_or_fetch(name: str, suites: Sequence[str], home: Path, fetch: _Fetch) -> Path:
    trees = home / "trees"
    trees.mkdir(exist_ok=True)
    cached = sorted((path for path in trees.iterdir() if path.name[0] != "."), key=lambda path: path.stat().st_mtime)
    looked = home / "looked"
    if cached and looked.exists() and time.time() - looked.stat().st_mtime < FRESH_FOR_SECONDS:
        return cached[-1]
    if not cached:
        print(f"lab: fetching the newest {name} of Debian {suites[0]}", file=sys.stderr)
    try:
        release, packages = fetch(suites, home / "apt", [path.name for path in cached])
        if packages:
            _add_tree(trees, release, packages)
    except LabError as error:
        if not cached:
            raise
        print(f"lab: {name} {cached[-1].name} from the cache is used: {error}", file=sys.stderr)
        return cached[-1]
    looked.touch()
    tree = trees / release
    _remove_unused([path for path in cached if path != tree])
    return tree


def _add_tree(trees: Path, release: str, packages: list[Path]) -> None:
    for leftover in trees.glob(".unpacking-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=trees))
    unfinished.chmod(0o755)
    debian.unpack(packages, unfinished)
    if not (unfinished / "lib").exists():
        (unfinished / "lib").symlink_to("usr/lib")
    if (unfinished / "lib/modules").exists():
        _index_modules(unfinished, release)
    unfinished.rename(trees / release)
    for package in packages:
        package.unlink()


def _index_modules(tree: Path, release: str) -> None:
    depmod = tools.find("depmod", "kmod")
    subprocess.run(
        [depmod, "-a", "-b", str(tree), release],
        check=True,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _remove_unused(trees: list[Path]) -> None:
    for tree in trees:
        with contextlib.suppress(BlockingIOError), lock(tree, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(tree)


def _vmlinuz(tree: Path) -> Path:
    for path in (tree / f"boot/vmlinuz-{tree.name}", tree / f"lib/modules/{tree.name}/vmlinuz"):
        if path.exists():
            return path
    raise LabError(f"the packages of kernel {tree.name} hold no vmlinuz: remove {tree} and try again")


@contextlib.contextmanager
def lock(path: Path, operation: int) -> Iterator[None]:
    """Hold flock on a folder or a file until the context ends, or the process does."""
    descriptor = os.open(path, os.O_RDONLY | (0 if path.is_dir() else os.O_CREAT), 0o644)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)
