"""What the kernel says unasked over XFRM, as events. No socket is here; call these by `parts.decoding`."""

from typing import Any

from pfkeyx.events import Acquire, Change, Expire, Migrated, NatMapping, PolicyChange, SAChange, SAFlush
from pfkeyx.model import AddressPair, Direction, Mode, PolicyId, Protocol, SAId, Template
from pfkeyx.xfrm import codec, parts
from pfkeyx.xfrm import messages as wire


def decode_acquire(message: wire.xfrm_message) -> Acquire:
    """Return the event of an ACQUIRE."""
    templates = message.get_attr("XFRMA_TMPL")
    # The template that wants the SA says its outer family; without one it is the flow's.
    family = templates[0]["family"] if templates else message["sel"]["family"]
    return Acquire(
        source=parts.decode_address(message["saddr"], family),
        destination=parts.decode_address(message["id"]["daddr"], family),
        protocol=Protocol(message["id"]["proto"]),
        policy_id=message["policy"]["index"],
        sequence=message["seq"],
        selector=parts.decode_selector(message["sel"]),
        reqid=templates[0]["reqid"] if templates else None,
        security_context=parts.decode_security_context(message),
    )


def decode_expire(message: wire.xfrm_message) -> Expire:
    """Return the event of an EXPIRE."""
    sa = codec.decode_sa(message, message["state"])
    return Expire(sa.id, sa.source, sa.reqid, bool(message["hard"]))


def decode_nat_mapping(message: wire.xfrm_message) -> NatMapping:
    """Return the event of a MAPPING."""
    sa_id, family = message["id"], message["id"]["family"]
    return NatMapping(
        spi=sa_id["spi"],
        old_address=parts.decode_address(message["old_saddr"], family),
        old_port=message["old_sport"],
        new_address=parts.decode_address(message["new_saddr"], family),
        new_port=message["new_sport"],
        sa_id=SAId(parts.decode_address(sa_id["daddr"], family), sa_id["spi"], Protocol(sa_id["proto"])),
        reqid=message["reqid"],
    )


def decode_migrated(message: wire.xfrm_message) -> Migrated:
    """Return the event of a MIGRATE."""
    selector = parts.decode_selector(message["sel"])
    # Here, unlike in a request, each move is an attribute of its own.
    moves = [move for attribute in message.get_attrs("XFRMA_MIGRATE") for move in attribute]
    kmaddress = message.get_attr("XFRMA_KMADDRESS")
    return Migrated(
        PolicyId(selector, Direction(message["dir"]), type=codec.decode_policy_type(message)),
        tuple((_moved_template(move, "old"), _moved_template(move, "new")) for move in moves),
        _address_pair(kmaddress) if kmaddress else None,
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
