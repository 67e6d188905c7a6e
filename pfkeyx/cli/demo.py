"""`pfkeyx demo`: a live tunnel moves between network namespaces, and every packet is counted."""

import argparse
import os
from pathlib import Path

from pfkeyx.algorithms import AES_CBC, AES_GCM, CHACHA20_POLY1305, by_name
from pfkeyx.cli.arguments import method
from pfkeyx.cli.command import Commands, add_command
from pfkeyx.cli.status import DONE, REFUSED
from pfkeyx.errors import InvalidRequestError
from pfkeyx.migration import Method


def add_parser(commands: Commands) -> None:
    """Declare the command."""
    demo = add_command(
        commands,
        "demo",
        run,
        "move a live tunnel between network namespaces, and count every packet",
        "sudo pfkeyx demo --method migrate --output handover.svg",
        "It builds a roaming host and a gateway in network namespaces, lets packets flow through an ESP tunnel"
        " between them, moves it to a new address, and counts. Needs root. Exit status 1 when anything was lost that"
        " the plan said would not be.",
    )
    demo.add_argument(
        "--method",
        type=method,
        metavar="METHOD",
        help=f"how to move: {' or '.join(each.value for each in Method)} (default: the first that loses nothing)",
    )
    demo.add_argument(
        "--algorithm",
        choices=[algorithm.name for algorithm in (AES_GCM, AES_CBC, CHACHA20_POLY1305)],
        default=AES_GCM.name,
        help="what encrypts; aes-cbc comes with hmac-sha256 (default: %(default)s)",
    )
    demo.add_argument("--ipv6", action="store_true", help="use IPv6 addresses, outside and inside")
    demo.add_argument(
        "--rate",
        type=_rate,
        default=100,
        metavar="N",
        help="packets a second, each way, 1 to 1000 (default: %(default)s)",
    )
    demo.add_argument(
        "--seconds",
        type=_seconds,
        default=6.0,
        metavar="S",
        help="how long packets flow, half of it before the move, 1 to 60 (default: %(default)g)",
    )
    demo.add_argument("--output", type=Path, metavar="FILE", help="where to write the timeline as an SVG picture")


def run(options: argparse.Namespace) -> int:
    """Tell the story."""
    from pfkeyx.demo.story import Settings, tell

    if options.output is not None and not os.access(options.output.parent, os.W_OK):
        raise InvalidRequestError(f"demo: nothing can be written in {options.output.parent}; choose another --output")
    settings = Settings(
        method=options.method,
        algorithm=by_name(options.algorithm),
        version=6 if options.ipv6 else 4,
        rate=options.rate,
        seconds=options.seconds,
        output=options.output,
    )
    return DONE if tell(settings) else REFUSED


def _rate(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError("take a whole number from 1 to 1000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 60:
        raise argparse.ArgumentTypeError("take a number from 1 to 60")
    return seconds
