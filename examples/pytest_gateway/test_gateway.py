"""The product's tests: two gateways on a wire, a host behind each, and what is seen on the wire."""

from collections.abc import Iterator

import pytest
from gateway import Child, Gateway

from pfkeyx import AES_GCM, Encryption, Engine, Feature, Key, Tunnel
from pfkeyx.testing import Frame, Network
from pfkeyx.tunnels import TunnelState, find_tunnels

OUTWARD_SPI, INWARD_SPI = 0xC0FFEE01, 0xC0FFEE02


@pytest.fixture
def gateways(pfkeyx_network: Network) -> Iterator[tuple[Gateway, Gateway]]:
    """Return the product at both ends, where nothing passes yet."""
    here, there = pfkeyx_network.local, pfkeyx_network.remote
    tunnel = Tunnel(here.address, there.address, here.net, there.net, reqid=1)
    outward, inward = (Child(spi, Encryption(AES_GCM, Key.generate(36))) for spi in (OUTWARD_SPI, INWARD_SPI))
    with (
        Gateway(tunnel, outward, inward) as local,
        Gateway(tunnel.reversed(), inward, outward, netns=there.gateway.path) as remote,
    ):
        for gateway in (local, remote):
            gateway.guard()
        yield local, remote


@pytest.fixture
def up(gateways: tuple[Gateway, Gateway]) -> tuple[Gateway, Gateway]:
    """Return the product at both ends, with the tunnel up."""
    for gateway in gateways:
        gateway.up()
    return gateways


def numbers(frames: list[Frame]) -> list[int]:
    """Return sequence numbers, in the order in which they were sent."""
    return [frame.sequence for frame in frames]


@pytest.mark.parametrize("pfkeyx_ip_version", [4, 6])
@pytest.mark.usefixtures("up")
def test_a_ping_goes_through_the_tunnel(pfkeyx_network: Network) -> None:
    here, there = pfkeyx_network.local, pfkeyx_network.remote
    here.host.run("ping", "-c", "2", "-i", "0.2", str(there.host_address))
    assert pfkeyx_network.in_clear() == []
    assert [(frame.spi, frame.sequence) for frame in here.esp()] == [(OUTWARD_SPI, 1), (OUTWARD_SPI, 2)]
    assert [(frame.spi, frame.sequence) for frame in there.esp()] == [(INWARD_SPI, 1), (INWARD_SPI, 2)]


def test_nothing_passes_while_the_tunnel_is_down(up: tuple[Gateway, Gateway], pfkeyx_network: Network) -> None:
    local, _ = up
    local.down()
    pfkeyx_network.traffic.outward.send_one(1)
    local.up()
    pfkeyx_network.traffic.send()
    assert pfkeyx_network.in_clear() == []
    assert pfkeyx_network.local.gateway.dropped()["XfrmOutNoStates"] > 0


def test_a_tunnel_moves_while_it_is_used(up: tuple[Gateway, Gateway], pfkeyx_network: Network) -> None:
    local, remote = up
    here, there = pfkeyx_network.local, pfkeyx_network.remote
    with pfkeyx_network.traffic.flood():
        local.move(here.new_address, there.address)
        remote.move(there.address, here.new_address)
        pfkeyx_network.traffic.wait_until_it_flows()
    assert pfkeyx_network.in_clear() == []
    assert [*dict.fromkeys(frame.source for frame in here.esp())] == [here.address, here.new_address]
    for site in (here, there):
        assert numbers(site.esp()) == sorted(set(numbers(site.esp())))


@pytest.mark.pfkeyx_requires(Feature.MIGRATE_STATE)
def test_a_move_leaves_no_number_out(up: tuple[Gateway, Gateway], pfkeyx_network: Network) -> None:
    local, remote = up
    here, there = pfkeyx_network.local, pfkeyx_network.remote
    pfkeyx_network.traffic.send(2)
    # Both ends have addresses of the other IP version, too.
    local.move(here.addresses[6][0], there.addresses[6][0])
    remote.move(there.addresses[6][0], here.addresses[6][0])
    pfkeyx_network.traffic.send(2)
    assert numbers(here.esp()) == numbers(there.esp()) == [1, 2, 3, 4]
    assert [frame.source.version for frame in here.esp()] == [4, 4, 6, 6]


@pytest.mark.parametrize("pfkeyx_engine_name", ["xfrm", "pfkey"])
@pytest.mark.usefixtures("pfkeyx_tunnel")
def test_a_tunnel_of_somebody_else_is_seen(pfkeyx_engine: Engine) -> None:
    (found,) = find_tunnels(pfkeyx_engine.dump_sas(), pfkeyx_engine.dump_policies()).tunnels
    assert found.state is TunnelState.UP
