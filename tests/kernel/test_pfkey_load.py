"""PF_KEY's own when much goes on at once: its answers and events can have no room, which it does not say."""

import errno
from collections import Counter
from collections.abc import Generator, Sequence
from functools import partial

import pytest

import pfkeyx.operation
from pfkeyx import SA, AsyncEngine, AsyncEventStream, Change, Engine, Event, EventsLostError, KernelError, SAChange
from pfkeyx.operation import Batch, Operation, run
from pfkeyx.pfkey import PfkeyDialect
from pfkeyx.pfkey.message import Message, MessageType, SAType
from pfkeyx.pfkey.sockets import PfkeySocket
from tests.kernel.children import working
from tests.kernel.load import (
    OTHERS,
    change_sas,
    check_that_replies_are_ones_own,
    owned_sas,
    shrink,
    told_by,
)

_PATIENCE_S = 300


def _hear_everything() -> Generator[None, None, None]:
    """Read what anyone sends and receives."""
    with PfkeySocket() as listener:
        listener.send(Message(MessageType.X_PROMISC, SAType(1)))
        while True:
            listener.receive(timeout_s=0.1)
            yield


def test_nobody_takes_the_reply_of_another_where_everybody_hears_it() -> None:
    check_that_replies_are_ones_own("pfkey", partial(change_sas, "xfrm"), _hear_everything)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on an answer sooner: here it is known to be lost."""
    monkeypatch.setattr(pfkeyx.operation, "REPLY_TIMEOUT_S", 0.2)


@pytest.mark.usefixtures("impatient")
def test_what_was_read_is_asked_again_when_its_answer_had_no_room() -> None:
    sas = owned_sas(1, 5)
    with Engine.open("pfkey") as engine:
        engine.add_sas(sas)
        shrink(engine._transport.fileno(), 1)
        assert run(_get_at_once(sas), engine._transport) == sas


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_had_no_room_is_reported() -> None:
    sas = owned_sas(1, 32)
    with Engine.open("pfkey") as engine:
        shrink(engine._transport.fileno(), 1)
        with pytest.raises(KernelError, match=r"^add SA esp .*lost.*look before asking again") as lost:
            engine.add_sas(sas)
        assert lost.value.errno == errno.ETIMEDOUT


def _get_at_once(sas: Sequence[SA]) -> Operation[list[SA]]:
    dialect = PfkeyDialect()
    replies = yield Batch(tuple(dialect.get_sa(sa.id) for sa in sas))
    return [sa.as_written() for sa in replies]


@pytest.mark.usefixtures("impatient")
def test_a_buffer_that_others_fill_makes_no_answer_wrong() -> None:
    sas = owned_sas(1, 20)
    others = partial(change_sas, "xfrm"), partial(change_sas, "pfkey", OTHERS + 1)
    with working(*others), Engine.open("pfkey") as engine:
        engine.add_sas(sas)
        shrink(engine._transport.fileno(), 4096)
        outcomes = Counter(_read_or_say_why_not(engine, sa) for sa in sas * 2)
    assert outcomes["right"] > 0
    assert set(outcomes) <= {"right", errno.ETIMEDOUT}


def _read_or_say_why_not(engine: Engine, sa: SA) -> str | int | None:
    try:
        return "right" if engine.get_sa(sa.id).as_written() == sa else "wrong"
    except KernelError as error:
        return error.errno


def test_a_listener_hears_what_there_was_room_for_and_then_that_there_was_more() -> None:
    sas = owned_sas(1, 32)
    with Engine.open("pfkey") as engine, Engine.open("pfkey") as other, engine.watch(SAChange) as events:
        shrink(events.fileno(), 8192)
        heard: list[Event | None] = []
        other.add_sas(sas)
        with pytest.raises(EventsLostError, match="dump again"):
            heard.extend(iter(partial(events.next, 0), None))
        assert [told_by(event) for event in heard] == [(Change.ADDED, sa) for sa in sas[: len(heard)]]
        assert 0 < len(heard) < len(sas)
        assert events.next(timeout_s=0) is None
        other.delete_sa(sas[0].id)
        assert told_by(events.next(_PATIENCE_S)) == (Change.DELETED, sas[0])
        assert events.next(timeout_s=0) is None


async def test_a_listener_hears_the_same_in_asyncio() -> None:
    sas = owned_sas(1, 32)
    async with AsyncEngine.open("pfkey") as engine, engine.watch(SAChange) as events:
        shrink(events._source.fileno(), 8192)
        with Engine.open("pfkey") as other:
            other.add_sas(sas)
            heard: list[Event] = []
            with pytest.raises(EventsLostError, match="dump again"):
                await _collect(events, heard)
            assert [told_by(event) for event in heard] == [(Change.ADDED, sa) for sa in sas[: len(heard)]]
            assert 0 < len(heard) < len(sas)
            other.delete_sa(sas[0].id)
            assert told_by(await events.next()) == (Change.DELETED, sas[0])


async def _collect(events: AsyncEventStream, heard: list[Event]) -> None:
    while True:
        heard.append(await events.next())
