"""Every message of PF_KEY that is about policies, at the raw level: what the kernel answers, and who hears it."""

import errno
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pfkeyx import Action, Engine, Mode, Protocol, Template, UnsupportedError
from pfkeyx.native import lib
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    IPsecRequest,
    KMAddressExtension,
    LifetimeExtension,
    PolicyExtension,
    SecurityContextExtension,
)
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, SAType
from pfkeyx.pfkey.sockets import PfkeySocket
from tests.kernel.raw import (
    HARD,
    REQID,
    SOFT,
    Extensions,
    all_waiting,
    ask,
    by_index,
    esp,
    host,
    outbound,
    refusal,
    selector,
    transport,
    tunnel,
    types,
)
from tests.kernel.record import Record
from tests.kernel.values import ADDRESSES, make_policies, make_sa

_FIRST_OWN_REQID = lib.IPSEC_MANUAL_REQID_MAX + 1
LIFETIMES = {ExtensionType.LIFETIME_HARD, ExtensionType.LIFETIME_SOFT, ExtensionType.LIFETIME_CURRENT}


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


def test_a_policy_is_added_with_its_requests_and_lifetimes_and_told_to_everybody(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    nested = (transport(lib.IPSEC_LEVEL_USE, protocol=Protocol.IPCOMP), tunnel(family), tunnel(10 - family, 8))
    wanted = selector(family, 17, 500) | outbound(*nested, priority=1000)
    wanted |= {ExtensionType.LIFETIME_HARD: HARD, ExtensionType.LIFETIME_SOFT: SOFT}
    answer = ask(engine, MessageType.X_SPDADD, wanted, SAType.UNSPEC)
    index = _policy(answer).id
    assert index & 7 == lib.IPSEC_DIR_OUTBOUND - 1
    policy = PolicyExtension(lib.IPSEC_POLICY_IPSEC, lib.IPSEC_DIR_OUTBOUND, index, 1000, nested)
    expected = wanted | {ExtensionType.X_POLICY: policy}
    assert {it: answer.extensions[it] for it in expected} == expected
    assert set(answer.extensions) == {*wanted, ExtensionType.LIFETIME_CURRENT}
    heard = bystander.receive()
    assert heard == answer
    assert refusal(engine, MessageType.X_SPDADD, wanted) == errno.EEXIST
    record.works(family, MessageType.X_SPDADD, *types(wanted))
    record.sent(family, MessageType.X_SPDADD, *types(wanted), *LIFETIMES)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (transport(lib.IPSEC_LEVEL_DEFAULT, 5), transport(lib.IPSEC_LEVEL_REQUIRE)),
        (transport(lib.IPSEC_LEVEL_USE, 5), transport(lib.IPSEC_LEVEL_USE)),
        (transport(lib.IPSEC_LEVEL_REQUIRE, 5), transport(lib.IPSEC_LEVEL_REQUIRE)),
        (transport(lib.IPSEC_LEVEL_UNIQUE, 5), transport(lib.IPSEC_LEVEL_UNIQUE, 5)),
        (
            transport(lib.IPSEC_LEVEL_UNIQUE, lib.IPSEC_MANUAL_REQID_MAX),
            transport(lib.IPSEC_LEVEL_UNIQUE, lib.IPSEC_MANUAL_REQID_MAX),
        ),
    ],
    ids=["default", "use", "require", "unique", "unique-at-its-end"],
)
def test_a_level_keeps_its_reqid_only_when_it_is_unique(
    engine: Engine, asked: IPsecRequest, told: IPsecRequest, family: int
) -> None:
    answer = ask(engine, MessageType.X_SPDADD, selector(family) | outbound(asked))
    assert _policy(answer).requests == (told,)


@pytest.mark.parametrize("reqid", [0, _FIRST_OWN_REQID])
def test_a_unique_level_without_a_reqid_of_its_own_is_given_one(engine: Engine, reqid: int, family: int) -> None:
    asked = transport(lib.IPSEC_LEVEL_UNIQUE, reqid)
    (told,) = _policy(ask(engine, MessageType.X_SPDADD, selector(family) | outbound(asked))).requests
    assert told == asked._replace(reqid=told.reqid)
    assert told.reqid >= _FIRST_OWN_REQID


