"""What every command shares: how it is declared, the global options, the engine, JSON, and asking first."""

import argparse
import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from pfkeyx.cli.status import USAGE
from pfkeyx.errors import InvalidRequestError
from pfkeyx.opening import EngineName

if TYPE_CHECKING:
    from pfkeyx.engine import Engine

#: The version of what `--json` prints.
JSON_VERSION = 1
#: Columns that help and lists keep within.
WIDTH = 80

_GLOBAL = "global options"
_TIE = "\0"
#: What `add_subparsers` returns.
Commands = Any
Run = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose option names cannot be cut short."""

    def __init__(self, **settings: Any) -> None:
        settings["description"] = textwrap.fill(settings.get("description") or "", WIDTH - 2, break_on_hyphens=False)
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, add_help=False, **settings
        )
        self.add_argument("-h", "--help", action="help", help="show this help and exit")

    def format_help(self) -> str:
        """Return the help text; what every command takes stands last in it."""
        self._action_groups.sort(key=lambda group: group.title == _GLOBAL)
        self.usage = self._short_usage()
        return super().format_help()

    def format_usage(self) -> str:
        """Return the usage text."""
        self.usage = self._short_usage()
        return super().format_usage()

    def _short_usage(self) -> str:
        """Return what has to be given; the options are described one by one."""
        words = ["[OPTION...]"]
        for action in self._actions:
            metavar = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar or (action.dest,))
            if action.required and action.option_strings:
                words.append(f"{action.option_strings[-1]} {metavar}")
            elif not action.option_strings:
                forms = {"A...": f"{metavar} ...", "*": f"[{metavar}...]", "?": f"[{metavar}]"}
                words.append(forms.get(str(action.nargs), metavar))
        # An option and what it takes stay together.
        text = f"{self.prog} {' '.join(word.replace(' ', _TIE) for word in words)}"
        indent = " " * len(f"usage: {self.prog} ")
        usage = textwrap.fill(text, WIDTH - len("usage: "), subsequent_indent=indent, break_on_hyphens=False)
        return usage.replace(_TIE, " ").replace("%", "%%")

    def error(self, message: str) -> NoReturn:
        """Say on one line of stderr what is wrong with the command line, and exit."""
        command = self.prog.removeprefix("pfkeyx").strip()
        self.exit(USAGE, f"pfkeyx: {f'{command}: ' if command else ''}{message}; see {self.prog} --help\n")


def add_noun(commands: Commands, name: str, text: str) -> Commands:
    """Declare a noun, and return what its verbs are added to."""
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def add_command(commands: Commands, name: str, run: Run, text: str, example: str, details: str = "") -> Parser:
    """Declare a command: `text` says in a line what it does, `details` more of it, `example` are whole command lines.

    It knows the global options too, so that they may stand behind it.
    """
    description = f"{text[0].upper()}{text[1:]}." + (f" {details}" if details else "")
    parser: Parser = commands.add_parser(name, help=text, description=description, epilog=example_text(example))
    parser.set_defaults(run=run)
    add_global_options(parser)
    return parser


def example_text(example: str) -> str:
    """Return command lines as they stand at the end of a help text."""
    lines = textwrap.indent(textwrap.dedent(example).strip("\n"), "  ")
    return ("examples" if "\n" in lines else "example") + f":\n{lines}"


def add_global_options(parser: argparse.ArgumentParser, *, is_outermost: bool = False) -> None:
    """Add what every command takes, before and behind its name; what stands behind counts."""

    def default(value: object) -> object:
        return value if is_outermost else argparse.SUPPRESS

    group = parser.add_argument_group(_GLOBAL)
    group.add_argument(
        "--engine",
        choices=get_args(EngineName),
        default=default(None),
        help="the kernel interface (default: xfrm where there is one)",
    )
    group.add_argument(
        "--netns",
        type=_netns,
        metavar="NAME|PID",
        default=default(None),
        help="work in this network namespace, or in that of a process",
    )
    group.add_argument("--json", action="store_true", default=default(False), help="print JSON for programs")
    group.add_argument(
        "--show-keys", action="store_true", default=default(False), help="show keys, which are hidden otherwise"
    )


def _netns(text: str) -> str:
    path = Path("/proc", text, "ns/net") if text.isdecimal() else Path("/run/netns", text)
    try:
        path.stat()
    except FileNotFoundError:
        what = f"there is no process {text}" if text.isdecimal() else f"there is no {path}; see ip netns list"
        raise argparse.ArgumentTypeError(what) from None
    except PermissionError:
        pass  # the kernel will say what it takes
    return str(path)


def open_engine(options: argparse.Namespace) -> "Engine":
    """Open the engine that the options name, in the namespace that they name."""
    from pfkeyx.engine import Engine

    return Engine.open(options.engine, netns=options.netns)


def interface_index(options: argparse.Namespace, name: str) -> int:
    """Return the index of a network interface, by its name or as it is.

    Raises `InvalidRequestError` for a name in another namespace, which is not seen from here.
    """
    if name.isdecimal():
        return int(name)
    if options.netns is not None:
        raise InvalidRequestError(f"interface {name}: with --netns give its number, as ip -netns NAME link shows it")
    try:
        return int(Path("/sys/class/net", name, "ifindex").read_text())
    except (OSError, ValueError):
        raise InvalidRequestError(f"interface {name}: there is none; see ip link") from None


def print_json(**content: Any) -> None:
    """Print one JSON object, with the version of what it is written in."""
    print(json.dumps({"version": JSON_VERSION, **content}, indent=2))


def print_json_line(**content: Any) -> None:
    """Print one JSON object on a line of its own, at once."""
    print(json.dumps({"version": JSON_VERSION, **content}), flush=True)


def say(text: str) -> None:
    """Print a line on stderr: an error, a warning, or what is not the command's result."""
    print("pfkeyx:", " ".join(text.splitlines()), file=sys.stderr, flush=True)


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add the option that answers the question of `make_sure`."""
    parser.add_argument("--yes", action="store_true", help="do not ask; needed without a terminal and --netns")


def make_sure(options: argparse.Namespace, question: str) -> None:
    """Ask before what concerns more than one may mean; a namespace that was named was meant.

    Raises `InvalidRequestError` when the answer is no, or nobody is there to give one.
    """
    if options.yes or options.netns is not None:
        return
    if not sys.stdin.isatty():
        raise InvalidRequestError(f"{question} Give --yes to do so, or name a namespace with --netns")
    if not ask(f"{question} Go on?"):
        raise InvalidRequestError("nothing was done")


def ask(question: str) -> bool:
    """Ask a person on the terminal, and return whether the answer is yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
