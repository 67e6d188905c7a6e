"""The matrix of kernels, as `kernels.toml` declares it. Fetching and booting are not here."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from lab import LabError

#: Behind a kernel's name it means that kernel with the module of kernel/.
ADDRUPDATE = "+addrupdate"
MATRIX_FILE = Path(__file__).with_name("kernels.toml")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of the matrix: the Debian suites that it comes from and the features that it lacks.

    `user_mode` is the package in them that has it as a program, if there is one.
    """

    name: str
    suites: tuple[str, ...]
    lacks: frozenset[str]
    user_mode: str | None = None

    @property
    def stock(self) -> str:
        """The name of the kernel as it is packaged."""
        return self.name.removesuffix(ADDRUPDATE)

    @property
    def has_addrupdate(self) -> bool:
        """Whether it runs with the module of kernel/."""
        return self.name.endswith(ADDRUPDATE)

    def with_addrupdate(self) -> Kernel:
        """Return this kernel with the module of kernel/."""
        return replace(self, name=self.name + ADDRUPDATE, lacks=self.lacks - {"addrupdate"})


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
        """Return the kernel of that name, which may end with `ADDRUPDATE`; `LabError` when the matrix has none."""
        try:
            kernel = self.kernels[name.removesuffix(ADDRUPDATE)]
        except KeyError:
            known = ", ".join(self.kernels)
            raise LabError(f"there is no kernel {name!r} in {MATRIX_FILE.name}: choose one of {known}") from None
        return kernel.with_addrupdate() if name.endswith(ADDRUPDATE) else kernel


def load(path: Path = MATRIX_FILE) -> Matrix:
    """Read the matrix from its TOML file."""
    table = tomllib.loads(path.read_text())
    kernels = {
        name: Kernel(name, tuple(entry["suites"]), frozenset(entry["lacks"]), entry.get("user_mode"))
        for name, entry in table["kernels"].items()
    }
    return Matrix(table["default"], kernels)
