"""The two engines are one in two worlds."""

import asyncio
import inspect
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pfkeyx import (
    SA,
    Acquire,
    Action,
    AlreadyExistsError,
    AnswerLostError,
    AsyncEngine,
    AsyncEventStream,
    ClosedError,
    DefaultPolicy,
    DefaultPolicyChange,
    Engine,
    Event,
    EventsLostError,
    EventStream,
    Feature,
    HashThreshold,
    Key,
    Mark,
    Mode,
    NotFoundError,
    NotPermittedError,
    PfkeyxError,
    PolicyExpire,
    PolicyFlush,
    PolicyType,
    Progress,
    Protocol,
    Replay,
    Report,
    SADInfo,
    SAId,
    SAProgress,
    Support,
    UnsupportedError,
    Usage,
)
from pfkeyx.operation import Readiness
from pfkeyx.pfkey import PfkeyDialect, PfkeyTransport
from pfkeyx.testing import Refusal, ScriptedKernel
from pfkeyx.xfrm import XfrmDialect
from tests.unit.samples import INBOUND, NEW_LOCAL, OUTBOUND, POLICIES, REMOTE


def public_methods(cls: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_engines_have_the_same_methods_with_the_same_signatures() -> None:
    blocking, awaited = public_methods(Engine), public_methods(AsyncEngine)
    assert blocking.keys() == awaited.keys()
    for name, signature in blocking.items():
        assert signature.parameters == awaited[name].parameters, name
        # What is iterated has another type.
        if name not in {"watch", "iter_sas", "iter_policies"}:
            assert signature.return_annotation == awaited[name].return_annotation, name


async def test_the_same_script_serves_both_engines() -> None:
    script = [("add SA", None), ("get SA", OUTBOUND), ("delete SA", Refusal(3))]
    with Engine(XfrmDialect(), ScriptedKernel(script)) as engine:
        engine.add_sa(OUTBOUND)
        assert engine.get_sa(OUTBOUND.id) == OUTBOUND
        with pytest.raises(NotFoundError):
            engine.delete_sa(OUTBOUND.id)
    async with AsyncEngine(XfrmDialect(), ScriptedKernel(script)) as async_engine:
        await async_engine.add_sa(OUTBOUND)
        assert await async_engine.get_sa(OUTBOUND.id) == OUTBOUND
        with pytest.raises(NotFoundError):
            await async_engine.delete_sa(OUTBOUND.id)


def test_sas_are_added_in_one_pipelined_batch() -> None:
    kernel = ScriptedKernel([("add SA", None), ("add SA", None)])
    Engine(XfrmDialect(), kernel).add_sas([INBOUND, OUTBOUND])
    assert [subject for _, subject, _ in kernel.asked] == [INBOUND, OUTBOUND]


def test_a_refusal_among_many_deletes_those_that_were_added() -> None:
    kernel = ScriptedKernel(
        [
            ("add policy", None),
            ("add policy", Refusal(17)),
            ("add policy", None),
            ("delete policy", None),
            ("delete policy", None),
        ]
    )
    with pytest.raises(AlreadyExistsError, match="add policy"):
        Engine(XfrmDialect(), kernel).add_policies(POLICIES)
    assert [subject for operation, subject, _ in kernel.asked if operation == "delete policy"] == [
        POLICIES[0].id,
        POLICIES[2].id,
    ]


async def test_a_dump_is_streamed_from_a_script() -> None:
    kernel = ScriptedKernel([("dump SAs", [INBOUND, OUTBOUND]), ("dump policies", list(POLICIES))])
    engine = Engine(XfrmDialect(), kernel)
    assert list(engine.iter_sas()) == [INBOUND, OUTBOUND]
    assert [policy async for policy in AsyncEngine(XfrmDialect(), kernel).iter_policies()] == list(POLICIES)
    assert kernel.is_finished
    assert kernel.fileno() >= 0


def test_a_stream_that_is_refused_says_so() -> None:
    with pytest.raises(NotPermittedError, match="dump SAs"):
        list(Engine(XfrmDialect(), ScriptedKernel([("dump SAs", Refusal(1))])).iter_sas())


@pytest.mark.parametrize(("errno", "answer"), [(3, True), (22, False)])
def test_what_a_probe_found_out_is_remembered(errno: int, answer: bool) -> None:
    engine = Engine(XfrmDialect(), ScriptedKernel([("probe", Refusal(errno))]))
    assert engine.supports(Feature.MIGRATE_STATE).available is answer
    assert engine.supports(Feature.MIGRATE_STATE).available is answer


def test_a_probe_that_may_not_ask_could_not_tell_and_asks_again() -> None:
    engine = Engine(XfrmDialect(), ScriptedKernel([("probe", Refusal(1)), ("probe", Refusal(3))]))
    assert engine.supports(Feature.MIGRATE_STATE).available is None
    assert engine.supports(Feature.MIGRATE_STATE).available is True


@pytest.mark.parametrize(
    ("change", "operation"),
    [
        (lambda e: e.update_sas([OUTBOUND, INBOUND]), "update SA"),
        (lambda e: e.delete_sas([OUTBOUND.id, INBOUND.id]), "delete SA"),
        (lambda e: e.update_policies(POLICIES[:2]), "update policy"),
        (lambda e: e.delete_policies(policy.id for policy in POLICIES[:2]), "delete policy"),
    ],
)
async def test_what_changes_many_tells_which_was_refused_and_undoes_nothing(
    change: Callable[[Any], Any], operation: str
) -> None:
    script = [(operation, Refusal(3)), (operation, None)]
    with pytest.raises(NotFoundError, match=f"^{operation} ") as refusal:
        change(Engine(XfrmDialect(), ScriptedKernel(script)))
    first, second = refusal.value.replies
    assert first is refusal.value
    assert second is None
    with pytest.raises(NotFoundError, match=f"^{operation} "):
        await change(AsyncEngine(XfrmDialect(), ScriptedKernel(script)))


WITH_IF_ID = replace(OUTBOUND, if_id=7)


@pytest.mark.parametrize(
    "write",
    [
        lambda e: e.add_sa(WITH_IF_ID),
        lambda e: e.add_sas([INBOUND, WITH_IF_ID]),
        lambda e: e.update_sa(WITH_IF_ID),
        lambda e: e.update_sas([INBOUND, WITH_IF_ID]),
        lambda e: e.restore_sa(replace(WITH_IF_ID, replay=Replay(1, 0, (0,)), usage=Usage(0, 0, 0, 0))),
        lambda e: e.get_spi(INBOUND.source, INBOUND.destination, if_id=7),
        lambda e: e.add_policy(replace(POLICIES[0], if_id=7)),
        lambda e: e.update_policy(replace(POLICIES[0], if_id=7)),
    ],
)
async def test_what_an_older_kernel_would_leave_out_is_refused_before_it_is_sent(write: Callable[[Any], Any]) -> None:
    kernel = ScriptedKernel([("probe", Refusal(3)), ("probe", Refusal(3))])
    with pytest.raises(UnsupportedError, match=r"^if_id: .* the kernel does not know XFRMA_IF_ID"):
        write(Engine(XfrmDialect(), kernel))
    with pytest.raises(UnsupportedError, match="if_id"):
        await write(AsyncEngine(XfrmDialect(), kernel))
    assert kernel.is_finished


def test_what_a_kernel_knows_is_asked_once_for_many() -> None:
    kernel = ScriptedKernel([("probe", Refusal(34)), ("add SA", None), ("add SA", None)])
    Engine(XfrmDialect(), kernel).add_sas([WITH_IF_ID, replace(INBOUND, if_id=7)])
    assert kernel.is_finished


def test_who_may_not_even_probe_is_refused_by_the_kernel() -> None:
    kernel = ScriptedKernel([("probe", Refusal(1)), ("add SA", Refusal(1))])
    with pytest.raises(NotPermittedError, match="CAP_NET_ADMIN"):
        Engine(XfrmDialect(), kernel).add_sa(WITH_IF_ID)


SAD_INFO = SADInfo(2, 8, 1 << 20)
PROGRESS = Progress(Replay(1, 0, (0,)), replay_threshold=2)
MOVES = [(POLICIES[0].templates[0], replace(POLICIES[0].templates[0], source=NEW_LOCAL))]
#: A call, what is asked for it, and what comes of it.
CALLS: list[tuple[Callable[[Any], Any], str, Any]] = [
    (lambda e: e.get_spi(INBOUND.source, INBOUND.destination, mark=Mark(5)), "get SPI", 0x1234),
    (lambda e: e.update_sa(OUTBOUND), "update SA", None),
    (lambda e: e.restore_sa(replace(OUTBOUND, replay=Replay(9, 0, (0,)), usage=Usage(0, 0, 0, 0))), "restore SA", None),
    (lambda e: e.expire_sa(OUTBOUND.id, hard=True), "expire SA", None),
    (lambda e: e.get_progress(OUTBOUND.id), "get progress", PROGRESS),
    (lambda e: e.set_progress(OUTBOUND, PROGRESS), "set progress", None),
    (lambda e: e.dump_sas(), "dump SAs", [OUTBOUND]),
    (lambda e: e.flush_sas(Protocol.ESP), "flush SAs", None),
    (lambda e: e.get_sad_info(), "get SAD info", SAD_INFO),
    (lambda e: e.add_policy(POLICIES[0]), "add policy", None),
    (lambda e: e.update_policy(POLICIES[0]), "update policy", None),
    (lambda e: e.get_policy(POLICIES[0].id), "get policy", POLICIES[0]),
    (lambda e: e.delete_policy(POLICIES[0].id), "delete policy", None),
    (lambda e: e.expire_policy(POLICIES[0].id), "expire policy", None),
    (lambda e: e.dump_policies(), "dump policies", list(POLICIES)),
    (lambda e: e.flush_policies(PolicyType.SUB), "flush policies", None),
    (lambda e: e.get_spd_info(), "get SPD info", "how full it is"),
    (lambda e: e.set_spd_thresholds(ipv4=HashThreshold(24, 24)), "set SPD thresholds", None),
    (lambda e: e.migrate_policy(POLICIES[0].id, MOVES), "migrate policy", None),
    (lambda e: e.migrate_sa(OUTBOUND, NEW_LOCAL, REMOTE, encap=None), "migrate SA", None),
]


#: By operation, the probe for what not every kernel has.
ASKED_BEFORE = {"migrate policy": [("probe", Refusal(22))], "migrate SA": [("probe", Refusal(3))]}


@pytest.mark.parametrize(("call", "operation", "reply"), CALLS, ids=[operation for _, operation, _ in CALLS])
async def test_both_engines_ask_the_same(call: Callable[[Any], Any], operation: str, reply: Any) -> None:
    script = [*ASKED_BEFORE.get(operation, []), (operation, reply)]
    for_blocking, for_async = ScriptedKernel(script), ScriptedKernel(script)
    assert call(Engine(XfrmDialect(), for_blocking)) == reply
    assert await call(AsyncEngine(XfrmDialect(), for_async)) == reply
    assert [str(asked) for asked in for_blocking.asked] == [str(asked) for asked in for_async.asked]
    assert for_blocking.is_finished
    assert for_async.is_finished


def test_default_policies_are_left_alone_where_the_kernel_has_none() -> None:
    kernel = ScriptedKernel([("probe", Refusal(22))])
    engine = Engine(XfrmDialect(), kernel)
    for call in (engine.get_default_policy, lambda: engine.set_default_policy(DefaultPolicy(Action.BLOCK))):
        with pytest.raises(UnsupportedError, match="default_policy"):
            call()
    assert kernel.is_finished


def test_an_answer_reads_as_a_sentence() -> None:
    assert str(Support(None, "no CAP_NET_ADMIN")) == "could not tell: no CAP_NET_ADMIN"


def test_a_closed_engine_says_that_it_is_closed() -> None:
    engine = Engine(XfrmDialect(), ScriptedKernel([]))
    engine.close()
    with pytest.raises(ClosedError, match=r"Engine\.open"):
        engine.get_sa(SAId(OUTBOUND.destination, 1))


async def test_a_closed_async_engine_says_that_it_is_closed() -> None:
    engine = AsyncEngine(XfrmDialect(), ScriptedKernel([]))
    engine.close()
    with pytest.raises(ClosedError):
        await engine.dump_sas()


async def test_closing_a_stream_wakes_who_waits_for_it() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    class Silence:
        fileno, close = ours.fileno, ours.close

        def start(self) -> None:
            pass

        def receive(self) -> list[Event | PfkeyxError]:
            return []

    stream = AsyncEventStream(Silence())
    waiters = [asyncio.ensure_future(stream.next()) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stream.close()
    assert [type(error) for error in await asyncio.gather(*waiters, return_exceptions=True)] == [ClosedError] * 2
    theirs.close()


async def test_a_stream_that_may_not_begin_is_closed() -> None:
    refusal = NotPermittedError(1, "listen")

    class Locked:
        is_open = True

        def fileno(self) -> int:
            return 0 if self.is_open else -1

        def start(self) -> None:
            raise refusal

        def receive(self) -> list[Event | PfkeyxError]:
            raise AssertionError

        def close(self) -> None:
            self.is_open = False

    for_blocking, for_async = Locked(), Locked()
    with pytest.raises(NotPermittedError):
        EventStream(for_blocking)
    with pytest.raises(NotPermittedError):
        await AsyncEventStream(for_async).__aenter__()
    assert not for_blocking.is_open
    assert not for_async.is_open


async def test_a_loss_is_raised_in_its_place_and_the_stream_goes_on() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.send(b"readable")

    class Flood:
        fileno, close = ours.fileno, ours.close

        def start(self) -> None:
            pass

        def receive(self) -> list[Event | PfkeyxError]:
            return [PolicyFlush(), EventsLostError("dump again")]

    with EventStream(Flood()) as stream:
        for _ in range(2):
            assert stream.next() == PolicyFlush()
            with pytest.raises(EventsLostError):
                stream.next()
        async_stream = AsyncEventStream(Flood())
        assert await async_stream.next() == PolicyFlush()
        with pytest.raises(EventsLostError):
            await async_stream.next()
        assert await async_stream.next() == PolicyFlush()
    theirs.close()


def test_the_refusal_is_told_also_when_its_undoing_is_refused() -> None:
    script = [("add SA", None), ("add SA", Refusal(17)), ("delete SA", Refusal(3))]
    with pytest.raises(AlreadyExistsError) as caught:
        Engine(XfrmDialect(), ScriptedKernel(script)).add_sas([INBOUND, OUTBOUND])
    assert "could be deleted again" in caught.value.__notes__[0]


def test_what_was_added_and_cannot_even_be_named_for_deletion_is_told_beside_the_refusal() -> None:
    end = ip_address("2001:db8::1")
    mobile = SA(SAId(end, 0, Protocol(43)), end, Mode.ROUTE_OPTIMIZATION, care_of=end)
    script = [("add SA", None), ("add SA", Refusal(17))]
    with pytest.raises(AlreadyExistsError) as caught:
        Engine(XfrmDialect(), ScriptedKernel(script)).add_sas([mobile, OUTBOUND])
    assert "could be deleted again" in caught.value.__notes__[0]


def test_what_may_have_been_added_is_named_and_not_deleted() -> None:
    lost = AnswerLostError(110, "add SA", OUTBOUND)
    kernel = ScriptedKernel([("add SA", None), ("add SA", lost), ("delete SA", None)])
    with pytest.raises(AnswerLostError) as caught:
        Engine(XfrmDialect(), kernel).add_sas([INBOUND, OUTBOUND])
    assert str(OUTBOUND) in caught.value.__notes__[0]
    assert kernel.asked[-1][:2] == ("delete SA", INBOUND.id)


async def test_what_was_asked_for_before_an_engine_closes_is_done() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    engine = AsyncEngine(PfkeyDialect(), PfkeyTransport.over(ours))
    flushing = asyncio.ensure_future(engine.flush_sas())
    request = await asyncio.to_thread(_received, theirs)
    engine.close()
    with pytest.raises(ClosedError):
        await engine.flush_policies()
    theirs.send(request)
    await flushing
    assert ours.fileno() == -1
    theirs.close()


def test_a_closed_engine_neither_streams_nor_listens() -> None:
    for name in ("xfrm", "pfkey"):
        dialect = XfrmDialect() if name == "xfrm" else PfkeyDialect()
        engine = Engine(dialect, ScriptedKernel([]))
        engine.close()
        with pytest.raises(ClosedError):
            next(engine.iter_sas())
        with pytest.raises(ClosedError):
            engine.watch()


@pytest.mark.parametrize(
    "kind", [PolicyExpire, SAProgress, Report, DefaultPolicyChange], ids=lambda kind: str(kind.__name__)
)
def test_what_pfkey_never_tells_of_cannot_be_listened_for(kind: type[Event]) -> None:
    engine = Engine(PfkeyDialect(), ScriptedKernel([]))
    with pytest.raises(UnsupportedError, match="pfkey does not tell of it; open the xfrm engine") as refusal:
        engine.watch(Acquire, kind)
    assert refusal.value.feature == kind.__name__


async def test_a_closed_async_engine_neither_streams_nor_listens() -> None:
    engine = AsyncEngine(PfkeyDialect(), ScriptedKernel([]))
    engine.close()
    with pytest.raises(ClosedError):
        await anext(engine.iter_policies())
    with pytest.raises(ClosedError):
        engine.watch()


async def test_a_listener_that_is_given_up_while_it_starts_starts_once_and_is_closed_after() -> None:
    may_go_on, is_closed = threading.Event(), asyncio.Event()
    calls = []

    class Slow:
        is_open = True

        def fileno(self) -> int:
            return 0 if self.is_open else -1

        def start(self) -> None:
            calls.append("start")
            may_go_on.wait()

        def receive(self) -> list[Event | PfkeyxError]:
            raise AssertionError

        def close(self) -> None:
            calls.append("close")
            self.is_open = False
            is_closed.set()

    stream = AsyncEventStream(Slow())
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.next(), 0.01)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.__aenter__(), 0.01)
    assert calls == ["start"]
    may_go_on.set()
    await asyncio.wait_for(is_closed.wait(), 60)
    assert calls == ["start", "close"]


