"""Moves that are asked for at once, or one after another without waiting: the newest counts, and none is left half."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from pfkeyx import (
    AES_GCM,
    AddressPair,
    AddressUpdate,
    AsyncEngine,
    InvalidRequestError,
    Method,
    MigrationReport,
    SupersededError,
)
from tests.kernel.moves import Place
from tests.kernel.scenes import GatewayScene
from tests.kernel.topology import Road
from tests.kernel.values import encryption


class ManyScene(GatewayScene):
    """So many tunnels that they move in three datagrams."""

    remotes = 17


#: Of the tunnels' SAs, all.
SAS = 2 * ManyScene.remotes


@pytest.fixture(params=[4], ids=["IPv4"])
def family(request: pytest.FixtureRequest) -> int:
    """One IP version: what comes first is not its business."""
    version: int = request.param
    return version


@pytest.fixture
def scene(road: Road) -> Iterator[GatewayScene]:
    """Lay the tunnels of one local address."""
    with ExitStack() as stack:
        scene = ManyScene(road, (encryption(AES_GCM, 20), None), stack)
        scene.lay()
        yield scene


async def test_a_newer_update_stops_an_older_one_between_two_steps_and_goes_on_from_there(scene: GatewayScene) -> None:
    async with AsyncEngine.open("xfrm") as engine:
        newer: list[asyncio.Task[MigrationReport]] = []
        elsewhere = _elsewhere(scene)

        def ask_anew() -> None:
            newer.append(asyncio.create_task(engine.migrate(scene.update(scene.old, scene.new))))

        older = await _begin(engine, scene.update(scene.old, elsewhere), ask_anew)
        with pytest.raises(SupersededError, match="a newer update superseded it") as stopped:
            await older
        assert stopped.value.moved
        assert stopped.value.not_moved
        report = await newer[0]
    assert len(report.sas) == SAS
    scene.check_is_at(scene.new)
    scene.check_wire()


async def test_of_updates_that_are_asked_for_at_once_the_last_one_counts(scene: GatewayScene) -> None:
    ways = [(scene.old, _elsewhere(scene)), (_elsewhere(scene), scene.old), (scene.old, scene.new)]
    async with AsyncEngine.open("xfrm") as engine:
        *older, newest = await asyncio.gather(
            *(engine.migrate(scene.update(*way)) for way in ways), return_exceptions=True
        )
    assert [type(ending) for ending in older] == [SupersededError, SupersededError]
    assert isinstance(newest, MigrationReport)
    scene.check_is_at(scene.new)
    scene.check_wire()


async def test_an_update_that_goes_on_from_where_an_older_one_ends_need_not_wait_for_it(scene: GatewayScene) -> None:
    elsewhere = _elsewhere(scene)
    async with AsyncEngine.open("xfrm") as engine:
        newer: list[asyncio.Task[MigrationReport]] = []

        def ask_anew() -> None:
            newer.append(asyncio.create_task(engine.migrate(scene.update(elsewhere, scene.new))))

        older = await _begin(engine, scene.update(scene.old, elsewhere), ask_anew)
        with pytest.raises(SupersededError):
            await older
        await newer[0]
    scene.check_is_at(scene.new)
    scene.check_wire()


async def test_an_update_that_comes_too_early_changes_nothing(scene: GatewayScene) -> None:
    elsewhere = _elsewhere(scene)
    async with AsyncEngine.open("xfrm") as engine:
        with pytest.raises(InvalidRequestError, match="is the old address right"):
            await engine.migrate(scene.update(elsewhere, scene.new))
        scene.check_is_at(scene.old)
        await engine.migrate(scene.update(scene.old, elsewhere))
        await engine.migrate(scene.update(elsewhere, scene.new))
    scene.check_is_at(scene.new)


async def test_an_update_that_is_repeated_moves_nothing_twice(scene: GatewayScene) -> None:
    update = scene.update(scene.old, scene.new)
    async with AsyncEngine.open("xfrm") as engine:
        endings = await asyncio.gather(*(engine.migrate(update) for _ in range(4)), return_exceptions=True)
        assert [type(ending) for ending in endings] == [*[SupersededError] * 3, MigrationReport]
        again = await engine.migrate(update)
    assert (again.sas, again.policies) == ((), ())
    scene.check_is_at(scene.new)
    scene.check_wire()


async def test_a_move_whose_caller_is_cancelled_between_two_steps_is_finished(scene: GatewayScene) -> None:
    async with AsyncEngine.open("xfrm") as engine:
        callers: list[asyncio.Task[MigrationReport]] = []

        def cancel() -> None:
            callers[0].cancel()

        callers.append(await _begin(engine, scene.update(scene.old, scene.new), cancel))
        with pytest.raises(asyncio.CancelledError):
            await callers[0]
    scene.check_is_at(scene.new)
    scene.check_wire()


async def test_moves_of_different_tunnels_do_not_disturb_each_other(scene: GatewayScene) -> None:
    first, second, *others = (
        AddressUpdate(AddressPair(old.roaming, old.gateway), AddressPair(new.roaming, new.gateway))
        for old, new in zip(scene.places(scene.old), scene.places(scene.new), strict=True)
    )
    async with AsyncEngine.open("xfrm") as engine:
        reports = await asyncio.gather(engine.migrate(first), engine.migrate(second))
        assert [len(report.sas) for report in reports] == [2, 2]
        for update in others:
            await engine.migrate(update)
    scene.check_is_at(scene.new)
    scene.check_wire()


async def _begin(
    engine: AsyncEngine, update: AddressUpdate, happening: Callable[[], object]
) -> asyncio.Task[MigrationReport]:
    """Begin a move in several datagrams, and let something happen after the first; return who waits for the move."""
    plan = await engine.plan_migration(update, Method.MIGRATE)

    def progress(done: int, total: int) -> None:
        assert done < total or not pending
        if pending:
            pending.pop()()

    pending = [happening]
    return asyncio.create_task(engine.migrate(plan, progress=progress))


def _elsewhere(scene: GatewayScene) -> Place:
    """Return a third place."""
    return replace(scene.new, roaming=scene.new.roaming + 100)
