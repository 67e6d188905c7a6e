"""SAs and policies with an if_id take what is routed into the XFRM interface that has it, and nothing else."""

import select
import time
from dataclasses import replace

import pytest
from pyroute2 import IPRoute

from pfkeyx import AES_GCM
from pfkeyx.testing import Traffic
from tests.kernel.interface import IF_ID, INTERFACE, make_interface, route_into_interfaces
from tests.kernel.moves import check_wire, places
from tests.kernel.topology import INWARD_SPI, OUTWARD_SPI, Host, Road
from tests.kernel.traffic import PORT
from tests.kernel.values import encryption, roaming_tunnel

_PATIENCE_S = 120


def write_tunnel(road: Road, roaming_if_id: int, gateway_if_id: int) -> None:
    """Write the SAs and policies of both hosts, each for an interface of its own."""
    here = replace(roaming_tunnel(road.family), if_id=roaming_if_id)
    there = replace(
        here,
        local=here.remote,
        remote=here.local,
        local_net=here.remote_net,
        remote_net=here.local_net,
        if_id=gateway_if_id,
    )
    for host, tunnel, outbound, inbound in (
        (road.roaming, here, OUTWARD_SPI, INWARD_SPI),
        (road.gateway, there, INWARD_SPI, OUTWARD_SPI),
    ):
        suite = encryption(AES_GCM, 20)
        host.engine.add_sas([tunnel.outbound(outbound, suite), tunnel.inbound(inbound, suite)])
        host.engine.add_policies(tunnel.policies())


def counter_of_interface(host: Host, counter: str) -> int:
    """Return one of the counters of a host's interface; `tx_carrier_errors` counts packets without an SA."""

    def look() -> int:
        with IPRoute() as ip:
            (link,) = ip.link("get", ifname=INTERFACE)
        return int(link.get_attr("IFLA_STATS64")[counter])

    return host.namespace.call(look)


def clear_and_esp(road: Road) -> tuple[int, int]:
    """Return how many packets of the test's in clear, and how many of ESP, both hosts have sent."""
    frames = [*road.roaming.wire.frames(), *road.gateway.wire.frames()]
    clear = [frame for frame in frames if frame.ports == (PORT, PORT)]
    return len(clear), len([frame for frame in frames if frame.spi is not None])


def test_what_is_routed_into_the_interface_arrives_and_is_encrypted_on_the_wire(road: Road, traffic: Traffic) -> None:
    write_tunnel(road, IF_ID, IF_ID)
    for host in (road.roaming, road.gateway):
        make_interface(host, IF_ID)
    route_into_interfaces(road)
    traffic.send()
    check_wire(road, places(road.family)[:1])
    assert clear_and_esp(road) == (0, 6)


def test_what_is_not_routed_into_the_interface_passes_its_policies_by(road: Road, traffic: Traffic) -> None:
    write_tunnel(road, IF_ID, IF_ID)
    for host in (road.roaming, road.gateway):
        make_interface(host, IF_ID)
    traffic.send()
    assert clear_and_esp(road) == (6, 0)
    assert all(sa.usage is not None and sa.usage.packets == 0 for sa in road.roaming.engine.dump_sas())


def test_an_interface_sends_nothing_through_the_sas_of_another_if_id(road: Road, traffic: Traffic) -> None:
    write_tunnel(road, IF_ID + 1, IF_ID)
    for host in (road.roaming, road.gateway):
        make_interface(host, IF_ID)
    route_into_interfaces(road)
    for number in range(3):
        traffic.outward.sender.sendto(bytes([number]), traffic.outward.destination)
    assert counter_of_interface(road.roaming, "tx_carrier_errors") >= 3
    assert clear_and_esp(road) == (0, 0)


def test_policies_without_an_if_id_take_what_is_routed_into_an_interface_before_it_does(
    road: Road, traffic: Traffic
) -> None:
    write_tunnel(road, 0, 0)
    for host in (road.roaming, road.gateway):
        make_interface(host, IF_ID)
    route_into_interfaces(road)
    traffic.send()
    assert clear_and_esp(road) == (0, 6)
    assert counter_of_interface(road.roaming, "tx_packets") == 0


@pytest.mark.parametrize("if_id", [0, IF_ID + 1])
def test_an_interface_receives_nothing_from_the_sas_of_another_if_id(road: Road, traffic: Traffic, if_id: int) -> None:
    write_tunnel(road, IF_ID, if_id)
    # What a bare SA has unwrapped is for a bare policy, which would let it pass.
    for policy in road.gateway.engine.dump_policies():
        road.gateway.engine.delete_policy(policy.id)
        road.gateway.engine.add_policy(replace(policy, if_id=IF_ID, index=0))
    for host in (road.roaming, road.gateway):
        make_interface(host, IF_ID)
    route_into_interfaces(road)
    for number in range(3):
        traffic.outward.sender.sendto(bytes([number]), traffic.outward.destination)
    deadline = time.monotonic() + _PATIENCE_S
    while road.gateway.namespace.dropped()["XfrmInNoPols"] < 3:
        assert time.monotonic() < deadline, "the gateway did not refuse what it received"
        time.sleep(0.1)
    assert not select.select([traffic.outward.receiver], (), (), 0)[0], f"something came to port {PORT}"
    assert clear_and_esp(road) == (0, 3)
