"""Tunnels for the tests of what a move takes along: how they are changed, laid and used, and what the wires show.

Which of them a move takes along is not known here.
"""

import select
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial, reduce
from itertools import groupby, pairwise

from pfkeyx import SA, Engine, Policy, PolicyType, Port, Replay, UdpEncap
from pfkeyx.model import IPAddress
from pfkeyx.native import ffi
from pfkeyx.pfkey.message import Message, MessageType, build
from pfkeyx.testing import Traffic
from pfkeyx.testing.wire import UDP
from tests.kernel import holdings, raw
from tests.kernel.holdings import Change, Holding
from tests.kernel.moves import Place
from tests.kernel.nat import nft
from tests.kernel.topology import INWARD_SPI, OUTWARD_SPI, Host, Road
from tests.kernel.traffic import PORT, open_socket

#: By this a socket is given a policy of its own, in the words of PF_KEY.
_IP_IPSEC_POLICY = 16
_MARKS = """
    table inet marks {{
        chain arriving {{
            type filter hook prerouting priority raw
            meta l4proto esp meta mark set {mark}
        }}
    }}
"""
_PAYLOAD = bytes(1000)
_PATIENCE_S = 120


def lay(road: Road, *changes: Change) -> None:
    """Write a tunnel with sequence numbers from the start, changed, at both ends."""
    fresh = holdings.sas(replay=Replay(0, 0, (0,)))
    holding = reduce(lambda changed, change: change(changed), (fresh, *changes), holdings.plain(road.family))
    for host, held in ((road.roaming, holding), (road.gateway, holding.from_there())):
        for sa in held.sas:
            host.engine.restore_sa(sa)
        host.engine.add_policies(held.policies)


def numbered(number: int) -> Change:
    """Return the change to one of several tunnels: SPIs, reqid and ports of its own."""

    def change(holding: Holding) -> Holding:
        sas = tuple(replace(sa, id=replace(sa.id, spi=sa.id.spi + number), reqid=7 + number) for sa in holding.sas)
        return holdings.templates(reqid=7 + number)(for_ports(PORT + number)(replace(holding, sas=sas)))

    return change


def to(peer: IPAddress, encap: UdpEncap | None) -> Change:
    """Return the change of a tunnel to one with another gateway, in an encapsulation that is the same both ways."""

    def change(holding: Holding) -> Holding:
        outbound, inbound = holding.sas
        out, *inward = holding.policies
        return Holding(
            (
                replace(outbound, id=replace(outbound.id, destination=peer), encap=encap),
                replace(inbound, source=peer, encap=encap),
            ),
            (
                replace(out, templates=(replace(out.templates[0], destination=peer),)),
                *(replace(policy, templates=(replace(policy.templates[0], source=peer),)) for policy in inward),
            ),
        )

    return change


def for_ports(*ports: int) -> Change:
    """Return the change of each policy to as many as there are ports, for UDP from one to the same."""

    def for_port(policy: Policy, port: int) -> Policy:
        selector = replace(policy.selector, protocol=UDP, source_port=Port(port), destination_port=Port(port))
        return replace(policy, selector=selector)

    return lambda holding: replace(
        holding, policies=tuple(for_port(policy, port) for policy in holding.policies for port in ports)
    )


def of_both_types(holding: Holding) -> Holding:
    """Return the same with main policies for one port, and sub policies for the next."""
    main = for_ports(PORT)(holding)
    sub = holdings.policies(type=PolicyType.SUB)(for_ports(PORT + 1)(holding))
    return replace(main, policies=(*main.policies, *sub.policies))


def one_after_another(holding: Holding) -> Holding:
    """Return the same with each SA made a second after the one before it: the kernel prefers the newest."""

    def later(sa: SA, seconds: int) -> SA:
        assert sa.usage is not None
        return replace(sa, usage=replace(sa.usage, added=sa.usage.added + seconds))

    return replace(holding, sas=tuple(later(sa, seconds) for seconds, sa in enumerate(holding.sas)))


