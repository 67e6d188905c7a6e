"""The command: what it says, where it says it, and its exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

import pfkeyx
from pfkeyx import cli
from pfkeyx.demo import story
from pfkeyx.demo.story import Settings
from pfkeyx.errors import InvalidRequestError, KernelError, PfkeyxError, UnsupportedError
from pfkeyx.migration import Method


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["demo", "--help"]])
def test_it_starts_fast_because_it_imports_nothing_that_is_slow(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from pfkeyx.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {'pyroute2', 'rich', 'multiprocessing'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def test_it_can_be_run_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "pfkeyx", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"pfkeyx {pfkeyx.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["demo", "--method", "teleport"],
        ["demo", "--algorithm", "rot13"],
        ["demo", "--rate", "0"],
        ["demo", "--rate", "many"],
        ["demo", "--seconds", "nan"],
        ["demo", "--seconds", "0.5"],
    ],
)
def test_wrong_usage_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == cli.USAGE
    assert "usage: pfkeyx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KernelError.of(1, "make a network namespace"), cli.REFUSED),
        (InvalidRequestError("nothing is there"), cli.USAGE),
        (UnsupportedError("ESP", "boot another kernel"), cli.UNSUPPORTED),
    ],
)
def test_an_error_is_one_line_and_a_status(
    error: PfkeyxError, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_settings: Settings) -> bool:
        raise error

    monkeypatch.setattr(story, "tell", fail)
    assert cli.main(["demo"]) == status
    assert capsys.readouterr().err == f"pfkeyx: {error}\n"


@pytest.mark.parametrize(("as_planned", "status"), [(True, cli.DONE), (False, cli.REFUSED)])
def test_the_demos_status_says_whether_it_went_as_planned(
    as_planned: bool, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Settings] = []

    def tell(settings: Settings) -> bool:
        seen.append(settings)
        return as_planned

    monkeypatch.setattr(story, "tell", tell)
    arguments = "demo --method migrate --algorithm aes-cbc --ipv6 --rate 50 --seconds 2 --output /tmp/there.svg"
    assert cli.main(arguments.split()) == status
    assert seen == [Settings(Method.MIGRATE, pfkeyx.AES_CBC, 6, 50, 2.0, Path("/tmp/there.svg"))]


def test_an_interrupted_command_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_settings: Settings) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(story, "tell", interrupt)
    assert cli.main(["demo"]) == cli.INTERRUPTED
    assert capsys.readouterr().err == "pfkeyx: interrupted\n"


def test_a_picture_that_could_not_be_written_is_refused_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", "--output", str(tmp_path / "missing" / "there.svg")]) == cli.USAGE
    assert "choose another --output" in capsys.readouterr().err
