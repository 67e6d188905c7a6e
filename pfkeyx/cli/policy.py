"""`pfkeyx policy`: the entries of the SPD."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

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
from pfkeyx.cli.filters import add_filters, left_out, matches_policy
from pfkeyx.cli.lists import policy_lines
from pfkeyx.cli.status import DONE
from pfkeyx.cli.text import count, show
from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import (
    NO_POLICY_FLAGS,
    Action,
    DefaultPolicy,
    Lifetime,
    Limit,
    Policy,
    PolicyId,
    PolicyType,
    Selector,
)

if TYPE_CHECKING:
    from pfkeyx.engine import Engine

_ADD_EXAMPLE = """\
sudo pfkeyx policy add out 10.1.0.0/16 10.2.0.0/16 \\
    --template esp/tunnel/192.0.2.1-198.51.100.1/reqid:7
sudo pfkeyx policy add in 10.2.0.0/16 10.1.0.0/16 --action block"""
_TEMPLATE_HELP = (
    "PROTOCOL/MODE, then as wanted /SOURCE-DESTINATION, /reqid:N, /spi:N, /optional; may be repeated, innermost first"
)


def add_parser(commands: Commands) -> None:
    """Declare the noun and its verbs."""
    verbs = add_noun(commands, "policy", "list and change policies")
    listing = add_command(verbs, "list", run_list, "list policies", "sudo pfkeyx policy list --direction out")
    add_filters(listing, "address", "protocol", "reqid", "if-id", "mark", "direction")
    for name, run, text in (
        ("get", run_get, "show one policy"),
        ("delete", run_delete, "delete one policy"),
    ):
        parser = add_command(
            verbs,
            name,
            run,
            text,
            f"sudo pfkeyx policy {name} out 10.1.0.0/16 10.2.0.0/16\nsudo pfkeyx policy {name} --index 9",
        )
        _add_name(parser, "?")
        parser.add_argument("--index", type=arguments.number(1, 0xFFFFFFFF), metavar="N", help="by the kernel's number")
    _add_policy_options(add_command(verbs, "add", run_add, "add a policy", _ADD_EXAMPLE))
    _add_policy_options(
        add_command(
            verbs,
            "update",
            run_update,
            "replace a policy at once, or add it",
            "sudo pfkeyx policy update in 10.2.0.0/16 10.1.0.0/16 --action block",
            "It keeps its index, and nothing of what is not given.",
        )
    )
    flushing = add_command(verbs, "flush", run_flush, "delete all policies", "sudo pfkeyx --netns test policy flush")
    _add_type(flushing)
    add_yes(flushing)
    add_command(verbs, "count", run_count, "say how many policies there are", "sudo pfkeyx policy count")
    _add_default(verbs)


def _add_default(verbs: Commands) -> None:
    parser = add_command(
        verbs,
        "default",
        run_default,
        "show or set what happens to packets that no policy is for",
        "sudo pfkeyx policy default\nsudo pfkeyx --netns test policy default --fwd block",
        "To block them cuts the connection that you work over, unless a policy allows it.",
    )
    for name in ("in", "fwd", "out"):
        parser.add_argument(
            f"--{name}",
            dest=f"{name}_action",
            type=arguments.action,
            metavar=arguments.action.metavar,
            help=f"what happens to packets in the direction {name}",
        )
    add_yes(parser)


def _add_name(parser: Parser, nargs: str | None = None) -> None:
    parser.add_argument(
        "direction", type=arguments.direction, nargs=nargs, metavar="in|out|fwd", help="where in a packet's way it is"
    )
    for name in ("source", "destination"):
        parser.add_argument(
            name, type=arguments.prefix, nargs=nargs, metavar=name.upper(), help=f"the {name} of its selector"
        )
    parser.add_argument(
        "--upper", type=arguments.upper_protocol, default=0, metavar="PROTOCOL", help="tcp, udp, icmp, or a number"
    )
    parser.add_argument("--sport", type=arguments.port, metavar="PORT[/MASK]", help="the source port")
    parser.add_argument("--dport", type=arguments.port, metavar="PORT[/MASK]", help="the destination port")
    parser.add_argument("--device", metavar="DEVICE", help="on this interface")
    parser.add_argument("--mark", type=arguments.mark, metavar="MARK[/MASK]", help="a packet mark")
    parser.add_argument("--if-id", type=arguments.if_id, default=0, metavar="N", help="of an XFRM interface")
    _add_type(parser)


def _add_type(parser: Parser) -> None:
    parser.add_argument(
        "--type",
        type=arguments.policy_type,
        default=PolicyType.MAIN,
        metavar=arguments.policy_type.metavar,
        help="of the SPD's two tables (default: %(default)s)",
    )


def _add_policy_options(parser: Parser) -> None:
    _add_name(parser)
    parser.add_argument(
        "--template", type=arguments.template, action="append", default=[], metavar="TEMPLATE", help=_TEMPLATE_HELP
    )
    parser.add_argument(
        "--action",
        type=arguments.action,
        default=Action.ALLOW,
        metavar=arguments.action.metavar,
        help="allow means through the templates, if there are any (default: %(default)s)",
    )
    parser.add_argument(
        "--priority",
        type=arguments.number(0, 0xFFFFFFFF),
        default=0,
        metavar="N",
        help="of two that fit, the lower wins (default: 0)",
    )
    parser.add_argument("--soft", type=arguments.limit, default=Limit(), metavar="LIMIT", help="warn, as 1h,idle=5m")
    parser.add_argument("--hard", type=arguments.limit, default=Limit(), metavar="LIMIT", help="end, likewise")
    parser.add_argument(
        "--flag",
        type=arguments.policy_flag,
        action="append",
        default=[],
        metavar="FLAG",
        help=f"{', '.join(arguments.policy_flag.values)}; may be repeated",
    )


def run_list(options: argparse.Namespace) -> int:
    """List the policies that match."""
    with open_engine(options) as engine:
        everything = engine.dump_policies()
    chosen = [policy for policy in everything if matches_policy(options, policy)]
    _print(options, chosen, left_out(chosen, everything, "policy", "policies"))
    return DONE


def run_get(options: argparse.Namespace) -> int:
    """Show one policy."""
    with open_engine(options) as engine:
        _print(options, [engine.get_policy(_named(options))])
    return DONE


def run_delete(options: argparse.Namespace) -> int:
    """Delete one policy, and say which."""
    with open_engine(options) as engine:
        policy = engine.get_policy(_named(options))
        engine.delete_policy(_named(options))
    _print_changed(options, "deleted", policy)
    return DONE


def run_add(options: argparse.Namespace) -> int:
    """Add a policy, and say so."""
    policy = make_policy(options)
    with open_engine(options) as engine:
        engine.add_policy(policy)
    _print_changed(options, "added", policy)
    return DONE


def run_update(options: argparse.Namespace) -> int:
    """Replace a policy, and say so."""
    policy = make_policy(options)
    with open_engine(options) as engine:
        engine.update_policy(policy)
    _print_changed(options, "updated", policy)
    return DONE


def run_flush(options: argparse.Namespace) -> int:
    """Delete all policies, when that is meant."""
    make_sure(options, "policy flush deletes all policies: what they protected or blocked then leaves in clear.")
    with open_engine(options) as engine:
        engine.flush_policies(options.type)
    if options.json:
        print_json(deleted=f"all {options.type} policies")
    else:
        print(f"deleted all {options.type} policies")
    return DONE


def run_count(options: argparse.Namespace) -> int:
    """Say how many policies there are in each direction."""
    with open_engine(options) as engine:
        numbers = _count(engine)
    if options.json:
        print_json(count=numbers)
    else:
        each = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in numbers.items())
        print(f"{count(sum(numbers.values()), 'policy', 'policies')}: {each}")
    return DONE


def _count(engine: "Engine") -> dict[str, int]:
    if engine.name == "xfrm":
        info = engine.get_spd_info()
        sockets = info.socket_inbound + info.socket_outbound + info.socket_forward
        return {"in": info.inbound, "out": info.outbound, "fwd": info.forward, "of_sockets": sockets}
    numbers = dict.fromkeys(("in", "out", "fwd", "of_sockets"), 0)
    for policy in engine.iter_policies():
        name = str(policy.direction)
        numbers[name if name in numbers else "of_sockets"] += 1
    return numbers


def run_default(options: argparse.Namespace) -> int:
    """Show the default policy, or set what of it is given."""
    wanted = {
        name: value
        for name, value in (
            ("inbound", options.in_action),
            ("forward", options.fwd_action),
            ("outbound", options.out_action),
        )
        if value is not None
    }
    if Action.BLOCK in wanted.values():
        make_sure(options, "policy default would block all packets that no policy is for, your own connection too.")
    with open_engine(options) as engine:
        default = engine.get_default_policy()
        if wanted:
            engine.set_default_policy(DefaultPolicy(**{**_actions(default), **wanted}))
            default = engine.get_default_policy()
    if options.json:
        from pfkeyx.document.plain import to_plain

        print_json(default_policy=to_plain(default))
    else:
        actions = zip(("in", "fwd", "out"), _actions(default).values(), strict=True)
        show(f"{name:3}  {value}" for name, value in actions)
    return DONE


def _actions(default: DefaultPolicy) -> dict[str, Action]:
    return {"inbound": default.inbound, "forward": default.forward, "outbound": default.outbound}


def _print(options: argparse.Namespace, policies: Sequence[Policy], last_line: str = "") -> None:
    if not options.json:
        lines = list(policy_lines(policies, time.time()))
        show([*lines, last_line] if last_line else lines)
        return
    from pfkeyx.document.plain import document

    print_json(**document(policies=list(policies)))
    if "left out" in last_line:
        print(last_line, file=sys.stderr)


def _print_changed(options: argparse.Namespace, change: str, policy: Policy) -> None:
    if options.json:
        _print(options, [policy])
    else:
        print(f"{change} policy {policy}")


def _named(options: argparse.Namespace) -> PolicyId | int:
    """Return what the policy is looked up by; raises `InvalidRequestError` for half a name."""
    given = (options.direction, options.source, options.destination)
    if options.index is not None:
        if any(part is not None for part in given):
            raise InvalidRequestError("policy: give --index N, or DIRECTION SOURCE DESTINATION, not both")
        return int(options.index)
    if None in given:
        raise InvalidRequestError("policy: give DIRECTION SOURCE DESTINATION, or --index N")
    return PolicyId(_selector(options), options.direction, options.mark, options.if_id, options.type)


def _selector(options: argparse.Namespace) -> Selector:
    device = interface_index(options, options.device) if options.device else 0
    return Selector(options.source, options.destination, options.upper, options.sport, options.dport, device)


def make_policy(options: argparse.Namespace) -> Policy:
    """Return the policy that the options describe."""
    flags = NO_POLICY_FLAGS
    for flag in options.flag:
        flags |= flag
    return Policy(
        _selector(options),
        options.direction,
        tuple(options.template),
        action=options.action,
        priority=options.priority,
        lifetime=Lifetime(options.soft, options.hard),
        mark=options.mark,
        if_id=options.if_id,
        type=options.type,
        flags=flags,
    )
