"""`pfkeyx sa`: the security associations of the SAD."""

import argparse
import sys
import time
from collections.abc import Sequence

from pfkeyx.algorithms import Kind
from pfkeyx.cli import arguments
from pfkeyx.cli.command import (
    Commands,
    Parser,
    add_command,
    add_noun,
    add_yes,
    interface_index,
    make_sure,
    open_engine,
    print_json,
)
from pfkeyx.cli.filters import add_filters, add_sa_name, choose_sas, find_sa, left_out
from pfkeyx.cli.keys import KEY_FILE_HELP, add_key_options, make_suites
from pfkeyx.cli.lists import sa_lines
from pfkeyx.cli.status import DONE
from pfkeyx.cli.text import count, show
from pfkeyx.model import (
    NO_EXTRA_FLAGS,
    NO_FLAGS,
    SA,
    Direction,
    Lifetime,
    Limit,
    Mode,
    Offload,
    Protocol,
    SAExtraFlag,
    SAFlag,
    SAId,
    Selector,
)

_ADD_EXAMPLE = """\
openssl rand -hex 36 > key
sudo pfkeyx sa add 192.0.2.1 198.51.100.1 --spi 0xc0ffee01 --reqid 7 \\
    --encryption aes-gcm --key-file key
sudo pfkeyx sa add 192.0.2.1 198.51.100.1 --spi 0xc0ffee02 --reqid 8 \\
    --encryption aes-cbc --authentication hmac-sha256 --generate-keys \\
    --encap udp --soft 50m,9GiB --hard 1h,10GiB"""
_UPDATE_EXAMPLE = """\
sudo pfkeyx sa update 192.0.2.1 198.51.100.1 --spi 0xc0ffee01 --reqid 7 \\
    --encryption aes-gcm --key-file key --hard 2h"""


def add_parser(commands: Commands) -> None:
    """Declare the noun and its verbs."""
    verbs = add_noun(commands, "sa", "list and change security associations")
    listing = add_command(verbs, "list", run_list, "list SAs", "sudo pfkeyx sa list --address 198.51.100.1 --json")
    add_filters(listing, "address", "source", "destination", "protocol", "spi", "reqid", "if-id", "mark", "direction")
    add_sa_name(add_command(verbs, "get", run_get, "show one SA", "sudo pfkeyx sa get 0xc0ffee01 --show-keys"))
    adding = add_command(
        verbs, "add", run_add, "add an SA", _ADD_EXAMPLE, f"Its keys never stand on the command line. {KEY_FILE_HELP}"
    )
    _add_sa_options(adding)
    updating = add_command(
        verbs,
        "update",
        run_update,
        "complete a larval SA, or change a mature one",
        _UPDATE_EXAMPLE,
        f"Of a mature SA the kernel changes lifetimes and ports of an encapsulation. {KEY_FILE_HELP}",
    )
    _add_sa_options(updating)
    add_sa_name(add_command(verbs, "delete", run_delete, "delete one SA", "sudo pfkeyx sa delete 0xc0ffee01"))
    flushing = add_command(
        verbs,
        "flush",
        run_flush,
        "delete all SAs, or those of one protocol",
        "sudo pfkeyx --netns test sa flush --protocol esp",
    )
    flushing.add_argument(
        "--protocol", type=arguments.protocol, metavar=arguments.protocol.metavar, help="only those of this protocol"
    )
    add_yes(flushing)
    _add_get_spi(verbs)
    add_command(verbs, "count", run_count, "say how many SAs there are", "sudo pfkeyx sa count")


def _add_get_spi(verbs: Commands) -> None:
    parser = add_command(
        verbs,
        "get-spi",
        run_get_spi,
        "reserve an SPI for an inbound SA, and print it",
        "sudo pfkeyx sa get-spi 198.51.100.1 192.0.2.1 --reqid 7",
        "The SA is larval, and gone after a while, until sa update completes it.",
    )
    _add_ends(parser)
    parser.add_argument("--minimum", type=arguments.spi, default=0x100, metavar="SPI", help="the smallest to choose")
    parser.add_argument("--maximum", type=arguments.spi, metavar="SPI", help="the largest to choose")
    parser.add_argument("--if-id", type=arguments.if_id, default=0, metavar="N", help="of an XFRM interface")
    parser.add_argument("--mark", type=arguments.mark, metavar="MARK[/MASK]", help="a packet mark")


