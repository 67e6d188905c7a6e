"""The parser: every command's help has an example that it takes, within 80 columns, and starting it is fast."""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pfkeyx import cli
from pfkeyx.cli.parser import make_parser


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and all below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


COMMANDS = {parser.prog: parser for parser in parsers(make_parser())}
VERBS = {prog: parser for prog, parser in COMMANDS.items() if parser.get_default("run")}


def examples(parser: argparse.ArgumentParser) -> list[list[str]]:
    """Return the command lines of a help text, each as the words behind `pfkeyx`."""
    text = (parser.epilog or "").replace("\\\n", " ")
    lines = re.findall(r"^  (?:sudo )?pfkeyx (.*)$", text, re.MULTILINE)
    # The namespace of an example is not there.
    return [re.sub(r"--netns \S+", "", shlex.join(shlex.split(re.split("[|>]", line)[0]))).split() for line in lines]


@pytest.mark.parametrize("prog", VERBS)
def test_every_command_has_an_example_which_it_takes(prog: str) -> None:
    found = examples(VERBS[prog])
    assert found
    for words in found:
        assert make_parser().parse_args(words).run is VERBS[prog].get_default("run")


@pytest.mark.parametrize("prog", COMMANDS)
def test_help_fits_80_columns(prog: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for line in COMMANDS[prog].format_help().splitlines():
        assert len(line) <= 80


@pytest.mark.parametrize("prog", VERBS)
def test_global_options_may_stand_before_and_behind_a_command(prog: str) -> None:
    words = examples(VERBS[prog])[0]
    parse = make_parser().parse_args
    for options in (parse(["--json", "--engine", "xfrm", *words]), parse([*words, "--json", "--engine", "xfrm"])):
        assert (options.json, options.engine, options.show_keys) == (True, "xfrm", "--show-keys" in words)


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["sa", "list", "--help"], ["demo", "--help"], ["sa", "add", "1.2.3.4"]]
)
def test_it_starts_fast_because_it_imports_nothing_that_is_slow(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from pfkeyx.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "assert not {'asyncio', 'pyroute2', 'rich', 'multiprocessing', 'tomli_w'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def test_a_list_imports_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys\n"
        "from pfkeyx.cli import main\n"
        "main(['sa', 'list'])\n"
        "assert not {'asyncio', 'pyroute2', 'rich', 'tomli_w'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("fly", "invalid choice: 'fly'"),
        ("sa", "sa: the following arguments are required: COMMAND"),
        ("sa lis", "sa: argument COMMAND: invalid choice: 'lis'"),
        ("sa list --addr 192.0.2.1", "unrecognized arguments: --addr 192.0.2.1"),
        ("sa list --engine netlink", "sa list: argument --engine: invalid choice"),
        ("sa list --netns 4194305", "argument --netns: there is no process 4194305"),
        ("sa list --address 192.0.2", "argument --address: '192.0.2' is no network; take one such as 10.1.0.0/16"),
        ("sa list --protocol gre", "argument --protocol: 'gre' is none of esp, ah, ipcomp"),
        ("sa get c0ffee01", "'c0ffee01' is no number from 1 to 0xffffffff; if it is hex, write 0xc0ffee01"),
        ("sa get 0", "argument SPI: '0' is no number from 1 to 0xffffffff"),
        ("sa add 192.0.2.1 192.0.2.2 --encryption aes-gcm", "the following arguments are required: --spi"),
        ("sa add 192.0.2.1 192.0.2.2 --spi 9 --encryption rot13", "'rot13' is none of null, des-cbc"),
        ("sa add 192.0.2.1 192.0.2.2 --spi 9 --encryption aes-gcm/100", "sent with 128 or 96 or 64 bits of its ICV"),
        ("sa add 192.0.2.1 192.0.2.2 --spi 9 --hard 1week", "'1week' is no limit; take such as 1h, 10GiB"),
        ("sa add 192.0.2.1 192.0.2.2 --spi 9 --hard 1h,2h", "says seconds twice"),
        ("sa add 192.0.2.1 192.0.2.2 --spi 9 --encap udp:1", "take udp, tcp, or udp:SOURCE-PORT:DESTINATION-PORT"),
        ("sa add 192.0.2.1 192.0.2.2 --spi 9 --key-file k --generate-keys", "not allowed with argument --key-file"),
        ("policy add out 10.0.0.0/8 10.0.0.0/8 --template esp", "is no template; take such as esp/tunnel/"),
        ("policy add out 10.0.0.0/8 10.0.0.0/8 --template esp/tunnel/x", "'x' is none of SOURCE-DESTINATION, reqid:N"),
        ("policy add up 10.0.0.0/8 10.0.0.0/8", "'up' is none of in, out, fwd"),
        ("tunnel move --method teleport", "'teleport' is none of addrupdate, migrate-state"),
        ("tunnel move --accept everything", "'everything' is none of sequence-repeat"),
        ("tunnel move --encap tcp", "an SA can be moved into UDP alone"),
        ("monitor weather", "'weather' is none of acquire"),
        ("top --interval soon", "'soon' is no time"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_to_do(
    arguments: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments.split())
    assert end.value.code == cli.USAGE
    said = capsys.readouterr().err
    assert said.startswith("pfkeyx: ")
    assert said.endswith(" --help\n")
    assert said.count("\n") == 1
    assert complaint in said