async def test_the_loop_lets_go_of_a_descriptor_once() -> None:
    first, second = socket.socketpair()
    given_up = Readiness(first.fileno())
    given_up.future.cancel()
    given_up.give_up()
    # Another waits for what may be a descriptor of the same number.
    again = Readiness(first.fileno())
    second.send(b"readable")
    await asyncio.wait_for(again.future, 10)
    first.close()
    second.close()


def test_a_deadline_is_kept_while_others_talk() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.send(b"always readable")

    class Babble:
        fileno, close = ours.fileno, ours.close

        def start(self) -> None:
            pass

        def receive(self) -> list[Event | PfkeyxError]:
            return []

    with EventStream(Babble()) as stream:
        assert stream.next(timeout_s=0.01) is None
    theirs.close()


def _received(sock: socket.socket) -> bytes:
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        selector.select(60)
    return sock.recv(1 << 16)


@pytest.mark.parametrize("module", ["pfkeyx", "pfkeyx.xfrm.requests, pfkeyx.xfrm.transport"])
def test_importing_what_asks_and_answers_does_not_import_pyroute2(module: str) -> None:
    code = f"import sys, {module}; sys.exit('pyroute2' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_generated_key_is_fresh_and_hidden() -> None:
    assert Key.generate(36) != Key.generate(36)
    assert repr(Key.generate(36)) == "Key(36 bytes)"
