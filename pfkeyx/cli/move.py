"""Moves of live SAs: `pfkeyx tunnel move` and what it shares with `pfkeyx address-update`."""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pfkeyx.cli import arguments
from pfkeyx.cli.command import WIDTH, Commands, add_command, add_yes, ask, make_sure, open_engine, print_json
from pfkeyx.cli.filters import TUNNEL_FILTERS, add_filters, choose_tunnels
from pfkeyx.cli.status import DONE
from pfkeyx.cli.text import count, show
from pfkeyx.errors import InvalidRequestError, UnsupportedError
from pfkeyx.migration import KEEP, AddressUpdate, Keep, Loss, MigrationPlan, MigrationReport, ProgressCallback
from pfkeyx.model import UdpEncap
from pfkeyx.tunnels import find_tunnels, update_for

if TYPE_CHECKING:
    from pfkeyx.engine import Engine

_EXAMPLE = """\
sudo pfkeyx tunnel move --reqid 7 --local 203.0.113.9 --dry-run
sudo pfkeyx tunnel move --reqid 7 --local 203.0.113.9 --encap udp
sudo pfkeyx tunnel move --all-from 192.0.2.1 --local 203.0.113.9 --yes"""
_DETAILS = """\
It keeps SPIs, keys, sequence numbers, replay windows and lifetimes, and moves all or nothing. The plan is printed
first. Interrupted at any moment, the same command finishes the move."""


#: Steps of a plan and SAs of a report that a person is shown of a large move.
_SHOWN = 8


def add_move_parser(verbs: Commands) -> None:
    """Declare `tunnel move`."""
    parser = add_command(
        verbs, "move", run_move, "move live tunnels to new addresses, and say what was moved", _EXAMPLE, _DETAILS
    )
    add_filters(parser, *TUNNEL_FILTERS)
    parser.add_argument("--all-from", type=arguments.address, metavar="ADDRESS", help="every tunnel of a local address")
    parser.add_argument("--local", type=arguments.address, metavar="NEW", help="our new address (default: as it is)")
    parser.add_argument("--remote", type=arguments.address, metavar="NEW", help="the peer's (default: as it is)")
    add_encap_options(parser, "our port, then the peer's (default: 4500, and what each SA has)")
    parser.add_argument(
        "--method",
        type=arguments.method,
        metavar="METHOD",
        help=f"move by {', '.join(arguments.method.values)} (default: by the first that loses nothing)",
    )
    parser.add_argument(
        "--hold", action="store_true", help="have the kernel hold packets meanwhile, where it can, not refuse them"
    )
    add_accept_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan, and change nothing")
    add_yes(parser)


def add_encap_options(parser: argparse.ArgumentParser, ports: str) -> None:
    """Add what is said of the encapsulation after a move."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--encap", type=arguments.udp_encap, default=KEEP, metavar="udp[:PORT:PORT]", help=f"wrap in UDP: {ports}"
    )
    group.add_argument("--no-encap", action="store_const", const=None, dest="encap", help="end the encapsulation")


def add_accept_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that accepts what a move would lose."""
    parser.add_argument(
        "--accept",
        type=arguments.loss,
        action="append",
        default=[],
        metavar="LOSS",
        help=f"move though this may be lost: {', '.join(arguments.loss.values)}; may be repeated",
    )


def run_move(options: argparse.Namespace) -> int:
    """Plan, print the plan, ask where it takes that, move, and report."""
    if options.local is None and options.remote is None and options.encap is KEEP:
        raise InvalidRequestError("tunnel move: give the new address with --local or --remote, or --encap, --no-encap")
    with open_engine(options) as engine:
        update = _update(options, engine)
        if update is None:
            return _say_done(options)
        plan = engine.plan_migration(update, options.method, hold=options.hold)
        if not options.json:
            print_wrapped(plan if options.dry_run else _shortened(str(plan), r"\d+\. ", "steps; --dry-run shows all"))
        if options.dry_run:
            report = None
        else:
            if options.all_from is not None:
                moves = count(sum(1 for _ in plan.sa_moves()), "SA")
                make_sure(options, f"This moves all {moves} of {options.all_from}.")
            accept = _accepted(options, plan)
            report = _migrate(engine, plan, accept)
    if options.json:
        print_json(plan=plan.as_json(), report=report and report_as_json(report))
    elif report is not None:
        print_wrapped(_shortened(str(report), r"\w+ 0x", "SAs; --json shows all"))
    return DONE


