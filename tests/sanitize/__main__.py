"""Runs the C core's own tests under AddressSanitizer and UBSan: `python -m tests.sanitize`."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NATIVE = HERE.parent.parent / "_native"
FLAGS = [
    *("-Wall", "-Wextra", "-Wconversion", "-Werror"),
    *("-g", "-O1", "-fno-omit-frame-pointer", "-pthread", "-Wl,--wrap=free"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
]


def main() -> int:
    """Compile, run, and return the exit status: 0 when every test passed."""
    compiler = os.environ.get("CC") or "cc"
    if shutil.which(compiler) is None:
        print(f"sanitize: no C compiler {compiler!r}: install gcc (Debian: apt-get install gcc)")
        return 1
    sources = [*sorted(HERE.glob("*.c")), *sorted(NATIVE.glob("*.c"))]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "driver"
        built = subprocess.run([compiler, *FLAGS, f"-I{NATIVE}", *sources, "-o", program], check=False)
        if built.returncode != 0:
            print("sanitize: the C core does not compile with the sanitizers")
            return 1
        return subprocess.run([program], check=False).returncode


sys.exit(main())
