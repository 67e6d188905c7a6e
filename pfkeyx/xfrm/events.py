"""What the kernel says unasked over XFRM, as events. No socket is here; call these by `parts.decoding`."""

from typing import Any

from pfkeyx.events import (
    Acquire,
    Change,
    DefaultPolicyChange,
    Expire,
    Migrated,
    NatMapping,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    ProgressCause,
    Report,
    SAChange,
    SAFlush,
    SAMigrated,
    SAProgress,
)
from pfkeyx.model import AddressPair, Direction, Mark, Mode, PolicyId, Protocol, SAId, Template
from pfkeyx.xfrm import codec, parts
from pfkeyx.xfrm import messages as wire

_EVERY_CAUSE = ProgressCause.PACKETS | ProgressCause.TIMER | ProgressCause.SET


def decode_acquire(message: wire.xfrm_message) -> Acquire:
    """Return the event of an ACQUIRE."""
    template = _wanting_template(message)
    # The template that wants the SA says its outer family; without one it is the flow's.
    family = template["family"] if template else message["sel"]["family"]
    return Acquire(
        source=parts.decode_address(message["saddr"], family),
        destination=parts.decode_address(message["id"]["daddr"], family),
        protocol=Protocol(message["id"]["proto"]),
        policy_id=message["policy"]["index"],
        sequence=message["seq"],
        selector=parts.decode_selector(message["sel"]),
        reqid=template["reqid"] if template else None,
        security_context=parts.decode_security_context(message),
        policy=codec.decode_policy(message, message["policy"]),
        cpu=message.get_attr("XFRMA_SA_PCPU"),
    )


def decode_expire(message: wire.xfrm_message) -> Expire:
    """Return the event of an EXPIRE."""
    sa = codec.decode_sa(message, message["state"])
    return Expire(sa.id, sa.source, sa.reqid, bool(message["hard"]))


def decode_policy_expire(message: wire.xfrm_message) -> PolicyExpire:
    """Return the event of a POLEXPIRE."""
    return PolicyExpire(codec.decode_policy(message, message["pol"]), bool(message["hard"]))


def decode_nat_mapping(message: wire.xfrm_message) -> NatMapping:
    """Return the event of a MAPPING."""
    sa_id, family = message["id"], message["id"]["family"]
    return NatMapping(
        spi=sa_id["spi"],
        old_address=parts.decode_address(message["old_saddr"], family),
        old_port=message["old_sport"],
        new_address=parts.decode_address(message["new_saddr"], family),
        new_port=message["new_sport"],
        sa_id=_sa_id(sa_id),
        reqid=message["reqid"],
    )


def decode_migrated(message: wire.xfrm_message) -> Migrated:
    """Return the event of a MIGRATE."""
    selector = parts.decode_selector(message["sel"])
    # Here, unlike in a request, each move is an attribute of its own.
    moves = [move for attribute in message.get_attrs("XFRMA_MIGRATE") for move in attribute]
    kmaddress = message.get_attr("XFRMA_KMADDRESS")
    return Migrated(
        PolicyId(selector, Direction(message["dir"]), type=parts.decode_policy_type(message)),
        tuple((_moved_template(move, "old"), _moved_template(move, "new")) for move in moves),
        _address_pair(kmaddress) if kmaddress else None,
        parts.decode_encap(message, moves[0]["new_family"] if moves else message["sel"]["family"]),
    )


def decode_sa_migrated(message: wire.xfrm_message) -> SAMigrated:
    """Return the event of a MIGRATE_STATE."""
    old_mark, family, encap = message["old_mark"], message["new_family"], message.get_attr("XFRMA_ENCAP")
    return SAMigrated(
        sa_id=_sa_id(message["id"], Mark(old_mark["v"], old_mark["m"]) if any(old_mark.values()) else None),
        new_source=parts.decode_address(message["new_saddr"], family),
        new_destination=parts.decode_address(message["new_daddr"], family),
        reqid=message["new_reqid"],
        selector=parts.decode_selector(message["new_sel"]) if message["new_sel"]["family"] else None,
        encap=parts.decode_encap(message, family),
        removes_encap=bool(encap) and encap["encap_type"] == 0,
        mark=parts.decode_mark(message),
    )


