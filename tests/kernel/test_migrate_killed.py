"""A process that moves is killed at every moment: nothing in clear, repeated or lost; and it converges."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest

from pfkeyx import AES_GCM, Action, Direction, Engine, Method, Policy, PolicyId, UnsupportedError
from tests.kernel.interruption import (
    Ending,
    Moment,
    kill_this_process,
    kill_this_process_soon,
    migrate_in_process,
    moments,
)
from tests.kernel.moves import Place
from tests.kernel.scenes import IS_SOAK, METHODS, NamedScene, OptionalScene, Scene, by_method
from tests.kernel.topology import Road
from tests.kernel.values import encryption

SUITE = (encryption(AES_GCM, 20), None)
LONG = [(kind, method) for kind, methods in METHODS.items() for method in methods]
#: The method with the most to lose, by itself; and what the first test has besides.
SHORT = [(Scene, Method.REPLACE)]
BROAD = [
    *((Scene, method) for method in METHODS[Scene]),
    *((kind, Method.REPLACE) for kind in (OptionalScene, NamedScene)),
]
#: In the long form of the tests more often, and later.
ROUNDS = 100 if IS_SOAK else 2

pytestmark = pytest.mark.parametrize("family", [4, 6] if IS_SOAK else [4], ids=lambda version: f"IPv{version}")


@pytest.fixture
def scene(kind: type[Scene], road: Road) -> Iterator[Scene]:
    """Set up what is moved."""
    with ExitStack() as stack:
        yield kind(road, SUITE, stack)


@by_method("kind", "method", cases=LONG if IS_SOAK else BROAD)
def test_a_move_that_is_killed_at_any_moment_is_finished_by_the_same_call(scene: Scene, method: Method) -> None:
    for moment in _moments():
        indexes = _lay(scene)
        ending = _move_in_process(scene, method, {moment: kill_this_process})
        assert ending in (Ending.MOVED, Ending.KILLED)
        _check_nothing_is_lost(scene)
        scene.send()
        _move(scene, method, scene.old, scene.new)
        _check_is_at(scene, scene.new, indexes)
        if ending is Ending.MOVED:
            break
    assert moment.number > 1
    scene.check_wire()


@by_method("kind", "method", cases=LONG if IS_SOAK else SHORT)
def test_a_move_that_is_killed_at_any_moment_is_taken_back_by_the_reverse(scene: Scene, method: Method) -> None:
    for moment in _moments():
        indexes = _lay(scene)
        ending = _move_in_process(scene, method, {moment: kill_this_process})
        assert ending in (Ending.MOVED, Ending.KILLED)
        scene.send()
        _move(scene, None, scene.new, scene.old)
        _check_is_at(scene, scene.old, indexes)
        if ending is Ending.MOVED:
            break
    assert moment.number > 1
    scene.check_wire()


@by_method("kind", "method", cases=LONG if IS_SOAK else SHORT)
def test_a_move_that_is_killed_while_it_is_undone_is_finished_by_the_same_call(scene: Scene, method: Method) -> None:
    for moment in islice(_moments(), 1, None):
        indexes = _lay(scene)
        happenings = {Moment(1): scene.put_in_the_way, moment: kill_this_process}
        ending = _move_in_process(scene, method, happenings)
        assert ending in (Ending.REFUSED, Ending.KILLED)
        _check_nothing_is_lost(scene)
        scene.send()
        scene.clear_the_way()
        _move(scene, method, scene.old, scene.new)
        _check_is_at(scene, scene.new, indexes)
        if ending is Ending.REFUSED:
            break
    assert moment.number > 2
    scene.check_wire()


@by_method("kind", "method", cases=LONG if IS_SOAK else SHORT)
def test_a_move_that_is_killed_in_the_midst_of_a_datagram_is_finished_by_the_same_call(
    scene: Scene, method: Method
) -> None:
    for number in range(ROUNDS):
        indexes = _lay(scene)
        soon = partial(kill_this_process_soon, number * 0.0002)
        _move_in_process(scene, method, {Moment(1 + number % 3): soon})
        _check_nothing_is_lost(scene)
        scene.send()
        _move(scene, method, scene.old, scene.new)
        _check_is_at(scene, scene.new, indexes)
    scene.check_wire()


def _moments() -> Iterator[Moment]:
    """Return the moments that differ for a kernel: what is after one datagram is before the next."""
    return (moment for moment in moments() if moment.after or moment == Moment(1))


def _lay(scene: Scene) -> dict[PolicyId, int]:
    """Begin anew, and return the indexes of the policies that keep them: one that gets another selector is another."""
    scene.lay()
    scene.send()
    keep_their_names = {policy.id for policy in scene.state(scene.new).policies}
    return {it.id: it.index for it in scene.engine.dump_policies() if it.id in keep_their_names}


def _move_in_process(scene: Scene, method: Method, happenings: dict[Moment, Callable[[], None]]) -> Ending:
    return migrate_in_process(scene.update(scene.old, scene.new), method, happenings, scene.send_while_moving)


def _move(scene: Scene, method: Method | None, old: Place, new: Place) -> None:
    """Move as a process does that knows nothing of the one before it."""
    update = scene.update(old, new)
    with Engine.open("xfrm") as engine:
        try:
            plan = engine.plan_migration(update, method)
        except UnsupportedError:
            # MIGRATE finds no SA whose policy went without it; what is not forced finds a way.
            plan = engine.plan_migration(update)
        engine.migrate(plan)


def _check_nothing_is_lost(scene: Scene) -> None:
    """Assert that each SA and each policy is there once, at its old or new place, and nothing else is.

    A policy that gets another selector is there twice until the old one is deleted.
    """
    old, new = scene.state(scene.old), scene.state(scene.new)
    sas = [sa.as_written() for sa in scene.sas()]
    policies = [policy.as_written() for policy in scene.engine.dump_policies()]
    for sa, moved_sa in zip(old.sas, new.sas, strict=True):
        assert [found for found in sas if found.id.spi == sa.id.spi] in ([sa], [moved_sa])
    twice = 0
    for policy, moved_policy in zip(old.policies, new.policies, strict=True):
        count = len([found for found in policies if found in _forms(policy, moved_policy)])
        assert count in ((1,) if policy.id == moved_policy.id else (1, 2))
        twice += count - 1
    assert (len(sas), len(policies) - twice) == (len(old.sas), len(old.policies))


def _forms(old: Policy, new: Policy) -> list[Policy]:
    """Return what a policy may be like in the midst of a move: one that is blocked has its templates."""
    if old.direction is not Direction.OUT:
        return [old, new]
    return [old, new, *(replace(policy, action=Action.BLOCK) for policy in (old, new))]


def _check_is_at(scene: Scene, place: Place, indexes: dict[PolicyId, int]) -> None:
    scene.check_is_at(place)
    now = {policy.id: policy.index for policy in scene.engine.dump_policies() if policy.id in indexes}
    assert now.items() <= indexes.items()
