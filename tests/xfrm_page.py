"""What of pfkeyx each message and attribute of XFRM is, for `docs/reference/xfrm.md`: as far as no code says it."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pfkeyx import Engine, Feature, events
from pfkeyx.model import (
    SA,
    Iptfs,
    Policy,
    PolicyId,
    Progress,
    SADInfo,
    SAFilter,
    SAId,
    SPDInfo,
    Usage,
)
from pfkeyx.xfrm import layout
from pfkeyx.xfrm import messages as wire

Methods = tuple[Callable[..., Any], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """What a message is sent or received by, or an attribute is; and what a kernel has to have for it."""

    becomes: str = ""
    event: str = ""
    feature: Feature | None = None


def _message(*methods: Callable[..., Any], event: type | None = None, feature: Feature | None = None) -> Row:
    told = f"`{event.__name__}`" if event else ""
    return Row(", ".join(f"`{method.__qualname__}`" for method in methods), told, feature)


def _attribute(*owners: tuple[type | Callable[..., Any], str], feature: Feature | None = None) -> Row:
    """Return a row; the fields of a class, or the parameters of a method, are separated by blanks."""
    names = [_named(owner, name) for owner, several in owners for name in several.split()]
    return Row(", ".join(names), feature=feature)


def _named(owner: type | Callable[..., Any], name: str) -> str:
    has = {field.name for field in fields(owner)} if isinstance(owner, type) else inspect.signature(owner).parameters
    if name not in has:
        raise ValueError(f"{owner.__qualname__} has no {name}")
    return f"`{owner.__qualname__}.{name}`" if isinstance(owner, type) else f"`{owner.__qualname__}({name}=...)`"


MESSAGES: Mapping[int, Row] = {
    wire.XFRM_MSG_NEWSA: _message(
        Engine.add_sa,
        Engine.add_sas,
        Engine.restore_sa,
        Engine.get_spi,
        Engine.get_sa,
        Engine.dump_sas,
        Engine.iter_sas,
        event=events.SAChange,
    ),
    wire.XFRM_MSG_DELSA: _message(Engine.delete_sa, Engine.delete_sas, event=events.SAChange),
    wire.XFRM_MSG_GETSA: _message(Engine.get_sa, Engine.dump_sas, Engine.iter_sas),
    wire.XFRM_MSG_NEWPOLICY: _message(
        Engine.add_policy,
        Engine.add_policies,
        Engine.get_policy,
        Engine.dump_policies,
        Engine.iter_policies,
        event=events.PolicyChange,
    ),
    wire.XFRM_MSG_DELPOLICY: _message(Engine.delete_policy, Engine.delete_policies, event=events.PolicyChange),
    wire.XFRM_MSG_GETPOLICY: _message(Engine.get_policy, Engine.dump_policies, Engine.iter_policies),
    wire.XFRM_MSG_ALLOCSPI: _message(Engine.get_spi),
    wire.XFRM_MSG_ACQUIRE: _message(Engine.exchange, event=events.Acquire),
    wire.XFRM_MSG_EXPIRE: _message(Engine.expire_sa, event=events.Expire),
    wire.XFRM_MSG_UPDPOLICY: _message(Engine.update_policy, Engine.update_policies, event=events.PolicyChange),
    wire.XFRM_MSG_UPDSA: _message(Engine.update_sa, Engine.update_sas, event=events.SAChange),
    wire.XFRM_MSG_POLEXPIRE: _message(Engine.expire_policy, event=events.PolicyExpire),
    wire.XFRM_MSG_FLUSHSA: _message(Engine.flush_sas, event=events.SAFlush),
    wire.XFRM_MSG_FLUSHPOLICY: _message(Engine.flush_policies, event=events.PolicyFlush),
    wire.XFRM_MSG_NEWAE: _message(Engine.set_progress, Engine.get_progress, event=events.SAProgress),
    wire.XFRM_MSG_GETAE: _message(Engine.get_progress),
    wire.XFRM_MSG_REPORT: _message(event=events.Report),
    wire.XFRM_MSG_MIGRATE: _message(
        Engine.migrate_policy, Engine.migrate, event=events.Migrated, feature=Feature.MIGRATE
    ),
    wire.XFRM_MSG_NEWSADINFO: _message(Engine.get_sad_info),
    wire.XFRM_MSG_GETSADINFO: _message(Engine.get_sad_info),
    wire.XFRM_MSG_NEWSPDINFO: _message(Engine.get_spd_info, Engine.set_spd_thresholds),
    wire.XFRM_MSG_GETSPDINFO: _message(Engine.get_spd_info),
    wire.XFRM_MSG_MAPPING: _message(event=events.NatMapping),
    wire.XFRM_MSG_SETDEFAULT: _message(Engine.set_default_policy, feature=Feature.DEFAULT_POLICY),
    wire.XFRM_MSG_GETDEFAULT: _message(
        Engine.get_default_policy, event=events.DefaultPolicyChange, feature=Feature.DEFAULT_POLICY
    ),
    wire.XFRM_MSG_MIGRATE_STATE: _message(
        Engine.migrate_sa, Engine.migrate, event=events.SAMigrated, feature=Feature.MIGRATE_STATE
    ),
}

ATTRIBUTES: Mapping[str, Row] = {
    "XFRMA_ALG_AUTH": _attribute((SA, "authentication")),
    "XFRMA_ALG_CRYPT": _attribute((SA, "encryption")),
    "XFRMA_ALG_COMP": _attribute((SA, "compression")),
    "XFRMA_ENCAP": _attribute(
        (SA, "encap"),
        (Engine.migrate_policy, "encap"),
        (Engine.migrate_sa, "encap"),
        (events.Migrated, "encap"),
        (events.SAMigrated, "encap removes_encap"),
    ),
    "XFRMA_TMPL": _attribute((Policy, "templates")),
    "XFRMA_SA": _attribute((events.SAChange, "sa")),
    "XFRMA_POLICY": _attribute((events.PolicyChange, "policy")),
    "XFRMA_SEC_CTX": _attribute(
        (SA, "security_context"),
        (Policy, "security_context"),
        (PolicyId, "security_context"),
        (events.Acquire, "security_context"),
    ),
    "XFRMA_LTIME_VAL": _attribute((Engine.restore_sa, "sa"), (Progress, "usage")),
    "XFRMA_REPLAY_VAL": _attribute((SA, "replay"), (Progress, "replay")),
    "XFRMA_REPLAY_THRESH": _attribute((Progress, "replay_threshold")),
    "XFRMA_ETIMER_THRESH": _attribute((Progress, "timer_ms")),
    "XFRMA_COADDR": _attribute((SA, "care_of"), (events.Report, "address")),
    "XFRMA_LASTUSED": _attribute((Usage, "last_used")),
    "XFRMA_POLICY_TYPE": _attribute(
        (Policy, "type"),
        (PolicyId, "type"),
        (Engine.flush_policies, "policy_type"),
        (events.PolicyFlush, "type"),
        feature=Feature.SUB_POLICY,
    ),
    "XFRMA_MIGRATE": _attribute(
        (Engine.migrate_policy, "moves"), (events.Migrated, "templates"), feature=Feature.MIGRATE
    ),
    "XFRMA_ALG_AEAD": _attribute((SA, "encryption"), feature=Feature.AEAD),
    "XFRMA_KMADDRESS": _attribute(
        (Engine.migrate_policy, "kmaddress"), (events.Migrated, "kmaddress"), feature=Feature.MIGRATE
    ),
    "XFRMA_ALG_AUTH_TRUNC": _attribute((SA, "authentication")),
    "XFRMA_MARK": _attribute(
        (SAId, "mark"),
        (Policy, "mark"),
        (PolicyId, "mark"),
        (Engine.get_spi, "mark"),
        (events.SAMigrated, "mark"),
        feature=Feature.MARK,
    ),
    "XFRMA_TFCPAD": _attribute((SA, "tfc_padding")),
    "XFRMA_REPLAY_ESN_VAL": _attribute((SA, "replay replay_window"), (Progress, "replay"), feature=Feature.ESN),
    "XFRMA_SA_EXTRA_FLAGS": _attribute((SA, "extra_flags")),
    "XFRMA_PROTO": _attribute((SAFilter, "protocol")),
    "XFRMA_ADDRESS_FILTER": _attribute((SAFilter, "source destination")),
    "XFRMA_OFFLOAD_DEV": _attribute((SA, "offload"), (Policy, "offload"), feature=Feature.OFFLOAD),
    "XFRMA_SET_MARK": _attribute((SA, "output_mark"), feature=Feature.OUTPUT_MARK),
    "XFRMA_SET_MARK_MASK": _attribute((SA, "output_mark"), feature=Feature.OUTPUT_MARK),
    "XFRMA_IF_ID": _attribute(
        (SA, "if_id"), (Policy, "if_id"), (PolicyId, "if_id"), (Engine.get_spi, "if_id"), feature=Feature.IF_ID
    ),
    "XFRMA_MTIMER_THRESH": _attribute((SA, "mapping_threshold_s"), feature=Feature.MAPPING_THRESHOLD),
    "XFRMA_SA_DIR": _attribute((SA, "direction"), (Engine.get_spi, "direction"), feature=Feature.SA_DIRECTION),
    "XFRMA_NAT_KEEPALIVE_INTERVAL": _attribute((SA, "nat_keepalive_s"), feature=Feature.NAT_KEEPALIVE),
    "XFRMA_SA_PCPU": _attribute((SA, "cpu"), (Engine.get_spi, "cpu"), (events.Acquire, "cpu"), feature=Feature.SA_CPU),
    "XFRMA_IPTFS_DROP_TIME": _attribute((Iptfs, "drop_time_us"), feature=Feature.IPTFS),
    "XFRMA_IPTFS_REORDER_WINDOW": _attribute((Iptfs, "reorder_window"), feature=Feature.IPTFS),
    "XFRMA_IPTFS_DONT_FRAG": _attribute((Iptfs, "dont_fragment"), feature=Feature.IPTFS),
    "XFRMA_IPTFS_INIT_DELAY": _attribute((Iptfs, "init_delay_us"), feature=Feature.IPTFS),
    "XFRMA_IPTFS_MAX_QSIZE": _attribute((Iptfs, "queue_octets"), feature=Feature.IPTFS),
    "XFRMA_IPTFS_PKT_SIZE": _attribute((Iptfs, "packet_octets"), feature=Feature.IPTFS),
    "XFRMA_SAD_CNT": _attribute((SADInfo, "count")),
    "XFRMA_SAD_HINFO": _attribute((SADInfo, "buckets buckets_maximum")),
    "XFRMA_SPD_INFO": _attribute((SPDInfo, "inbound outbound forward socket_inbound socket_outbound socket_forward")),
    "XFRMA_SPD_HINFO": _attribute((SPDInfo, "buckets buckets_maximum")),
    "XFRMA_SPD_IPV4_HTHRESH": _attribute((SPDInfo, "ipv4"), (Engine.set_spd_thresholds, "ipv4")),
    "XFRMA_SPD_IPV6_HTHRESH": _attribute((SPDInfo, "ipv6"), (Engine.set_spd_thresholds, "ipv6")),
}
#: Those that say nothing, or nothing to pfkeyx.
WITHOUT_MEANING = {
    "XFRMA_UNSPEC": "never sent",
    "XFRMA_SRCADDR": "`Engine.exchange` alone says it: an SA of Mobile IPv6 is looked up by it",
    "XFRMA_PAD": "padding before 64-bit numbers",
    "XFRMA_SAD_UNSPEC": "never sent",
    "XFRMA_SPD_UNSPEC": "never sent",
}

#: Which messages each table of attributes belongs to, by its title.
TABLES: Mapping[str, Any] = {
    "Attributes": wire.xfrm_message,
    "Attributes of NEWSADINFO": wire.sadinfo_msg,
    "Attributes of NEWSPDINFO": wire.spdinfo_msg,
}


def message_rows() -> Iterator[tuple[str, ...]]:
    """Yield number, name, methods, event and feature of each message."""
    yield "Number", "Message", "Sent or received by", "Event", "Feature"
    for name, number in vars(wire).items():
        if name.startswith("XFRM_MSG_"):
            row = MESSAGES[number]
            yield str(number), f"`{name}`", row.becomes, row.event, _shown(row.feature)


def attribute_rows(message: Any) -> Iterator[tuple[str, ...]]:
    """Yield number, name, payload, fields and feature of each attribute of a message."""
    yield "Number", "Attribute", "Payload", "Becomes", "Feature"
    for number, name, kind in message.nla_map:
        row = Row(WITHOUT_MEANING[name]) if name in WITHOUT_MEANING else ATTRIBUTES[name]
        yield str(number), f"`{name}`", _payload(kind, getattr(message, kind)), row.becomes, _shown(row.feature)


def _payload(kind: str, declared: Any) -> str:
    if not issubclass(declared, wire.struct_nla):
        return {"none": "", "flag": "none: it is there or not", "address": "`xfrm_address_t`"}.get(kind, kind)
    struct = layout.xfrm_algo if declared.struct is layout.algorithm_name else declared.struct
    return f"{'array of ' if issubclass(declared, wire.struct_array_nla) else ''}`struct {struct.__name__}`"


def _shown(feature: Feature | None) -> str:
    return f"`Feature.{feature.name}`" if feature else ""
