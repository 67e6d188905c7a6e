"""SAs, checked, and what they are found by, asked for by, and set to."""

import errno
from collections.abc import Callable, Sequence

from pfkeyx.algorithms import ALGORITHMS, Algorithm, Kind, by_xfrm_name
from pfkeyx.checks.parts import (
    About,
    check_address,
    check_bits,
    check_cpi,
    check_lifetime,
    check_mark,
    check_offload,
    check_pair,
    check_security_context,
    check_selector,
    check_spi,
    check_spi_range,
    spi_maximum,
)
from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import (
    SA,
    Authentication,
    Direction,
    Encryption,
    Iptfs,
    Key,
    Mode,
    Progress,
    Protocol,
    SAFilter,
    SAFlag,
    SAId,
    SPIRequest,
    UdpEncap,
    prefix_address,
)

#: What it means when the kernel does not add an SA.
ADDITION_HINTS = {errno.EEXIST: "an SPI that was reserved is completed by an update"}
#: Mobile IPv6's headers (RFC 6275 §6.3, §6.4): their SAs are a care-of address, and have no SPI.
_WITHOUT_SPI = (Protocol(43), Protocol(60))
_NOT_OUTBOUND = SAFlag.DECAP_DSCP | SAFlag.ICMP | SAFlag.WILDCARD_RECEIVE


def check_sa(operation: str, sa: SA) -> None:
    """Raise `InvalidRequestError` for an SA that no kernel could take as it is meant."""
    check_sa_id(operation, sa.id)
    check_pair(operation, sa.source, sa.destination)
    _check_numbers(operation, sa)
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
    check_lifetime(operation, sa, sa.lifetime)
    check_security_context(operation, sa, sa.security_context)
    for address in (sa.care_of, sa.encap.original_address if sa.encap is not None else None):
        if address is not None:
            check_pair(About(operation, sa), address, sa.destination)
    for is_wrong, complaint in _COMBINATIONS:
        if is_wrong(sa):
            raise InvalidRequestError(f"{operation} {sa}: {complaint}")


def check_sa_id(operation: str, sa_id: SAId) -> None:
    """Raise `InvalidRequestError` for an SPI out of range (RFC 4303 §2.1: 0 is reserved for local use)."""
    check_address(operation, sa_id.destination)
    if sa_id.protocol not in _WITHOUT_SPI:
        check_spi(operation, sa_id.spi)
    elif sa_id.spi:
        raise InvalidRequestError(f"{operation} {sa_id}: an SA of Mobile IPv6 has no SPI; give 0")
    check_cpi(operation, sa_id.protocol, sa_id.spi)
    check_mark(operation, sa_id, sa_id.mark)


def check_spi_request(operation: str, wanted: SPIRequest) -> None:
    """Raise `InvalidRequestError` for an SPI that no kernel could give."""
    check_pair(operation, wanted.source, wanted.destination)
    check_bits(operation, wanted, 32, reqid=wanted.reqid, sequence=wanted.sequence, if_id=wanted.if_id)
    check_spi_range(operation, wanted.protocol, wanted.minimum, spi_maximum(wanted.protocol, wanted.maximum))
    check_mark(operation, wanted, wanted.mark)
    _check_cpu(operation, wanted, wanted.cpu)
    _check_direction(operation, wanted, wanted.direction)


def check_filter(operation: str, matching: SAFilter) -> None:
    """Raise `InvalidRequestError` for a filter whose two ends are of different IP versions."""
    if matching.source is not None and matching.destination is not None:
        check_pair(About(operation, matching), prefix_address(matching.source), prefix_address(matching.destination))


