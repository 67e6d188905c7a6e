"""Finding the programs that the lab calls, with a sentence that says what to install when one is missing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from lab import LabError

_PROJECT = Path(__file__).resolve().parent.parent


def find(name: str, package: str) -> str:
    """Return the path of a program; `LabError` naming the Debian package when it is not there.

    Looked for in PATH and where Debian puts programs for root, which is not in every user's PATH.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise LabError(f"{name} is missing: install the package {package}")
    return found


def find_python_script(name: str, package: str) -> str:
    """Return the path of a Python package's program: beside this interpreter, in PATH or in .venv."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), str(_PROJECT / ".venv/bin")]
    found = shutil.which(name, path=":".join(folders))
    if found is None:
        raise LabError(f"{name} is missing: install the Python package {package}")
    return found