def _say_done(options: argparse.Namespace) -> int:
    """Say that the tunnel is where it shall be: whoever asks again asks for nothing wrong."""
    if options.json:
        print_json(plan=None, report=None)
    else:
        print("nothing to do: it has been moved already")
    return DONE


def _migrate(engine: "Engine", plan: MigrationPlan, accept: Iterable[Loss]) -> MigrationReport:
    try:
        with progress_bar() as progress:
            return engine.migrate(plan, accept=accept, progress=progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command finishes the move") from None


def _shortened(text: str, start: str, what: str) -> str:
    """Return a text with its first entries only: one begins where a line looks like `start`, and goes on indented."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if re.match(start, line)]
    if len(starts) <= _SHOWN:
        return text
    end = next((n for n in range(starts[-1] + 1, len(lines)) if not lines[n].startswith(" ")), len(lines))
    more = f"... and {len(starts) - _SHOWN} more {what}"
    return "\n".join([*lines[: starts[_SHOWN]], more, *lines[end:]])


def _update(options: argparse.Namespace, engine: "Engine") -> AddressUpdate | None:
    encap: UdpEncap | Keep | None = options.encap
    filters = [name for name in TUNNEL_FILTERS if getattr(options, name.replace("-", "_")) is not None]
    if options.all_from is not None:
        if filters:
            raise InvalidRequestError(f"tunnel move: --all-from moves every tunnel; leave --{filters[0]} out")
        if options.remote is not None:
            raise InvalidRequestError("tunnel move: --all-from leaves each its remote end; leave --remote out")
        return AddressUpdate(options.all_from, options.local or options.all_from, encap)
    found = find_tunnels(engine.dump_sas(), engine.dump_policies())
    return update_for(found, choose_tunnels(options, found.tunnels), options.local, options.remote, encap)


def _accepted(options: argparse.Namespace, plan: MigrationPlan) -> Iterable[Loss]:
    """Return the losses that are accepted; asks a person for those that are not yet."""
    refused = plan.refusals(options.accept)
    if not refused:
        return options.accept  # type: ignore[no-any-return]  # as the parser made it
    names = "; ".join(f"--accept {loss.name.lower().replace('_', '-')}: {loss.value}" for loss in refused)
    if not sys.stdin.isatty() or not ask(
        f"Lost may be {'; '.join(loss.value for loss in refused)}. Move all the same?"
    ):
        raise UnsupportedError(f"moving {plan.update} without a loss", names)
    return [*options.accept, *refused]


def print_wrapped(text: object) -> None:
    """Print lines within the width; what is continued is indented a little more."""
    lines: list[str] = []
    for line in str(text).splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line, WIDTH, subsequent_indent=f"{indent}    ", break_long_words=False, break_on_hyphens=False
        )
    show(lines)


def report_as_json(report: MigrationReport) -> dict[str, object]:
    """Return what was moved as what `json.dumps` takes; no key is in it."""
    from pfkeyx.document.plain import policy_to_plain, sa_to_plain

    return {
        "sas": [{"before": sa_to_plain(old), "after": sa_to_plain(new)} for old, new in report.sas],
        "policies": [{"before": policy_to_plain(old), "after": policy_to_plain(new)} for old, new in report.policies],
    }


@contextmanager
def progress_bar() -> Iterator[ProgressCallback | None]:
    """Show a bar on a terminal, on stderr, while a move goes on."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("moving"), BarColumn(), MofNCompleteColumn(), TextColumn("SAs"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("move", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
