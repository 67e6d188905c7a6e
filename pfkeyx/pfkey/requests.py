"""What can be asked over PF_KEY, as requests: each names its message, and how its answer is read."""

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TypeVar

from pfkeyx import checks
from pfkeyx.errors import InvalidRequestError, KernelError, MalformedReplyError, UnsupportedError
from pfkeyx.events import Acquire
from pfkeyx.features import Feature, Support, SupportedAlgorithms
from pfkeyx.model import (
    SA,
    AddressPair,
    IPAddress,
    Mode,
    Policy,
    PolicyId,
    Protocol,
    SAFilter,
    SAId,
    Template,
)
from pfkeyx.native import lib
from pfkeyx.operation import Operation, Request, ask
from pfkeyx.pfkey import codec, limits, parts
from pfkeyx.pfkey.extensions import AddressExtension, PolicyExtension, SA2Extension, SAExtension, SPIRangeExtension
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, Outgoing, SAType, build

T = TypeVar("T")


class Answer(Enum):
    """How an answer ends, and what of it is read."""

    NONE = "nothing, unless it is refused"
    ACK = "one message, of which only the errno counts"
    ONE = "one message"
    DUMP = "messages up to the one that is numbered 0"


@dataclass(frozen=True, slots=True)
class Wire:
    """A whole PF_KEY message, seq and pid still 0, and how its answer ends.

    `sequence` is the seq that the message has to have, 0 where it may be any. `is_announced_by` recognises the
    answer among broadcasts that carry neither seq nor pid, as a move's does.
    """

    message: Outgoing
    answer: Answer
    sequence: int = 0
    is_announced_by: Callable[[Message], bool] | None = None


