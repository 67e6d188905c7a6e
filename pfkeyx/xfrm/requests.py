"""What can be asked over XFRM of SAs and policies, as requests: each names its message, and how its answer is read."""

import errno
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from pfkeyx.alike import Alike
from pfkeyx.checks import (
    ADDITION_HINTS,
    check_filter,
    check_policy,
    check_policy_id,
    check_policy_index,
    check_progress,
    check_sa,
    check_sa_id,
    check_spi_request,
    spi_hints,
    spi_maximum,
)
from pfkeyx.columns import Policies, PolicyIds, SAIds, SAs
from pfkeyx.dialect import Dialect
from pfkeyx.errors import InvalidRequestError, UnsupportedError
from pfkeyx.events import Acquire
from pfkeyx.features import Feature, Support
from pfkeyx.model import (
    SA,
    IPAddress,
    Policy,
    PolicyId,
    PolicyType,
    Progress,
    Protocol,
    Replay,
    SAFilter,
    SAId,
    SPIRequest,
    any_selector,
)
from pfkeyx.molds import Molds, Needs
from pfkeyx.operation import Operation, Request, put_aside
from pfkeyx.xfrm import codec, parts
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm.answers import Answer, Wire, every_entry, is_dump, nothing, only_entry
from pfkeyx.xfrm.encoding import encode
from pfkeyx.xfrm.entry import PolicyEntry
from pfkeyx.xfrm.moves import MoveRequests
from pfkeyx.xfrm.numbers import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST
from pfkeyx.xfrm.probes import ONLY_PFKEY, Probing, needs_of
from pfkeyx.xfrm.progress import ProgressRequests
from pfkeyx.xfrm.rewriting import write_back
from pfkeyx.xfrm.tables import TableRequests

_ACKED = NLM_F_REQUEST | NLM_F_ACK
_CREATED = _ACKED | NLM_F_CREATE | NLM_F_EXCL
_REPLACED = _ACKED | NLM_F_REPLACE

#: What it means when the kernel does not do what was asked, where it says no more than an errno.
_UPDATE_HINTS = {
    errno.EINVAL: "of an SA that is in use, only limits, ports, output mark and interface id can be changed; "
    "for the rest delete it, and add it anew",
}
_POLICY_HINTS = {errno.EEXIST: "an update replaces it"}

#: Messages that are answered by one message; any other by an acknowledgement.
_ANSWERED = {
    wire.XFRM_MSG_GETSA,
    wire.XFRM_MSG_GETPOLICY,
    wire.XFRM_MSG_ALLOCSPI,
    wire.XFRM_MSG_GETAE,
    wire.XFRM_MSG_GETSADINFO,
    wire.XFRM_MSG_GETSPDINFO,
    wire.XFRM_MSG_GETDEFAULT,
}


