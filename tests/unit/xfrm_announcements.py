"""What XFRM's groups announce, byte by byte, about the SA and the policy of the samples."""

import struct
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink import nlmsg

from pfkeyx import (
    SecurityContext,
    UdpEncap,
)
from pfkeyx.xfrm import codec, parts
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.encoding import encode
from tests.unit.samples import LOCAL, NEW_LOCAL, OUTBOUND, POLICIES, REMOTE

SENDER, SEQUENCE = 4711, 42
SA = OUTBOUND.as_written()
POLICY = POLICIES[0]
(TEMPLATE,) = POLICY.templates
LABEL = SecurityContext(b"system_u:object_r:ipsec_spd_t:s0\0")


def message(
    message_class: type[nlmsg],
    number: int,
    fields: dict[str, Any],
    attributes: Sequence[tuple[str, Any]] = (),
    sender: int = 0,
    sequence: int = 0,
) -> bytes:
    """Return a message as the kernel sends it, with the numbers of whoever caused it."""
    data = encode(message_class, number, 0, fields, attributes)
    data[8:16] = sequence.to_bytes(4, "little") + sender.to_bytes(4, "little")
    return bytes(data)


def sa_message(number: int, sender: int = 0, sequence: int = 0) -> bytes:
    """Return a NEWSA or UPDSA."""
    return message(wire.usersa_msg, number, codec.sa_fields(SA), codec.sa_attributes(SA), sender, sequence)


def sa_deletion() -> bytes:
    """Return a DELSA."""
    attributes = [("XFRMA_SA", codec.sa_fields(SA)), *codec.sa_attributes(SA)]
    return message(wire.usersa_id_msg, wire.XFRM_MSG_DELSA, codec.sa_id_fields(SA.id), attributes)


def policy_message(number: int) -> bytes:
    """Return a NEWPOLICY or UPDPOLICY."""
    return message(wire.userpolicy_msg, number, codec.policy_fields(POLICY), codec.policy_attributes(POLICY))


def policy_deletion() -> bytes:
    """Return a DELPOLICY."""
    attributes = [("XFRMA_POLICY", codec.policy_fields(POLICY)), *codec.policy_attributes(POLICY)]
    return message(wire.userpolicy_id_msg, wire.XFRM_MSG_DELPOLICY, {"index": 9}, attributes)


def sa_flush(protocol: int) -> bytes:
    """Return a FLUSHSA."""
    # The kernel ends it after its single byte.
    return struct.pack("=IHHIIB", 17, wire.XFRM_MSG_FLUSHSA, 0, 0, 0, protocol)


def policy_flush(policy_type: int) -> bytes:
    """Return a FLUSHPOLICY."""
    return message(wire.empty_msg, wire.XFRM_MSG_FLUSHPOLICY, {}, [("XFRMA_POLICY_TYPE", {"type": policy_type})])


def nat_mapping() -> bytes:
    """Return a MAPPING."""
    fields = {
        "id": codec.sa_id_fields(SA.id),
        "reqid": 7,
        "old_saddr": LOCAL.packed,
        "new_saddr": NEW_LOCAL.packed,
        "old_sport": 4500,
        "new_sport": 61234,
    }
    return message(wire.mapping_msg, wire.XFRM_MSG_MAPPING, fields)


def move(new_source: str, new_destination: str, family: int) -> dict[str, Any]:
    """Return one move of a MIGRATE."""
    return {
        "old_saddr": LOCAL.packed,
        "old_daddr": REMOTE.packed,
        "new_saddr": ip_address(new_source).packed,
        "new_daddr": ip_address(new_destination).packed,
        "proto": 50,
        "mode": 1,
        "reqid": 7,
        "old_family": 2,
        "new_family": family,
    }


