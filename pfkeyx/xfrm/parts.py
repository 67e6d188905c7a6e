"""What SAs and policies are made of, as the fields and attributes of XFRM messages, and back.

The encoding of a whole message is here too. What a whole SA or policy is made of is not.
"""

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6
from typing import Any, TypeVar

from pfkeyx.errors import InvalidRequestError, MalformedReplyError
from pfkeyx.model import (
    Attribute,
    IPAddress,
    Lifetime,
    Limit,
    Mark,
    Port,
    SecurityContext,
    Selector,
    UdpEncap,
    Usage,
    make_prefix,
    prefix_address,
    prefix_length,
)
from pfkeyx.xfrm import layout
from pfkeyx.xfrm import messages as wire

T = TypeVar("T")

_INFINITE = 0xFFFFFFFFFFFFFFFF  # XFRM_INF

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
    "XFRMA_REPLAY_VAL",
    "XFRMA_REPLAY_ESN_VAL",
    "XFRMA_MARK",
    "XFRMA_IF_ID",
    "XFRMA_POLICY_TYPE",
    "XFRMA_LASTUSED",
    "XFRMA_PAD",
}


def encode(
    message_class: type[wire.xfrm_message],
    message_type: int,
    flags: int,
    fields: dict[str, Any],
    attributes: list[tuple[str, Any]] | None = None,
    other: tuple[Attribute, ...] = (),
) -> bytearray:
    """Return a whole message, sequence number 0: `fields` of its struct, `attributes`, then those kept as they came."""
    message = message_class()
    message["header"]["type"] = message_type
    message["header"]["flags"] = flags
    message.update(fields)
    message["attrs"] = attributes or []
    try:
        message.encode()
    except struct.error as error:
        raise InvalidRequestError(f"XFRM message {message_type}: a number does not fit its field: {error}") from error
    data = bytearray(message.data)
    for attribute in other:
        data += struct.pack("=HH", 4 + len(attribute.data), attribute.number) + attribute.data
        data += bytes(-len(attribute.data) % 4)
    struct.pack_into("=I", data, 0, len(data))
    return data


def decoding(decode: Callable[[wire.xfrm_message], T], message: wire.xfrm_message) -> T:
    """Return what `decode` makes of a message, or raise `MalformedReplyError`."""
    try:
        return decode(message)
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise MalformedReplyError(f"XFRM message {message['header']['type']}: {error}") from error


def family_of(address: IPAddress) -> int:
    """Return the kernel's number of an address's family."""
    return AF_INET if address.version == 4 else AF_INET6


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


def decode_mark(message: wire.xfrm_message) -> Mark | None:
    """Return the mark that is part of an identity, if it is."""
    mark = message.get_attr("XFRMA_MARK")
    return Mark(mark["v"], mark["m"]) if mark else None


def encap_fields(encap: UdpEncap) -> dict[str, Any]:
    """Return the `xfrm_encap_tmpl` of ESP in UDP (RFC 3948)."""
    return {
        "encap_type": wire.UDP_ENCAP_ESPINUDP,
        "encap_sport": encap.source_port,
        "encap_dport": encap.destination_port,
    }


def decode_encap(message: wire.xfrm_message) -> UdpEncap | None:
    """Return the encapsulation in UDP that a message tells of, None for any other."""
    encap = message.get_attr("XFRMA_ENCAP")
    if not encap or encap["encap_type"] != wire.UDP_ENCAP_ESPINUDP:
        return None
    return UdpEncap(encap["encap_sport"], encap["encap_dport"])


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


def decode_security_context(message: wire.xfrm_message) -> SecurityContext | None:
    """Return the label that a message carries, if it does."""
    context = message.get_attr("XFRMA_SEC_CTX")
    return SecurityContext(context["ctx"], context["ctx_alg"], context["ctx_doi"]) if context else None


def lifetime_fields(lifetime: Lifetime) -> dict[str, Any]:
    """Return the `xfrm_lifetime_cfg` of limits."""
    fields: dict[str, Any] = {}
    for name, limit in (("soft", lifetime.soft), ("hard", lifetime.hard)):
        fields[f"{name}_byte_limit"] = limit.octets or _INFINITE
        fields[f"{name}_packet_limit"] = limit.packets or _INFINITE
        fields[f"{name}_add_expires_seconds"] = limit.seconds or 0
        fields[f"{name}_use_expires_seconds"] = limit.idle_seconds or 0
    return fields


def decode_lifetime(fields: dict[str, Any]) -> Lifetime:
    """Return the limits of an `xfrm_lifetime_cfg`."""

    def limit(name: str) -> Limit:
        octets, packets = fields[f"{name}_byte_limit"], fields[f"{name}_packet_limit"]
        return Limit(
            octets=None if octets == _INFINITE else octets,
            packets=None if packets == _INFINITE else packets,
            seconds=fields[f"{name}_add_expires_seconds"] or None,
            idle_seconds=fields[f"{name}_use_expires_seconds"] or None,
        )

    return Lifetime(soft=limit("soft"), hard=limit("hard"))


def decode_usage(fields: dict[str, Any]) -> Usage:
    """Return what an `xfrm_lifetime_cur` counts."""
    return Usage(fields["bytes"], fields["packets"], fields["add_time"], fields["use_time"])


def decode_other(message: wire.xfrm_message) -> tuple[Attribute, ...]:
    """Return the attributes that the model does not name."""
    other = []
    for slot in message["attrs"]:
        if slot.name in _MODELLED and not (slot.name == "XFRMA_ENCAP" and decode_encap(message) is None):
            continue
        attribute = slot.cell[1]
        length, number = struct.unpack_from("=HH", attribute.data, attribute.offset)
        other.append(Attribute(number, bytes(attribute.data[attribute.offset + 4 : attribute.offset + length])))
    return tuple(other)
