"""A dialect: one of the kernel's two interfaces, as requests and events. How they are sent is not known here."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol, TypeVar

from pfkeyx.alike import Alike
from pfkeyx.errors import PfkeyxError, UnsupportedError
from pfkeyx.events import Acquire, Event
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
    Replay,
    SADInfo,
    SAFilter,
    SAId,
    SPDInfo,
    SPIRequest,
    Template,
)
from pfkeyx.model import Protocol as IPsecProtocol
from pfkeyx.operation import Operation, Request, ask

T = TypeVar("T")


class Dialect(Protocol):
    """A kernel interface: what to ask, as requests. `pfkeyx.xfrm` and `pfkeyx.pfkey` are the two there are.

    Each method raises `InvalidRequestError` or `UnsupportedError` for what can be known to be impossible.
    """

    name: str
    #: Whether several requests can travel in one datagram, which the kernel runs to its end.
    sends_together: bool
    #: Whether an SA or a policy can be read alone, by all that it is found by, and policies at some places alone.
    reads_singly: bool

    def as_shown(self, sa: SA) -> SA:
        """Return an SA that was written as a read would show it: this interface may not tell all of its selector."""

    def get_spi(self, wanted: SPIRequest) -> Request[int]:
        """Return the request that reserves an SPI."""

    def add_sa(self, sa: SA) -> Request[None]:
        """Return the request that adds an SA."""

    def update_sa(self, sa: SA) -> Request[None]:
        """Return the request that completes or changes an SA."""

    def get_sa(self, sa_id: SAId) -> Request[SA]:
        """Return the request that reads an SA."""

    def delete_sa(self, sa_id: SAId) -> Request[None]:
        """Return the request that deletes an SA."""

    def add_sas(self, sas: Sequence[SA]) -> Sequence[Request[None]]:
        """Return the requests that add many SAs."""

    def update_sas(self, sas: Sequence[SA]) -> Sequence[Request[None]]:
        """Return the requests that complete or change many SAs."""

    def delete_sas(self, sa_ids: Sequence[SAId]) -> Sequence[Request[None]]:
        """Return the requests that delete many SAs."""

    def dump_sas(self, matching: SAFilter) -> Request[Sequence[SA]]:
        """Return the request that reads all SAs that match."""

    def flush_sas(self, protocol: IPsecProtocol | None) -> Request[None]:
        """Return the request that deletes all SAs of a protocol, or of all."""

    def add_policy(self, policy: Policy) -> Request[None]:
        """Return the request that adds a policy."""

    def update_policy(self, policy: Policy) -> Request[None]:
        """Return the request that replaces or adds a policy."""

    def get_policy(self, policy_id: PolicyId | int) -> Request[Policy]:
        """Return the request that reads a policy, found by what it is about or by its index."""

    def delete_policy(self, policy_id: PolicyId | int) -> Request[None]:
        """Return the request that deletes a policy, found by what it is about or by its index."""

    def add_policies(self, policies: Sequence[Policy]) -> Sequence[Request[None]]:
        """Return the requests that add many policies."""

    def update_policies(self, policies: Sequence[Policy]) -> Sequence[Request[None]]:
        """Return the requests that replace or add many policies."""

    def delete_policies(self, policy_ids: Sequence[PolicyId | int]) -> Sequence[Request[None]]:
        """Return the requests that delete many policies."""

    def dump_policies(self, places: Collection[tuple[IPAddress, ...]] | None = None) -> Request[Sequence[Policy]]:
        """Return the request that reads all policies.

        Where places are given, an end or two ends each, policies may be left out whose templates are all at others.
        """

    def flush_policies(self, policy_type: PolicyType) -> Request[None]:
        """Return the request that deletes all policies of a type."""

    def restore_sa(self, sa: SA) -> Request[None]:
        """Return the request that adds an SA with the sequence numbers, replay window and counters that it had."""

    def expire_sa(self, sa_id: SAId, hard: bool) -> Request[None]:
        """Return the request that has an SA reach its soft or hard limit now."""

    def expire_policy(self, policy_id: PolicyId | int, hard: bool) -> Request[None]:
        """Return the request that has a policy reach its soft or hard limit now."""

    def get_progress(self, sa_id: SAId) -> Request[Progress]:
        """Return the request that reads how far an SA is."""

    def set_progress(self, sa: SA, progress: Progress) -> Operation[None]:
        """Set what of an SA's progress is not None."""

    def set_replay(self, sa: SA, replay: Replay) -> Request[None]:
        """Return the request that sets an SA's sequence numbers and replay window."""

    def get_sad_info(self) -> Request[SADInfo]:
        """Return the request that reads how full the SAD is."""

    def get_spd_info(self) -> Request[SPDInfo]:
        """Return the request that reads how full the SPD is."""

    def set_spd_thresholds(self, ipv4: HashThreshold | None, ipv6: HashThreshold | None) -> Request[None]:
        """Return the request that sets which policies are found by hash; None leaves them."""

    def get_default_policy(self) -> Request[DefaultPolicy]:
        """Return the request that reads what happens to packets that no policy is for."""

    def set_default_policy(self, policy: DefaultPolicy) -> Request[None]:
        """Return the request that sets what happens to packets that no policy is for."""

    def migrate_policy(
        self,
        policy_id: PolicyId,
        moves: Sequence[tuple[Template, Template]],
        encap: Encap | None = None,
        kmaddress: AddressPair | None = None,
    ) -> Request[None]:
        """Return the request that moves a policy's templates, pairs of old and new, and the newest SA of each."""

    def move_policy(self, policy: Policy, moved: Policy, encap: Encap | None) -> Request[None]:
        """Return the request that moves a policy's templates to where `moved` has them, and the newest SA of each."""

    def migrate_sa(self, sa: SA, moved: SA) -> Request[None]:
        """Return the request that moves one SA, found by its SPI, to where `moved` is (see `SA.moved`)."""

    def update_address(self, sa: SA, moved: SA) -> Request[None]:
        """Return the request that moves one SA, found by its SPI, to where `moved` is (SADB_X_ADDRUPDATE)."""

    def register(self) -> Request[SupportedAlgorithms]:
        """Return the request that lists the algorithms which the kernel has."""

    def answer_acquire(self, acquire: Acquire, code: int) -> Request[None]:
        """Return the message that says that no SA will come of an acquire."""

    def message(self, message: Any) -> Request[tuple[Any, ...]]:
        """Return the request that sends a message of this interface as it is."""

    def supports(self, feature: Feature) -> Operation[Support]:
        """Probe for a feature without changing anything."""


