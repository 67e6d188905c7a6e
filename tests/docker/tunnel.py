"""The tunnel from the client to office A: laid, used and moved with pfkeyx from inside the containers."""

import secrets
import time

import pytest

from tests.docker import wire
from tests.docker.node import Node

REQID = "7"
OUTWARD_SPI, INWARD_SPI = 0xC0FFEE01, 0xC0FFEE02
MOBILE, GATEWAY_A = "198.51.100.2", "203.0.113.10"
HOST_A, CLIENT = "10.1.0.10", "10.9.0.1"
_PATIENCE_S = 300


class Tunnel:
    """Between the client and the gateway that has it at the moment; `since` is where the router's log began with it."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self.nodes = nodes
        self.client = nodes["client"]
        self.gateway = nodes["gateway-a"]
        self._since = len(nodes["router"].log())

    def add(self) -> None:
        """Lay both ends, which have the same keys."""
        outward, inward = (f"0x{secrets.token_hex(36)}\n" for _ in range(2))
        common = ["--reqid", REQID, "--encryption", "aes-gcm", "--key-file", "-"]
        here = ["--local", MOBILE, "--local-net", f"{CLIENT}/32", "--spi-out", hex(OUTWARD_SPI)]
        there = ["--remote", GATEWAY_A, "--remote-net", "10.1.0.0/24", "--spi-in", hex(INWARD_SPI)]
        self.client.pfkeyx("tunnel", "add", *common, *here, *there, text=outward + inward)
        here = ["--remote", MOBILE, "--remote-net", f"{CLIENT}/32", "--spi-in", hex(OUTWARD_SPI)]
        there = ["--local", GATEWAY_A, "--local-net", "10.1.0.0/24", "--spi-out", hex(INWARD_SPI)]
        self.gateway.pfkeyx("tunnel", "add", *common, *here, *there, text=inward + outward)

    def delete(self) -> None:
        """Take it down, and see that neither end has anything left."""
        for node in (self.client, self.gateway):
            self.delete_at(node)
        for name in ("client", "gateway-a", "gateway-b"):
            for kind in ("sa", "policy"):
                assert self.nodes[name].pfkeyx(kind, "count").startswith("0 "), f"{name} has something left"

    def move_at(self, node: Node, *words: str) -> None:
        """Move one end."""
        assert "moved 2 SAs and 3 policies" in node.pfkeyx("tunnel", "move", "--reqid", REQID, "--yes", *words)

    def delete_at(self, node: Node) -> None:
        """Take one end down."""
        node.pfkeyx("tunnel", "delete", "--reqid", REQID)

    def move(self, *, client: list[str], gateway: list[str]) -> None:
        """Move both ends, the client's first."""
        self.move_at(self.client, *client)
        self.move_at(self.gateway, *gateway)

    def log(self) -> list[str]:
        """Return what the router has seen since the tunnel is there."""
        return self.nodes["router"].log()[self._since :]

    def wait_for_traffic(self, here: str, there: str) -> None:
        """Wait until packets have gone both ways between these ends, as the router sees them."""
        self.wait_for_packets({(here, there, OUTWARD_SPI), (there, here, INWARD_SPI)})

    def wait_for_packets(self, wanted: set[tuple[str, str, int]]) -> None:
        """Wait until the router has seen ESP packets with these sources, destinations and SPIs."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if wanted <= {(packet.source, packet.destination, packet.spi) for packet in wire.esp(self.log())}:
                return
            time.sleep(1)
        pytest.fail(f"the router has not seen {wanted} in {_PATIENCE_S} s:\n" + "\n".join(self.log()[-10:]))
