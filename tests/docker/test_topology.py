"""Tunnels between real containers: laid, used, moved, taken over and taken down from inside, the wire in view."""

import json
import subprocess

import pytest

from tests.docker.conftest import Lay
from tests.docker.node import Node
from tests.docker.tunnel import End, Tunnel

MOBILE, MOBILE_6, HOME = "198.51.100.2", "2001:db8:2::2", "192.168.7.2"
NAT, NAT_PORT = "203.0.113.1", "24500"
GATEWAY_A, GATEWAY_A_6, GATEWAY_B = "203.0.113.10", "2001:db8:1::10", "192.0.2.20"
#: What the client is called inside, and what is behind the gateways.
CLIENT, HOST_A, HOST_B, HOST_A_6, HOST_B_6 = "10.9.0.1", "10.1.0.10", "10.2.0.10", "fd00:1::10", "fd00:2::10"
OFFICE_A, OFFICE_B, OFFICE_A_6, OFFICE_B_6 = "10.1.0.0/24", "10.2.0.0/24", "fd00:1::/64", "fd00:2::/64"
#: The gateway of the hosts in office A, whichever that is.
OFFICE_GATEWAY = "10.1.0.1"


@pytest.fixture
def tunnel(nodes: dict[str, Node], lay: Lay) -> Tunnel:
    """Lay a tunnel from the client, on the mobile network, to gateway A."""
    return lay(End(nodes["client"], MOBILE, f"{CLIENT}/32"), End(nodes["gateway-a"], GATEWAY_A, OFFICE_A))


def test_with_the_capability_the_command_runs_and_without_it_says_so_in_one_line() -> None:
    run, command = ["docker", "run", "--rm", "--network", "none"], ["pfkeyx", "sa", "list"]
    done = subprocess.run([*run, "--cap-add", "NET_ADMIN", *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 SAs\n", "")
    done = subprocess.run([*run, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("pfkeyx: dump SAs: Operation not permitted (needs CAP_NET_ADMIN")


def test_the_images_are_small_and_run_as_nobody_special() -> None:
    for image in ("pfkeyx", "pfkeyx-node"):
        (said,) = json.loads(
            subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=True).stdout
        )
        assert said["Size"] < 200_000_000
        assert said["Config"]["User"] == "pfkeyx"


def test_a_tunnel_goes_with_the_client_through_a_nat_and_back_and_to_ipv6(
    nodes: dict[str, Node], tunnel: Tunnel
) -> None:
    with nodes["client"].pinging(HOST_A):
        tunnel.wait_for_traffic(MOBILE, GATEWAY_A)
        tunnel.move(
            here=["--local", HOME, "--encap", "udp:4500:4500"],
            there=["--remote", NAT, "--encap", f"udp:4500:{NAT_PORT}"],
        )
        # The router sees what comes in: from the client before it is translated, from the gateway likewise.
        tunnel.wait_for_packets((f"{HOME}.4500", f"{GATEWAY_A}.4500"), (f"{GATEWAY_A}.4500", f"{NAT}.{NAT_PORT}"))
        tunnel.move(here=["--local", MOBILE, "--no-encap"], there=["--remote", MOBILE, "--no-encap"])
        tunnel.wait_for_traffic(MOBILE, GATEWAY_A)
        tunnel.move(
            here=["--local", MOBILE_6, "--remote", GATEWAY_A_6], there=["--local", GATEWAY_A_6, "--remote", MOBILE_6]
        )
        tunnel.wait_for_traffic(MOBILE_6, GATEWAY_A_6)
        nodes["host-a"].ping(CLIENT)
    for name, uplinks in (("client", (MOBILE, HOME)), ("gateway-a", (MOBILE, NAT))):
        told = "\n".join(nodes[name].log())
        for here, there in (*((uplink, GATEWAY_A) for uplink in uplinks), (MOBILE_6, GATEWAY_A_6)):
            assert f"{here} -> {there}" in told
            assert f"{there} -> {here}" in told


def test_a_tunnel_is_listed_and_told_of_where_it_is(compose: list[str], tunnel: Tunnel) -> None:
    listed = subprocess.run(
        [*compose, "exec", "-T", "client", "pfkeyx", "tunnel", "list"], capture_output=True, text=True, check=True
    )
    assert f"{MOBILE} - {GATEWAY_A}" in listed.stdout
    told = subprocess.run([*compose, "logs", "gateway-a"], capture_output=True, text=True, check=True)
    assert f"sa  added  esp {tunnel.outward_spi:#x}" in told.stdout


def test_where_a_gateway_fails_the_other_takes_over_at_its_own_address(nodes: dict[str, Node], tunnel: Tunnel) -> None:
    client, gateway_a, gateway_b = nodes["client"], nodes["gateway-a"], nodes["gateway-b"]
    devices = [gateway_a.device_of(address) for address in (GATEWAY_A, OFFICE_GATEWAY)]
    standby_device = gateway_b.device_of("10.1.0.2")
    try:
        with client.pinging(HOST_A):
            tunnel.wait_for_traffic(MOBILE, GATEWAY_A)
            document = gateway_a.pfkeyx("export", "--show-keys")
            for device in devices:
                gateway_a.run("ip", "link", "set", device, "down")
            # More than gateway A can have sent after the export.
            gateway_b.pfkeyx("apply", "--ahead", "4096", "--yes", "-", text=document)
            gateway_b.run("ip", "address", "add", f"{OFFICE_GATEWAY}/24", "dev", standby_device)
            have_the_office(gateway_b)
            tunnel.there = End(gateway_b, GATEWAY_B, OFFICE_A)
            tunnel.move(here=["--remote", GATEWAY_B], there=["--local", GATEWAY_B])
            tunnel.wait_for_traffic(MOBILE, GATEWAY_B)
    finally:
        tunnel.delete_at(gateway_a)
        gateway_b.run("ip", "address", "delete", f"{OFFICE_GATEWAY}/24", "dev", standby_device)
        for device in devices:
            gateway_a.run("ip", "link", "set", device, "up")
        gateway_a.run("ip", "route", "replace", "default", "via", NAT)
        gateway_a.run("ip", "-6", "route", "replace", "default", "via", "2001:db8:1::1")
        have_the_office(gateway_a)


def have_the_office(gateway: Node) -> None:
    """Have host A learn which gateway has the address of its router now."""
    gateway.run("ping", "-n", "-q", "-c", "1", "-w", "60", "-I", OFFICE_GATEWAY, HOST_A)


def test_two_gateways_join_their_offices_for_ipv4_and_ipv6_over_either_interface_of_the_kernel(
    nodes: dict[str, Node], lay: Lay
) -> None:
    a, b = nodes["gateway-a"], nodes["gateway-b"]
    four = lay(End(a, GATEWAY_A, OFFICE_A), End(b, GATEWAY_B, OFFICE_B), "xfrm")
    six = lay(End(a, GATEWAY_A, OFFICE_A_6), End(b, GATEWAY_B, OFFICE_B_6), "pfkey")
    for host, other in (("host-a", HOST_B), ("host-b", HOST_A), ("host-a", HOST_B_6), ("host-b", HOST_A_6)):
        nodes[host].ping(other)
    for tunnel in (four, six):
        tunnel.wait_for_traffic(GATEWAY_A, GATEWAY_B)
    for engine in ("xfrm", "pfkey"):
        assert a.pfkeyx("sa", "count", "--engine", engine).startswith("4 SAs")
