"""What can be known to be wrong before anything is sent, whichever kernel interface it is sent over.

What only one interface cannot express is refused in its own dialect.
"""

import errno
from ipaddress import IPv4Address, IPv6Address

from pfkeyx.algorithms import ALGORITHMS, Algorithm, Kind, by_xfrm_name
from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import (
    SA,
    Authentication,
    Direction,
    Encryption,
    IPAddress,
    Key,
    Lifetime,
    Mark,
    Mode,
    Policy,
    PolicyId,
    Protocol,
    SAFilter,
    SAId,
    SecurityContext,
    Selector,
    prefix_address,
    same_family,
)

#: Seconds; the kernel adds them to the time in signed numbers of 64 bits, and would end the SA at once.
_FOR_EVER = 1 << 62
#: The kernel's PAGE_SIZE at its smallest.
_LONGEST_CONTEXT = 4096


def check_sa(operation: str, sa: SA) -> None:
    """Raise `InvalidRequestError` for an SA that no kernel could take as it is meant."""
    check_sa_id(operation, sa.id)
    check_pair(operation, sa.source, sa.destination)
    check_bits(operation, sa, 32, reqid=sa.reqid, if_id=sa.if_id)
    if sa.encap is not None:
        ports = {"source port": sa.encap.source_port, "destination port": sa.encap.destination_port}
        check_bits(operation, sa, 16, **ports)
    if not 0 <= sa.replay_window <= 4096:
        raise InvalidRequestError(f"{operation} {sa}: replay window {sa.replay_window} is not between 0 and 4096")
    _check_algorithms(operation, sa)
    if sa.encryption is not None:
        _check_encryption(operation, sa, sa.encryption)
    if sa.authentication is not None:
        if sa.encryption is not None and sa.encryption.algorithm.kind is Kind.AEAD:
            raise InvalidRequestError(
                f"{operation} {sa}: {sa.encryption.algorithm} authenticates by itself; leave authentication out"
            )
        _check_authentication(operation, sa, sa.authentication)
    if sa.selector is not None:
        check_selector(operation, sa, sa.selector)
    check_bits(operation, sa, 8, flags=int(sa.flags))
    _check_lifetime(operation, sa, sa.lifetime)
    _check_security_context(operation, sa, sa.security_context)
    if sa.encap is not None and sa.id.protocol is not Protocol.ESP:
        raise InvalidRequestError(f"{operation} {sa}: only ESP can be encapsulated in UDP (RFC 3948)")


def check_sa_id(operation: str, sa_id: SAId) -> None:
    """Raise `InvalidRequestError` for an SPI out of range (RFC 4303 §2.1: 0 is reserved for local use)."""
    _check_address(operation, sa_id.destination)
    check_spi(operation, sa_id.spi)
    _check_cpi(operation, sa_id.protocol, sa_id.spi)
    _check_mark(operation, sa_id, sa_id.mark)


def check_spi(operation: str, spi: int) -> None:
    """Raise `InvalidRequestError` for an SPI that is 0 or does not fit 32 bits."""
    if not 0 < spi <= 0xFFFFFFFF:
        raise InvalidRequestError(f"{operation}: SPI {spi:#x} is not between 0x1 and 0xffffffff")


def spi_maximum(protocol: Protocol, maximum: int | None) -> int:
    """Return the largest SPI to choose from: `maximum`, or for None the largest of the protocol (RFC 3173 §3.3)."""
    if maximum is not None:
        return maximum
    return 0xFFFF if protocol is Protocol.IPCOMP else 0xFFFFFFFF


def check_spi_range(operation: str, protocol: Protocol, minimum: int, maximum: int) -> None:
    """Raise `InvalidRequestError` for a range that no SPI of the protocol can come from."""
    for spi in (minimum, maximum):
        check_spi(operation, spi)
        _check_cpi(operation, protocol, spi)
    if minimum > maximum:
        raise InvalidRequestError(f"{operation}: SPI range {minimum:#x} to {maximum:#x} is empty")


def spi_hints(minimum: int, maximum: int) -> dict[int, str]:
    """Return what it means when the kernel has no SPI to give."""
    return {errno.ENOENT: f"no SPI from {minimum:#x} to {maximum:#x} is free"}


#: What it means when the kernel does not add an SA.
ADDITION_HINTS = {errno.EEXIST: "an SPI that get_spi reserved is completed by update_sa"}


