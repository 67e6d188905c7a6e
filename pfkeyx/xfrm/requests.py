"""What can be asked over XFRM, as requests: each names its message, and how its answer is read."""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from ipaddress import IPv4Address
from typing import Any, NoReturn

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST

from pfkeyx.checks import (
    ADDITION_HINTS,
    check_bits,
    check_filter,
    check_pair,
    check_policy,
    check_policy_id,
    check_policy_index,
    check_sa,
    check_sa_id,
    check_spi_range,
    spi_hints,
    spi_maximum,
)
from pfkeyx.errors import InvalidRequestError, KernelError, MalformedReplyError, UnsupportedError
from pfkeyx.events import Acquire
from pfkeyx.features import Feature, Support
from pfkeyx.model import (
    SA,
    IPAddress,
    Mode,
    Policy,
    PolicyId,
    Protocol,
    Replay,
    SAFilter,
    SAId,
    Selector,
    Template,
    UdpEncap,
    any_selector,
)
from pfkeyx.operation import Operation, Request, ask
from pfkeyx.xfrm import codec, parts
from pfkeyx.xfrm import messages as wire


class Answer(Enum):
    """How an answer ends."""

    ACK = "an acknowledgement"
    ONE = "one message"
    DUMP = "messages up to the end mark"


@dataclass(frozen=True, slots=True)
class Wire:
    """A whole netlink message, sequence number still 0, and how its answer ends."""

    message: bytearray
    answer: Answer

    def __repr__(self) -> str:
        return f"Wire({len(self.message)} bytes, {self.answer.name})"


_IS_PFKEYS = "a message of PF_KEY, which XFRM does not have"
_ONLY_PFKEY = {
    Feature.PFKEY: "this engine speaks XFRM: open the pfkey engine",
    Feature.REGISTER: "XFRM lists no algorithms: open the pfkey engine",
    Feature.ACQUIRE_ANSWER: "XFRM takes no answer to an acquire: open the pfkey engine",
    Feature.SADB_EXPIRE: _IS_PFKEYS,
    Feature.SADB_X_PCHANGE: _IS_PFKEYS,
    Feature.SADB_X_SPDACQUIRE: _IS_PFKEYS,
    Feature.SADB_X_SPDEXPIRE: _IS_PFKEYS,
    Feature.SADB_X_NAT_T_NEW_MAPPING: _IS_PFKEYS,
}
_ACKED = NLM_F_REQUEST | NLM_F_ACK
_CREATED = _ACKED | NLM_F_CREATE | NLM_F_EXCL
_REPLACED = _ACKED | NLM_F_REPLACE


