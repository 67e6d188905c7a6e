"""The plugin of pytest, in a pytest of its own: what it costs who does not use it, and what it says where it skips."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/pytest_gateway"
IN_A_NAMESPACE = "def test_in_a_namespace(pfkeyx_namespace): pass"
OF_A_FEATURE = """
import pytest
from pfkeyx import Feature

@pytest.mark.pfkeyx_requires(Feature.SADB_EXPIRE)
def test_of_what_no_linux_has(): raise AssertionError
"""
WHAT_IS_LOADED = """
import pytest, sys
assert pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]) == 0
assert "pytest_pfkeyx" in sys.modules
print({"pfkeyx", "pyroute2"} & set(sys.modules))
"""


def run(path: Path, test: str, command: Sequence[str]) -> str:
    path.joinpath("test_it.py").write_text(test)
    done = subprocess.run([*command, "test_it.py"], cwd=path, capture_output=True, text=True, check=False)
    return done.stderr + done.stdout


def run_without_rights(path: Path, *options: str) -> str:
    drop = ["setpriv", "--bounding-set=-sys_admin"] if os.geteuid() == 0 else []
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *options]
    return run(path, IN_A_NAMESPACE, [*drop, *pytest_command])


def test_who_does_not_use_the_plugin_does_not_load_pfkeyx(tmp_path: Path) -> None:
    shown = run(tmp_path, "def test_of_something_else(): pass", [sys.executable, "-c", WHAT_IS_LOADED])
    assert "1 passed" in shown
    assert shown.splitlines()[-1] == "set()"


def test_a_test_without_the_right_to_make_a_namespace_is_skipped_and_says_why(tmp_path: Path) -> None:
    shown = run_without_rights(tmp_path)
    assert re.search(r"SKIPPED .*make a network namespace: Operation not permitted \(needs CAP_SYS_ADMIN", shown)


def test_what_is_required_is_not_skipped(tmp_path: Path) -> None:
    shown = run_without_rights(tmp_path, "--pfkeyx-require")
    assert "needs CAP_SYS_ADMIN" in shown
    assert "1 error" in shown


def test_a_test_is_skipped_by_the_name_of_the_feature_that_the_kernel_lacks(tmp_path: Path) -> None:
    shown = run(tmp_path, OF_A_FEATURE, [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"])
    assert re.search(r"SKIPPED .*(this kernel lacks sadb_expire: |needs CAP_SYS_ADMIN)", shown)


def test_the_how_to_shows_what_the_example_runs() -> None:
    code = "\n".join(path.read_text() for path in sorted(EXAMPLE.glob("*.py")))
    shown = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/howto/testing.md").read_text(), re.DOTALL | re.MULTILINE)
    assert shown
    for block in shown:
        assert block in code, f"not in the example:\n{block}"
