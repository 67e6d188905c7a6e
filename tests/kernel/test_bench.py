"""The benchmarks, with so few objects that their times say nothing: each contestant must do its work."""

import subprocess
from pathlib import Path

import pytest

from bench import tables
from bench.__main__ import measure
from bench.cases import CASES
from pfkeyx import Feature
from tests.kernel.audit import requires

FLOOR = Path(__file__).parents[2] / "bench" / "floor.c"
NEEDS = {
    case: requires(Feature.MIGRATE_STATE)
    for case in ("move tunnels, MIGRATE_STATE", "move tunnels, MIGRATE_STATE, hashed")
}


@pytest.fixture(scope="session")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("bench") / "floor"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Wconversion", "-Werror", FLOOR, "-o", program], check=True)
    return program


@pytest.mark.parametrize("case", [pytest.param(case, marks=NEEDS.get(case, ())) for case in CASES])
def test_every_contestant_does_its_work(case: str, floor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_TOLD", 1)
    result = measure(case, 4, 1, floor)
    assert all(value >= 0 for values in result.measured.values() for value in values)
