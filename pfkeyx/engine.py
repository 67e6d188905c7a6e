"""The engine: one open kernel interface, and the operations as methods that block until they are done."""

import select
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from time import monotonic
from types import TracebackType
from typing import Literal, Self, TypeVar, get_args

from pfkeyx.errors import AnswerLostError, ClosedError, InvalidRequestError, KernelError, PfkeyxError, UnsupportedError
from pfkeyx.events import Acquire, Event
from pfkeyx.features import Feature, Support, SupportedAlgorithms
from pfkeyx.migration import AddressUpdate, Method, MigrationPlan, MigrationReport
from pfkeyx.migration.move import migrate, plan_migration
from pfkeyx.model import EVERY_SA, SA, IPAddress, Mode, Policy, PolicyId, Protocol, SAFilter, SAId
from pfkeyx.operation import Batch, Dialect, EventSource, Operation, Request, Transport, ask, run, run_stream
from pfkeyx.pfkey.message import Message

T = TypeVar("T")
EngineName = Literal["xfrm", "pfkey"]


class Engine:
    """An open kernel interface, blocking.

    Every method raises a child of `PfkeyxError` and nothing else: `InvalidRequestError` and `UnsupportedError` before
    anything is sent, `KernelError` with its operation and object when the kernel refuses, `ClosedError` after `close`.
    Synchronization: an engine belongs to one thread.
    """

    def __init__(self, dialect: Dialect, transport: Transport, netns: str | None = None) -> None:
        self._dialect = dialect
        self._transport = transport
        self._netns = netns

    @classmethod
    def open(cls, name: EngineName | None = None, *, netns: str | None = None) -> Self:
        """Open a kernel interface: "xfrm" or "pfkey", or by default XFRM where the kernel has it and else PF_KEY.

        `netns` is a name under /run/netns or a path to a namespace; None is the caller's own. Raises
        `UnsupportedError` when the kernel lacks the interface, `NotPermittedError` without CAP_NET_ADMIN,
        `InvalidRequestError` for another name.
        """
        dialect, transport = open_dialect(name, netns)
        return cls(dialect, transport, netns)

    @property
    def name(self) -> str:
        """Which interface this is: "xfrm" or "pfkey"."""
        return self._dialect.name

    def close(self) -> None:
        """Close the interface; SAs and policies stay in the kernel."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def supports(self, feature: Feature) -> Support:
        """Say whether this kernel, over this interface, has a feature; nothing is changed to find out."""
        return self._run(self._dialect.supports(feature))

    def get_spi(
        self,
        source: IPAddress,
        destination: IPAddress,
        *,
        protocol: Protocol = Protocol.ESP,
        mode: Mode = Mode.TUNNEL,
        reqid: int = 0,
        minimum: int = 0x100,
        maximum: int | None = None,
        sequence: int = 0,
    ) -> int:
        """Reserve an SPI for an inbound SA, which is larval until `update_sa` completes it (RFC 2367 §3.1.1).

        `minimum` and `maximum` bound the SPI, in host order; below 0x100 they are reserved (RFC 4303 §2.1), and by
        default it is as large as the protocol allows. `sequence` is an `Acquire`'s, when the SPI is for its larval SA.
        """
        request = self._dialect.get_spi(source, destination, protocol, mode, reqid, minimum, maximum, sequence)
        return self._run(ask(request))

    def add_sa(self, sa: SA) -> None:
        """Add an SA whose SPI is known, as an outbound one's is (RFC 2367 §3.1.3)."""
        self._run(ask(self._dialect.add_sa(sa)))

    def add_sas(self, sas: Iterable[SA]) -> None:
        """Add many SAs as one pipelined batch; when one is refused, those that were added are deleted again.

        One whose answer was lost may stay: the error's notes name it.
        """
        self._run(add_sas(self._dialect, tuple(sas)))

    def update_sa(self, sa: SA) -> None:
        """Complete a larval SA, or change a mature one's lifetimes and encapsulation ports (RFC 2367 §3.1.2)."""
        self._run(ask(self._dialect.update_sa(sa)))

    def get_sa(self, sa_id: SAId) -> SA:
        """Return one SA (RFC 2367 §3.1.5); raises `NotFoundError` when there is none."""
        return self._run(ask(self._dialect.get_sa(sa_id)))

    def delete_sa(self, sa_id: SAId) -> None:
        """Delete one SA (RFC 2367 §3.1.4); raises `NotFoundError` when there is none."""
        self._run(ask(self._dialect.delete_sa(sa_id)))

    def dump_sas(self, matching: SAFilter = EVERY_SA) -> list[SA]:
        """Return all SAs, or those that match (RFC 2367 §3.1.10)."""
        return self._run(ask(self._dialect.dump_sas(matching)))

    def iter_sas(self, matching: SAFilter = EVERY_SA) -> Generator[SA, None, None]:
        """Yield what `dump_sas` returns as it comes, in bounded memory, over a socket of its own."""
        return run_stream(self._dialect.dump_sas(matching), self._transport)

    def flush_sas(self, protocol: Protocol | None = None) -> None:
        """Delete all SAs of the namespace, or those of one protocol (RFC 2367 §3.1.9)."""
        self._run(ask(self._dialect.flush_sas(protocol)))

    def add_policy(self, policy: Policy) -> None:
        """Add a policy; raises `AlreadyExistsError` when its selector and direction have one."""
        self._run(ask(self._dialect.add_policy(policy)))

    def add_policies(self, policies: Iterable[Policy]) -> None:
        """Add many policies as one pipelined batch; when one is refused, those that were added are deleted again.

        One whose answer was lost may stay: the error's notes name it.
        """
        self._run(add_policies(self._dialect, tuple(policies)))

    def update_policy(self, policy: Policy) -> None:
        """Replace a policy at once, keeping its index, or add it when there is none."""
        self._run(ask(self._dialect.update_policy(policy)))

    def get_policy(self, policy_id: PolicyId | int) -> Policy:
        """Return one policy, found by what it is about or by its index; raises `NotFoundError` when there is none.

        The index is an `Acquire`'s `policy_id`.
        """
        return self._run(ask(self._dialect.get_policy(policy_id)))

    def delete_policy(self, policy_id: PolicyId | int) -> None:
        """Delete one policy, found by what it is about or by its index; raises `NotFoundError` when there is none."""
        self._run(ask(self._dialect.delete_policy(policy_id)))

    def dump_policies(self) -> list[Policy]:
        """Return all policies."""
        return self._run(ask(self._dialect.dump_policies()))

    def iter_policies(self) -> Generator[Policy, None, None]:
        """Yield what `dump_policies` returns as it comes, in bounded memory, over a socket of its own."""
        return run_stream(self._dialect.dump_policies(), self._transport)

    def flush_policies(self) -> None:
        """Delete all policies of the namespace."""
        self._run(ask(self._dialect.flush_policies()))

    def register(self) -> SupportedAlgorithms:
        """Return the algorithms that the kernel can use now (RFC 2367 §3.1.7).

        To hear of what is wanted of a key manager, `watch`. Raises `UnsupportedError` over XFRM, which lists none.
        """
        return self._run(ask(self._dialect.register()))

    def answer_acquire(self, acquire: Acquire, errno: int) -> None:
        """Tell the kernel, over PF_KEY, that no SA will come of an acquire, and why (RFC 2367 §3.1.6).

        The kernel does not say whether it listened; it does not where XFRM has numbered the acquire after PF_KEY, as it
        does where its module was loaded later. If it did, packets of the flow are dropped, and no other acquire is made
        for it, until the larval SA expires.
        """
        self._run(ask(self._dialect.answer_acquire(acquire, errno)))

    def exchange(self, message: Message) -> tuple[Message, ...]:
        """Send any message of PF_KEY as it is, and return the messages of its answer: see `pfkeyx.pfkey.message`.

        Its pid is set here, and its seq where that is 0. Raises `UnsupportedError` over XFRM, `InvalidRequestError` for
        one that cannot be built, and for SADB_X_PROMISC, which needs a `PfkeySocket`. After a SADB_REGISTER for some
        type of SA this engine counts as a key manager until it is closed, and an acquire waits for one that reads it.
        """
        return self._run(ask(self._dialect.message(message)))

    def plan_migration(self, update: AddressUpdate, method: Method | None = None) -> MigrationPlan:
        """Return what a move would do, step by step; nothing is changed.

        `method` forces one. Raises `InvalidRequestError` when no SA is at the old addresses, `AlreadyExistsError` when
        a new place is taken, `UnsupportedError` when no method moves the SAs without a loss.
        """
        return self._run(plan_migration(self._dialect, update, method))

    def migrate(self, what: MigrationPlan | AddressUpdate) -> MigrationReport:
        """Move SAs and policies to new addresses, all or nothing, and report what was read back.

        Raises what `plan_migration` raises, `InvalidRequestError` for a plan that is out of date, and
        `MigrationError` when a step was refused; the steps before it are undone then.
        """
        return self._run(migrate(self._dialect, what))

    def watch(self, *kinds: type[Event]) -> "EventStream":
        """Listen for events of these kinds, all when none is named, on a socket of its own.

        Iterate the stream, and close it or use it in `with`. What this engine changes itself is no event, but for the
        moves it makes: `Migrated` does not say who did it.
        """
        return EventStream(open_events(self._dialect, self._transport, kinds, self._netns))

    def _run(self, operation: Operation[T]) -> T:
        return run(operation, self._transport)


