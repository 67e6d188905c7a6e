"""What a kernel tells a key manager that has registered: what it can do, and what it wants or has noticed."""

import errno
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pfkeyx import Acquire, NotFoundError
from pfkeyx.native import lib
from pfkeyx.pfkey.extensions import (
    Combination,
    LifetimeExtension,
    NatTPortExtension,
    PolicyExtension,
    ProposalExtension,
    SAExtension,
    SupportedAlgorithm,
    SupportedExtension,
)
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, SAType, read
from tests.kernel.manager import LATER_PORT, PORT, REGISTERED, KeyManager, encapsulated
from tests.kernel.raw import Extensions, all_waiting, ask, ends, esp, host, outbound, refusal, selector, tunnel
from tests.kernel.record import Record
from tests.kernel.values import ADDRESSES, make_policies

_PATIENCE_S = 120
FAMILIES = (4, 6)


@pytest.fixture(scope="module")
def only_manager() -> Iterator[KeyManager]:
    """Set up the key manager that all tests share."""
    with ExitStack() as stack:
        yield KeyManager(stack)


@pytest.fixture
def manager(only_manager: KeyManager) -> KeyManager:
    """Return the key manager, its host without SAs and policies."""
    only_manager.begin()
    return only_manager


def test_whoever_registers_is_told_the_algorithms(manager: KeyManager, record: Record) -> None:
    registered = read(manager.registration)
    assert (registered.type, registered.satype) == (MessageType.REGISTER, SAType.ESP)
    assert (registered.seq, registered.pid) == (REGISTERED, REGISTERED)
    listed = ask(manager.engine, MessageType.REGISTER, {}, SAType.UNSPEC)
    assert (listed.type, listed.satype) == (MessageType.REGISTER, SAType.UNSPEC)
    # All algorithms, whatever was registered for.
    assert registered.extensions == listed.extensions
    assert [it.satype for it in all_waiting(manager.socket)] == [SAType.UNSPEC]
    auth, encrypt = ExtensionType.SUPPORTED_AUTH, ExtensionType.SUPPORTED_ENCRYPT
    assert set(listed.extensions) == {auth, encrypt}
    sha1 = SupportedAlgorithm(lib.SADB_AALG_SHA1HMAC, 0, 160, 160)
    assert sha1 in listed.need(auth, SupportedExtension).algorithms
    aes = SupportedAlgorithm(lib.SADB_X_EALG_AESCBC, 8, 128, 256)
    assert aes in listed.need(encrypt, SupportedExtension).algorithms
    for satype, refused in ((SAType.ESP, errno.EEXIST), (SAType(10), errno.EINVAL)):
        manager.socket.send(Message(MessageType.REGISTER, satype))
        assert [it.errno for it in all_waiting(manager.socket)] == [refused]
    for family in FAMILIES:
        record.works(family, MessageType.REGISTER)
        record.sent(family, MessageType.REGISTER, auth, encrypt)


def test_a_packet_that_wants_an_sa_is_told_with_the_index_of_its_policy(
    manager: KeyManager, family: int, record: Record
) -> None:
    wanted = selector(family) | outbound(tunnel(family), priority=9)
    index = ask(manager.engine, MessageType.X_SPDADD, wanted).need(ExtensionType.X_POLICY, PolicyExtension).id
    with manager.listen() as bystander:
        manager.send_packet(family)
        added, told = all_waiting(manager.socket)
        assert bystander.receive() is None
    assert added.type is MessageType.X_SPDADD
    assert (told.type, told.satype, told.pid) == (MessageType.ACQUIRE, SAType.ESP, 0)
    assert told.seq != 0
    assert told.extensions == {
        **ends(family),
        ExtensionType.X_POLICY: PolicyExtension(lib.IPSEC_POLICY_IPSEC, lib.IPSEC_DIR_OUTBOUND, index, 9),
        # A policy that was made over PF_KEY allows any algorithm by naming none.
        ExtensionType.PROPOSAL: ProposalExtension(32),
    }
    # Once for each SA that is wanted.
    manager.send_packet(family)
    assert manager.socket.receive() is None
    record.sent(family, MessageType.ACQUIRE, ExtensionType.PROPOSAL)
    record.never_sent(family, MessageType.X_SPDACQUIRE)


def test_the_algorithms_that_a_policy_allows_are_proposed(manager: KeyManager, family: int) -> None:
    with manager.open("xfrm") as engine:
        engine.add_policy(make_policies(family)[0])
    manager.send_packet(family)
    told = all_waiting(manager.socket)[-1]
    proposal = told.need(ExtensionType.PROPOSAL, ProposalExtension)
    soft, hard = LifetimeExtension(0, 0, 72000, 25200), LifetimeExtension(0, 0, 86400, 28800)
    suite = Combination(lib.SADB_AALG_SHA1HMAC, lib.SADB_X_EALG_AESCBC, 0, 160, 160, 128, 256, soft, hard)
    assert suite in proposal.combinations