class XfrmDialect:
    """NETLINK_XFRM: everything that the model can say."""

    name = "xfrm"

    def get_spi(
        self,
        source: IPAddress,
        destination: IPAddress,
        protocol: Protocol,
        mode: Mode,
        reqid: int,
        minimum: int,
        maximum: int | None,
        sequence: int,
    ) -> Request[int]:
        """Return the request for an SPI between `minimum` and `maximum` (XFRM_MSG_ALLOCSPI)."""
        check_pair("get SPI", source, destination)
        check_bits("get SPI", f"{source} -> {destination}", 32, reqid=reqid, sequence=sequence)
        maximum = spi_maximum(protocol, maximum)
        check_spi_range("get SPI", protocol, minimum, maximum)
        info = {
            "sel": parts.selector_fields(any_selector(source.version)),
            "id": {"daddr": destination.packed, "proto": protocol},
            "saddr": source.packed,
            "seq": sequence,
            "reqid": reqid,
            "family": parts.family_of(destination),
            "mode": mode,
        }
        fields = {"info": info, "min": minimum, "max": maximum}
        message = parts.encode(wire.userspi_msg, wire.XFRM_MSG_ALLOCSPI, NLM_F_REQUEST, fields)
        subject = f"{protocol} {source} -> {destination}"
        hints = spi_hints(minimum, maximum)
        return Request("get SPI", subject, Wire(message, Answer.ONE), lambda m: _only(m, codec.decode_sa).id.spi, hints)

    def add_sa(self, sa: SA) -> Request[None]:
        """Return the request that adds an SA (XFRM_MSG_NEWSA)."""
        return self._write_sa("add SA", wire.XFRM_MSG_NEWSA, _CREATED, sa, ADDITION_HINTS)

    def update_sa(self, sa: SA) -> Request[None]:
        """Return the request that completes a larval SA, or changes a mature one's limits (XFRM_MSG_UPDSA)."""
        return self._write_sa("update SA", wire.XFRM_MSG_UPDSA, _REPLACED, sa)

    def get_sa(self, sa_id: SAId) -> Request[SA]:
        """Return the request that reads one SA (XFRM_MSG_GETSA)."""
        check_sa_id("get SA", sa_id)
        message = self._sa_id_message(wire.XFRM_MSG_GETSA, NLM_F_REQUEST, sa_id)
        return Request("get SA", sa_id, Wire(message, Answer.ONE), partial(_only, decode=codec.decode_sa))

    def delete_sa(self, sa_id: SAId) -> Request[None]:
        """Return the request that deletes one SA (XFRM_MSG_DELSA)."""
        check_sa_id("delete SA", sa_id)
        message = self._sa_id_message(wire.XFRM_MSG_DELSA, _ACKED, sa_id)
        return Request("delete SA", sa_id, Wire(message, Answer.ACK), _nothing)

    def dump_sas(self, matching: SAFilter) -> Request[list[SA]]:
        """Return the request that reads all IPsec SAs that match (XFRM_MSG_GETSA with NLM_F_DUMP).

        The tunnels that the kernel makes by itself for the SAs of IPComp (RFC 3173 §2.2) are none.
        """
        check_filter("dump SAs", matching)
        attributes = codec.filter_attributes(matching)
        message = parts.encode(wire.empty_msg, wire.XFRM_MSG_GETSA, NLM_F_REQUEST | NLM_F_DUMP, {}, attributes)
        return Request("dump SAs", matching, Wire(message, Answer.DUMP), partial(_all, decode=codec.decode_sa))

    def flush_sas(self, protocol: Protocol | None) -> Request[None]:
        """Return the request that deletes every IPsec SA, or those of one protocol (XFRM_MSG_FLUSHSA)."""
        fields = {"proto": codec.protocol_number(protocol)}
        message = parts.encode(wire.usersa_flush_msg, wire.XFRM_MSG_FLUSHSA, _ACKED, fields)
        return Request("flush SAs", "" if protocol is None else protocol, Wire(message, Answer.ACK), _nothing)

    def add_policy(self, policy: Policy) -> Request[None]:
        """Return the request that adds a policy (XFRM_MSG_NEWPOLICY)."""
        return self._write_policy("add policy", wire.XFRM_MSG_NEWPOLICY, _CREATED, policy)

    def update_policy(self, policy: Policy) -> Request[None]:
        """Return the request that replaces a policy at once, keeping its index, or adds it (XFRM_MSG_UPDPOLICY)."""
        return self._write_policy("update policy", wire.XFRM_MSG_UPDPOLICY, _REPLACED, policy)

    def get_policy(self, policy_id: PolicyId | int) -> Request[Policy]:
        """Return the request that reads one policy (XFRM_MSG_GETPOLICY).

        By its index alone the kernel finds only a policy without mark and interface id.
        """
        message = self._policy_id_message("get policy", wire.XFRM_MSG_GETPOLICY, NLM_F_REQUEST, policy_id)
        decode = partial(_only, decode=codec.decode_policy)
        return Request("get policy", policy_id, Wire(message, Answer.ONE), decode)

    def delete_policy(self, policy_id: PolicyId | int) -> Request[None]:
        """Return the request that deletes one policy, found as by `get_policy` (XFRM_MSG_DELPOLICY)."""
        message = self._policy_id_message("delete policy", wire.XFRM_MSG_DELPOLICY, _ACKED, policy_id)
        return Request("delete policy", policy_id, Wire(message, Answer.ACK), _nothing)

    def dump_policies(self) -> Request[list[Policy]]:
        """Return the request that reads all policies (XFRM_MSG_GETPOLICY with NLM_F_DUMP)."""
        message = parts.encode(wire.empty_msg, wire.XFRM_MSG_GETPOLICY, NLM_F_REQUEST | NLM_F_DUMP, {})
        return Request("dump policies", "", Wire(message, Answer.DUMP), partial(_all, decode=codec.decode_policy))

    def flush_policies(self) -> Request[None]:
        """Return the request that deletes every policy of the main type (XFRM_MSG_FLUSHPOLICY)."""
        message = parts.encode(wire.empty_msg, wire.XFRM_MSG_FLUSHPOLICY, _ACKED, {})
        return Request("flush policies", "", Wire(message, Answer.ACK), _nothing)

    def register(self) -> NoReturn:
        """Raise `UnsupportedError`: XFRM lists no algorithms."""
        _refuse(Feature.REGISTER)

    def answer_acquire(self, acquire: Acquire, code: int) -> NoReturn:
        """Raise `UnsupportedError`: over XFRM an acquire that fails is left to its end."""
        del acquire, code
        _refuse(Feature.ACQUIRE_ANSWER)

    def message(self, message: Any) -> NoReturn:
        """Raise `UnsupportedError`: a message of PF_KEY is nothing to XFRM."""
        del message
        _refuse(Feature.PFKEY)

    def migrate_policy(
        self,
        policy_id: PolicyId,
        moves: Sequence[tuple[Template, Template]],
        encap: UdpEncap | None,
    ) -> Request[None]:
        """Return the request that moves a policy's templates, and the newest SA of each (XFRM_MSG_MIGRATE).

        `moves` are pairs of old and new templates. `encap` is what the moved SAs are encapsulated in, which
        kernels since 7.2 drop unless it is said again.
        """
        attributes = codec.policy_id_attributes(policy_id)
        attributes.append(("XFRMA_MIGRATE", [_migrate_fields(old, new) for old, new in moves]))
        if encap is not None:
            attributes.append(("XFRMA_ENCAP", parts.encap_fields(encap)))
        message = parts.encode(
            wire.userpolicy_id_msg, wire.XFRM_MSG_MIGRATE, _ACKED, codec.policy_id_fields(policy_id), attributes
        )
        return Request("migrate policy", policy_id, Wire(message, Answer.ACK), _nothing)

    def migrate_sa(self, sa: SA, source: IPAddress, destination: IPAddress, encap: UdpEncap | None) -> Request[None]:
        """Return the request that moves one SA, found by its SPI, to new addresses (XFRM_MSG_MIGRATE_STATE).

        Mark, reqid and selector are sent as they are, since the kernel takes them as sent; `encap` None removes
        an encapsulation.
        """
        check_pair("migrate SA", source, destination)
        mark = sa.id.mark
        fields = {
            "id": codec.sa_id_fields(sa.id),
            "new_daddr": destination.packed,
            "new_saddr": source.packed,
            "old_mark": {"v": mark.value, "m": mark.mask} if mark else None,
            "new_sel": codec.sa_selector_fields(sa),
            "new_reqid": sa.reqid,
            "new_family": parts.family_of(destination),
        }
        attributes: list[tuple[str, Any]] = []
        # What is left out is inherited, with all that the model does not name.
        if encap != sa.encap:
            attributes.append(("XFRMA_ENCAP", parts.encap_fields(encap) if encap is not None else {}))
        message = parts.encode(wire.migrate_state_msg, wire.XFRM_MSG_MIGRATE_STATE, _ACKED, fields, attributes)
        return Request("migrate SA", sa, Wire(message, Answer.ACK), _nothing)

    def set_replay(self, sa: SA, replay: Replay) -> Request[None]:
        """Return the request that sets the sequence numbers and the replay window of an SA (XFRM_MSG_NEWAE)."""
        fields = {"sa_id": codec.sa_id_fields(sa.id), "saddr": sa.source.packed, "reqid": sa.reqid}
        attributes = [codec.replay_attribute(sa, replay), *parts.mark_attributes(sa.id.mark)]
        message = parts.encode(wire.aevent_id_msg, wire.XFRM_MSG_NEWAE, _REPLACED, fields, attributes)
        return Request("set sequence number", sa, Wire(message, Answer.ACK), _nothing)

    def supports(self, feature: Feature) -> Operation[Support]:
        """Probe the kernel for a feature without changing anything."""
        match feature:
            case Feature.MIGRATE:
                return (yield from _probe(self._migrate_nothing(), "XFRM_MSG_MIGRATE", errno.EINVAL))
            case Feature.MIGRATE_STATE:
                return (yield from _probe(self._migrate_nobody(), "XFRM_MSG_MIGRATE_STATE", errno.ESRCH))
            case _ if feature in _ONLY_PFKEY:
                return Support(False, _ONLY_PFKEY[feature])
            case _:
                return Support(True, "XFRM expresses it")

    def _write_sa(
        self, operation: str, message_type: int, flags: int, sa: SA, hints: Mapping[int, str] | None = None
    ) -> Request[None]:
        check_sa(operation, sa)
        message = parts.encode(
            wire.usersa_msg, message_type, flags, codec.sa_fields(sa), codec.sa_attributes(sa), sa.other
        )
        return Request(operation, sa, Wire(message, Answer.ACK), _nothing, hints or {})

    def _write_policy(self, operation: str, message_type: int, flags: int, policy: Policy) -> Request[None]:
        check_policy(operation, policy)
        message = parts.encode(
            wire.userpolicy_msg,
            message_type,
            flags,
            codec.policy_fields(policy),
            codec.policy_attributes(policy),
            policy.other,
        )
        return Request(operation, policy, Wire(message, Answer.ACK), _nothing)

    def _sa_id_message(self, message_type: int, flags: int, sa_id: SAId) -> bytearray:
        return parts.encode(
            wire.usersa_id_msg,
            message_type,
            flags,
            codec.sa_id_fields(sa_id),
            parts.mark_attributes(sa_id.mark),
        )

    def _policy_id_message(self, operation: str, message_type: int, flags: int, policy_id: PolicyId | int) -> bytearray:
        if isinstance(policy_id, int):
            fields = {"index": policy_id, "dir": check_policy_index(operation, policy_id)}
            return parts.encode(wire.userpolicy_id_msg, message_type, flags, fields)
        check_policy_id(operation, policy_id)
        attributes = codec.policy_id_attributes(policy_id)
        return parts.encode(wire.userpolicy_id_msg, message_type, flags, codec.policy_id_fields(policy_id), attributes)

    def _migrate_nothing(self) -> Request[None]:
        # Without XFRMA_MIGRATE there is nothing to do, and a kernel that could do it says EINVAL.
        selector = Selector(any_selector(4).source, any_selector(4).destination)
        message = parts.encode(
            wire.userpolicy_id_msg, wire.XFRM_MSG_MIGRATE, _ACKED, {"sel": parts.selector_fields(selector)}
        )
        return Request("probe migrate", "", Wire(message, Answer.ACK), _nothing)

    def _migrate_nobody(self) -> Request[None]:
        # No SA can have the broadcast address for its destination and a reserved SPI (RFC 4303 §2.1).
        nobody = IPv4Address("255.255.255.255")
        sa = SA(SAId(nobody, 1), nobody)
        return self.migrate_sa(sa, nobody, nobody, None)


