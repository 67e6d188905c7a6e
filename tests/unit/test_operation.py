"""How operations are run, blocking and under asyncio; no kernel is asked."""

import asyncio
import errno
import socket
import threading
from typing import Literal, cast

import pytest

from pfkeyx import ClosedError, Feature, InvalidRequestError, KernelError, Support, UnsupportedError
from pfkeyx.operation import Batch, Operation, Transport, arun, run, work
from pfkeyx.pfkey import PfkeyDialect
from pfkeyx.testing import Refusal, ScriptedKernel
from pfkeyx.xfrm import XfrmDialect, XfrmTransport
from tests.unit.samples import NEW_LOCAL, OUTBOUND, REMOTE

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


# ---- what goes over the other interface ----


def test_xfrm_asks_pf_key_for_the_message_that_it_does_not_have() -> None:
    dialect = XfrmDialect(PfkeyDialect)
    batch = next(dialect.supports(Feature.ADDRUPDATE))
    assert isinstance(batch, Batch)
    assert batch.aside
    assert dialect.update_address(OUTBOUND, OUTBOUND.moved(NEW_LOCAL, REMOTE, None)).aside
    kernel = ScriptedKernel([("probe", Refusal(errno.EINVAL))])
    assert run(dialect.supports(Feature.ADDRUPDATE), kernel).available


@pytest.mark.parametrize(
    ("error", "available"),
    [
        (UnsupportedError("SADB_X_ADDRUPDATE", "af_key is not loaded"), False),
        (KernelError.of(errno.EPERM, "open"), None),
    ],
    ids=["not loaded", "not permitted"],
)
def test_where_pf_key_cannot_be_asked_the_reason_is_said(error: Exception, available: Literal[False] | None) -> None:
    operation = XfrmDialect(PfkeyDialect).supports(Feature.ADDRUPDATE)
    next(operation)
    with pytest.raises(StopIteration) as answered:
        operation.throw(error)
    support: Support = answered.value.value
    assert support.available is available
    assert {False: "af_key is not loaded", None: "not permitted"}[available] in support.reason


def test_without_another_dialect_there_is_no_such_message() -> None:
    dialect = XfrmDialect()
    with pytest.raises(StopIteration) as answered:
        next(dialect.supports(Feature.ADDRUPDATE))
    assert not answered.value.value.available
    with pytest.raises(UnsupportedError, match="a message of PF_KEY"):
        dialect.update_address(OUTBOUND, OUTBOUND)


def test_a_closed_socket_has_nothing_beside_it_and_one_that_was_given_stands_alone() -> None:
    transport = XfrmTransport.over(socket.socket(), 1)
    with pytest.raises(UnsupportedError, match="no other socket"):
        transport.aside()
    transport.close()
    with pytest.raises(ClosedError):
        transport.aside()
