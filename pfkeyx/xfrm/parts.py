"""What SAs and policies are made of, as the fields and attributes of XFRM messages, and back.

What a whole SA or policy is made of is not known here.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6
from typing import Any, Protocol, TypeVar

from pfkeyx.errors import MalformedReplyError
from pfkeyx.model import (
    Attribute,
    Direction,
    Encap,
    IPAddress,
    Iptfs,
    Lifetime,
    Limit,
    Mark,
    Offload,
    OffloadFlag,
    PolicyType,
    Port,
    SecurityContext,
    Selector,
    TcpEncap,
    UdpEncap,
    Usage,
    make_prefix,
    prefix_address,
    prefix_length,
)
from pfkeyx.model.parts import NO_LIMITS
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm import layout

T = TypeVar("T")


class Told(Protocol):
    """A message that is read: the fields of its struct by name, and its attributes."""

    def __getitem__(self, name: str) -> Any:
        """Return the value of a field."""

    def get_attr(self, name: str) -> Any:
        """Return the value of an attribute, None where it is not there."""

    def attributes(self) -> Iterator[tuple[int, bytes]]:
        """Yield the numbers and the bytes of all attributes."""


#: Attributes that become fields of an `SA` or `Policy`, or that only report; any other is kept as an `Attribute`.
_MODELLED = {
    "XFRMA_ALG_AUTH",
    "XFRMA_ALG_AUTH_TRUNC",
    "XFRMA_ALG_CRYPT",
    "XFRMA_ALG_AEAD",
    "XFRMA_ALG_COMP",
    "XFRMA_ENCAP",
    "XFRMA_TMPL",
    "XFRMA_SA",
    "XFRMA_POLICY",
    "XFRMA_SEC_CTX",
    "XFRMA_LTIME_VAL",
    "XFRMA_REPLAY_VAL",
    "XFRMA_REPLAY_ESN_VAL",
    "XFRMA_COADDR",
    "XFRMA_LASTUSED",
    "XFRMA_POLICY_TYPE",
    "XFRMA_MARK",
    "XFRMA_TFCPAD",
    "XFRMA_SA_EXTRA_FLAGS",
    "XFRMA_PAD",
    "XFRMA_OFFLOAD_DEV",
    "XFRMA_SET_MARK",
    "XFRMA_SET_MARK_MASK",
    "XFRMA_IF_ID",
    "XFRMA_MTIMER_THRESH",
    "XFRMA_SA_DIR",
    "XFRMA_NAT_KEEPALIVE_INTERVAL",
    "XFRMA_SA_PCPU",
    "XFRMA_IPTFS_DROP_TIME",
    "XFRMA_IPTFS_REORDER_WINDOW",
    "XFRMA_IPTFS_DONT_FRAG",
    "XFRMA_IPTFS_INIT_DELAY",
    "XFRMA_IPTFS_MAX_QSIZE",
    "XFRMA_IPTFS_PKT_SIZE",
}

_ENCAP_TYPES: dict[type[Encap], int] = {UdpEncap: wire.UDP_ENCAP_ESPINUDP, TcpEncap: wire.TCP_ENCAP_ESPINTCP}
_ENCAPS: dict[int, type[Encap]] = {number: encap for encap, number in _ENCAP_TYPES.items()}
_SA_DIRECTIONS = {Direction.IN: wire.XFRM_SA_DIR_IN, Direction.OUT: wire.XFRM_SA_DIR_OUT}
_DIRECTIONS = {number: direction for direction, number in _SA_DIRECTIONS.items()}
#: Fields of `Iptfs`, and the attribute that each is, but for the one flag.
_IPTFS = (
    ("drop_time_us", "XFRMA_IPTFS_DROP_TIME"),
    ("reorder_window", "XFRMA_IPTFS_REORDER_WINDOW"),
    ("init_delay_us", "XFRMA_IPTFS_INIT_DELAY"),
    ("queue_octets", "XFRMA_IPTFS_MAX_QSIZE"),
    ("packet_octets", "XFRMA_IPTFS_PKT_SIZE"),
)
IPTFS_ATTRIBUTES = (*(name for _, name in _IPTFS), "XFRMA_IPTFS_DONT_FRAG")
#: Attributes that are declared, and kept as they came.
UNMODELLED = tuple(name for name in wire.ATTRIBUTE_NAMES.values() if name not in _MODELLED)


def decoding(decode: Callable[[Any], T], message: Any) -> T:
    """Return what `decode` makes of a message, or raise `MalformedReplyError`."""
    try:
        return decode(message)
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise MalformedReplyError(f"XFRM message {message['header']['type']}: {error}") from error


def family_of(address: IPAddress) -> int:
    """Return the kernel's number of an address's family."""
    return AF_INET if address.version == 4 else AF_INET6


@lru_cache(maxsize=1024)  # a gateway's own end is one, and its tunnels' ends are told several times each
def decode_address(raw: bytes, family: int) -> IPAddress:
    """Return an address of `family`; nothing is guessed from its bytes."""
    return IPv4Address(raw[:4]) if family == AF_INET else IPv6Address(raw)


def selector_fields(selector: Selector) -> dict[str, Any]:
    """Return the `xfrm_selector`."""
    source, destination = selector.source, selector.destination
    source_port, destination_port = selector.source_port, selector.destination_port
    return {
        "daddr": prefix_address(destination).packed,
        "saddr": prefix_address(source).packed,
        "dport": destination_port.value if destination_port else 0,
        "dport_mask": destination_port.mask if destination_port else 0,
        "sport": source_port.value if source_port else 0,
        "sport_mask": source_port.mask if source_port else 0,
        "family": AF_INET if source.version == 4 else AF_INET6,
        "prefixlen_d": prefix_length(destination),
        "prefixlen_s": prefix_length(source),
        "proto": selector.protocol,
        "ifindex": selector.interface_index,
        "user": selector.user,
    }


def decode_selector(fields: dict[str, Any]) -> Selector:
    """Return the selector of an `xfrm_selector` whose family is set."""
    family = fields["family"]
    return Selector(
        source=make_prefix(decode_address(fields["saddr"], family), fields["prefixlen_s"]),
        destination=make_prefix(decode_address(fields["daddr"], family), fields["prefixlen_d"]),
        protocol=fields["proto"],
        source_port=Port(fields["sport"], fields["sport_mask"]) if fields["sport_mask"] else None,
        destination_port=Port(fields["dport"], fields["dport_mask"]) if fields["dport_mask"] else None,
        interface_index=fields["ifindex"],
        user=fields["user"],
    )


def mark_attributes(mark: Mark | None, if_id: int = 0) -> list[tuple[str, Any]]:
    """Return the attributes for a mark and an interface id, where there are any."""
    attributes: list[tuple[str, Any]] = []
    if mark is not None:
        attributes.append(("XFRMA_MARK", {"v": mark.value, "m": mark.mask}))
    if if_id:
        attributes.append(("XFRMA_IF_ID", if_id))
    return attributes


def decode_mark(message: Told) -> Mark | None:
    """Return the mark that is part of an identity, if it is."""
    mark = message.get_attr("XFRMA_MARK")
    return Mark(mark["v"], mark["m"]) if mark else None


def output_mark_attributes(mark: Mark | None) -> list[tuple[str, Any]]:
    """Return the attributes of the mark that an SA puts on its packets, where there is one."""
    return [("XFRMA_SET_MARK", mark.value), ("XFRMA_SET_MARK_MASK", mark.mask)] if mark is not None else []


def decode_output_mark(message: Told) -> Mark | None:
    """Return the mark that an SA puts on its packets, if it does."""
    value, mask = message.get_attr("XFRMA_SET_MARK"), message.get_attr("XFRMA_SET_MARK_MASK")
    if value is None:
        return None
    return Mark(value) if mask is None else Mark(value, mask)


def encap_fields(encap: Encap) -> dict[str, Any]:
    """Return the `xfrm_encap_tmpl` of ESP in UDP (RFC 3948) or in TCP (RFC 9329)."""
    return {
        "encap_type": _ENCAP_TYPES[type(encap)],
        "encap_sport": encap.source_port,
        "encap_dport": encap.destination_port,
        "encap_oa": encap.original_address.packed if encap.original_address is not None else b"",
    }


def decode_encap(message: Told, family: int) -> Encap | None:
    """Return the encapsulation, in UDP or in TCP, that a message tells of an SA of `family`, None for any other."""
    fields = message.get_attr("XFRMA_ENCAP")
    encap = _ENCAPS.get(fields["encap_type"]) if fields else None
    if encap is None:
        return None
    original = decode_address(fields["encap_oa"], family) if any(fields["encap_oa"]) else None
    return encap(fields["encap_sport"], fields["encap_dport"], original)


def offload_attributes(offload: Offload | None) -> list[tuple[str, Any]]:
    """Return the attribute of the interface that does the work, where there is one."""
    if offload is None:
        return []
    return [("XFRMA_OFFLOAD_DEV", {"ifindex": offload.interface_index, "flags": offload.flags})]


def decode_offload(message: Told) -> Offload | None:
    """Return the interface that does the work of an SA or a policy, if one does."""
    offload = message.get_attr("XFRMA_OFFLOAD_DEV")
    return Offload(offload["ifindex"], OffloadFlag(offload["flags"])) if offload else None


def direction_attributes(direction: Direction | None) -> list[tuple[str, Any]]:
    """Return the attribute of an SA's direction, where it has one."""
    return [("XFRMA_SA_DIR", _SA_DIRECTIONS[direction])] if direction is not None else []


