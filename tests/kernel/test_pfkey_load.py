"""PF_KEY when much goes on at once: nothing is doubled or taken for another's, and what was lost is said."""

import asyncio
import errno
import multiprocessing
import os
import signal
import socket
import time
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from ipaddress import ip_address, ip_network
from itertools import count, cycle, islice
from multiprocessing.sharedctypes import Synchronized

import pytest

import pfkeyx.operation
from pfkeyx import (
    HMAC_SHA1,
    NULL,
    SA,
    AlreadyExistsError,
    AsyncEngine,
    AsyncEventStream,
    Authentication,
    Change,
    Encryption,
    Engine,
    Event,
    EventsLostError,
    KernelError,
    Key,
    NotFoundError,
    SAChange,
    SAFilter,
    SAId,
)
from pfkeyx.engine import EngineName
from pfkeyx.native import ffi, lib
from pfkeyx.operation import Batch, Operation, run
from pfkeyx.pfkey import PfkeyDialect
from pfkeyx.pfkey.message import Message, MessageType, SAType
from pfkeyx.pfkey.sockets import PfkeySocket
from tests.kernel.values import by_identity

IS_SOAK = bool(os.environ.get("SOAK"))
#: In the long form of the tests more, and longer.
MANY = 20_000 if IS_SOAK else 2_000
WORK_S = 60 if IS_SOAK else 5
WORKERS = 8
SOURCE = ip_address("203.0.113.1")
_PATIENCE_S = 300
_fork = multiprocessing.get_context("fork")
Work = Callable[[], Generator[None, None, None]]


def _sa(owner: int, number: int) -> SA:
    """Return an SA that costs the kernel little, and whose SPI and key no other has."""
    return SA(
        SAId(ip_address(f"198.51.100.{owner}"), owner << 24 | number),
        SOURCE,
        reqid=owner,
        encryption=Encryption(NULL, Key(b"")),
        authentication=Authentication(HMAC_SHA1, Key(b"%020d" % (owner << 32 | number))),
    )


def _sas(owner: int, amount: int) -> list[SA]:
    return [_sa(owner, number) for number in range(amount)]


OTHERS = 99


def _add_many(numbers: range) -> list[int]:
    """Add SAs of owner 1 that differ in their SPI alone, and return the SPIs.

    The message is built once: to build each takes most of the time that there is.
    """
    sa = _sa(1, 0)
    message = PfkeyDialect().add_sa(sa).wire.message
    octets = bytearray(ffi.buffer(message.data, message.size))
    at = octets.index(sa.id.spi.to_bytes(4, "big"))
    spis = [sa.id.spi + number for number in numbers]
    with socket.socket(socket.AF_KEY, socket.SOCK_RAW, lib.PF_KEY_V2) as sock:
        for spi in spis:
            octets[at : at + 4] = spi.to_bytes(4, "big")
            sock.send(octets)
    return spis


def _change_others(engine_name: EngineName, owner: int = OTHERS) -> Generator[None, None, None]:
    """Add and delete SAs of somebody else."""
    with Engine.open(engine_name) as engine:
        sas = _sas(owner, 32)
        while True:
            engine.add_sas(sas)
            for sa in sas:
                engine.delete_sa(sa.id)
            yield


def test_a_dump_is_whole_while_others_change_sas() -> None:
    spis = _add_many(range(MANY))
    with _working(partial(_change_others, "pfkey")) as rounds, Engine.open("pfkey") as engine:
        for read in (engine.dump_sas, engine.iter_sas):
            before = rounds()
            while rounds() == before:
                found = list(read())
                assert sorted(sa.id.spi for sa in found if sa.reqid == 1) == spis
                assert {sa.reqid for sa in found} <= {1, OTHERS}


