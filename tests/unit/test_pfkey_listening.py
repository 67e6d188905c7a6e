"""The listening socket of PF_KEY against scripted broadcasts: which become events, and when some may have been lost."""

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Self, get_args

import pytest

from pfkeyx.algorithms import AES_CBC, HMAC_SHA1
from pfkeyx.errors import EventsLostError, KernelError, MalformedReplyError, PfkeyxError
from pfkeyx.events import (
    Acquire,
    Change,
    Event,
    Expire,
    Migrated,
    NatMapping,
    PolicyChange,
    PolicyFlush,
    Proposal,
    SAChange,
    SAFlush,
)
from pfkeyx.model import AddressPair, Lifetime, Limit, Protocol, SecurityContext
from pfkeyx.native import ffi, lib
from pfkeyx.pfkey import PfkeyEvents, PfkeySocket, codec, parts
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    Combination,
    LifetimeExtension,
    NatTPortExtension,
    PolicyExtension,
    ProposalExtension,
    SA2Extension,
    SAExtension,
    SecurityContextExtension,
)
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, SAType, build, read
from tests.unit.samples import CBC, INBOUND, LOCAL, NEW_LOCAL, REMOTE, SHA256_96, TUNNEL

SA_ = replace(TUNNEL.outbound(0xC0FFEE01, CBC, SHA256_96), replay_window=32)
POLICY = TUNNEL.policies()[0]
OWN = 4711
EVERYTHING: Sequence[type[Event]] = get_args(Event)


