"""XFRM interfaces on a road: made in its hosts, and routed into. What passes through them is not looked at here."""

from pyroute2 import IPRoute

from tests.kernel.topology import DEVICE, Host, Road

INTERFACE = "ipsec0"
IF_ID = 7


def make_interface(host: Host, if_id: int) -> None:
    """Make an XFRM interface in a host."""

    def make() -> None:
        with IPRoute() as ip:
            (uplink,) = ip.link_lookup(ifname=DEVICE)
            ip.link("add", ifname=INTERFACE, kind="xfrm", xfrm_link=uplink, xfrm_if_id=if_id, state="up")

    host.namespace.call(make)


def route_into_interfaces(road: Road) -> None:
    """Route each host's packets to the other's inner address into its interface."""
    at = road.addresses
    road.roaming.namespace.ip(f"route replace {at.gateway_inner} dev {INTERFACE} src {at.roaming_inner}")
    road.gateway.namespace.ip(f"route replace {at.roaming_inner} dev {INTERFACE} src {at.gateway_inner}")
