"""How fast pfkeyx is, beside a bare loop that sends the same messages, and beside `ip`: `make bench`.

By hand, on a kernel of the lab, in a namespace of its own:

    lab/run --kernel 7 --rwdir bench/results -- unshare --net .venv/bin/python -m bench --case 'dump SAs' 100 1000

Only the ratios say something: how long anything takes is the machine's, and many times longer under emulation.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.cases import CASES, Bench
from bench.contest import FLOOR, Result, hold

_HERE = Path(__file__).parent
_SIZES = (100, 1000, 10_000)
_ROUNDS = 5


def main() -> None:
    """Measure, print the table, and store what was measured."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sizes", type=int, nargs="*", default=_SIZES, help="how many objects each case has")
    parser.add_argument("--case", action="append", choices=list(CASES), help="one case; may be repeated")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--output", type=Path, help="a JSON file for what was measured")
    arguments = parser.parse_args()
    here, pid_1s = (Path(f"/proc/{process}/ns/net").stat().st_ino for process in ("self", 1))
    if here == pid_1s:
        parser.error("this empties the SAD and the SPD: run it in a namespace of its own, by unshare --net")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        floor = Path(folder, "floor")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", _HERE / "floor.c", "-o", floor], check=True)
        for case in arguments.case or CASES:
            for size in arguments.sizes:
                bench = Bench(floor, Path(folder))
                result = hold(case, size, CASES[case](bench, size), arguments.rounds)
                bench.flush()
                bench.close()
                results.append(result)
                print("\n".join(_lines(result)), flush=True)
    if arguments.output is not None:
        run = {
            "kernel": platform.release(),
            "lab": os.environ.get("LAB_KERNEL"),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "rounds": arguments.rounds,
            "results": [result.as_json() for result in results],
        }
        arguments.output.write_text(json.dumps(run, indent=1) + "\n")


def _lines(result: Result) -> Iterator[str]:
    each = result.as_json()["microseconds each"]
    for name in result.seconds:
        cells = f"{result.case:28} {result.size:7} {name:18} {each[name]:10.1f} us"
        if name != FLOOR and FLOOR in result.seconds:
            ratio, least, greatest = result.ratio(name)
            cells += f"  {ratio:7.2f} x floor ({least:.2f} to {greatest:.2f})"
        yield cells


main()