class Kernel:
    """The kernel's end of a socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def receive(self) -> Message:
        return read(self._socket.recv(1 << 16))

    def close(self) -> None:
        self._socket.close()

    def tell(self, message_type: MessageType, satype: SAType, extensions: Any = None, **header: int) -> None:
        outgoing = build(Message(message_type, satype, extensions=extensions or {}, **header))
        self._socket.send(ffi.buffer(outgoing.data, outgoing.size))

    def tell_sa(self, message_type: MessageType, **header: int) -> None:
        self.tell(message_type, SAType.ESP, codec.sa_extensions(SA_), **header)

    def tell_policy(self, message_type: MessageType, **header: int) -> None:
        self.tell(message_type, SAType.UNSPEC, codec.policy_extensions(POLICY), **header)


class Ears:
    """A listening socket of these kinds, and the kernel that it listens to."""

    def __init__(self, kinds: Sequence[type[Event]]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self.socket = Room.over(ours)
        self.events = PfkeyEvents.over(self.socket, kinds, lambda pid, _: pid == OWN)
        self.kernel = Kernel(theirs)
        self.events.start()

    def hear(self) -> list[Event | PfkeyxError]:
        return self.events.receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.events.close()
        self.kernel.close()


class Room(PfkeySocket):
    """A socket of which a test says when it has had too little room."""

    losses: Iterator[bool] = iter(())

    def may_have_lost(self) -> bool:
        return next(self.losses, False)


@pytest.fixture
def ears() -> Iterator[Ears]:
    with Ears(EVERYTHING) as ears:
        assert ears.kernel.receive().type is MessageType.REGISTER
        yield ears


@pytest.mark.parametrize("kind", EVERYTHING)
def test_it_registers_for_what_only_the_registered_are_told(kind: type[Event]) -> None:
    with Ears([kind]) as ears:
        if kind in (Acquire, Expire, NatMapping):
            request = ears.kernel.receive()
            assert (request.type, request.satype, request.pid) == (MessageType.REGISTER, SAType.ESP, os.getpid())
        with pytest.raises(BlockingIOError):
            ears.kernel.receive()


def test_a_registration_that_is_refused_is_an_error(ears: Ears) -> None:
    ears.kernel.tell(MessageType.REGISTER, SAType.ESP, errno=errno.ENOBUFS, pid=os.getpid())
    with pytest.raises(KernelError, match="listen for PF_KEY events"):
        ears.hear()


def test_others_registrations_are_none_of_its_business(ears: Ears) -> None:
    ears.kernel.tell(MessageType.REGISTER, SAType.ESP, pid=os.getpid())
    ears.kernel.tell(MessageType.REGISTER, SAType.ESP, errno=errno.EEXIST, pid=os.getpid() + 1)
    assert ears.hear() == []


@pytest.mark.parametrize(
    ("message_type", "change"),
    [
        (MessageType.ADD, Change.ADDED),
        (MessageType.UPDATE, Change.UPDATED),
        (MessageType.DELETE, Change.DELETED),
    ],
)
def test_changes_of_sas_are_told(ears: Ears, message_type: MessageType, change: Change) -> None:
    ears.kernel.tell_sa(message_type)
    (event,) = ears.hear()
    assert isinstance(event, SAChange)
    assert (event.change, event.sa.as_written()) == (change, SA_)


@pytest.mark.parametrize(
    ("message_type", "change"),
    [
        (MessageType.X_SPDADD, Change.ADDED),
        (MessageType.X_SPDUPDATE, Change.UPDATED),
        (MessageType.X_SPDDELETE, Change.DELETED),
        (MessageType.X_SPDDELETE2, Change.DELETED),
    ],
)
def test_changes_of_policies_are_told(ears: Ears, message_type: MessageType, change: Change) -> None:
    ears.kernel.tell_policy(message_type)
    assert ears.hear() == [PolicyChange(change, POLICY)]


def test_flushes_are_told(ears: Ears) -> None:
    ears.kernel.tell(MessageType.FLUSH, SAType.UNSPEC)
    ears.kernel.tell(MessageType.FLUSH, SAType.AH)
    ears.kernel.tell(MessageType.X_SPDFLUSH, SAType.UNSPEC)
    assert ears.hear() == [SAFlush(None), SAFlush(Protocol.AH), PolicyFlush()]


def test_own_changes_are_no_events(ears: Ears) -> None:
    ears.kernel.tell_sa(MessageType.ADD, pid=OWN)
    ears.kernel.tell_policy(MessageType.X_SPDADD, pid=OWN)
    ears.kernel.tell(MessageType.FLUSH, SAType.UNSPEC, pid=OWN)
    ears.kernel.tell(MessageType.X_SPDFLUSH, SAType.UNSPEC, pid=OWN)
    assert ears.hear() == []


def test_what_was_refused_changed_nothing(ears: Ears) -> None:
    ears.kernel.tell(MessageType.ADD, SAType.ESP, errno=errno.EEXIST)
    assert ears.hear() == []


def test_an_sa_that_is_not_ipsecs_is_passed_over(ears: Ears) -> None:
    ears.kernel.tell(MessageType.ADD, SAType.MIP, codec.sa_extensions(SA_))
    assert ears.hear() == []


def test_only_the_kinds_that_were_asked_for_are_told() -> None:
    with Ears([PolicyFlush]) as ears:
        ears.kernel.tell_sa(MessageType.ADD)
        ears.kernel.tell(MessageType.X_SPDFLUSH, SAType.UNSPEC)
        assert ears.hear() == [PolicyFlush()]


ENDS = parts.pair_extensions(LOCAL, REMOTE)


def test_an_acquire_tells_its_policy_and_what_the_kernel_would_take(ears: Ears) -> None:
    soft, hard = LifetimeExtension(0, 0, 72000, 25200), LifetimeExtension(0, 0, 86400, 28800)
    combination = Combination(
        auth=3,
        encrypt=12,
        auth_minimum_bits=160,
        auth_maximum_bits=160,
        encrypt_minimum_bits=128,
        encrypt_maximum_bits=256,
        soft=soft,
        hard=hard,
    )
    extensions = ENDS | {
        ExtensionType.X_POLICY: PolicyExtension(2, 2, id=17, priority=5),
        ExtensionType.PROPOSAL: ProposalExtension(32, (combination, combination._replace(encrypt=0))),
        ExtensionType.X_SEC_CTX: SecurityContextExtension(1, 1, b"system_u"),
    }
    ears.kernel.tell(MessageType.ACQUIRE, SAType.ESP, extensions, seq=77)
    lifetime = Lifetime(Limit(seconds=72000, idle_seconds=25200), Limit(seconds=86400, idle_seconds=28800))
    with_aes = Proposal(AES_CBC, (128, 256), HMAC_SHA1, (160, 160), lifetime)
    assert ears.hear() == [
        Acquire(
            LOCAL,
            REMOTE,
            Protocol.ESP,
            policy_id=17,
            sequence=77,
            proposals=(with_aes, replace(with_aes, encryption=None)),
            security_context=SecurityContext(b"system_u"),
        )
    ]


def test_an_acquire_may_name_its_policy_as_the_draft_has_it(ears: Ears) -> None:
    ears.kernel.tell(MessageType.ACQUIRE, SAType.ESP, ENDS | {ExtensionType.X_SA2: SA2Extension(2, 7, sequence=17)})
    (event,) = ears.hear()
    assert isinstance(event, Acquire)
    assert event.policy_id == 17


def test_an_acquire_without_a_policy_is_malformed(ears: Ears) -> None:
    ears.kernel.tell(MessageType.ACQUIRE, SAType.ESP, ENDS)
    (error,) = ears.hear()
    assert isinstance(error, MalformedReplyError)
    assert "SADB_ACQUIRE came without SADB_X_EXT_POLICY" in str(error)


def test_what_makes_no_sense_stands_in_its_place_among_the_others(ears: Ears) -> None:
    ears.kernel.tell(MessageType.X_SPDFLUSH, SAType.UNSPEC)
    ears.kernel.tell(MessageType.ADD, SAType.ESP)
    ears.kernel.tell(MessageType.X_SPDFLUSH, SAType.UNSPEC)
    first, error, second = ears.hear()
    assert first == second == PolicyFlush()
    assert isinstance(error, MalformedReplyError)


@pytest.mark.parametrize("message_type", [MessageType.EXPIRE, MessageType.ADD, MessageType.DELETE])
def test_an_sa_of_no_type_is_passed_over(ears: Ears, message_type: MessageType) -> None:
    ears.kernel.tell(message_type, SAType.UNSPEC, codec.sa_extensions(SA_))
    assert ears.hear() == []


@pytest.mark.parametrize(("exttype", "hard"), [("LIFETIME_SOFT", False), ("LIFETIME_HARD", True)])
def test_an_expiry_is_told(ears: Ears, exttype: str, hard: bool) -> None:
    extensions = codec.sa_extensions(SA_) | {ExtensionType[exttype]: LifetimeExtension(0, 0, 1, 0)}
    ears.kernel.tell(MessageType.EXPIRE, SAType.ESP, extensions)
    assert ears.hear() == [Expire(SA_.id, SA_.source, SA_.reqid, hard)]


def test_a_new_mapping_tells_the_peers_old_place_and_its_new_one(ears: Ears) -> None:
    extensions = {
        ExtensionType.SA: SAExtension(INBOUND.id.spi),
        ExtensionType.ADDRESS_SRC: AddressExtension(REMOTE, 32),
        ExtensionType.ADDRESS_DST: AddressExtension(NEW_LOCAL, 32),
        ExtensionType.X_NAT_T_SPORT: NatTPortExtension(4500),
        ExtensionType.X_NAT_T_DPORT: NatTPortExtension(40001),
    }
    ears.kernel.tell(MessageType.X_NAT_T_NEW_MAPPING, SAType.ESP, extensions)
    assert ears.hear() == [NatMapping(INBOUND.id.spi, REMOTE, 4500, NEW_LOCAL, 40001)]


def test_a_move_is_told_whoever_made_it(ears: Ears) -> None:
    old = POLICY.templates[0]
    new, km = replace(old, source=NEW_LOCAL), AddressPair(ip_address("2001:db8::1"), ip_address("2001:db8::2"))
    extensions = codec.migrate_extensions(POLICY.id, [(old, new)], km)
    ears.kernel.tell(MessageType.X_MIGRATE, SAType.UNSPEC, extensions)
    ears.kernel.tell(MessageType.X_MIGRATE, SAType.UNSPEC, codec.migrate_extensions(POLICY.id, [(old, new)], None))
    assert ears.hear() == [Migrated(POLICY.id, ((old, new),), km), Migrated(POLICY.id, ((old, new),))]


def test_a_move_of_half_a_pair_is_malformed(ears: Ears) -> None:
    extensions = codec.policy_extensions(POLICY)
    ears.kernel.tell(MessageType.X_MIGRATE, SAType.UNSPEC, extensions)
    (error,) = ears.hear()
    assert isinstance(error, MalformedReplyError)
    assert "SADB_X_MIGRATE" in str(error)


def test_where_the_buffer_was_full_the_loss_stands_after_what_was_kept(ears: Ears) -> None:
    ears.socket.losses = iter((False, True, False))
    for _ in range(3):
        ears.kernel.tell(MessageType.X_SPDFLUSH, SAType.UNSPEC)
    *events, lost = ears.hear()
    assert events == [PolicyFlush()] * 3
    assert isinstance(lost, EventsLostError)
    ears.kernel.tell(MessageType.X_SPDFLUSH, SAType.UNSPEC)
    assert ears.hear() == [PolicyFlush()]


def test_messages_that_are_no_events_are_counted_for_a_loss_too(ears: Ears) -> None:
    ears.socket.losses = iter((True,))
    ears.kernel.tell(MessageType.X_PROMISC, SAType.UNSPEC)
    (lost,) = ears.hear()
    assert isinstance(lost, EventsLostError)


def test_a_flood_is_handed_on_in_portions(ears: Ears) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pfkeyx.pfkey.listening._AT_ONCE", 5)
        for _ in range(7):
            ears.kernel.tell(MessageType.X_SPDFLUSH, SAType.UNSPEC)
        assert [len(ears.hear()) for _ in range(3)] == [5, 2, 0]


def test_a_socket_that_broke_says_so(ears: Ears) -> None:
    ears.kernel.close()
    with pytest.raises(KernelError, match="receive from PF_KEY"):
        ears.hear()


def test_bytes_of_a_message_stay_what_they_are() -> None:
    with Ears([]) as ears:
        ears.kernel.tell_sa(MessageType.ADD)
        kept = ears.socket.receive_bytes()
        assert kept is not None
        as_it_was = bytes(kept)
        ears.kernel.tell_policy(MessageType.X_SPDADD)
        ears.socket.receive_bytes()
    assert kept == as_it_was


def test_a_buffer_knows_whether_it_has_room() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, receiver.dup() as sender:
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        limit = receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert lib.pfkeyx_has_room(receiver.fileno(), limit) == 1
        assert lib.pfkeyx_has_room(receiver.fileno(), limit + 1) == 0
        sender.sendto(b"x", receiver.getsockname())
        assert lib.pfkeyx_has_room(receiver.fileno(), limit) == 0
    assert lib.pfkeyx_has_room(-1, 0) == -errno.EBADF
