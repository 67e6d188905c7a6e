"""The matrix of kernels, as `kernels.toml` declares it. Fetching and booting are not here."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from lab import LabError

MATRIX_FILE = Path(__file__).with_name("kernels.toml")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of the matrix: the Debian suites that it comes from and the features that it lacks."""

    name: str
    suites: tuple[str, ...]
    lacks: frozenset[str]


@dataclass(frozen=True, slots=True)
class Matrix:
    """All kernels by name, and the name of the one that is booted when none is asked for."""

    default: str
    kernels: dict[str, Kernel]

    @property
    def newest(self) -> Kernel:
        """The kernel with the highest version."""
        return max(self.kernels.values(), key=lambda kernel: [int(number) for number in kernel.name.split(".")])

    def kernel(self, name: str) -> Kernel:
        """Return the kernel of that name; `LabError` when the matrix has none."""
        try:
            return self.kernels[name]
        except KeyError:
            known = ", ".join(self.kernels)
            raise LabError(f"there is no kernel {name!r} in {MATRIX_FILE.name}: choose one of {known}") from None


def load(path: Path = MATRIX_FILE) -> Matrix:
    """Read the matrix from its TOML file."""
    table = tomllib.loads(path.read_text())
    kernels = {
        name: Kernel(name, tuple(entry["suites"]), frozenset(entry["lacks"]))
        for name, entry in table["kernels"].items()
    }
    return Matrix(table["default"], kernels)
