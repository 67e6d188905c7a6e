"""The PF_KEY request socket against scripted answers: what belongs to which request, and what is passed over."""

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pfkeyx.algorithms import AES_CBC
from pfkeyx.errors import (
    AlreadyExistsError,
    ClosedError,
    KernelError,
    MalformedReplyError,
    NotFoundError,
    UnsupportedError,
)
from pfkeyx.features import Feature
from pfkeyx.model import SA, Encryption, Key, SAId
from pfkeyx.native import ffi, lib
from pfkeyx.operation import Batch, Exchange, Request, ask, run
from pfkeyx.pfkey import PfkeyDialect, PfkeyTransport, codec, messages
from pfkeyx.pfkey.messages import Message

PFKEY = PfkeyDialect()
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
        return messages.read(self._socket.recv(1 << 16))

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
        self.send(replace(request, errno=code, seq=seq, satype=3), codec.sa_extensions(sa))

    def send(self, header: Message, extensions: dict[int, Any] | None = None) -> None:
        outgoing = messages.build(header.type, header.satype, extensions)
        outgoing.stamp(header.seq, header.pid)
        data = bytearray(ffi.buffer(outgoing.data, outgoing.size))
        data[2] = header.errno
        self._socket.send(data)

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
    begin(transport, PFKEY.flush_sas(), PFKEY.flush_policies())
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
    peer.answer(request, errno.EEXIST, type=lib.SADB_DELETE)
    next(exchange)
    peer.answer(request)
    assert finish(exchange) == [None]


def test_a_broadcast_of_others_need_not_make_sense(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.get_sa(SA_.id))
    request = peer.receive()
    stranger = messages.build(lib.SADB_ADD)
    peer.send_bytes(bytes(ffi.buffer(stranger.data, stranger.size)) + bytes(8))
    peer.entry(request, request.seq, SA_)
    (sa,) = finish(exchange)
    assert sa.as_written() == SA_


def test_the_second_answer_to_a_flush_does_not_answer_the_next_request(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.flush_sas())
    first = peer.receive()
    peer.answer(first)
    assert finish(exchange) == [None]
    exchange = begin(transport, PFKEY.flush_sas())
    second = peer.receive()
    peer.answer(first)
    next(exchange)
    peer.answer(second, errno.EPERM)
    (refusal,) = finish(exchange)
    assert refusal.errno == errno.EPERM


def test_the_rest_of_an_abandoned_dump_is_not_taken_for_the_next(ends: Ends) -> None:
    transport, peer = ends
    begin(transport, PFKEY.dump_sas()).close()
    abandoned = peer.receive()
    peer.entry(abandoned, 1, SA_)
    peer.entry(abandoned, 0, SA_)
    exchange = begin(transport, PFKEY.dump_sas())
    peer.answer(peer.receive(), errno.ENOENT)
    assert finish(exchange) == [[]]


def test_a_refusal_names_operation_and_object(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.add_sa(SA_))
    peer.answer(peer.receive(), errno.EEXIST)
    (refusal,) = finish(exchange)
    assert isinstance(refusal, AlreadyExistsError)
    assert str(refusal) == f"add SA {SA_}: File exists"


def test_a_lack_of_rights_says_what_it_takes(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.flush_sas())
    peer.answer(peer.receive(), errno.EPERM)
    assert "CAP_NET_ADMIN" in str(finish(exchange)[0])


def test_a_dump_ends_with_the_entry_that_is_numbered_0(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.dump_sas())
    request = peer.receive()
    for seq in (1, 2):
        peer.entry(request, seq, SA_)
    next(exchange)
    peer.entry(request, 0, SA_)
    (sas,) = finish(exchange)
    assert [sa.as_written() for sa in sas] == [SA_] * 3


def test_a_dump_of_nothing_is_an_empty_list(ends: Ends) -> None:
    transport, peer = ends
    for request in (PFKEY.dump_sas(), PFKEY.dump_policies()):
        exchange = begin(transport, request)
        peer.answer(peer.receive(), errno.ENOENT)
        assert finish(exchange) == [[]]


def test_a_dump_while_another_runs_is_refused(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.dump_sas())
    peer.answer(peer.receive(), errno.EBUSY)
    (refusal,) = finish(exchange)
    assert refusal.errno == errno.EBUSY


