"""Addresses, prefixes, ports, and the selectors that are made of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)

IPAddress = IPv4Address | IPv6Address
#: A network; an interface where the kernel keeps host bits beyond the prefix, which a network cannot hold.
Prefix = IPv4Network | IPv6Network | IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class AddressPair:
    """The two ends of a tunnel, as one of them sees it."""

    local: IPAddress
    remote: IPAddress

    def __str__(self) -> str:
        return f"{self.local} - {self.remote}"


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a selector, in host order; matches where `port & mask == value`."""

    value: int
    mask: int = 0xFFFF


@dataclass(frozen=True, slots=True)
class Selector:
    """Which packets (RFC 4301 §4.4.1.1); protocol 0 and ports None match any."""

    source: Prefix
    destination: Prefix
    protocol: int = 0
    source_port: Port | None = None
    destination_port: Port | None = None
    interface_index: int = 0
    user: int = 0

    def __post_init__(self) -> None:
        # An interface without host bits is no other prefix than its network, though Python has them differ.
        for name in ("source", "destination"):
            prefix = getattr(self, name)
            if isinstance(prefix, (IPv4Interface, IPv6Interface)):
                object.__setattr__(self, name, make_prefix(prefix.ip, prefix.network.prefixlen))

    def __str__(self) -> str:
        protocol = f" protocol {self.protocol}" if self.protocol else ""
        return f"{self.source} -> {self.destination}{protocol}"


@cache
def any_selector(version: int) -> Selector:
    """Return the selector of every packet of IP version 4 or 6."""
    everything = ip_network("0.0.0.0/0" if version == 4 else "::/0")
    return Selector(everything, everything)


def same_family(addresses: Iterable[IPAddress | Prefix]) -> bool:
    """Return whether all addresses are of one IP version."""
    return len({address.version for address in addresses}) <= 1


def prefix_address(prefix: Prefix) -> IPAddress:
    """Return the address of a prefix, with the host bits that an interface keeps."""
    # An interface is a network too: it says .ip where it keeps host bits.
    return prefix.ip if isinstance(prefix, (IPv4Interface, IPv6Interface)) else prefix.network_address


def prefix_length(prefix: Prefix) -> int:
    """Return the number of bits of a prefix that count."""
    return prefix.network.prefixlen if isinstance(prefix, (IPv4Interface, IPv6Interface)) else prefix.prefixlen


def make_prefix(address: IPAddress, length: int) -> Prefix:
    """Return the network of the first `length` bits, or an interface where `address` has host bits beyond them."""
    network: IPv4Network | IPv6Network
    if address.version == 4:
        network = IPv4Network((int(address), length), strict=False)
    else:
        network = IPv6Network((int(address), length), strict=False)
    return network if network.network_address == address else ip_interface((address, length))


def prefix_host(prefix: Prefix) -> IPAddress | None:
    """Return the one address that a prefix is for, None where it is for several."""
    return prefix_address(prefix) if prefix_length(prefix) == prefix.max_prefixlen else None


def is_in(address: IPAddress, prefix: Prefix) -> bool:
    """Return whether an address is one of a prefix's."""
    return address in (prefix.network if isinstance(prefix, (IPv4Interface, IPv6Interface)) else prefix)


def unspecified(version: int) -> IPAddress:
    """Return the address that stands for any in a template, of IP version 4 or 6."""
    return IPv4Address(0) if version == 4 else IPv6Address(0)