class XfrmDialect(MoveRequests, ProgressRequests, TableRequests, Probing):
    """NETLINK_XFRM: everything that the model can say. It remembers what it has found out about its kernel.

    `open_aside` returns PF_KEY's dialect, for the one message that XFRM does not have.
    """

    name = "xfrm"
    sends_together = True
    reads_singly = True

    def __init__(self, open_aside: Callable[[], Dialect] | None = None) -> None:
        ProgressRequests.__init__(self)
        Probing.__init__(self)
        self._molds = Molds(SAs(), self._sa_message)
        self._id_molds = Molds(SAIds(), self._deletion)
        self._policy_molds = Molds(Policies(), self._policy_message)
        self._policy_id_molds = Molds(PolicyIds(), self._policy_deletion)
        self._open_aside = open_aside

    def as_shown(self, sa: SA) -> SA:
        """Return the SA: a read shows all of it."""
        return sa

    def supports(self, feature: Feature) -> Operation[Support]:
        """Probe the kernel for a feature without changing anything; it is asked once, but for PF_KEY's own."""
        if feature is not Feature.ADDRUPDATE or self._open_aside is None:
            return (yield from Probing.supports(self, feature))
        try:
            return (yield from put_aside(self._open_aside().supports(feature)))
        except UnsupportedError as error:
            return Support(False, str(error))

    def update_address(self, sa: SA, moved: SA) -> Request[None]:
        """Return the request that moves one SA, found by its SPI, to where `moved` is (SADB_X_ADDRUPDATE)."""
        if self._open_aside is None:
            raise UnsupportedError(Feature.ADDRUPDATE.value, f"update address {sa}: {ONLY_PFKEY[Feature.ADDRUPDATE]}")
        return replace(self._open_aside().update_address(sa, moved), aside=True)

    def get_spi(self, wanted: SPIRequest) -> Request[int]:
        """Return the request for an SPI (XFRM_MSG_ALLOCSPI)."""
        check_spi_request("get SPI", wanted)
        maximum = spi_maximum(wanted.protocol, wanted.maximum)
        info = {
            "sel": parts.selector_fields(any_selector(wanted.source.version)),
            "id": {"daddr": wanted.destination.packed, "proto": wanted.protocol},
            "saddr": wanted.source.packed,
            "seq": wanted.sequence,
            "reqid": wanted.reqid,
            "family": parts.family_of(wanted.destination),
            "mode": wanted.mode,
        }
        attributes = [
            *parts.mark_attributes(wanted.mark, wanted.if_id),
            *parts.direction_attributes(wanted.direction),
            *parts.cpu_attributes(wanted.cpu),
        ]
        fields = {"info": info, "min": wanted.minimum, "max": maximum}
        return Request(
            "get SPI",
            wanted,
            Wire(encode(wire.userspi_msg, wire.XFRM_MSG_ALLOCSPI, NLM_F_REQUEST, fields, attributes), Answer.ONE),
            lambda messages: only_entry(messages, codec.read_sa).id.spi,
            spi_hints(wanted.minimum, maximum),
            needs_of(attributes, wanted.mode),
        )

    def add_sa(self, sa: SA) -> Request[None]:
        """Return the request that adds an SA (XFRM_MSG_NEWSA)."""
        written = self._molds.write_one(sa, "add SA", wire.XFRM_MSG_NEWSA, _CREATED)
        return _acknowledged("add SA", ADDITION_HINTS, sa, *written)

    def update_sa(self, sa: SA) -> Request[None]:
        """Return the request that completes a larval SA, or changes a mature one's limits (XFRM_MSG_UPDSA)."""
        written = self._molds.write_one(sa, "update SA", wire.XFRM_MSG_UPDSA, _REPLACED)
        return _acknowledged("update SA", _UPDATE_HINTS, sa, *written)

    def add_sas(self, sas: Sequence[SA]) -> Sequence[Request[None]]:
        """Return the requests that add many SAs."""
        write = partial(self._molds.write, what=("add SA", wire.XFRM_MSG_NEWSA, _CREATED))
        return Alike(sas, write, partial(_acknowledged, "add SA", ADDITION_HINTS))

    def update_sas(self, sas: Sequence[SA]) -> Sequence[Request[None]]:
        """Return the requests that complete or change many SAs."""
        write = partial(self._molds.write, what=("update SA", wire.XFRM_MSG_UPDSA, _REPLACED))
        return Alike(sas, write, partial(_acknowledged, "update SA", _UPDATE_HINTS))

    def restore_sa(self, sa: SA) -> Request[None]:
        """Return the request that adds an SA which goes on where it was when it was read (XFRM_MSG_NEWSA).

        Raises `InvalidRequestError` without the `replay` and the `usage` that say where that is.
        """
        if sa.replay is None or sa.usage is None:
            raise InvalidRequestError(f"restore SA {sa}: it has no replay or no usage; take an SA that XFRM has read")
        check_progress("restore SA", sa, Progress(sa.replay, sa.usage))
        message, needs = self._sa_message(sa, "restore SA", wire.XFRM_MSG_NEWSA, _CREATED, sa.replay)
        return Request("restore SA", sa, Wire(message, Answer.ACK), nothing, ADDITION_HINTS, needs)

    def expire_sa(self, sa_id: SAId, hard: bool) -> Request[None]:
        """Return the request that has an SA reach its soft or hard limit now (XFRM_MSG_EXPIRE).

        At the hard one it is deleted. The kernel does not remember a soft one, and tells of the SA's own again.
        """
        _check_can_be_found("expire SA", sa_id)
        state = {
            "id": {"daddr": sa_id.destination.packed, "spi": sa_id.spi, "proto": sa_id.protocol},
            "family": parts.family_of(sa_id.destination),
        }
        fields = {"state": state, "hard": int(hard)}
        attributes = parts.mark_attributes(sa_id.mark)
        message = encode(wire.expire_msg, wire.XFRM_MSG_EXPIRE, _ACKED, fields, attributes)
        return Request("expire SA", sa_id, Wire(message, Answer.ACK), nothing)

    def get_sa(self, sa_id: SAId) -> Request[SA]:
        """Return the request that reads one SA (XFRM_MSG_GETSA)."""
        _check_can_be_found("get SA", sa_id)
        message = self._sa_id_message(wire.XFRM_MSG_GETSA, NLM_F_REQUEST, sa_id)
        return Request("get SA", sa_id, Wire(message, Answer.ONE), partial(only_entry, read=codec.read_sa))

    def delete_sa(self, sa_id: SAId) -> Request[None]:
        """Return the request that deletes one SA (XFRM_MSG_DELSA)."""
        return _acknowledged("delete SA", {}, sa_id, *self._deletion(sa_id))

    def delete_sas(self, sa_ids: Sequence[SAId]) -> Sequence[Request[None]]:
        """Return the requests that delete many SAs."""
        return Alike(sa_ids, self._id_molds.write, partial(_acknowledged, "delete SA", {}))

    def dump_sas(self, matching: SAFilter) -> Request[Sequence[SA]]:
        """Return the request that reads all IPsec SAs that match (XFRM_MSG_GETSA with NLM_F_DUMP).

        The tunnels that the kernel makes by itself for the SAs of IPComp (RFC 3173 §2.2) are none.
        """
        check_filter("dump SAs", matching)
        attributes = codec.filter_attributes(matching)
        message = encode(wire.empty_msg, wire.XFRM_MSG_GETSA, NLM_F_REQUEST | NLM_F_DUMP, {}, attributes)
        return Request("dump SAs", matching, Wire(message, Answer.DUMP), codec.every_sa)

    def flush_sas(self, protocol: Protocol | None) -> Request[None]:
        """Return the request that deletes every IPsec SA, or those of one protocol (XFRM_MSG_FLUSHSA)."""
        fields = {"proto": codec.protocol_number(protocol)}
        message = encode(wire.usersa_flush_msg, wire.XFRM_MSG_FLUSHSA, _ACKED, fields)
        return Request("flush SAs", "" if protocol is None else protocol, Wire(message, Answer.ACK), nothing)

    def add_policy(self, policy: Policy) -> Request[None]:
        """Return the request that adds a policy (XFRM_MSG_NEWPOLICY)."""
        written = self._policy_message(policy, "add policy", wire.XFRM_MSG_NEWPOLICY, _CREATED)
        return _acknowledged("add policy", _POLICY_HINTS, policy, *written)

    def update_policy(self, policy: Policy) -> Request[None]:
        """Return the request that replaces a policy at once, keeping its index, or adds it (XFRM_MSG_UPDPOLICY)."""
        written = self._policy_message(policy, "update policy", wire.XFRM_MSG_UPDPOLICY, _REPLACED)
        return _acknowledged("update policy", {}, policy, *written)

    def add_policies(self, policies: Sequence[Policy]) -> Sequence[Request[None]]:
        """Return the requests that add many policies."""
        write = partial(self._policy_molds.write, what=("add policy", wire.XFRM_MSG_NEWPOLICY, _CREATED))
        return Alike(policies, write, partial(_acknowledged, "add policy", _POLICY_HINTS))

    def update_policies(self, policies: Sequence[Policy]) -> Sequence[Request[None]]:
        """Return the requests that replace or add many policies."""
        write = partial(self._policy_molds.write, what=("update policy", wire.XFRM_MSG_UPDPOLICY, _REPLACED))
        return Alike(policies, write, partial(_acknowledged, "update policy", {}))

    def get_policy(self, policy_id: PolicyId | int) -> Request[Policy]:
        """Return the request that reads one policy (XFRM_MSG_GETPOLICY).

        By its index alone the kernel finds only a policy of the main type, without mark and interface id.
        """
        fields, attributes = self._policy_key("get policy", policy_id)
        message = encode(wire.userpolicy_id_msg, wire.XFRM_MSG_GETPOLICY, NLM_F_REQUEST, fields, attributes)
        decode = partial(only_entry, read=codec.read_policy)
        return Request("get policy", policy_id, Wire(message, Answer.ONE), decode, needs=needs_of(attributes))

    def delete_policy(self, policy_id: PolicyId | int) -> Request[None]:
        """Return the request that deletes one policy, found as by `get_policy` (XFRM_MSG_DELPOLICY)."""
        return _acknowledged("delete policy", {}, policy_id, *self._policy_deletion(policy_id))

    def delete_policies(self, policy_ids: Sequence[PolicyId | int]) -> Sequence[Request[None]]:
        """Return the requests that delete many policies."""
        return Alike(policy_ids, self._policy_id_molds.write, partial(_acknowledged, "delete policy", {}))

    def expire_policy(self, policy_id: PolicyId | int, hard: bool) -> Request[None]:
        """Return the request that has a policy reach its soft or hard limit now (XFRM_MSG_POLEXPIRE).

        It is found as by `get_policy`; at the hard limit it is deleted.
        """
        key, attributes = self._policy_key("expire policy", policy_id)
        fields = {"pol": key, "hard": int(hard)}
        message = encode(wire.polexpire_msg, wire.XFRM_MSG_POLEXPIRE, _ACKED, fields, attributes)
        needs = needs_of(attributes)
        return Request("expire policy", policy_id, Wire(message, Answer.ACK), nothing, needs=needs)

    def dump_policies(self, places: Collection[tuple[IPAddress, ...]] | None = None) -> Request[Sequence[Policy]]:
        """Return the request that reads all policies, or those at some places (XFRM_MSG_GETPOLICY with NLM_F_DUMP).

        The kernel tells all of them; of others no value is made.
        """
        message = encode(wire.empty_msg, wire.XFRM_MSG_GETPOLICY, NLM_F_REQUEST | NLM_F_DUMP, {})
        decode: Callable[[Any], Sequence[Policy]] = partial(every_entry, read=codec.dumped_policy)
        if places is not None:
            decode = partial(codec.read_policies_at, [[end.packed for end in place] for place in places])
        return Request("dump policies", "", Wire(message, Answer.DUMP), decode)

    def flush_policies(self, policy_type: PolicyType) -> Request[None]:
        """Return the request that deletes every policy of a type (XFRM_MSG_FLUSHPOLICY)."""
        attributes = codec.policy_type_attributes(policy_type)
        message = encode(wire.empty_msg, wire.XFRM_MSG_FLUSHPOLICY, _ACKED, {}, attributes)
        subject = policy_type or ""
        return Request("flush policies", subject, Wire(message, Answer.ACK), nothing)

    def register(self) -> NoReturn:
        """Raise `UnsupportedError`: XFRM lists no algorithms."""
        _refuse(Feature.REGISTER)

    def answer_acquire(self, acquire: Acquire, code: int) -> NoReturn:
        """Raise `UnsupportedError`: over XFRM an acquire that fails is left to its end."""
        del acquire, code
        _refuse(Feature.ACQUIRE_ANSWER)

    def message(self, message: Any) -> Request[tuple[Any, ...]]:
        """Return the request that sends a message of `pfkeyx.xfrm.messages` as it is, and tells what was answered.

        Its type and flags are its header's, to which NLM_F_REQUEST is added, and NLM_F_ACK where only an
        acknowledgement comes. With NLM_F_DUMP a GETSA or GETPOLICY is a dump. Raises `InvalidRequestError` for what is
        declared as another message, is none that the kernel takes, or cannot be encoded.
        """
        from pfkeyx.xfrm import messages

        if not isinstance(message, messages.strict_msg):
            _refuse(Feature.PFKEY)
        number, flags = message["header"].get("type", 0), message["header"].get("flags", 0)
        dumps = is_dump(number, flags)
        declared = messages.SENT.get(number)
        is_of_dump = dumps and isinstance(message, messages.empty_msg)
        if declared is None or not (isinstance(message, declared) or is_of_dump):
            raise InvalidRequestError(f"send XFRM message {number}: it cannot be a {type(message).__name__}")
        answer = Answer.TABLE if dumps else Answer.ONE if number in _ANSWERED else Answer.ACK
        flags |= _ACKED if answer is Answer.ACK else NLM_F_REQUEST
        wired = Wire(_encoded(message, number, flags), answer)
        return Request("send XFRM message", number, wired, lambda said: tuple(map(messages.received, said)))

    @staticmethod
    def _sa_message(
        sa: SA, operation: str, message_type: int, flags: int, replay: Replay | None = None
    ) -> tuple[bytearray, Needs]:
        """Return the message that makes an SA, as far as `replay` says or at its beginning, and what it needs."""
        check_sa(operation, sa)
        attributes = codec.sa_attributes(sa, replay)
        if replay is not None and sa.usage is not None:
            attributes.append(("XFRMA_LTIME_VAL", parts.usage_fields(sa.usage)))
        message = encode(wire.usersa_msg, message_type, flags, codec.sa_fields(sa), attributes, sa.other)
        return message, needs_of(attributes, sa.mode)

    @staticmethod
    def _policy_message(policy: Policy, operation: str, message_type: int, flags: int) -> tuple[bytearray, Needs]:
        if isinstance(entry := policy.told, PolicyEntry):
            # What the kernel has told it knows, and takes again.
            return write_back(entry, message_type, flags, policy.index), ()
        check_policy(operation, policy)
        fields, attributes = codec.policy_fields(policy), codec.policy_attributes(policy)
        message = encode(wire.userpolicy_msg, message_type, flags, fields, attributes, policy.other)
        return message, needs_of(attributes)

    def _policy_deletion(self, policy_id: PolicyId | int) -> tuple[bytearray, Needs]:
        fields, attributes = self._policy_key("delete policy", policy_id)
        message = encode(wire.userpolicy_id_msg, wire.XFRM_MSG_DELPOLICY, _ACKED, fields, attributes)
        return message, needs_of(attributes)

    def _deletion(self, sa_id: SAId) -> tuple[bytearray, Needs]:
        _check_can_be_found("delete SA", sa_id)
        return self._sa_id_message(wire.XFRM_MSG_DELSA, _ACKED, sa_id), ()

    def _sa_id_message(self, message_type: int, flags: int, sa_id: SAId) -> bytearray:
        fields, attributes = codec.sa_id_fields(sa_id), parts.mark_attributes(sa_id.mark)
        return encode(wire.usersa_id_msg, message_type, flags, fields, attributes)

    def _policy_key(self, operation: str, policy_id: PolicyId | int) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
        """Return the fields and attributes that a policy is looked up by."""
        if isinstance(policy_id, int):
            return {"index": policy_id, "dir": check_policy_index(operation, policy_id)}, []
        check_policy_id(operation, policy_id)
        return codec.policy_id_fields(policy_id), codec.policy_id_attributes(policy_id)


