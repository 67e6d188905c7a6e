"""What can be asked over PF_KEY, as requests: each names its message, and how its answer is read."""

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from pfkeyx import checks
from pfkeyx.errors import InvalidRequestError, KernelError, MalformedReplyError
from pfkeyx.features import Feature, Support
from pfkeyx.model import SA, IPAddress, Mode, Policy, PolicyId, Protocol, SAId
from pfkeyx.native import lib
from pfkeyx.operation import Operation, Request, ask
from pfkeyx.pfkey import codec, limits
from pfkeyx.pfkey.messages import Message, Outgoing, SA2Extension, SAExtension, SPIRangeExtension, build

T = TypeVar("T")


class Answer(Enum):
    """How an answer ends, and what of it is read."""

    ACK = "one message, of which only the errno counts"
    ONE = "one message"
    DUMP = "messages up to the one that is numbered 0"


@dataclass(frozen=True, slots=True)
class Wire:
    """A whole PF_KEY message, seq and pid still 0, and how its answer ends."""

    message: Outgoing
    answer: Answer


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
        maximum: int,
    ) -> Request[int]:
        """Return the request for an SPI between `minimum` and `maximum` (SADB_GETSPI, RFC 2367 §3.1.1)."""
        checks.check_pair("get SPI", source, destination)
        checks.check_bits("get SPI", f"{source} -> {destination}", 32, reqid=reqid)
        checks.check_spi_range("get SPI", minimum, maximum)
        limits.check_spi_request("get SPI", SAId(destination, minimum, protocol), mode)
        extensions = {
            **codec.pair_extensions(source, destination),
            lib.SADB_X_EXT_SA2: SA2Extension(codec.MODES[mode], reqid),
            lib.SADB_EXT_SPIRANGE: SPIRangeExtension(minimum, maximum),
        }
        subject = f"{protocol} {source} -> {destination}"
        return _request("get SPI", subject, lib.SADB_GETSPI, Answer.ONE, _spi, codec.SATYPES[protocol], extensions)

    def add_sa(self, sa: SA) -> Request[None]:
        """Return the request that adds an SA (SADB_ADD, RFC 2367 §3.1.3)."""
        return self._write_sa("add SA", lib.SADB_ADD, sa)

    def update_sa(self, sa: SA) -> Request[None]:
        """Return the request that completes a larval SA, or changes limits and ports of a mature one (SADB_UPDATE)."""
        return self._write_sa("update SA", lib.SADB_UPDATE, sa)

    def get_sa(self, sa_id: SAId) -> Request[SA]:
        """Return the request that reads one SA (SADB_GET, RFC 2367 §3.1.5)."""
        return self._look_up("get SA", lib.SADB_GET, Answer.ONE, sa_id, _sa)

    def delete_sa(self, sa_id: SAId) -> Request[None]:
        """Return the request that deletes one SA (SADB_DELETE, RFC 2367 §3.1.4)."""
        return self._look_up("delete SA", lib.SADB_DELETE, Answer.ACK, sa_id, _nothing)

    def dump_sas(self) -> Request[list[SA]]:
        """Return the request that reads all SAs (SADB_DUMP, RFC 2367 §3.1.10)."""
        return _request("dump SAs", "", lib.SADB_DUMP, Answer.DUMP, _sas)

    def flush_sas(self) -> Request[None]:
        """Return the request that deletes every IPsec SA (SADB_FLUSH, RFC 2367 §3.1.9)."""
        return _request("flush SAs", "", lib.SADB_FLUSH, Answer.ACK, _nothing)

    def add_policy(self, policy: Policy) -> Request[None]:
        """Return the request that adds a policy (SADB_X_SPDADD)."""
        return self._write_policy("add policy", lib.SADB_X_SPDADD, policy)

    def update_policy(self, policy: Policy) -> Request[None]:
        """Return the request that replaces a policy at once, keeping its index, or adds it (SADB_X_SPDUPDATE)."""
        return self._write_policy("update policy", lib.SADB_X_SPDUPDATE, policy)

    def delete_policy(self, policy_id: PolicyId) -> Request[None]:
        """Return the request that deletes one policy (SADB_X_SPDDELETE)."""
        checks.check_policy_id("delete policy", policy_id)
        limits.check_policy_id("delete policy", policy_id)
        extensions = codec.policy_id_extensions(policy_id)
        return _request("delete policy", policy_id, lib.SADB_X_SPDDELETE, Answer.ACK, _nothing, extensions=extensions)

    def dump_policies(self) -> Request[list[Policy]]:
        """Return the request that reads all policies (SADB_X_SPDDUMP)."""
        return _request("dump policies", "", lib.SADB_X_SPDDUMP, Answer.DUMP, _policies)

    def flush_policies(self) -> Request[None]:
        """Return the request that deletes every policy of the main type (SADB_X_SPDFLUSH)."""
        return _request("flush policies", "", lib.SADB_X_SPDFLUSH, Answer.ACK, _nothing)

    def supports(self, feature: Feature) -> Operation[Support]:
        """Probe the kernel for a feature without changing anything."""
        match feature:
            case Feature.PFKEY:
                return Support(True, "this engine speaks it")
            case Feature.MIGRATE:
                return (yield from _probe_migrate())
            case Feature.XFRM:
                return Support(False, "this engine speaks PF_KEY: open the xfrm engine")
            case _:
                return Support(False, f"PF_KEY cannot express {feature.value}: open the xfrm engine")

    def _write_sa(self, operation: str, message_type: int, sa: SA) -> Request[None]:
        checks.check_sa(operation, sa)
        limits.check_sa(operation, sa)
        satype, extensions = codec.SATYPES[sa.id.protocol], codec.sa_extensions(sa)
        return _request(operation, sa, message_type, Answer.ACK, _nothing, satype, extensions)

    def _look_up(
        self,
        operation: str,
        message_type: int,
        answer: Answer,
        sa_id: SAId,
        decode: Callable[[Sequence[Message]], T],
    ) -> Request[T]:
        checks.check_sa_id(operation, sa_id)
        limits.check_sa_id(operation, sa_id)
        satype, extensions = codec.SATYPES[sa_id.protocol], codec.sa_id_extensions(sa_id)
        return _request(operation, sa_id, message_type, answer, decode, satype, extensions)

    def _write_policy(self, operation: str, message_type: int, policy: Policy) -> Request[None]:
        checks.check_policy(operation, policy)
        limits.check_policy(operation, policy)
        extensions = codec.policy_extensions(policy)
        return _request(operation, policy, message_type, Answer.ACK, _nothing, extensions=extensions)


