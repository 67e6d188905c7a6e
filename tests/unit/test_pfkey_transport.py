"""The PF_KEY request socket against scripted answers: what belongs to which request, and what is passed over."""

import errno
import gc
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pfkeyx.algorithms import AES_CBC
from pfkeyx.errors import (
    AlreadyExistsError,
    AnswerLostError,
    ClosedError,
    InvalidRequestError,
    KernelError,
    MalformedReplyError,
    NotFoundError,
    UnsupportedError,
)
from pfkeyx.events import Acquire
from pfkeyx.features import Feature
from pfkeyx.model import EVERY_SA, SA, AddressPair, Direction, Encryption, Key, PolicyType, Protocol, SAId, SPIRequest
from pfkeyx.native import ffi, lib
from pfkeyx.operation import Batch, Exchange, Operation, Request, ask, keep, run
from pfkeyx.pfkey import PfkeyDialect, PfkeyTransport, codec
from pfkeyx.pfkey.extensions import KeyExtension, Unknown
from pfkeyx.pfkey.message import Message, MessageType, SAType, build, read
from pfkeyx.pfkey.sockets import PfkeySocket
from tests.unit.samples import LOCAL, NEW_LOCAL, REMOTE, TUNNEL

PFKEY = PfkeyDialect()
POLICY = TUNNEL.policies()[0]
MOVES = [(POLICY.templates[0], replace(POLICY.templates[0], source=NEW_LOCAL))]
KM = AddressPair(LOCAL, REMOTE)
SA_ = SA(
    SAId(ip_address("192.0.2.2"), 0x1000),
    ip_address("192.0.2.1"),
    encryption=Encryption(AES_CBC, Key(bytes([7]) * 16)),
)