def _add_ends(parser: Parser) -> None:
    parser.add_argument("source", type=arguments.address, metavar="SOURCE", help="where packets come from")
    parser.add_argument("destination", type=arguments.address, metavar="DESTINATION", help="where they go")
    parser.add_argument(
        "--protocol",
        type=arguments.protocol,
        default=Protocol.ESP,
        metavar=arguments.protocol.metavar,
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--mode",
        type=arguments.mode,
        default=Mode.TUNNEL,
        metavar=arguments.mode.metavar,
        help="(default: %(default)s)",
    )
    parser.add_argument("--reqid", type=arguments.reqid, default=0, metavar="N", help="what templates find it by")


def _add_sa_options(parser: Parser) -> None:
    _add_ends(parser)
    parser.add_argument("--spi", type=arguments.spi, required=True, metavar="SPI", help="such as 0xc0ffee01")
    add_key_options(parser, is_needed=False)
    parser.add_argument(
        "--compression",
        type=arguments.algorithm(Kind.COMPRESSION),
        metavar="NAME",
        help="of IPComp, such as deflate",
    )
    more = parser.add_argument_group("further fields")
    more.add_argument(
        "--encap", type=arguments.encap, metavar="udp|tcp[:PORT:PORT]", help="source and destination (default: 4500)"
    )
    limits = "such as 1h,10GiB,1000000packets,idle=5m"
    more.add_argument("--soft", type=arguments.limit, default=Limit(), metavar="LIMIT", help=f"warn, {limits}")
    more.add_argument("--hard", type=arguments.limit, default=Limit(), metavar="LIMIT", help="end, likewise")
    more.add_argument(
        "--selector", nargs=2, type=arguments.prefix, metavar=("SOURCE", "DESTINATION"), help="take these packets only"
    )
    more.add_argument(
        "--replay-window",
        type=arguments.number(0, 4096),
        metavar="PACKETS",
        help="0 checks nothing (default: 32, and 0 for outbound SAs and IPComp)",
    )
    more.add_argument("--esn", action="store_true", help="sequence numbers of 64 bits")
    more.add_argument(
        "--flag",
        type=_flag,
        action="append",
        default=[],
        metavar="FLAG",
        help=f"{', '.join(_FLAG_NAMES)}; may be repeated",
    )
    more.add_argument("--if-id", type=arguments.if_id, default=0, metavar="N", help="of an XFRM interface")
    more.add_argument("--mark", type=arguments.mark, metavar="MARK[/MASK]", help="a packet mark")
    more.add_argument("--output-mark", type=arguments.mark, metavar="MARK[/MASK]", help="put on what it has wrapped")
    more.add_argument(
        "--direction", type=arguments.direction, metavar="in|out", help="have the kernel check that the rest fits it"
    )
    more.add_argument("--offload", metavar="DEVICE", help="let this interface do the cryptography")
    for name, text in (
        ("tfc-padding", "pad packets to so many octets"),
        ("nat-keepalive", "keep a NAT's mapping alive, every so many seconds"),
        ("mapping-threshold", "tell of a new mapping at most every so many seconds"),
    ):
        more.add_argument(f"--{name}", type=arguments.number(0, 0xFFFFFFFF), default=0, metavar="N", help=text)
    more.add_argument("--cpu", type=arguments.number(0, 1 << 16), metavar="N", help="the only CPU that uses it")


_FLAG_NAMES = {**arguments.sa_flag.values, **arguments.sa_extra_flag.values}
del _FLAG_NAMES["esn"]
_flag = arguments.OneOf(_FLAG_NAMES)


def run_list(options: argparse.Namespace) -> int:
    """List the SAs that match."""
    with open_engine(options) as engine:
        everything = engine.dump_sas()
        chosen = choose_sas(options, everything, engine.dump_policies)
    _print(options, chosen, left_out(chosen, everything, "SA", "SAs"))
    return DONE


def run_get(options: argparse.Namespace) -> int:
    """Show one SA."""
    with open_engine(options) as engine:
        sa = find_sa(options, engine)
    _print(options, [sa])
    return DONE