def test_policies_that_linux_cannot_follow_are_refused(engine: Engine, family: int) -> None:
    def refused(*requests: IPsecRequest, kind: int = lib.IPSEC_POLICY_IPSEC) -> int | None:
        return refusal(engine, MessageType.X_SPDADD, selector(family) | outbound(*requests, kind=kind))

    assert refused(tunnel(family)._replace(level=lib.IPSEC_LEVEL_USE)) == errno.EINVAL
    assert refused(tunnel(family)._replace(mode=lib.IPSEC_MODE_ANY)) == errno.EINVAL
    assert refused(*[transport(lib.IPSEC_LEVEL_REQUIRE)] * 7) == errno.ELOOP
    assert refused(kind=lib.IPSEC_POLICY_ENTRUST) == errno.EINVAL
    for direction in (0, lib.IPSEC_DIR_FWD + 1):
        policy: Extensions = {ExtensionType.X_POLICY: PolicyExtension(lib.IPSEC_POLICY_NONE, direction)}
        assert refusal(engine, MessageType.X_SPDADD, selector(family) | policy) == errno.EINVAL
    assert engine.dump_policies() == []


def test_a_template_in_beet_mode_is_refused_before_it_loses_its_addresses(engine: Engine, family: int) -> None:
    at = ADDRESSES[family]
    template = Template(mode=Mode.BEET, source=at.roaming, destination=at.gateway)
    # Linux would read the template's addresses as 0.0.0.0.
    with pytest.raises(UnsupportedError, match=r"template\.mode.*drops the addresses of mode beet"):
        engine.add_policy(replace(make_policies(family)[0], templates=(template,)))
    asked = IPsecRequest(Protocol.ESP, lib.IPSEC_MODE_BEET, lib.IPSEC_LEVEL_REQUIRE, 0, at.roaming, at.gateway)
    (told,) = _policy(ask(engine, MessageType.X_SPDADD, selector(family) | outbound(asked))).requests
    assert (told.source, told.destination) == (None, None)


def test_policies_that_discard_and_that_let_pass_are_told_apart(engine: Engine, family: int) -> None:
    for kind in (lib.IPSEC_POLICY_DISCARD, lib.IPSEC_POLICY_NONE):
        answer = ask(engine, MessageType.X_SPDUPDATE, selector(family) | outbound(kind=kind))
        assert (_policy(answer).type, _policy(answer).requests) == (kind, ())


