"""Two gateways on a wire, a host behind each, what goes from host to host, and what of it is on the wire.

    host ── gateway ══════ wire ══════ gateway ── host
             local                      remote

Each is a network namespace.
"""

import errno
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import Any, Self

from pfkeyx.algorithms import AES_CBC, AES_GCM, HMAC_SHA1
from pfkeyx.engine import Engine
from pfkeyx.errors import KernelError, UnsupportedError
from pfkeyx.model import Authentication, Encryption, IPAddress, Key, Tunnel
from pfkeyx.opening import EngineName
from pfkeyx.probing import probe_algorithm
from pfkeyx.testing.namespace import Namespace, set_sysctls
from pfkeyx.testing.traffic import Traffic, open_socket
from pfkeyx.testing.wire import Frame, Wire

IPNetwork = IPv4Network | IPv6Network
Addresses = Mapping[int, tuple[IPAddress, IPAddress]]
#: What is reached by which gateway.
Route = tuple[IPNetwork, IPAddress]

_UPLINK, _LAN = "uplink", "lan"
_REQID = 1
#: No address is searched for duplicates before it is used.
_HOST = {"ipv6/conf/all/accept_dad": "0", "ipv6/conf/default/accept_dad": "0"}
_GATEWAY = {**_HOST, "ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}


def _by_version(*pairs: tuple[str, str]) -> Addresses:
    return {version: (ip_address(one), ip_address(other)) for version, (one, other) in zip((4, 6), pairs, strict=True)}


#: Of the ranges for documentation (RFC 5737, RFC 3849), and for private use.
_LOCAL = _by_version(("192.0.2.1", "192.0.2.3"), ("2001:db8::1", "2001:db8::3"))
_REMOTE = _by_version(("192.0.2.2", "192.0.2.4"), ("2001:db8::2", "2001:db8::4"))
_NETS = {
    4: (ip_network("10.1.0.0/24"), ip_network("10.2.0.0/24")),
    6: (ip_network("fd00:1::/64"), ip_network("fd00:2::/64")),
}
_PREFIX_LENGTHS = {4: 24, 6: 64}


@dataclass(frozen=True, slots=True)
class Site:
    """A gateway, and the host behind it in `net`.

    `engine` is open in the gateway, `wire` is what the gateway sends to the other one, and `addresses` are its own
    there: two of each IP version.
    """

    gateway: Namespace
    host: Namespace
    engine: Engine
    wire: Wire
    addresses: Addresses
    net: IPNetwork

    @property
    def address(self) -> IPAddress:
        """The gateway's address on the wire, of the hosts' IP version."""
        return self.addresses[self.net.version][0]

    @property
    def new_address(self) -> IPAddress:
        """The gateway's other address of that IP version, for a tunnel to move to."""
        return self.addresses[self.net.version][1]

    @property
    def host_address(self) -> IPAddress:
        """The host's address."""
        return self.net[2]

    def esp(self) -> list[Frame]:
        """Return the ESP packets, in UDP too, that the gateway has sent, in order.

        Raises `AssertionError` when packets were missed.
        """
        return [frame for frame in self.wire.frames() if frame.spi is not None]


class Network:
    """Two sites and the wire between them, and `traffic` from host to host; use it in `with`.

    The local gateway is a namespace of the caller's, which should be fresh; `version` is the hosts' IP version, 4 or 6,
    and `engine_name` what is spoken to both gateways. There is no IPsec before `lay_tunnel`. Synchronization: one
    thread.

    Raises `NotPermittedError` without the right to make namespaces, `UnsupportedError` where the kernel has no ESP, no
    veth, or not the engine's interface, or /proc/sys is read-only.
    """

    def __init__(self, local: Namespace, version: int = 4, engine_name: EngineName = "xfrm") -> None:
        with ExitStack() as stack:
            local.call(lambda: set_sysctls(_GATEWAY))
            remote = stack.enter_context(Namespace.new(_GATEWAY))
            _connect(local, remote, _UPLINK)
            near, far = _NETS[version]
            self.local = _site(stack, engine_name, local, _LOCAL, near, (far, _REMOTE[version][0]))
            self.remote = _site(stack, engine_name, remote, _REMOTE, far, (near, _LOCAL[version][0]))
            _require_esp(self.local.engine)
            here = stack.enter_context(open_socket(self.local.host, self.local.host_address))
            there = stack.enter_context(open_socket(self.remote.host, self.remote.host_address))
            self.traffic = Traffic.between(here, there, (self.local.wire, self.remote.wire))
            self._stack = stack.pop_all()

    def lay_tunnel(self, encryption: Encryption | None = None, authentication: Authentication | None = None) -> Tunnel:
        """Write the SAs and policies of an ESP tunnel at both gateways; return it as the local one sees it.

        Without `encryption` it is AES-GCM, or over PF_KEY AES-CBC with HMAC-SHA1, with fresh keys. Raises
        `UnsupportedError` when the kernel lacks the algorithms.
        """
        here, there = self.local, self.remote
        tunnel = Tunnel(here.address, there.address, here.net, there.net, _REQID)
        suite = (encryption, authentication) if encryption else _fresh_suite(here.engine)
        for sender, receiver, outward in ((here, there, tunnel), (there, here, tunnel.reversed())):
            try:
                spi = receiver.engine.get_spi(outward.local, outward.remote, reqid=_REQID)
                receiver.engine.update_sa(outward.reversed().inbound(spi, *suite))
                sender.engine.add_sa(outward.outbound(spi, *suite))
            except KernelError as error:
                if error.errno in (errno.EPROTONOSUPPORT, errno.ENOSYS, errno.ENOENT):
                    raise UnsupportedError("ESP with these algorithms", str(error)) from error
                raise
            sender.engine.add_policies(outward.policies())
        return tunnel

    def in_clear(self) -> list[Frame]:
        """Return what the gateways have sent each other of the hosts' packets without IPsec, which should be nothing.

        Raises `AssertionError` when packets were missed.
        """
        nets = self.local.net, self.remote.net
        return [
            frame
            for site in (self.local, self.remote)
            for frame in site.wire.frames()
            if any(end in net for end in (frame.source, frame.destination) for net in nets)
        ]

    def close(self) -> None:
        """End the hosts and the remote gateway, with all that was started in them."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _site(
    stack: ExitStack, engine_name: EngineName, gateway: Namespace, addresses: Addresses, net: IPNetwork, others: Route
) -> Site:
    """Set up a gateway, whose uplink is there, and its host; `others` is the way to the other host."""
    host = stack.enter_context(Namespace.new(_HOST))
    _connect(gateway, host, _LAN)
    outside = [(address, _PREFIX_LENGTHS[address.version]) for pair in addresses.values() for address in pair]

    def set_up_gateway(ip: Any) -> None:
        _set_up(ip, _UPLINK, outside, others)
        _set_up(ip, _LAN, [(net[1], net.prefixlen)])

    _change(gateway, set_up_gateway)
    everything = ip_network("0.0.0.0/0" if net.version == 4 else "::/0")
    _change(host, lambda ip: _set_up(ip, _LAN, [(net[2], net.prefixlen)], (everything, net[1])))
    engine = stack.enter_context(Engine.open(engine_name, netns=gateway.path))
    wire = stack.enter_context(gateway.call(lambda: Wire(_UPLINK)))
    return Site(gateway, host, engine, wire, addresses, net)


def _connect(here: Namespace, there: Namespace, device: str) -> None:
    """Lay a wire between two namespaces, a device of the same name at each end."""
    peer = {"ifname": device, "net_ns_fd": there.descriptor}
    _change(here, lambda ip: ip.link("add", kind="veth", ifname=device, peer=peer))


def _set_up(ip: Any, device: str, addresses: list[tuple[IPAddress, int]], route: Route | None = None) -> None:
    (index,) = ip.link_lookup(ifname=device)
    for address, length in addresses:
        ip.addr("add", index=index, address=str(address), prefixlen=length)
    ip.link("set", index=index, state="up")
    if route:
        destination, gateway = route
        ip.route("add", dst=str(destination), gateway=str(gateway))


def _change(space: Namespace, change: Callable[[Any], None]) -> None:
    """Make a change with pyroute2, which is imported where it is used: it takes 0.2 s."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    def run() -> None:
        with IPRoute() as ip:
            change(ip)

    try:
        space.call(run)
    except NetlinkError as error:
        if error.code == errno.EOPNOTSUPP:
            raise UnsupportedError("veth", "this kernel has no virtual Ethernet: load veth") from error
        raise KernelError.of(error.code, "build the network") from error


def _require_esp(engine: Engine) -> None:
    # Linux has AES-GCM wherever it has ESP. Over PF_KEY to ask would load every algorithm there is.
    if engine.name == "xfrm" and probe_algorithm(engine, AES_GCM).available is False:
        raise UnsupportedError("ESP", "load esp4 and esp6")


def _fresh_suite(engine: Engine) -> tuple[Encryption, Authentication | None]:
    if engine.name == "pfkey":
        return Encryption(AES_CBC, Key.generate(16)), Authentication(HMAC_SHA1, Key.generate(20))
    return Encryption(AES_GCM, Key.generate(20)), None
