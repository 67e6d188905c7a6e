"""`pfkeyx export`: the SAD and SPD as a document, or as a table by which others decrypt captured ESP."""

import argparse
import sys
from typing import TYPE_CHECKING

from pfkeyx.cli.command import Commands, add_command, open_engine, say
from pfkeyx.cli.status import DONE
from pfkeyx.errors import InvalidRequestError

if TYPE_CHECKING:
    from pfkeyx.document.databases import Databases
    from pfkeyx.engine import Engine

_EXAMPLE = """\
(umask 077; sudo pfkeyx export --show-keys > vpn.toml)
sudo pfkeyx export json
sudo pfkeyx export wireshark --show-keys > ~/.config/wireshark/esp_sa
sudo pfkeyx export tcpdump --show-keys > esp.keys"""
_DETAILS = (
    "A document is what apply reads, described in pfkeyx-file(5); one without keys shows what is there and cannot be"
    " applied. It has the sequence numbers of the SAs, so that they go on there: under the same key none may come"
    " twice. Make it when they have sent their last packet, or apply it with --ahead. wireshark and tcpdump are tables"
    " for decrypting captured ESP: the file esp_sa of a Wireshark profile, and the file for tcpdump -E 'file NAME'."
)
_FORMS = ("toml", "json", "wireshark", "tcpdump")


def add_parser(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(commands, "export", run, "write the SAs and policies as a file", _EXAMPLE, _DETAILS)
    parser.add_argument(
        "form", nargs="?", choices=_FORMS, metavar="FORM", help="toml, json, wireshark or tcpdump (default: toml)"
    )
    parser.add_argument(
        "--no-state",
        action="store_true",
        help="leave out sequence numbers and counters: only for SAs that shall get other keys",
    )


def run(options: argparse.Namespace) -> int:
    """Write the SAD and SPD to standard output; what is not in it is said on stderr."""
    form = options.form or ("json" if options.json else "toml")
    if options.json and form != "json":
        raise InvalidRequestError(f"export: --json and {form} contradict each other")
    if form in ("wireshark", "tcpdump"):
        return _decryption(options, form)
    from pfkeyx.document.apply import read
    from pfkeyx.document.databases import as_exported, to_text

    with open_engine(options) as engine:
        found = engine.run(read)
        _say_what_is_missing(options, found, engine)
    exported = as_exported(found, with_state=not options.no_state)
    sys.stdout.write(to_text(exported, form, show_keys=options.show_keys))
    return DONE


def _say_what_is_missing(options: argparse.Namespace, found: "Databases", engine: "Engine") -> None:
    from pfkeyx.cli.text import count
    from pfkeyx.document.databases import is_larval, is_of_socket
    from pfkeyx.migration.methods import hides_keys

    larval = sum(map(is_larval, found.sas or ()))
    of_sockets = sum(map(is_of_socket, found.policies or ()))
    hidden = sum(map(hides_keys, found.sas or ()))
    if larval or of_sockets:
        parts = [count(larval, "larval SA")] * bool(larval)
        parts += [count(of_sockets, "policy of a socket", "policies of sockets")] * bool(of_sockets)
        _say(f"left out: {', '.join(parts)}")
    if hidden and options.show_keys:
        _say(f"the kernel hides the keys of {count(hidden, 'SA')}, as under lockdown: apply would refuse this")
    if found.sas and not options.show_keys:
        _say("the keys are left out, and apply refuses this: give --show-keys")
    if found.sas and engine.name == "pfkey" and not options.no_state:
        _say("PF_KEY shows no sequence numbers: applied with the same keys, they would come twice; take --engine xfrm")


def _decryption(options: argparse.Namespace, form: str) -> int:
    from pfkeyx.cli.text import count
    from pfkeyx.document.decryption import tcpdump_table, wireshark_table

    if not options.show_keys:
        raise InvalidRequestError(f"export {form}: the table is made of keys; give --show-keys")
    with open_engine(options) as engine:
        sas = engine.dump_sas()
    table = (wireshark_table if form == "wireshark" else tcpdump_table)(sas)
    sys.stdout.write(table.text)
    if table.left_out:
        _say(f"{count(table.left_out, 'SA')} left out, which {form} cannot decrypt: see the comments in the table")
    return DONE


def _say(text: str) -> None:
    say(f"export: {text}")
