"""What can be asked over PF_KEY, as requests: each names its message, and how its answer is read."""

import errno
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, TypeVar

from pfkeyx import checks
from pfkeyx.alike import Alike
from pfkeyx.columns import SAIds, SAs
from pfkeyx.dialect import changed_templates
from pfkeyx.entries import Entries, Messages
from pfkeyx.errors import InvalidRequestError, KernelError, MalformedReplyError, UnsupportedError
from pfkeyx.events import Acquire
from pfkeyx.features import Feature, Support, SupportedAlgorithms
from pfkeyx.model import (
    SA,
    AddressPair,
    DefaultPolicy,
    Encap,
    HashThreshold,
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
    Template,
    any_selector,
)
from pfkeyx.model.deferred import changed
from pfkeyx.molds import Molds, Needs, write_each
from pfkeyx.operation import Operation, Request
from pfkeyx.pfkey import codec, limits, parts, probes
from pfkeyx.pfkey.answers import Answer, Wire, build_for, make_request, nothing
from pfkeyx.pfkey.extensions import SA2Extension, SAExtension, SPIRangeExtension
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, Outgoing, SAType

T = TypeVar("T")


class PfkeyDialect:
    """PF_KEYv2 on Linux: what of the model it cannot say is refused with `UnsupportedError` (see `limits.py`)."""

    name = "pfkey"
    sends_together = False
    reads_singly = False

    def __init__(self) -> None:
        self._molds = Molds(SAs(), self._sa_message)
        self._id_molds = Molds(SAIds(), self._deletion)

    def as_shown(self, sa: SA) -> SA:
        """Return an SA as a read would show it: a selector of all IPv4 cannot be told from one of all IPv6."""
        return changed(sa, selector=None) if sa.selector in (any_selector(4), any_selector(6)) else sa

    def get_spi(self, wanted: SPIRequest) -> Request[int]:
        """Return the request that reserves an SPI (SADB_GETSPI, RFC 2367 §3.1.1)."""
        checks.check_spi_request("get SPI", wanted)
        limits.check_spi_request("get SPI", wanted)
        maximum = checks.spi_maximum(wanted.protocol, wanted.maximum)
        extensions = {
            **parts.pair_extensions(wanted.source, wanted.destination),
            ExtensionType.X_SA2: SA2Extension(parts.MODES[wanted.mode], wanted.reqid),
            ExtensionType.SPIRANGE: SPIRangeExtension(wanted.minimum, maximum),
        }
        message = Message(MessageType.GETSPI, parts.SATYPES[wanted.protocol], extensions=extensions)
        hints = checks.spi_hints(wanted.minimum, maximum)
        return make_request("get SPI", wanted, message, Answer.ONE, _spi, wanted.sequence, hints)

    def add_sa(self, sa: SA) -> Request[None]:
        """Return the request that adds an SA (SADB_ADD, RFC 2367 §3.1.3)."""
        written = self._molds.write_one(sa, "add SA", MessageType.ADD)
        return _acknowledged("add SA", checks.ADDITION_HINTS, sa, *written)

    def update_sa(self, sa: SA) -> Request[None]:
        """Return the request that completes a larval SA, or changes limits and ports of a mature one (SADB_UPDATE)."""
        return _acknowledged("update SA", {}, sa, *self._molds.write_one(sa, "update SA", MessageType.UPDATE))

    def get_sa(self, sa_id: SAId) -> Request[SA]:
        """Return the request that reads one SA (SADB_GET, RFC 2367 §3.1.5)."""
        message = self._id_message("get SA", MessageType.GET, sa_id)
        return make_request("get SA", sa_id, message, Answer.ONE, _sa)

    def delete_sa(self, sa_id: SAId) -> Request[None]:
        """Return the request that deletes one SA (SADB_DELETE, RFC 2367 §3.1.4)."""
        return _acknowledged("delete SA", {}, sa_id, *self._deletion(sa_id))

    def add_sas(self, sas: Sequence[SA]) -> Sequence[Request[None]]:
        """Return the requests that add many SAs."""
        write = partial(self._molds.write, what=("add SA", MessageType.ADD))
        return Alike(sas, write, partial(_acknowledged, "add SA", checks.ADDITION_HINTS))

    def update_sas(self, sas: Sequence[SA]) -> Sequence[Request[None]]:
        """Return the requests that complete or change many SAs."""
        write = partial(self._molds.write, what=("update SA", MessageType.UPDATE))
        return Alike(sas, write, partial(_acknowledged, "update SA", {}))

    def delete_sas(self, sa_ids: Sequence[SAId]) -> Sequence[Request[None]]:
        """Return the requests that delete many SAs."""
        return Alike(sa_ids, self._id_molds.write, partial(_acknowledged, "delete SA", {}))

    def dump_sas(self, matching: SAFilter) -> Request[Sequence[SA]]:
        """Return the request that reads all SAs that match (SADB_DUMP, RFC 2367 §3.1.10)."""
        checks.check_filter("dump SAs", matching)
        satype = self._satype("dump SAs", matching.protocol)
        message = Message(MessageType.DUMP, satype, extensions=codec.filter_extensions(matching))
        return make_request("dump SAs", matching, message, Answer.DUMP, _sas)

    def flush_sas(self, protocol: Protocol | None) -> Request[None]:
        """Return the request that deletes every IPsec SA, or those of one protocol (SADB_FLUSH, RFC 2367 §3.1.9)."""
        satype = self._satype("flush SAs", protocol)
        return make_request("flush SAs", protocol or "", Message(MessageType.FLUSH, satype), Answer.ACK, nothing)

    def add_policy(self, policy: Policy) -> Request[None]:
        """Return the request that adds a policy (SADB_X_SPDADD)."""
        return _acknowledged("add policy", {}, policy, *self._policy_addition(policy))

    def update_policy(self, policy: Policy) -> Request[None]:
        """Return the request that replaces a policy at once, keeping its index, or adds it (SADB_X_SPDUPDATE)."""
        return _acknowledged("update policy", {}, policy, *self._policy_update(policy))

    def add_policies(self, policies: Sequence[Policy]) -> Sequence[Request[None]]:
        """Return the requests that add many policies."""
        write = partial(write_each, write=self._policy_addition)
        return Alike(policies, write, partial(_acknowledged, "add policy", {}))

    def update_policies(self, policies: Sequence[Policy]) -> Sequence[Request[None]]:
        """Return the requests that replace or add many policies."""
        write = partial(write_each, write=self._policy_update)
        return Alike(policies, write, partial(_acknowledged, "update policy", {}))

    def get_policy(self, policy_id: PolicyId | int) -> Request[Policy]:
        """Return the request that reads one policy (SADB_X_SPDGET; by its selector, out of a SADB_X_SPDDUMP)."""
        if isinstance(policy_id, int):
            checks.check_policy_index("get policy", policy_id)
            message = Message(MessageType.X_SPDGET, extensions=codec.policy_index_extensions(policy_id))
            return make_request("get policy", policy_id, message, Answer.ONE, _policy)
        checks.check_policy_id("get policy", policy_id)
        limits.check_policy_id("get policy", policy_id)
        message = Message(MessageType.X_SPDDUMP)
        return make_request("get policy", policy_id, message, Answer.TABLE, partial(_policy_of, policy_id))

    def delete_policy(self, policy_id: PolicyId | int) -> Request[None]:
        """Return the request that deletes one policy (SADB_X_SPDDELETE; by its index, SADB_X_SPDDELETE2)."""
        return _acknowledged("delete policy", {}, policy_id, *self._policy_deletion(policy_id))

    def delete_policies(self, policy_ids: Sequence[PolicyId | int]) -> Sequence[Request[None]]:
        """Return the requests that delete many policies."""
        write = partial(write_each, write=self._policy_deletion)
        return Alike(policy_ids, write, partial(_acknowledged, "delete policy", {}))

    def dump_policies(self, places: Collection[tuple[IPAddress, ...]] | None = None) -> Request[Sequence[Policy]]:
        """Return the request that reads all policies (SADB_X_SPDDUMP), wherever they are."""
        del places
        return make_request("dump policies", "", Message(MessageType.X_SPDDUMP), Answer.DUMP, _policies)

    def flush_policies(self, policy_type: PolicyType) -> Request[None]:
        """Return the request that deletes every policy of the main type (SADB_X_SPDFLUSH)."""
        limits.check_policy_type("flush policies", policy_type)
        return make_request("flush policies", "", Message(MessageType.X_SPDFLUSH), Answer.ACK, nothing)

    def migrate_policy(
        self,
        policy_id: PolicyId,
        moves: Sequence[tuple[Template, Template]],
        encap: Encap | None = None,
        kmaddress: AddressPair | None = None,
    ) -> Request[None]:
        """Return the request that moves a policy's templates, and the newest SA of each (SADB_X_MIGRATE).

        `moves` are pairs of old and new templates, `kmaddress` is told to those who listen. A success may have moved
        no SA. An `encap` cannot be said, without which kernels since 7.2 leave moved SAs none.
        """
        checks.check_moves("migrate policy", policy_id, moves)
        limits.check_policy_id("migrate policy", policy_id)
        limits.check_moves("migrate policy", policy_id, moves, encap)
        extensions = codec.migrate_extensions(policy_id, moves, kmaddress)
        message = Message(MessageType.X_MIGRATE, extensions=extensions)
        return make_request("migrate policy", policy_id, message, Answer.ACK, nothing, hints=_MOVE_HINTS)

    def move_policy(self, policy: Policy, moved: Policy, encap: Encap | None) -> Request[None]:
        """Return the request that moves a policy's templates to where `moved` has them; see `migrate_policy`."""
        return self.migrate_policy(policy.id, changed_templates(policy, moved), encap)

    def update_address(self, sa: SA, moved: SA) -> Request[None]:
        """Return the request that gives one SA the ends and the encapsulation of `moved` (SADB_X_ADDRUPDATE)."""
        checks.check_sa_id("update address", sa.id)
        checks.check_pair("update address", moved.source, moved.destination)
        for address in (moved.source, moved.destination):
            checks.check_end("update address", address)
        limits.check_sa_id("update address", sa.id)
        extensions = codec.addrupdate_extensions(sa, moved)
        message = Message(MessageType.X_ADDRUPDATE, parts.SATYPES[sa.id.protocol], extensions=extensions)
        return make_request("update address", sa, message, Answer.ACK, nothing, needs=(Feature.ADDRUPDATE,))

    def register(self) -> Request[SupportedAlgorithms]:
        """Return the request for the kernel's algorithms, which registers nobody (SADB_REGISTER, RFC 2367 §3.1.7)."""
        return make_request("register", "", Message(MessageType.REGISTER), Answer.ONE, _supported)

    def answer_acquire(self, acquire: Acquire, code: int) -> Request[None]:
        """Return the message that says that no SA will come of an acquire (SADB_ACQUIRE, RFC 2367 §3.1.6)."""
        checks.check_bits("answer acquire", acquire, 8, errno=code)
        limits.check_protocol("answer acquire", acquire.protocol)
        if not code:
            raise InvalidRequestError(
                f"answer acquire {acquire}: errno 0 would be no answer; add the SA, or give the errno of why not"
            )
        message = Message(MessageType.ACQUIRE, parts.SATYPES[acquire.protocol], code)
        return make_request("answer acquire", acquire, message, Answer.NONE, nothing, sequence=acquire.sequence)

    def message(self, message: Any) -> Request[tuple[Message, ...]]:
        """Return the request that sends a `Message` as it is, but for its pid, and for its seq where that is 0."""
        if not isinstance(message, Message):
            probes.refuse(Feature.XFRM)
        if message.type is MessageType.X_PROMISC and message.satype and not message.extensions:
            # It would hear its own requests, which look like their answers.
            raise InvalidRequestError(
                f"{message.type}: a socket that answers are read from cannot hear everything; "
                "open a PfkeySocket for that"
            )
        answer = _ANSWERS.get(message.type, Answer.ONE)
        sequence = 0 if answer.is_dump else message.seq
        return make_request("send", message.type, message, answer, tuple, sequence=sequence)

    def supports(self, feature: Feature) -> Operation[Support]:
        """Probe the kernel for a feature without changing anything."""
        return probes.supports(feature)

    def restore_sa(self, sa: SA) -> NoReturn:
        """Raise `UnsupportedError`: PF_KEY sets neither sequence numbers nor counters."""
        del sa
        probes.refuse(Feature.RESTORE)

    def expire_sa(self, sa_id: SAId, hard: bool) -> NoReturn:
        """Raise `UnsupportedError`: Linux takes a SADB_EXPIRE from nobody."""
        del sa_id, hard
        probes.refuse(Feature.EXPIRE_REQUEST)

    def expire_policy(self, policy_id: PolicyId | int, hard: bool) -> NoReturn:
        """Raise `UnsupportedError`: PF_KEY on Linux has no policies that expire on request."""
        del policy_id, hard
        probes.refuse(Feature.EXPIRE_REQUEST)

    def get_progress(self, sa_id: SAId) -> NoReturn:
        """Raise `UnsupportedError`: PF_KEY does not show sequence numbers."""
        del sa_id
        probes.refuse(Feature.PROGRESS)

    def set_progress(self, sa: SA, progress: Progress) -> NoReturn:
        """Raise `UnsupportedError`: PF_KEY does not set sequence numbers."""
        del sa, progress
        probes.refuse(Feature.PROGRESS)

    def set_replay(self, sa: SA, replay: Replay) -> NoReturn:
        """Raise `UnsupportedError`: PF_KEY does not set sequence numbers."""
        del sa, replay
        probes.refuse(Feature.PROGRESS)

    def get_sad_info(self) -> NoReturn:
        """Raise `UnsupportedError`: PF_KEY does not tell how full the SAD is."""
        probes.refuse(Feature.TABLE_INFO)

    def get_spd_info(self) -> NoReturn:
        """Raise `UnsupportedError`: PF_KEY does not tell how full the SPD is."""
        probes.refuse(Feature.TABLE_INFO)

    def set_spd_thresholds(self, ipv4: HashThreshold | None, ipv6: HashThreshold | None) -> NoReturn:
        """Raise `UnsupportedError`: PF_KEY does not set how policies are found."""
        del ipv4, ipv6
        probes.refuse(Feature.TABLE_INFO)

    def get_default_policy(self) -> NoReturn:
        """Raise `UnsupportedError`: PF_KEY does not show the default policy."""
        probes.refuse(Feature.DEFAULT_POLICY)

    def set_default_policy(self, policy: DefaultPolicy) -> NoReturn:
        """Raise `UnsupportedError`: PF_KEY does not set the default policy."""
        del policy
        probes.refuse(Feature.DEFAULT_POLICY)

    def migrate_sa(self, sa: SA, moved: SA) -> NoReturn:
        """Raise `UnsupportedError`: PF_KEY moves no single SA."""
        del sa, moved
        probes.refuse(Feature.MIGRATE_STATE)

    @staticmethod
    def _sa_message(sa: SA, operation: str, message_type: MessageType) -> tuple[bytearray, Needs]:
        checks.check_sa(operation, sa)
        limits.check_sa(operation, sa)
        message = Message(message_type, parts.SATYPES[sa.id.protocol], extensions=codec.sa_extensions(sa))
        return build_for(operation, sa, message), ()

    def _deletion(self, sa_id: SAId) -> tuple[bytearray, Needs]:
        return build_for("delete SA", sa_id, self._id_message("delete SA", MessageType.DELETE, sa_id)), ()

    @staticmethod
    def _id_message(operation: str, message_type: MessageType, sa_id: SAId) -> Message:
        checks.check_sa_id(operation, sa_id)
        limits.check_sa_id(operation, sa_id)
        return Message(message_type, parts.SATYPES[sa_id.protocol], extensions=codec.sa_id_extensions(sa_id))

    def _policy_addition(self, policy: Policy) -> tuple[bytearray, Needs]:
        return self._policy_message(policy, "add policy", MessageType.X_SPDADD, limits.check_new_policy)

    def _policy_update(self, policy: Policy) -> tuple[bytearray, Needs]:
        return self._policy_message(policy, "update policy", MessageType.X_SPDUPDATE, limits.check_policy)

    @staticmethod
    def _policy_message(
        policy: Policy, operation: str, message_type: MessageType, check_limits: Callable[[str, Policy], None]
    ) -> tuple[bytearray, Needs]:
        checks.check_policy(operation, policy)
        check_limits(operation, policy)
        return build_for(operation, policy, Message(message_type, extensions=codec.policy_extensions(policy))), ()

    @staticmethod
    def _policy_deletion(policy_id: PolicyId | int) -> tuple[bytearray, Needs]:
        if isinstance(policy_id, int):
            checks.check_policy_index("delete policy", policy_id)
            message = Message(MessageType.X_SPDDELETE2, extensions=codec.policy_index_extensions(policy_id))
        else:
            checks.check_policy_id("delete policy", policy_id)
            limits.check_policy_id("delete policy", policy_id)
            message = Message(MessageType.X_SPDDELETE, extensions=codec.policy_id_extensions(policy_id))
        return build_for("delete policy", policy_id, message), ()

    def _satype(self, operation: str, protocol: Protocol | None) -> SAType:
        if protocol is None:
            return SAType.UNSPEC
        limits.check_protocol(operation, protocol)
        return parts.SATYPES[protocol]


