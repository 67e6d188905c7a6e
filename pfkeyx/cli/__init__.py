"""The `pfkeyx` command: text in, text out. What it does is done below; a module is imported when it is used."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pfkeyx import __version__
from pfkeyx.algorithms import AES_CBC, AES_GCM, CHACHA20_POLY1305, by_name
from pfkeyx.errors import InvalidRequestError, PfkeyxError, UnsupportedError
from pfkeyx.migration import Method
from pfkeyx.opening import EngineName

DONE, REFUSED, USAGE, UNSUPPORTED, INTERRUPTED = 0, 1, 2, 3, 130

_ENGINES: tuple[EngineName, ...] = ("xfrm", "pfkey")
_EPILOG = f"""\
Exit status: {DONE} done; {REFUSED} the kernel refused, or the result is not as it should be; {USAGE} wrong usage;
{UNSUPPORTED} this kernel cannot."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit status; an error is one line on stderr."""
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options))
    except PfkeyxError as error:
        print(f"pfkeyx: {error}", file=sys.stderr)
        return _status(error)
    except KeyboardInterrupt:
        print("pfkeyx: interrupted", file=sys.stderr)
        return INTERRUPTED


def _status(error: PfkeyxError) -> int:
    if isinstance(error, UnsupportedError):
        return UNSUPPORTED
    return USAGE if isinstance(error, InvalidRequestError) else REFUSED


def _demo(options: argparse.Namespace) -> int:
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


def _probe(_options: argparse.Namespace) -> int:
    from pfkeyx.engine import Engine
    from pfkeyx.features import Feature

    usable = 0
    width = max(len(feature.value) for feature in Feature)
    for name in _ENGINES:
        try:
            with Engine.open(name) as engine:
                answers = {feature: engine.supports(feature) for feature in Feature}
        except UnsupportedError as error:
            print(f"{name}: no: {error}")
            continue
        usable += 1
        print(f"{name}: yes")
        for feature, support in answers.items():
            print(f"  {feature.value:{width}} {support}")
    return DONE if usable else UNSUPPORTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pfkeyx",
        description="The IPsec key-management plane of Linux.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pfkeyx {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    probe = commands.add_parser(
        "probe",
        help="say what this kernel can do",
        description="Say what this kernel can do, and from what it is known.",
    )
    probe.set_defaults(run=_probe)
    demo = commands.add_parser(
        "demo",
        help="move a live tunnel between network namespaces, and count every packet",
        description="Build a roaming host and a gateway in network namespaces, let packets flow through an ESP tunnel"
        " between them, move it to a new address, and count. Needs root. Exit status 1 when anything was lost that"
        " the plan said would not be.",
    )
    demo.add_argument(
        "--method",
        type=_method,
        metavar="METHOD",
        help=f"how to move: {' or '.join(method.value for method in Method)} (default: the first that loses nothing)",
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
    demo.set_defaults(run=_demo)
    return parser


def _method(text: str) -> Method:
    try:
        return Method(text.upper().replace("-", "_"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"take {' or '.join(method.value for method in Method)}") from None


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