class PfkeyDialect:
    """PF_KEYv2 on Linux: what of the model it cannot say is refused with `UnsupportedError` (see `limits.py`)."""

    name = "pfkey"

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
        """Return the request for an SPI between `minimum` and `maximum` (SADB_GETSPI, RFC 2367 §3.1.1)."""
        maximum = checks.spi_maximum(protocol, maximum)
        checks.check_pair("get SPI", source, destination)
        checks.check_bits("get SPI", f"{source} -> {destination}", 32, reqid=reqid, sequence=sequence)
        checks.check_spi_range("get SPI", protocol, minimum, maximum)
        limits.check_spi_request("get SPI", SAId(destination, minimum, protocol), mode)
        extensions = {
            **parts.pair_extensions(source, destination),
            ExtensionType.X_SA2: SA2Extension(parts.MODES[mode], reqid),
            ExtensionType.SPIRANGE: SPIRangeExtension(minimum, maximum),
        }
        subject = f"{protocol} {source} -> {destination}"
        message = Message(MessageType.GETSPI, codec.SATYPES[protocol], extensions=extensions)
        hints = checks.spi_hints(minimum, maximum)
        return _request("get SPI", subject, message, Answer.ONE, _spi, sequence, hints)

    def add_sa(self, sa: SA) -> Request[None]:
        """Return the request that adds an SA (SADB_ADD, RFC 2367 §3.1.3)."""
        return self._write_sa("add SA", MessageType.ADD, sa, checks.ADDITION_HINTS)

    def update_sa(self, sa: SA) -> Request[None]:
        """Return the request that completes a larval SA, or changes limits and ports of a mature one (SADB_UPDATE)."""
        return self._write_sa("update SA", MessageType.UPDATE, sa)

    def get_sa(self, sa_id: SAId) -> Request[SA]:
        """Return the request that reads one SA (SADB_GET, RFC 2367 §3.1.5)."""
        return self._look_up("get SA", MessageType.GET, Answer.ONE, sa_id, _sa)

    def delete_sa(self, sa_id: SAId) -> Request[None]:
        """Return the request that deletes one SA (SADB_DELETE, RFC 2367 §3.1.4)."""
        return self._look_up("delete SA", MessageType.DELETE, Answer.ACK, sa_id, _nothing)

    def dump_sas(self, matching: SAFilter) -> Request[list[SA]]:
        """Return the request that reads all SAs that match (SADB_DUMP, RFC 2367 §3.1.10)."""
        checks.check_filter("dump SAs", matching)
        satype = self._satype("dump SAs", matching.protocol)
        message = Message(MessageType.DUMP, satype, extensions=codec.filter_extensions(matching))
        return _request("dump SAs", matching, message, Answer.DUMP, _sas)

    def flush_sas(self, protocol: Protocol | None) -> Request[None]:
        """Return the request that deletes every IPsec SA, or those of one protocol (SADB_FLUSH, RFC 2367 §3.1.9)."""
        satype = self._satype("flush SAs", protocol)
        return _request("flush SAs", protocol or "", Message(MessageType.FLUSH, satype), Answer.ACK, _nothing)

    def add_policy(self, policy: Policy) -> Request[None]:
        """Return the request that adds a policy (SADB_X_SPDADD)."""
        return self._write_policy("add policy", MessageType.X_SPDADD, policy)

    def update_policy(self, policy: Policy) -> Request[None]:
        """Return the request that replaces a policy at once, keeping its index, or adds it (SADB_X_SPDUPDATE)."""
        return self._write_policy("update policy", MessageType.X_SPDUPDATE, policy)

    def get_policy(self, policy_id: PolicyId | int) -> Request[Policy]:
        """Return the request that reads one policy (SADB_X_SPDGET; by its selector, out of a SADB_X_SPDDUMP)."""
        if isinstance(policy_id, int):
            checks.check_policy_index("get policy", policy_id)
            message = Message(MessageType.X_SPDGET, extensions=codec.policy_index_extensions(policy_id))
            return _request("get policy", policy_id, message, Answer.ONE, _policy)
        checks.check_policy_id("get policy", policy_id)
        limits.check_policy_id("get policy", policy_id)
        message = Message(MessageType.X_SPDDUMP)
        return _request("get policy", policy_id, message, Answer.DUMP, partial(_policy_of, policy_id))

    def delete_policy(self, policy_id: PolicyId | int) -> Request[None]:
        """Return the request that deletes one policy (SADB_X_SPDDELETE; by its index, SADB_X_SPDDELETE2)."""
        if isinstance(policy_id, int):
            checks.check_policy_index("delete policy", policy_id)
            message = Message(MessageType.X_SPDDELETE2, extensions=codec.policy_index_extensions(policy_id))
        else:
            checks.check_policy_id("delete policy", policy_id)
            limits.check_policy_id("delete policy", policy_id)
            message = Message(MessageType.X_SPDDELETE, extensions=codec.policy_id_extensions(policy_id))
        return _request("delete policy", policy_id, message, Answer.ACK, _nothing)

    def dump_policies(self) -> Request[list[Policy]]:
        """Return the request that reads all policies (SADB_X_SPDDUMP)."""
        return _request("dump policies", "", Message(MessageType.X_SPDDUMP), Answer.DUMP, _policies)

    def flush_policies(self) -> Request[None]:
        """Return the request that deletes every policy of the main type (SADB_X_SPDFLUSH)."""
        return _request("flush policies", "", Message(MessageType.X_SPDFLUSH), Answer.ACK, _nothing)

    def migrate_policy(
        self,
        policy_id: PolicyId,
        moves: Sequence[tuple[Template, Template]],
        kmaddress: AddressPair | None = None,
    ) -> Request[None]:
        """Return the request that moves a policy's templates, and the newest SA of each (SADB_X_MIGRATE).

        `moves` are pairs of old and new templates, `kmaddress` is told to those who listen. A success may have moved
        no SA, and those that it moved lose their encapsulation on kernels since 7.2.
        """
        checks.check_policy_id("migrate policy", policy_id)
        limits.check_policy_id("migrate policy", policy_id)
        limits.check_moves("migrate policy", policy_id, moves)
        extensions = codec.migrate_extensions(policy_id, moves, kmaddress)
        message = Message(MessageType.X_MIGRATE, extensions=extensions)
        return _request("migrate policy", policy_id, message, Answer.ACK, _nothing, hints=_MOVE_HINTS)

    def register(self) -> Request[SupportedAlgorithms]:
        """Return the request for the kernel's algorithms, which registers nobody (SADB_REGISTER, RFC 2367 §3.1.7)."""
        return _request("register", "", Message(MessageType.REGISTER), Answer.ONE, _supported)

    def answer_acquire(self, acquire: Acquire, code: int) -> Request[None]:
        """Return the message that says that no SA will come of an acquire (SADB_ACQUIRE, RFC 2367 §3.1.6)."""
        checks.check_bits("answer acquire", acquire, 8, errno=code)
        if not code:
            raise InvalidRequestError(
                f"answer acquire {acquire}: errno 0 would be no answer; add the SA, or give the errno of why not"
            )
        message = Message(MessageType.ACQUIRE, codec.SATYPES[acquire.protocol], code)
        return _request("answer acquire", acquire, message, Answer.NONE, _nothing, sequence=acquire.sequence)

    def message(self, message: Message) -> Request[tuple[Message, ...]]:
        """Return the request that sends a message as it is, but for its pid, and for its seq where that is 0."""
        if message.type is MessageType.X_PROMISC and message.satype and not message.extensions:
            # It would hear its own requests, which look like their answers.
            raise InvalidRequestError(
                f"{message.type}: a socket that answers are read from cannot hear everything; "
                "open a PfkeySocket for that"
            )
        answer = _ANSWERS.get(message.type, Answer.ONE)
        sequence = 0 if answer is Answer.DUMP else message.seq
        return _request("send", message.type, message, answer, tuple, sequence=sequence)

    def supports(self, feature: Feature) -> Operation[Support]:
        """Probe the kernel for a feature without changing anything."""
        match feature:
            case Feature.PFKEY | Feature.REGISTER | Feature.ACQUIRE_ANSWER:
                return Support(True, "this engine speaks it")
            case _ if feature in _REFUSED:
                return (yield from _probe_refused(_REFUSED[feature]))
            case Feature.MIGRATE:
                return (yield from _probe_migrate())
            case Feature.XFRM:
                return Support(False, "this engine speaks PF_KEY: open the xfrm engine")
            case _:
                return Support(False, f"PF_KEY cannot express {feature.value}: open the xfrm engine")

    def _write_sa(
        self, operation: str, message_type: MessageType, sa: SA, hints: Mapping[int, str] | None = None
    ) -> Request[None]:
        checks.check_sa(operation, sa)
        limits.check_sa(operation, sa)
        message = Message(message_type, codec.SATYPES[sa.id.protocol], extensions=codec.sa_extensions(sa))
        return _request(operation, sa, message, Answer.ACK, _nothing, hints=hints)

    def _look_up(
        self,
        operation: str,
        message_type: MessageType,
        answer: Answer,
        sa_id: SAId,
        decode: Callable[[Sequence[Message]], T],
    ) -> Request[T]:
        checks.check_sa_id(operation, sa_id)
        limits.check_sa_id(operation, sa_id)
        message = Message(message_type, codec.SATYPES[sa_id.protocol], extensions=codec.sa_id_extensions(sa_id))
        return _request(operation, sa_id, message, answer, decode)

    def _write_policy(self, operation: str, message_type: MessageType, policy: Policy) -> Request[None]:
        checks.check_policy(operation, policy)
        limits.check_policy(operation, policy)
        message = Message(message_type, extensions=codec.policy_extensions(policy))
        return _request(operation, policy, message, Answer.ACK, _nothing)

    def _satype(self, operation: str, protocol: Protocol | None) -> SAType:
        if protocol is None:
            return SAType.UNSPEC
        limits.check_protocol(operation, protocol)
        return codec.SATYPES[protocol]