def test_a_stream_needs_no_more_memory_for_more_sas() -> None:
    with Engine.open("pfkey") as engine:
        _add_many(range(MANY // 10))
        few = _peak(engine.iter_sas), _peak(engine.dump_sas)
        _add_many(range(MANY // 10, MANY // 4))
        many = _peak(engine.iter_sas), _peak(engine.dump_sas)
    assert many[0] < 1.2 * few[0]
    # A dump does need more, so this measure can tell.
    assert many[1] > 2 * few[1]


def _peak(read: Callable[[], Iterator[SA] | list[SA]]) -> int:
    """Return the most memory that Python has in use while SAs are read, in octets."""
    tracemalloc.start()
    try:
        for sa in read():
            assert sa.reqid == 1
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _see_nothing_but_ones_own(owner: int) -> Generator[None, None, None]:
    """Add, read and delete SAs that nobody else has, and see what comes back."""
    source, destination = SOURCE, ip_address(f"198.51.100.{owner}")
    mine = SAFilter(destination=ip_network(destination))
    with Engine.open("pfkey") as engine:
        for turn in count():
            sas = [_sa(owner, 4 * turn + number) for number in range(4)]
            engine.add_sa(sas[0])
            engine.add_sas(sas[1:])
            assert [engine.get_sa(sa.id).as_written() for sa in sas] == sas
            with pytest.raises(AlreadyExistsError):
                engine.add_sa(sas[-1])
            assert by_identity(engine.dump_sas(mine)) == sas
            low = owner << 24 | 0xFF0000
            spi = engine.get_spi(source, destination, reqid=owner, minimum=low, maximum=low + 0xFF)
            assert low <= spi <= low + 0xFF
            for sa_id in (SAId(destination, spi), *(sa.id for sa in sas)):
                engine.delete_sa(sa_id)
            with pytest.raises(NotFoundError):
                engine.get_sa(sas[0].id)
            assert engine.dump_sas(mine) == []
            yield


def _hear_everything() -> Generator[None, None, None]:
    """Read what anyone sends and receives."""
    with PfkeySocket() as listener:
        listener.send(Message(MessageType.X_PROMISC, SAType(1)))
        while True:
            listener.receive(timeout_s=0.1)
            yield


@pytest.mark.parametrize(
    "noise",
    [(), (partial(_change_others, "xfrm"), _hear_everything)],
    ids=["alone", "beside-a-flood-and-a-listener-to-everything"],
)
def test_nobody_takes_the_reply_of_another(noise: Sequence[Work]) -> None:
    workers = [partial(_see_nothing_but_ones_own, owner) for owner in range(1, 1 + WORKERS)]
    with _working(*workers, *noise) as rounds:
        until = time.monotonic() + WORK_S
        while time.monotonic() < until and all(rounds()):
            time.sleep(0.1)
        assert all(rounds())
    with Engine.open("pfkey") as engine:
        assert [sa for sa in engine.dump_sas() if sa.reqid != OTHERS] == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on an answer sooner: here it is known to be lost."""
    monkeypatch.setattr(pfkeyx.operation, "REPLY_TIMEOUT_S", 0.2)


@pytest.mark.usefixtures("impatient")
def test_what_was_read_is_asked_again_when_its_answer_had_no_room() -> None:
    sas = _sas(1, 5)
    with Engine.open("pfkey") as engine:
        engine.add_sas(sas)
        _shrink(engine._transport.fileno(), 1)
        assert run(_get_at_once(sas), engine._transport) == sas


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_had_no_room_is_reported() -> None:
    sas = _sas(1, 32)
    with Engine.open("pfkey") as engine:
        _shrink(engine._transport.fileno(), 1)
        with pytest.raises(KernelError, match=r"^add SA esp .*lost.*look before asking again") as lost:
            engine.add_sas(sas)
        assert lost.value.errno == errno.ETIMEDOUT


def _get_at_once(sas: Sequence[SA]) -> Operation[list[SA]]:
    dialect = PfkeyDialect()
    replies = yield Batch(tuple(dialect.get_sa(sa.id) for sa in sas))
    return [sa.as_written() for sa in replies]


@pytest.mark.usefixtures("impatient")
def test_a_buffer_that_others_fill_makes_no_answer_wrong() -> None:
    sas = _sas(1, 20)
    others = partial(_change_others, "xfrm"), partial(_change_others, "pfkey", OTHERS + 1)
    with _working(*others), Engine.open("pfkey") as engine:
        engine.add_sas(sas)
        _shrink(engine._transport.fileno(), 4096)
        outcomes = Counter(_read_or_say_why_not(engine, sa) for sa in sas * 2)
    assert outcomes["right"] > 0
    assert set(outcomes) <= {"right", errno.ETIMEDOUT}


def _read_or_say_why_not(engine: Engine, sa: SA) -> str | int | None:
    try:
        return "right" if engine.get_sa(sa.id).as_written() == sa else "wrong"
    except KernelError as error:
        return error.errno


def test_a_dump_fits_a_buffer_that_is_much_smaller() -> None:
    sas = _sas(1, 100)
    with _working(partial(_change_others, "pfkey")), Engine.open("pfkey") as engine:
        engine.add_sas(sas)
        _shrink(engine._transport.fileno(), 32 << 10)
        for read in (engine.dump_sas, engine.iter_sas):
            assert by_identity([sa for sa in read() if sa.reqid == 1]) == sas


def test_a_listener_hears_what_there_was_room_for_and_then_that_there_was_more() -> None:
    sas = _sas(1, 32)
    with Engine.open("pfkey") as engine, Engine.open("pfkey") as other, engine.watch(SAChange) as events:
        _shrink(events.fileno(), 8192)
        heard: list[Event | None] = []
        other.add_sas(sas)
        with pytest.raises(EventsLostError, match="dump again"):
            heard.extend(iter(partial(events.next, 0), None))
        assert [_told(event) for event in heard] == [(Change.ADDED, sa) for sa in sas[: len(heard)]]
        assert 0 < len(heard) < len(sas)
        assert events.next(timeout_s=0) is None
        other.delete_sa(sas[0].id)
        assert _told(events.next(_PATIENCE_S)) == (Change.DELETED, sas[0])
        assert events.next(timeout_s=0) is None


async def test_a_listener_hears_the_same_in_asyncio() -> None:
    sas = _sas(1, 32)
    async with AsyncEngine.open("pfkey") as engine, engine.watch(SAChange) as events:
        _shrink(events._source.fileno(), 8192)
        with Engine.open("pfkey") as other:
            other.add_sas(sas)
            heard: list[Event] = []
            with pytest.raises(EventsLostError, match="dump again"):
                await _collect(events, heard)
            assert [_told(event) for event in heard] == [(Change.ADDED, sa) for sa in sas[: len(heard)]]
            assert 0 < len(heard) < len(sas)
            other.delete_sa(sas[0].id)
            assert _told(await events.next()) == (Change.DELETED, sas[0])


async def _collect(events: AsyncEventStream, heard: list[Event]) -> None:
    while True:
        heard.append(await events.next())


def test_a_flood_that_is_read_is_heard_whole() -> None:
    flood = partial(_change_others, "pfkey")
    with _working(flood), Engine.open("pfkey") as engine, engine.watch(SAChange) as events:
        _check_flood([events.next(_PATIENCE_S) for _ in range(MANY // 8)])


async def test_a_flood_that_is_read_is_heard_whole_in_asyncio() -> None:
    with _working(partial(_change_others, "pfkey")):
        async with AsyncEngine.open("pfkey") as engine, engine.watch(SAChange) as events:
            _check_flood([await events.next() for _ in range(MANY // 8)])


def _check_flood(heard: Sequence[Event | None]) -> None:
    """Assert that these are the changes of `_change_others`, from any of them on, and none is missing."""
    sas = _sas(OTHERS, 32)
    order = [(change, sa) for change in (Change.ADDED, Change.DELETED) for sa in sas]
    told = [_told(event) for event in heard]
    first = order.index(told[0])
    assert told == list(islice(cycle(order), first, first + len(told)))


def _told(event: Event | None) -> tuple[Change, SA]:
    assert isinstance(event, SAChange)
    return event.change, event.sa.as_written()


def test_signals_do_not_break_a_dump() -> None:
    spis = _add_many(range(MANY // 4))
    came = Counter[int]()
    with Engine.open("pfkey") as engine:
        _shrink(engine._transport.fileno(), 64 << 10)
        with _alarms(lambda number, _: came.update([number]), every_s=0.003):
            while came[signal.SIGALRM] < 20:
                assert sorted(sa.id.spi for sa in engine.dump_sas()) == spis
                assert sorted(sa.id.spi for sa in engine.iter_sas()) == spis


def test_a_dump_that_was_abandoned_does_not_stand_in_the_way_of_the_next() -> None:
    spis = _add_many(range(MANY // 4))

    def interrupt(_number: int, _frame: object) -> None:
        raise InterruptedError

    with Engine.open("pfkey") as engine:
        _shrink(engine._transport.fileno(), 64 << 10)
        with pytest.raises(InterruptedError), _alarms(interrupt, every_s=0):
            list(iter(engine.dump_sas, []))
        assert sorted(sa.id.spi for sa in engine.dump_sas()) == spis
        assert engine.get_sa(_sa(1, 0).id).as_written() == _sa(1, 0)


async def test_a_cancelled_task_does_not_confuse_the_others() -> None:
    sas = _sas(1, 24)
    async with AsyncEngine.open("pfkey") as engine:
        await engine.add_sas(sas)

        async def read(sa: SA) -> None:
            for _ in range(3):
                assert (await engine.get_sa(sa.id)).as_written() == sa
            assert by_identity(await engine.dump_sas(SAFilter(destination=ip_network(sa.destination)))) == sas

        tasks = [asyncio.create_task(read(sa)) for sa in sas]
        for task in tasks[::3]:
            await asyncio.sleep(0)
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    cancelled, finished = outcomes[::3], [outcome for number, outcome in enumerate(outcomes) if number % 3]
    assert [type(outcome) for outcome in cancelled] == [asyncio.CancelledError] * 8
    assert finished == [None] * 16


def _shrink(fd: int, octets: int) -> None:
    """Leave a socket so little room for what arrives, or what the kernel insists on."""
    with socket.socket(socket.AF_KEY, socket.SOCK_RAW, lib.PF_KEY_V2, fileno=os.dup(fd)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, octets // 2)


@contextmanager
def _alarms(handler: Callable[[int, object], None], every_s: float) -> Iterator[None]:
    """Let SIGALRM come soon, and then every so often, 0 never again."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05, every_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _working(*works: Work) -> Iterator[Callable[[], list[int]]]:
    """Let processes work, each to the end of its round; yield what says how many rounds they have done.

    It is entered before an engine is opened, so that no two processes share a socket.
    """
    stop, failures = _fork.Event(), _fork.SimpleQueue()
    done = [_fork.Value("L", 0) for _ in works]

    def run_rounds(work: Work, rounds: "Synchronized[int]") -> None:
        try:
            with closing(work()) as turns:
                while not stop.is_set():
                    next(turns)
                    rounds.value += 1
        except BaseException:
            failures.put(traceback.format_exc())

    def rounds() -> list[int]:
        assert failures.empty(), failures.get()
        return [value.value for value in done]

    processes = [_fork.Process(target=run_rounds, args=pair) for pair in zip(works, done, strict=True)]
    for process in processes:
        process.start()
    try:
        while not all(rounds()):
            time.sleep(0.05)
        yield rounds
    finally:
        stop.set()
        for process in processes:
            process.join(_PATIENCE_S)
    assert failures.empty(), failures.get()
    assert [process.exitcode for process in processes] == [0] * len(works)