class Peer:
    """The kernel's end of a socket pair: reads requests, writes whatever a test wants."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def receive(self) -> Message:
        return read(self._socket.recv(1 << 16))

    def receive_all(self) -> list[Message]:
        received = []
        while True:
            try:
                received.append(self.receive())
            except BlockingIOError:
                return received

    def answer(self, request: Message, code: int = 0, **changed: Any) -> None:
        """Answer with a base header alone, which repeats the request's."""
        self.send(replace(request, errno=code, **changed))

    def entry(self, request: Message, seq: int, sa: SA, code: int = 0) -> None:
        """Answer with an SA."""
        self.send(replace(request, errno=code, seq=seq, satype=SAType.ESP), codec.sa_extensions(sa))

    def send(self, header: Message, extensions: dict[int, Any] | None = None) -> None:
        outgoing = build(replace(header, extensions=extensions or {}))
        self._socket.send(ffi.buffer(outgoing.data, outgoing.size))

    def send_bytes(self, data: bytes) -> None:
        self._socket.send(data)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ends() -> Iterator[tuple[PfkeyTransport, Peer]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    transport = PfkeyTransport.over(ours)
    with theirs:
        yield transport, Peer(theirs)
    transport.close()


def begin(transport: PfkeyTransport, *requests: Request[Any]) -> Exchange:
    """Send, up to where the answer is waited for."""
    exchange = transport.exchange(Batch(requests))
    next(exchange)
    return exchange


def finish(exchange: Exchange) -> list[Any]:
    with pytest.raises(StopIteration) as stop:
        next(exchange)
    replies: list[Any] = stop.value.value
    return replies


Ends = tuple[PfkeyTransport, Peer]


def test_requests_are_numbered_privately(ends: Ends) -> None:
    transport, peer = ends
    begin(transport, PFKEY.flush_sas(None), PFKEY.flush_policies(PolicyType.MAIN))
    first, second = peer.receive_all()
    assert second.seq == first.seq + 1
    # The kernel numbers acquires and the entries of dumps from 1.
    assert first.seq >= 1 << 31
    assert first.pid == os.getpid()


def test_an_answer_completes_its_request(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.add_sa(SA_))
    peer.answer(peer.receive())
    assert finish(exchange) == [None]


def test_answers_go_to_their_requests_whatever_their_order(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.delete_sa(SA_.id), PFKEY.get_sa(SA_.id))
    delete, get = peer.receive_all()
    peer.entry(get, get.seq, SA_)
    peer.answer(delete, errno.ESRCH)
    gone, sa = finish(exchange)
    assert isinstance(gone, NotFoundError)
    assert sa.as_written() == SA_


def test_what_others_caused_is_passed_over(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.add_sa(SA_))
    request = peer.receive()
    peer.answer(request, errno.EEXIST, pid=request.pid + 1)
    peer.answer(request, errno.EEXIST, seq=request.seq + 1)
    peer.answer(request, errno.EEXIST, type=MessageType.DELETE)
    next(exchange)
    peer.answer(request)
    assert finish(exchange) == [None]


def test_a_broadcast_of_others_need_not_make_sense(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.get_sa(SA_.id))
    request = peer.receive()
    stranger = build(Message(MessageType.ADD))
    peer.send_bytes(bytes(ffi.buffer(stranger.data, stranger.size)) + bytes(8))
    peer.entry(request, request.seq, SA_)
    (sa,) = finish(exchange)
    assert sa.as_written() == SA_


def test_the_second_answer_to_a_flush_does_not_answer_the_next_request(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.flush_sas(None))
    first = peer.receive()
    peer.answer(first)
    assert finish(exchange) == [None]
    exchange = begin(transport, PFKEY.flush_sas(None))
    second = peer.receive()
    peer.answer(first)
    next(exchange)
    peer.answer(second, errno.EPERM)
    (refusal,) = finish(exchange)
    assert refusal.errno == errno.EPERM


def test_the_rest_of_an_abandoned_dump_is_not_taken_for_the_next(ends: Ends) -> None:
    transport, peer = ends
    begin(transport, PFKEY.dump_sas(EVERY_SA)).close()
    abandoned = peer.receive()
    peer.entry(abandoned, 1, SA_)
    peer.entry(abandoned, 0, SA_)
    exchange = begin(transport, PFKEY.dump_sas(EVERY_SA))
    peer.answer(peer.receive(), errno.ENOENT)
    assert finish(exchange) == [[]]


def test_among_acknowledgements_others_messages_are_passed_over(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, *(PFKEY.delete_sa(SA_.id),) * 3)
    first, second, third = peer.receive_all()
    peer.answer(replace(first, pid=first.pid + 1))
    peer.answer(first, errno.ESRCH)
    peer.answer(replace(second, type=MessageType.ADD))
    peer.answer(replace(second, seq=7))
    next(exchange)
    peer.answer(second)
    peer.answer(third)
    refusal, *done = finish(exchange)
    assert (refusal.errno, done) == (errno.ESRCH, [None, None])


def test_a_refusal_names_operation_and_object(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.add_sa(SA_))
    peer.answer(peer.receive(), errno.EEXIST)
    (refusal,) = finish(exchange)
    assert isinstance(refusal, AlreadyExistsError)
    hint = "an SPI that was reserved is completed by an update"
    assert str(refusal) == f"add SA {SA_}: File exists ({hint})"


def test_a_lack_of_rights_says_what_it_takes(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.flush_sas(None))
    peer.answer(peer.receive(), errno.EPERM)
    assert "CAP_NET_ADMIN" in str(finish(exchange)[0])


def test_a_dump_ends_with_the_entry_that_is_numbered_0(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.dump_sas(EVERY_SA))
    request = peer.receive()
    for seq in (1, 2):
        peer.entry(request, seq, SA_)
    next(exchange)
    peer.entry(request, 0, SA_)
    (sas,) = finish(exchange)
    assert [sa.as_written() for sa in sas] == [SA_] * 3


def test_entries_of_a_dump_are_decoded_as_they_come_and_what_is_not_kept_is_let_go_of(ends: Ends) -> None:
    transport, peer = ends
    seen: list[SA] = []
    wanted = replace(SA_, id=replace(SA_.id, spi=0x2000))

    def is_wanted(sa: SA) -> bool:
        seen.append(sa)
        return sa.id == wanted.id

    exchange = begin(transport, keep(PFKEY.dump_sas(EVERY_SA), is_wanted))
    request = peer.receive()
    peer.entry(request, 1, SA_)
    peer.entry(request, 2, wanted)
    next(exchange)
    assert [sa.as_written() for sa in seen] == [SA_, wanted]
    gc.collect()
    assert not [it for it in gc.get_objects() if isinstance(it, Message) and (it.pid, it.seq) == (request.pid, 2)]
    peer.entry(request, 0, SA_)
    assert finish(exchange) == [[seen[1]]]


def test_others_have_turns_while_a_long_dump_is_read(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfkeyx.pfkey.transport._TOGETHER", 64 * _entry_size())
    transport, peer = ends
    seen: list[SA] = []

    def is_unwanted(sa: SA) -> bool:
        seen.append(sa)
        return False

    exchange = begin(transport, keep(PFKEY.dump_sas(EVERY_SA), is_unwanted))
    request = peer.receive()
    for seq in (*range(1, 150), 0):
        peer.entry(request, seq, SA_)
    assert [len(seen) for _ in exchange] == [64, 128]
    assert len(seen) == 150


def _entry_size() -> int:
    return build(Message(MessageType.DUMP, extensions=codec.sa_extensions(SA_))).size


def test_a_dump_of_nothing_is_an_empty_list(ends: Ends) -> None:
    transport, peer = ends
    for request in (PFKEY.dump_sas(EVERY_SA), PFKEY.dump_policies()):
        exchange = begin(transport, request)
        peer.answer(peer.receive(), errno.ENOENT)
        assert finish(exchange) == [[]]


def test_a_dump_while_another_runs_is_refused(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.dump_sas(EVERY_SA))
    peer.answer(peer.receive(), errno.EBUSY)
    (refusal,) = finish(exchange)
    assert refusal.errno == errno.EBUSY


def test_a_dump_that_broke_off_is_an_error(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.dump_sas(EVERY_SA))
    request = peer.receive()
    peer.entry(request, 1, SA_)
    peer.entry(request, 0, SA_, code=256 - errno.EINVAL)
    (refusal,) = finish(exchange)
    assert isinstance(refusal, KernelError)
    assert refusal.errno == errno.EINVAL


def test_a_dump_with_a_gap_is_asked_for_again(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.dump_sas(EVERY_SA))
    request = peer.receive()
    peer.entry(request, 1, SA_)
    peer.entry(request, 3, SA_)
    peer.entry(request, 0, SA_)
    next(exchange)
    again = peer.receive()
    assert again.seq != request.seq
    peer.entry(again, 1, SA_)
    peer.entry(again, 0, SA_)
    (sas,) = finish(exchange)
    assert [sa.as_written() for sa in sas] == [SA_] * 2


def test_a_dump_that_has_gaps_each_time_is_an_error(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.dump_sas(EVERY_SA))
    for _ in range(2):
        peer.entry(peer.receive(), 2, SA_)
        next(exchange)
    peer.entry(peer.receive(), 2, SA_)
    (refusal,) = finish(exchange)
    assert refusal.errno == errno.ENOBUFS
    assert peer.receive_all() == []


@pytest.mark.parametrize("request_", [PFKEY.get_sa(SA_.id), PFKEY.get_policy(9)], ids=["SA", "policy"])
def test_what_only_reads_is_asked_for_again_when_no_answer_came(ends: Ends, request_: Request[Any]) -> None:
    transport, peer = ends
    exchange = begin(transport, request_)
    lost = peer.receive()
    before = exchange.throw(TimeoutError())
    again = peer.receive()
    assert again.seq != lost.seq
    # Whoever drives the exchange sees that it has come further, and waits anew.
    assert exchange.throw(TimeoutError()) != before
    peer.answer(peer.receive(), errno.ESRCH)
    assert isinstance(finish(exchange)[0], KernelError)


def test_what_changes_something_is_never_asked_for_twice(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.get_sa(SA_.id), PFKEY.delete_sa(SA_.id))
    get, _ = peer.receive_all()
    exchange.throw(TimeoutError())
    (again,) = peer.receive_all()
    assert again.type == get.type
    peer.entry(again, again.seq, SA_)
    sa, deleted = finish(exchange)
    assert sa.as_written() == SA_
    assert deleted.errno == errno.ETIMEDOUT


def test_a_move_is_answered_by_a_broadcast_without_numbers(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.migrate_policy(POLICY.id, MOVES, kmaddress=KM))
    request = peer.receive()
    other = PFKEY.migrate_policy(replace(POLICY.id, direction=Direction.IN), MOVES)
    peer.send_bytes(bytes(ffi.buffer(other.wire.message.data, other.wire.message.size)))
    peer.send(Message(MessageType.X_MIGRATE))
    next(exchange)
    peer.send(replace(request, seq=0, pid=0), dict(request.extensions))
    assert finish(exchange) == [None]


def test_a_move_of_what_has_no_meaning_here_can_be_asked_for(ends: Ends) -> None:
    transport, peer = ends
    nonsense = Message(MessageType.X_MIGRATE, extensions={18: Unknown(18, bytes(12))})
    exchange = begin(transport, PFKEY.message(nonsense))
    request = peer.receive()
    peer.send(Message(MessageType.X_MIGRATE))
    next(exchange)
    peer.answer(request, errno.EINVAL)
    (refusal,) = finish(exchange)
    assert refusal.errno == errno.EINVAL


def test_a_move_that_is_refused_is_answered_by_its_numbers(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.migrate_policy(POLICY.id, MOVES))
    peer.answer(peer.receive(), errno.ENOENT)
    (refusal,) = finish(exchange)
    assert isinstance(refusal, NotFoundError)


def test_an_acquire_is_answered_under_its_own_number_and_nothing_is_waited_for(ends: Ends) -> None:
    transport, peer = ends
    acquire = Acquire(SA_.source, SA_.destination, SA_.id.protocol, policy_id=9, sequence=77)
    exchange = transport.exchange(Batch((PFKEY.answer_acquire(acquire, errno.ETIMEDOUT),)))
    assert finish(exchange) == [None]
    answer = peer.receive()
    assert (answer.type, answer.seq, answer.errno) == (lib.SADB_ACQUIRE, 77, errno.ETIMEDOUT)
    assert answer.extensions == {}


def test_an_spi_is_asked_for_under_the_number_of_its_acquire(ends: Ends) -> None:
    transport, peer = ends
    request = PFKEY.get_spi(SPIRequest(SA_.source, SA_.destination, reqid=7, sequence=77))
    exchange = begin(transport, request)
    asked = peer.receive()
    assert asked.seq == 77
    peer.entry(asked, 77, SA_)
    assert finish(exchange) == [SA_.id.spi]


def test_no_free_spi_is_told_as_such(ends: Ends) -> None:
    transport, peer = ends
    request = PFKEY.get_spi(SPIRequest(SA_.source, SA_.destination, Protocol.IPCOMP, reqid=7))
    exchange = begin(transport, request)
    peer.answer(peer.receive(), errno.ENOENT)
    (refusal,) = finish(exchange)
    assert "no SPI from 0x100 to 0xffff is free" in str(refusal)


def test_only_what_was_asked_for_here_is_known_as_own(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.flush_sas(None), PFKEY.flush_policies(PolicyType.MAIN))
    first, second = peer.receive_all()
    for request in (first, second):
        peer.answer(request)
        assert transport.has_sent(request.pid, request.seq)
    finish(exchange)
    assert not transport.has_sent(first.pid, second.seq + 1)
    assert not transport.has_sent(first.pid, first.seq - 1)
    assert not transport.has_sent(first.pid + 1, first.seq)
    assert not transport.has_sent(first.pid, first.seq & 0x7FFFFFFF)


def test_a_stream_of_nothing_ends_without_waiting(ends: Ends) -> None:
    transport, peer = ends
    stream = transport.stream(PFKEY.dump_sas(EVERY_SA))
    next(stream)
    peer.answer(peer.receive(), errno.ENOENT)
    assert list(stream) == []


def test_entries_of_a_stream_are_handed_out_as_they_come(ends: Ends) -> None:
    transport, peer = ends
    stream = transport.stream(PFKEY.dump_sas(EVERY_SA))
    assert next(stream) == []
    request = peer.receive()
    peer.entry(request, 1, SA_)
    assert [sa.as_written() for sa in next(stream)] == [SA_]
    assert next(stream) == []
    peer.entry(request, 0, SA_)
    assert [sa.as_written() for sa in next(stream)] == [SA_]
    assert list(stream) == []


def test_a_stream_hands_its_entries_out_in_chunks(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfkeyx.pfkey.transport._TOGETHER", 64 * _entry_size())
    transport, peer = ends
    stream = transport.stream(PFKEY.dump_sas(EVERY_SA))
    next(stream)
    request = peer.receive()
    for seq in (*range(1, 100), 0):
        peer.entry(request, seq, SA_)
    assert [len(chunk) for chunk in stream] == [64, 36]


def test_what_came_before_a_gap_is_handed_out_before_the_error(ends: Ends) -> None:
    transport, peer = ends
    stream = transport.stream(PFKEY.dump_sas(EVERY_SA))
    next(stream)
    request = peer.receive()
    for seq in (1, 2, 4):
        peer.entry(request, seq, SA_)
    assert len(next(stream)) == 2
    with pytest.raises(AnswerLostError):
        next(stream)


def test_whoever_waits_has_a_turn_however_much_others_say(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.delete_sa(SA_.id))
    request = peer.receive()
    strangers = replace(request, pid=request.pid + 1)
    before = next(exchange)
    _babble(peer, strangers)
    # The queue is not empty, and still the driver can see that time has passed.
    assert next(exchange) == before
    with pytest.raises(StopIteration) as stop:
        exchange.throw(TimeoutError())
    assert isinstance(stop.value.value[0], AnswerLostError)
    _babble(peer, strangers)
    exchange = transport.exchange(Batch((PFKEY.delete_sa(SA_.id),)))
    before = next(exchange)
    assert peer.receive_all() == []
    # What was spent on others is not taken from the time that the answer has.
    assert exchange.throw(TimeoutError()) != before
    assert len(peer.receive_all()) == 1


def test_a_stream_has_turns_however_much_others_say(ends: Ends) -> None:
    transport, peer = ends
    stream = transport.stream(PFKEY.dump_sas(EVERY_SA))
    next(stream)
    _babble(peer, replace(peer.receive(), pid=1))
    assert next(stream) == []
    with pytest.raises(AnswerLostError):
        stream.throw(TimeoutError())


def _babble(peer: Peer, message: Message) -> None:
    with suppress(BlockingIOError):
        for _ in range(256 + 20):
            peer.answer(message)


def test_a_stream_that_lost_an_entry_says_so_after_those_that_came(ends: Ends) -> None:
    transport, peer = ends
    stream = transport.stream(PFKEY.dump_sas(EVERY_SA))
    next(stream)
    request = peer.receive()
    peer.entry(request, 1, SA_)
    assert len(next(stream)) == 1
    peer.entry(request, 3, SA_)
    with pytest.raises(KernelError, match="lost") as caught:
        next(stream)
    assert caught.value.errno == errno.ENOBUFS


def test_a_stream_that_stops_is_a_timeout(ends: Ends) -> None:
    transport, _ = ends
    stream = transport.stream(PFKEY.dump_sas(EVERY_SA))
    next(stream)
    with pytest.raises(KernelError) as caught:
        stream.throw(TimeoutError())
    assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.parametrize("message_type", list(MessageType))
def test_any_message_can_be_sent_as_it_is(ends: Ends, message_type: MessageType) -> None:
    transport, peer = ends
    exchange = transport.exchange(Batch((PFKEY.message(Message(message_type, SAType.UNSPEC)),)))
    with suppress(StopIteration):
        next(exchange)
    (sent,) = peer.receive_all()
    assert sent.type == message_type


def test_a_socket_that_answers_are_read_from_cannot_be_promiscuous() -> None:
    with pytest.raises(InvalidRequestError, match="PfkeySocket"):
        PFKEY.message(Message(MessageType.X_PROMISC, SAType(1)))
    assert PFKEY.message(Message(MessageType.X_PROMISC))


def test_a_dump_travels_alone(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.flush_sas(None), PFKEY.dump_sas(EVERY_SA), PFKEY.flush_sas(None))
    (flush,) = peer.receive_all()
    peer.answer(flush)
    next(exchange)
    (dump,) = peer.receive_all()
    assert dump.type == MessageType.DUMP
    peer.answer(dump, errno.ENOENT)
    next(exchange)
    (flush,) = peer.receive_all()
    peer.answer(flush)
    assert finish(exchange) == [None, [], None]


def test_one_dump_is_over_before_the_next_begins(ends: Ends) -> None:
    transport, peer = ends
    begin(transport, PFKEY.dump_sas(EVERY_SA), PFKEY.dump_policies())
    assert [request.type for request in peer.receive_all()] == [MessageType.DUMP]


def test_requests_are_pipelined_but_not_without_bounds(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, *[PFKEY.delete_sa(SA_.id)] * 40)
    first = peer.receive_all()
    for request in first:
        peer.answer(request)
    next(exchange)
    second = peer.receive_all()
    for request in second:
        peer.answer(request)
    assert (len(first), len(second)) == (32, 8)
    assert finish(exchange) == [None] * 40


def test_an_answer_that_never_comes_is_a_timeout_and_the_next_request_is_not_confused(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.add_sa(SA_))
    late = peer.receive()
    with pytest.raises(StopIteration) as stop:
        exchange.throw(TimeoutError())
    (refusal,) = stop.value.value
    assert refusal.errno == errno.ETIMEDOUT
    assert "the kernel may have done it" in str(refusal)
    exchange = begin(transport, PFKEY.add_sa(SA_))
    peer.answer(late, errno.EEXIST)
    peer.answer(peer.receive())
    assert finish(exchange) == [None]


def test_a_request_that_cannot_be_sent_is_refused_and_the_others_are_not(ends: Ends) -> None:
    transport, peer = ends
    ours = socket.socket(fileno=os.dup(transport.fileno()))
    with ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    big = PFKEY.flush_sas(None)
    object.__setattr__(big, "wire", big.wire._replace(message=build(_long_message())))
    exchange = begin(transport, big, PFKEY.flush_sas(None))
    peer.answer(peer.receive())
    refusal, flushed = finish(exchange)
    assert (refusal.errno, flushed) == (errno.EMSGSIZE, None)


def test_a_socket_that_broke_refuses_what_was_asked(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.flush_sas(None))
    peer.close()
    assert isinstance(finish(exchange)[0], KernelError)


@pytest.mark.parametrize("request_", [PFKEY.get_sa(SA_.id), PFKEY.delete_sa(SA_.id), PFKEY.dump_sas(EVERY_SA)])
def test_a_truncated_reply_is_malformed(ends: Ends, request_: Request[Any]) -> None:
    transport, peer = ends
    exchange = begin(transport, request_)
    peer.receive()
    peer.send_bytes(bytes(9))
    with pytest.raises(MalformedReplyError):
        next(exchange)


def test_one_datagram_for_several_messages_is_refused(ends: Ends) -> None:
    transport, peer = ends
    with pytest.raises(UnsupportedError, match="one_datagram"):
        next(transport.exchange(Batch((PFKEY.flush_sas(None),) * 2, one_datagram=True)))
    assert peer.receive_all() == []


def test_one_message_is_one_datagram(ends: Ends) -> None:
    transport, peer = ends
    exchange = transport.exchange(Batch((PFKEY.flush_sas(None),), one_datagram=True))
    next(exchange)
    peer.answer(peer.receive())
    assert finish(exchange) == [None]


def test_a_closed_transport_says_so(ends: Ends) -> None:
    transport, _ = ends
    transport.close()
    transport.close()
    assert transport.fileno() == -1
    with pytest.raises(ClosedError):
        run(ask(PFKEY.flush_sas(None)), transport)


def test_a_namespace_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFoundError, match="in namespace no-such-one"):
        PfkeyTransport("no-such-one")


def batch_of(operation: Operation[object]) -> Batch:
    """Return what an operation asks first."""
    batch = next(operation)
    assert isinstance(batch, Batch)
    return batch


@pytest.mark.parametrize(
    ("code", "available"), [(errno.EINVAL, True), (errno.ENOPROTOOPT, False), (errno.ENOMEM, None)]
)
def test_the_migrate_probe_reads_the_refusal(ends: Ends, code: int, available: bool | None) -> None:
    transport, peer = ends
    probe = PFKEY.supports(Feature.MIGRATE)
    exchange = transport.exchange(batch_of(probe))
    next(exchange)
    request = peer.receive()
    assert (request.type, request.extensions) == (MessageType.X_MIGRATE, {})
    peer.answer(request, code)
    with pytest.raises(StopIteration) as stop:
        probe.throw(finish(exchange)[0])
    assert stop.value.value.available is available


@pytest.mark.parametrize(("code", "available"), [(errno.EINVAL, True), (errno.EOPNOTSUPP, False), (errno.ENOMEM, None)])
def test_the_addrupdate_probe_reads_the_answer(ends: Ends, code: int, available: bool | None) -> None:
    transport, peer = ends
    probe = PFKEY.supports(Feature.ADDRUPDATE)
    exchange = transport.exchange(batch_of(probe))
    next(exchange)
    request = peer.receive()
    assert (request.type, request.extensions) == (25, {})
    peer.answer(request, code)
    with pytest.raises(StopIteration) as stop:
        probe.throw(finish(exchange)[0])
    assert stop.value.value.available is available
    assert "SADB_X_ADDRUPDATE" in stop.value.value.reason


def test_a_kernel_that_does_not_even_take_the_probe_in_has_no_addrupdate(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, _ = ends
    monkeypatch.setattr(PfkeySocket, "send_bytes", lambda *_: errno.EINVAL)
    support = run(PFKEY.supports(Feature.ADDRUPDATE), transport)
    assert str(support) == "no: SADB_X_ADDRUPDATE: the kernel has no such message"


SPOKEN = {Feature.PFKEY, Feature.REGISTER, Feature.ACQUIRE_ANSWER}
REFUSED = {feature for feature in Feature if feature.value.startswith("sadb_")}


@pytest.mark.parametrize("feature", sorted(set(Feature) - REFUSED - {Feature.MIGRATE, Feature.ADDRUPDATE}, key=str))
def test_other_features_are_known_without_a_probe(feature: Feature) -> None:
    with pytest.raises(StopIteration) as stop:
        next(PFKEY.supports(feature))
    assert stop.value.value.available is (feature in SPOKEN)


@pytest.mark.parametrize("feature", sorted(REFUSED, key=str))
@pytest.mark.parametrize(("code", "available"), [(errno.EOPNOTSUPP, False), (errno.EINVAL, True), (errno.ENOMEM, None)])
def test_a_message_that_linux_refuses_is_probed_by_its_name(
    ends: Ends, feature: Feature, code: int, available: bool | None
) -> None:
    transport, peer = ends
    probe = PFKEY.supports(feature)
    exchange = transport.exchange(batch_of(probe))
    next(exchange)
    request = peer.receive()
    assert (str(request.type), request.extensions) == (feature.name, {})
    peer.answer(request, code)
    with pytest.raises(StopIteration) as stop:
        probe.throw(finish(exchange)[0])
    assert stop.value.value.available is available
    assert feature.name in stop.value.value.reason


def _long_message() -> Message:
    return Message(MessageType.ADD, SAType.ESP, extensions={lib.SADB_EXT_KEY_AUTH: KeyExtension.of(Key(bytes(8000)))})
