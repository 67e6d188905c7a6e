"""Many requests that are alike, over a socket pair: the other end is played by the test."""

import gc
import os
import socket
import traceback
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pfkeyx import SA, AlreadyExistsError, AnswerLostError, Engine, Feature, InvalidRequestError, KernelError
from pfkeyx.alike import Alike
from pfkeyx.columns import SAs
from pfkeyx.errors import UnsupportedError
from pfkeyx.model import SecurityContext
from pfkeyx.molds import Molds
from pfkeyx.operation import Batch
from pfkeyx.pfkey import PfkeyDialect, PfkeyTransport
from pfkeyx.pfkey.answers import NOT_TAKEN_IN
from pfkeyx.pfkey.message import Message, MessageType
from pfkeyx.testing import Refusal, ScriptedKernel
from pfkeyx.xfrm import XfrmDialect, XfrmTransport
from tests.unit.samples import OUTBOUND
from tests.unit.test_keys_are_hidden import CBC_SA, assert_hidden
from tests.unit.test_pfkey_transport import Peer
from tests.unit.test_xfrm_transport import asks_for_acknowledgement, small_ends
from tests.unit.xfrm_bytes import PORT, ack, sequences


@pytest.fixture
def pfkey_ends() -> Iterator[tuple[PfkeyTransport, Peer]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    transport = PfkeyTransport.over(ours)
    with theirs:
        yield transport, Peer(theirs)
    transport.close()


def many(count: int) -> tuple[SA, ...]:
    return tuple(replace(OUTBOUND, id=replace(OUTBOUND.id, spi=0x1000 + number)) for number in range(count))


def additions(sas: tuple[SA, ...]) -> Alike:
    requests = XfrmDialect().add_sas(sas)
    assert isinstance(requests, Alike)
    return requests


def test_a_refusal_is_that_of_the_sa_whose_message_was_refused(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    sas = many(600)
    refused = {0: 17, 103: 22, 104: 17, 300: 1, 599: 12}
    generator = transport.exchange(Batch(additions(sas)))
    first = 0
    while first < len(sas):
        next(generator)
        datagram = kernels.recv(1 << 20)
        numbers = sequences(datagram)
        assert asks_for_acknowledgement(datagram) == [False] * (len(numbers) - 1) + [True]
        # What is not a request of this datagram is somebody else's.
        kernels.send(ack((numbers[0] - 1) & 0xFFFFFFFF, 1) + ack(numbers[-1] + 1, 1))
        next(generator)
        for place, number in enumerate(numbers[:-1]):
            if first + place in refused:
                kernels.send(ack(number, refused[first + place], "no", 16 + 4))
                next(generator)
        first += len(numbers)
        kernels.send(ack(numbers[-1], refused.get(first - 1, 0)))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    replies = stop.value.value
    told = {number: (it.errno, it.subject) for number, it in enumerate(replies) if it is not None}
    assert told == {number: (code, sas[number]) for number, code in refused.items()}
    assert isinstance(replies[0], AlreadyExistsError)
    assert (replies[0].operation, replies[0].attribute) == ("add SA", "sel.daddr")
    assert replies[0].detail == "no; an SPI that was reserved is completed by an update"


def test_when_an_answer_is_lost_those_before_it_are_known_and_those_behind_it_are_sent(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch(additions(many(300))))
    next(generator)
    first = sequences(kernels.recv(1 << 20))
    kernels.send(ack(first[-1]))
    next(generator)
    second = sequences(kernels.recv(1 << 20))
    kernels.send(ack(second[7], 17))
    next(generator)
    generator.throw(TimeoutError())
    kernels.send(ack(sequences(kernels.recv(1 << 20))[-1]))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    kinds = [type(reply) for reply in stop.value.value]
    assert len(first) + len(second) < len(kinds) == 300
    for number, kind in enumerate(kinds):
        is_lost = len(first) <= number < len(first) + len(second)
        refused = AlreadyExistsError if number == len(first) + 7 else AnswerLostError
        assert kind is (refused if is_lost else type(None))


def test_over_pf_key_each_has_the_answer_to_its_own_message(pfkey_ends: tuple[PfkeyTransport, Peer]) -> None:
    transport, peer = pfkey_ends
    sas = tuple(replace(CBC_SA, id=replace(CBC_SA.id, spi=0x1000 + number)) for number in range(150))
    generator = transport.exchange(Batch(PfkeyDialect().add_sas(sas)))
    asked: list[Message] = []
    messages: list[Message] = []
    while len(asked) < len(sas):
        next(generator)
        messages = peer.receive_all() or messages
        if messages[-1] in asked:
            continue  # it was but the driver's turn
        asked += messages
        assert transport.has_sent(messages[-1].pid, messages[-1].seq)
        assert not transport.has_sent(messages[-1].pid, messages[-1].seq + 1)
        for message in messages[:9]:
            # What has another number, process or type is somebody else's.
            peer.answer(message, 1, seq=message.seq + 1000)
            peer.answer(message, 1, pid=message.pid + 1)
            peer.answer(message, 1, type=MessageType.UPDATE)
        # In any order; of the last batch one is lost.
        for message in reversed(messages if len(asked) < len(sas) else messages[1:]):
            number = message.seq - asked[0].seq
            peer.answer(message, 17 if number in (3, 64) else 0)
            if number < 9:
                peer.answer(message, 1)
    next(generator)
    with pytest.raises(StopIteration) as stop:
        generator.throw(TimeoutError())
    told = {number: type(it) for number, it in enumerate(stop.value.value) if it is not None}
    lost = len(sas) - len(messages)
    assert told == {3: AlreadyExistsError, 64: AlreadyExistsError, lost: AnswerLostError}
    assert [stop.value.value[number].subject for number in told] == [sas[number] for number in told]


def test_over_pf_key_what_the_socket_does_not_take_in_is_refused(pfkey_ends: tuple[PfkeyTransport, Peer]) -> None:
    transport, peer = pfkey_ends
    with socket.socket(fileno=os.dup(transport.fileno())) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    context = SecurityContext(b"x" * 4096)
    sas = (CBC_SA, replace(CBC_SA, security_context=context), replace(CBC_SA, reqid=9))
    generator = transport.exchange(Batch(PfkeyDialect().add_sas(sas)))
    next(generator)
    taken = peer.receive_all()
    assert 0 < len(taken) < len(sas)
    for message in taken:
        peer.answer(message)
    with pytest.raises(StopIteration) as stop:
        next(generator)
    refused = [(reply.subject, reply.detail) for reply in stop.value.value if reply is not None]
    assert refused == [(sa, NOT_TAKEN_IN) for sa in sas[len(taken) :]]


def test_what_was_interrupted_is_no_answer_to_what_is_asked_next(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch(additions(many(2))))
    next(generator)
    generator.close()
    kernels.send(ack(sequences(kernels.recv(1 << 20))[-1], 17))
    again = transport.exchange(Batch(additions(many(2))))
    next(again)
    numbers = sequences(kernels.recv(1 << 20))
    assert all(transport.has_sent(PORT, number) for number in numbers)
    kernels.send(ack(numbers[-1]))
    with pytest.raises(StopIteration) as stop:
        next(again)
    assert stop.value.value == [None, None]


def test_what_the_send_buffer_cannot_hold_is_sent_in_parts_and_what_alone_is_too_large_is_refused() -> None:
    sas = many(20)
    size = len(XfrmDialect().add_sa(OUTBOUND).wire.message)
    with small_ends(socket.SO_SNDBUF, 32 + 16 * size) as (transport, kernels):
        generator = transport.exchange(Batch(additions(sas)))
        for amount in (16, 4):
            next(generator)
            numbers = sequences(kernels.recv(1 << 20))
            assert len(numbers) == amount
            kernels.send(ack(numbers[-1]))
        with pytest.raises(StopIteration) as stop:
            next(generator)
        assert stop.value.value == [None] * 20
    parts = Molds(SAs(), lambda sa: (bytearray(sa.reqid % 99), ())).write(
        [replace(OUTBOUND, reqid=n) for n in (4, 90, 4)]
    )
    assert [[len(message) for message in part] for part in parts.cut(8, 9)] == [[4], [90], [4]]
    assert [[len(message) for message in part] for part in parts.cut(99, 2)] == [[4, 90], [4]]


def test_one_of_many_that_lacks_a_feature_is_named() -> None:
    sas = (*many(3), replace(OUTBOUND, if_id=7), replace(OUTBOUND, if_id=8))
    with pytest.raises(UnsupportedError, match=f"add SA {sas[3]}: the kernel does not know") as error:
        Engine(XfrmDialect(), ScriptedKernel([("probe", Refusal(3))])).add_sas(sas)
    assert error.value.feature == Feature.IF_ID.value
    assert additions(sas).needs == [(), (), (), (Feature.IF_ID,), (Feature.IF_ID,)]


def test_messages_are_wiped_when_nothing_refers_to_them() -> None:
    (part,) = additions(many(2)).parts
    data = part.data.obj
    assert OUTBOUND.encryption is not None
    assert OUTBOUND.encryption.key.reveal() in data
    del part
    gc.collect()
    assert not any(data)


@pytest.mark.parametrize("wrong", [replace(OUTBOUND, reqid=-1), replace(OUTBOUND, reqid=-1, if_id=1)])
def test_no_key_is_in_the_traceback_of_what_is_wrong_among_many(wrong: SA) -> None:
    with pytest.raises(InvalidRequestError) as error:
        XfrmDialect().add_sas((OUTBOUND, replace(OUTBOUND, if_id=9), *many(9), wrong))
    assert_hidden("".join(traceback.TracebackException.from_exception(error.value, capture_locals=True).format()))


def test_no_key_is_in_the_traceback_of_a_refusal_among_many() -> None:
    kernel = ScriptedKernel([("add SA", None), ("add SA", Refusal(17)), ("delete SA", None)])
    with pytest.raises(KernelError) as error:
        Engine(XfrmDialect(), kernel).add_sas(many(2))
    assert_hidden("".join(traceback.TracebackException.from_exception(error.value, capture_locals=True).format()))
    assert_hidden(repr(additions(many(2))))