class EventStream:
    """Events as they come: an iterator that waits.

    Raises `EventsLostError` where events were dropped, and `MalformedReplyError` in the place of one that makes no
    sense; both can be caught, and the stream goes on.
    """

    def __init__(self, source: EventSource) -> None:
        self._source = source
        self._waiting: deque[Event | PfkeyxError] = deque()
        try:
            source.start()
        except PfkeyxError:
            source.close()
            raise

    def fileno(self) -> int:
        """Return the socket's file descriptor, for a poll of one's own."""
        return self._source.fileno()

    def next(self, timeout_s: float | None = None) -> Event | None:
        """Return the next event, or None when `timeout_s` seconds passed without one; None waits for ever."""
        deadline = None if timeout_s is None else monotonic() + timeout_s
        while not self._waiting:
            if self.fileno() < 0:
                raise ClosedError()
            left = None if deadline is None else max(0.0, deadline - monotonic())
            poll = select.poll()
            poll.register(self.fileno(), select.POLLIN)
            if not poll.poll(None if left is None else left * 1000):
                return None
            self._waiting.extend(self._source.receive())
            if left == 0 and not self._waiting:
                return None
        event = self._waiting.popleft()
        if isinstance(event, PfkeyxError):
            raise event
        return event

    def close(self) -> None:
        """Stop listening."""
        self._source.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self.next()
        assert event is not None  # it has no deadline
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_events(dialect: Dialect, transport: Transport, kinds: Sequence[type[Event]], netns: str | None) -> EventSource:
    """Open a listening socket of a dialect, which passes over what was asked for on `transport`."""
    if transport.fileno() < 0:
        raise ClosedError()
    kinds = kinds or get_args(Event)
    if dialect.name == "xfrm":
        from pfkeyx.xfrm import XfrmEvents

        return XfrmEvents(kinds, netns, transport.has_sent)
    from pfkeyx.pfkey import PfkeyEvents

    return PfkeyEvents(kinds, netns, transport.has_sent)