class EventSource(Protocol):
    """A socket that only listens, in one dialect."""

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""

    def start(self) -> None:
        """Ask the kernel to be told, which may take it a moment; from then on nothing is missed."""

    def receive(self) -> list[Event | PfkeyxError]:
        """Return the events that wait, none when none does.

        Among them stand an `EventsLostError` where some were dropped, and a `MalformedReplyError` for each that makes
        no sense.
        """

    def close(self) -> None:
        """Close the socket."""


def changed_templates(policy: Policy, other: Policy) -> list[tuple[Template, Template]]:
    """Return the templates of a policy that another has otherwise, with these."""
    return [(old, new) for old, new in zip(policy.templates, other.templates, strict=True) if old != new]


def require(dialect: Dialect, requests: Sequence[Request[Any]]) -> Operation[None]:
    """Raise `UnsupportedError` for a request that needs a feature which the kernel lacks.

    Raises the probe's own error where that could not tell, as without rights.
    """
    needs = requests.needs if isinstance(requests, Alike) else [request.needs for request in requests]
    needed: dict[Feature, int] = {}
    before: Sequence[Feature] = ()
    for number, features in enumerate(needs):
        if features is not before:  # those of requests that are alike are one object
            needed, before = dict.fromkeys(features, number) | needed, features
    for feature, number in needed.items():
        support = yield from dialect.supports(feature)
        if support.error is not None:
            raise support.error
        if not support.available:
            request = requests[number]
            raise UnsupportedError(feature.value, f"{request.operation} {request.subject}: {support.reason}")


def ask_for(dialect: Dialect, request: Request[T]) -> Operation[T]:
    """Send one request of a dialect, if the kernel has what it needs, and return its reply."""
    yield from require(dialect, (request,))
    return (yield from ask(request))