def test_an_update_of_a_policy_adds_it_or_replaces_it_under_its_index(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    first = ask(engine, MessageType.X_SPDUPDATE, selector(family) | outbound(tunnel(family), priority=9))
    limited: Extensions = {ExtensionType.LIFETIME_HARD: HARD}
    request = transport(lib.IPSEC_LEVEL_UNIQUE, REQID)
    second = ask(engine, MessageType.X_SPDUPDATE, selector(family) | outbound(request, priority=5) | limited)
    assert _policy(second) == _policy(first)._replace(priority=5, requests=(request,))
    assert second.extensions[ExtensionType.LIFETIME_HARD] == HARD
    # Each of a policy's lifetimes may come alone, unlike an SA's.
    assert second.extensions[ExtensionType.LIFETIME_SOFT] == LifetimeExtension()
    assert [it.type for it in all_waiting(bystander)] == [MessageType.X_SPDUPDATE] * 2
    assert len(engine.exchange(Message(MessageType.X_SPDDUMP))) == 1
    record.works(family, MessageType.X_SPDUPDATE)
    record.sent(family, MessageType.X_SPDUPDATE)


def test_setidx_adds_a_policy_and_is_told_as_an_addition(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    wanted = selector(family) | outbound(tunnel(family))
    with PfkeySocket() as asking:
        asking.send(Message(MessageType.X_SPDSETIDX, seq=3, pid=4, extensions=wanted))
        (answer,) = all_waiting(asking)
    assert (answer.type, answer.seq, answer.pid) == (MessageType.X_SPDADD, 3, 4)
    assert [it.type for it in all_waiting(bystander)] == [MessageType.X_SPDADD]
    assert _policy(answer).requests == (tunnel(family),)
    assert refusal(engine, MessageType.X_SPDSETIDX, wanted) == errno.EEXIST
    record.works(family, MessageType.X_SPDSETIDX)
    record.never_sent(family, MessageType.X_SPDSETIDX)


def test_a_policy_is_read_by_its_index_and_deleted_by_its_selector(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    wanted = selector(family) | outbound(tunnel(family))
    added = ask(engine, MessageType.X_SPDADD, wanted)
    all_waiting(bystander)
    found = ask(engine, MessageType.X_SPDGET, by_index(_policy(added).id), SAType.UNSPEC)
    assert (found.type, found.satype) == (MessageType.X_SPDGET, SAType.UNSPEC)
    assert found.extensions == added.extensions
    assert bystander.receive() is None
    key = selector(family) | outbound(kind=lib.IPSEC_POLICY_NONE)
    deleted = ask(engine, MessageType.X_SPDDELETE, key)
    assert deleted.extensions == added.extensions
    assert [it.type for it in all_waiting(bystander)] == [MessageType.X_SPDDELETE]
    assert refusal(engine, MessageType.X_SPDDELETE, key) == errno.ENOENT
    assert refusal(engine, MessageType.X_SPDGET, by_index(_policy(added).id)) == errno.ENOENT
    record.works(family, MessageType.X_SPDGET, MessageType.X_SPDDELETE)
    record.sent(family, MessageType.X_SPDGET, MessageType.X_SPDDELETE)


def test_a_policy_is_deleted_by_its_index(engine: Engine, bystander: PfkeySocket, family: int, record: Record) -> None:
    added = ask(engine, MessageType.X_SPDADD, selector(family) | outbound(tunnel(family)))
    all_waiting(bystander)
    deleted = ask(engine, MessageType.X_SPDDELETE2, by_index(_policy(added).id))
    assert deleted.extensions == added.extensions
    assert [it.type for it in all_waiting(bystander)] == [MessageType.X_SPDDELETE2]
    assert refusal(engine, MessageType.X_SPDDELETE2, by_index(_policy(added).id)) == errno.ENOENT
    assert refusal(engine, MessageType.X_SPDDELETE2, by_index(7)) == errno.EINVAL
    record.works(family, MessageType.X_SPDDELETE2)
    record.sent(family, MessageType.X_SPDDELETE2)


def test_policies_are_dumped_and_flushed(engine: Engine, bystander: PfkeySocket, family: int, record: Record) -> None:
    assert engine.exchange(Message(MessageType.X_SPDDUMP)) == ()
    added = [
        ask(engine, MessageType.X_SPDADD, selector(family, 17, port) | outbound(tunnel(family))) for port in (1, 2, 3)
    ]
    all_waiting(bystander)
    entries = engine.exchange(Message(MessageType.X_SPDDUMP))
    assert [entry.seq for entry in entries] == [1, 2, 0]
    found = {_policy(entry).id: entry.extensions for entry in entries}
    assert found == {_policy(message).id: message.extensions for message in added}
    assert bystander.receive() is None
    flush = Message(MessageType.X_SPDFLUSH, SAType.UNSPEC, seq=21, pid=22)
    with PfkeySocket() as asking:
        asking.send(flush)
        assert all_waiting(asking) == [flush, flush]
        assert all_waiting(bystander) == [flush]
        asking.send(flush)
        assert all_waiting(asking) == [flush]
    assert engine.exchange(Message(MessageType.X_SPDDUMP)) == ()
    record.works(family, MessageType.X_SPDDUMP, MessageType.X_SPDFLUSH)
    record.sent(family, MessageType.X_SPDDUMP, MessageType.X_SPDFLUSH)


def test_a_label_is_taken_and_dropped_where_no_security_module_uses_it(
    engine: Engine, family: int, record: Record
) -> None:
    label: Extensions = {ExtensionType.X_SEC_CTX: SecurityContextExtension(1, 1, b"system_u:object_r:ipsec_spd_t:s0\0")}
    wanted = selector(family) | outbound(tunnel(family)) | label
    answer = ask(engine, MessageType.X_SPDADD, wanted)
    assert ExtensionType.X_SEC_CTX not in answer.extensions
    found = ask(engine, MessageType.X_SPDGET, by_index(_policy(answer).id))
    assert ExtensionType.X_SEC_CTX not in found.extensions
    record.ignored(family, ExtensionType.X_SEC_CTX)
    record.never_sent(family, ExtensionType.X_SEC_CTX)


def test_a_move_is_told_to_everybody_without_numbers_and_moves_the_sa(
    engine: Engine, bystander: PfkeySocket, family: int, record: Record
) -> None:
    at = ADDRESSES[family]
    old, new = tunnel(family), tunnel(family)._replace(source=at.roaming_later)
    policy = ask(engine, MessageType.X_SPDADD, selector(family) | outbound(old))
    ask(engine, MessageType.ADD, esp(family))
    all_waiting(bystander)
    kmaddress = KMAddressExtension(at.roaming_later, at.gateway, 500, 4500)
    wanted = selector(family) | outbound(old, new) | {ExtensionType.X_KMADDRESS: kmaddress}
    with PfkeySocket() as asking:
        asking.send(Message(MessageType.X_MIGRATE, SAType.UNSPEC, seq=31, pid=32, extensions=wanted))
        told = [all_waiting(sock) for sock in (asking, bystander)]
    for (announced,) in told:
        # Its type of SA is that of what was moved first, and not what was asked with.
        told_as = (announced.type, announced.satype, announced.seq, announced.pid)
        assert told_as == (MessageType.X_MIGRATE, SAType.ESP, 0, 0)
        assert _policy(announced) == PolicyExtension(lib.IPSEC_POLICY_IPSEC, lib.IPSEC_DIR_OUTBOUND, 0, 0, (old, new))
        # The addresses, and not the ports.
        assert announced.extensions[ExtensionType.X_KMADDRESS] == KMAddressExtension(at.roaming_later, at.gateway)
        assert announced.extensions[ExtensionType.ADDRESS_SRC] == host(at.roaming_inner)
    found = ask(engine, MessageType.X_SPDGET, by_index(_policy(policy).id))
    assert _policy(found).requests == (new,)
    (moved,) = engine.exchange(Message(MessageType.DUMP))
    assert moved.need(ExtensionType.ADDRESS_SRC, AddressExtension).address == at.roaming_later
    (back,) = engine.exchange(Message(MessageType.X_MIGRATE, extensions=selector(family) | outbound(new, old)))
    assert ExtensionType.X_KMADDRESS not in back.extensions
    record.works(family, MessageType.X_MIGRATE, ExtensionType.X_KMADDRESS)
    record.sent(family, MessageType.X_MIGRATE, ExtensionType.X_KMADDRESS)


def test_a_move_that_cannot_be_made_is_refused(engine: Engine, family: int) -> None:
    at = ADDRESSES[family]
    old, new = tunnel(family), tunnel(family)._replace(source=at.roaming_later)

    def refused(*requests: IPsecRequest) -> int | None:
        return refusal(engine, MessageType.X_MIGRATE, selector(family) | outbound(*requests))

    assert refused(old, new) == errno.ENOENT
    ask(engine, MessageType.X_SPDADD, selector(family) | outbound(old))
    assert refused(new, old) == errno.ENODATA
    assert refused(old) == errno.EINVAL
    assert refused(old, new._replace(reqid=8)) == errno.EINVAL
    assert refusal(engine, MessageType.X_MIGRATE, {}) == errno.EINVAL


def test_a_policy_that_discards_loses_its_requests(engine: Engine, family: int) -> None:
    discarding = outbound(tunnel(family), kind=lib.IPSEC_POLICY_DISCARD)
    answer = ask(engine, MessageType.X_SPDUPDATE, selector(family) | discarding)
    assert _policy(answer).requests == ()
    blocked = replace(make_policies(family)[0], action=Action.BLOCK)
    with pytest.raises(UnsupportedError, match="drops the templates of a policy that blocks"):
        engine.update_policy(blocked)


def test_a_policy_that_was_blocked_with_its_templates_is_shown_so_and_moves_with_its_sa(
    engine: Engine, family: int
) -> None:
    blocked = replace(make_policies(family)[0], action=Action.BLOCK)
    engine.add_sa(make_sa(family))
    with Engine.open("xfrm") as xfrm:
        xfrm.add_policy(blocked)
    assert [policy.as_written() for policy in engine.dump_policies()] == [blocked]
    (old,) = blocked.templates
    new = replace(old, source=ADDRESSES[family].roaming_later)
    engine.migrate_policy(blocked.id, [(old, new)])
    assert [policy.as_written() for policy in engine.dump_policies()] == [replace(blocked, templates=(new,))]
    assert [sa.source for sa in engine.dump_sas()] == [new.source]


def _policy(message: Message) -> PolicyExtension:
    return message.need(ExtensionType.X_POLICY, PolicyExtension)
