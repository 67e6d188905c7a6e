"""`pfkeyx top`: a live view of tunnels, made of two readings of their counters."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pfkeyx.cli import arguments
from pfkeyx.cli.command import Commands, add_command, open_engine, print_json, print_json_line
from pfkeyx.cli.filters import TUNNEL_FILTERS, add_filters, choose_tunnels
from pfkeyx.cli.status import DONE
from pfkeyx.cli.text import duration, end_text, size
from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import SA
from pfkeyx.tunnels import FoundTunnel, TunnelState, find_tunnels

if TYPE_CHECKING:
    from rich.table import Table

    from pfkeyx.engine import Engine

_COLOURS = {TunnelState.UP.value: "green", TunnelState.REKEYING.value: "cyan", TunnelState.WAITING.value: "yellow"}


@dataclass(frozen=True, slots=True)
class Reading:
    """Tunnels as they were at a moment: `clock_s` of a clock that nobody sets, `now` in epoch seconds."""

    clock_s: float
    now: float
    tunnels: tuple[FoundTunnel, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One tunnel between two readings: rates in octets a second, None where there is nothing to compare with.

    `rekey_s` is the time until the first soft limit of the SAs that are in use is reached, or the hard one where there
    is no soft one. `errors` are the packets that inbound SAs dropped: too old, replayed, or with a wrong ICV.
    """

    local: str
    remote: str
    reqid: int
    state: str
    out_rate: float | None
    in_rate: float | None
    rekey_s: int | None
    errors: int | None


def rows(before: Reading | None, after: Reading) -> list[Row]:
    """Return what happened to each tunnel between two readings, in the order of the SPD."""
    octets = _octets(before)
    passed_s = after.clock_s - before.clock_s if before else 0.0
    return [
        Row(
            end_text(tunnel.local),
            end_text(tunnel.remote),
            tunnel.reqid,
            tunnel.state.value,
            _rate(tunnel.outbound, octets, passed_s),
            _rate(tunnel.inbound, octets, passed_s),
            _rekey_s(tunnel, after.now),
            _errors(tunnel),
        )
        for tunnel in after.tunnels
    ]


def _octets(reading: Reading | None) -> dict[object, int]:
    sas = [sa for tunnel in reading.tunnels for sa in tunnel.sas] if reading else []
    return {_name(sa): sa.usage.octets for sa in sas if sa.usage}


def _name(sa: SA) -> object:
    # After a move an SA has other addresses, and is still the same.
    return sa.id.protocol, sa.id.spi, sa.id.mark, sa.reqid


def _rate(sas: Sequence[SA], octets: dict[object, int], passed_s: float) -> float | None:
    if passed_s <= 0:
        return None
    # What came anew has carried all that it counts since.
    return sum(max(0, sa.usage.octets - octets.get(_name(sa), 0)) for sa in sas if sa.usage) / passed_s


def _rekey_s(tunnel: FoundTunnel, now: float) -> int | None:
    left = []
    for sa in (*tunnel.outbound[:1], *tunnel.inbound[:1]):
        seconds = sa.lifetime.soft.seconds or sa.lifetime.hard.seconds
        if seconds is not None and sa.usage is not None and sa.usage.added:
            left.append(max(0, sa.usage.added + seconds - int(now)))
    return min(left, default=None)


def _errors(tunnel: FoundTunnel) -> int | None:
    told = [sa.failures for sa in tunnel.inbound if sa.failures is not None]
    return sum(each.too_old + each.replayed + each.integrity for each in told) if told else None


def add_parser(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "top",
        run,
        "show tunnels live: state, addresses, rates, time to rekey, replay errors",
        "sudo pfkeyx top --interval 2s\nsudo pfkeyx top --once --json",
        "Ends with Ctrl-C.",
    )
    add_filters(parser, *TUNNEL_FILTERS)
    parser.add_argument(
        "--interval", type=arguments.seconds, default=1, metavar="TIME", help="between two readings (default: 1s)"
    )
    parser.add_argument("--once", action="store_true", help="print one table, after one interval, and end")


def run(options: argparse.Namespace) -> int:
    """Read, wait, read again, and show what happened between."""
    if not (options.once or options.json or sys.stdout.isatty()):
        raise InvalidRequestError("top: standard output is no terminal; give --once or --json")
    with open_engine(options) as engine:
        before = read(options, engine)
        time.sleep(options.interval)
        if options.once:
            _print(options, rows(before, read(options, engine)))
        elif options.json:
            while True:
                after = read(options, engine)
                print_json_line(time=after.now, tunnel=[asdict(row) for row in rows(before, after)])
                before = after
                time.sleep(options.interval)
        else:
            _watch(options, engine, before)
    return DONE


def read(options: argparse.Namespace, engine: "Engine") -> Reading:
    """Read the tunnels that the options choose."""
    clock_s, now = time.monotonic(), time.time()
    found = find_tunnels(engine.dump_sas(), engine.dump_policies())
    return Reading(clock_s, now, tuple(choose_tunnels(options, found.tunnels)))


def _print(options: argparse.Namespace, shown: list[Row]) -> None:
    if options.json:
        print_json(tunnel=[asdict(row) for row in shown])
        return
    from rich.console import Console

    Console().print(table(shown))


def _watch(options: argparse.Namespace, engine: "Engine", before: Reading) -> None:
    from rich.live import Live

    with Live(table(rows(None, before)), screen=True, auto_refresh=False) as live:
        while True:
            after = read(options, engine)
            live.update(table(rows(before, after)), refresh=True)
            before = after
            time.sleep(options.interval)


def table(shown: Sequence[Row]) -> "Table":
    """Return what is shown, which takes two lines a tunnel, so that two IPv6 addresses have room."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", caption=None if shown else "no tunnels")
    made.add_column("TUNNEL", overflow="fold")
    made.add_column("REQID", justify="right")
    made.add_column("STATE")
    made.add_column("OUT\nIN", justify="right")
    made.add_column("REKEY", justify="right")
    made.add_column("ERRORS", justify="right")
    for row in shown:
        colour = _COLOURS.get(row.state, "red")
        made.add_row(
            f"{row.local}\n{row.remote}",
            str(row.reqid),
            f"[{colour}]{row.state}[/]",
            f"{_rate_text(row.out_rate)}\n{_rate_text(row.in_rate)}",
            "" if row.rekey_s is None else duration(row.rekey_s, units=1),
            "" if row.errors is None else str(row.errors),
        )
    return made


def _rate_text(rate: float | None) -> str:
    return "" if rate is None else f"{size(int(rate))}/s"
