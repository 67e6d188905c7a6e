"""What is moved where moves are interrupted: tunnels or transport SAs, and all that they are at either place."""

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_network
from itertools import pairwise
from time import monotonic_ns

import pytest

from pfkeyx import (
    SA,
    AddressUpdate,
    Authentication,
    Direction,
    Encryption,
    Engine,
    Feature,
    Key,
    Method,
    Mode,
    Policy,
    Selector,
    Template,
    Tunnel,
)
from pfkeyx.model import IPAddress, UdpEncap, prefix_address
from pfkeyx.testing import Frame, Stream
from pfkeyx.testing.wire import UDP
from tests.kernel.audit import requires
from tests.kernel.moves import Place, places, updates
from tests.kernel.topology import DEVICE, Host, Road
from tests.kernel.traffic import PORT, open_socket
from tests.kernel.values import ADDRESSES

IS_SOAK = bool(os.environ.get("SOAK"))
Suite = tuple[Encryption, Authentication | None]
#: The reqid of an SA that is in the way.
STRANGER = 99
_REQID = 7


@dataclass(frozen=True, slots=True)
class State:
    """What one host holds when everything is at one place, in an order that is the same for all places."""

    sas: tuple[SA, ...]
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """Packets both ways between two addresses; `source` is the roaming host's."""

    source: IPAddress
    outward: Stream
    inward: Stream

    def check(self) -> None:
        """Assert that packets arrive, each way."""
        for stream in (self.outward, self.inward):
            now = monotonic_ns()
            stream.send_one(0)
            stream.wait_for(now)