def decode_sa_progress(message: wire.xfrm_message) -> SAProgress:
    """Return the event of a NEWAE."""
    sa_id = message["sa_id"]
    return SAProgress(
        sa_id=_sa_id(sa_id, parts.decode_mark(message)),
        source=parts.decode_address(message["saddr"], sa_id["family"]),
        reqid=message["reqid"],
        progress=codec.decode_progress(message),
        cause=ProgressCause(message["flags"]) & _EVERY_CAUSE,
    )


def decode_report(message: wire.xfrm_message) -> Report:
    """Return the event of a REPORT."""
    address = message.get_attr("XFRMA_COADDR")
    return Report(
        protocol=message["proto"],
        selector=parts.decode_selector(message["sel"]),
        address=parts.decode_address(address, message["sel"]["family"]) if address else None,
    )


def decode_sa_change(message: wire.xfrm_message, change: Change) -> SAChange:
    """Return the event of a NEWSA or UPDSA."""
    return SAChange(change, codec.decode_sa(message))


def decode_sa_deletion(message: wire.xfrm_message) -> SAChange:
    """Return the event of a DELSA."""
    return SAChange(Change.DELETED, codec.decode_sa(message, message.get_attr("XFRMA_SA")))


def decode_sa_flush(message: wire.xfrm_message) -> SAFlush:
    """Return the event of a FLUSHSA."""
    protocol = message["proto"]
    return SAFlush(None if protocol in (0, wire.IPSEC_PROTO_ANY) else Protocol(protocol))


def decode_policy_change(message: wire.xfrm_message, change: Change) -> PolicyChange:
    """Return the event of a NEWPOLICY or UPDPOLICY."""
    return PolicyChange(change, codec.decode_policy(message))


def decode_policy_deletion(message: wire.xfrm_message) -> PolicyChange:
    """Return the event of a DELPOLICY."""
    return PolicyChange(Change.DELETED, codec.decode_policy(message, message.get_attr("XFRMA_POLICY")))


def decode_policy_flush(message: wire.xfrm_message) -> PolicyFlush:
    """Return the event of a FLUSHPOLICY."""
    return PolicyFlush(parts.decode_policy_type(message))


def decode_default_policy_change(message: wire.xfrm_message) -> DefaultPolicyChange:
    """Return the event of a GETDEFAULT, which is what the kernel announces a SETDEFAULT with."""
    return DefaultPolicyChange(codec.decode_default_policy(message))


def _wanting_template(message: wire.xfrm_message) -> dict[str, Any] | None:
    """Return the template of the policy that is in want of the SA: the first of its protocol."""
    templates: list[dict[str, Any]] = message.get_attr("XFRMA_TMPL") or []
    return next((it for it in templates if it["id"]["proto"] == message["id"]["proto"]), None)


def _sa_id(fields: dict[str, Any], mark: Mark | None = None) -> SAId:
    address = parts.decode_address(fields["daddr"], fields["family"])
    return SAId(address, fields["spi"], Protocol(fields["proto"]), mark)


def _moved_template(move: dict[str, Any], age: str) -> Template:
    family = move[f"{age}_family"]
    return Template(
        protocol=Protocol(move["proto"]),
        mode=Mode(move["mode"]),
        source=parts.decode_address(move[f"{age}_saddr"], family),
        destination=parts.decode_address(move[f"{age}_daddr"], family),
        reqid=move["reqid"],
    )


def _address_pair(kmaddress: dict[str, Any]) -> AddressPair:
    family = kmaddress["family"]
    return AddressPair(
        parts.decode_address(kmaddress["local"], family), parts.decode_address(kmaddress["remote"], family)
    )
