"""Either interface when much goes on at once: dumps are whole, and nothing is doubled or taken for another's."""

import asyncio
import ctypes
import gc
import signal
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_network
from itertools import cycle, islice

import pytest

from pfkeyx import SA, AsyncEngine, Change, Engine, Event, SAChange, SAFilter
from pfkeyx.opening import EngineName
from tests.kernel.children import working
from tests.kernel.load import (
    MANY,
    OTHERS,
    POLICIES,
    SAS,
    Table,
    change_sas,
    check_that_replies_are_ones_own,
    fill_sas,
    owned_sa,
    owned_sas,
    shrink,
    told_by,
)
from tests.kernel.values import by_identity

_PATIENCE_S = 300


@pytest.fixture(params=[SAS, POLICIES], ids=["SAs", "policies"])
def table(request: pytest.FixtureRequest) -> Table:
    """Each table of the kernel in turn."""
    chosen: Table = request.param
    return chosen


def test_a_dump_is_whole_while_others_change_the_table(engine_name: EngineName, table: Table) -> None:
    table.fill(range(MANY))
    with working(partial(table.change, engine_name)) as rounds, Engine.open(engine_name) as engine:
        for read in (table.dump, table.stream):
            before = rounds()
            while rounds() == before:
                assert table.numbers(read(engine)) == list(range(MANY))


def test_a_stream_needs_no_more_memory_for_a_larger_table(engine: Engine, table: Table) -> None:
    stream = partial(table.stream, engine)
    # What comes in one chunk needs more the more it is, so even the smaller table is of several.
    few, many = MANY // 2, 3 * MANY // 2
    table.fill(range(1))
    _peak(stream)  # what is kept for good is there from now on
    table.fill(range(1, few))
    of_few = _peak(stream)
    table.fill(range(few, many))
    of_many = _peak(stream)
    assert of_many < 1.5 * of_few
    # A dump does need more, so this measure can tell.
    assert _peak(partial(table.dump, engine)) > 2 * of_many


class _Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of <malloc.h>."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keep",
        )
    ]


_mallinfo = ctypes.CDLL(None).mallinfo2
_mallinfo.restype = _Mallinfo


def _in_use() -> int:
    """Return the octets that Python has traced and that the C library has given out."""
    heap = _mallinfo()
    return int(tracemalloc.get_traced_memory()[0] + heap.uordblks + heap.hblkhd)


def _peak(read: Callable[[], Iterable[object]]) -> int:
    """Return how many octets of memory more are in use at most while a table is read, by Python and by the C core."""
    gc.collect()
    # What was there before is not looked through every time.
    gc.freeze()
    tracemalloc.start()
    before, most = _in_use(), 0
    try:
        for number, _ in enumerate(read()):
            if number % 50 == 0:
                gc.collect()
                most = max(most, _in_use() - before)
        return most
    finally:
        tracemalloc.stop()
        gc.unfreeze()


def test_nobody_takes_the_reply_of_another_beside_a_flood(engine_name: EngineName) -> None:
    others: EngineName = "pfkey" if engine_name == "xfrm" else "xfrm"
    check_that_replies_are_ones_own(engine_name, partial(change_sas, others))


def test_a_dump_fits_a_buffer_that_is_much_smaller(engine_name: EngineName) -> None:
    sas = owned_sas(1, 100)
    with working(partial(change_sas, engine_name)), Engine.open(engine_name) as engine:
        engine.add_sas(sas)
        shrink(engine._transport.fileno(), 32 << 10)
        for read in (engine.dump_sas, engine.iter_sas):
            assert by_identity([sa for sa in read() if sa.reqid == 1]) == sas


def test_a_flood_that_is_read_is_heard_whole(engine_name: EngineName) -> None:
    flood = partial(change_sas, engine_name)
    with working(flood), Engine.open(engine_name) as engine, engine.watch(SAChange) as events:
        _check_flood([events.next(_PATIENCE_S) for _ in range(MANY // 10)])


async def test_a_flood_that_is_read_is_heard_whole_in_asyncio(engine_name: EngineName) -> None:
    with working(partial(change_sas, engine_name)):
        async with AsyncEngine.open(engine_name) as engine, engine.watch(SAChange) as events:
            _check_flood([await events.next() for _ in range(MANY // 10)])


def _check_flood(heard: Sequence[Event | None]) -> None:
    """Assert that these are the changes of `change_sas`, from any of them on, and none is missing."""
    sas = owned_sas(OTHERS, 32)
    order = [(change, sa) for change in (Change.ADDED, Change.DELETED) for sa in sas]
    told = [told_by(event) for event in heard]
    first = order.index(told[0])
    assert told == list(islice(cycle(order), first, first + len(told)))


def test_signals_do_not_break_a_dump(engine: Engine) -> None:
    fill_sas(range(MANY // 10))
    came = Counter[int]()
    shrink(engine._transport.fileno(), 64 << 10)
    with _alarms(lambda number, _: came.update([number]), every_s=0.003):
        while came[signal.SIGALRM] < 20:
            assert SAS.numbers(engine.dump_sas()) == list(range(MANY // 10))
            assert SAS.numbers(engine.iter_sas()) == list(range(MANY // 10))


def test_a_dump_that_was_abandoned_does_not_stand_in_the_way_of_the_next(engine: Engine) -> None:
    fill_sas(range(MANY // 4))

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    shrink(engine._transport.fileno(), 64 << 10)
    with pytest.raises(KeyboardInterrupt), _alarms(interrupt, every_s=0):
        list(iter(engine.dump_sas, []))
    assert SAS.numbers(engine.dump_sas()) == list(range(MANY // 4))
    assert engine.get_sa(owned_sa(1, 0).id).id == owned_sa(1, 0).id


async def test_a_cancelled_task_does_not_confuse_the_others(engine_name: EngineName) -> None:
    sas = owned_sas(1, 24)
    async with AsyncEngine.open(engine_name) as engine:
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