#: What it means when the kernel does not make a move.
_MOVE_HINTS = {
    errno.ENODATA: "no template of the policy is like an old one, or an SA could not be made anew",
    errno.EINVAL: "the kernel takes neither a pair twice nor an address of zeros",
}
#: How the answers end of the messages that are not answered by one message.
_ANSWERS = {
    MessageType.ACQUIRE: Answer.NONE,
    MessageType.DUMP: Answer.DUMP,
    MessageType.X_SPDDUMP: Answer.DUMP,
}

#: What Linux has a number for, and no more; said of a probe that was refused as expected.
_REFUSED = {
    Feature.SADB_EXPIRE: (MessageType.EXPIRE, "Linux sends it, and takes it from nobody"),
    Feature.SADB_X_PCHANGE: (MessageType.X_PCHANGE, "Linux neither takes nor sends it"),
    Feature.SADB_X_SPDACQUIRE: (
        MessageType.X_SPDACQUIRE,
        "Linux neither takes nor sends it: a policy without an SA is told by SADB_ACQUIRE",
    ),
    Feature.SADB_X_SPDEXPIRE: (
        MessageType.X_SPDEXPIRE,
        "Linux neither takes nor sends it: a policy that expires is gone without a word",
    ),
    Feature.SADB_X_NAT_T_NEW_MAPPING: (
        MessageType.X_NAT_T_NEW_MAPPING,
        "Linux sends it, and takes it from nobody",
    ),
}


