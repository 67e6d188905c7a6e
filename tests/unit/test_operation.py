"""How operations are run, blocking and under asyncio; no kernel is asked."""

import asyncio
import threading
from typing import cast

from pfkeyx import InvalidRequestError
from pfkeyx.operation import Operation, Transport, arun, run, work

NO_TRANSPORT = cast(Transport, None)


def refuse() -> None:
    raise InvalidRequestError("it cannot be")


def recover() -> Operation[str]:
    try:
        yield from work(refuse)
    except InvalidRequestError as error:
        return str(error)
    return "nothing"


def test_work_is_done_and_its_errors_reach_the_operation() -> None:
    assert run(work(lambda: 6 * 7), NO_TRANSPORT) == 42
    assert run(recover(), NO_TRANSPORT) == "it cannot be"


async def test_other_tasks_have_their_turn_while_work_is_done() -> None:
    is_their_turn = threading.Event()

    async def other() -> None:
        is_their_turn.set()

    worked, _ = await asyncio.gather(arun(work(lambda: is_their_turn.wait(10)), NO_TRANSPORT), other())
    assert worked


async def test_errors_of_work_reach_the_operation_under_asyncio_too() -> None:
    assert await arun(recover(), NO_TRANSPORT) == "it cannot be"
