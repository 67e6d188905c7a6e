"""`pfkeyx tunnel`: the SAs and policies of a tunnel as one thing, whoever wrote them."""

import argparse
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace

from pfkeyx.cli import arguments
from pfkeyx.cli.command import Commands, add_command, add_noun, open_engine, print_json
from pfkeyx.cli.filters import TUNNEL_FILTERS, add_filters, choose_tunnels
from pfkeyx.cli.keys import KEY_FILE_HELP, add_key_options, make_suites
from pfkeyx.cli.move import add_move_parser
from pfkeyx.cli.status import DONE
from pfkeyx.cli.text import show
from pfkeyx.cli.tunnel_text import summary, tunnel_lines, tunnel_to_plain
from pfkeyx.errors import InvalidRequestError, NotFoundError
from pfkeyx.model import NO_FLAGS, SA, Lifetime, Limit, SAFlag, Tunnel
from pfkeyx.tunnels import FoundTunnel, find_tunnels

_ADD_EXAMPLE = """\
sudo pfkeyx tunnel add --local 192.0.2.1 --remote 198.51.100.1 \\
    --reqid 7 --local-net 10.1.0.0/16 --remote-net 10.2.0.0/16 \\
    --spi-out 0xc0ffee01 --spi-in 0xc0ffee02 \\
    --encryption aes-gcm --key-file keys"""
_ADD_DETAILS = (
    f"All of it or nothing. {KEY_FILE_HELP} The outbound keys come first, then the inbound ones: the peer's file has"
    " them the other way round."
)


def add_parser(commands: Commands) -> None:
    """Declare the noun and its verbs."""
    verbs = add_noun(commands, "tunnel", "list, add, move and delete whole tunnels")
    listing = add_command(
        verbs,
        "list",
        run_list,
        "list tunnels, whoever wrote them",
        "sudo pfkeyx tunnel list --address 198.51.100.1",
        "A tunnel is the policies that name the same two ends and reqid, and the SAs that they find.",
    )
    add_filters(listing, *TUNNEL_FILTERS)
    _add_add(verbs)
    add_move_parser(verbs)
    deleting = add_command(
        verbs,
        "delete",
        run_delete,
        "delete a tunnel: its policies, and the SAs that only they use",
        "sudo pfkeyx tunnel delete --reqid 7",
        "What it protected leaves in clear afterwards, unless something else blocks it.",
    )
    add_filters(deleting, *TUNNEL_FILTERS)


def _add_add(verbs: Commands) -> None:
    parser = add_command(verbs, "add", run_add, "add a tunnel: two SAs and three policies", _ADD_EXAMPLE, _ADD_DETAILS)
    for name, kind, metavar, text in (
        ("local", arguments.address, "ADDRESS", "our end"),
        ("remote", arguments.address, "ADDRESS", "the peer's end"),
        ("local-net", arguments.prefix, "NETWORK", "what is behind our end"),
        ("remote-net", arguments.prefix, "NETWORK", "what is behind the peer's"),
        ("reqid", arguments.number(1, 0xFFFFFFFF), "N", "what the policies find the SAs by"),
        ("spi-out", arguments.spi, "SPI", "of what we send, as the peer named it"),
    ):
        parser.add_argument(f"--{name}", type=kind, required=True, metavar=metavar, help=text)
    parser.add_argument(
        "--spi-in", type=arguments.spi, metavar="SPI", help="of what we receive (default: the kernel chooses)"
    )
    add_key_options(parser, is_needed=True)
    parser.add_argument(
        "--encap", type=arguments.encap, metavar="udp|tcp[:PORT:PORT]", help="our port, then the peer's (default: 4500)"
    )
    parser.add_argument("--soft", type=arguments.limit, default=Limit(), metavar="LIMIT", help="warn, as 50m,9GiB")
    parser.add_argument("--hard", type=arguments.limit, default=Limit(), metavar="LIMIT", help="end, as 1h,10GiB")
    parser.add_argument(
        "--replay-window", type=arguments.number(0, 4096), default=32, metavar="PACKETS", help="(default: 32)"
    )
    parser.add_argument("--esn", action="store_true", help="sequence numbers of 64 bits")
    parser.add_argument("--if-id", type=arguments.if_id, default=0, metavar="N", help="of an XFRM interface")
    parser.add_argument("--mark", type=arguments.mark, metavar="MARK[/MASK]", help="of the packets that it is for")


