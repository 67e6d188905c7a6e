"""The benchmarks, with so few objects that their times say nothing: each contestant must do its work."""

import subprocess
from pathlib import Path

import pytest

from bench.cases import CASES, Bench
from bench.contest import hold

FLOOR = Path(__file__).parents[2] / "bench" / "floor.c"


@pytest.mark.parametrize("case", CASES)
def test_every_contestant_does_its_work(case: str, tmp_path: Path) -> None:
    program = tmp_path / "floor"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Wconversion", "-Werror", FLOOR, "-o", program], check=True)
    (folder := tmp_path / "recorded").mkdir()
    bench = Bench(program, folder)
    try:
        result = hold(case, 4, CASES[case](bench, 4), rounds=2)
    finally:
        bench.flush()
        bench.close()
    assert all(seconds > 0 for times in result.seconds.values() for seconds in times)
