"""What is made over one kernel interface alone carries packets, and the wire shows how they are wrapped."""

import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from types import TracebackType
from typing import Self

import pytest

from pfkeyx import (
    DEFLATE,
    SA,
    Direction,
    Engine,
    Lifetime,
    Limit,
    Mode,
    NotFoundError,
    Policy,
    Protocol,
    SAId,
    SAState,
    Selector,
    Template,
    UdpEncap,
    Usage,
)
from pfkeyx.model import IPAddress, any_selector
from pfkeyx.opening import EngineName
from pfkeyx.testing import Stream, Traffic
from pfkeyx.testing.wire import ETH_P_ALL, enlarge
from tests.kernel.topology import DEVICE, Host, Road
from tests.kernel.values import ADDRESSES, authentication, encryption

ESP, AH, IPCOMP = Protocol.ESP, Protocol.AH, Protocol.IPCOMP
TRANSPORT, TUNNEL = Mode.TRANSPORT, Mode.TUNNEL
UDP, ICMPV6 = 17, 58
IP = {4: 4, 6: 41}
PAYLOAD = bytes(1000)
_PATIENCE_S = 120
_TRIES = 1200


@dataclass(frozen=True, slots=True)
class Layer:
    """One wrapping. A tunnel may be between addresses of the other IP version."""

    protocol: Protocol
    mode: Mode
    is_in_other_family: bool = False
    encap: UdpEncap | None = None


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection: its SAs, outbound ones first, and its policies."""

    sas: tuple[SA, ...]
    policies: tuple[Policy, Policy]

    def write(self, host: Host, interface: EngineName) -> None:
        """Write it into a host over a kernel interface."""
        with host.open(interface) as engine:
            engine.add_sas(self.sas)
            engine.add_policies(self.policies)


def _ends(family: int, layers: Sequence[Layer]) -> tuple[End, End]:
    """Return both ends of what wraps the inner packets of a family, the roaming host's first; innermost layer first."""
    at = ADDRESSES[family]
    outward = _way(family, layers, 0x1000)
    inward = [_reversed(layer, sa, 0x2000) for layer, sa in zip(layers, outward, strict=True)]
    here, there = at.roaming_net, at.gateway_net
    return (
        End((*outward, *inward), _policies(Selector(here, there), outward, inward)),
        End((*inward, *outward), _policies(Selector(there, here), inward, outward)),
    )


def _way(family: int, layers: Sequence[Layer], first_spi: int) -> list[SA]:
    """Return the SAs that wrap what goes out of the roaming host."""
    source, destination = ADDRESSES[family].roaming_inner, ADDRESSES[family].gateway_inner
    sas = []
    for number, layer in enumerate(layers):
        inner_family = source.version
        if layer.mode is TUNNEL:
            outer = ADDRESSES[10 - family if layer.is_in_other_family else family]
            source, destination = outer.roaming, outer.gateway
        sa = SA(
            SAId(destination, first_spi + number, layer.protocol),
            source,
            layer.mode,
            reqid=1 + number,
            encryption=encryption() if layer.protocol is ESP else None,
            authentication=authentication() if layer.protocol is not IPCOMP else None,
            compression=DEFLATE if layer.protocol is IPCOMP else None,
            # IPComp has no sequence numbers: with a window, every packet would be one that came already.
            replay_window=0 if layer.protocol is IPCOMP else 32,
            encap=layer.encap,
            selector=any_selector(inner_family) if inner_family != source.version else None,
        )
        sas.append(sa)
    return sas


def _reversed(layer: Layer, sa: SA, first_spi: int) -> SA:
    """Return the SA of the other direction."""
    spi = first_spi + sa.id.spi % 0x1000
    encap = layer.encap.reversed() if layer.encap else None
    return replace(sa, id=SAId(sa.source, spi, sa.id.protocol), source=sa.destination, encap=encap)


def _policies(outward: Selector, outbound: Sequence[SA], inbound: Sequence[SA]) -> tuple[Policy, Policy]:
    inward = Selector(outward.destination, outward.source)
    return (
        Policy(outward, Direction.OUT, tuple(_template(sa) for sa in outbound)),
        # What is too short to be compressed arrives without IPComp (RFC 3173 §2.2).
        Policy(inward, Direction.IN, tuple(_optional(sa) if sa.compression else _template(sa) for sa in inbound)),
    )


def _template(sa: SA) -> Template:
    source, destination = (sa.source, sa.destination) if sa.mode is TUNNEL else (None, None)
    return Template(sa.id.protocol, sa.mode, source, destination, sa.reqid)