#: What it means when the kernel does not make a move.
_MOVE_HINTS = {
    errno.ENODATA: "no template of the policy is like an old one, or an SA could not be made anew",
    errno.EINVAL: "the kernel takes neither a pair twice nor an address of zeros",
}
#: How the answers end of the messages that are not answered by one message.
_ANSWERS = {
    MessageType.ACQUIRE: Answer.NONE,
    MessageType.DUMP: Answer.TABLE,
    MessageType.X_SPDDUMP: Answer.TABLE,
}


def _acknowledged(
    operation: str, hints: Mapping[int, str], subject: object, message: bytearray, needs: Needs
) -> Request[None]:
    return Request(operation, subject, Wire(Outgoing(message), Answer.ACK), nothing, hints, needs)


def _only(messages: Sequence[Message]) -> Message:
    if len(messages) != 1:
        raise MalformedReplyError(f"{len(messages)} messages where the kernel answers with one")
    return messages[0]


def _spi(messages: Sequence[Message]) -> int:
    return _only(messages).need(ExtensionType.SA, SAExtension).spi


def _sa(messages: Sequence[Message]) -> SA:
    return codec.decode_sa(_only(messages))


def _sas(messages: Messages) -> Sequence[SA]:
    return Entries(messages, codec.read_sa)


def _policy(messages: Sequence[Message]) -> Policy:
    return codec.decode_policy(_only(messages))


def _policy_of(policy_id: PolicyId, messages: Sequence[Message]) -> Policy:
    alike = [
        policy
        for policy in map(codec.decode_policy, messages)
        if _without_label(policy.id) == _without_label(policy_id)
    ]
    # Where no security module wants labels the kernel keeps none, and finds a policy whatever is asked for.
    found = [it for it in alike if it.security_context == policy_id.security_context] or [
        it for it in alike if it.security_context is None
    ]
    if not found:
        raise KernelError.of(errno.ENOENT, "get policy", policy_id)
    if len(found) > 1:
        hint = f"get policy {policy_id}: there are several, and PF_KEY does not show what tells them apart; "
        raise UnsupportedError("mark", hint + "give the index, or open the xfrm engine")
    return found[0]


def _without_label(policy_id: PolicyId) -> PolicyId:
    return replace(policy_id, security_context=None)


def _supported(messages: Sequence[Message]) -> SupportedAlgorithms:
    return codec.decode_supported(_only(messages))


def _policies(messages: Messages) -> Sequence[Policy]:
    return Entries(messages, codec.read_policy)