def check_progress(operation: str, sa: SA, progress: Progress) -> None:
    """Raise `InvalidRequestError` for progress that an SA cannot have made, and for none at all."""
    check_sa_id(operation, sa.id)
    check_pair(operation, sa.source, sa.destination)
    if progress == Progress():
        raise InvalidRequestError(f"{operation} {sa}: there is nothing to set; all of the progress is None")
    if (replay := progress.replay) is not None:
        # Beyond its 32 bits an SA would begin anew, and repeat its numbers.
        check_bits(operation, sa, 64 if sa.esn else 32, outbound=replay.outbound, inbound=replay.inbound)
        for word in replay.bitmap:
            check_bits(operation, sa, 32, **{"a word of the bitmap": word})
    if (usage := progress.usage) is not None:
        counts = {"octets": usage.octets, "packets": usage.packets}
        check_bits(operation, sa, 64, **counts, added=usage.added, first_used=usage.first_used)
    check_bits(operation, sa, 32, replay_threshold=progress.replay_threshold or 0, timer_ms=progress.timer_ms or 0)


def _check_numbers(operation: str, sa: SA) -> None:
    if sa.encap is not None:
        ports = {"source port": sa.encap.source_port, "destination port": sa.encap.destination_port}
        check_bits(operation, sa, 16, **ports)
    check_bits(operation, sa, 8, flags=int(sa.flags))
    check_bits(operation, sa, 32, extra_flags=int(sa.extra_flags), reqid=sa.reqid, if_id=sa.if_id)
    check_bits(operation, sa, 32, tfc_padding=sa.tfc_padding, nat_keepalive_s=sa.nat_keepalive_s)
    check_bits(operation, sa, 32, mapping_threshold_s=sa.mapping_threshold_s)
    check_mark(operation, sa, sa.output_mark)
    check_offload(operation, sa, sa.offload)
    _check_cpu(operation, sa, sa.cpu)
    _check_direction(operation, sa, sa.direction)
    if sa.iptfs is not None:
        _check_iptfs(operation, sa, sa.iptfs)
    if not 0 <= sa.replay_window <= 4096:
        raise InvalidRequestError(f"{operation} {sa}: replay window {sa.replay_window} is not between 0 and 4096")


def _check_iptfs(operation: str, sa: SA, iptfs: Iptfs) -> None:
    check_bits(operation, sa, 16, reorder_window=iptfs.reorder_window or 0)
    for name in ("drop_time_us", "init_delay_us", "queue_octets", "packet_octets"):
        check_bits(operation, sa, 32, **{name: getattr(iptfs, name) or 0})


def _check_cpu(operation: str, subject: object, cpu: int | None) -> None:
    if cpu is not None:
        check_bits(operation, subject, 32, cpu=cpu)


def _check_direction(operation: str, subject: object, direction: Direction | None) -> None:
    if direction not in (None, Direction.IN, Direction.OUT):
        raise InvalidRequestError(f"{operation} {subject}: an SA's direction is in or out, not {direction}")


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
    if protocol in _WITHOUT_SPI and (sa.encryption or sa.authentication or sa.compression):
        raise InvalidRequestError(f"{operation} {sa}: an SA of Mobile IPv6 has no algorithms")
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
    elif encryption.icv_bits:
        raise InvalidRequestError(f"{operation} {sa}: {algorithm} has no ICV; leave icv_bits out")


def _check_authentication(operation: str, sa: SA, authentication: Authentication) -> None:
    algorithm = authentication.algorithm
    if algorithm.kind is not Kind.AUTHENTICATION:
        raise InvalidRequestError(f"{operation} {sa}: {algorithm} is not an authentication algorithm")
    _check_key(operation, sa, algorithm, authentication.key)
    _check_icv(operation, sa, algorithm, authentication.icv_bits)


def _check_key(operation: str, sa: SA, algorithm: Algorithm, key: Key) -> None:
    bits = key.bits
    # Of an algorithm that has no row in the table, only the kernel knows the sizes.
    if bits - algorithm.salt_bits in algorithm.key_bits or algorithm not in ALGORITHMS:
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


def _check_icv(operation: str, sa: SA, algorithm: Algorithm, bits: int) -> None:
    if bits not in algorithm.icv_bits and algorithm in ALGORITHMS:
        takes = " or ".join(str(b) for b in algorithm.icv_bits)
        cut = by_xfrm_name(algorithm.xfrm_name, algorithm.kind, bits)
        hint = f"; take {cut}" if cut in ALGORITHMS else ""
        raise InvalidRequestError(f"{operation} {sa}: {algorithm} has an ICV of {takes} bits, not {bits}{hint}")