def check_pair(operation: str, source: IPAddress, destination: IPAddress) -> None:
    """Raise `InvalidRequestError` for two ends of different IP versions."""
    for address in (source, destination):
        _check_address(operation, address)
    if not same_family((source, destination)):
        raise InvalidRequestError(
            f"{operation}: {source} is IPv{source.version} and {destination} is IPv{destination.version}; "
            "the two ends of an SA have the same IP version"
        )


def check_filter(operation: str, matching: SAFilter) -> None:
    """Raise `InvalidRequestError` for a filter whose two ends are of different IP versions."""
    if matching.source is not None and matching.destination is not None:
        check_pair(f"{operation} {matching}", prefix_address(matching.source), prefix_address(matching.destination))


def _check_address(operation: str, address: IPAddress) -> None:
    if not isinstance(address, (IPv4Address, IPv6Address)):
        raise InvalidRequestError(f"{operation}: {address!r} is no address; give an ipaddress.ip_address()")
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise InvalidRequestError(f"{operation}: {address} has a zone, which no SA or policy can keep; leave it out")


def check_bits(operation: str, subject: object, bits: int, **values: int) -> None:
    """Raise `InvalidRequestError` for a named number that does not fit so many bits."""
    for name, value in values.items():
        if not 0 <= value < 1 << bits:
            raise InvalidRequestError(f"{operation} {subject}: {name} {value} does not fit {bits} bits")


def check_selector(operation: str, subject: object, selector: Selector) -> None:
    """Raise `InvalidRequestError` for a selector of two IP versions, or with a number out of range."""
    if not same_family((selector.source, selector.destination)):
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


def check_policy_id(operation: str, policy_id: PolicyId) -> None:
    """Raise `InvalidRequestError` for what no policy can be looked up by."""
    check_selector(operation, policy_id, policy_id.selector)
    check_bits(operation, policy_id, 32, if_id=policy_id.if_id)
    _check_mark(operation, policy_id, policy_id.mark)


def check_policy_index(operation: str, index: int) -> Direction:
    """Return the direction that the low three bits of a policy's index say.

    Raises `InvalidRequestError` for what is no index, and for the index of a single socket's policy, which only a
    dump shows.
    """
    direction = Direction(index & 7)
    if not 0 < index <= 0xFFFFFFFF or direction not in (*Direction,):
        raise InvalidRequestError(
            f"{operation}: {index} is not the index of an in, out or forward policy; take a `Policy`'s index or an "
            "`Acquire`'s policy_id"
        )
    return direction


def check_policy(operation: str, policy: Policy) -> None:
    """Raise `InvalidRequestError` for a policy that no kernel could take as it is meant."""
    check_policy_id(operation, policy.id)
    if len(policy.templates) > 6:  # XFRM_MAX_DEPTH
        raise InvalidRequestError(f"{operation} {policy}: {len(policy.templates)} templates; the kernel takes 6")
    _check_lifetime(operation, policy, policy.lifetime)
    _check_security_context(operation, policy, policy.security_context)
    check_bits(operation, policy, 32, priority=policy.priority)
    for template in policy.templates:
        if (template.source is None) != (template.destination is None):
            raise InvalidRequestError(f"{operation} {policy}: a template has both addresses or none")
        if template.source is not None and template.destination is not None:
            check_pair(f"{operation} {policy}", template.source, template.destination)
        check_bits(f"{operation} {policy}", "template", 32, reqid=template.reqid, spi=template.spi)
        if template.source is None and template.mode is Mode.TUNNEL:
            raise InvalidRequestError(f"{operation} {policy}: a tunnel template needs source and destination")


def _check_algorithms(operation: str, sa: SA) -> None:
    protocol = sa.id.protocol
    if protocol is Protocol.ESP and sa.encryption is None:
        raise InvalidRequestError(f"{operation} {sa}: ESP needs an encryption algorithm (NULL is one)")
    if protocol is Protocol.AH and sa.authentication is None:
        raise InvalidRequestError(f"{operation} {sa}: AH needs an authentication algorithm")
    if protocol is Protocol.AH and sa.encryption is not None:
        raise InvalidRequestError(f"{operation} {sa}: AH does not encrypt; leave encryption out, or make it ESP")
    if protocol is Protocol.IPCOMP and (sa.compression is None or sa.encryption or sa.authentication):
        raise InvalidRequestError(f"{operation} {sa}: IPComp needs a compression algorithm and takes no other")
    if protocol is Protocol.IPCOMP and sa.replay_window:
        # RFC 3173 has no sequence numbers: the kernel would take each packet for number 0, and drop it.
        raise InvalidRequestError(
            f"{operation} {sa}: IPComp has no sequence numbers that a replay window could be of; give replay_window=0"
        )
    if sa.compression is None:
        return
    if protocol in (Protocol.ESP, Protocol.AH):
        raise InvalidRequestError(f"{operation} {sa}: {protocol} does not compress; give it an SA of IPComp as well")
    if sa.compression.kind is not Kind.COMPRESSION:
        raise InvalidRequestError(f"{operation} {sa}: {sa.compression} is not a compression algorithm")


