"""What the tests write into a kernel: addresses of both families, keys, SAs, policies. Nothing here asks a kernel."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

from pfkeyx import AES_CBC, HMAC_SHA1, SA, Algorithm, Authentication, Encryption, Key, Policy, SAId, Tunnel
from pfkeyx.model import IPAddress, Prefix


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of one family: a roaming host with two of them, a gateway, and what the tunnel joins."""

    roaming: IPAddress
    roaming_later: IPAddress
    gateway: IPAddress
    roaming_inner: IPAddress
    gateway_inner: IPAddress

    @property
    def roaming_net(self) -> Prefix:
        """The roaming host's side of the tunnel: its inner address alone."""
        return ip_network(self.roaming_inner)

    @property
    def gateway_net(self) -> Prefix:
        """The gateway's side of the tunnel: its inner address alone."""
        return ip_network(self.gateway_inner)


def _addresses(*texts: str) -> Addresses:
    return Addresses(*(ip_address(text) for text in texts))


ADDRESSES = {
    4: _addresses("192.0.2.2", "192.0.2.3", "192.0.2.1", "10.1.0.1", "10.2.0.1"),
    6: _addresses("2001:db8::2", "2001:db8::3", "2001:db8::1", "fd00:1::1", "fd00:2::1"),
}


def key(size: int) -> Key:
    """Return a key of `size` bytes that differ from each other, so that a swap or a cut shows."""
    return Key(bytes((1 + 7 * n) % 256 for n in range(size)))


def encryption(algorithm: Algorithm = AES_CBC, size: int = 16) -> Encryption:
    """Return encryption with a key of `size` bytes."""
    return Encryption(algorithm, key(size))


def authentication(algorithm: Algorithm = HMAC_SHA1, size: int = 20, icv_bits: int = 0) -> Authentication:
    """Return authentication with a key of `size` bytes."""
    return Authentication(algorithm, key(size), icv_bits)


def make_sa(family: int, spi: int = 0x1000, **fields: Any) -> SA:
    """Return an ESP tunnel SA that both kernel interfaces can express, but for `fields`."""
    addresses = ADDRESSES[family]
    sa = SA(
        SAId(addresses.gateway, spi),
        addresses.roaming,
        reqid=7,
        encryption=encryption(),
        authentication=authentication(),
    )
    return replace(sa, **fields)


def make_policies(family: int, outer_family: int | None = None) -> tuple[Policy, Policy, Policy]:
    """Return the out, in and forward policies of a tunnel, whose outer family may be another."""
    return roaming_tunnel(family, outer_family).policies()


def roaming_tunnel(family: int, outer_family: int | None = None) -> Tunnel:
    """Return the tunnel between the inner addresses of `family`, as the roaming host sees it."""
    inner, outer = ADDRESSES[family], ADDRESSES[outer_family or family]
    return Tunnel(outer.roaming, outer.gateway, inner.roaming_net, inner.gateway_net, reqid=7)


def by_identity(sas: Iterable[SA]) -> list[SA]:
    """Return SAs as they were written, in an order of their own: a dump has none."""
    return sorted((sa.as_written() for sa in sas), key=lambda sa: (int(sa.destination), sa.id.spi))
