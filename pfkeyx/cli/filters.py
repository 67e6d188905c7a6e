"""Which SAs and policies a command is about: filters of lists, and the one that is named."""

import argparse
import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pfkeyx.cli import arguments
from pfkeyx.cli.text import count
from pfkeyx.errors import InvalidRequestError, NotFoundError
from pfkeyx.model import SA, IPAddress, Policy, Prefix, SAFilter, SAId
from pfkeyx.model.addresses import is_in, prefix_address
from pfkeyx.tunnels import FoundTunnel

if TYPE_CHECKING:
    from pfkeyx.engine import Engine

#: Those that tell tunnels from each other.
TUNNEL_FILTERS = ("address", "spi", "reqid", "if-id", "mark")


def add_filters(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add the filters of a list; one that is given leaves out what does not match."""
    group = parser.add_argument_group("filters", "only those that match all of these")
    offers: dict[str, tuple[Callable[[str], object], str, str]] = {
        "address": (arguments.prefix, "ADDRESS", "from, to or between this address or network; may come twice"),
        "source": (arguments.prefix, "ADDRESS", "from this address or network"),
        "destination": (arguments.prefix, "ADDRESS", "to this address or network"),
        "protocol": (arguments.protocol, arguments.protocol.metavar, "of this protocol"),
        "spi": (arguments.spi, "SPI", "with this SPI"),
        "reqid": (arguments.reqid, "N", "with this reqid"),
        "if-id": (arguments.if_id, "N", "of the XFRM interface with this if_id"),
        "mark": (arguments.mark, "MARK[/MASK]", "with this mark"),
        "direction": (arguments.direction, arguments.direction.metavar, "in this direction"),
    }
    for name in names:
        kind, metavar, text = offers[name]
        action = "append" if name == "address" else "store"
        group.add_argument(f"--{name}", type=kind, metavar=metavar, action=action, help=text)


def choose_sas(options: argparse.Namespace, sas: Sequence[SA], policies: Callable[[], Sequence[Policy]]) -> list[SA]:
    """Return the SAs that match; `policies` are asked for only where a direction is looked for.

    Few kernels tell an SA's direction: it is that of the policies which use it.
    """
    chosen = [sa for sa in sas if _matches_sa(options, sa)]
    if options.direction is None:
        return chosen
    from pfkeyx.migration.templates import Index

    index = Index(chosen)
    used = {sa.id for p in policies() if p.direction == options.direction for sa in index.used_by(p)}
    return [sa for sa in chosen if sa.id in used or sa.direction == options.direction]


def _matches_sa(options: argparse.Namespace, sa: SA) -> bool:
    ends = (sa.source, sa.id.destination)
    return (
        all(any(_lies_in(end, wanted) for end in ends) for wanted in options.address or ())
        and (options.source is None or _lies_in(sa.source, options.source))
        and (options.destination is None or _lies_in(sa.id.destination, options.destination))
        and options.protocol in (None, sa.id.protocol)
        and options.spi in (None, sa.id.spi)
        and options.reqid in (None, sa.reqid)
        and options.if_id in (None, sa.if_id)
        and options.mark in (None, sa.id.mark)
    )


def matches_policy(options: argparse.Namespace, policy: Policy) -> bool:
    """Return whether a policy matches; its addresses are those of its selector and its templates."""
    ends = [end for t in policy.templates for end in (t.source, t.destination) if end is not None]
    selected = (policy.selector.source, policy.selector.destination)
    return (
        all(
            any(_lies_in(end, wanted) for end in ends) or any(_overlaps(each, wanted) for each in selected)
            for wanted in options.address or ()
        )
        and options.protocol in (None, *(t.protocol for t in policy.templates))
        and options.reqid in (None, *(t.reqid for t in policy.templates))
        and options.if_id in (None, policy.if_id)
        and options.mark in (None, policy.mark)
        and options.direction in (None, policy.direction)
    )


def _lies_in(address: IPAddress, wanted: Prefix) -> bool:
    return address.version == wanted.version and is_in(address, wanted)


def _overlaps(prefix: Prefix, wanted: Prefix) -> bool:
    if prefix.version != wanted.version:
        return False
    return is_in(prefix_address(prefix), wanted) or is_in(prefix_address(wanted), prefix)


def choose_tunnels(options: argparse.Namespace, tunnels: Sequence[FoundTunnel]) -> list[FoundTunnel]:
    """Return the tunnels that match; their addresses are their two ends."""
    return [
        tunnel
        for tunnel in tunnels
        if all(any(_lies_in(end, it) for end in (tunnel.local, tunnel.remote)) for it in options.address or ())
        and options.spi in (None, *(sa.id.spi for sa in tunnel.sas))
        and options.reqid in (None, tunnel.reqid)
        and options.if_id in (None, tunnel.if_id)
        and options.mark in (None, tunnel.mark)
    ]


def left_out(chosen: Sequence[object], everything: Sequence[object], one: str, many: str) -> str:
    """Return the last line of a list: how many it shows, and how many it does not."""
    missing = len(everything) - len(chosen)
    return count(len(chosen), one, many) + (f"; {missing} left out by the filters" if missing else "")


def add_sa_name(parser: argparse.ArgumentParser) -> None:
    """Add what one SA is called by: its SPI, and as much more as it takes to tell it from others."""
    parser.add_argument("spi", type=arguments.spi, metavar="SPI", help="the SPI, such as 0xc0ffee01")
    group = parser.add_argument_group("if the SPI alone does not say which")
    group.add_argument("--destination", type=arguments.address, metavar="ADDRESS", help="its destination address")
    group.add_argument("--protocol", type=arguments.protocol, metavar=arguments.protocol.metavar, help="its protocol")
    group.add_argument("--mark", type=arguments.mark, metavar="MARK[/MASK]", help="its mark")


def find_sa(options: argparse.Namespace, engine: "Engine") -> SA:
    """Return the SA that is named; raises `NotFoundError` for none, `InvalidRequestError` for several."""
    if options.destination is not None and options.protocol is not None:
        return engine.get_sa(SAId(options.destination, options.spi, options.protocol, options.mark))
    found = [
        sa
        for sa in engine.iter_sas(SAFilter(protocol=options.protocol))
        if sa.id.spi == options.spi
        and options.destination in (None, sa.id.destination)
        and options.mark in (None, sa.id.mark)
    ]
    if not found:
        raise NotFoundError(errno.ESRCH, "get SA", f"{options.spi:#010x}", "see pfkeyx sa list")
    if len(found) > 1:
        names = ", ".join(str(sa.id) for sa in found)
        raise InvalidRequestError(f"several SAs have the SPI {options.spi:#010x}: {names}; give --destination too")
    return found[0]
