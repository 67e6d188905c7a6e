"""`pfkeyx address-update`: one SA gets other addresses (draft-schilcher-mobike-pfkey-extension-01 §3)."""

import argparse

from pfkeyx.cli import arguments
from pfkeyx.cli.command import Commands, add_command, open_engine, print_json
from pfkeyx.cli.filters import add_sa_name, find_sa
from pfkeyx.cli.move import add_accept_option, add_encap_options, print_wrapped, report_as_json
from pfkeyx.cli.status import DONE
from pfkeyx.errors import InvalidRequestError
from pfkeyx.migration import KEEP


def add_parser(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "address-update",
        run,
        "give one SA other addresses, and leave its policies",
        "sudo pfkeyx address-update 0xc0ffee01 --new-source 203.0.113.9",
        "This is SADB_X_ADDRUPDATE, where the kernel has it, and else does the same. Until the policies name the new"
        " addresses too, their packets find no SA and are dropped: tunnel move moves both.",
    )
    add_sa_name(parser)
    for name in ("source", "destination"):
        parser.add_argument(
            f"--new-{name}", type=arguments.address, metavar="ADDRESS", help=f"its new {name} (default: as it is)"
        )
    add_encap_options(parser, "source and destination port (default: 4500, and what the SA has)")
    add_accept_option(parser)


def run(options: argparse.Namespace) -> int:
    """Move the SA, and report."""
    if options.new_source is None and options.new_destination is None and options.encap is KEEP:
        raise InvalidRequestError("address-update: give --new-source, --new-destination, --encap or --no-encap")
    with open_engine(options) as engine:
        sa = find_sa(options, engine)
        report = engine.update_address(
            sa.id,
            options.new_source or sa.source,
            options.new_destination or sa.id.destination,
            encap=options.encap,
            accept=options.accept,
        )
    if options.json:
        print_json(plan=report.plan.as_json(), report=report_as_json(report))
    else:
        print_wrapped(report)
        print("its policies are as they were; tunnel move takes them along")
    return DONE
