"""SAs and policies to XFRM messages and back. What is asked for, and of which socket, is not decided here."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from socket import AF_INET, AF_INET6
from typing import Any

from pfkeyx.entries import Entries, Messages
from pfkeyx.model import (
    SA,
    Action,
    DefaultPolicy,
    Policy,
    PolicyId,
    PolicyType,
    Progress,
    Protocol,
    Replay,
    SAFilter,
    SAFlag,
    SAId,
    Template,
    any_selector,
    prefix_address,
    prefix_length,
)
from pfkeyx.model.deferred import Handle
from pfkeyx.native import lib
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm import parts
from pfkeyx.xfrm.algorithms import algorithm_attributes
from pfkeyx.xfrm.entry import PolicyEntry, SAEntry, handles, policies_at
from pfkeyx.xfrm.fields import POLICY_FIELDS, SA_FIELDS, decode_replay

#: What the kernel tells XFRMA_ETIMER_THRESH in; it is set in jiffies.
_TIMER_UNIT_MS = 100
_DEFAULT_ACTIONS = {Action.ALLOW: wire.XFRM_USERPOLICY_ACCEPT, Action.BLOCK: wire.XFRM_USERPOLICY_BLOCK}
_ACTIONS = {number: action for action, number in _DEFAULT_ACTIONS.items()}


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
        "replay_window": 0 if _has_extended_window(sa) else sa.replay_window,
        "flags": int(sa.flags),
    }


def sa_attributes(sa: SA, replay: Replay | None = None) -> list[tuple[str, Any]]:
    """Return the attributes of an SA that is to be made, and is as far as `replay` says, or at its beginning."""
    attributes = algorithm_attributes(sa)
    if sa.encap is not None:
        attributes.append(("XFRMA_ENCAP", parts.encap_fields(sa.encap)))
    if replay is not None or _has_extended_window(sa):
        attributes.append(replay_attribute(sa, replay or Replay(0, 0)))
    if sa.care_of is not None:
        attributes.append(("XFRMA_COADDR", sa.care_of.packed))
    numbers = (("XFRMA_TFCPAD", sa.tfc_padding), ("XFRMA_SA_EXTRA_FLAGS", int(sa.extra_flags)))
    return [
        *attributes,
        *((name, number) for name, number in numbers if number),
        *_nat_attributes(sa),
        *parts.security_attributes(sa.security_context),
        *parts.mark_attributes(sa.id.mark, sa.if_id),
        *parts.output_mark_attributes(sa.output_mark),
        *parts.offload_attributes(sa.offload),
        *parts.direction_attributes(sa.direction),
        *parts.cpu_attributes(sa.cpu),
        *parts.iptfs_attributes(sa.iptfs),
    ]


def encap_attributes(sa: SA) -> list[tuple[str, Any]]:
    """Return the attributes of an SA's encapsulation, with what it does for its NAT; none takes one away from an SA."""
    return [("XFRMA_ENCAP", parts.encap_fields(sa.encap) if sa.encap is not None else {}), *_nat_attributes(sa)]


def sa_selector_fields(sa: SA) -> dict[str, Any]:
    """Return the `xfrm_selector` of an SA, empty where the SA carries every packet of both IP versions."""
    if sa.selector is None and SAFlag.AF_UNSPEC in sa.flags:
        return {}
    return parts.selector_fields(sa.effective_selector)