def test_a_dump_that_broke_off_is_an_error(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.dump_sas())
    request = peer.receive()
    peer.entry(request, 1, SA_)
    peer.entry(request, 0, SA_, code=256 - errno.EINVAL)
    (refusal,) = finish(exchange)
    assert isinstance(refusal, KernelError)
    assert refusal.errno == errno.EINVAL


def test_a_dump_with_a_gap_is_an_error(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.dump_sas())
    request = peer.receive()
    peer.entry(request, 1, SA_)
    peer.entry(request, 3, SA_)
    (refusal,) = finish(exchange)
    assert refusal.errno == errno.ENOBUFS


def test_a_dump_travels_alone(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.flush_sas(), PFKEY.dump_sas(), PFKEY.flush_sas())
    (flush,) = peer.receive_all()
    peer.answer(flush)
    next(exchange)
    (dump,) = peer.receive_all()
    assert dump.type == lib.SADB_DUMP
    peer.answer(dump, errno.ENOENT)
    next(exchange)
    (flush,) = peer.receive_all()
    peer.answer(flush)
    assert finish(exchange) == [None, [], None]


def test_one_dump_is_over_before_the_next_begins(ends: Ends) -> None:
    transport, peer = ends
    begin(transport, PFKEY.dump_sas(), PFKEY.dump_policies())
    assert [request.type for request in peer.receive_all()] == [lib.SADB_DUMP]


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
    big = PFKEY.flush_sas()
    object.__setattr__(big, "wire", replace(big.wire, message=messages.build(lib.SADB_ADD, 3, _long_key())))
    exchange = begin(transport, big, PFKEY.flush_sas())
    peer.answer(peer.receive())
    refusal, flushed = finish(exchange)
    assert (refusal.errno, flushed) == (errno.EMSGSIZE, None)


def test_a_socket_that_broke_refuses_what_was_asked(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.flush_sas())
    peer.close()
    assert isinstance(finish(exchange)[0], KernelError)


def test_a_truncated_reply_is_malformed(ends: Ends) -> None:
    transport, peer = ends
    exchange = begin(transport, PFKEY.get_sa(SA_.id))
    peer.receive()
    peer.send_bytes(bytes(9))
    with pytest.raises(MalformedReplyError):
        next(exchange)


def test_one_datagram_for_several_messages_is_refused(ends: Ends) -> None:
    transport, peer = ends
    with pytest.raises(UnsupportedError, match="one_datagram"):
        next(transport.exchange(Batch((PFKEY.flush_sas(),), one_datagram=True)))
    assert peer.receive_all() == []


def test_a_closed_transport_says_so(ends: Ends) -> None:
    transport, _ = ends
    transport.close()
    transport.close()
    assert transport.fileno() == -1
    with pytest.raises(ClosedError):
        run(ask(PFKEY.flush_sas()), transport)


def test_a_namespace_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFoundError, match="in namespace no-such-one"):
        PfkeyTransport("no-such-one")


@pytest.mark.parametrize(
    ("code", "available"), [(errno.EINVAL, True), (errno.ENOPROTOOPT, False), (errno.ENOMEM, None)]
)
def test_the_migrate_probe_reads_the_refusal(ends: Ends, code: int, available: bool | None) -> None:
    transport, peer = ends
    probe = PFKEY.supports(Feature.MIGRATE)
    exchange = transport.exchange(next(probe))
    next(exchange)
    request = peer.receive()
    assert (request.type, request.extensions) == (lib.SADB_X_MIGRATE, {})
    peer.answer(request, code)
    with pytest.raises(StopIteration) as stop:
        probe.throw(finish(exchange)[0])
    assert stop.value.value.available is available


@pytest.mark.parametrize("feature", set(Feature) - {Feature.MIGRATE})
def test_other_features_are_known_without_a_probe(feature: Feature) -> None:
    with pytest.raises(StopIteration) as stop:
        next(PFKEY.supports(feature))
    assert stop.value.value.available is (feature is Feature.PFKEY)


def _long_key() -> dict[int, Any]:
    return {lib.SADB_EXT_KEY_AUTH: Key(bytes([7]) * 8000)}