def _is_inbound(sa: SA) -> bool:
    return sa.direction is Direction.IN


def _is_outbound(sa: SA) -> bool:
    return sa.direction is Direction.OUT


def _receives_iptfs(iptfs: Iptfs | None) -> bool:
    return iptfs is not None and (iptfs.drop_time_us is not None or iptfs.reorder_window is not None)


def _sends_iptfs(iptfs: Iptfs | None) -> bool:
    sending = (iptfs.init_delay_us, iptfs.queue_octets, iptfs.packet_octets) if iptfs is not None else ()
    return iptfs is not None and (iptfs.dont_fragment or any(value is not None for value in sending))


#: What is right by itself and wrong together, and what to do.
_COMBINATIONS: Sequence[tuple[Callable[[SA], bool], str]] = (
    (
        # RFC 3173 has no sequence numbers: the kernel would take each packet for number 0, and drop it.
        lambda it: it.id.protocol is Protocol.IPCOMP and it.replay_window != 0,
        "IPComp has no sequence numbers that a replay window could be of; take a window of 0",
    ),
    (
        lambda it: it.encap is not None and it.id.protocol is not Protocol.ESP,
        "only ESP can be encapsulated in UDP (RFC 3948) or TCP (RFC 9329)",
    ),
    (
        lambda it: it.esn and it.replay_window == 0 and not _is_outbound(it),
        "64-bit sequence numbers are inferred from the replay window (RFC 4303 §3.4.3); give one, or direction OUT",
    ),
    (
        lambda it: it.tfc_padding != 0 and (it.mode is not Mode.TUNNEL or it.id.protocol is not Protocol.ESP),
        "only ESP in tunnel mode is padded; leave tfc_padding out",
    ),
    (
        lambda it: it.mode is Mode.IN_TRIGGER,
        "mode in_trigger is for policies only",
    ),
    (
        lambda it: it.id.protocol in _WITHOUT_SPI and (it.mode is not Mode.ROUTE_OPTIMIZATION or it.care_of is None),
        "an SA of Mobile IPv6 has mode route_optimization and a care_of",
    ),
    (
        lambda it: _is_outbound(it) and it.replay_window != 0,
        "an outbound SA checks no replays; take a window of 0",
    ),
    (
        lambda it: _is_outbound(it) and bool(it.flags & _NOT_OUTBOUND),
        "an outbound SA takes none of the flags DECAP_DSCP, ICMP and WILDCARD_RECEIVE",
    ),
    (
        lambda it: _is_inbound(it) and (SAFlag.NO_PMTU_DISCOVERY in it.flags or bool(it.extra_flags)),
        "an inbound SA takes neither NO_PMTU_DISCOVERY nor extra flags",
    ),
    (lambda it: it.cpu is not None and it.direction is None, "an SA of one CPU has a direction; give it"),
    (
        lambda it: it.nat_keepalive_s != 0 and not (_is_outbound(it) and isinstance(it.encap, UdpEncap)),
        "only an outbound SA in UDP keeps a NAT's mapping alive; give direction OUT and a UdpEncap",
    ),
    (
        lambda it: it.mapping_threshold_s != 0 and (_is_outbound(it) or it.encap is None),
        "only an inbound SA with an encap tells of a new mapping; leave mapping_threshold_s out",
    ),
    (
        lambda it: it.iptfs is not None and it.mode is not Mode.IPTFS,
        "iptfs is for mode IPTFS",
    ),
    (
        lambda it: it.mode is Mode.IPTFS and it.direction is None,
        "an SA in mode IPTFS has a direction; give it",
    ),
    (
        lambda it: _is_outbound(it) and _receives_iptfs(it.iptfs),
        "drop_time_us and reorder_window are for an inbound SA",
    ),
    (
        lambda it: _is_inbound(it) and _sends_iptfs(it.iptfs),
        "dont_fragment, init_delay_us, queue_octets and packet_octets are for an outbound SA",
    ),
)
