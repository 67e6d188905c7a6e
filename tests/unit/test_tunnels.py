"""Tunnels recognised in any SAD and SPD, and what moves them."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from pfkeyx import (
    AES_CBC,
    DEFLATE,
    SA,
    Action,
    AddressPair,
    Direction,
    Encryption,
    InvalidRequestError,
    Key,
    Mark,
    Mode,
    Policy,
    Protocol,
    SAId,
    Selector,
    Template,
    Tunnel,
    UdpEncap,
)
from pfkeyx.tunnels import FoundTunnel, TunnelState, find_tunnels, update_for
from tests.unit.samples import GCM, INBOUND, LOCAL, NEW_LOCAL, OUTBOUND, POLICIES, REMOTE, SAS, TUNNEL

NETS = ip_network("10.3.0.0/16"), ip_network("10.4.0.0/16")


def only(sas: list[SA], policies: list[Policy]) -> FoundTunnel:
    (tunnel,) = find_tunnels(sas, policies).tunnels
    return tunnel


def test_two_sas_and_three_policies_are_a_tunnel() -> None:
    found = find_tunnels(SAS, POLICIES)
    (tunnel,) = found.tunnels
    assert (tunnel.local, tunnel.remote, tunnel.reqid) == (LOCAL, REMOTE, 7)
    assert (tunnel.outbound, tunnel.inbound, tunnel.policies) == ((OUTBOUND,), (INBOUND,), POLICIES)
    assert (tunnel.state, tunnel.missing, tunnel.forwards) == (TunnelState.UP, (), True)
    assert (found.other_sas, found.other_policies) == ((), ())


def test_what_others_write_without_a_reqid_or_a_forward_policy_is_a_tunnel_too() -> None:
    plain = [replace(p, templates=tuple(replace(t, reqid=0) for t in p.templates)) for p in POLICIES[:2]]
    tunnel = only(list(SAS), plain)
    assert (tunnel.state, tunnel.reqid, tunnel.forwards, len(tunnel.sas)) == (TunnelState.UP, 0, False, 2)


def test_several_selectors_of_one_pair_are_one_tunnel() -> None:
    more = Tunnel(LOCAL, REMOTE, *NETS, reqid=7).policies()
    assert only(list(SAS), [*POLICIES, *more]).policies[:2] == (POLICIES[0], more[0])


def test_tunnels_between_the_same_ends_are_told_apart() -> None:
    marked = Tunnel(LOCAL, REMOTE, *NETS, reqid=7, mark=Mark(5), if_id=9)
    other = Tunnel(LOCAL, REMOTE, *NETS, reqid=8)
    sas = [*SAS, marked.outbound(3, GCM), marked.inbound(4, GCM), other.outbound(5, GCM), other.inbound(6, GCM)]
    found = find_tunnels(sas, [*POLICIES, *marked.policies(), *other.policies()])
    assert [[sa.id.spi for sa in tunnel.sas] for tunnel in found.tunnels] == [[0xC0FFEE01, 0xC0FFEE02], [3, 4], [5, 6]]
    assert {tunnel.state for tunnel in found.tunnels} == {TunnelState.UP}


def test_marks_that_differ_by_direction_are_one_tunnel() -> None:
    out, inward, forward = POLICIES
    marked = [replace(out, mark=Mark(1)), replace(inward, mark=Mark(2)), replace(forward, mark=Mark(2))]
    tunnel = only(list(SAS), marked)
    assert tunnel.state is TunnelState.UP


def test_a_rekey_has_the_newest_sa_first() -> None:
    assert OUTBOUND.usage is not None
    newer = replace(OUTBOUND, id=SAId(REMOTE, 0x99), usage=replace(OUTBOUND.usage, added=50))
    tunnel = only([*SAS, newer], list(POLICIES))
    assert (tunnel.state, tunnel.outbound) == (TunnelState.REKEYING, (newer, OUTBOUND))


def test_a_bundle_is_no_rekey() -> None:
    compressing = SA(SAId(REMOTE, 0x50, Protocol.IPCOMP), LOCAL, reqid=7, compression=DEFLATE, replay_window=0)
    carrying = replace(OUTBOUND, mode=Mode.TRANSPORT)
    templates = (
        Template(Protocol.IPCOMP, source=LOCAL, destination=REMOTE, reqid=7),
        Template(mode=Mode.TRANSPORT, reqid=7),
    )
    tunnel = only([compressing, carrying, INBOUND], [replace(POLICIES[0], templates=templates), *POLICIES[1:]])
    assert tunnel.state is TunnelState.UP
    assert set(tunnel.outbound) == {compressing, carrying}


@pytest.mark.parametrize(
    ("sas", "policies", "state", "missing"),
    [
        ([], POLICIES, TunnelState.WAITING, ("outbound SA", "inbound SA")),
        ([OUTBOUND], POLICIES, TunnelState.HALF, ("inbound SA",)),
        (SAS, POLICIES[:1], TunnelState.HALF, ("inbound SA", "in policy")),
        (SAS, POLICIES[1:], TunnelState.HALF, ("outbound SA", "out policy")),
        ([OUTBOUND, replace(INBOUND, encryption=None)], POLICIES, TunnelState.HALF, ("inbound SA",)),
        (SAS, (replace(POLICIES[0], action=Action.BLOCK), *POLICIES[1:]), TunnelState.BLOCKED, ()),
    ],
)
def test_what_is_not_whole_is_said(
    sas: list[SA], policies: list[Policy], state: TunnelState, missing: tuple[str, ...]
) -> None:
    tunnel = only(sas, policies)
    assert (tunnel.state, tunnel.missing) == (state, missing)


def test_what_belongs_to_no_tunnel_is_told() -> None:
    stranger = replace(OUTBOUND, id=SAId(REMOTE, 1), reqid=99)
    bypass = Policy(Selector(*NETS), Direction.OUT)
    transport = replace(bypass, templates=(Template(mode=Mode.TRANSPORT),))
    of_a_socket = replace(POLICIES[0], direction=Direction(4))
    found = find_tunnels([*SAS, stranger], [*POLICIES, bypass, transport, of_a_socket])
    assert found.other_sas == (stranger,)
    assert found.other_policies == (bypass, transport, of_a_socket)


def test_a_tunnel_moves_alone_among_others_of_its_ends() -> None:
    found = find_tunnels(SAS, POLICIES)
    update = update_for(found, found.tunnels, NEW_LOCAL, None)
    assert update is not None
    assert (update.old, update.new, update.sas) == (AddressPair(LOCAL, REMOTE), AddressPair(NEW_LOCAL, REMOTE), None)
    other = Tunnel(LOCAL, REMOTE, *NETS, reqid=8)
    both = find_tunnels([*SAS, other.outbound(5, GCM), other.inbound(6, GCM)], [*POLICIES, *other.policies()])
    update = update_for(both, both.tunnels[:1], NEW_LOCAL, None)
    assert update is not None
    assert update.sas is not None
    assert set(update.sas) == {sa.id for sa in SAS}


@pytest.mark.parametrize("moved_direction", [Direction.OUT, Direction.IN])
def test_a_move_that_was_interrupted_between_its_steps_is_finished(moved_direction: Direction) -> None:
    """One half of the tunnel is at the new address, and the same call finds the other."""
    later = Tunnel(NEW_LOCAL, REMOTE, TUNNEL.local_net, TUNNEL.remote_net, reqid=7)
    is_moved = [(policy.direction is Direction.OUT) == (moved_direction is Direction.OUT) for policy in POLICIES]
    policies = [new if moved else old for old, new, moved in zip(POLICIES, later.policies(), is_moved, strict=True)]
    if moved_direction is Direction.OUT:
        sas = [later.outbound(0xC0FFEE01, GCM), INBOUND]
    else:
        sas = [OUTBOUND, later.inbound(0xC0FFEE02, GCM)]
    found = find_tunnels(sas, policies)
    assert len(found.tunnels) == 2
    update = update_for(found, found.tunnels, NEW_LOCAL, None)
    assert update is not None
    assert (update.old, update.new, update.sas) == (AddressPair(LOCAL, REMOTE), AddressPair(NEW_LOCAL, REMOTE), None)


def test_a_tunnel_that_is_there_already_is_not_moved() -> None:
    found = find_tunnels(SAS, POLICIES)
    assert update_for(found, found.tunnels, LOCAL, None) is None
    update = update_for(found, found.tunnels, LOCAL, None, UdpEncap())
    assert update is not None
    assert (update.old, update.new) == (AddressPair(LOCAL, REMOTE), AddressPair(LOCAL, REMOTE))


def test_what_to_move_has_to_be_said() -> None:
    other = Tunnel(LOCAL, ip_address("203.0.113.2"), *NETS, reqid=8)
    found = find_tunnels(SAS, [*POLICIES, *other.policies()])
    with pytest.raises(InvalidRequestError, match=r"several match: 192\.0\.2\.2 - 203\.0\.113\.1 reqid 7; 192"):
        update_for(found, found.tunnels, NEW_LOCAL, None)
    with pytest.raises(InvalidRequestError, match="none matches"):
        update_for(found, [], NEW_LOCAL, None)


def test_an_sa_of_another_interface_id_is_not_used() -> None:
    stranger = replace(OUTBOUND, id=SAId(REMOTE, 1), if_id=3, encryption=Encryption(AES_CBC, Key(bytes(16))))
    assert only([*SAS, stranger], list(POLICIES)).outbound == (OUTBOUND,)