def migrated() -> bytes:
    """Return a MIGRATE."""
    kmaddress = {"local": NEW_LOCAL.packed, "remote": REMOTE.packed, "family": 2}
    attributes = [
        ("XFRMA_KMADDRESS", kmaddress),
        ("XFRMA_ENCAP", parts.encap_fields(UdpEncap(4500, 61234))),
        ("XFRMA_POLICY_TYPE", {"type": 0}),
        ("XFRMA_MIGRATE", [move("198.51.100.2", "203.0.113.1", 2)]),
        ("XFRMA_MIGRATE", [move("2001:db8::2", "2001:db8::1", 10)]),
    ]
    return message(
        wire.userpolicy_id_msg, wire.XFRM_MSG_MIGRATE, codec.policy_id_fields(POLICY.id), attributes, SENDER, SEQUENCE
    )


def acquire() -> bytes:
    """Return an ACQUIRE."""
    fields = {
        "id": {"daddr": REMOTE.packed, "proto": 50},
        "saddr": LOCAL.packed,
        "sel": parts.selector_fields(POLICY.selector),
        "policy": codec.policy_fields(POLICY) | {"index": 9},
        "seq": 4711,
    }
    labelled = codec.policy_attributes(replace(POLICY, security_context=LABEL))
    return message(wire.acquire_msg, wire.XFRM_MSG_ACQUIRE, fields, [*labelled, ("XFRMA_SA_PCPU", 3)])


def expire(hard: int) -> bytes:
    """Return an EXPIRE."""
    return message(wire.expire_msg, wire.XFRM_MSG_EXPIRE, {"state": codec.sa_fields(SA), "hard": hard})


def policy_expire(hard: int) -> bytes:
    """Return a POLEXPIRE."""
    policy = {"pol": codec.policy_fields(POLICY), "hard": hard}
    return message(wire.polexpire_msg, wire.XFRM_MSG_POLEXPIRE, policy, codec.policy_attributes(POLICY))


def sa_migrated(
    attributes: list[tuple[str, Any]],
    selector: dict[str, Any] | None = None,
    mark: dict[str, Any] | None = None,
    protocol: int = 50,
) -> bytes:
    """Return a MIGRATE_STATE."""
    fields = {
        "id": codec.sa_id_fields(SA.id) | {"proto": protocol},
        "new_daddr": REMOTE.packed,
        "new_saddr": NEW_LOCAL.packed,
        "old_mark": mark,
        "new_sel": selector,
        "new_reqid": 8,
        "new_family": 2,
    }
    return message(wire.migrate_state_msg, wire.XFRM_MSG_MIGRATE_STATE, fields, attributes, SENDER, SEQUENCE)


def sa_progress(
    flags: int, attributes: list[tuple[str, Any]], protocol: int = 50, sender: int = 0, sequence: int = 0
) -> bytes:
    """Return a NEWAE."""
    fields = {
        "sa_id": codec.sa_id_fields(SA.id) | {"proto": protocol},
        "saddr": LOCAL.packed,
        "flags": flags,
        "reqid": 7,
    }
    return message(wire.aevent_id_msg, wire.XFRM_MSG_NEWAE, fields, attributes, sender, sequence)


REPLAY_STATE = ("XFRMA_REPLAY_VAL", {"oseq": 9, "seq": 8, "bitmap": 0xFF})
USAGE = ("XFRMA_LTIME_VAL", {"bytes": 4096, "packets": 9, "add_time": 100, "use_time": 101})
REPLAY_STATE_ESN = (
    "XFRMA_REPLAY_ESN_VAL",
    {
        "bmp_len": 2,
        "oseq": 9,
        "seq": 8,
        "oseq_hi": 1,
        "seq_hi": 2,
        "replay_window": 64,
        "bmp": struct.pack("=2I", 1, 2),
    },
)


def report(attributes: list[tuple[str, Any]]) -> bytes:
    """Return a REPORT."""
    fields = {"proto": 60, "sel": parts.selector_fields(POLICY.selector)}
    return message(wire.report_msg, wire.XFRM_MSG_REPORT, fields, attributes)