def decode_direction(message: Told) -> Direction | None:
    """Return the direction of an SA, if it has one."""
    return _DIRECTIONS.get(message.get_attr("XFRMA_SA_DIR"))


def cpu_attributes(cpu: int | None) -> list[tuple[str, Any]]:
    """Return the attribute of the only CPU that uses an SA, where there is one."""
    return [("XFRMA_SA_PCPU", cpu)] if cpu is not None else []


def iptfs_attributes(iptfs: Iptfs | None) -> list[tuple[str, Any]]:
    """Return the attributes of what is not left to the kernel."""
    if iptfs is None:
        return []
    given = ((attribute, getattr(iptfs, name)) for name, attribute in _IPTFS)
    attributes = [(attribute, value) for attribute, value in given if value is not None]
    return [*attributes, ("XFRMA_IPTFS_DONT_FRAG", True)] if iptfs.dont_fragment else attributes


def decode_iptfs(message: Told) -> Iptfs | None:
    """Return how an SA gathers packets, if the message says anything of it."""
    told = {name: message.get_attr(attribute) for name, attribute in _IPTFS}
    dont_fragment = message.get_attr("XFRMA_IPTFS_DONT_FRAG") is not None
    is_told = dont_fragment or any(value is not None for value in told.values())
    return Iptfs(dont_fragment=dont_fragment, **told) if is_told else None


