"""The whole parser, put together from the nouns: what is dispatched, and what help, man page and completions say."""

from pfkeyx import __version__
from pfkeyx.cli import address_update, apply, demo, export, monitor, policy, probe, sa, top, tunnel
from pfkeyx.cli.command import Parser, add_global_options, example_text
from pfkeyx.cli.status import STATUS_HELP

#: In the order of the help.
_NOUNS = (sa, policy, tunnel, address_update, monitor, top, apply, export, probe, demo)
_EXAMPLES = """\
  pfkeyx tunnel list
  pfkeyx tunnel move --reqid 7 --local 203.0.113.9 --dry-run
  pfkeyx sa list --address 192.0.2.1 --json"""


def make_parser() -> Parser:
    """Return the parser of the command line; a parsed one has its handler in `run`."""
    parser = Parser(
        prog="pfkeyx",
        description="The IPsec key-management plane of Linux: SAs, policies, and live tunnels moved to new addresses.",
        epilog=f"{example_text(_EXAMPLES)}\n\n{STATUS_HELP}",
    )
    parser.add_argument("--version", action="version", version=f"pfkeyx {__version__}")
    add_global_options(parser, is_outermost=True)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for noun in _NOUNS:
        noun.add_parser(commands)
    return parser
