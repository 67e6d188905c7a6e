"""Tunnels between real containers: laid, used, moved, taken over and taken down from inside, the wire in view."""

import json
import subprocess

from tests.docker import wire
from tests.docker.node import Node
from tests.docker.tunnel import CLIENT, GATEWAY_A, HOST_A, INWARD_SPI, MOBILE, OUTWARD_SPI, Tunnel

HOME, NAT, NAT_PORT = "192.168.7.2", "203.0.113.1", "24500"
MOBILE_6, GATEWAY_A_6 = "2001:db8:2::2", "2001:db8:1::10"
GATEWAY_B = "203.0.113.20"
#: The gateway of the hosts in office A.
OFFICE = "10.1.0.1/24"


def assert_nothing_in_clear_and_nothing_repeated(tunnel: Tunnel) -> None:
    log = tunnel.log()
    assert wire.in_clear(log) == []
    assert wire.repeated(wire.esp(log)) == []


def test_without_the_capability_the_command_says_so_in_one_line() -> None:
    command = ["docker", "run", "--rm", "--network", "none", "pfkeyx", "sa", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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


def test_a_tunnel_goes_with_the_client_through_a_nat_and_back_and_to_ipv6(tunnel: Tunnel) -> None:
    with tunnel.client.pinging(HOST_A):
        tunnel.wait_for_traffic(MOBILE, GATEWAY_A)
        tunnel.move(
            client=["--local", HOME, "--encap", "udp:4500:4500"],
            gateway=["--remote", NAT, "--encap", f"udp:4500:{NAT_PORT}"],
        )
        # The router sees what comes in: from the client before it is translated, from the gateway likewise.
        wanted_out, wanted_in = (f"{HOME}.4500", f"{GATEWAY_A}.4500"), (f"{GATEWAY_A}.4500", f"{NAT}.{NAT_PORT}")
        tunnel.wait_for_packets({(*wanted_out, OUTWARD_SPI), (*wanted_in, INWARD_SPI)})
        tunnel.move(
            client=["--local", MOBILE_6, "--remote", GATEWAY_A_6, "--no-encap"],
            gateway=["--local", GATEWAY_A_6, "--remote", MOBILE_6, "--no-encap"],
        )
        tunnel.wait_for_traffic(MOBILE_6, GATEWAY_A_6)
        tunnel.nodes["host-a"].ping(CLIENT)
    assert_nothing_in_clear_and_nothing_repeated(tunnel)
    for node in (tunnel.client, tunnel.gateway):
        said = "\n".join(node.log())
        for spi in (OUTWARD_SPI, INWARD_SPI):
            assert f"sa  added  esp {spi:#x}" in said
            assert f"migrate  esp {spi:#x}" in said


def test_a_second_gateway_takes_over_at_its_own_address(tunnel: Tunnel) -> None:
    gateway_a, gateway_b = tunnel.nodes["gateway-a"], tunnel.nodes["gateway-b"]
    office_at_a, office_at_b = gateway_a.device_of("10.1.0.1"), gateway_b.device_of("10.1.0.2")
    with tunnel.client.pinging(HOST_A):
        tunnel.wait_for_traffic(MOBILE, GATEWAY_A)
        document = gateway_a.pfkeyx("export", "--show-keys")
        tunnel.delete_at(gateway_a)
        gateway_a.run("ip", "address", "delete", OFFICE, "dev", office_at_a)
        take_over_the_office(gateway_b, office_at_b)
        try:
            # More than gateway A can have sent after the export.
            gateway_b.pfkeyx("apply", "--ahead", "4096", "--yes", "-", text=document)
            tunnel.gateway = gateway_b
            tunnel.move_at(gateway_b, "--local", GATEWAY_B)
            tunnel.move_at(tunnel.client, "--remote", GATEWAY_B)
            tunnel.wait_for_traffic(MOBILE, GATEWAY_B)
        finally:
            gateway_b.run("ip", "address", "delete", OFFICE, "dev", office_at_b)
            take_over_the_office(gateway_a, office_at_a)
    assert_nothing_in_clear_and_nothing_repeated(tunnel)


def take_over_the_office(gateway: Node, device: str) -> None:
    """Give a gateway the address that the office's hosts know, and have host A learn who has it now."""
    gateway.run("ip", "address", "add", OFFICE, "dev", device)
    gateway.run("ping", "-n", "-q", "-c", "1", "-w", "120", "-I", OFFICE.partition("/")[0], HOST_A)


def test_both_interfaces_of_the_kernel_are_there(nodes: dict[str, Node]) -> None:
    for engine in ("xfrm", "pfkey"):
        assert nodes["client"].pfkeyx("sa", "count", "--engine", engine).startswith("0 SAs")
