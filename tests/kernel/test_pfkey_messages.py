"""Every message of PF_KEY that is about SAs, at the raw level: what the kernel answers, and who hears it."""

import errno
from collections.abc import Iterator
from ipaddress import ip_address
from socket import AF_INET, AF_INET6

import pytest

from pfkeyx import Engine, KernelError
from pfkeyx.native import lib
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    Combination,
    FilterExtension,
    IdentityExtension,
    KMPrivateExtension,
    LifetimeExtension,
    NatTPortExtension,
    NatTTypeExtension,
    ProposalExtension,
    SA2Extension,
    SAExtension,
    SecurityContextExtension,
    SensitivityExtension,
    SPIRangeExtension,
    SupportedAlgorithm,
    SupportedExtension,
    Unknown,
)
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, SAType
from pfkeyx.pfkey.sockets import PfkeySocket
from tests.kernel.raw import (
    HARD,
    REQID,
    SOFT,
    Extensions,
    ah,
    all_waiting,
    ask,
    ends,
    esp,
    found_by,
    host,
    ipcomp,
    outbound,
    refusal,
    transport,
    types,
)
from tests.kernel.record import Record
from tests.kernel.values import ADDRESSES

LIFETIMES: Extensions = {ExtensionType.LIFETIME_HARD: HARD, ExtensionType.LIFETIME_SOFT: SOFT}
NAT_T: Extensions = {
    ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(2),  # UDP_ENCAP_ESPINUDP of <linux/udp.h>
    ExtensionType.X_NAT_T_SPORT: NatTPortExtension(4500),
    ExtensionType.X_NAT_T_DPORT: NatTPortExtension(61234),
}
#: What every message of an SA without a key has; a proxy comes with it where it is more than the SA's own source.
ALWAYS = {
    ExtensionType.SA,
    ExtensionType.LIFETIME_HARD,
    ExtensionType.LIFETIME_SOFT,
    ExtensionType.LIFETIME_CURRENT,
    ExtensionType.ADDRESS_SRC,
    ExtensionType.ADDRESS_DST,
    ExtensionType.X_SA2,
}


@pytest.fixture
def engine(own_network_namespace: None) -> Iterator[Engine]:  # noqa: ARG001
    """Open the engine that asks."""
    with Engine.open("pfkey") as engine:
        yield engine


@pytest.fixture
def bystander(own_network_namespace: None) -> Iterator[PfkeySocket]:  # noqa: ARG001
    """Open a socket that only hears what is told to everybody."""
    with PfkeySocket() as bystander:
        yield bystander