def _acknowledged(
    operation: str, hints: Mapping[int, str], subject: object, message: bytearray, needs: Needs
) -> Request[None]:
    return Request(operation, subject, Wire(message, Answer.ACK), nothing, hints, needs)


def _check_can_be_found(operation: str, sa_id: SAId) -> None:
    check_sa_id(operation, sa_id)
    if sa_id.spi == 0:
        raise UnsupportedError(
            "protocol",
            f"{operation} {sa_id}: an SA of Mobile IPv6 is found by both addresses (XFRMA_SRCADDR), which only "
            "exchange can say; dump_sas and flush_sas take its protocol",
        )


def _encoded(message: Any, number: int, flags: int) -> bytearray:
    """Return a message's bytes, made of a copy: pyroute2 encodes each only once."""
    fields = {name: value for name, value in message.items() if name != "header"}
    try:
        attributes = [(slot[0], slot[1]) for slot in message["attrs"]]
        # pyroute2 would leave out what it does not know.
        unknown = [name for name, _ in attributes if name not in message.table.kinds]
        if unknown:
            raise InvalidRequestError(f"send XFRM message {number}: there is no attribute {unknown[0]}")
        return encode(type(message), number, flags, fields, attributes)
    except (AttributeError, KeyError, TypeError, ValueError, struct.error) as error:
        raise InvalidRequestError(f"send XFRM message {number}: it cannot be encoded: {error}") from error


def _refuse(feature: Feature) -> NoReturn:
    raise UnsupportedError(feature.value, ONLY_PFKEY[feature])
