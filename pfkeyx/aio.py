"""The engine for asyncio: the same operations as `pfkeyx.engine`, awaited."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pfkeyx.dialect import Dialect, ask_for
from pfkeyx.engine import AnyMessage, T
from pfkeyx.errors import ClosedError
from pfkeyx.events import Acquire, Event
from pfkeyx.features import Feature, Support, SupportedAlgorithms
from pfkeyx.many import add_policies, add_sas, ask_all
from pfkeyx.migration import KEEP, AddressUpdate, Keep, Loss, Method, MigrationPlan, MigrationReport, ProgressCallback
from pfkeyx.migration.move import migrate, plan_migration, update_address
from pfkeyx.model import (
    EVERY_SA,
    SA,
    AddressPair,
    DefaultPolicy,
    Direction,
    Encap,
    HashThreshold,
    IPAddress,
    Mark,
    Mode,
    Policy,
    PolicyId,
    PolicyType,
    Progress,
    Protocol,
    SADInfo,
    SAFilter,
    SAId,
    SPDInfo,
    SPIRequest,
    Template,
    UdpEncap,
)
from pfkeyx.opening import EngineName, open_dialect, open_events
from pfkeyx.operation import Operation, Request, Transport, arun, arun_stream
from pfkeyx.streams import AsyncEventStream

if TYPE_CHECKING:
    from asyncio import Task


@dataclass(slots=True, eq=False)
class _Move:
    """A move that is not over yet."""

    update: AddressUpdate
    is_superseded: bool = False


class AsyncEngine:
    """An open kernel interface for asyncio; methods are those of `Engine`, awaited, and raise the same.

    Synchronization: one event loop; operations that are awaited at once run one after another. An operation
    that its caller cancels is still run to its end, so that nothing is left half done.
    """

    def __init__(self, dialect: Dialect, transport: Transport, netns: str | None = None) -> None:
        import asyncio

        self._dialect = dialect
        self._transport = transport
        self._netns = netns
        self._turn = asyncio.Lock()
        self._running: set[Task[object]] = set()
        self._moves: list[_Move] = []
        self._is_closed = False

    @classmethod
    def open(cls, name: EngineName | None = None, *, netns: str | None = None) -> Self:
        """Open a kernel interface; see `Engine.open`."""
        dialect, transport = open_dialect(name, netns)
        return cls(dialect, transport, netns)

    @property
    def name(self) -> str:
        """Which interface this is: "xfrm" or "pfkey"."""
        return self._dialect.name

    def close(self) -> None:
        """Close the interface, when what was asked for before is done; SAs and policies stay in the kernel."""
        self._is_closed = True
        self._close_when_done()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._running:
            import asyncio

            await asyncio.wait(self._running)
        self.close()

    async def supports(self, feature: Feature) -> Support:
        """See `Engine.supports`."""
        return await self._run(self._dialect.supports(feature))

    async def get_spi(
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
        mark: Mark | None = None,
        if_id: int = 0,
        direction: Direction | None = None,
        cpu: int | None = None,
    ) -> int:
        """See `Engine.get_spi`."""
        wanted = SPIRequest(
            source, destination, protocol, mode, reqid, minimum, maximum, sequence, mark, if_id, direction, cpu
        )
        return await self._ask(self._dialect.get_spi(wanted))

    async def add_sa(self, sa: SA) -> None:
        """See `Engine.add_sa`."""
        await self._ask(self._dialect.add_sa(sa))

    async def add_sas(self, sas: Iterable[SA]) -> None:
        """See `Engine.add_sas`."""
        await self._run(add_sas(self._dialect, tuple(sas)))

    async def update_sa(self, sa: SA) -> None:
        """See `Engine.update_sa`."""
        await self._ask(self._dialect.update_sa(sa))

    async def update_sas(self, sas: Iterable[SA]) -> None:
        """See `Engine.update_sas`."""
        await self._run(ask_all(self._dialect, self._dialect.update_sas(tuple(sas))))

    async def restore_sa(self, sa: SA) -> None:
        """See `Engine.restore_sa`."""
        await self._ask(self._dialect.restore_sa(sa))

    async def get_sa(self, sa_id: SAId) -> SA:
        """See `Engine.get_sa`."""
        return await self._ask(self._dialect.get_sa(sa_id))

    async def delete_sa(self, sa_id: SAId) -> None:
        """See `Engine.delete_sa`."""
        await self._ask(self._dialect.delete_sa(sa_id))

    async def delete_sas(self, sa_ids: Iterable[SAId]) -> None:
        """See `Engine.delete_sas`."""
        await self._run(ask_all(self._dialect, self._dialect.delete_sas(tuple(sa_ids))))

    async def expire_sa(self, sa_id: SAId, *, hard: bool = False) -> None:
        """See `Engine.expire_sa`."""
        await self._ask(self._dialect.expire_sa(sa_id, hard))

    async def get_progress(self, sa_id: SAId) -> Progress:
        """See `Engine.get_progress`."""
        return await self._ask(self._dialect.get_progress(sa_id))

    async def set_progress(self, sa: SA, progress: Progress) -> None:
        """See `Engine.set_progress`."""
        await self._run(self._dialect.set_progress(sa, progress))

    async def dump_sas(self, matching: SAFilter = EVERY_SA) -> Sequence[SA]:
        """See `Engine.dump_sas`."""
        return await self._ask(self._dialect.dump_sas(matching))

    def iter_sas(self, matching: SAFilter = EVERY_SA) -> AsyncGenerator[SA, None]:
        """See `Engine.iter_sas`; iterate with `async for`, inside `contextlib.aclosing` when you may leave early."""
        return arun_stream(self._dialect.dump_sas(matching), self._transport)

    async def flush_sas(self, protocol: Protocol | None = None) -> None:
        """See `Engine.flush_sas`."""
        await self._ask(self._dialect.flush_sas(protocol))

    async def get_sad_info(self) -> SADInfo:
        """See `Engine.get_sad_info`."""
        return await self._ask(self._dialect.get_sad_info())

    async def add_policy(self, policy: Policy) -> None:
        """See `Engine.add_policy`."""
        await self._ask(self._dialect.add_policy(policy))

    async def add_policies(self, policies: Iterable[Policy]) -> None:
        """See `Engine.add_policies`."""
        await self._run(add_policies(self._dialect, tuple(policies)))

    async def update_policy(self, policy: Policy) -> None:
        """See `Engine.update_policy`."""
        await self._ask(self._dialect.update_policy(policy))

    async def update_policies(self, policies: Iterable[Policy]) -> None:
        """See `Engine.update_policies`."""
        await self._run(ask_all(self._dialect, self._dialect.update_policies(tuple(policies))))

    async def get_policy(self, policy_id: PolicyId | int) -> Policy:
        """See `Engine.get_policy`."""
        return await self._ask(self._dialect.get_policy(policy_id))

    async def delete_policy(self, policy_id: PolicyId | int) -> None:
        """See `Engine.delete_policy`."""
        await self._ask(self._dialect.delete_policy(policy_id))

    async def delete_policies(self, policy_ids: Iterable[PolicyId | int]) -> None:
        """See `Engine.delete_policies`."""
        await self._run(ask_all(self._dialect, self._dialect.delete_policies(tuple(policy_ids))))

    async def expire_policy(self, policy_id: PolicyId | int, *, hard: bool = False) -> None:
        """See `Engine.expire_policy`."""
        await self._ask(self._dialect.expire_policy(policy_id, hard))

    async def dump_policies(self) -> Sequence[Policy]:
        """See `Engine.dump_policies`."""
        return await self._ask(self._dialect.dump_policies())

    def iter_policies(self) -> AsyncGenerator[Policy, None]:
        """See `Engine.iter_policies`; iterate with `async for`, as with `iter_sas`."""
        return arun_stream(self._dialect.dump_policies(), self._transport)

    async def flush_policies(self, policy_type: PolicyType = PolicyType.MAIN) -> None:
        """See `Engine.flush_policies`."""
        await self._ask(self._dialect.flush_policies(policy_type))

    async def get_spd_info(self) -> SPDInfo:
        """See `Engine.get_spd_info`."""
        return await self._ask(self._dialect.get_spd_info())

    async def set_spd_thresholds(self, *, ipv4: HashThreshold | None = None, ipv6: HashThreshold | None = None) -> None:
        """See `Engine.set_spd_thresholds`."""
        await self._ask(self._dialect.set_spd_thresholds(ipv4, ipv6))

    async def get_default_policy(self) -> DefaultPolicy:
        """See `Engine.get_default_policy`."""
        return await self._ask(self._dialect.get_default_policy())

    async def set_default_policy(self, policy: DefaultPolicy) -> None:
        """See `Engine.set_default_policy`."""
        await self._ask(self._dialect.set_default_policy(policy))

    async def register(self) -> SupportedAlgorithms:
        """See `Engine.register`."""
        return await self._ask(self._dialect.register())

    async def answer_acquire(self, acquire: Acquire, errno: int) -> None:
        """See `Engine.answer_acquire`."""
        await self._ask(self._dialect.answer_acquire(acquire, errno))

    async def exchange(self, message: AnyMessage) -> tuple[AnyMessage, ...]:
        """See `Engine.exchange`."""
        return await self._ask(self._dialect.message(message))

    async def migrate_policy(
        self,
        policy_id: PolicyId,
        moves: Sequence[tuple[Template, Template]],
        *,
        encap: Encap | None = None,
        kmaddress: AddressPair | None = None,
    ) -> None:
        """See `Engine.migrate_policy`."""
        await self._ask(self._dialect.migrate_policy(policy_id, moves, encap, kmaddress))

    async def migrate_sa(self, sa: SA, source: IPAddress, destination: IPAddress, *, encap: Encap | None) -> None:
        """See `Engine.migrate_sa`."""
        await self._ask(self._dialect.migrate_sa(sa, sa.moved(source, destination, encap)))

    async def plan_migration(
        self, update: AddressUpdate, method: Method | None = None, *, hold: bool = False
    ) -> MigrationPlan:
        """See `Engine.plan_migration`."""
        return await self._run(plan_migration(self._dialect, update, method, hold=hold))

    async def migrate(
        self,
        what: MigrationPlan | AddressUpdate,
        *,
        accept: Iterable[Loss] = (),
        progress: ProgressCallback | None = None,
    ) -> MigrationReport:
        """See `Engine.migrate`; a cancelled caller does not leave half a tunnel moved.

        An update for SAs that an earlier one, not finished yet, is about supersedes that: it stops between two steps,
        with `SupersededError`, and this one takes the SAs from where they are (RFC 4555 §3.5). A plan supersedes
        nothing: it waits for its turn, and is refused if it is outrun then.
        """
        if self._is_closed:
            raise ClosedError()
        move = _Move(what.update if isinstance(what, MigrationPlan) else what)
        if not isinstance(what, MigrationPlan):
            earlier = [other for other in self._moves if move.update.concerns_what(other.update)]
            for other in earlier:
                move.update = move.update.superseding(other.update)
            for other in earlier:
                other.is_superseded = True
        self._moves.append(move)
        planned = what if isinstance(what, MigrationPlan) else move.update
        operation = migrate(self._dialect, planned, accept, progress, lambda: move.is_superseded)
        return await self._run(self._until_over(move, operation))

    async def update_address(
        self,
        sa_id: SAId,
        source: IPAddress,
        destination: IPAddress,
        *,
        encap: UdpEncap | Keep | None = KEEP,
        accept: Iterable[Loss] = (),
    ) -> MigrationReport:
        """See `Engine.update_address`."""
        return await self._run(update_address(self._dialect, sa_id, source, destination, encap, accept))

    def watch(self, *kinds: type[Event]) -> AsyncEventStream:
        """See `Engine.watch`; iterate with `async for`, inside `async with`, from where on nothing is missed."""
        return AsyncEventStream(open_events(self._dialect, self._transport, kinds, self._netns))

    def _until_over(self, move: "_Move", operation: Operation[T]) -> Operation[T]:
        try:
            return (yield from operation)
        finally:
            self._moves.remove(move)

    async def run(self, make: Callable[[Dialect], Operation[T]]) -> T:
        """See `Engine.run`."""
        return await self._run(make(self._dialect))

    async def _ask(self, request: Request[T]) -> T:
        return await self._run(ask_for(self._dialect, request))

    async def _run(self, operation: Operation[T]) -> T:
        import asyncio

        if self._is_closed:
            operation.close()
            raise ClosedError()
        task = asyncio.ensure_future(self._in_turn(operation))
        self._running.add(task)
        task.add_done_callback(self._is_done)
        return await asyncio.shield(task)

    def _is_done(self, task: "Task[object]") -> None:
        self._running.discard(task)
        self._close_when_done()

    def _close_when_done(self) -> None:
        if self._is_closed and not self._running:
            self._transport.close()

    async def _in_turn(self, operation: Operation[T]) -> T:
        async with self._turn:
            return await arun(operation, self._transport)