def test_an_spi_is_reserved_for_thirty_seconds_and_told_to_the_asker_alone(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    answer = ask(engine, MessageType.GETSPI, ends(family))
    assert answer.satype is SAType.ESP
    assert set(answer.extensions) == ALWAYS
    reserved = answer.need(ExtensionType.SA, SAExtension)
    assert 0x100 <= reserved.spi <= 0x0FFFFFFF
    assert reserved == SAExtension(reserved.spi, state=lib.SADB_SASTATE_LARVAL)
    assert answer.extensions[ExtensionType.LIFETIME_HARD] == LifetimeExtension(addtime=30)
    assert answer.extensions[ExtensionType.LIFETIME_SOFT] == LifetimeExtension()
    assert answer.extensions[ExtensionType.X_SA2] == SA2Extension(lib.IPSEC_MODE_TRANSPORT, 0)
    assert {it: answer.extensions[it] for it in ends(family)} == ends(family)
    assert bystander.receive() is None
    record.works(family, MessageType.GETSPI)
    record.sent(family, MessageType.GETSPI, *ALWAYS)


def test_an_spi_is_reserved_from_a_range_with_its_mode_and_reqid(engine: Engine, family: int, record: Record) -> None:
    wanted: Extensions = {
        **ends(family),
        ExtensionType.X_SA2: SA2Extension(lib.IPSEC_MODE_TUNNEL, REQID),
        ExtensionType.SPIRANGE: SPIRangeExtension(0x2000, 0x2000),
    }
    for satype in (SAType.ESP, SAType.AH, SAType.X_IPCOMP):
        answer = ask(engine, MessageType.GETSPI, wanted, satype)
        assert answer.need(ExtensionType.SA, SAExtension).spi == 0x2000
        assert answer.extensions[ExtensionType.X_SA2] == wanted[ExtensionType.X_SA2]
        assert ExtensionType.SPIRANGE not in answer.extensions
        assert refusal(engine, MessageType.GETSPI, wanted, satype) == errno.ENOENT
    backwards = wanted | {ExtensionType.SPIRANGE: SPIRangeExtension(0x2001, 0x2000)}
    assert refusal(engine, MessageType.GETSPI, backwards) == errno.EINVAL
    assert refusal(engine, MessageType.GETSPI, ends(family), SAType.X_IPCOMP) == errno.EINVAL
    assert refusal(engine, MessageType.GETSPI, ends(family), SAType.UNSPEC) == errno.EINVAL
    record.works(family, ExtensionType.SPIRANGE, ExtensionType.X_SA2, *types(ends(family)))
    record.never_sent(family, ExtensionType.SPIRANGE)


def test_an_update_completes_a_larval_sa(engine: Engine, bystander: PfkeySocket, family: int, record: Record) -> None:
    reserved = ask(engine, MessageType.GETSPI, ends(family)).need(ExtensionType.SA, SAExtension)
    wanted = esp(family, reserved.spi)
    assert refusal(engine, MessageType.ADD, wanted) == errno.EEXIST
    answer = ask(engine, MessageType.UPDATE, wanted)
    assert bystander.receive() == answer
    assert {it: answer.extensions[it] for it in wanted} == wanted
    found = ask(engine, MessageType.GET, found_by(wanted))
    assert {it: found.extensions[it] for it in wanted} == wanted
    assert ask(engine, MessageType.DELETE, found_by(wanted)).type is MessageType.DELETE
    assert refusal(engine, MessageType.UPDATE, wanted) == errno.ESRCH
    record.works(family, MessageType.UPDATE)
    record.sent(family, MessageType.UPDATE)


def test_an_update_of_a_mature_sa_changes_limits_and_ports_and_nothing_else(engine: Engine, family: int) -> None:
    before = esp(family) | NAT_T
    ask(engine, MessageType.ADD, before)
    ports: Extensions = {ExtensionType.X_NAT_T_DPORT: NatTPortExtension(61235)}
    other: Extensions = {
        ExtensionType.SA: SAExtension(0x1000, 8, 0, lib.SADB_AALG_SHA1HMAC, lib.SADB_X_EALG_AESCBC),
        ExtensionType.ADDRESS_SRC: host(ADDRESSES[family].roaming_later),
        ExtensionType.X_SA2: SA2Extension(lib.IPSEC_MODE_TRANSPORT, REQID + 1),
    }
    answer = ask(engine, MessageType.UPDATE, before | LIFETIMES | ports | other)
    # It repeats what was asked for.
    assert answer.extensions[ExtensionType.X_SA2] == other[ExtensionType.X_SA2]
    found = ask(engine, MessageType.GET, found_by(before))
    expected = before | LIFETIMES | ports
    assert {it: found.extensions[it] for it in expected} == expected
    ask(engine, MessageType.UPDATE, before)
    found = ask(engine, MessageType.GET, found_by(before))
    assert found.extensions[ExtensionType.LIFETIME_HARD] == LifetimeExtension()
    assert refusal(engine, MessageType.UPDATE, esp(family)) == errno.EINVAL


def test_an_sa_is_added_with_all_that_linux_knows_and_told_to_everybody_with_its_keys(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    at = ADDRESSES[family]
    flags = lib.SADB_SAFLAGS_NOECN | lib.SADB_SAFLAGS_DECAP_DSCP
    prefix = AddressExtension(at.roaming_inner, at.roaming_inner.max_prefixlen - 8)
    wanted = esp(family) | LIFETIMES | NAT_T | {ExtensionType.ADDRESS_PROXY: prefix}
    fixed = SAExtension(0x1000, 32, lib.SADB_SASTATE_MATURE, lib.SADB_AALG_SHA1HMAC, lib.SADB_X_EALG_AESCBC, flags)
    wanted[ExtensionType.SA] = fixed._replace(flags=flags | lib.SADB_SAFLAGS_PFS)
    answer = ask(engine, MessageType.ADD, wanted)
    assert (answer.satype, answer.errno) == (SAType.ESP, 0)
    proxy = prefix._replace(protocol=lib.IPSEC_PROTO_ANY)
    expected = wanted | {ExtensionType.SA: fixed, ExtensionType.ADDRESS_PROXY: proxy}
    assert {it: answer.extensions[it] for it in expected} == expected
    assert set(answer.extensions) == {*expected, ExtensionType.LIFETIME_CURRENT}
    assert bystander.receive() == answer
    record.works(family, MessageType.ADD, *types(wanted))
    record.sent(family, MessageType.ADD, *types(expected))


def test_an_sa_without_sa2_is_in_transport_mode_without_a_reqid(engine: Engine, family: int) -> None:
    wanted = esp(family)
    del wanted[ExtensionType.X_SA2]
    answer = ask(engine, MessageType.ADD, wanted)
    assert answer.extensions[ExtensionType.X_SA2] == SA2Extension(lib.IPSEC_MODE_TRANSPORT, 0)


def test_ah_and_ipcomp_are_added_and_modes_that_have_no_name_are_refused(engine: Engine, family: int) -> None:
    for satype, wanted in ((SAType.AH, ah(family)), (SAType.X_IPCOMP, ipcomp(family))):
        answer = ask(engine, MessageType.ADD, wanted, satype)
        assert answer.satype is satype
        assert {it: answer.extensions[it] for it in wanted} == wanted
        assert not set(answer.extensions) - set(wanted) - ALWAYS - {ExtensionType.ADDRESS_PROXY}
    beet: Extensions = {ExtensionType.X_SA2: SA2Extension(lib.IPSEC_MODE_BEET, REQID)}
    assert ask(engine, MessageType.ADD, esp(family) | beet).extensions[ExtensionType.X_SA2] == beet[ExtensionType.X_SA2]
    nameless: Extensions = {ExtensionType.X_SA2: SA2Extension(4, REQID)}
    assert refusal(engine, MessageType.ADD, esp(family, 0x1001) | nameless) == errno.EINVAL
    assert refusal(engine, MessageType.ADD, esp(family, 0x1001), SAType.UNSPEC) == errno.EPROTONOSUPPORT


def test_what_linux_does_not_use_is_taken_and_forgotten(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    at = ADDRESSES[family]
    unused: Extensions = {
        ExtensionType.IDENTITY_SRC: IdentityExtension(2, 0, "roaming.example"),  # SADB_IDENTTYPE_FQDN
        ExtensionType.IDENTITY_DST: IdentityExtension(3, 1000, "gateway@example"),  # SADB_IDENTTYPE_USERFQDN
        ExtensionType.SENSITIVITY: SensitivityExtension(1, 2, (3,), 4, (5,)),
        ExtensionType.X_KMPRIVATE: KMPrivateExtension(bytes(range(8))),
        ExtensionType.X_NAT_T_OA: host(at.roaming),
        ExtensionType.X_SEC_CTX: SecurityContextExtension(1, 1, b"system_u:object_r:ipsec_spd_t:s0\0"),
    }
    unknown: Extensions = {ExtensionType(100): Unknown(100, bytes(range(12)))}
    asked_only: Extensions = {
        ExtensionType.LIFETIME_CURRENT: LifetimeExtension(9, 999, 1, 2),
        ExtensionType.PROPOSAL: ProposalExtension(32, (Combination(3, 12),)),
        ExtensionType.SUPPORTED_AUTH: SupportedExtension((SupportedAlgorithm(3, 0, 160, 160),)),
        ExtensionType.SUPPORTED_ENCRYPT: SupportedExtension((SupportedAlgorithm(12, 8, 128, 256),)),
    }
    plain = ask(engine, MessageType.ADD, esp(family))
    answer = ask(engine, MessageType.ADD, esp(family, 0x1001) | NAT_T | unused | unknown | asked_only)
    told = [answer, ask(engine, MessageType.GET, found_by(esp(family, 0x1001))), all_waiting(bystander)[1]]
    for message in told:
        assert set(message.extensions) == set(plain.extensions) | set(NAT_T)
        current = message.need(ExtensionType.LIFETIME_CURRENT, LifetimeExtension)
        assert (current.packets, current.octets, current.usetime) == (0, 0, 0)
        assert current.addtime > 2
    record.ignored(family, *types(unused), *types(asked_only))
    record.never_sent(family, *types(unused))


def test_an_extension_that_is_cut_short_is_refused(engine: Engine, family: int) -> None:
    for exttype in (ExtensionType.SENSITIVITY, ExtensionType.IDENTITY_SRC, ExtensionType.X_SA2):
        cut: Extensions = {exttype: Unknown(exttype, bytes(4))}
        assert refusal(engine, MessageType.ADD, esp(family) | cut) == errno.EINVAL


def test_one_lifetime_without_the_other_is_refused(engine: Engine, family: int) -> None:
    hard: Extensions = {ExtensionType.LIFETIME_HARD: HARD}
    assert refusal(engine, MessageType.ADD, esp(family) | hard) == errno.EINVAL


def test_an_sa_is_read_with_its_keys_by_the_asker_alone(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    wanted = esp(family)
    added = ask(engine, MessageType.ADD, wanted)
    all_waiting(bystander)
    found = ask(engine, MessageType.GET, found_by(wanted))
    assert found.type is MessageType.GET
    assert found.extensions == added.extensions
    assert bystander.receive() is None
    assert refusal(engine, MessageType.GET, found_by(wanted), SAType.AH) == errno.ESRCH
    assert refusal(engine, MessageType.GET, found_by(esp(family, 0x1001))) == errno.ESRCH
    record.works(family, MessageType.GET)
    record.sent(family, MessageType.GET)


def test_a_deleted_sa_is_told_to_everybody_whole(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    wanted = esp(family)
    added = ask(engine, MessageType.ADD, wanted)
    all_waiting(bystander)
    # The source is asked for and not compared.
    at = ADDRESSES[family]
    answer = ask(engine, MessageType.DELETE, found_by(wanted) | {ExtensionType.ADDRESS_SRC: host(at.roaming_later)})
    dead = added.need(ExtensionType.SA, SAExtension)._replace(state=lib.SADB_SASTATE_DEAD)
    assert answer.extensions == {**added.extensions, ExtensionType.SA: dead}
    assert bystander.receive() == answer
    assert refusal(engine, MessageType.DELETE, found_by(wanted)) == errno.ESRCH
    record.works(family, MessageType.DELETE)
    record.sent(family, MessageType.DELETE)


def test_a_flush_takes_one_type_and_is_answered_twice_where_there_was_something(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    ask(engine, MessageType.ADD, esp(family))
    ask(engine, MessageType.ADD, ah(family), SAType.AH)
    all_waiting(bystander)
    flush = Message(MessageType.FLUSH, SAType.ESP, seq=11, pid=12)
    with PfkeySocket() as asking:
        asking.send(flush)
        assert all_waiting(asking) == [flush, flush]
        assert all_waiting(bystander) == [flush]
        assert [it.satype for it in engine.exchange(Message(MessageType.DUMP))] == [SAType.AH]
        asking.send(flush)
        assert all_waiting(asking) == [flush]
        assert all_waiting(bystander) == []
        everything = Message(MessageType.FLUSH, SAType.UNSPEC, seq=13, pid=12)
        asking.send(everything)
        assert all_waiting(asking) == [everything, everything]
    assert engine.dump_sas() == []
    assert refusal(engine, MessageType.FLUSH, {}, SAType.RSVP) == errno.EINVAL
    record.works(family, MessageType.FLUSH)
    record.sent(family, MessageType.FLUSH)


def test_a_dump_numbers_its_entries_and_ends_with_zero(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    added = {spi: ask(engine, MessageType.ADD, esp(family, spi)) for spi in (0x1000, 0x1001, 0x1002)}
    ask(engine, MessageType.ADD, ah(family), SAType.AH)
    all_waiting(bystander)
    entries = engine.exchange(Message(MessageType.DUMP, SAType.ESP))
    assert [entry.seq for entry in entries] == [1, 2, 0]
    found = {entry.need(ExtensionType.SA, SAExtension).spi: entry.extensions for entry in entries}
    assert found == {spi: message.extensions for spi, message in added.items()}
    assert len(engine.exchange(Message(MessageType.DUMP, SAType.UNSPEC))) == 4
    assert bystander.receive() is None
    assert engine.exchange(Message(MessageType.DUMP, SAType.X_IPCOMP)) == ()
    record.works(family, MessageType.DUMP)
    record.sent(family, MessageType.DUMP)


def test_a_dump_is_filtered_by_addresses(engine: Engine, family: int, record: Record) -> None:
    at = ADDRESSES[family]
    for version in (4, 6):
        ask(engine, MessageType.ADD, esp(version))
        later = {ExtensionType.ADDRESS_SRC: host(ADDRESSES[version].roaming_later)}
        ask(engine, MessageType.ADD, esp(version, 0x1001) | later)
    number = AF_INET if family == 4 else AF_INET6
    length, anywhere = at.roaming.max_prefixlen, ip_address(bytes(len(at.roaming.packed)))

    def found(wanted: FilterExtension) -> set[tuple[object, int]]:
        message = Message(MessageType.DUMP, SAType.ESP, extensions={ExtensionType.X_FILTER: wanted})
        return {
            (
                entry.need(ExtensionType.ADDRESS_SRC, AddressExtension).address,
                entry.need(ExtensionType.SA, SAExtension).spi,
            )
            for entry in engine.exchange(message)
        }

    assert found(FilterExtension(number, at.roaming, length, at.gateway, length)) == {(at.roaming, 0x1000)}
    assert found(FilterExtension(number, at.roaming_later, length, anywhere, 0)) == {(at.roaming_later, 0x1001)}
    both = {(at.roaming, 0x1000), (at.roaming_later, 0x1001)}
    assert found(FilterExtension(number, at.roaming, length - 8, anywhere, 0)) == both
    assert found(FilterExtension(number, at.gateway_inner, length, anywhere, 0)) == set()
    record.works(family, ExtensionType.X_FILTER)
    record.never_sent(family, ExtensionType.X_FILTER)


def test_a_promiscuous_socket_hears_what_others_ask_and_what_they_are_told(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    ask(engine, MessageType.ADD, esp(family))
    all_waiting(bystander)
    switch = Message(MessageType.X_PROMISC, SAType(1), seq=5, pid=6)
    bystander.send(switch)
    assert bystander.receive() == switch
    all_waiting(bystander)
    found = ask(engine, MessageType.GET, found_by(esp(family)))
    heard = all_waiting(bystander)
    # Bare copies: RFC 2367 §3.1.11 would have them inside a message of their own.
    assert [it.type for it in heard] == [MessageType.GET] * 2
    assert [it.extensions for it in heard] == [found_by(esp(family)), found.extensions]
    bystander.send(Message(MessageType.X_PROMISC, SAType(0), seq=7, pid=6))
    all_waiting(bystander)
    ask(engine, MessageType.GET, found_by(esp(family)))
    assert bystander.receive() is None
    bystander.send(Message(MessageType.X_PROMISC, SAType(2)))
    assert [it.errno for it in all_waiting(bystander)] == [errno.EINVAL]
    record.works(family, MessageType.X_PROMISC)
    record.sent(family, MessageType.X_PROMISC)


def test_key_managers_talk_to_each_other_by_promisc_messages(engine: Engine, family: int) -> None:
    said = Message(MessageType.X_PROMISC, SAType.ESP, 0, 1, 2, found_by(esp(family)))
    with PfkeySocket() as one, PfkeySocket() as other:
        one.send(said)
        for sock in (one, other):
            assert all_waiting(sock) == [said]
        ask(engine, MessageType.ADD, esp(family))
        assert [it.type for it in all_waiting(other)] == [MessageType.ADD]


@pytest.mark.parametrize(
    "message_type",
    [
        MessageType.EXPIRE,
        MessageType.X_PCHANGE,
        MessageType.X_SPDACQUIRE,
        MessageType.X_SPDEXPIRE,
        MessageType.X_NAT_T_NEW_MAPPING,
    ],
    ids=str,
)
def test_what_linux_takes_from_nobody_is_refused_and_told_to_nobody(
    engine: Engine, bystander: PfkeySocket, message_type: MessageType, family: int, record: Record
) -> None:
    for extensions in ({}, esp(family), ends(family) | outbound(transport(lib.IPSEC_LEVEL_REQUIRE))):
        assert refusal(engine, message_type, extensions) == errno.EOPNOTSUPP
    assert bystander.receive() is None
    record.refused(family, "EOPNOTSUPP", message_type)
    if message_type is MessageType.X_PCHANGE:
        record.never_sent(family, message_type)


def test_a_message_beyond_the_last_is_refused_without_an_answer(family: int) -> None:
    beyond = MessageType(MessageType.X_ADDRUPDATE + 1)
    with PfkeySocket() as sock:
        with pytest.raises(KernelError) as error:
            sock.send(Message(beyond, SAType.ESP, extensions=esp(family)))
        assert error.value.errno == errno.EINVAL
        assert sock.receive() is None
