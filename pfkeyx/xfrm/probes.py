"""Which features a kernel has over XFRM: what is asked to find out, and what its refusals tell. Nothing is changed."""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from pfkeyx.errors import KernelError
from pfkeyx.features import Feature, Support
from pfkeyx.model import Attribute, Direction, Iptfs, Mode, PolicyType, SAId, any_selector
from pfkeyx.operation import Operation, Request, ask
from pfkeyx.xfrm import codec, parts
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm.answers import Answer, Wire, nothing
from pfkeyx.xfrm.encoding import encode
from pfkeyx.xfrm.numbers import NLM_F_ACK, NLM_F_REPLACE, NLM_F_REQUEST

_IS_PFKEYS = "a message of PF_KEY, which XFRM does not have"
#: What needs the other interface.
ONLY_PFKEY = {
    Feature.PFKEY: "this engine speaks XFRM: open the pfkey engine",
    Feature.REGISTER: "XFRM lists no algorithms: open the pfkey engine",
    Feature.ACQUIRE_ANSWER: "XFRM takes no answer to an acquire: open the pfkey engine",
    Feature.ADDRUPDATE: _IS_PFKEYS,
    Feature.SADB_EXPIRE: _IS_PFKEYS,
    Feature.SADB_X_PCHANGE: _IS_PFKEYS,
    Feature.SADB_X_SPDACQUIRE: _IS_PFKEYS,
    Feature.SADB_X_SPDEXPIRE: _IS_PFKEYS,
    Feature.SADB_X_NAT_T_NEW_MAPPING: _IS_PFKEYS,
}
#: The attribute that a feature is, or, of several, the youngest.
_ATTRIBUTES = {
    Feature.AEAD: "XFRMA_ALG_AEAD",
    Feature.MARK: "XFRMA_MARK",
    Feature.ESN: "XFRMA_REPLAY_ESN_VAL",
    Feature.OFFLOAD: "XFRMA_OFFLOAD_DEV",
    Feature.OUTPUT_MARK: "XFRMA_SET_MARK",
    Feature.IF_ID: "XFRMA_IF_ID",
    Feature.MAPPING_THRESHOLD: "XFRMA_MTIMER_THRESH",
    Feature.SA_DIRECTION: "XFRMA_SA_DIR",
    Feature.NAT_KEEPALIVE: "XFRMA_NAT_KEEPALIVE_INTERVAL",
    Feature.SA_CPU: "XFRMA_SA_PCPU",
    Feature.IPTFS: "XFRMA_IPTFS_PKT_SIZE",
}
_NUMBERS = {name: number for number, name in wire.ATTRIBUTE_NAMES.items()}
#: Attributes that a kernel may be too old for: it would pass over them. Every kernel in use has those before.
_YOUNG = {name: feature for feature, name in _ATTRIBUTES.items() if _NUMBERS[name] >= _NUMBERS["XFRMA_OFFLOAD_DEV"]}
#: No SA is for the broadcast address, with an SPI that is reserved (RFC 4303 §2.1).
_NOBODY = SAId(IPv4Address("255.255.255.255"), 1)
#: A policy of this index would be the last of half a thousand million.
_NO_POLICY = 0xFFFFFFF8
_ACKED = NLM_F_REQUEST | NLM_F_ACK


def needs_of(attributes: list[tuple[str, Any]], mode: Mode = Mode.TUNNEL) -> tuple[Feature, ...]:
    """Return the features without which a kernel would take these attributes or this mode, and pass over them."""
    young = (_YOUNG[name] for name, _ in attributes if name in _YOUNG)
    return tuple(dict.fromkeys([*young, *([Feature.IPTFS] if mode is Mode.IPTFS else [])]))


@dataclass(frozen=True, slots=True)
class _Probe:
    """A message, how its answer ends, and what each errno, 0 for none, says of the feature; any other says nothing."""

    message: bytearray
    answer: Answer
    outcomes: Mapping[int, Support]


class Probing:
    """The part of the dialect that finds out what the kernel has; what was found is kept."""

    def __init__(self) -> None:
        self._found: dict[Feature, Support] = {}

    def supports(self, feature: Feature) -> Operation[Support]:
        """Probe the kernel for a feature without changing anything; it is asked once."""
        if feature not in self._found:
            support = yield from _probe(feature)
            if support.available is None:
                return support
            self._found[feature] = support
        return self._found[feature]


def _probe(feature: Feature) -> Operation[Support]:
    if feature in ONLY_PFKEY:
        return Support(False, ONLY_PFKEY[feature])
    if feature in _ATTRIBUTES:
        support = yield from _ask(feature, _attribute_probe(_ATTRIBUTES[feature]))
        if feature is Feature.IPTFS and support.available:
            return (yield from _ask(feature, _iptfs_probe()))
        return support
    if feature in _MESSAGES:
        return (yield from _ask(feature, _MESSAGES[feature]()))
    return Support(True, "XFRM expresses it")


