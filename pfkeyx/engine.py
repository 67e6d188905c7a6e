"""The engine: one open kernel interface, and the operations as methods that block until they are done."""

from collections.abc import Callable, Generator, Iterable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from pfkeyx.dialect import Dialect, ask_for
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
from pfkeyx.operation import Operation, Request, Transport, run, run_stream
from pfkeyx.streams import EventStream

#: A raw message of the interface that is open: those of the answer are of its kind.
AnyMessage = TypeVar("AnyMessage")
T = TypeVar("T")


class Engine:
    """An open kernel interface, blocking.

    Every method raises a child of `PfkeyxError` and nothing else: `InvalidRequestError` and `UnsupportedError` before
    anything is sent, `KernelError` with its operation and object when the kernel refuses, `ClosedError` after `close`.
    Synchronization: one thread at a time, whichever.
    """

    def __init__(self, dialect: Dialect, transport: Transport, netns: str | None = None) -> None:
        self._dialect = dialect
        self._transport = transport
        self._netns = netns

    @classmethod
    def open(cls, name: EngineName | None = None, *, netns: str | None = None) -> Self:
        """Open a kernel interface: "xfrm" or "pfkey", or by default XFRM where the kernel has it and else PF_KEY.

        `netns` is a name under /run/netns or a path to a namespace; None is that of the calling thread, now and when
        it calls `watch`, `iter_sas` or `iter_policies`, which open sockets of their own. Raises
        `UnsupportedError` when the kernel lacks the interface, `NotPermittedError` without CAP_NET_ADMIN, which over
        XFRM the first request does, `InvalidRequestError` for another name.
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
        mark: Mark | None = None,
        if_id: int = 0,
        direction: Direction | None = None,
        cpu: int | None = None,
    ) -> int:
        """Reserve an SPI for an inbound SA, which is larval until `update_sa` completes it (RFC 2367 §3.1.1).

        `minimum` and `maximum` bound the SPI, in host order; below 0x100 they are reserved (RFC 4303 §2.1), and by
        default it is as large as the protocol allows. `sequence` is an `Acquire`'s, when the SPI is for its larval SA.
        `mark`, `if_id`, `direction` and `cpu` are those of the SA it will be; PF_KEY cannot express them.
        """
        wanted = SPIRequest(
            source, destination, protocol, mode, reqid, minimum, maximum, sequence, mark, if_id, direction, cpu
        )
        return self._ask(self._dialect.get_spi(wanted))

    def add_sa(self, sa: SA) -> None:
        """Add an SA whose SPI is known, as an outbound one's is (RFC 2367 §3.1.3).

        Raises `UnsupportedError`, as do all who write SAs and policies, for a field that this kernel is too old for:
        it would say that all is well and leave that out. One field is left out all the same: `Policy.offload`, by
        kernels before 6.2.
        """
        self._ask(self._dialect.add_sa(sa))

    def add_sas(self, sas: Iterable[SA]) -> None:
        """Add many SAs as one pipelined batch; when one is refused, those that were added are deleted again.

        One whose answer was lost may stay: the error's notes name it.
        """
        self._run(add_sas(self._dialect, tuple(sas)))

    def update_sa(self, sa: SA) -> None:
        """Complete a larval SA, or change a mature one's lifetimes and encapsulation ports (RFC 2367 §3.1.2)."""
        self._ask(self._dialect.update_sa(sa))

    def update_sas(self, sas: Iterable[SA]) -> None:
        """Update many SAs as one pipelined batch: each, whether or not another is refused.

        Raises the first refusal, whose `replies` have one for each SA, in order: None, or why it was refused.
        """
        self._run(ask_all(self._dialect, self._dialect.update_sas(tuple(sas))))

    def restore_sa(self, sa: SA) -> None:
        """Add an SA with the `replay` and `usage` that it was read with: one gateway takes over from another.

        Packets may have left under higher numbers than the one that was read, so put `replay.outbound` ahead. Raises
        `UnsupportedError` over PF_KEY, which can write neither.
        """
        self._ask(self._dialect.restore_sa(sa))

    def get_sa(self, sa_id: SAId) -> SA:
        """Return one SA (RFC 2367 §3.1.5); raises `NotFoundError` when there is none."""
        return self._ask(self._dialect.get_sa(sa_id))

    def delete_sa(self, sa_id: SAId) -> None:
        """Delete one SA (RFC 2367 §3.1.4); raises `NotFoundError` when there is none."""
        self._ask(self._dialect.delete_sa(sa_id))

    def delete_sas(self, sa_ids: Iterable[SAId]) -> None:
        """Delete many SAs as one pipelined batch: each, whether or not another is refused; see `update_sas`."""
        self._run(ask_all(self._dialect, self._dialect.delete_sas(tuple(sa_ids))))

    def expire_sa(self, sa_id: SAId, *, hard: bool = False) -> None:
        """Have an SA reach its soft limit now, or its hard one, which deletes it: listeners are told of an `Expire`.

        Raises `NotFoundError` when there is none, `UnsupportedError` over PF_KEY (XFRM_MSG_EXPIRE).
        """
        self._ask(self._dialect.expire_sa(sa_id, hard))

    def get_progress(self, sa_id: SAId) -> Progress:
        """Return how far an SA is, and when the kernel tells of that (XFRM_MSG_GETAE).

        Raises `NotFoundError` when there is none, `UnsupportedError` over PF_KEY.
        """
        return self._ask(self._dialect.get_progress(sa_id))

    def set_progress(self, sa: SA, progress: Progress) -> None:
        """Set what of an SA's progress is not None (XFRM_MSG_NEWAE).

        Never put an outbound number back: the peer drops what repeats one, and hardware that makes its nonces of them
        gives the key away. Raises `NotFoundError` when there is no such SA, `UnsupportedError` over PF_KEY.
        """
        self._run(self._dialect.set_progress(sa, progress))

    def dump_sas(self, matching: SAFilter = EVERY_SA) -> Sequence[SA]:
        """Return all SAs of ESP, AH and IPComp, or those that match (RFC 2367 §3.1.10).

        SAs of Mobile IPv6 are returned only if the filter names their protocol. Over XFRM each is made when it is
        looked at, anew each time: to count them is quick, and who goes through them often takes a list of them.
        """
        return self._ask(self._dialect.dump_sas(matching))

    def iter_sas(self, matching: SAFilter = EVERY_SA) -> Generator[SA, None, None]:
        """Yield what `dump_sas` returns as it comes, in bounded memory, over a socket of its own."""
        return run_stream(self._dialect.dump_sas(matching), self._transport)

    def flush_sas(self, protocol: Protocol | None = None) -> None:
        """Delete all SAs of ESP, AH and IPComp, or those of one protocol (RFC 2367 §3.1.9).

        SAs of Mobile IPv6 are deleted only if `protocol` is theirs.
        """
        self._ask(self._dialect.flush_sas(protocol))

    def get_sad_info(self) -> SADInfo:
        """Return how full the SAD is (XFRM_MSG_GETSADINFO); raises `UnsupportedError` over PF_KEY."""
        return self._ask(self._dialect.get_sad_info())

    def add_policy(self, policy: Policy) -> None:
        """Add a policy; raises `AlreadyExistsError` when its selector and direction have one."""
        self._ask(self._dialect.add_policy(policy))

    def add_policies(self, policies: Iterable[Policy]) -> None:
        """Add many policies as one pipelined batch; when one is refused, those that were added are deleted again.

        One whose answer was lost may stay: the error's notes name it.
        """
        self._run(add_policies(self._dialect, tuple(policies)))

    def update_policy(self, policy: Policy) -> None:
        """Replace a policy at once, keeping its index, or add it when there is none."""
        self._ask(self._dialect.update_policy(policy))

    def update_policies(self, policies: Iterable[Policy]) -> None:
        """Update or add many policies as one pipelined batch: each, also when one is refused; see `update_sas`."""
        self._run(ask_all(self._dialect, self._dialect.update_policies(tuple(policies))))

    def get_policy(self, policy_id: PolicyId | int) -> Policy:
        """Return one policy, found by what it is about or by its index; raises `NotFoundError` when there is none.

        An index, such as an `Acquire`'s `policy_id`, finds only policies of the main type without mark and if_id. For
        others, which XFRM alone has, give the `id`, that of `Acquire.policy` too.
        """
        return self._ask(self._dialect.get_policy(policy_id))

    def delete_policy(self, policy_id: PolicyId | int) -> None:
        """Delete one policy, found as by `get_policy`; raises `NotFoundError` when there is none.

        An index finds only policies of the main type without mark and if_id: for others give the `id`.
        """
        self._ask(self._dialect.delete_policy(policy_id))

    def delete_policies(self, policy_ids: Iterable[PolicyId | int]) -> None:
        """Delete many policies as one pipelined batch: each, also when one is refused; see `update_sas`."""
        self._run(ask_all(self._dialect, self._dialect.delete_policies(tuple(policy_ids))))

    def expire_policy(self, policy_id: PolicyId | int, *, hard: bool = False) -> None:
        """Have a policy reach its soft limit now, or its hard one, which deletes it: `PolicyExpire` tells of that.

        It is found as by `get_policy`: by its index only if it is of the main type without mark and if_id. Raises
        `NotFoundError` when there is none, `UnsupportedError` over PF_KEY (XFRM_MSG_POLEXPIRE).
        """
        self._ask(self._dialect.expire_policy(policy_id, hard))

    def dump_policies(self) -> Sequence[Policy]:
        """Return all policies, made as the SAs of `dump_sas` are."""
        return self._ask(self._dialect.dump_policies())

    def iter_policies(self) -> Generator[Policy, None, None]:
        """Yield what `dump_policies` returns as it comes, in bounded memory, over a socket of its own."""
        return run_stream(self._dialect.dump_policies(), self._transport)

    def flush_policies(self, policy_type: PolicyType = PolicyType.MAIN) -> None:
        """Delete all policies of the namespace that are of one type; PF_KEY has the main one only."""
        self._ask(self._dialect.flush_policies(policy_type))

    def get_spd_info(self) -> SPDInfo:
        """Return how full the SPD is (XFRM_MSG_GETSPDINFO); raises `UnsupportedError` over PF_KEY."""
        return self._ask(self._dialect.get_spd_info())

    def set_spd_thresholds(self, *, ipv4: HashThreshold | None = None, ipv6: HashThreshold | None = None) -> None:
        """Set which policies are found by hash, for each IP version, None to leave it (XFRM_MSG_NEWSPDINFO).

        It changes how fast policies are found, never which. Raises `UnsupportedError` over PF_KEY.
        """
        self._ask(self._dialect.set_spd_thresholds(ipv4, ipv6))

    def get_default_policy(self) -> DefaultPolicy:
        """Return what happens to packets that no policy is for (XFRM_MSG_GETDEFAULT).

        Raises `UnsupportedError` over PF_KEY.
        """
        return self._ask(self._dialect.get_default_policy())

    def set_default_policy(self, policy: DefaultPolicy) -> None:
        """Set what happens to packets that no policy is for (XFRM_MSG_SETDEFAULT).

        Where that is to block them, the connection that you work over is cut unless a policy allows it, and so is what
        is routed into XFRM interfaces, unless a policy without an if_id does. Raises `UnsupportedError` over PF_KEY.
        """
        self._ask(self._dialect.set_default_policy(policy))

    def register(self) -> SupportedAlgorithms:
        """Return the algorithms that the kernel can use now (RFC 2367 §3.1.7).

        To hear of what is wanted of a key manager, `watch`. Raises `UnsupportedError` over XFRM, which lists none.
        """
        return self._ask(self._dialect.register())

    def answer_acquire(self, acquire: Acquire, errno: int) -> None:
        """Tell the kernel, over PF_KEY, that no SA will come of an acquire, and why (RFC 2367 §3.1.6).

        The kernel does not say whether it listened; it does not where XFRM has numbered the acquire after PF_KEY, as it
        does where its module was loaded later. If it did, packets of the flow are dropped, and no other acquire is made
        for it, until the larval SA expires.
        """
        self._ask(self._dialect.answer_acquire(acquire, errno))

    def exchange(self, message: AnyMessage) -> tuple[AnyMessage, ...]:
        """Send any message of this interface as it is, and return the messages of its answer.

        Over PF_KEY it is a `pfkeyx.pfkey.message.Message`, whose pid is set here, and its seq where that is 0. Raises
        `InvalidRequestError` for one that cannot be built, and for SADB_X_PROMISC, which needs a `PfkeySocket`. After a
        SADB_REGISTER for some type of SA this engine counts as a key manager until it is closed, and an acquire waits
        for one that reads it.

        Over XFRM it is a message of `pfkeyx.xfrm.messages` with its type and flags, numbered here. Raises
        `UnsupportedError` for a message of the other interface.
        """
        return self._ask(self._dialect.message(message))

    def migrate_policy(
        self,
        policy_id: PolicyId,
        moves: Sequence[tuple[Template, Template]],
        *,
        encap: Encap | None = None,
        kmaddress: AddressPair | None = None,
    ) -> None:
        """Move a policy's templates, pairs of old and new, and the newest SA that each finds (XFRM_MSG_MIGRATE).

        `encap` is what the moved SAs are encapsulated in, which newer kernels drop unless it is said, and PF_KEY cannot
        say; `kmaddress` is told to the listeners. This is the kernel's bare message. Under traffic it repeats sequence
        numbers; where a template is optional, packets leave in clear meanwhile; the older of several SAs stay where
        they are, one of AES-CTR is dead afterwards, and a success may have moved none. `migrate` keeps all that from
        happening, and is what one usually wants. Raises `NotFoundError` when there is no such policy.
        """
        self._ask(self._dialect.migrate_policy(policy_id, moves, encap, kmaddress))

    def migrate_sa(self, sa: SA, source: IPAddress, destination: IPAddress, *, encap: Encap | None) -> None:
        """Move one SA, found by its SPI, to new addresses, in `encap`, None for none (XFRM_MSG_MIGRATE_STATE).

        This is the kernel's bare message, which moves no policy. Until the templates are changed too, packets are
        dropped, or leave in clear where a template is optional; an SA of AES-CTR is dead afterwards. `migrate` keeps
        all that from happening, and is what one usually wants. Raises `NotFoundError` when there is no such SA,
        `AlreadyExistsError` when its new place is taken, `UnsupportedError` where the kernel has no such message.
        """
        self._ask(self._dialect.migrate_sa(sa, sa.moved(source, destination, encap)))

    def plan_migration(
        self, update: AddressUpdate, method: Method | None = None, *, hold: bool = False
    ) -> MigrationPlan:
        """Return what a move would do, step by step; nothing is changed.

        `method` forces one for every SA. With `hold`, outbound packets are not refused while SAs move by MIGRATE_STATE:
        the kernel holds them, if net.core.xfrm_larval_drop is 0 in the namespace, and else drops them.

        Raises `InvalidRequestError` when no SA is at the old addresses, `AlreadyExistsError` when a new place is taken,
        `UnsupportedError` when no method can move an SA.
        """
        return self._run(plan_migration(self._dialect, update, method, hold=hold))

    def migrate(
        self,
        what: MigrationPlan | AddressUpdate,
        *,
        accept: Iterable[Loss] = (),
        progress: ProgressCallback | None = None,
    ) -> MigrationReport:
        """Move SAs and policies to new addresses, all or nothing, and report what was read back.

        `accept` are losses that may be: without it, an SA that no method moves whole is not moved. `progress` is told
        how many SAs have moved, and of how many, now and then; an error that it raises undoes the move.

        Raises what `plan_migration` raises, `UnsupportedError` for a loss that is not accepted, `InvalidRequestError`
        for a plan that is out of date, and `MigrationError` when a step was refused; the steps before it are undone
        then. Killed at any moment, the move is finished by the same call.
        """
        return self._run(migrate(self._dialect, what, accept, progress))

    def update_address(
        self,
        sa_id: SAId,
        source: IPAddress,
        destination: IPAddress,
        *,
        encap: UdpEncap | Keep | None = KEEP,
        accept: Iterable[Loss] = (),
    ) -> MigrationReport:
        """Give one SA a new source and destination, and leave all else of it, and every policy, as it is.

        This is SADB_X_ADDRUPDATE (draft-schilcher-mobike-pfkey-extension-01 §3), where the kernel has it, and else what
        `plan_migration` would choose, with the same result. `encap` is as this SA shall carry it, ports in host order.
        Until its policies name the new addresses too, their packets find no SA and are dropped; `migrate` moves both.

        Raises `NotFoundError` when there is no such SA, `AlreadyExistsError` when its new place is taken,
        `InvalidRequestError` when nothing would change or a policy would let packets leave in clear, and what `migrate`
        raises.
        """
        return self._run(update_address(self._dialect, sa_id, source, destination, encap, accept))

    def watch(self, *kinds: type[Event]) -> EventStream:
        """Listen for events of these kinds, on a socket of its own; when none is named, for all but `SAProgress`.

        Iterate the stream, and close it or use it in `with`. What this engine changes itself is no event, but for moves
        (`Migrated`, `SAMigrated`) and `DefaultPolicyChange`, which do not say who did it. Listening for `SAProgress`
        makes the kernel tell of every SA that has traffic, if nothing else was set after two packets and once a second.
        Raises `UnsupportedError` for a kind that this interface does not tell of.
        """
        return EventStream(open_events(self._dialect, self._transport, kinds, self._netns))

    def run(self, make: Callable[[Dialect], Operation[T]]) -> T:
        """Run an operation of several requests, made for this interface, such as those of `pfkeyx.document.apply`."""
        return self._run(make(self._dialect))

    def _ask(self, request: Request[T]) -> T:
        return self._run(ask_for(self._dialect, request))

    def _run(self, operation: Operation[T]) -> T:
        return run(operation, self._transport)
