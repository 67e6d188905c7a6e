"""`pfkeyx monitor`: what the kernel tells, as it comes."""

import argparse
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import islice

from pfkeyx.cli import arguments
from pfkeyx.cli.command import Commands, add_command, open_engine, print_json_line, say
from pfkeyx.cli.event_text import event_line
from pfkeyx.cli.status import DONE
from pfkeyx.cli.text import highlight, wants_colour
from pfkeyx.errors import EventsLostError, InvalidRequestError, MalformedReplyError, UnsupportedError
from pfkeyx.events import (
    Acquire,
    DefaultPolicyChange,
    Event,
    Expire,
    Migrated,
    NatMapping,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    Report,
    SAChange,
    SAFlush,
    SAMigrated,
    SAProgress,
)

_KINDS: dict[str, tuple[type[Event], ...]] = {
    "acquire": (Acquire,),
    "expire": (Expire, PolicyExpire),
    "mapping": (NatMapping,),
    "migrate": (Migrated, SAMigrated),
    "sa": (SAChange, SAFlush),
    "policy": (PolicyChange, PolicyFlush, DefaultPolicyChange),
    "report": (Report,),
    "progress": (SAProgress,),
}
_EXAMPLE = """\
sudo pfkeyx monitor acquire expire
sudo pfkeyx monitor --json | jq .event
sudo pfkeyx monitor --raw"""


def add_parser(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "monitor",
        run,
        "show what the kernel tells, a line an event, as it comes",
        _EXAMPLE,
        "Without KIND all but progress, which makes the kernel tell of every SA that has traffic. While it listens for"
        " acquire, the kernel takes it for a key manager: packets without an SA wait for one.",
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", type=_kind, help=", ".join(_KINDS))
    parser.add_argument(
        "--raw",
        action="store_true",
        help="every PF_KEY message, whoever sends it to whom, and every netlink message that is told to listeners",
    )
    parser.add_argument(
        "--count", type=arguments.number(1, 1 << 31), metavar="N", help="end after so many (default: never)"
    )


def _kind(text: str) -> str:
    if text not in _KINDS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(_KINDS)}")
    return text


def run(options: argparse.Namespace) -> int:
    """Print events until interrupted."""
    if not options.raw:
        _run_events(options)
        return DONE
    if options.kinds:
        raise InvalidRequestError("monitor: --raw shows every message; leave the kinds out")
    _run_raw(options)
    return DONE


def _run_events(options: argparse.Namespace) -> None:
    from pfkeyx.document.plain import event_to_plain
    from pfkeyx.opening import kinds_told

    with open_engine(options) as engine:
        told = kinds_told(engine.name)
        words = [
            word
            for word in options.kinds or [word for word in _KINDS if word != "progress"]
            if told.intersection(_KINDS[word])
        ]
        for word in options.kinds:
            if word not in words:
                raise UnsupportedError(word, f"{engine.name} does not tell of it; leave --engine out, or take xfrm")
        kinds = [kind for word in words for kind in _KINDS[word] if kind in told]
        paint = wants_colour()
        with engine.watch(*kinds) as stream:
            say(f"listening over {engine.name} for: {', '.join(words)}")
            for event in islice(_without_losses(stream), options.count):
                if options.json:
                    print_json_line(time=time.time(), **event_to_plain(event, show_keys=options.show_keys))
                else:
                    line = f"{_now()}  {event_line(event)}"
                    print(highlight(line) if paint else line, flush=True)


def _without_losses(stream: Iterator[Event]) -> Iterator[Event]:
    """Yield events, and complain of what is none on stderr."""
    while True:
        try:
            yield next(stream)
        except (EventsLostError, MalformedReplyError) as error:
            say(str(error))


def _run_raw(options: argparse.Namespace) -> None:
    from pfkeyx.cli.raw import RawMessage, open_taps, read_taps

    with ExitStack() as stack:
        taps, missing = open_taps(stack, options.engine, options.netns)
        for reason in missing:
            say(reason)
        say(f"listening for every message of: {', '.join(tap.interface for tap in taps)}")
        for message in islice(read_taps(taps), options.count):
            if not isinstance(message, RawMessage):
                say(str(message))
            elif options.json:
                print_json_line(
                    time=time.time(), interface=message.interface, message=message.name, text=message.text.split("\n")
                )
            else:
                print(f"{_now()}  {message.interface}  {message.text}", flush=True)


def _now() -> str:
    return datetime.now().isoformat(sep=" ", timespec="milliseconds").split()[1]