def _ask(feature: Feature, probe: _Probe) -> Operation[Support]:
    request = Request("probe", feature.value, Wire(probe.message, probe.answer), nothing)
    try:
        yield from ask(request)
    except KernelError as error:
        code = error.errno or errno.EIO
        return probe.outcomes.get(code, Support(None, f"the probe ended in: {os.strerror(code)}", error))
    return probe.outcomes.get(0, Support(None, "the probe was accepted, which it should not be"))


def _attribute_probe(name: str) -> _Probe:
    # A kernel that knows the attribute refuses it empty; another passes over it, and looks for the SA.
    known = Support(True, f"the kernel knows {name}")
    message = encode(
        wire.usersa_id_msg,
        wire.XFRM_MSG_GETSA,
        NLM_F_REQUEST,
        codec.sa_id_fields(_NOBODY),
        other=(Attribute(_NUMBERS[name], b""),),
    )
    unknown = Support(False, f"the kernel does not know {name}")
    outcomes = {errno.ERANGE: known, errno.EINVAL: known, errno.ESRCH: unknown, 0: unknown}
    return _Probe(message, Answer.ONE, outcomes)


def _iptfs_probe() -> _Probe:
    # A kernel without the mode's module takes an SA of it all the same, and passes over what only the module reads:
    # so it looks for the SA, where another complains of packets that would be smaller than their headers.
    fields = {
        "sel": parts.selector_fields(any_selector(4)),
        "id": {"daddr": _NOBODY.destination.packed, "spi": _NOBODY.spi, "proto": _NOBODY.protocol},
        "family": parts.family_of(_NOBODY.destination),
        "mode": Mode.IPTFS,
    }
    key = {"alg_key_len": 160, "alg_key": bytes(20)}
    attributes: list[tuple[str, Any]] = [
        ("XFRMA_ALG_AEAD", {"alg_name": b"rfc4106(gcm(aes))", "alg_icv_len": 128} | key),
        *parts.direction_attributes(Direction.OUT),
        *parts.iptfs_attributes(Iptfs(packet_octets=1)),
    ]
    message = encode(wire.usersa_msg, wire.XFRM_MSG_UPDSA, _ACKED | NLM_F_REPLACE, fields, attributes)
    outcomes = {
        errno.EINVAL: Support(True, "the kernel has the mode"),
        errno.ESRCH: Support(False, "the kernel knows the mode by number, and has no module for it"),
    }
    return _Probe(message, Answer.ACK, outcomes)


def _migrate_probe() -> _Probe:
    # Without XFRMA_MIGRATE there is nothing to do, and a kernel that could do it says EINVAL.
    fields = {"sel": parts.selector_fields(any_selector(4))}
    message = encode(wire.userpolicy_id_msg, wire.XFRM_MSG_MIGRATE, _ACKED, fields)
    outcomes = _WITHOUT_MIGRATE | {errno.EINVAL: Support(True, "the kernel understands XFRM_MSG_MIGRATE")}
    return _Probe(message, Answer.ACK, outcomes)


def _migrate_state_probe() -> _Probe:
    family = parts.family_of(_NOBODY.destination)
    address = _NOBODY.destination.packed
    fields = {"id": codec.sa_id_fields(_NOBODY), "new_daddr": address, "new_saddr": address, "new_family": family}
    message = encode(wire.migrate_state_msg, wire.XFRM_MSG_MIGRATE_STATE, _ACKED, fields)
    return _Probe(
        message,
        Answer.ACK,
        _WITHOUT_MIGRATE
        | {
            errno.ESRCH: Support(True, "the kernel understands XFRM_MSG_MIGRATE_STATE"),
            errno.EINVAL: Support(False, "the kernel has no XFRM_MSG_MIGRATE_STATE"),
        },
    )


def _sub_policy_probe() -> _Probe:
    attributes = codec.policy_type_attributes(PolicyType.SUB)
    fields = {"index": _NO_POLICY, "dir": Direction.IN}
    has_it = Support(True, "the kernel looks for policies of this type")
    outcomes = {
        0: has_it,
        errno.ENOENT: has_it,
        errno.EINVAL: Support(False, "the kernel was built without CONFIG_XFRM_SUB_POLICY"),
    }
    message = encode(wire.userpolicy_id_msg, wire.XFRM_MSG_GETPOLICY, NLM_F_REQUEST, fields, attributes)
    return _Probe(message, Answer.ONE, outcomes)


def _default_policy_probe() -> _Probe:
    return _Probe(
        encode(wire.userpolicy_default_msg, wire.XFRM_MSG_GETDEFAULT, NLM_F_REQUEST, {}),
        Answer.ONE,
        {
            0: Support(True, "the kernel understands XFRM_MSG_GETDEFAULT"),
            errno.EINVAL: Support(False, "the kernel has no XFRM_MSG_GETDEFAULT"),
        },
    )


_WITHOUT_MIGRATE = {errno.ENOPROTOOPT: Support(False, "the kernel was built without CONFIG_XFRM_MIGRATE")}
_MESSAGES = {
    Feature.MIGRATE: _migrate_probe,
    Feature.MIGRATE_STATE: _migrate_state_probe,
    Feature.SUB_POLICY: _sub_policy_probe,
    Feature.DEFAULT_POLICY: _default_policy_probe,
}
