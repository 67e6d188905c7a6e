"""Values to XFRM messages and back. What is asked for, and of which socket, is not decided here."""

import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6
from typing import Any, TypeVar

from pfkeyx.algorithms import Kind, by_xfrm_name
from pfkeyx.errors import InvalidRequestError, MalformedReplyError
from pfkeyx.events import Acquire, Expire
from pfkeyx.model import (
    SA,
    Action,
    Attribute,
    Authentication,
    Direction,
    Encryption,
    IPAddress,
    Key,
    Lifetime,
    Limit,
    Mark,
    Mode,
    Policy,
    PolicyId,
    Port,
    Protocol,
    Replay,
    SAFlag,
    SAId,
    Selector,
    Template,
    UdpEncap,
    Usage,
    any_selector,
    make_prefix,
    prefix_address,
    prefix_length,
)
from pfkeyx.xfrm import messages as wire

T = TypeVar("T")

_INFINITE = 0xFFFFFFFFFFFFFFFF  # XFRM_INF
_ALL_ALGORITHMS = (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)

#: Attributes that become fields of an `SA` or `Policy`, or that only report; any other is kept as an `Attribute`.
_MODELLED = {
    "XFRMA_ALG_AUTH",
    "XFRMA_ALG_AUTH_TRUNC",
    "XFRMA_ALG_CRYPT",
    "XFRMA_ALG_AEAD",
    "XFRMA_ENCAP",
    "XFRMA_TMPL",
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


def sa_fields(sa: SA) -> dict[str, Any]:
    """Return the `xfrm_usersa_info` of an SA that is to be made."""
    return {
        "sel": sa_selector_fields(sa),
        "id": {"daddr": sa.destination.packed, "spi": sa.id.spi, "proto": sa.id.protocol},
        "saddr": sa.source.packed,
        "lft": _lifetime_fields(sa.lifetime),
        "reqid": sa.reqid,
        "family": family_of(sa.destination),
        "mode": sa.mode,
        "replay_window": 0 if _has_long_window(sa) else sa.replay_window,
        "flags": int(sa.flags),
    }


def sa_attributes(sa: SA) -> list[tuple[str, Any]]:
    """Return the attributes of an SA that is to be made."""
    attributes: list[tuple[str, Any]] = []
    if sa.encryption is not None:
        attributes.append(_encryption_attribute(sa.encryption))
    if sa.authentication is not None:
        algorithm = _algorithm_fields(sa.authentication.algorithm.xfrm_name, sa.authentication.key)
        attributes.append(("XFRMA_ALG_AUTH_TRUNC", algorithm | {"alg_trunc_len": sa.authentication.icv_bits}))
    if sa.encap is not None:
        attributes.append(("XFRMA_ENCAP", encap_fields(sa.encap)))
    if _has_long_window(sa):
        words = (sa.replay_window + 31) // 32
        esn = {"bmp_len": words, "replay_window": sa.replay_window, "bmp": bytes(4 * words)}
        attributes.append(("XFRMA_REPLAY_ESN_VAL", esn))
    return attributes + mark_attributes(sa.id.mark, sa.if_id)


def sa_selector_fields(sa: SA) -> dict[str, Any]:
    """Return the `xfrm_selector` of an SA, empty where the SA carries every packet of both IP versions."""
    if sa.selector is None and SAFlag.AF_UNSPEC in sa.flags:
        return {}
    return selector_fields(sa.effective_selector)


def replay_attribute(sa: SA, replay: Replay) -> tuple[str, Any]:
    """Return the attribute that sets the sequence numbers and the replay window of an SA."""
    if not _has_long_window(sa):
        bitmap = replay.bitmap[0] if replay.bitmap else 0
        return "XFRMA_REPLAY_VAL", {"oseq": replay.outbound, "seq": replay.inbound, "bitmap": bitmap}
    return "XFRMA_REPLAY_ESN_VAL", {
        "bmp_len": len(replay.bitmap),
        "oseq": replay.outbound & 0xFFFFFFFF,
        "oseq_hi": replay.outbound >> 32,
        "seq": replay.inbound & 0xFFFFFFFF,
        "seq_hi": replay.inbound >> 32,
        "replay_window": sa.replay_window,
        "bmp": struct.pack(f"={len(replay.bitmap)}I", *replay.bitmap),
    }


def sa_id_fields(sa_id: SAId) -> dict[str, Any]:
    """Return the `xfrm_usersa_id` that an SA is looked up by."""
    return {
        "daddr": sa_id.destination.packed,
        "spi": sa_id.spi,
        "family": family_of(sa_id.destination),
        "proto": sa_id.protocol,
    }


def encap_fields(encap: UdpEncap) -> dict[str, Any]:
    """Return the `xfrm_encap_tmpl` of ESP in UDP (RFC 3948)."""
    return {
        "encap_type": wire.UDP_ENCAP_ESPINUDP,
        "encap_sport": encap.source_port,
        "encap_dport": encap.destination_port,
    }


def mark_attributes(mark: Mark | None, if_id: int = 0) -> list[tuple[str, Any]]:
    """Return the attributes for a mark and an interface id, where there are any."""
    attributes: list[tuple[str, Any]] = []
    if mark is not None:
        attributes.append(("XFRMA_MARK", {"v": mark.value, "m": mark.mask}))
    if if_id:
        attributes.append(("XFRMA_IF_ID", if_id))
    return attributes


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


def policy_fields(policy: Policy) -> dict[str, Any]:
    """Return the `xfrm_userpolicy_info` of a policy that is to be made."""
    return {
        "sel": selector_fields(policy.selector),
        "lft": _lifetime_fields(policy.lifetime),
        "priority": policy.priority,
        "dir": policy.direction,
        "action": policy.action,
        "flags": policy.flags,
        "share": policy.share,
    }


def policy_attributes(policy: Policy) -> list[tuple[str, Any]]:
    """Return the attributes of a policy that is to be made."""
    attributes: list[tuple[str, Any]] = []
    if policy.templates:
        attributes.append(("XFRMA_TMPL", list(_templates_fields(policy))))
    return attributes + policy_id_attributes(policy.id)


def policy_id_fields(policy_id: PolicyId) -> dict[str, Any]:
    """Return the `xfrm_userpolicy_id` that a policy is looked up by: its selector, not its index."""
    return {"sel": selector_fields(policy_id.selector), "dir": policy_id.direction}


def policy_id_attributes(policy_id: PolicyId) -> list[tuple[str, Any]]:
    """Return the attributes that are part of a policy's identity."""
    attributes = mark_attributes(policy_id.mark, policy_id.if_id)
    if policy_id.type:
        attributes.append(("XFRMA_POLICY_TYPE", {"type": policy_id.type}))
    return attributes


def decode_sa(message: wire.xfrm_message) -> SA:
    """Return the SA that a NEWSA message tells of."""
    return _decoding(_decode_sa, message)


def decode_policy(message: wire.xfrm_message) -> Policy:
    """Return the policy that a NEWPOLICY message tells of."""
    return _decoding(_decode_policy, message)


def decode_acquire(message: wire.xfrm_message) -> Acquire:
    """Return the event of an ACQUIRE message."""
    return _decoding(_decode_acquire, message)


def decode_expire(message: wire.xfrm_message) -> Expire:
    """Return the event of an EXPIRE message."""
    return _decoding(_decode_expire, message)


def decode_address(raw: bytes, family: int) -> IPAddress:
    """Return an address of `family`; nothing is guessed from its bytes."""
    return IPv4Address(raw[:4]) if family == AF_INET else IPv6Address(raw)


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


def family_of(address: IPAddress) -> int:
    """Return the kernel's number of an address's family."""
    return AF_INET if address.version == 4 else AF_INET6


def _decoding(decode: Callable[[wire.xfrm_message], T], message: wire.xfrm_message) -> T:
    try:
        return decode(message)
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise MalformedReplyError(f"XFRM message {message['header']['type']}: {error}") from error


def _decode_sa(message: wire.xfrm_message, info: Any = None) -> SA:
    info = message if info is None else info
    family = info["family"]
    source = decode_address(info["saddr"], family)
    replay, window = _decode_replay(message, info["replay_window"])
    return SA(
        id=SAId(
            destination=decode_address(info["id"]["daddr"], family),
            spi=info["id"]["spi"],
            protocol=Protocol(info["id"]["proto"]),
            mark=_decode_mark(message),
        ),
        source=source,
        mode=Mode(info["mode"]),
        reqid=info["reqid"],
        encryption=_decode_encryption(message),
        authentication=_decode_authentication(message),
        encap=_decode_encap(message),
        selector=_decode_sa_selector(info["sel"], source, SAFlag(info["flags"])),
        lifetime=_decode_lifetime(info["lft"]),
        replay_window=window,
        flags=SAFlag(info["flags"]),
        if_id=message.get_attr("XFRMA_IF_ID") or 0,
        other=_other(message),
        usage=_decode_usage(info["curlft"]),
        replay=replay,
    )


def _decode_acquire(message: wire.xfrm_message) -> Acquire:
    templates = message.get_attr("XFRMA_TMPL")
    # The template that wants the SA says its outer family; without one it is the flow's.
    family = templates[0]["family"] if templates else message["sel"]["family"]
    return Acquire(
        source=decode_address(message["saddr"], family),
        destination=decode_address(message["id"]["daddr"], family),
        protocol=Protocol(message["id"]["proto"]),
        policy_index=message["policy"]["index"],
        sequence=message["seq"],
        selector=decode_selector(message["sel"]),
        reqid=templates[0]["reqid"] if templates else None,
    )


def _decode_expire(message: wire.xfrm_message) -> Expire:
    sa = _decode_sa(message, message["state"])
    return Expire(sa.id, sa.source, sa.reqid, bool(message["hard"]))


def _decode_policy(message: wire.xfrm_message) -> Policy:
    policy_type = message.get_attr("XFRMA_POLICY_TYPE")
    return Policy(
        selector=decode_selector(message["sel"]),
        direction=Direction(message["dir"]),
        templates=tuple(_decode_template(fields) for fields in message.get_attr("XFRMA_TMPL") or ()),
        action=Action(message["action"]),
        priority=message["priority"],
        lifetime=_decode_lifetime(message["lft"]),
        mark=_decode_mark(message),
        if_id=message.get_attr("XFRMA_IF_ID") or 0,
        type=policy_type["type"] if policy_type else 0,
        flags=message["flags"],
        share=message["share"],
        other=_other(message),
        index=message["index"],
        usage=_decode_usage(message["curlft"]),
    )


def _has_long_window(sa: SA) -> bool:
    # Only XFRMA_REPLAY_ESN_VAL can carry a window above 32, and ESN needs it at any size.
    return sa.esn or sa.replay_window > 32


def _encryption_attribute(encryption: Encryption) -> tuple[str, Any]:
    algorithm = _algorithm_fields(encryption.algorithm.xfrm_name, encryption.key)
    if encryption.algorithm.kind is Kind.AEAD:
        return "XFRMA_ALG_AEAD", algorithm | {"alg_icv_len": encryption.icv_bits}
    return "XFRMA_ALG_CRYPT", algorithm


def _algorithm_fields(name: str, key: Key) -> dict[str, Any]:
    return {"alg_name": name.encode(), "alg_key_len": key.bits, "alg_key": key.reveal()}


def _lifetime_fields(lifetime: Lifetime) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, limit in (("soft", lifetime.soft), ("hard", lifetime.hard)):
        fields[f"{name}_byte_limit"] = limit.octets or _INFINITE
        fields[f"{name}_packet_limit"] = limit.packets or _INFINITE
        fields[f"{name}_add_expires_seconds"] = limit.seconds or 0
        fields[f"{name}_use_expires_seconds"] = limit.idle_seconds or 0
    return fields


def _templates_fields(policy: Policy) -> Iterator[dict[str, Any]]:
    # What a transport template wraps is what the tunnel before it made.
    version = policy.selector.source.version
    for template in policy.templates:
        version = template.source.version if template.source is not None else version
        yield _template_fields(template, version)


def _template_fields(template: Template, version: int) -> dict[str, Any]:
    authentication, encryption, compression = template.algorithm_masks
    source, destination = template.source, template.destination
    return {
        "id": {
            "daddr": destination.packed if destination is not None else b"",
            "spi": template.spi,
            "proto": template.protocol,
        },
        "family": AF_INET if version == 4 else AF_INET6,
        "saddr": source.packed if source is not None else b"",
        "reqid": template.reqid,
        "mode": template.mode,
        "share": template.share,
        "optional": int(template.optional),
        "aalgos": authentication,
        "ealgos": encryption,
        "calgos": compression,
    }


def _decode_sa_selector(fields: dict[str, Any], source: IPAddress, flags: SAFlag) -> Selector | None:
    if fields["family"] == 0:
        return None
    selector = decode_selector(fields)
    return None if selector == any_selector(source.version) and SAFlag.AF_UNSPEC not in flags else selector


def _decode_encap(message: wire.xfrm_message) -> UdpEncap | None:
    encap = message.get_attr("XFRMA_ENCAP")
    if not encap or encap["encap_type"] != wire.UDP_ENCAP_ESPINUDP:
        return None
    return UdpEncap(encap["encap_sport"], encap["encap_dport"])


def _decode_mark(message: wire.xfrm_message) -> Mark | None:
    mark = message.get_attr("XFRMA_MARK")
    return Mark(mark["v"], mark["m"]) if mark else None


def _decode_encryption(message: wire.xfrm_message) -> Encryption | None:
    aead = message.get_attr("XFRMA_ALG_AEAD")
    if aead:
        return Encryption(by_xfrm_name(_name(aead), Kind.AEAD), Key(aead["alg_key"]), aead["alg_icv_len"])
    crypt = message.get_attr("XFRMA_ALG_CRYPT")
    return Encryption(by_xfrm_name(_name(crypt), Kind.ENCRYPTION), Key(crypt["alg_key"])) if crypt else None


def _decode_authentication(message: wire.xfrm_message) -> Authentication | None:
    auth = message.get_attr("XFRMA_ALG_AUTH_TRUNC")
    if not auth:
        return None
    return Authentication(by_xfrm_name(_name(auth), Kind.AUTHENTICATION), Key(auth["alg_key"]), auth["alg_trunc_len"])


def _name(algorithm: dict[str, Any]) -> str:
    return str(algorithm["alg_name"].rstrip(b"\0").decode())


def _decode_replay(message: wire.xfrm_message, window: int) -> tuple[Replay | None, int]:
    esn = message.get_attr("XFRMA_REPLAY_ESN_VAL")
    if esn:
        replay = Replay(
            outbound=esn["oseq_hi"] << 32 | esn["oseq"],
            inbound=esn["seq_hi"] << 32 | esn["seq"],
            bitmap=struct.unpack(f"={esn['bmp_len']}I", esn["bmp"]),
        )
        return replay, esn["replay_window"]
    legacy = message.get_attr("XFRMA_REPLAY_VAL")
    return (Replay(legacy["oseq"], legacy["seq"], (legacy["bitmap"],)) if legacy else None), window


def _decode_lifetime(fields: dict[str, Any]) -> Lifetime:
    def limit(name: str) -> Limit:
        octets, packets = fields[f"{name}_byte_limit"], fields[f"{name}_packet_limit"]
        return Limit(
            octets=None if octets == _INFINITE else octets,
            packets=None if packets == _INFINITE else packets,
            seconds=fields[f"{name}_add_expires_seconds"] or None,
            idle_seconds=fields[f"{name}_use_expires_seconds"] or None,
        )

    return Lifetime(soft=limit("soft"), hard=limit("hard"))


def _decode_usage(fields: dict[str, Any]) -> Usage:
    return Usage(fields["bytes"], fields["packets"], fields["add_time"], fields["use_time"])


def _decode_template(fields: dict[str, Any]) -> Template:
    mode = Mode(fields["mode"])
    addressed = mode is Mode.TUNNEL or any(fields["saddr"]) or any(fields["id"]["daddr"])
    masks = (fields["aalgos"], fields["ealgos"], fields["calgos"])
    return Template(
        protocol=Protocol(fields["id"]["proto"]),
        mode=mode,
        source=decode_address(fields["saddr"], fields["family"]) if addressed else None,
        destination=decode_address(fields["id"]["daddr"], fields["family"]) if addressed else None,
        reqid=fields["reqid"],
        spi=fields["id"]["spi"],
        optional=bool(fields["optional"]),
        share=fields["share"],
        # A policy made over PF_KEY allows every algorithm and shows empty masks; sent back as they
        # are, empty masks would allow none.
        algorithm_masks=_ALL_ALGORITHMS if masks == (0, 0, 0) else masks,
    )


def _other(message: wire.xfrm_message) -> tuple[Attribute, ...]:
    other = []
    for slot in message["attrs"]:
        if slot.name in _MODELLED and not (slot.name == "XFRMA_ENCAP" and _decode_encap(message) is None):
            continue
        attribute = slot.cell[1]
        length, number = struct.unpack_from("=HH", attribute.data, attribute.offset)
        other.append(Attribute(number, bytes(attribute.data[attribute.offset + 4 : attribute.offset + length])))
    return tuple(other)