def security_attributes(context: SecurityContext | None) -> list[tuple[str, Any]]:
    """Return the attribute of a label, where there is one."""
    if context is None:
        return []
    fields = {
        "len": layout.xfrm_user_sec_ctx.size() + len(context.context),
        "exttype": wire.XFRMA_SEC_CTX,
        "ctx_alg": context.algorithm,
        "ctx_doi": context.doi,
        "ctx_len": len(context.context),
        "ctx": context.context,
    }
    return [("XFRMA_SEC_CTX", fields)]


def decode_security_context(message: Told) -> SecurityContext | None:
    """Return the label that a message carries, if it does."""
    context = message.get_attr("XFRMA_SEC_CTX")
    return SecurityContext(context["ctx"], context["ctx_alg"], context["ctx_doi"]) if context else None


def lifetime_fields(lifetime: Lifetime) -> dict[str, Any]:
    """Return the `xfrm_lifetime_cfg` of limits."""
    fields: dict[str, Any] = {}
    for name, limit in (("soft", lifetime.soft), ("hard", lifetime.hard)):
        fields[f"{name}_byte_limit"] = limit.octets or wire.XFRM_INF
        fields[f"{name}_packet_limit"] = limit.packets or wire.XFRM_INF
        fields[f"{name}_add_expires_seconds"] = limit.seconds or 0
        fields[f"{name}_use_expires_seconds"] = limit.idle_seconds or 0
    return fields


_WITHOUT_LIMITS = lifetime_fields(NO_LIMITS)


def decode_lifetime(fields: dict[str, Any]) -> Lifetime:
    """Return the limits of an `xfrm_lifetime_cfg`."""
    if fields == _WITHOUT_LIMITS:  # as most are
        return NO_LIMITS

    def limit(name: str) -> Limit:
        octets, packets = fields[f"{name}_byte_limit"], fields[f"{name}_packet_limit"]
        return Limit(
            octets=None if octets == wire.XFRM_INF else octets,
            packets=None if packets == wire.XFRM_INF else packets,
            seconds=fields[f"{name}_add_expires_seconds"] or None,
            idle_seconds=fields[f"{name}_use_expires_seconds"] or None,
        )

    return Lifetime(soft=limit("soft"), hard=limit("hard"))


def decode_policy_lifetime(fields: dict[str, Any]) -> Lifetime:
    """Return the limits of a policy, of which the kernel counts neither octets nor packets, so that 0 is none."""
    lifetime = decode_lifetime(fields)
    if lifetime is NO_LIMITS:
        return lifetime
    soft, hard = (
        replace(limit, octets=limit.octets or None, packets=limit.packets or None)
        for limit in (lifetime.soft, lifetime.hard)
    )
    return Lifetime(soft, hard)


def decode_policy_type(message: Told) -> PolicyType:
    """Return which of the SPD's types a policy is of."""
    policy_type = message.get_attr("XFRMA_POLICY_TYPE")
    return PolicyType(policy_type["type"]) if policy_type else PolicyType.MAIN


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return the `xfrm_lifetime_cur` of counters."""
    return {
        "bytes": usage.octets,
        "packets": usage.packets,
        "add_time": usage.added,
        "use_time": usage.first_used,
    }


def decode_usage(fields: dict[str, Any], last_used: int | None = None) -> Usage:
    """Return what an `xfrm_lifetime_cur` counts."""
    return Usage(fields["bytes"], fields["packets"], fields["add_time"], fields["use_time"], last_used)


def decode_other(message: Told) -> tuple[Attribute, ...]:
    """Return the attributes that the model does not name."""
    return tuple(
        Attribute(number, data)
        for number, data in message.attributes()
        if wire.ATTRIBUTE_NAMES.get(number) not in _MODELLED or _has_no_name(number, data)
    )


def _has_no_name(number: int, data: bytes) -> bool:
    """Return whether a modelled attribute has a value that the model has no name for."""
    match wire.ATTRIBUTE_NAMES[number]:
        case "XFRMA_ENCAP":
            return struct.unpack_from("=H", data)[0] not in _ENCAPS
        case "XFRMA_SA_DIR":
            return data[0] not in _DIRECTIONS
        case _:
            return False