def _request(
    operation: str,
    subject: object,
    message_type: int,
    answer: Answer,
    decode: Callable[[Sequence[Message]], T],
    satype: int = lib.SADB_SATYPE_UNSPEC,
    extensions: Mapping[int, Any] | None = None,
) -> Request[T]:
    try:
        message = build(message_type, satype, extensions)
    except OverflowError as error:
        raise InvalidRequestError(f"{operation} {subject}: {error}") from error
    return Request(operation, subject, Wire(message, answer), decode)


def _probe_migrate() -> Operation[Support]:
    # Without extensions there is nothing to do, and a kernel that could do it says EINVAL.
    try:
        yield from ask(_request("probe migrate", "", lib.SADB_X_MIGRATE, Answer.ACK, _nothing))
    except KernelError as error:
        if error.errno == errno.EINVAL:
            return Support(True, "the kernel understands SADB_X_MIGRATE")
        if error.errno == errno.ENOPROTOOPT:
            return Support(False, "the kernel was built without CONFIG_NET_KEY_MIGRATE")
        return Support(None, f"SADB_X_MIGRATE: {error.strerror}")
    return Support(None, "SADB_X_MIGRATE: the probe was accepted, which it should not be")


def _nothing(_messages: Sequence[Message]) -> None:
    return None


def _only(messages: Sequence[Message]) -> Message:
    if len(messages) != 1:
        raise MalformedReplyError(f"{len(messages)} messages where the kernel answers with one")
    return messages[0]


def _spi(messages: Sequence[Message]) -> int:
    return _only(messages).need(lib.SADB_EXT_SA, SAExtension).spi


def _sa(messages: Sequence[Message]) -> SA:
    return codec.decode_sa(_only(messages))


def _sas(messages: Sequence[Message]) -> list[SA]:
    # What a failed SADB_GETSPI of no type has left behind is no SA.
    return [codec.decode_sa(message) for message in messages if message.satype != lib.SADB_SATYPE_UNSPEC]


def _policies(messages: Sequence[Message]) -> list[Policy]:
    return [codec.decode_policy(message) for message in messages]
