"""Debian's package tools, used beside the host's own apt: own source list, own state, no root needed.

Only this module calls apt and dpkg. It changes nothing outside the folder that it is given, and it takes the
address of the mirror from the host's apt configuration.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab import LabError

MIRROR_VARIABLE = "PFKEYX_LAB_MIRROR"
META_PACKAGE = "linux-image-amd64"
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
)


def fetch_newest_kernel(suites: Sequence[str], folder: Path, unpacked: Sequence[str]) -> tuple[str, list[Path]]:
    """Download the newest kernel of `suites` and return its release with its package files.

    `folder` keeps apt's lists and the packages. When the release is in `unpacked` nothing is downloaded, and
    the list of files is empty.
    """
    apt = _Apt(suites, folder)
    apt.update()
    meta = apt.depends(META_PACKAGE)
    releases = [m[1] for name in meta if (m := re.fullmatch(r"linux-image-(\d\S*)", name))]
    if not releases:
        raise LabError(f"{META_PACKAGE} in {suites[0]} depends on no kernel image: correct suites in kernels.toml")
    release = releases[0]
    if release in unpacked:
        return release, []
    # From 7.3 on, Debian splits the image: vmlinuz is in linux-binary-*, the modules are in linux-modules-*.
    image = f"linux-image-{release}"
    parts = [p for p in apt.depends(image) if p in (f"linux-binary-{release}", f"linux-modules-{release}")]
    return release, apt.download([image, *parts])


def fetch_newest(package: str, suites: Sequence[str], folder: Path, unpacked: Sequence[str]) -> tuple[str, list[Path]]:
    """Download the newest version of one package; see `fetch_newest_kernel`."""
    apt = _Apt(suites, folder)
    apt.update()
    version = apt.field(package, "Version")
    return version, [] if version in unpacked else apt.download([package])


def fetch_module_inputs(suites: Sequence[str], folder: Path, release: str, series: str) -> list[Path]:
    """Download what a module of the kernel `release` is built from: its headers, kbuild, their libraries, its source.

    The programs of kbuild need the C library that they were made with, which a suite of backports leaves to its base.
    """
    base = suites[0].partition("-")[0]
    apt = _Apt(list(dict.fromkeys([*suites, base])), folder)
    apt.update()
    headers = f"linux-headers-{release}"
    version = apt.field(headers, "Version")
    parts = [p for p in apt.depends(headers) if p.startswith(("linux-headers-", "linux-kbuild-"))]
    kbuild = next(p for p in parts if p.startswith("linux-kbuild-"))
    libraries = [p for p in apt.depends(kbuild) if p.startswith(("libc6", "libelf"))]
    return apt.download([headers, *parts, *libraries, "zlib1g", "libzstd1", f"linux-source-{series}={version}"])


def fetch_source(suites: Sequence[str], folder: Path, release: str, series: str) -> list[Path]:
    """Download the source of the kernel `release`."""
    apt = _Apt(suites, folder)
    apt.update()
    version = apt.field(f"linux-headers-{release}", "Version")
    return apt.download([f"linux-source-{series}={version}"])


def unpack(packages: Sequence[Path], tree: Path) -> None:
    """Unpack the packages into `tree`, without running anything of theirs."""
    for package in packages:
        _run(["dpkg-deb", "--extract", str(package), str(tree)], f"{package.name} could not be unpacked")


class _Apt:
    """apt-get and apt-cache over some suites, with every file that they write below one folder."""

    def __init__(self, suites: Sequence[str], folder: Path) -> None:
        self.suites = suites
        self.packages = folder / "packages"
        for path in (self.packages, folder / "state/lists/partial", folder / "cache/archives/partial"):
            path.mkdir(parents=True, exist_ok=True)
        status = folder / "status"
        status.touch()
        sources = folder / "sources.list"
        sources.write_text("".join(_source_line(suite) for suite in suites))
        self.options = [
            f"-oDir::Etc::sourcelist={sources}",
            "-oDir::Etc::sourceparts=/dev/null",
            "-oDir::Etc::preferences=/dev/null",
            "-oDir::Etc::preferencesparts=/dev/null",
            f"-oDir::State={folder}/state",
            f"-oDir::State::status={status}",
            f"-oDir::Cache={folder}/cache",
            "-oAPT::Architecture=amd64",
            "-oAPT::Architectures=amd64",
            "-oAPT::Sandbox::User=root",
            "-oAPT::Update::Error-Mode=any",
            "-oAcquire::Languages=none",
            "-oAcquire::Retries=3",
        ]

    def update(self) -> None:
        where = " and ".join(self.suites)
        failure = f"the package lists of {where} could not be fetched"
        _run(["apt-get", *self.options, "-qq", "update"], failure)

    def depends(self, package: str) -> list[str]:
        """Return the names in the package's Depends field, alternatives and versions left out."""
        field = self.field(package, "Depends")
        return [d.split()[0] for d in field.split(",")] if field else []

    def field(self, package: str, name: str) -> str:
        """Return a field of the newest version's description, empty where it has none."""
        command = ["apt-cache", *self.options, "--no-all-versions", "show", package]
        text = _run(command, f"{package} is not in {' or '.join(self.suites)}")
        field = re.search(rf"^{name}: (.*)$", text, re.MULTILINE)
        return field[1] if field else ""

    def download(self, packages: Sequence[str]) -> list[Path]:
        for old in self.packages.glob("*.deb"):
            old.unlink()
        command = ["apt-get", *self.options, "-qq", "download", *packages]
        _run(command, f"{packages[0]} could not be downloaded", self.packages)
        return sorted(self.packages.glob("*.deb"))


def _source_line(suite: str) -> str:
    keyring = next((path for path in KEYRINGS if path.exists()), None)
    if keyring is None:
        raise LabError("Debian's archive keys are missing: install the package debian-archive-keyring")
    return f"deb [arch=amd64 signed-by={keyring}] {_mirror(suite)} {suite} main\n"


def _mirror(suite: str) -> str:
    """Return the mirror of a suite, from the host's own apt sources or the environment."""
    name = "debian-security" if suite.endswith("-security") else "debian"
    if base := os.environ.get(MIRROR_VARIABLE):
        return f"{base.rstrip('/')}/{name}"
    targets = _run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        "the system's apt sources could not be read",
    )
    # A mirror list file (mirror+file:…/debian.list) is as good an address as a plain one.
    for uri in targets.split():
        if re.search(rf"/{name}(\.list)?/*$", uri):
            return uri
    raise LabError(
        f"no mirror of {name} is in this system's apt sources: "
        f"set {MIRROR_VARIABLE} to the address above a mirror's /debian and /debian-security"
    )


def _run(command: list[str], failure: str, folder: Path | None = None) -> str:
    """Run a package tool and return what it printed; `LabError` with its own last words when it fails."""
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise LabError(f"{command[0]} is missing: the lab fetches Debian packages and needs apt and dpkg") from None
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("E:")] or [done.stderr.strip()]
        raise LabError(f"{failure} ({errors[0]}): check the network and the mirror, then try again")
    return done.stdout
