"""`pfkeyx policy` on a real kernel, as a process."""

import pytest

from pfkeyx import Action, Direction, Engine, PolicyId, Selector
from pfkeyx.document.plain import policy_from_plain
from pfkeyx.opening import EngineName
from tests.kernel.command import pfkeyx_does, works
from tests.kernel.values import ADDRESSES, make_policies


def test_a_policy_is_added_shown_replaced_and_deleted(engine: Engine, engine_name: EngineName) -> None:
    at = ADDRESSES[4 if engine_name == "xfrm" else 6]
    over = "--engine", engine_name
    name = "out", str(at.roaming_net), str(at.gateway_net)
    template = f"esp/tunnel/{at.roaming}-{at.gateway}/reqid:7"
    added = works(*over, "policy", "add", *name, "--upper", "tcp", "--dport", "443", "--template", template)
    assert added.out == f"added policy out {at.roaming_net} -> {at.gateway_net} protocol 6\n"
    (policy,) = engine.dump_policies()
    (asked,) = policy.templates
    assert (asked.source, asked.destination, asked.reqid) == (at.roaming, at.gateway, 7)

    shown = works(*over, "policy", "list").out
    assert f"out  {at.roaming_net} -> {at.gateway_net}  allow  priority 0" in shown
    assert "tcp  dport 443" in shown
    assert f"esp tunnel  {at.roaming} -> {at.gateway}  reqid 7" in shown
    got = works(*over, "policy", "get", *name, "--upper", "tcp", "--dport", "443", "--json").json
    assert policy_from_plain(got["policy"][0]) == policy
    assert works(*over, "policy", "get", "--index", str(policy.index), "--json").json == got

    works(*over, "policy", "update", *name, "--upper", "6", "--dport", "443", "--action", "block", "--priority", "5")
    (policy,) = engine.dump_policies()
    assert (policy.action, policy.priority) == (Action.BLOCK, 5)
    works(*over, "policy", "delete", *name, "--upper", "tcp", "--dport", "443")
    assert engine.dump_policies() == []


def test_a_filtered_list_and_a_count_say_what_there_is(engine: Engine, engine_name: EngineName) -> None:
    engine.add_policies(make_policies(4))
    engine.add_policies(make_policies(6))
    over = "--engine", engine_name
    assert works(*over, "policy", "list", "--direction", "fwd").out.endswith("2 policies; 4 left out by the filters\n")
    assert works(*over, "policy", "list", "--address", "2001:db8::/32", "--reqid", "7").out.count("reqid 7") == 3
    assert works(*over, "policy", "count").out == "6 policies: 2 in, 2 out, 2 fwd, 0 of sockets\n"
    assert works(*over, "policy", "count", "--json").json["count"]["fwd"] == 2
    works(*over, "policy", "flush", "--yes")
    assert engine.dump_policies() == []


def test_the_default_policy_is_shown_and_set(own_network_namespace: None) -> None:  # noqa: ARG001
    assert works("policy", "default").out == "in   allow\nfwd  allow\nout  allow\n"
    refused = pfkeyx_does("policy", "default", "--fwd", "block")
    assert refused.status == 2
    assert "your own connection" in refused.err
    done = works("policy", "default", "--fwd", "block", "--yes", "--json")
    assert done.json["default_policy"] == {"inbound": "allow", "forward": "block", "outbound": "allow"}
    works("policy", "default", "--fwd", "allow")
    done = pfkeyx_does("--engine", "pfkey", "policy", "default")
    assert (done.status, "xfrm" in done.err) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (
            "policy get out 10.1.0.0/16 10.2.0.0/16",
            1,
            "10.1.0.0/16 -> 10.2.0.0/16: No such file or directory",
        ),
        ("policy add out 10.1.0.0/16 2001:db8::/32", 2, "mixes IPv4 and IPv6"),
        ("policy add out 10.1.0.0/16 10.2.0.0/16 --template esp/tunnel/reqid:7", 2, "tunnel"),
    ],
)
def test_a_refusal_is_one_line_and_a_status(
    arguments: str,
    status: int,
    complaint: str,
    own_network_namespace: None,  # noqa: ARG001
) -> None:
    done = pfkeyx_does(*arguments.split())
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith("pfkeyx: ")
    assert complaint in done.err


def test_a_policy_with_host_bits_keeps_them(engine: Engine, engine_name: EngineName) -> None:
    works("--engine", engine_name, "policy", "add", "in", "10.1.2.3/16", "10.2.0.1", "--action", "block")
    (policy,) = engine.dump_policies()
    assert str(policy.selector.source) == "10.1.2.3/16"
    assert policy.id == PolicyId(Selector(policy.selector.source, policy.selector.destination), Direction.IN)
