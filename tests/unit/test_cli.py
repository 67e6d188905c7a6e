"""The command: what it says, where it says it, and its exit status."""

import subprocess
import sys
from argparse import Namespace
from io import StringIO
from pathlib import Path

import pytest

import pfkeyx
from pfkeyx import cli
from pfkeyx.cli.command import make_sure
from pfkeyx.cli.keys import make_suites
from pfkeyx.cli.parser import make_parser
from pfkeyx.demo import story
from pfkeyx.demo.story import Settings
from pfkeyx.errors import InvalidRequestError, KernelError, PfkeyxError, UnsupportedError
from pfkeyx.migration import Method


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
    assert capsys.readouterr().err.startswith("pfkeyx: ")


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


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("sa flush", "Give --yes to do so, or name a namespace with --netns"),
        ("policy flush", "Give --yes"),
        ("policy default --fwd block", "your own connection too. Give --yes"),
        ("policy get out 10.1.0.0/16", "give DIRECTION SOURCE DESTINATION, or --index N"),
        ("policy get out 10.1.0.0/16 10.2.0.0/16 --index 9", "not both"),
        ("sa add 192.0.2.1 192.0.2.2 --spi 300 --encryption aes-gcm", "give --key-file FILE|- or --generate-keys"),
        ("sa add 192.0.2.1 192.0.2.2 --spi 300 --encryption aes-gcm --key-file /nowhere", "/nowhere: No such file"),
        ("sa add 192.0.2.1 192.0.2.2 --spi 300 --encryption aes-gcm --key-file /", "keys from /: Is a directory"),
        ("tunnel move --reqid 7", "give the new address with --local or --remote"),
        ("address-update 0x1001", "give --new-source"),
        ("monitor sa --raw", "leave the kinds out"),
        ("top", "standard output is no terminal; give --once or --json"),
    ],
)
def test_what_is_refused_before_a_kernel_is_asked_is_one_line_and_wrong_usage(
    arguments: str, complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO())
    assert cli.main(arguments.split()) == cli.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("pfkeyx: ")
    assert said.err.count("\n") == 1
    assert complaint in said.err


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "2 are needed, one a line in this order: aes-cbc, hmac-sha256; there are 0"),
        ("00\n11\n22\n", "there are 3"),
        ("00 # one\nsecret\n", "line 2: take an even number of hex digits"),
    ],
)
def test_keys_that_are_none_are_refused_by_their_line_and_not_repeated(
    text: str, complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(text))
    suite = "--encryption aes-cbc --authentication hmac-sha256 --key-file -"
    assert cli.main(f"sa add 192.0.2.1 192.0.2.2 --spi 300 {suite}".split()) == cli.USAGE
    said = capsys.readouterr().err
    assert complaint in said
    assert "secret" not in said


def test_an_algorithm_without_a_key_has_no_line_in_a_key_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("11" * 20))
    options = make_parser().parse_args(
        [
            "sa",
            "add",
            "192.0.2.1",
            "192.0.2.2",
            "--spi",
            "300",
            "--encryption",
            "null",
            "--authentication",
            "hmac-sha1",
            "--key-file",
            "-",
        ]
    )
    ((encryption, authentication),) = make_suites(options, "")
    assert encryption is not None
    assert authentication is not None
    assert (encryption.key, authentication.key) == (pfkeyx.Key(b""), pfkeyx.Key(b"\x11" * 20))


def test_generated_keys_are_the_longest_and_differ() -> None:
    options = make_parser().parse_args(
        ["sa", "add", "192.0.2.1", "192.0.2.2", "--spi", "300", "--encryption", "aes-gcm", "--generate-keys"]
    )
    (first, _), (second, _) = make_suites(options, "outbound ", "inbound ")
    assert first is not None
    assert second is not None
    assert (first.key.bits, second.key.bits) == (288, 288)
    assert first.key != second.key


@pytest.mark.parametrize(("answer", "is_done"), [("y\n", True), ("\n", False), ("", False)])
def test_a_person_is_asked_and_a_named_namespace_was_meant(
    answer: str, is_done: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    unsaid = Namespace(yes=False, netns=None)
    if is_done:
        make_sure(unsaid, "All of it?")
    else:
        with pytest.raises(InvalidRequestError, match="nothing was done"):
            make_sure(unsaid, "All of it?")
    assert capsys.readouterr().err == "All of it? Go on? [y/N] "
    make_sure(Namespace(yes=True, netns=None), "All of it?")
    make_sure(Namespace(yes=False, netns="/run/netns/test"), "All of it?")


def test_a_reader_who_has_gone_is_no_error() -> None:
    code = (
        "import sys\n"
        "from pfkeyx.cli import main, sa\n"
        "sa.run_list = lambda _: print('x' * 99999) or 0\n"
        "sys.exit(main(['sa', 'list']))"
    )
    pipeline = f"'{sys.executable}' -c \"$CODE\" | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipeline], env={"CODE": code}, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_picture_that_could_not_be_written_is_refused_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", "--output", str(tmp_path / "missing" / "there.svg")]) == cli.USAGE
    assert "choose another --output" in capsys.readouterr().err