def _migrate_fields(old: Template, new: Template) -> dict[str, Any]:
    if old.source is None or old.destination is None or new.source is None or new.destination is None:
        raise InvalidRequestError("migrate policy: only templates that have addresses can move")
    return {
        "old_daddr": old.destination.packed,
        "old_saddr": old.source.packed,
        "new_daddr": new.destination.packed,
        "new_saddr": new.source.packed,
        "proto": old.protocol,
        "mode": old.mode,
        "reqid": old.reqid,
        "old_family": parts.family_of(old.source),
        "new_family": parts.family_of(new.source),
    }


def _refuse(feature: Feature) -> NoReturn:
    raise UnsupportedError(feature.value, _ONLY_PFKEY[feature])


def _probe(request: Request[None], message: str, understood: int) -> Operation[Support]:
    try:
        yield from ask(request)
    except KernelError as error:
        if error.errno == understood:
            return Support(True, f"the kernel understands {message}")
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return Support(False, f"the kernel has no {message}")
        if error.errno == errno.ENOPROTOOPT:
            return Support(False, "the kernel was built without CONFIG_XFRM_MIGRATE")
        return Support(None, f"{message}: {error.strerror}")
    return Support(None, f"{message}: the probe was accepted, which it should not be")


def _nothing(_: Sequence[wire.xfrm_message]) -> None:
    return None


def _only(messages: Sequence[wire.xfrm_message], decode: Any) -> Any:
    if len(messages) != 1:
        raise MalformedReplyError(f"{len(messages)} messages where the kernel answers with one")
    return parts.decoding(decode, messages[0])


def _all(messages: Sequence[wire.xfrm_message], decode: Any) -> list[Any]:
    return [parts.decoding(decode, message) for message in messages]
