"""How fast pfkeyx is, beside a bare loop that sends the same messages, and beside `ip`: `make bench`.

By hand, on a kernel of the lab, in a namespace of its own:

    lab/run --kernel 7 --user-mode --rwdir bench/results -- \
        unshare --net .venv/bin/python -m bench --case 'dump SAs' 100

Only the ratios say something: how long anything takes is the machine's.
"""

import argparse
import ctypes
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.cases import CASES
from bench.contest import FLOOR, Result, hold
from bench.ground import Ground
from pfkeyx import UnsupportedError

_HERE = Path(__file__).parent
_SIZES = (100, 1000, 10_000, 100_000)
_ROUNDS = 5
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def main() -> None:
    """Measure, print the table, and store what was measured."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sizes", type=int, nargs="*", default=_SIZES, help="how many objects each case has")
    parser.add_argument("--case", action="append", choices=list(CASES), help="one case; may be repeated")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--output", type=Path, help="a JSON file for what was measured, added to what it has")
    arguments = parser.parse_args()
    here, pid_1s = (Path(f"/proc/{process}/ns/net").stat().st_ino for process in ("self", 1))
    if here == pid_1s:
        parser.error("this empties the SAD and the SPD: run it in a namespace of its own, by unshare --net")
    _keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        floor = Path(folder, "floor")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", _HERE / "floor.c", "-o", floor], check=True)
        # Small sizes first: who stops early has seen every case.
        for size in sorted(arguments.sizes):
            for case in arguments.case or CASES:
                most = CASES[case].most
                if (size != min(arguments.sizes)) if most is None else (size > most):
                    continue
                try:
                    result = measure(case, size, CASES[case].rounds or arguments.rounds, floor)
                except UnsupportedError as reason:
                    print(f"{case}: {reason}", flush=True)
                    continue
                print("\n".join(_lines(result)), flush=True)
                if arguments.output is not None:
                    _store(arguments.output, result)


def measure(case: str, size: int, rounds: int, floor: Path) -> Result:
    """Hold the contest of a case, `floor` being the floor's program."""
    with tempfile.TemporaryDirectory() as folder, Ground(floor, Path(folder)) as ground:
        return hold(case, size, CASES[case].make(ground, size), rounds)


def _keep_memory() -> None:
    """Have the C library keep what memory it has: to touch a page first takes a kernel in user mode 20 us and more."""
    libc = ctypes.CDLL(None)
    for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        libc.mallopt(parameter, 1 << 30)


def _store(path: Path, result: Result) -> None:
    run = json.loads(path.read_text()) if path.exists() else {"results": []}
    run |= {
        "kernel": platform.release(),
        "is_user_mode": "User Mode Linux" in Path("/proc/cpuinfo").read_text(),
        "machine": os.environ.get("MACHINE", "a machine of which nothing is known"),
        "python": platform.python_version(),
    }
    others = [other for other in run["results"] if (other["case"], other["size"]) != (result.case, result.size)]
    run["results"] = [*others, result.as_json()]
    path.write_text(json.dumps(run, indent=1) + "\n")


def _lines(result: Result) -> Iterator[str]:
    unit = "us" if result.unit == "s" else result.unit
    for name in result.measured:
        cells = f"{result.case:28} {result.size:7} {name:18} {result.each(name):10.1f} {unit}"
        if name != FLOOR and FLOOR in result.measured:
            ratio, least, greatest = result.ratio(name)
            cells += f"  {ratio:7.2f} x floor ({least:.2f} to {greatest:.2f})"
        yield cells


if __name__ == "__main__":
    main()