def _request(
    operation: str,
    subject: object,
    message: Message,
    answer: Answer,
    decode: Callable[[Sequence[Message]], T],
    sequence: int = 0,
    hints: Mapping[int, str] | None = None,
) -> Request[T]:
    try:
        outgoing = build(message)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{operation} {subject}: {error}") from error
    announced = partial(_is_same_move, _move(message)) if message.type is MessageType.X_MIGRATE else None
    return Request(operation, subject, Wire(outgoing, answer, sequence, announced), decode, hints or {})


def _is_same_move(asked: tuple[object, ...] | None, announced: Message) -> bool:
    """Return whether a broadcast tells of the move that was asked for: the kernel repeats what it moved."""
    return asked is not None and asked == _move(announced)


def _move(message: Message) -> tuple[object, ...] | None:
    """Return what tells a move from others, None for a message that moves nothing."""
    policy = message.extensions.get(ExtensionType.X_POLICY)
    source = message.extensions.get(ExtensionType.ADDRESS_SRC)
    destination = message.extensions.get(ExtensionType.ADDRESS_DST)
    if not (
        isinstance(policy, PolicyExtension)
        and isinstance(source, AddressExtension)
        and isinstance(destination, AddressExtension)
    ):
        return None
    # Linux reads mode 0 as transport, and makes up the levels, protocol and ports that it tells.
    requests = tuple(
        (it.protocol, it.mode or lib.IPSEC_MODE_TRANSPORT, it.reqid, it.source, it.destination)
        for it in policy.requests
    )
    return *source[:2], *destination[:2], policy.direction, requests


def _probe_migrate() -> Operation[Support]:
    # Without extensions there is nothing to do, and a kernel that could do it says EINVAL.
    try:
        yield from ask(_request("probe", "", Message(MessageType.X_MIGRATE), Answer.ACK, _nothing))
    except KernelError as error:
        if error.errno == errno.EINVAL:
            return Support(True, "the kernel understands SADB_X_MIGRATE")
        if error.errno == errno.ENOPROTOOPT:
            return Support(False, "the kernel was built without CONFIG_NET_KEY_MIGRATE")
        return Support(None, f"SADB_X_MIGRATE: {error.strerror}")
    return Support(None, "SADB_X_MIGRATE: the probe was accepted, which it should not be")


def _probe_refused(refused: tuple[MessageType, str]) -> Operation[Support]:
    # Without extensions there is nothing to do, and a kernel that could do it would say EINVAL.
    message_type, reason = refused
    try:
        yield from ask(_request("probe", message_type, Message(message_type), Answer.ACK, _nothing))
    except KernelError as error:
        if error.errno == errno.EOPNOTSUPP:
            return Support(False, f"{message_type}: {reason}")
        if error.errno == errno.EINVAL:
            return Support(True, f"the kernel understands {message_type}")
        return Support(None, f"{message_type}: {error.strerror}")
    return Support(None, f"{message_type}: the probe was accepted, which it should not be")


def _nothing(_messages: Sequence[Message]) -> None:
    return None


def _only(messages: Sequence[Message]) -> Message:
    if len(messages) != 1:
        raise MalformedReplyError(f"{len(messages)} messages where the kernel answers with one")
    return messages[0]


def _spi(messages: Sequence[Message]) -> int:
    return _only(messages).need(ExtensionType.SA, SAExtension).spi


def _sa(messages: Sequence[Message]) -> SA:
    return codec.decode_sa(_only(messages))


def _sas(messages: Sequence[Message]) -> list[SA]:
    # What a failed SADB_GETSPI of no type has left behind is no SA.
    return [codec.decode_sa(message) for message in messages if message.satype != SAType.UNSPEC]


def _policy(messages: Sequence[Message]) -> Policy:
    return codec.decode_policy(_only(messages))


def _policy_of(policy_id: PolicyId, messages: Sequence[Message]) -> Policy:
    found = [policy for policy in _policies(messages) if policy.id == policy_id]
    if not found:
        raise KernelError.of(errno.ENOENT, "get policy", policy_id)
    if len(found) > 1:
        hint = f"get policy {policy_id}: there are several, and PF_KEY does not show what tells them apart; "
        raise UnsupportedError("mark", hint + "give the index, or open the xfrm engine")
    return found[0]


def _supported(messages: Sequence[Message]) -> SupportedAlgorithms:
    return codec.decode_supported(_only(messages))


def _policies(messages: Sequence[Message]) -> list[Policy]:
    return [codec.decode_policy(message) for message in messages]