class Scene:
    """A tunnel between a roaming host and a gateway, laid as often as one likes with SPIs that were never used."""

    encaps: tuple[UdpEncap | None, UdpEncap | None] = (None, None)
    remotes = 1

    def __init__(self, road: Road, suite: Suite, stack: ExitStack) -> None:
        self.engine = road.roaming.engine
        first, second = places(road.family)
        self.old, self.new = replace(first, encap=self.encaps[0]), replace(second, encap=self.encaps[1])
        self._road = road
        self._suite = suite
        self._round = 0
        self._gateway_at = self.old
        road.decapsulate(4500)
        self._add_addresses()
        sockets = _Sockets(road, stack)
        self._lines = {
            place: [sockets.line(*_ends(tunnel)) for tunnel in self._tunnels(place)] for place in (self.old, self.new)
        }

    def lay(self) -> None:
        """Write everything at the old place, and nothing else."""
        self._round += 1
        self._gateway_at = self.old
        tunnels = self._tunnels(self.old)
        for host, state in (
            (self._road.roaming, self.state(self.old)),
            (self._road.gateway, self._state([t.reversed() for t in tunnels], [s[::-1] for s in self._spis()])),
        ):
            host.engine.flush_sas()
            host.engine.flush_policies()
            host.engine.add_sas(state.sas)
            host.engine.add_policies(state.policies)

    def state(self, place: Place) -> State:
        """Return what the roaming host holds."""
        return self._state(self._tunnels(place), self._spis())

    def update(self, old: Place, new: Place) -> AddressUpdate:
        """Return what the roaming host is asked for."""
        return updates(old, new)[0]

    def sas(self) -> list[SA]:
        """Return the roaming host's SAs: not a stranger's, nor what a policy has asked for in vain."""
        return [sa for sa in self.engine.dump_sas() if sa.id.spi and sa.reqid != STRANGER]

    def check_is_at(self, place: Place) -> None:
        """Assert that the roaming host has everything at one place, and nothing else; packets flow then."""
        state, policies = self.state(place), self.engine.dump_policies()
        assert sorted((sa.as_written() for sa in self.sas()), key=_spi) == sorted(state.sas, key=_spi)
        assert {policy.as_written() for policy in policies} == set(state.policies)
        assert len(policies) == len(state.policies)
        self.follow(place)
        for line in self._lines[place]:
            line.check()

    def places(self, place: Place) -> list[Place]:
        """Return where each tunnel is: the nth remote end is no other at another place."""
        return [replace(place, gateway=_nth(place.gateway, number)) for number in range(self.remotes)]

    def follow(self, place: Place) -> None:
        """Have the gateway move, if it is not there yet."""
        if self._gateway_at != place:
            for at, to in zip(self.places(self._gateway_at), self.places(place), strict=True):
                self._road.gateway.engine.migrate(updates(at, to)[1])
            self._gateway_at = place

    def put_in_the_way(self) -> None:
        """Add a stranger's SA where the last inbound one goes; in any process."""
        with Engine.open("xfrm") as engine:
            engine.add_sa(_strangers(self.state(self.new).sas[-1]))

    def clear_the_way(self) -> None:
        """Delete what was put in the way."""
        self.engine.delete_sa(self.state(self.new).sas[-1].id)

    def send(self) -> None:
        """Send a packet each way on each line that has a policy; it may be refused, or lost."""
        sources = {p.selector.source for p in self.engine.dump_policies() if p.direction is Direction.OUT}
        for line in (line for lines in self._lines.values() for line in lines):
            if ip_network(line.source) in sources:
                _send(line.outward)
        self._send_inward()

    def send_while_moving(self) -> None:
        """Send a packet each way on each line; it may be refused, or lost."""
        for line in self._lines[self.old]:
            _send(line.outward)
        self._send_inward()

    def check_wire(self) -> None:
        """Assert, of all that both hosts have ever sent: nothing in clear, and no sequence number twice."""
        for host in (self._road.roaming, self._road.gateway):
            frames = host.wire.frames()
            clear = [frame for frame in frames if _is_clear(frame)]
            assert not clear, f"packets in clear: {clear}"
            numbers: dict[int, list[int]] = {}
            for frame in frames:
                if frame.spi is not None:
                    numbers.setdefault(frame.spi, []).append(frame.sequence)
            repeats = {spi: [(a, b) for a, b in pairwise(sent) if b <= a] for spi, sent in numbers.items()}
            assert not any(repeats.values()), f"sequence numbers, each followed by one that is no higher: {repeats}"

    def _tunnels(self, place: Place) -> list[Tunnel]:
        inner = self._road.addresses
        return [
            Tunnel(
                at.roaming,
                at.gateway,
                inner.roaming_net,
                ip_network(_nth(inner.gateway_inner, number)),
                _REQID + number,
                at.encap,
            )
            for number, at in enumerate(self.places(place))
        ]

    def _state(self, tunnels: Sequence[Tunnel], spis: Sequence[tuple[int, ...]]) -> State:
        parts = [self._parts(tunnel, *pair) for tunnel, pair in zip(tunnels, spis, strict=True)]
        return State(
            tuple(sa for state in parts for sa in state.sas),
            tuple(policy for state in parts for policy in state.policies),
        )

    def _parts(self, tunnel: Tunnel, outward_spi: int, inward_spi: int) -> State:
        sas = tunnel.outbound(outward_spi, *self._suite), tunnel.inbound(inward_spi, *self._suite)
        return State(sas, tunnel.policies())

    def _spis(self) -> list[tuple[int, ...]]:
        base = 0x10000 * self._round
        return [(base + 0x1000 + number, base + 0x2000 + number) for number in range(self.remotes)]

    def _send_inward(self) -> None:
        for line in self._lines[self._gateway_at]:
            _send(line.inward)

    def _add_addresses(self) -> None:
        at, length = self._road.addresses, self._road.addresses.gateway.max_prefixlen
        nodad = " nodad" if length == 128 else ""
        for number in range(1, self.remotes):
            outer, inner = _nth(at.gateway, number), _nth(at.gateway_inner, number)
            self._road.gateway.namespace.ip(
                "".join(f"addr add {address}/{length} dev {DEVICE}{nodad}\n" for address in (outer, inner))
            )
            self._road.roaming.namespace.ip(f"route add {inner} via {at.gateway} dev {DEVICE} src {at.roaming_inner}\n")


class NatFoundScene(Scene):
    """A tunnel that is in UDP afterwards."""

    encaps = (None, UdpEncap())


class NatLeftScene(Scene):
    """A tunnel that was in UDP before."""

    encaps = (UdpEncap(), None)


class GatewayScene(Scene):
    """Tunnels to several remote ends, all of which follow the one local address that changes."""

    remotes = 3

    def update(self, old: Place, new: Place) -> AddressUpdate:
        """Return what the roaming host is asked for: its own address alone."""
        return AddressUpdate(old.roaming, new.roaming)


