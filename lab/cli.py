"""The command line of `lab/run`: which kernel, and what to run on it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lab import LabError, boot, cache, host, kernels, user_mode
from lab.job import FAILED, INTERRUPTED, TIMED_OUT, Job, status_of
from lab.kernels import Matrix

_HOST = "host"
_EPILOG = f"""\
Without --kernel it is the host's own kernel, in a fresh network namespace, where that has AF_KEY, ESP and
XFRM; otherwise the default kernel of kernels.toml is booted. A booted COMMAND sees the host's
files; what it writes stays where it wrote below a --rwdir, and is thrown away elsewhere. It has no standard input.

Exit status: COMMAND's own; {FAILED} when the lab itself failed and said why (a missing tool, a failed
download, a dead guest); {TIMED_OUT} when --timeout was over; {INTERRUPTED} when it was interrupted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit status."""
    options = _parser().parse_args(arguments)
    return status_of(lambda: _run(kernels.load(), options))


def _run(matrix: Matrix, options: argparse.Namespace) -> int:
    if options.list:
        return _list(matrix)
    if options.fetch:
        return _fetch(matrix, options.command or list(matrix.kernels))
    job = Job(tuple(options.command), tuple(options.rwdir), tuple(options.env), options.timeout, options.cpus)
    name = options.kernel
    if not job.command:
        raise LabError("no command was given: write it behind --")
    for folder in job.rwdirs:
        if not folder.is_dir():
            raise LabError(f"{folder} is no folder: give --rwdir one that exists")
    if name == _HOST and options.user_mode:
        raise LabError("the host's own kernel does not run in user mode: name one of kernels.toml")
    if name == _HOST or (name is None and not options.user_mode and host.can_run()):
        return host.run(job)
    kernel = matrix.kernel(name or matrix.default)
    return user_mode.run(kernel, job) if options.user_mode else boot.run(kernel, job)


def _list(matrix: Matrix) -> int:
    for kernel in matrix.kernels.values():
        mark = "*" if kernel.name == matrix.default else " "
        lacks = ", ".join(sorted(kernel.lacks)) or "nothing"
        print(f"{mark} {kernel.name:6} {' '.join(kernel.suites):30} lacks {lacks}")
    return 0


def _fetch(matrix: Matrix, names: Sequence[str]) -> int:
    for name in names:
        with cache.image(matrix.kernel(name)) as image:
            print(f"{name}: {image.release}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab/run",
        usage="%(prog)s [options] -- COMMAND...\n       %(prog)s --fetch [NAME...]\n       %(prog)s --list",
        description="Run COMMAND on a real Linux kernel that has AF_KEY, ESP and XFRM.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--kernel",
        metavar="NAME",
        help=f"a kernel of kernels.toml, also with {kernels.ADDRUPDATE} behind it, or host for the host's own",
    )
    parser.add_argument(
        "--rwdir",
        metavar="DIR",
        type=lambda text: Path(text).resolve(),
        action="append",
        default=[],
        help="a folder that a booted COMMAND may write (may be repeated)",
    )
    parser.add_argument(
        "--env",
        metavar="VARIABLE",
        action="append",
        default=[],
        help="a variable that COMMAND keeps, beside PATH, HOME, LANG and VIRTUAL_ENV (may be repeated)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=3600.0,
        help="stop COMMAND and its guest after this long, boot included (default: %(default)g)",
    )
    parser.add_argument(
        "--cpus",
        metavar="NUMBER",
        type=int,
        default=1,
        help="how many the guest has: an emulated one is twice as fast with one (default: %(default)d)",
    )
    parser.add_argument(
        "--user-mode",
        action="store_true",
        help="run the kernel in user mode, as a program: it needs no KVM, and emulates nothing",
    )
    parser.add_argument("--fetch", action="store_true", help="only fetch the named kernels, or all")
    parser.add_argument("--list", action="store_true", help="show the matrix; the default is marked *")
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    return parser