def open_dialect(name: EngineName | None, netns: str | None) -> tuple[Dialect, Transport]:
    """Open a kernel interface and return its dialect and transport; see `Engine.open`."""
    if name not in (*get_args(EngineName), None):
        raise InvalidRequestError(f"open {name}: there is no such engine; take {' or '.join(get_args(EngineName))}")
    if name == "pfkey":
        return _open_pfkey(netns)
    try:
        return _open_xfrm(netns)
    except UnsupportedError:
        if name == "xfrm":
            raise
        return _open_pfkey(netns)


# The dialects are imported where they are opened: pyroute2 alone takes 0.2 s.
def _open_xfrm(netns: str | None) -> tuple[Dialect, Transport]:
    from pfkeyx.xfrm import XfrmDialect, XfrmTransport

    return XfrmDialect(), XfrmTransport(netns)


def _open_pfkey(netns: str | None) -> tuple[Dialect, Transport]:
    from pfkeyx.pfkey import PfkeyDialect, PfkeyTransport

    return PfkeyDialect(), PfkeyTransport(netns)


def add_sas(dialect: Dialect, sas: tuple[SA, ...]) -> Operation[None]:
    """Add SAs, all or none."""
    return _add_all([dialect.add_sa(sa) for sa in sas], [dialect.delete_sa(sa.id) for sa in sas])


def add_policies(dialect: Dialect, policies: tuple[Policy, ...]) -> Operation[None]:
    """Add policies, all or none."""
    return _add_all([dialect.add_policy(p) for p in policies], [dialect.delete_policy(p.id) for p in policies])


def _add_all(additions: list[Request[None]], deletions: list[Request[None]]) -> Operation[None]:
    try:
        yield Batch(tuple(additions))
    except KernelError as refusal:
        # What may not have been added may have been there before, so it is not deleted.
        for lost in (reply for reply in refusal.replies if isinstance(reply, AnswerLostError)):
            refusal.add_note(f"{lost.subject} may have been added: look, and delete it if it was not there before")
        outcomes = zip(deletions, refusal.replies, strict=True)
        try:
            yield Batch(tuple(deletion for deletion, reply in outcomes if not isinstance(reply, KernelError)))
        except KernelError as error:
            refusal.add_note(f"not all that had been added could be deleted again: {error}")
        raise
