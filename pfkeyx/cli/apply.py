"""`pfkeyx apply`: a document, or a script of setkey, into the kernel."""

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from pfkeyx.cli.arguments import number
from pfkeyx.cli.command import Commands, add_command, add_yes, make_sure, open_engine, print_json, say
from pfkeyx.cli.lists import policy_lines, sa_lines
from pfkeyx.cli.status import DONE
from pfkeyx.cli.text import count, show
from pfkeyx.errors import AlreadyExistsError, InvalidRequestError
from pfkeyx.model import SA, Policy

if TYPE_CHECKING:
    from pfkeyx.dialect import Dialect
    from pfkeyx.document.apply import Differences
    from pfkeyx.document.databases import Databases
    from pfkeyx.document.setkey.statements import Shown

_EXAMPLE = """\
pfkeyx apply --check vpn.toml
sudo pfkeyx apply vpn.toml
sudo pfkeyx apply --sync --dry-run vpn.toml
sudo pfkeyx apply --format setkey /etc/ipsec-tools.conf"""
_DETAILS = (
    "All or nothing: what fails in the middle is undone. SAs and policies are added, and what is there already is"
    " refused; with --sync only what differs is changed, and what is not in the file is deleted. SAs that the file"
    " has sequence numbers for go on there. pfkeyx-file(5) describes the file."
)


