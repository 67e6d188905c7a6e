"""The command line of `lab/docker`: a Docker daemon with the images of docker/, on a kernel that has IPsec.

It is the one that is there, if its kernel does; else one in a guest in user mode, in which the command runs too. A disk
has the images from before: in the guest there is no network.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab import LabError, cache, kernels, tools, user_mode
from lab.job import Job, run_in_session, status_of

PROJECT = Path(__file__).resolve().parent.parent
#: However its first process ends, no other is left, and nothing mounted.
_ISOLATED = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
_IN_GUEST = Path(__file__).with_name("dockerd.sh")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit status of the command, or the lab's own."""
    options = _parser().parse_args(arguments)
    return status_of(lambda: _run_with_docker(options.command))


def _run_with_docker(command: Sequence[str]) -> int:
    if _daemon_is_there():
        _run([str(PROJECT / "docker/build")], "the images could not be built")
        if _daemon_has_ipsec():
            return run_in_session(command)
    return _boot(command)


def _daemon_is_there() -> bool:
    try:
        return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _daemon_has_ipsec() -> bool:
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", "--cap-add", "NET_ADMIN"]
    with Path(__file__).with_name("probe.py").open() as probe:
        return subprocess.run([*command, "pfkeyx-node", "python3", "-"], stdin=probe, check=False).returncode == 0


def _boot(command: Sequence[str]) -> int:
    """Run the command with a daemon in a guest. Its kernel is one with modules in user mode: Docker takes many."""
    for program, package in (("dockerd", "docker.io"), ("mmdebstrap", "mmdebstrap"), ("mkfs.ext4", "e2fsprogs")):
        tools.find(program, package)
    kernel = next(kernel for kernel in kernels.load().kernels.values() if kernel.user_mode)
    with disk_of_images() as disk:
        return user_mode.run(kernel, Job(("sh", str(_IN_GUEST), *command)), disk)


@contextmanager
def disk_of_images() -> Iterator[Path]:
    """Provide the image of a disk with Docker's images as the project is now, and keep it as it is."""
    home = cache.folder() / "docker"
    home.mkdir(parents=True, exist_ok=True)
    disk = home / "disk"
    with ExitStack() as in_use:
        with cache.lock(home / "lock", fcntl.LOCK_EX):
            _build_unless_current(disk, home / "made-of")
            in_use.enter_context(cache.lock(disk, fcntl.LOCK_SH))
        yield disk


def _build_unless_current(disk: Path, made_of: Path) -> None:
    content = content_of_images()
    if disk.exists() and made_of.exists() and made_of.read_text() == content:
        return
    if os.geteuid() != 0:
        raise LabError("Docker's images are put onto a disk by root: run this as root, or start Docker")
    print("lab: building Docker's images", file=sys.stderr)
    script = str(Path(__file__).with_name("images.sh"))
    with cache.lock(disk, fcntl.LOCK_EX), tempfile.TemporaryDirectory(prefix="pfkeyx-lab-") as work:
        made_of.unlink(missing_ok=True)
        _run([*_ISOLATED, "sh", script, str(disk), str(PROJECT), work], "the images could not be built")
    made_of.write_text(content)


def content_of_images() -> str:
    """Return a number for all that the images are made of."""
    code = hashlib.sha256(os.environ.get("BASE", "").encode())
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    for name in ["docker/Dockerfile", "docker/build", *(line[1:] for line in ignored if line.startswith("!"))]:
        path = PROJECT / name
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and file.suffix not in (".pyc", ".so"):
                code.update(str(file.relative_to(PROJECT)).encode() + file.read_bytes())
    return code.hexdigest()


def _run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last_words = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
        raise LabError(f"{failure}:\n{last_words}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab/docker",
        usage="%(prog)s -- COMMAND...",
        description="Run COMMAND with a Docker daemon whose kernel has AF_KEY, ESP and XFRM, and with the images of"
        " docker/: the one that is there, or one in a guest. BASE names the images' base.",
    )
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    return parser
