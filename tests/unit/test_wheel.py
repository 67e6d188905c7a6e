"""The wheel has the manual pages and the completions, and the programs that read them find no fault."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from pfkeyx.cli.parser import make_parser
from tests.command_page import commands

ROOT = Path(__file__).resolve().parents[2]
MANUALS = ("man/man5/pfkeyx-file.5", "man/man8/pfkeyx.8")
COMPLETIONS = {
    "bash": "bash-completion/completions/pfkeyx",
    "fish": "fish/vendor_completions.d/pfkeyx.fish",
    "zsh": "zsh/site-functions/_pfkeyx",
}


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel, of a copy of the tree, and return the folder `share` that it installs."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name in ("_native", "docs/reference", "pfkeyx"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    scripts = ("build_ffi.py", "build_share.py", "pytest_pfkeyx.py", "setup.py")
    for name in ("LICENSE", "README.md", "pyproject.toml", *scripts):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "."]
    subprocess.run([*command, source], check=True, cwd=target)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    (entry_points,) = target.glob("*.dist-info/entry_points.txt")
    assert "[pytest11]\npfkeyx = pytest_pfkeyx" in entry_points.read_text()
    assert (target / "pytest_pfkeyx.py").exists()
    (share,) = target.glob("*.data/data/share")
    return share


def test_the_manual_tells_of_every_command(share: Path) -> None:
    text = (share / "man/man8/pfkeyx.8").read_text().replace("\\-", "-")
    for command in commands(make_parser()):
        assert f"\n.SH {command.prog}\n" in text


@pytest.mark.parametrize("path", MANUALS)
def test_the_reader_of_manuals_finds_no_fault(share: Path, path: str) -> None:
    complaints = _run_if_there(["mandoc", "-Tlint", "-Wwarning", str(share / path)], may_fail=True)
    # A date would make of each build another wheel.
    assert [line for line in complaints.splitlines() if "missing date" not in line] == []
    shown = _run_if_there(["man", "--warnings", "--local-file", str(share / path)])
    assert "warning" not in shown


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_each_shell_can_read_its_completions(share: Path, shell: str) -> None:
    assert (share / COMPLETIONS[shell]).stat().st_size > 1000
    assert _run_if_there([shell, "-n", str(share / COMPLETIONS[shell])]) == ""


def test_bash_completes_nouns_verbs_and_options(share: Path) -> None:
    script = share / COMPLETIONS["bash"]
    assert _completed(script, "pfkeyx", "s") == ["sa"]
    assert _completed(script, "pfkeyx", "sa", "l") == ["list"]
    assert "--reqid" in _completed(script, "pfkeyx", "sa", "list", "--r")


def _completed(script: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    line = " ".join(words)
    lines = (
        f"source {script}",
        f"COMP_WORDS=({line}) COMP_CWORD={len(words) - 1} COMP_LINE='{line}' COMP_POINT={len(line)}",
        "$(complete -p pfkeyx | sed 's/.*-F \\([^ ]*\\).*/\\1/') pfkeyx",
        "printf '%s\\n' \"${COMPREPLY[@]}\"",
    )
    done = subprocess.run(["bash", "-c", "\n".join(lines)], check=True, capture_output=True, text=True)
    return done.stdout.split()


def _run_if_there(command: Sequence[str], *, may_fail: bool = False) -> str:
    """Return what a program says, nothing where it is not installed."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert may_fail or done.returncode == 0, done.stdout
    return done.stdout
