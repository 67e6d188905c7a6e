"""Two gateways, each with a host behind it: the roaming one is the test's own namespace. Nothing is sent here."""

import fcntl
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from pfkeyx import SA, Authentication, Encryption, Engine, SAFlag, Tunnel
from pfkeyx.model import IPAddress, Prefix, Replay, Usage
from tests.kernel.topology import DEVICE, INWARD_SPI, OUTWARD_SPI, Namespace
from tests.kernel.values import ADDRESSES

INSIDE = "inside"
_PREFIX_LENGTHS = {4: 16, 6: 64}
#: Of their packets there may be more than one at once, and one may overtake the other by as many as pass while a
#: processor does something else.
_WINDOW = 4096
_PATIENCE_S = 60
_SIOCGIFFLAGS, _FLAGS, _RUNNING = 0x8913, Struct("16sH14x"), 0x40  # <linux/sockios.h>, <linux/if.h>
#: So few before the low half of the sequence numbers is used up.
_BEFORE_THE_TURN = 1000


class Suite(NamedTuple):
    """What the SAs of a tunnel are made with."""

    encryption: Encryption
    authentication: Authentication | None = None
    esn: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """A gateway, the host behind it, and the network of both; a gateway sends and receives as `inner`."""

    gateway: Namespace
    host: Namespace
    engine: Engine
    inner: IPAddress
    behind: IPAddress

    @property
    def network(self) -> Prefix:
        """What the tunnel leads to here."""
        return ip_network((self.inner, _PREFIX_LENGTHS[self.inner.version]), strict=False)


class Sites:
    """Both sites, joined by one wire; without IPsec everything passes in clear."""

    def __init__(self, family: int, stack: ExitStack) -> None:
        self.family = family
        self._at = ADDRESSES[family]
        roaming = stack.enter_context(Namespace.own())
        gateway = stack.enter_context(Namespace.new())
        for namespace in (roaming, gateway):
            namespace.call(_prepare)
        roaming.ip(f"link add {DEVICE} type veth peer name {DEVICE} netns {gateway.path}")
        self.roaming = _site(roaming, self._at.roaming_inner, stack)
        self.gateway = _site(gateway, self._at.gateway_inner, stack)
        _join(self.roaming, (self._at.roaming, self._at.roaming_later), self._at.gateway, self.gateway.network)
        _join(self.gateway, (self._at.gateway,), self._at.roaming, self.roaming.network)
        for site in (self.roaming, self.gateway):
            site.gateway.call(partial(_wait_for_carrier, DEVICE))
            site.gateway.call(partial(_wait_for_carrier, INSIDE))
            site.host.call(partial(_wait_for_carrier, INSIDE))

    def set_up_tunnel(self, suite: Suite) -> None:
        """Write the SAs and policies of both ends; with ESN the low half of their numbers is soon used up."""
        at = self._at
        here = Tunnel(at.roaming, at.gateway, self.roaming.network, self.gateway.network, reqid=7)
        there = Tunnel(at.gateway, at.roaming, self.gateway.network, self.roaming.network, reqid=7)
        keys = suite.encryption, suite.authentication
        for site, tunnel, outbound, inbound in (
            (self.roaming, here, OUTWARD_SPI, INWARD_SPI),
            (self.gateway, there, INWARD_SPI, OUTWARD_SPI),
        ):
            for sa in (tunnel.outbound(outbound, *keys), tunnel.inbound(inbound, *keys)):
                site.engine.restore_sa(_started(sa, suite.esn))
            site.engine.add_policies(tunnel.policies())


def _started(sa: SA, esn: bool) -> SA:
    last = (1 << 32) - _BEFORE_THE_TURN if esn else 0
    return replace(
        sa,
        replay_window=_WINDOW,
        flags=SAFlag.ESN if esn else SAFlag(0),
        replay=Replay(last, last, (0,) * (_WINDOW // 32), extended=True),
        usage=Usage(octets=0, packets=0, added=int(time.time()), first_used=0),
    )


def _site(gateway: Namespace, inner: IPAddress, stack: ExitStack) -> Site:
    host = stack.enter_context(Namespace.new())
    host.call(_prepare)
    behind = inner + 1
    length = _PREFIX_LENGTHS[inner.version]
    gateway.ip(
        f"link add {INSIDE} type veth peer name {INSIDE} netns {host.path}\n"
        f"link set {INSIDE} up\n{_add(inner, length, INSIDE)}"
    )
    host.ip(f"link set {INSIDE} up\n{_add(behind, length, INSIDE)}\nroute add default via {inner}")
    engine = stack.enter_context(gateway.call(lambda: Engine.open("xfrm")))
    return Site(gateway, host, engine, inner, behind)


def _join(site: Site, addresses: tuple[IPAddress, ...], peer: IPAddress, network: Prefix) -> None:
    lines = [_add(address, {4: 24, 6: 64}[address.version], DEVICE) for address in addresses]
    site.gateway.ip("\n".join([f"link set {DEVICE} up", *lines, f"route add {network} via {peer} dev {DEVICE}"]))


def _add(address: IPAddress, length: int, device: str) -> str:
    return f"addr add {address}/{length} dev {device}"


def _wait_for_carrier(device: str) -> None:
    """Wait until a device sends; what it is given before that is dropped and counted nowhere."""
    deadline = time.monotonic() + _PATIENCE_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        while not _FLAGS.unpack(fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _FLAGS.pack(device.encode(), 0)))[1] & _RUNNING:
            assert time.monotonic() < deadline, f"{device} has no carrier after {_PATIENCE_S} s"
            time.sleep(0.02)


def _prepare() -> None:
    """Let the calling thread's namespace forward, and use addresses at once, without a search for duplicates."""
    for name, value in (
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/default/accept_dad", "0"),
    ):
        Path("/proc/sys/net", name).write_text(value)
