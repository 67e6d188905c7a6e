"""A road with a second way, through a router that masquerades: its mappings, and places behind it."""

import select
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from socket import AF_INET, socket
from subprocess import run

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

from pfkeyx import AddressPair, AddressUpdate, Method, MigrationReport, UdpEncap
from pfkeyx.model import IPAddress
from pfkeyx.testing import Wire
from tests.kernel.moves import Outside, Place
from tests.kernel.topology import INWARD_SPI, OUTWARD_SPI, Host, Namespace, Road, encap_socket
from tests.kernel.traffic import PORT
from tests.kernel.values import ADDRESSES

#: The addresses of the roaming host behind the router, and those that the router has in public.
BEHIND = (ip_address("192.168.7.2"), ip_address("192.168.7.3"))
PUBLIC = (ip_address("198.51.100.2"), ip_address("198.51.100.3"))
_PRIVATE_ROUTER, _PUBLIC_GATEWAY = ip_address("192.168.7.1"), ip_address("198.51.100.1")
_IKE_PORT = 4500
#: RFC 3948 §2.2: by this IKE is told from ESP on the port that both use.
_NON_ESP_MARKER = bytes(4)
_PATIENCE_S = 120
_MASQUERADE = """
    table ip nat
    flush table ip nat
    table ip nat {{
        chain postrouting {{
            type nat hook postrouting priority srcnat
            oifname "wan" meta l4proto udp masquerade to :{first}-{last}
        }}
    }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceBehindNat(Place):
    """Where a tunnel is whose roaming host is behind a NAT, and what the NAT makes of its address and port."""

    mapped_address: IPAddress
    mapped_port: int

    @property
    def inward(self) -> Outside:
        """What a packet of the gateway shows."""
        return self.gateway, self.mapped_address, (_IKE_PORT, self.mapped_port)


class NatRoad(Road):
    """A road on which the roaming host reaches the gateway directly, and also through a router that masquerades.

    It goes the way of its source address. The wires of its hosts, and of the router, are all that they have.
    """

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(4, stack)
        self._router = stack.enter_context(Namespace.new())
        self.roaming.namespace.ip(f"link add lan type veth peer name lan netns {self._router.path}\n" + _ROAMING)
        self.gateway.namespace.ip(f"link add wan type veth peer name wan netns {self._router.path}\n" + _GATEWAY)
        self._router.ip(_ROUTER)
        self._router.call(lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
        self.masquerade(range(40000, 50000))
        for host in (self.roaming, self.gateway):
            host.wire = stack.enter_context(host.namespace.call(Wire))
        self.router_wire = stack.enter_context(self._router.call(Wire))

        def listen(host: Host, address: IPAddress) -> socket:
            return stack.enter_context(host.namespace.call(partial(encap_socket, AF_INET, _IKE_PORT, str(address))))

        self._behind = {address: listen(self.roaming, address) for address in BEHIND}
        self._gateway_ike = listen(self.gateway, self.addresses.gateway)

    @property
    def direct(self) -> Place:
        """Where the tunnel is at first."""
        return Place(self.addresses.roaming, self.addresses.gateway)

    @property
    def direct_ipv6(self) -> Place:
        """Where it may go without a NAT, in the other IP version."""
        return Place(ADDRESSES[6].roaming, ADDRESSES[6].gateway)

    def behind(self, address: IPAddress = BEHIND[0]) -> PlaceBehindNat:
        """Return the place behind the router, as the gateway learns it: from a packet of the roaming host's IKE."""
        gateway = self.addresses.gateway
        self._behind[address].sendto(_NON_ESP_MARKER + b"UPDATE_SA_ADDRESSES", (str(gateway), _IKE_PORT))
        assert select.select([self._gateway_ike], (), (), _PATIENCE_S)[0], "the router let nothing pass"
        _, (mapped_address, mapped_port) = self._gateway_ike.recvfrom(64)
        return PlaceBehindNat(
            address, gateway, UdpEncap(), mapped_address=IPv4Address(mapped_address), mapped_port=mapped_port
        )

    def masquerade(self, ports: range) -> None:
        """Have the router forget its mappings, and choose from other ports from now on."""
        rules = _MASQUERADE.format(first=ports.start, last=ports.stop - 1)
        self._router.call(lambda: nft(rules))
        self._router.call(_forget_connections)

    def renumber(self) -> None:
        """Give the router another public address."""
        old, new = PUBLIC
        self._router.ip(f"addr del {old}/24 dev wan\naddr add {new}/24 dev wan\n{_ROUTE_TO_GATEWAY}")


def nft(rules: str) -> None:
    """Give rules to the packet filter of the calling thread's namespace."""
    run(["nft", "-f", "-"], input=rules, text=True, check=True)


def _forget_connections() -> None:
    with NFCTSocket() as connections:
        connections.flush()


def move(
    road: NatRoad, old: Place, new: Place, method: Method | None = None
) -> tuple[MigrationReport, MigrationReport]:
    """Move the tunnel, at the roaming host first; `method` is forced where it is given."""
    here, there = road.roaming.engine, road.gateway.engine
    return (
        here.migrate(here.plan_migration(update(old.outward, new.outward), method)),
        there.migrate(there.plan_migration(update(old.inward, new.inward), method)),
    )


def update(old: Outside, new: Outside) -> AddressUpdate:
    """Return the update of the host whose packets look so before and after it."""
    ports = new[2]
    return AddressUpdate(AddressPair(*old[:2]), AddressPair(*new[:2]), UdpEncap(*ports) if ports else None)


def check_router(road: NatRoad) -> None:
    """Assert that the router saw both SAs, and nothing else of the hosts but their IKE."""
    frames = [frame for frame in road.router_wire.frames() if frame.source.version == 4]
    inner = {road.addresses.roaming_inner, road.addresses.gateway_inner}
    clear = [frame for frame in frames if {frame.source, frame.destination} & inner or PORT in (frame.ports or ())]
    assert not clear, f"packets in clear: {clear}"
    assert {frame.spi for frame in frames} - {None} == {OUTWARD_SPI, INWARD_SPI}
    assert all(frame.ports and _IKE_PORT in frame.ports for frame in frames), f"{frames} are not all in UDP"


_ROUTE_TO_GATEWAY = f"route add {ADDRESSES[4].gateway} via {_PUBLIC_GATEWAY} dev wan"
_ROAMING = "\n".join(
    (
        "link set lan up",
        *(f"addr add {address}/24 dev lan" for address in BEHIND),
        *(f"rule add from {address} lookup 7" for address in BEHIND),
        f"route add default via {_PRIVATE_ROUTER} dev lan table 7",
    )
)
_GATEWAY = f"link set wan up\naddr add {_PUBLIC_GATEWAY}/24 dev wan"
_ROUTER = "\n".join(
    (
        "link set lan up",
        "link set wan up",
        f"addr add {_PRIVATE_ROUTER}/24 dev lan",
        f"addr add {PUBLIC[0]}/24 dev wan",
        _ROUTE_TO_GATEWAY,
    )
)
