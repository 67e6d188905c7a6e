"""What SAs and policies are made of, checked: numbers, addresses, SPIs, selectors, limits. A whole SA is not here."""

import errno
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import IPAddress, Lifetime, Limit, Mark, Offload, Protocol, SecurityContext, Selector

#: Seconds; the kernel adds them to the time in signed numbers of 64 bits, and would end the SA at once.
_FOR_EVER = 1 << 62
#: The kernel's PAGE_SIZE at its smallest.
_LONGEST_CONTEXT = 4096
_NO_LIMIT = Limit()


class About(NamedTuple):
    """What is checked of what, which is said only where it is wrong: to say an SA takes longer than to check it."""

    operation: str
    subject: object

    def __str__(self) -> str:
        return f"{self.operation} {self.subject}"


def check_bits(operation: str, subject: object, bits: int, **values: int) -> None:
    """Raise `InvalidRequestError` for a named number that does not fit so many bits."""
    for name, value in values.items():
        if not 0 <= value < 1 << bits:
            raise InvalidRequestError(f"{operation} {subject}: {name} {value} does not fit {bits} bits")


def check_address(operation: object, address: IPAddress) -> None:
    """Raise `InvalidRequestError` for what is no address, or has a zone."""
    if not isinstance(address, (IPv4Address, IPv6Address)):
        raise InvalidRequestError(f"{operation}: {address!r} is no address; give an ipaddress.ip_address()")
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise InvalidRequestError(f"{operation}: {address} has a zone, which no SA or policy can keep; leave it out")


def check_pair(operation: object, source: IPAddress, destination: IPAddress) -> None:
    """Raise `InvalidRequestError` for two ends of different IP versions."""
    for address in (source, destination):
        check_address(operation, address)
    if source.version != destination.version:
        raise InvalidRequestError(
            f"{operation}: {source} is IPv{source.version} and {destination} is IPv{destination.version}; "
            "the two ends of an SA have the same IP version"
        )


def check_end(operation: object, address: IPAddress) -> None:
    """Raise `InvalidRequestError` for what cannot be the end of an SA: the kernel takes it, and loses the traffic."""
    check_address(operation, address)
    if address.is_unspecified or address.is_multicast:
        raise InvalidRequestError(f"{operation}: {address} cannot be the end of an SA")


def check_spi(operation: str, spi: int) -> None:
    """Raise `InvalidRequestError` for an SPI that is 0 or does not fit 32 bits."""
    if not 0 < spi <= 0xFFFFFFFF:
        raise InvalidRequestError(f"{operation}: SPI {spi:#x} is not between 0x1 and 0xffffffff")


def check_cpi(operation: str, protocol: Protocol, spi: int) -> None:
    """Raise `InvalidRequestError` for an SPI that does not fit the 16 bits of IPComp (RFC 3173 §3.3)."""
    if protocol is Protocol.IPCOMP and spi > 0xFFFF:
        raise InvalidRequestError(f"{operation}: an IPComp CPI has 16 bits, {spi:#x} does not fit")


def spi_maximum(protocol: Protocol, maximum: int | None) -> int:
    """Return the largest SPI to choose from: `maximum`, or for None the largest of the protocol (RFC 3173 §3.3)."""
    if maximum is not None:
        return maximum
    return 0xFFFF if protocol is Protocol.IPCOMP else 0xFFFFFFFF


def check_spi_range(operation: str, protocol: Protocol, minimum: int, maximum: int) -> None:
    """Raise `InvalidRequestError` for a range that no SPI of the protocol can come from."""
    for spi in (minimum, maximum):
        check_spi(operation, spi)
        check_cpi(operation, protocol, spi)
    if minimum > maximum:
        raise InvalidRequestError(f"{operation}: SPI range {minimum:#x} to {maximum:#x} is empty")


def spi_hints(minimum: int, maximum: int) -> dict[int, str]:
    """Return what it means when the kernel has no SPI to give."""
    return {errno.ENOENT: f"no SPI from {minimum:#x} to {maximum:#x} is free"}


def check_selector(operation: str, subject: object, selector: Selector) -> None:
    """Raise `InvalidRequestError` for a selector of two IP versions, or with a number out of range."""
    if selector.source.version != selector.destination.version:
        raise InvalidRequestError(
            f"{operation} {subject}: the selector mixes IPv{selector.source.version} and "
            f"IPv{selector.destination.version}"
        )
    check_bits(operation, subject, 8, protocol=selector.protocol)
    check_bits(operation, subject, 31, interface_index=selector.interface_index)
    check_bits(operation, subject, 32, user=selector.user)
    for name, port in (("source port", selector.source_port), ("destination port", selector.destination_port)):
        if port is not None:
            check_bits(operation, subject, 16, **{name: port.value, f"{name} mask": port.mask})


def check_mark(operation: str, subject: object, mark: Mark | None) -> None:
    """Raise `InvalidRequestError` for a mark that does not fit 32 bits."""
    if mark is not None:
        check_bits(operation, subject, 32, mark=mark.value, mask=mark.mask)


def check_offload(operation: str, subject: object, offload: Offload | None) -> None:
    """Raise `InvalidRequestError` for what is no interface, or no offload flags."""
    if offload is not None:
        check_bits(operation, subject, 8, **{"offload flags": int(offload.flags)})
        check_bits(operation, subject, 31, **{"offload interface_index": offload.interface_index})


def check_security_context(operation: str, subject: object, context: SecurityContext | None) -> None:
    """Raise `InvalidRequestError` for a label that is empty or longer than the kernel takes."""
    if context is None:
        return
    check_bits(operation, subject, 8, algorithm=context.algorithm, doi=context.doi)
    if not 0 < len(context.context) <= _LONGEST_CONTEXT:
        raise InvalidRequestError(
            f"{operation} {subject}: a security context has 1 to {_LONGEST_CONTEXT} bytes, not {len(context.context)}"
        )


def check_lifetime(operation: str, subject: object, lifetime: Lifetime) -> None:
    """Raise `InvalidRequestError` for a limit of nothing, or one that the kernel cannot reckon with."""
    for limit in (lifetime.soft, lifetime.hard):
        if limit == _NO_LIMIT:
            continue
        counts = ((value, 0xFFFFFFFFFFFFFFFF) for value in (limit.octets, limit.packets))
        times = ((value, _FOR_EVER) for value in (limit.seconds, limit.idle_seconds))
        for value, bound in (*counts, *times):
            if value is not None and not 0 < value < bound:
                raise InvalidRequestError(f"{operation} {subject}: a limit of {value}; give None for no limit")