def give_policy(road: Road, sock: socket.socket) -> None:
    """Give an IPv4 socket of the roaming host a policy of its own: the tunnel as it is at first."""
    with road.roaming.open("pfkey"):  # the kernel loads what reads the option
        message = build(Message(MessageType.X_SPDADD, extensions=raw.outbound(raw.tunnel(4))))
        sock.setsockopt(socket.IPPROTO_IP, _IP_IPSEC_POLICY, bytes(ffi.buffer(message.data, message.size))[16:])


def mark_packets(host: Host, sock: socket.socket, mark: int) -> None:
    """Mark the ESP that arrives at a host, and what a socket of it sends."""
    host.namespace.call(partial(nft, _MARKS.format(mark=mark)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)


def open_line(road: Road, stack: ExitStack, port: int, ends: tuple[IPAddress, IPAddress] | None = None) -> Traffic:
    """Open both ends of a line, the roaming host's first, by default on the tunnel's inner addresses."""
    here, there = ends or (road.addresses.roaming_inner, road.addresses.gateway_inner)
    ours = stack.enter_context(open_socket(road.roaming, here, port))
    theirs = stack.enter_context(open_socket(road.gateway, there, port))
    return Traffic.between(ours, theirs, (road.roaming.wire, road.gateway.wire))


def check_lines(lines: Sequence[Traffic]) -> None:
    """Assert that packets arrive on all lines."""
    for line in lines:
        line.send(1)


def carry(traffic: Traffic) -> None:
    """Send a packet each way that is worth compressing, and wait until it has arrived."""
    for stream in (traffic.outward, traffic.inward):
        stream.sender.sendto(_PAYLOAD, stream.destination)
        assert select.select([stream.receiver], (), (), _PATIENCE_S)[0], f"no packet came to {stream.destination}"
        assert stream.receiver.recv(2048) == _PAYLOAD


def check_templates(road: Road, place: Place) -> None:
    """Assert that all templates are at the place."""
    ends = {place.roaming, place.gateway}
    for host in (road.roaming, road.gateway):
        for policy in host.engine.dump_policies():
            assert all({t.source, t.destination} == ends for t in policy.templates), f"{policy} is elsewhere"


def check_ways(road: Road, ways: Mapping[int, Sequence[Place]]) -> None:
    """Assert, of all that both hosts have sent: nothing in clear, and each tunnel's way, with no number twice."""
    for host, first_spi, outward in ((road.roaming, OUTWARD_SPI, True), (road.gateway, INWARD_SPI, False)):
        frames = host.wire.frames()
        clear = [frame for frame in frames if frame.spi is None and frame.ports]
        assert not clear, f"packets in clear: {clear}"
        assert {frame.spi for frame in frames} - {None} == {first_spi + number for number in ways}
        for number, path in ways.items():
            sent = [frame for frame in frames if frame.spi == first_spi + number]
            repeats = [(a, b) for a, b in pairwise(frame.sequence for frame in sent) if b <= a]
            assert not repeats, f"sequence numbers, each followed by one that is no higher: {repeats}"
            outsides = [outside for outside, _ in groupby(frame.outside for frame in sent)]
            assert outsides == [place.outward if outward else place.inward for place in path]


def written(engine: Engine) -> list[Policy]:
    """Return all policies of a host as they were written, in an order of their own."""
    return sorted((policy.as_written() for policy in engine.dump_policies()), key=lambda policy: str(policy.id))


def moved(policy: Policy, old: Place, new: Place) -> Policy:
    """Return a policy of one tunnel at another place."""
    source, destination = policy.templates[0].source, policy.templates[0].destination
    ends = {old.roaming: new.roaming, old.gateway: new.gateway}
    assert source is not None
    assert destination is not None
    return replace(
        policy, templates=(replace(policy.templates[0], source=ends[source], destination=ends[destination]),)
    )
