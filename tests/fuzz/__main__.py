"""Fuzzes the C core with libFuzzer, AddressSanitizer and UBSan: `python -m tests.fuzz [--seconds N]`.

An input that breaks them is left in `tests/fuzz/found/`; what lies there is tried first in every run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.seeds import SEEDS

HERE = Path(__file__).parent
NATIVE = HERE.parent.parent / "_native"
FOUND = HERE / "found"
#: The parts of the C core that each target is about.
TARGETS = {
    "pfkey": ("builder.c", "reader.c", "pfkey.c", "dump.c", "socket.c"),
    "xfrm": ("xfrm.c", "compare.c", "identity.c", "dump.c"),
}
FLAGS = [
    *("-Wall", "-Wextra", "-Wconversion", "-Werror"),
    *("-g", "-O1", "-fno-omit-frame-pointer"),
    *("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"),
]
LONGEST = 4096  # bytes of an input: some extensions of the greatest bitmaps
SHORT, LONG = 30, 600  # seconds, for each target


def main() -> int:
    """Compile, run, and return the exit status: 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the C core.")
    parser.add_argument("--seconds", type=int, default=LONG if os.environ.get("SOAK") else SHORT)
    seconds = parser.parse_args().seconds
    if shutil.which("clang") is None:
        print(
            "fuzz: no clang, which libFuzzer is a part of: install it (Debian: apt-get install clang libclang-rt-dev)"
        )
        return 1
    return max(_fuzz(target, seconds) for target in TARGETS)


def _fuzz(target: str, seconds: int) -> int:
    """Compile and run a target, and return 0 when nothing was found."""
    found = FOUND / target
    sources = [HERE / f"{target}.c", *(NATIVE / name for name in TARGETS[target])]
    with tempfile.TemporaryDirectory() as folder:
        program, corpus = Path(folder, "fuzz"), Path(folder, "corpus")
        built = subprocess.run(["clang", *FLAGS, f"-I{NATIVE}", *sources, "-o", program], check=False)
        if built.returncode != 0:
            print("fuzz: does not compile; where libclang_rt is missing: install it (Debian: libclang-rt-dev)")
            return 1
        corpus.mkdir()
        for number, seed in enumerate(SEEDS[target]()):
            (corpus / str(number)).write_bytes(seed)
        found.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [
                program,
                f"-max_total_time={seconds}",
                f"-max_len={LONGEST}",
                "-verbosity=0",
                "-print_final_stats=1",
                f"-artifact_prefix={found}/",
                corpus,
                found,
            ],
            check=False,
        )
    if done.returncode != 0:
        print(f"fuzz: the input that broke it is in {found}: mend the code, and keep the input with it")
    return done.returncode


sys.exit(main())
