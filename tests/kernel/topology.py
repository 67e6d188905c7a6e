"""A roaming host, which is the test's own namespace, a gateway in another, and the wire between them."""

import socket
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from pfkeyx import Authentication, Encryption, Engine, Tunnel, UdpEncap, testing
from pfkeyx.model import IPAddress
from pfkeyx.opening import EngineName
from pfkeyx.testing import Wire
from tests.kernel.values import ADDRESSES, roaming_tunnel

DEVICE = "uplink"
OUTWARD_SPI, INWARD_SPI = 0x1001, 0x2001
UDP_ENCAP, UDP_ENCAP_ESPINUDP = 100, 2


class Namespace(testing.Namespace):
    """A network namespace that is set up by ip(8)."""

    def ip(self, commands: str) -> None:
        """Run commands of ip in there, one a line."""
        self.run("ip", "-batch", "-", input=commands)


class Host:
    """One end of the wire: its namespace, an XFRM engine in it, and what it sends."""

    def __init__(self, namespace: Namespace, stack: ExitStack) -> None:
        self.namespace = namespace
        self.engine = stack.enter_context(self.open("xfrm"))
        self.wire = stack.enter_context(namespace.call(lambda: Wire(DEVICE)))

    def open(self, name: EngineName) -> Engine:
        """Open another engine in this host."""
        return self.namespace.call(lambda: Engine.open(name))


class Road:
    """A roaming host with two addresses of each family, a gateway, and the tunnel between them.

    Inside the tunnel and out of it are the addresses of `family`; a move may go to the other family.
    """

    def __init__(self, family: int, stack: ExitStack) -> None:
        self.family = family
        self.addresses = ADDRESSES[family]
        gateway = stack.enter_context(Namespace.new())
        roaming = stack.enter_context(Namespace.own())
        roaming.ip(f"link add {DEVICE} type veth peer name {DEVICE} netns {gateway.path}\n" + _roaming_commands())
        gateway.ip(_gateway_commands())
        self.roaming = Host(roaming, stack)
        self.gateway = Host(gateway, stack)
        self._stack = stack

    def set_up_tunnel(
        self,
        encryption: Encryption,
        authentication: Authentication | None = None,
        encap: UdpEncap | None = None,
        engine_name: EngineName = "xfrm",
    ) -> tuple[Tunnel, Tunnel]:
        """Write the SAs and policies of both ends over one interface; return the tunnel as each end sees it."""
        here = replace(roaming_tunnel(self.family), encap=encap)
        there = here.reversed()
        suite = encryption, authentication
        for host, tunnel, outbound, inbound in (
            (self.roaming, here, OUTWARD_SPI, INWARD_SPI),
            (self.gateway, there, INWARD_SPI, OUTWARD_SPI),
        ):
            with host.open(engine_name) as engine:
                engine.add_sas([tunnel.outbound(outbound, *suite), tunnel.inbound(inbound, *suite)])
                engine.add_policies(tunnel.policies())
        return here, there

    def decapsulate(self, *ports: int) -> None:
        """Let both hosts take ESP in UDP on these ports, for both families."""
        for host in (self.roaming, self.gateway):
            for port in ports:
                for family in (socket.AF_INET, socket.AF_INET6):
                    self._stack.enter_context(host.namespace.call(partial(encap_socket, family, port)))


def encap_socket(family: int, port: int, address: str = "") -> socket.socket:
    """Open a socket of the calling thread's namespace that takes ESP in UDP (RFC 3948)."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
    sock.bind((address, port))
    return sock


def _roaming_commands() -> str:
    lines = [f"link set {DEVICE} up"]
    for at in ADDRESSES.values():
        lines += [_add(at.roaming), _add(at.roaming_later), _add(at.roaming_inner, alone=True)]
        lines.append(f"route add {at.gateway_inner} via {at.gateway} dev {DEVICE} src {at.roaming_inner}")
    return "\n".join(lines)


def _gateway_commands() -> str:
    lines = [f"link set {DEVICE} up"]
    for at in ADDRESSES.values():
        lines += [_add(at.gateway), _add(at.gateway_inner, alone=True)]
        lines.append(f"route add {at.roaming_inner} via {at.roaming} dev {DEVICE} src {at.gateway_inner}")
    return "\n".join(lines)


def _add(address: IPAddress, *, alone: bool = False) -> str:
    """Return the ip(8) command; an address is used at once, without a search for duplicates."""
    length = address.max_prefixlen if alone else {4: 24, 6: 64}[address.version]
    return f"addr add {address}/{length} dev {DEVICE}" + (" nodad" if address.version == 6 else "")
