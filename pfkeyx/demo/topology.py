"""Where the demonstration takes place: a roaming host with two uplinks, a router, a gateway, a host behind it.

    roaming host ══ uplink 1 ══╗
         ║                   router ── gateway ── host
         ╚═════════ uplink 2 ══╝

Everything is in network namespaces of its own. Nothing here knows about IPsec.
"""

import errno
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from types import TracebackType
from typing import Any, Self

from pfkeyx.errors import KernelError, UnsupportedError
from pfkeyx.model import Prefix, make_prefix
from pfkeyx.testing import Namespace

Interface = IPv4Interface | IPv6Interface

#: Two uplinks may answer for each other, and no address waits to be checked for duplicates.
_HOST = {
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv6/conf/all/accept_dad": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/accept_ra": "0",
}
_ROUTER = {**_HOST, "ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}

LINKS = ("uplink1", "uplink2", "gateway")


@dataclass(frozen=True, slots=True)
class Addressing:
    """The addresses of one IP version, from the ranges for documentation (RFC 5737, 3849) and private use."""

    old: Interface
    new: Interface
    old_router: Interface
    new_router: Interface
    gateway: Interface
    gateway_router: Interface
    roaming_inside: Interface
    gateway_inside: Interface
    host: Interface

    @property
    def roaming_net(self) -> Prefix:
        """What is inside the tunnel at the roaming host: one address."""
        return make_prefix(self.roaming_inside.ip, self.roaming_inside.max_prefixlen)

    @property
    def gateway_net(self) -> Prefix:
        """What is inside the tunnel at the gateway: the network behind it."""
        return self.gateway_inside.network


def addressing(version: int) -> Addressing:
    """Return the addresses for IP version 4 or 6."""
    texts = (
        ("192.0.2.2/24", "198.51.100.2/24", "192.0.2.1/24", "198.51.100.1/24", "203.0.113.2/24", "203.0.113.1/24")
        if version == 4
        else (
            *("2001:db8:1::2/64", "2001:db8:2::2/64", "2001:db8:1::1/64", "2001:db8:2::1/64"),
            *("2001:db8:3::2/64", "2001:db8:3::1/64"),
        )
    )
    inside = (
        ("10.1.0.1/32", "10.2.0.1/24", "10.2.0.2/24")
        if version == 4
        else ("fd00:1::1/128", "fd00:2::1/64", "fd00:2::2/64")
    )
    return Addressing(*map(ip_interface, (*texts, *inside)))


class Topology:
    """The four namespaces and their links; use it in `with`.

    At the start uplink 1 carries everything; uplink 2 is up, has its address, and is not used.
    Raises `NotPermittedError` without the right to make namespaces, `UnsupportedError` without veth.
    """

    def __init__(self, version: int) -> None:
        self.addresses = addressing(version)
        with ExitStack() as stack:
            self.roaming = stack.enter_context(Namespace.new(_HOST))
            self.router = stack.enter_context(Namespace.new(_ROUTER))
            self.gateway = stack.enter_context(Namespace.new(_ROUTER))
            self.host = stack.enter_context(Namespace.new(_HOST))
            self._rtnl = {
                space: stack.enter_context(_open(space))
                for space in (self.roaming, self.router, self.gateway, self.host)
            }
            _reporting("build the demonstration's network", self._build)
            self._stack = stack.pop_all()

    def switch_uplink(self) -> None:
        """Send what the roaming host sends through uplink 2 from now on."""
        _reporting(
            "change the default route", lambda: self._default(self.roaming, self.addresses.new_router, "replace")
        )

    def take_old_address(self) -> None:
        """Take uplink 1's address from the roaming host, and uplink 1 down."""
        _reporting("take uplink 1 down", lambda: self._set(self.roaming, "uplink1", self.addresses.old, "del", "down"))

    def close(self) -> None:
        """End everything; what was in the namespaces goes with them."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _build(self) -> None:
        at = self.addresses
        self._link(self.router, "uplink1", at.old_router, self.roaming, "uplink1", at.old)
        self._link(self.router, "uplink2", at.new_router, self.roaming, "uplink2", at.new)
        self._link(self.router, "gateway", at.gateway_router, self.gateway, "internet", at.gateway)
        self._link(self.gateway, "lan", at.gateway_inside, self.host, "lan", at.host)
        self._set(self.roaming, "lo", at.roaming_inside, "add", "up")
        self._default(self.roaming, at.old_router, "add")
        self._default(self.gateway, at.gateway_router, "add")
        self._default(self.host, at.gateway_inside, "add")

    def _link(self, here: Namespace, name: str, at: Interface, there: Namespace, peer: str, peer_at: Interface) -> None:
        self._rtnl[here].link("add", kind="veth", ifname=name, peer={"ifname": peer, "net_ns_fd": there.descriptor})
        self._set(here, name, at, "add", "up")
        self._set(there, peer, peer_at, "add", "up")

    def _set(self, space: Namespace, link: str, address: Interface, change: str, state: str) -> None:
        rtnl = self._rtnl[space]
        (index,) = rtnl.link_lookup(ifname=link)
        rtnl.addr(change, index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
        rtnl.link("set", index=index, state=state)

    def _default(self, space: Namespace, router: Interface, change: str) -> None:
        everything = "0.0.0.0/0" if router.version == 4 else "::/0"
        self._rtnl[space].route(change, dst=everything, gateway=str(router.ip))


def _open(space: Namespace) -> Any:
    # pyroute2 is imported where it is used: it alone takes 0.2 s.
    from pyroute2 import IPRoute

    return IPRoute(netns=space.path, flags=0)


def _reporting(operation: str, change: Callable[[], None]) -> None:
    """Make a change, and report a refusal as an error of ours."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        change()
    except NetlinkError as error:
        if error.code == errno.EOPNOTSUPP:
            hint = "this kernel has no veth: load the module, or run `make demo`, which boots a kernel that has it"
            raise UnsupportedError(operation, hint) from error
        raise KernelError.of(error.code, operation) from error