def _check_encryption(operation: str, sa: SA, encryption: Encryption) -> None:
    algorithm = encryption.algorithm
    if algorithm.kind not in (Kind.ENCRYPTION, Kind.AEAD):
        raise InvalidRequestError(f"{operation} {sa}: {algorithm} does not encrypt; give it as {algorithm.kind.value}")
    _check_key(operation, sa, algorithm, encryption.key)
    if algorithm.kind is Kind.AEAD:
        _check_icv(operation, sa, algorithm, encryption.icv_bits)


def _check_authentication(operation: str, sa: SA, authentication: Authentication) -> None:
    algorithm = authentication.algorithm
    if algorithm.kind is not Kind.AUTHENTICATION:
        raise InvalidRequestError(f"{operation} {sa}: {algorithm} is not an authentication algorithm")
    _check_key(operation, sa, algorithm, authentication.key)
    _check_icv(operation, sa, algorithm, authentication.icv_bits)


def _check_key(operation: str, sa: SA, algorithm: Algorithm, key: Key) -> None:
    bits = key.bits
    # Of an algorithm that has no row in the table, only the kernel knows the sizes.
    if algorithm not in ALGORITHMS or bits - algorithm.salt_bits in algorithm.key_bits:
        if key.is_hidden:
            raise InvalidRequestError(
                f"{operation} {sa}: the key for {algorithm} is all zeros, as a locked-down kernel shows keys; "
                "give the real one"
            )
        return
    takes = [(b + algorithm.salt_bits) // 8 for b in algorithm.key_bits]
    salt = f", of which the last {algorithm.salt_bits // 8} are the salt" if algorithm.salt_bits else ""
    sizes = f"{takes[0]} to {takes[-1]}" if len(takes) > 4 else " or ".join(str(size) for size in takes)
    raise InvalidRequestError(
        f"{operation} {sa}: {algorithm} takes a key of {sizes} bytes{salt}; this one has {bits // 8}"
    )


def _check_cpi(operation: str, protocol: Protocol, spi: int) -> None:
    if protocol is Protocol.IPCOMP and spi > 0xFFFF:
        raise InvalidRequestError(f"{operation}: an IPComp CPI has 16 bits, {spi:#x} does not fit")


def _check_security_context(operation: str, subject: object, context: SecurityContext | None) -> None:
    if context is None:
        return
    check_bits(operation, subject, 8, algorithm=context.algorithm, doi=context.doi)
    if not 0 < len(context.context) <= _LONGEST_CONTEXT:
        raise InvalidRequestError(
            f"{operation} {subject}: a security context has 1 to {_LONGEST_CONTEXT} bytes, not {len(context.context)}"
        )


def _check_mark(operation: str, subject: object, mark: Mark | None) -> None:
    if mark is not None:
        check_bits(operation, subject, 32, mark=mark.value, mask=mark.mask)


def _check_lifetime(operation: str, subject: object, lifetime: Lifetime) -> None:
    for limit in (lifetime.soft, lifetime.hard):
        counts = ((value, 0xFFFFFFFFFFFFFFFF) for value in (limit.octets, limit.packets))
        times = ((value, _FOR_EVER) for value in (limit.seconds, limit.idle_seconds))
        for value, bound in (*counts, *times):
            if value is not None and not 0 < value < bound:
                raise InvalidRequestError(f"{operation} {subject}: a limit of {value}; give None for no limit")


def _check_icv(operation: str, sa: SA, algorithm: Algorithm, bits: int) -> None:
    if algorithm in ALGORITHMS and bits not in algorithm.icv_bits:
        takes = " or ".join(str(b) for b in algorithm.icv_bits)
        cut = by_xfrm_name(algorithm.xfrm_name, algorithm.kind, bits)
        hint = f"; take {cut}" if cut in ALGORITHMS else ""
        raise InvalidRequestError(f"{operation} {sa}: {algorithm} has an ICV of {takes} bits, not {bits}{hint}")
