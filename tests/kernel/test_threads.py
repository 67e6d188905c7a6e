"""An engine works wherever it was opened: inside a running event loop, in another thread, after an answer given up."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pfkeyx import SA, AsyncEngine, Change, ClosedError, Engine, SAChange
from pfkeyx.model import EVERY_SA
from pfkeyx.opening import EngineName
from pfkeyx.xfrm import XfrmDialect
from tests.kernel.values import make_sa

_PATIENCE_S = 120


def test_an_engine_that_was_opened_in_one_thread_is_used_in_others(engine_name: EngineName) -> None:
    sas = [make_sa(4, spi) for spi in (0x1000, 0x1001)]
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second, Engine.open(engine_name) as other:
        engine = first.submit(Engine.open, engine_name).result()
        events = first.submit(engine.watch, SAChange).result()
        second.submit(engine.add_sas, sas).result()
        assert _spis(engine.dump_sas()) == {0x1000, 0x1001}
        assert _spis(first.submit(lambda: list(engine.iter_sas())).result()) == {0x1000, 0x1001}
        other.delete_sa(sas[0].id)
        event = second.submit(events.next, _PATIENCE_S).result()
        assert isinstance(event, SAChange)
        assert (event.change, event.sa.id) == (Change.DELETED, sas[0].id)
        events.close()
        second.submit(engine.close).result()
    with pytest.raises(ClosedError):
        engine.dump_sas()


def test_an_async_engine_that_was_opened_outside_its_loop_is_used_in_another_threads(engine_name: EngineName) -> None:
    sa = make_sa(4)
    engine = AsyncEngine.open(engine_name)

    async def use() -> None:
        async with engine, engine.watch(SAChange) as events:
            await engine.add_sa(sa)
            with Engine.open(engine_name) as other:
                other.delete_sa(sa.id)
            event = await asyncio.wait_for(events.next(), _PATIENCE_S)
            assert isinstance(event, SAChange)
            assert (event.change, event.sa.id) == (Change.DELETED, sa.id)

    with ThreadPoolExecutor(1) as other_thread:
        other_thread.submit(asyncio.run, use()).result()
    with pytest.raises(ClosedError):
        asyncio.run(engine.dump_sas())


async def test_an_engine_is_opened_and_used_inside_a_running_event_loop(engine_name: EngineName) -> None:
    sa = make_sa(4)
    with Engine.open(engine_name) as engine, engine.watch(SAChange) as events:
        async with AsyncEngine.open(engine_name) as awaited:
            await awaited.add_sa(sa)
            assert [it async for it in awaited.iter_sas()] == engine.dump_sas()
        event = await asyncio.to_thread(events.next, _PATIENCE_S)
        assert isinstance(event, SAChange)
        assert (event.change, event.sa.id) == (Change.ADDED, sa.id)
        assert _spis(await asyncio.to_thread(engine.dump_sas)) == {sa.id.spi}


def test_an_engine_outlives_the_event_loop_that_it_was_opened_in(engine_name: EngineName) -> None:
    async def open_in_loop() -> tuple[Engine, AsyncEngine]:
        return Engine.open(engine_name), AsyncEngine.open(engine_name)

    engine, awaited = asyncio.run(open_in_loop())
    with engine:
        engine.add_sa(make_sa(4))
        assert asyncio.run(awaited.dump_sas()) == engine.dump_sas()
    awaited.close()


def test_a_dump_that_was_given_up_does_not_stand_in_the_way_of_the_next() -> None:
    """The kernel runs one dump at a time on a socket, and refuses another with EBUSY."""
    spis = range(0x1000, 0x1100)
    with Engine.open("xfrm") as engine:
        engine.add_sas([make_sa(4, spi) for spi in spis])
        given_up = engine._transport.stream(XfrmDialect().dump_sas(EVERY_SA))
        assert 0 < len(next(given_up)) < len(spis)
        given_up.close()
        assert _spis(engine.dump_sas()) == set(spis)


def _spis(sas: Iterable[SA]) -> set[int]:
    return {sa.id.spi for sa in sas}
