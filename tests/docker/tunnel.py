"""A tunnel between two containers of the topology: laid, used and moved with pfkeyx from inside them."""

import itertools
import secrets
import time
from dataclasses import dataclass

import pytest

from tests.docker import wire
from tests.docker.node import Node

_PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class End:
    """One end of a tunnel: its container, its address outside, and the network behind it."""

    node: Node
    address: str
    network: str


class Tunnel:
    """Between `here` and `there`, with SPIs that no other has; what the router saw says how it fares."""

    _numbers = itertools.count(1)

    def __init__(self, here: End, there: End, router: Node) -> None:
        number = next(self._numbers)
        self.here, self.there = here, there
        self.outward_spi, self.inward_spi = 0xC0FFEE00 + 2 * number, 0xC0FFEE01 + 2 * number
        self._reqid = str(number)
        self._router = router
        self._since = 0

    def add(self, engine: str) -> None:
        """Lay both ends, which have the same keys, over one interface of the kernel."""
        # PF_KEY has no combined modes, and cuts longer hashes than SHA-1 as nobody else does.
        outward, inward = (f"{secrets.token_hex(32)}\n{secrets.token_hex(20)}\n" for _ in range(2))
        ends = [
            (self.here, self.there, self.outward_spi, self.inward_spi, outward + inward),
            (self.there, self.here, self.inward_spi, self.outward_spi, inward + outward),
        ]
        for end, other, spi_out, spi_in, keys in ends:
            words = ["--engine", engine, "--reqid", self._reqid, "--key-file", "-"]
            words += ["--encryption", "aes-cbc", "--authentication", "hmac-sha1"]
            words += ["--local", end.address, "--local-net", end.network, "--spi-out", hex(spi_out)]
            words += ["--remote", other.address, "--remote-net", other.network, "--spi-in", hex(spi_in)]
            end.node.pfkeyx("tunnel", "add", *words, text=keys)

    def delete(self) -> None:
        """Take both ends down."""
        for end in (self.here, self.there):
            self.delete_at(end.node)

    def delete_at(self, node: Node) -> None:
        """Take one end down."""
        node.pfkeyx("tunnel", "delete", "--reqid", self._reqid)

    def move(self, *, here: list[str], there: list[str]) -> None:
        """Move both ends, this one first."""
        self._since = len(self._router.log())
        for end, words in ((self.here, here), (self.there, there)):
            said = end.node.pfkeyx("tunnel", "move", "--reqid", self._reqid, "--yes", *words)
            assert "moved 2 SAs and 3 policies" in said

    def wait_for_traffic(self, here: str, there: str) -> None:
        """Wait until packets go both ways between these addresses outside, since the last move."""
        self.wait_for_packets((here, there), (there, here))

    def wait_for_packets(self, outward: tuple[str, str], inward: tuple[str, str]) -> None:
        """Wait until the router sees packets with these sources and destinations, since the last move."""
        wanted = {(*outward, self.outward_spi), (*inward, self.inward_spi)}
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            log = self._router.log()[self._since :]
            if wanted <= {(packet.source, packet.destination, packet.spi) for packet in wire.esp(log)}:
                return
            time.sleep(1)
        pytest.fail(f"the router has not seen {wanted} in {_PATIENCE_S} s:\n" + "\n".join(log[-10:]))