def add_parser(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(commands, "apply", run, "put a file of SAs and policies into the kernel", _EXAMPLE, _DETAILS)
    parser.add_argument("file", metavar="FILE", help="what to apply, - for standard input")
    parser.add_argument(
        "--format",
        choices=("pfkeyx", "setkey"),
        default="pfkeyx",
        help="pfkeyx's TOML or JSON, or a script of setkey (default: %(default)s)",
    )
    parser.add_argument(
        "--no-forward",
        action="store_true",
        help="with setkey: add no forward policy beside each inbound one, as setkey -k does",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="only say whether the file is good; needs no rights")
    how.add_argument("--sync", action="store_true", help="change what differs, delete what is not in the file")
    parser.add_argument("--dry-run", action="store_true", help="with --sync, print what would be done")
    parser.add_argument(
        "--ahead",
        type=number(0, 1 << 31),
        default=0,
        metavar="N",
        help="put outbound sequence numbers so far ahead, for SAs that went on sending after the export (default: 0)",
    )
    add_yes(parser)


def run(options: argparse.Namespace) -> int:
    """Apply a file, or only check it."""
    if options.dry_run and not options.sync:
        raise InvalidRequestError("apply: --dry-run goes with --sync; --check says whether a file is good")
    text, name = _read_input(options.file)
    if options.format == "setkey":
        return _run_script(options, text, name)
    from pfkeyx.document.databases import from_text
    from pfkeyx.document.places import at

    databases = from_text(text, name)
    with at(name):
        if options.check:
            return _check(options, databases, name)
        return _sync(options, databases) if options.sync else _apply(options, databases)


def _read_input(file: str) -> tuple[str, str]:
    """Return the text of a file, or of standard input for "-", and what errors call it."""
    try:
        # A key of setkey's may be any bytes.
        source = sys.stdin.fileno() if file == "-" else file
        with open(source, encoding="utf-8", errors="surrogateescape", closefd=file != "-") as opened:
            return opened.read(), "stdin" if file == "-" else file
    except OSError as error:
        raise InvalidRequestError(f"apply: {file} cannot be read: {error.strerror}") from None


def _run_script(options: argparse.Namespace, text: str, name: str) -> int:
    from pfkeyx.document.setkey.parser import parse
    from pfkeyx.document.setkey.statements import run_script

    if options.sync or options.ahead:
        raise InvalidRequestError("apply: --sync and --ahead are not for setkey's scripts, which say what to do")
    script = parse(text, name, with_forward=not options.no_forward)
    for warning in script.warnings:
        say(str(warning))
    if options.check:
        script.check(offline_dialect(options.engine))
        return _say_good(options, name, statements=len(script.statements))
    with open_engine(options) as engine, _uninterrupted():
        shown = engine.run(partial(run_script, script=script))
    _print_shown(options, shown)
    return DONE


def _print_shown(options: argparse.Namespace, done: "Sequence[tuple[str, Shown]]") -> None:
    results = [(place, shown) for place, shown in done if shown is not None]
    if options.json:
        from pfkeyx.document.plain import to_plain

        plain = [
            {
                "place": place,
                "result": f"{shown:#010x}" if isinstance(shown, int) else to_plain(shown, show_keys=options.show_keys),
            }
            for place, shown in results
        ]
        print_json(statements=len(done), results=plain)
        return
    for _, shown in results:
        if isinstance(shown, int):
            print(f"{shown:#010x}")
            continue
        sas = [value for value in shown if isinstance(value, SA)]
        policies = [value for value in shown if isinstance(value, Policy)]
        show([*sa_lines(sas, time.time(), show_keys=options.show_keys), *policy_lines(policies, time.time())])
    print(f"{count(len(done), 'statement')} done")


def _check(options: argparse.Namespace, databases: "Databases", name: str) -> int:
    from pfkeyx.document.apply import check

    check(databases, offline_dialect(options.engine))
    return _say_good(options, name, sas=len(databases.sas or ()), policies=len(databases.policies or ()))


def _say_good(options: argparse.Namespace, name: str, **counts: int) -> int:
    if options.json:
        print_json(**counts)
    else:
        singular = {"sas": ("SA", "SAs"), "policies": ("policy", "policies"), "statements": ("statement", "statements")}
        print(f"{name} is good: {', '.join(count(number, *singular[name]) for name, number in counts.items())}")
    return DONE


def offline_dialect(engine: str | None) -> "Dialect":
    """Return the interface that is named, or XFRM, to know what it could express; no kernel is asked."""
    if engine == "pfkey":
        from pfkeyx.pfkey import PfkeyDialect

        return PfkeyDialect()
    from pfkeyx.xfrm import XfrmDialect

    return XfrmDialect()


def _apply(options: argparse.Namespace, databases: "Databases") -> int:
    from pfkeyx.document.apply import apply

    with open_engine(options) as engine, _uninterrupted():
        try:
            done = engine.run(partial(apply, databases=databases, margin=options.ahead))
        except AlreadyExistsError as error:
            error.detail = "--sync changes only what differs"
            raise
    return _report(options, done)


def _sync(options: argparse.Namespace, databases: "Databases") -> int:
    from pfkeyx.document.apply import compare, read, sync

    with open_engine(options) as engine:
        differences = compare(databases, engine.run(read), offline_dialect(engine.name))
        if not options.dry_run:
            deleted = _counted(noun for verb, noun, _ in differences.changes() if verb == "delete")
            if deleted:
                make_sure(options, f"apply --sync deletes {deleted}.")
            with _uninterrupted():
                differences = engine.run(partial(sync, databases=databases, margin=options.ahead))
    return _report(options, differences)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put an interruption off until everything is done, or undone."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _report(options: argparse.Namespace, done: "Differences") -> int:
    changes = list(done.changes())
    if options.json:
        from pfkeyx.document.plain import to_plain

        plain = [{"change": verb, noun.replace(" ", "_").lower(): to_plain(value)} for verb, noun, value in changes]
        alike = {"sa": done.alike_sas, "policy": done.alike_policies}
        print_json(dry_run=options.dry_run, changes=plain, alike=alike)
        return DONE
    if options.dry_run:
        from pfkeyx.cli.move import print_wrapped

        for verb, noun, value in changes:
            print_wrapped(f"would {verb} {noun}" + ("" if noun == "default policy" else f" {value}"))
    else:
        for verb, past in (("add", "added"), ("change", "changed"), ("delete", "deleted"), ("set", "set")):
            counted = _counted(noun for done_verb, noun, _ in changes if done_verb == verb)
            if counted:
                print(f"{past} {counted}")
    if not changes:
        print("nothing to do")
    if done.alike_sas or done.alike_policies:
        print(f"already as wanted: {_counted(['SA'] * done.alike_sas + ['policy'] * done.alike_policies)}")
    return DONE


def _counted(nouns: Iterable[str]) -> str:
    numbers = Counter(nouns)
    plural = {"SA": "SAs", "policy": "policies"}
    return ", ".join(count(number, noun, plural[noun]) if noun in plural else noun for noun, number in numbers.items())