def _print(options: argparse.Namespace, sas: Sequence[SA], last_line: str = "") -> None:
    if not options.json:
        lines = list(sa_lines(sas, time.time(), show_keys=options.show_keys))
        show([*lines, last_line] if last_line else lines)
        return
    from pfkeyx.document.plain import document

    print_json(**document(list(sas), show_keys=options.show_keys))
    if "left out" in last_line:
        print(last_line, file=sys.stderr)


def run_add(options: argparse.Namespace) -> int:
    """Add an SA, and say so."""
    sa = make_sa(options)
    with open_engine(options) as engine:
        engine.add_sa(sa)
    _print_changed(options, "added", sa)
    return DONE


def run_update(options: argparse.Namespace) -> int:
    """Update an SA, and say so."""
    sa = make_sa(options)
    with open_engine(options) as engine:
        engine.update_sa(sa)
    _print_changed(options, "updated", sa)
    return DONE


def run_delete(options: argparse.Namespace) -> int:
    """Delete one SA, and say which."""
    with open_engine(options) as engine:
        sa = find_sa(options, engine)
        engine.delete_sa(sa.id)
    _print_changed(options, "deleted", sa)
    return DONE


def _print_changed(options: argparse.Namespace, change: str, sa: SA) -> None:
    if options.json or options.show_keys:
        _print(options, [sa])
    else:
        print(f"{change} {sa}")


def run_flush(options: argparse.Namespace) -> int:
    """Delete all SAs, when that is meant."""
    which = "all SAs" if options.protocol is None else f"all SAs of {options.protocol}"
    make_sure(options, f"sa flush deletes {which}, and their tunnels stop.")
    with open_engine(options) as engine:
        engine.flush_sas(options.protocol)
    if options.json:
        print_json(deleted=which)
    else:
        print(f"deleted {which}")
    return DONE


def run_get_spi(options: argparse.Namespace) -> int:
    """Reserve an SPI and print it."""
    with open_engine(options) as engine:
        spi = engine.get_spi(
            options.source,
            options.destination,
            protocol=options.protocol,
            mode=options.mode,
            reqid=options.reqid,
            minimum=options.minimum,
            maximum=options.maximum,
            mark=options.mark,
            if_id=options.if_id,
        )
    if options.json:
        print_json(spi=f"{spi:#010x}")
    else:
        print(f"{spi:#010x}")
    return DONE


def run_count(options: argparse.Namespace) -> int:
    """Say how many SAs there are: the kernel's own count where it has one, which knows larval ones too."""
    with open_engine(options) as engine:
        number = engine.get_sad_info().count if engine.name == "xfrm" else sum(1 for _ in engine.iter_sas())
    if options.json:
        print_json(count=number)
    else:
        print(count(number, "SA"))
    return DONE


def make_sa(options: argparse.Namespace) -> SA:
    """Return the SA that the options describe."""
    ((encryption, authentication),) = make_suites(options, "")
    # Nothing is received over the one, and nothing of the other has a number.
    has_window = options.direction is not Direction.OUT and options.protocol is not Protocol.IPCOMP
    window = 32 if has_window else 0
    flags, extra_flags = NO_FLAGS, NO_EXTRA_FLAGS
    for flag in options.flag:
        flags |= flag if isinstance(flag, SAFlag) else NO_FLAGS
        extra_flags |= flag if isinstance(flag, SAExtraFlag) else NO_EXTRA_FLAGS
    return SA(
        SAId(options.destination, options.spi, options.protocol, options.mark),
        options.source,
        mode=options.mode,
        reqid=options.reqid,
        encryption=encryption,
        authentication=authentication,
        compression=options.compression and options.compression.algorithm,
        encap=options.encap,
        selector=options.selector and Selector(*options.selector),
        lifetime=Lifetime(options.soft, options.hard),
        replay_window=window if options.replay_window is None else options.replay_window,
        flags=flags | (SAFlag.ESN if options.esn else NO_FLAGS),
        extra_flags=extra_flags,
        if_id=options.if_id,
        output_mark=options.output_mark,
        offload=options.offload and Offload(interface_index(options, options.offload)),
        tfc_padding=options.tfc_padding,
        direction=options.direction,
        nat_keepalive_s=options.nat_keepalive,
        mapping_threshold_s=options.mapping_threshold,
        cpu=options.cpu,
    )