def run_list(options: argparse.Namespace) -> int:
    """List the tunnels that match."""
    with open_engine(options) as engine:
        found = find_tunnels(engine.dump_sas(), engine.dump_policies())
    chosen = choose_tunnels(options, found.tunnels)
    last_line = summary(chosen, found)
    if options.json:
        print_json(tunnel=[tunnel_to_plain(tunnel, show_keys=options.show_keys) for tunnel in chosen])
        if len(chosen) < len(found.tunnels):
            print(last_line, file=sys.stderr)
    else:
        show([*tunnel_lines(chosen, show_keys=options.show_keys), last_line])
    return DONE


def run_add(options: argparse.Namespace) -> int:
    """Add both SAs and the three policies, or nothing, and show the tunnel."""
    (out_encryption, out_authentication), (in_encryption, in_authentication) = make_suites(
        options, "outbound ", "inbound "
    )
    assert out_encryption is not None  # as the parser requires it
    assert in_encryption is not None
    tunnel = Tunnel(
        options.local,
        options.remote,
        options.local_net,
        options.remote_net,
        options.reqid,
        options.encap,
        options.if_id,
        options.mark,
    )
    outbound = _with_more(options, tunnel.outbound(options.spi_out, out_encryption, out_authentication))
    with open_engine(options) as engine, ExitStack() as undo:
        spi_in = options.spi_in or engine.get_spi(
            options.remote, options.local, reqid=options.reqid, mark=options.mark, if_id=options.if_id
        )
        inbound = _with_more(options, tunnel.inbound(spi_in, in_encryption, in_authentication))
        if options.spi_in:
            engine.add_sa(inbound)
            undo.callback(engine.delete_sa, inbound.id)
        else:
            undo.callback(engine.delete_sa, inbound.id)
            engine.update_sa(inbound)
        engine.add_sa(outbound)
        undo.callback(engine.delete_sa, outbound.id)
        engine.add_policies(tunnel.policies())
        undo.pop_all()
    _print_one(
        options,
        "added",
        FoundTunnel(
            tunnel.local,
            tunnel.remote,
            tunnel.reqid,
            (outbound,),
            (inbound,),
            tunnel.policies(),
            tunnel.mark,
            tunnel.if_id,
        ),
    )
    return DONE


def _with_more(options: argparse.Namespace, sa: SA) -> SA:
    return replace(
        sa,
        lifetime=Lifetime(options.soft, options.hard),
        replay_window=options.replay_window,
        flags=SAFlag.ESN if options.esn else NO_FLAGS,
    )


def run_delete(options: argparse.Namespace) -> int:
    """Delete one tunnel, and show what it was."""
    with open_engine(options) as engine:
        found = find_tunnels(engine.dump_sas(), engine.dump_policies())
        tunnel = _one(choose_tunnels(options, found.tunnels))
        used_by_others = {sa.id for other in found.tunnels if other is not tunnel for sa in other.sas}
        with ExitStack() as undo:
            for policy in tunnel.policies:
                engine.delete_policy(policy.id)
                undo.callback(engine.add_policy, policy)
            for sa in tunnel.sas:
                # One may have expired since it was listed.
                if sa.id not in used_by_others:
                    with suppress(NotFoundError):
                        engine.delete_sa(sa.id)
            undo.pop_all()
    _print_one(options, "deleted", tunnel)
    return DONE


def _one(chosen: list[FoundTunnel]) -> FoundTunnel:
    if len(chosen) != 1:
        which = f"several match: {'; '.join(map(str, chosen))}" if chosen else "none matches"
        raise InvalidRequestError(f"delete tunnel: {which}; see pfkeyx tunnel list")
    return chosen[0]


def _print_one(options: argparse.Namespace, change: str, tunnel: FoundTunnel) -> None:
    if options.json:
        print_json(tunnel=[tunnel_to_plain(tunnel, show_keys=options.show_keys)])
    else:
        print(f"{change}:")
        show(tunnel_lines([tunnel], show_keys=options.show_keys))