def replay_attribute(sa: SA, replay: Replay) -> tuple[str, Any]:
    """Return the attribute that sets the sequence numbers and the replay window of an SA."""
    if not (replay.extended or _has_extended_window(sa)):
        newest = replay.bitmap[0] if replay.bitmap else 0
        return "XFRMA_REPLAY_VAL", {"oseq": replay.outbound, "seq": replay.inbound, "bitmap": newest}
    # The kernel takes only as many words as the SA has, which may be more than its window needs.
    words = max(len(replay.bitmap), (sa.replay_window + 31) // 32)
    bitmap = replay.bitmap + (0,) * (words - len(replay.bitmap))
    return "XFRMA_REPLAY_ESN_VAL", {
        "bmp_len": words,
        "oseq": replay.outbound & 0xFFFFFFFF,
        "oseq_hi": replay.outbound >> 32,
        "seq": replay.inbound & 0xFFFFFFFF,
        "seq_hi": replay.inbound >> 32,
        "replay_window": sa.replay_window,
        "bmp": struct.pack(f"={words}I", *bitmap),
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
        "index": policy.index,
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
    return attributes + parts.offload_attributes(policy.offload) + policy_id_attributes(policy)


def policy_id_fields(policy_id: PolicyId) -> dict[str, Any]:
    """Return the `xfrm_userpolicy_id` that a policy is looked up by: its selector, not its index."""
    return {"sel": parts.selector_fields(policy_id.selector), "dir": policy_id.direction}


def policy_id_attributes(policy_id: PolicyId | Policy) -> list[tuple[str, Any]]:
    """Return the attributes that are part of a policy's identity."""
    return [
        *parts.security_attributes(policy_id.security_context),
        *parts.mark_attributes(policy_id.mark, policy_id.if_id),
        *policy_type_attributes(policy_id.type),
    ]


def policy_type_attributes(policy_type: PolicyType) -> list[tuple[str, Any]]:
    """Return the attribute of a policy's type, which the main one does without."""
    return [("XFRMA_POLICY_TYPE", {"type": policy_type})] if policy_type else []


def decode_sa(message: parts.Told, info: Any = None) -> SA:
    """Return the SA of a message whose struct is, or whose `info` is, its `xfrm_usersa_info`."""
    told = _Within(message, message if info is None else info)
    return SA(**{name: read(told) for name, read in SA_FIELDS.items()})


def read_sa(message: bytes) -> SA:
    """Return the SA of a NEWSA, of which nothing is worked out before it is looked at; raises `MalformedReplyError`."""
    return SA.read(SAEntry(message).checked(), SA_FIELDS)


def dumped_sa(message: bytes) -> SA:
    """Return the SA of an entry of a dump, which the C core has looked through."""
    return SA.read(SAEntry(message), SA_FIELDS)


def decode_policy(message: parts.Told, info: Any = None) -> Policy:
    """Return the policy of a message whose struct is, or whose `info` is, its `xfrm_userpolicy_info`."""
    told = _Within(message, message if info is None else info)
    return Policy(**{name: read(told) for name, read in POLICY_FIELDS.items()})


def read_policy(message: bytes) -> Policy:
    """Return the policy of a NEWPOLICY; see `read_sa`."""
    return Policy.read(PolicyEntry(message).checked(), POLICY_FIELDS)


def dumped_policy(message: bytes) -> Policy:
    """Return the policy of an entry of a dump; see `dumped_sa`."""
    return Policy.read(PolicyEntry(message), POLICY_FIELDS)


def every_sa(messages: Any) -> Sequence[SA]:
    """Return the SAs of a part of a dump."""
    return Entries(messages, dumped_sa, _sa_handles)


def _sa_handles(messages: Messages) -> Sequence[Handle]:
    return handles(messages.data, len(messages), lib.PFKEYX_SA_HANDLE)


def _policy_handles(messages: Messages) -> Sequence[Handle]:
    return handles(messages.data, len(messages), lib.PFKEYX_POLICY_HANDLE)


def read_policies_at(places: Sequence[Sequence[bytes]], messages: Messages) -> Sequence[Policy]:
    """Return those policies of a dump that may have a template at one of these places, each one end or two."""
    chosen = [*policies_at(places, messages)]
    return Entries(Messages(b"".join(chosen), [*accumulate(map(len, chosen))]), dumped_policy, _policy_handles)


@dataclass(frozen=True, slots=True)
class _Within:
    """A message, and the struct within it that is read."""

    message: parts.Told
    info: Any

    def __getitem__(self, name: str) -> Any:
        return self.info[name]

    def get_attr(self, name: str) -> Any:
        return self.message.get_attr(name)

    def attributes(self) -> Iterator[tuple[int, bytes]]:
        return self.message.attributes()


def default_policy_fields(policy: DefaultPolicy) -> dict[str, Any]:
    """Return the `xfrm_userpolicy_default` of what happens to packets that no policy is for."""
    return {
        "in": _DEFAULT_ACTIONS[policy.inbound],
        "fwd": _DEFAULT_ACTIONS[policy.forward],
        "out": _DEFAULT_ACTIONS[policy.outbound],
    }


def decode_default_policy(message: parts.Told) -> DefaultPolicy:
    """Return what happens to packets that no policy is for."""
    return DefaultPolicy(_ACTIONS[message["in"]], _ACTIONS[message["fwd"]], _ACTIONS[message["out"]])


def decode_progress(message: parts.Told) -> Progress:
    """Return how far the SA of a NEWAE is."""
    usage = message.get_attr("XFRMA_LTIME_VAL")
    timer = message.get_attr("XFRMA_ETIMER_THRESH")
    return Progress(
        replay=decode_replay(message),
        usage=parts.decode_usage(usage) if usage else None,
        replay_threshold=message.get_attr("XFRMA_REPLAY_THRESH"),
        timer_ms=None if timer is None else timer * _TIMER_UNIT_MS,
    )


def _nat_attributes(sa: SA) -> list[tuple[str, Any]]:
    numbers = (
        ("XFRMA_MTIMER_THRESH", sa.mapping_threshold_s),
        ("XFRMA_NAT_KEEPALIVE_INTERVAL", sa.nat_keepalive_s),
    )
    return [(name, number) for name, number in numbers if number]


def _has_extended_window(sa: SA) -> bool:
    # Only XFRMA_REPLAY_ESN_VAL can carry a window above 32, and ESN needs it at any size.
    return sa.esn or sa.replay_window > 32 or (sa.replay is not None and sa.replay.extended)


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