def _optional(sa: SA) -> Template:
    return replace(_template(sa), reqid=0, optional=True)


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet on the wire: its outermost addresses, the protocols of its headers that can be read, and its size."""

    source: IPAddress
    destination: IPAddress
    protocols: tuple[int, ...]
    size: int


class Tap:
    """Listens to the packets that a host sends, other than those with which IPv6 finds its neighbours."""

    def __init__(self, host: Host) -> None:
        self._socket = host.namespace.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM))
        enlarge(self._socket)
        host.namespace.call(lambda: self._socket.bind((DEVICE, ETH_P_ALL)))
        self._socket.setblocking(False)

    def packets(self) -> list[Packet]:
        """Return the packets that were sent since the last time."""
        packets = []
        with suppress(BlockingIOError):
            while True:
                data, (_, _, packet_type, *_) = self._socket.recvfrom(2048)
                if packet_type == socket.PACKET_OUTGOING and data[0] >> 4 in (4, 6):
                    packets.append(_parse(data))
        return [it for it in packets if it.protocols != (ICMPV6,) and not it.destination.is_multicast]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()


def _parse(data: bytes) -> Packet:
    ends, protocol, rest = (data[12:20], data[9], data[20:]) if data[0] >> 4 == 4 else (data[8:40], data[6], data[40:])
    half = len(ends) // 2
    protocols = [protocol]
    while protocols[-1] == AH:
        # RFC 4302 §2: the next header, and the length in 4 octets, less 2.
        protocols.append(rest[0])
        rest = rest[4 * (rest[1] + 2) :]
    return Packet(ip_address(ends[:half]), ip_address(ends[half:]), tuple(protocols), len(data))


def _carry(stream: Stream, payload: bytes = PAYLOAD) -> None:
    """Send a packet and wait until it arrives."""
    stream.sender.sendto(payload, stream.destination)
    arrived, *_ = select.select([stream.receiver], (), (), _PATIENCE_S)
    assert arrived, f"no packet came to {stream.destination} in {_PATIENCE_S} s"
    assert stream.receiver.recv(2048) == payload


@pytest.fixture
def tap(road: Road) -> Iterator[Tap]:
    """Listen to what the roaming host sends."""
    with Tap(road.roaming) as tap:
        yield tap


OVER_UDP = UdpEncap(4500, 4500)
CASES = {
    "ESP-transport": ([Layer(ESP, TRANSPORT)], [ESP]),
    "ESP-tunnel": ([Layer(ESP, TUNNEL)], [ESP]),
    "ESP-tunnel-in-the-other-IP-version": ([Layer(ESP, TUNNEL, is_in_other_family=True)], [ESP]),
    "ESP-tunnel-in-UDP": ([Layer(ESP, TUNNEL, encap=OVER_UDP)], [UDP]),
    "AH-transport": ([Layer(AH, TRANSPORT)], [AH, UDP]),
    "AH-tunnel": ([Layer(AH, TUNNEL)], [AH, IP]),
    "AH-tunnel-in-the-other-IP-version": ([Layer(AH, TUNNEL, is_in_other_family=True)], [AH, IP]),
    "ESP-in-AH": ([Layer(ESP, TRANSPORT), Layer(AH, TRANSPORT)], [AH, ESP]),
    "ESP-tunnel-in-AH": ([Layer(ESP, TUNNEL), Layer(AH, TRANSPORT)], [AH, ESP]),
    "IPComp-in-ESP": ([Layer(IPCOMP, TRANSPORT), Layer(ESP, TRANSPORT)], [ESP]),
    "IPComp-tunnel-in-ESP": ([Layer(IPCOMP, TUNNEL), Layer(ESP, TRANSPORT)], [ESP]),
}


@pytest.mark.parametrize(("layers", "protocols"), CASES.values(), ids=CASES)
def test_packets_are_wrapped_and_arrive(
    engine_name: EngineName,
    road: Road,
    traffic: Traffic,
    tap: Tap,
    layers: list[Layer],
    protocols: list[Protocol | int | dict[int, int]],
) -> None:
    here, there = _ends(road.family, layers)
    here.write(road.roaming, engine_name)
    there.write(road.gateway, engine_name)
    if layers[0].encap:
        road.decapsulate(4500)
    for payload in (PAYLOAD, b"too short to be compressed"):
        _carry(traffic.outward, payload)
        _carry(traffic.inward, payload)
    outermost = here.sas[len(layers) - 1]
    numbers = tuple(it[road.family] if isinstance(it, dict) else int(it) for it in protocols)
    packets = tap.packets()
    assert [packet.protocols for packet in packets] == [numbers] * 2
    assert {(packet.source, packet.destination) for packet in packets} == {(outermost.source, outermost.destination)}
    is_compressed = layers[0].protocol is IPCOMP
    assert (packets[0].size < len(PAYLOAD)) == is_compressed
    for host, end in ((road.roaming, here), (road.gateway, there)):
        with host.open(engine_name) as engine:
            for sa in end.sas:
                read = engine.get_sa(sa.id)
                # Of a selector of another IP version than its own, PF_KEY shows that there is one and no more.
                assert read.as_written() == (replace(sa, selector=None) if engine_name == "pfkey" else sa)
                assert read.usage is not None
                assert read.usage.packets == (1 if sa.compression and sa in end.sas[len(layers) :] else 2)


@pytest.mark.parametrize("family", [6], indirect=True)
def test_octets_end_an_sa(engine: Engine, engine_name: EngineName, road: Road, traffic: Traffic, tap: Tap) -> None:
    here, there = _ends(road.family, [Layer(ESP, TRANSPORT)])
    outbound, inbound = here.sas
    limits = Lifetime(soft=Limit(octets=1500), hard=Limit(octets=3500))
    replace(here, sas=(replace(outbound, lifetime=limits), inbound)).write(road.roaming, engine_name)
    there.write(road.gateway, engine_name)
    states = []
    for _ in range(_TRIES):
        try:
            states.append(engine.get_sa(outbound.id).state)
        except NotFoundError:
            break
        with suppress(OSError):
            traffic.outward.sender.sendto(PAYLOAD, traffic.outward.destination)
    else:
        pytest.fail(f"{outbound.id} outlived {_TRIES} packets")
    # One that is over may be seen until the kernel has taken it away, and XFRM tells no state.
    assert set(states) - {SAState.DEAD} == ({SAState.MATURE, SAState.DYING} if engine.name == "pfkey" else {None})
    with suppress(OSError):
        traffic.outward.sender.sendto(PAYLOAD, traffic.outward.destination)
    packets = tap.packets()
    assert {packet.protocols for packet in packets} == {(int(ESP),)}
    assert 3 <= len(packets) <= 4


@pytest.mark.parametrize("family", [4], indirect=True)
@pytest.mark.parametrize("limit", [Limit(seconds=1), Limit(idle_seconds=1)], ids=["age", "disuse"])
def test_a_policy_ends_by(engine: Engine, road: Road, traffic: Traffic, tap: Tap, limit: Limit) -> None:
    here, _ = _ends(road.family, [Layer(ESP, TRANSPORT)])
    out, _ = here.policies
    engine.add_policy(replace(out, lifetime=Lifetime(hard=limit)))
    for _ in range(_TRIES):
        if not engine.dump_policies():
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"{out.id} was there {_TRIES} times")
    with pytest.raises(NotFoundError):
        engine.get_policy(out.id)
    _carry(traffic.outward)
    assert [packet.protocols for packet in tap.packets()] == [(UDP,)]


@pytest.mark.parametrize("family", [6], indirect=True)
def test_a_policy_tells_when_it_was_used_and_counts_nothing(
    engine: Engine, engine_name: EngineName, road: Road, traffic: Traffic
) -> None:
    here, there = _ends(road.family, [Layer(ESP, TRANSPORT)])
    here.write(road.roaming, engine_name)
    there.write(road.gateway, engine_name)
    before = _usages(engine)
    assert [usage.first_used for usage in before] == [0, 0]
    _carry(traffic.outward)
    _carry(traffic.inward)
    after = _usages(engine)
    assert all(usage.first_used >= usage.added > 0 for usage in after)
    assert [(usage.octets, usage.packets) for usage in after] == [(0, 0)] * 2


def _usages(engine: Engine) -> list[Usage]:
    return [policy.usage for policy in engine.dump_policies() if policy.usage is not None]


@pytest.mark.parametrize("family", [4], indirect=True)
def test_an_optional_template_lets_in_what_is_not_wrapped(
    engine_name: EngineName, road: Road, traffic: Traffic, tap: Tap
) -> None:
    here, there = _ends(road.family, [Layer(ESP, TRANSPORT)])
    there.write(road.gateway, engine_name)
    _, inbound = there.policies
    traffic.outward.sender.sendto(b"in clear, and dropped", traffic.outward.destination)
    with road.gateway.open(engine_name) as engine:
        engine.update_policy(replace(inbound, templates=tuple(_optional(sa) for sa in here.sas[:1])))
    _carry(traffic.outward, b"in clear")
    here.write(road.roaming, engine_name)
    _carry(traffic.outward, b"wrapped")
    assert [packet.protocols for packet in tap.packets()] == [(UDP,), (UDP,), (int(ESP),)]


@pytest.mark.parametrize("family", [6], indirect=True)
def test_an_optional_template_lets_out_what_has_no_sa(
    engine_name: EngineName, road: Road, traffic: Traffic, tap: Tap
) -> None:
    here, there = _ends(road.family, [Layer(ESP, TRANSPORT)])
    out, _ = here.policies
    # Outbound a template finds SAs of its own reqid only, and an optional one has none.
    outbound = replace(here.sas[0], reqid=0)
    with road.roaming.open(engine_name) as engine, road.gateway.open(engine_name) as gateway:
        engine.add_policy(replace(out, templates=(_optional(outbound),)))
        gateway.add_sas(there.sas)
        _carry(traffic.outward, b"in clear")
        engine.add_sa(outbound)
        _carry(traffic.outward, b"wrapped")
    assert [packet.protocols for packet in tap.packets()] == [(UDP,), (int(ESP),)]