class HostScene(Scene):
    """SAs in transport mode between two hosts, with selectors that follow the addresses."""

    is_optional = False

    def send_while_moving(self) -> None:
        """Send from the gateway alone: what the roaming host sends from an address without a policy is in clear."""
        self._send_inward()

    def _tunnels(self, place: Place) -> list[Tunnel]:
        return [Tunnel(place.roaming, place.gateway, ip_network(place.roaming), ip_network(place.gateway), _REQID)]

    def _parts(self, tunnel: Tunnel, outward_spi: int, inward_spi: int) -> State:
        state = super()._parts(tunnel, outward_spi, inward_spi)
        template = Template(mode=Mode.TRANSPORT, reqid=_REQID, optional=self.is_optional)
        return State(
            tuple(replace(sa, mode=Mode.TRANSPORT, selector=_between(sa.source, sa.destination)) for sa in state.sas),
            tuple(
                # Neighbours find each other in clear.
                replace(policy, selector=replace(policy.selector, protocol=UDP), templates=(template,))
                for policy in state.policies
                if policy.direction is not Direction.FORWARD
            ),
        )


class OptionalScene(HostScene):
    """The same with templates that let packets pass in clear where there is no SA; no tunnel may have one."""

    is_optional = True


class NamedScene(HostScene):
    """The same, whose SAs and policies are all named: by what they are called before a move."""

    def update(self, old: Place, new: Place) -> AddressUpdate:
        """Return what the roaming host is asked for, with the names."""
        state = self.state(old)
        sas, policies = tuple(sa.id for sa in state.sas), tuple(policy.id for policy in state.policies)
        return replace(super().update(old, new), sas=sas, policies=policies)


def _strangers(sa: SA) -> SA:
    """Return somebody else's SA in the place of another."""
    assert sa.encryption is not None
    key = Key.generate(len(sa.encryption.key))
    return replace(sa, reqid=STRANGER, encryption=replace(sa.encryption, key=key))


#: What a kernel may lack.
_FEATURES = {Method.ADDRUPDATE: Feature.ADDRUPDATE, Method.MIGRATE_STATE: Feature.MIGRATE_STATE}
Case = tuple[type[Scene], Method] | tuple[type[Scene], Method, str]
#: What each scene can be moved by: MIGRATE takes no encapsulation away, and finds no SA in transport mode.
_BY_SPI = (Method.ADDRUPDATE, Method.MIGRATE_STATE, Method.REPLACE)
_ALL = (*_BY_SPI, Method.MIGRATE)
METHODS: dict[type[Scene], tuple[Method, ...]] = {
    Scene: _ALL,
    GatewayScene: _ALL,
    NatFoundScene: _ALL,
    NatLeftScene: _BY_SPI,
    HostScene: _BY_SPI,
    OptionalScene: _BY_SPI,
    NamedScene: _BY_SPI,
}


def by_method(*names: str, cases: Sequence[Case]) -> pytest.MarkDecorator:
    """Parametrize a test by scene, method and what else there is; a method that the kernel lacks is skipped."""
    params = []
    for case in cases:
        kind, method, *others = case
        marks = requires(_FEATURES[method]) if method in _FEATURES else ()
        name = "-".join([kind.__name__, method.value, *map(str, others)])
        params.append(pytest.param(*case, marks=marks, id=name))
    return pytest.mark.parametrize(names, params)


class _Sockets:
    """The sockets of all lines, one for each address."""

    def __init__(self, road: Road, stack: ExitStack) -> None:
        self._road = road
        self._stack = stack
        self._sockets: dict[IPAddress, socket.socket] = {}

    def line(self, here: IPAddress, there: IPAddress) -> Line:
        """Return the line between two addresses."""
        ours, theirs = self._socket(self._road.roaming, here), self._socket(self._road.gateway, there)
        return Line(here, Stream(ours, theirs), Stream(theirs, ours))

    def _socket(self, host: Host, address: IPAddress) -> socket.socket:
        if address not in self._sockets:
            self._sockets[address] = self._stack.enter_context(open_socket(host, address))
        return self._sockets[address]


def _spi(sa: SA) -> int:
    return sa.id.spi


def _nth(address: IPAddress, number: int) -> IPAddress:
    """Return an address, or one of those after it that nobody else has."""
    return address + number + 2 if number else address


def _ends(tunnel: Tunnel) -> tuple[IPAddress, IPAddress]:
    return prefix_address(tunnel.local_net), prefix_address(tunnel.remote_net)


def _between(source: IPAddress, destination: IPAddress) -> Selector:
    return Selector(ip_network(source), ip_network(destination))


def _send(stream: Stream) -> None:
    with suppress(OSError):
        stream.send_one(0)


def _is_clear(frame: Frame) -> bool:
    inner = {a for at in ADDRESSES.values() for a in (at.roaming_inner, at.gateway_inner)}
    return bool({frame.source, frame.destination} & inner) or (frame.spi is None and PORT in (frame.ports or ()))