def test_an_acquire_that_is_answered_with_an_error_is_over_for_its_flow_alone(
    manager: KeyManager, family: int, record: Record
) -> None:
    ask(manager.engine, MessageType.X_SPDADD, selector(family) | outbound(tunnel(family)))
    with manager.open("xfrm") as xfrm, manager.namespace.call(lambda: xfrm.watch(Acquire)) as acquires:
        manager.send_packet(family)
        theirs = acquires.next(_PATIENCE_S)
    assert isinstance(theirs, Acquire)
    acquire = all_waiting(manager.socket)[-1]
    manager.send_packet(family, port=9001)
    assert manager.socket.receive() is None
    # Each kernel interface gives an acquire a number of its own, and the larval SA keeps that of the interface whose
    # module was loaded last.
    for seq in (acquire.seq, theirs.sequence):
        assert manager.engine.exchange(Message(MessageType.ACQUIRE, SAType.ESP, errno.EHOSTUNREACH, seq)) == ()
    (larval,) = manager.engine.exchange(Message(MessageType.DUMP))
    assert larval.need(ExtensionType.SA, SAExtension).state == lib.SADB_SASTATE_DEAD
    manager.send_packet(family)
    assert manager.socket.receive() is None
    manager.send_packet(family, port=9001)
    (another,) = all_waiting(manager.socket)
    assert another.type is MessageType.ACQUIRE
    assert another.seq != acquire.seq
    assert refusal(manager.engine, MessageType.ACQUIRE, ends(family)) == errno.EOPNOTSUPP
    record.works(family, MessageType.ACQUIRE)


def test_an_sa_that_gets_old_is_told_twice_and_without_its_keys(manager: KeyManager, record: Record) -> None:
    soft, hard = LifetimeExtension(addtime=1), LifetimeExtension(addtime=4)
    limits: Extensions = {ExtensionType.LIFETIME_HARD: hard, ExtensionType.LIFETIME_SOFT: soft}
    for family in FAMILIES:
        ask(manager.engine, MessageType.ADD, esp(family) | limits)
    all_waiting(manager.socket)
    for exttype, limit, state in (
        (ExtensionType.LIFETIME_SOFT, soft, lib.SADB_SASTATE_DYING),
        (ExtensionType.LIFETIME_HARD, hard, lib.SADB_SASTATE_DEAD),
    ):
        told = [_next(manager) for _ in FAMILIES]
        assert [(it.type, it.satype, it.seq, it.pid) for it in told] == [(MessageType.EXPIRE, SAType.ESP, 0, 0)] * 2
        for it in told:
            fixed = esp(4)[ExtensionType.SA]
            assert isinstance(fixed, SAExtension)
            assert it.extensions[ExtensionType.SA] == fixed._replace(state=state)
            assert it.extensions[exttype] == limit
            assert set(it.extensions) - {ExtensionType.ADDRESS_PROXY} == {
                ExtensionType.SA,
                ExtensionType.LIFETIME_CURRENT,
                exttype,
                ExtensionType.ADDRESS_SRC,
                ExtensionType.ADDRESS_DST,
                ExtensionType.X_SA2,
            }
        assert {it.extensions[ExtensionType.ADDRESS_DST] for it in told} == {
            host(ADDRESSES[family].gateway) for family in FAMILIES
        }
    assert manager.engine.dump_sas() == []
    for family in FAMILIES:
        record.sent(family, MessageType.EXPIRE)


def test_a_policy_that_expires_is_gone_without_a_word(manager: KeyManager, record: Record) -> None:
    limit: Extensions = {ExtensionType.LIFETIME_HARD: LifetimeExtension(addtime=1)}
    indexes = []
    for family in FAMILIES:
        added = ask(manager.engine, MessageType.X_SPDADD, selector(family) | outbound(tunnel(family)) | limit)
        indexes.append(added.need(ExtensionType.X_POLICY, PolicyExtension).id)
    deadline = time.monotonic() + _PATIENCE_S
    while manager.engine.dump_policies() and time.monotonic() < deadline:
        time.sleep(0.1)
    for index in indexes:
        with pytest.raises(NotFoundError):
            manager.engine.get_policy(index)
    assert [it.type for it in all_waiting(manager.socket)] == [MessageType.X_SPDADD] * 2
    for family in FAMILIES:
        record.never_sent(family, MessageType.X_SPDEXPIRE)


def test_a_peer_that_is_heard_from_another_port_is_told(manager: KeyManager, family: int, record: Record) -> None:
    ask(manager.engine, MessageType.ADD, encapsulated(family, 0x3000))
    all_waiting(manager.socket)
    manager.send_encapsulated(family, 0x3000)
    told = _next(manager)
    assert (told.type, told.satype, told.pid) == (MessageType.X_NAT_T_NEW_MAPPING, SAType.ESP, 0)
    peer = host(ADDRESSES[family].roaming_later)
    assert told.extensions == {
        ExtensionType.SA: SAExtension(0x3000),
        ExtensionType.ADDRESS_SRC: peer,
        ExtensionType.X_NAT_T_SPORT: NatTPortExtension(PORT),
        ExtensionType.ADDRESS_DST: peer,
        ExtensionType.X_NAT_T_DPORT: NatTPortExtension(LATER_PORT),
    }
    record.sent(family, MessageType.X_NAT_T_NEW_MAPPING)


def _next(manager: KeyManager) -> Message:
    message = manager.socket.receive(_PATIENCE_S)
    assert message is not None, f"nothing was told in {_PATIENCE_S} s"
    return message
