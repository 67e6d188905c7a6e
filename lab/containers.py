"""The command line of `lab/docker`: a Docker daemon with the images of docker/, on a kernel that has IPsec.

It is the one that is there, if its kernel does; else one in a guest, whose images a disk has from before. The guest and
the command share a network namespace of their own, so that nobody else reaches the daemon, which would make them root.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab import LabError, cache, kernels, tools
from lab.job import FAILED

PROJECT = Path(__file__).resolve().parent.parent
_RUN = Path(__file__).with_name("run")
_PORT = 2375
_START_LIMIT_S = 900
#: Emulated, all takes longer, what is asked of the daemon and a look at a container's health; and what starts at the
#: same time waits for each other.
_PATIENT = {
    "COMPOSE_PARALLEL_LIMIT": "1",
    "COMPOSE_HTTP_TIMEOUT": "900",
    "DOCKER_CLIENT_TIMEOUT": "900",
    "PFKEYX_HEALTH_INTERVAL": "600s",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit status of the command, or `FAILED`."""
    options = _parser().parse_args(arguments)
    try:
        if options.inside:
            return _run_in_guest(options.kernel, options.inside, options.command)
        if _daemon_is_there():
            _run([str(PROJECT / "docker/build")], "the images could not be built")
            if _daemon_has_ipsec():
                return subprocess.run(options.command, check=False).returncode
        return _boot(options.kernel, options.command)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return FAILED


def _daemon_is_there() -> bool:
    try:
        return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _daemon_has_ipsec() -> bool:
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", "--cap-add", "NET_ADMIN"]
    with Path(__file__).with_name("probe.py").open() as probe:
        return subprocess.run([*command, "pfkeyx-node", "python3", "-"], stdin=probe, check=False).returncode == 0


def _boot(kernel: str, command: Sequence[str]) -> int:
    """Run the command with a daemon in a guest."""
    for program, package in (("dockerd", "docker.io"), ("mmdebstrap", "mmdebstrap"), ("unshare", "util-linux")):
        tools.find(program, package)
    _run([sys.executable, str(_RUN), "--fetch", kernel], "the kernel could not be fetched")
    with _disk() as disk:
        isolated = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        itself = [sys.executable, str(Path(__file__).with_name("docker")), "--kernel", kernel, "--inside", str(disk)]
        return subprocess.run([*isolated, *itself, "--", *command], check=False).returncode


@contextmanager
def _disk() -> Iterator[Path]:
    """Provide the image of a disk with Docker's images as the project is now, and keep it as it is."""
    home = cache.folder() / "docker"
    home.mkdir(parents=True, exist_ok=True)
    disk, made_of = home / "disk", home / "made-of"
    with cache.lock(home / "lock", fcntl.LOCK_EX):
        content = content_of_images()
        if not made_of.exists() or made_of.read_text() != content:
            if os.geteuid() != 0:
                raise LabError("Docker's images are put onto a disk by root: run this as root, or start Docker")
            print("lab: building Docker's images", file=sys.stderr)
            script = str(Path(__file__).with_name("images.sh"))
            with cache.lock(disk, fcntl.LOCK_EX):
                made_of.unlink(missing_ok=True)
                _run(["unshare", "--mount", "sh", script, str(disk), str(PROJECT)], "the images could not be built")
            made_of.write_text(content)
    with cache.lock(disk, fcntl.LOCK_SH):
        yield disk


def content_of_images() -> str:
    """Return a number for all that the images are made of."""
    code = hashlib.sha256(os.environ.get("BASE", "").encode())
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    for name in ["docker", *(line[1:] for line in ignored if line.startswith("!"))]:
        path = PROJECT / name
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and file.suffix not in (".pyc", ".so"):
                code.update(str(file.relative_to(PROJECT)).encode() + file.read_bytes())
    return code.hexdigest()


def _run_in_guest(kernel: str, disk: str, command: Sequence[str]) -> int:
    address = f"tcp://127.0.0.1:{_PORT}"
    environment = {**os.environ, **_PATIENT, "DOCKER_HOST": address}
    script = Path(__file__).with_name("dockerd.sh")
    boot = [sys.executable, str(_RUN), "--kernel", kernel, "--disk", disk, "--port", str(_PORT), "--timeout", "3600"]
    with (cache.folder() / "docker/log").open("wb") as log:
        guest = subprocess.Popen([*boot, "--", "sh", str(script), str(_PORT)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_LIMIT_S
        while subprocess.run(["docker", "version"], env=environment, capture_output=True, check=False).returncode != 0:
            if guest.poll() is not None or time.monotonic() > deadline:
                last_words = Path(log.name).read_text(errors="replace").splitlines()[-3:]
                raise LabError("\n".join(["no Docker daemon came up in the guest:", *last_words]))
            time.sleep(1)
        return subprocess.run(command, env=environment, check=False).returncode
    finally:
        guest.terminate()
        guest.wait()


def _run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last_words = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
        raise LabError(f"{failure}:\n{last_words}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab/docker",
        usage="%(prog)s [--kernel NAME] -- COMMAND...",
        description="Run COMMAND with a Docker daemon whose kernel has AF_KEY, ESP and XFRM, and with the images of"
        " docker/: the one that is there, or one in a guest. BASE names the images' base.",
    )
    newest = kernels.load().newest.name
    parser.add_argument("--kernel", metavar="NAME", default=newest, help="the guest's kernel (default: %(default)s)")
    parser.add_argument("--inside", metavar="DISK", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    return parser
