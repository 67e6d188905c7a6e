"""SAs and policies to XFRM messages and back. What is asked for, and of which socket, is not decided here."""

import struct
from collections.abc import Iterator
from socket import AF_INET, AF_INET6
from typing import Any

from pfkeyx.algorithms import Algorithm, Kind, by_xfrm_name
from pfkeyx.model import (
    SA,
    Action,
    Authentication,
    Direction,
    Encryption,
    IPAddress,
    Key,
    Mode,
    Policy,
    PolicyId,
    Protocol,
    Replay,
    SAFilter,
    SAFlag,
    SAId,
    Selector,
    Template,
    any_selector,
    prefix_address,
    prefix_length,
)
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm import parts

_ALL_ALGORITHMS = (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def sa_fields(sa: SA) -> dict[str, Any]:
    """Return the `xfrm_usersa_info` of an SA that is to be made."""
    return {
        "sel": sa_selector_fields(sa),
        "id": {"daddr": sa.destination.packed, "spi": sa.id.spi, "proto": sa.id.protocol},
        "saddr": sa.source.packed,
        "lft": parts.lifetime_fields(sa.lifetime),
        "reqid": sa.reqid,
        "family": parts.family_of(sa.destination),
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
    if sa.compression is not None:
        attributes.append(("XFRMA_ALG_COMP", {"alg_name": sa.compression.xfrm_name.encode()}))
    if sa.encap is not None:
        attributes.append(("XFRMA_ENCAP", parts.encap_fields(sa.encap)))
    if _has_long_window(sa):
        words = (sa.replay_window + 31) // 32
        esn = {"bmp_len": words, "replay_window": sa.replay_window, "bmp": bytes(4 * words)}
        attributes.append(("XFRMA_REPLAY_ESN_VAL", esn))
    return attributes + parts.security_attributes(sa.security_context) + parts.mark_attributes(sa.id.mark, sa.if_id)


def sa_selector_fields(sa: SA) -> dict[str, Any]:
    """Return the `xfrm_selector` of an SA, empty where the SA carries every packet of both IP versions."""
    if sa.selector is None and SAFlag.AF_UNSPEC in sa.flags:
        return {}
    return parts.selector_fields(sa.effective_selector)


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
        "family": parts.family_of(sa_id.destination),
        "proto": sa_id.protocol,
    }


def protocol_number(protocol: Protocol | None) -> int:
    """Return the number of a protocol, or the one that stands for ESP, AH and IPComp."""
    return wire.IPSEC_PROTO_ANY if protocol is None else protocol


def filter_attributes(matching: SAFilter) -> list[tuple[str, Any]]:
    """Return the attributes of a dump that let the kernel choose the SAs."""
    attributes: list[tuple[str, Any]] = [("XFRMA_PROTO", protocol_number(matching.protocol))]
    given = matching.source or matching.destination
    if given is not None:
        anywhere = any_selector(given.version)
        source, destination = matching.source or anywhere.source, matching.destination or anywhere.destination
        address_filter = {
            "saddr": prefix_address(source).packed,
            "daddr": prefix_address(destination).packed,
            "family": parts.family_of(prefix_address(given)),
            "splen": prefix_length(source),
            "dplen": prefix_length(destination),
        }
        attributes.append(("XFRMA_ADDRESS_FILTER", address_filter))
    return attributes


def policy_fields(policy: Policy) -> dict[str, Any]:
    """Return the `xfrm_userpolicy_info` of a policy that is to be made."""
    return {
        "sel": parts.selector_fields(policy.selector),
        "lft": parts.lifetime_fields(policy.lifetime),
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
    return attributes + parts.security_attributes(policy.security_context) + policy_id_attributes(policy.id)


def policy_id_fields(policy_id: PolicyId) -> dict[str, Any]:
    """Return the `xfrm_userpolicy_id` that a policy is looked up by: its selector, not its index."""
    return {"sel": parts.selector_fields(policy_id.selector), "dir": policy_id.direction}


def policy_id_attributes(policy_id: PolicyId) -> list[tuple[str, Any]]:
    """Return the attributes that are part of a policy's identity."""
    attributes = parts.mark_attributes(policy_id.mark, policy_id.if_id)
    if policy_id.type:
        attributes.append(("XFRMA_POLICY_TYPE", {"type": policy_id.type}))
    return attributes


def decode_sa(message: wire.xfrm_message, info: Any = None) -> SA:
    """Return the SA of a message whose struct is, or whose `info` is, its `xfrm_usersa_info`."""
    info = message if info is None else info
    family = info["family"]
    source = parts.decode_address(info["saddr"], family)
    replay, window = _decode_replay(message, info["replay_window"])
    return SA(
        id=SAId(
            destination=parts.decode_address(info["id"]["daddr"], family),
            spi=info["id"]["spi"],
            protocol=Protocol(info["id"]["proto"]),
            mark=parts.decode_mark(message),
        ),
        source=source,
        mode=Mode(info["mode"]),
        reqid=info["reqid"],
        encryption=_decode_encryption(message),
        authentication=_decode_authentication(message),
        compression=_decode_compression(message),
        encap=parts.decode_encap(message),
        selector=_decode_sa_selector(info["sel"], source, SAFlag(info["flags"])),
        lifetime=parts.decode_lifetime(info["lft"]),
        replay_window=window,
        flags=SAFlag(info["flags"]),
        if_id=message.get_attr("XFRMA_IF_ID") or 0,
        security_context=parts.decode_security_context(message),
        other=parts.decode_other(message),
        usage=parts.decode_usage(info["curlft"]),
        replay=replay,
    )


def decode_policy(message: wire.xfrm_message, info: Any = None) -> Policy:
    """Return the policy of a message whose struct is, or whose `info` is, its `xfrm_userpolicy_info`."""
    info = message if info is None else info
    return Policy(
        selector=parts.decode_selector(info["sel"]),
        direction=Direction(info["dir"]),
        templates=tuple(_decode_template(fields) for fields in message.get_attr("XFRMA_TMPL") or ()),
        action=Action(info["action"]),
        priority=info["priority"],
        lifetime=parts.decode_lifetime(info["lft"]),
        mark=parts.decode_mark(message),
        if_id=message.get_attr("XFRMA_IF_ID") or 0,
        type=decode_policy_type(message),
        flags=info["flags"],
        share=info["share"],
        security_context=parts.decode_security_context(message),
        other=parts.decode_other(message),
        index=info["index"],
        usage=parts.decode_usage(info["curlft"]),
    )


def decode_policy_type(message: wire.xfrm_message) -> int:
    """Return which of the SPD's types a policy is of."""
    policy_type = message.get_attr("XFRMA_POLICY_TYPE")
    return policy_type["type"] if policy_type else 0


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
    selector = parts.decode_selector(fields)
    return None if selector == any_selector(source.version) and SAFlag.AF_UNSPEC not in flags else selector


def _decode_encryption(message: wire.xfrm_message) -> Encryption | None:
    aead = message.get_attr("XFRMA_ALG_AEAD")
    if aead:
        icv_bits = aead["alg_icv_len"]
        return Encryption(by_xfrm_name(_name(aead), Kind.AEAD, icv_bits), Key(aead["alg_key"]), icv_bits)
    crypt = message.get_attr("XFRMA_ALG_CRYPT")
    return Encryption(by_xfrm_name(_name(crypt), Kind.ENCRYPTION), Key(crypt["alg_key"])) if crypt else None


def _decode_authentication(message: wire.xfrm_message) -> Authentication | None:
    auth = message.get_attr("XFRMA_ALG_AUTH_TRUNC")
    if not auth:
        return None
    icv_bits = auth["alg_trunc_len"]
    return Authentication(by_xfrm_name(_name(auth), Kind.AUTHENTICATION, icv_bits), Key(auth["alg_key"]), icv_bits)


def _decode_compression(message: wire.xfrm_message) -> Algorithm | None:
    compression = message.get_attr("XFRMA_ALG_COMP")
    return by_xfrm_name(_name(compression), Kind.COMPRESSION) if compression else None


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


def _decode_template(fields: dict[str, Any]) -> Template:
    mode = Mode(fields["mode"])
    addressed = mode is Mode.TUNNEL or any(fields["saddr"]) or any(fields["id"]["daddr"])
    masks = (fields["aalgos"], fields["ealgos"], fields["calgos"])
    return Template(
        protocol=Protocol(fields["id"]["proto"]),
        mode=mode,
        source=parts.decode_address(fields["saddr"], fields["family"]) if addressed else None,
        destination=parts.decode_address(fields["id"]["daddr"], fields["family"]) if addressed else None,
        reqid=fields["reqid"],
        spi=fields["id"]["spi"],
        optional=bool(fields["optional"]),
        share=fields["share"],
        # A policy made over PF_KEY allows every algorithm and shows empty masks; sent back as they
        # are, empty masks would allow none.
        algorithm_masks=_ALL_ALGORITHMS if masks == (0, 0, 0) else masks,
    )
