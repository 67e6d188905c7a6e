"""What the C core reads of the kernel's tables, beside what the declared messages read of the same bytes."""

import copy
import pickle
import random
import struct
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import fields, replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import accumulate
from typing import Any

import pytest

from pfkeyx import SA, AddressPair, AddressUpdate, MalformedReplyError, Mode, Policy, Protocol, Template
from pfkeyx.entries import Entries, Messages
from pfkeyx.migration.tables import tabled
from pfkeyx.migration.templates import concerns
from pfkeyx.model import IPAddress
from pfkeyx.native import lib
from pfkeyx.operation import Joined
from pfkeyx.xfrm import codec
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.datagram import HEADER_SIZE
from pfkeyx.xfrm.encoding import encode
from pfkeyx.xfrm.entry import PolicyEntry, SAEntry
from pfkeyx.xfrm.messages import parse
from tests.unit.random_values import random_policy, random_sa
from tests.unit.samples import LOCAL, OUTBOUND, POLICIES, REMOTE, TUNNEL
from tests.unit.xfrm_bytes import told_policy, told_sa


def test_a_thousand_sas_are_read_like_the_declared_messages() -> None:
    generator = random.Random(1)
    for _ in range(1000):
        data = told_sa(random_sa(generator))
        assert codec.read_sa(data) == codec.decode_sa(parse(wire.usersa_msg, data))


def test_a_thousand_sas_and_policies_are_written_like_the_declared_messages() -> None:
    generator = random.Random(3)
    for _ in range(1000):
        sa, policy = random_sa(generator), random_policy(generator)
        attributes = codec.sa_attributes(sa, sa.replay)
        _is_written_alike(wire.usersa_msg, wire.XFRM_MSG_NEWSA, codec.sa_fields(sa), attributes)
        attributes = codec.policy_attributes(policy)
        _is_written_alike(wire.userpolicy_msg, wire.XFRM_MSG_NEWPOLICY, codec.policy_fields(policy), attributes)


def _is_written_alike(declared: Any, number: int, values: dict[str, Any], attributes: list[tuple[str, Any]]) -> None:
    message = declared()
    message["header"]["type"], message["header"]["flags"] = number, 5
    message.update(values)
    message["attrs"] = attributes
    message.encode()
    assert encode(declared, number, 5, values, attributes) == bytes(message.data)


def test_a_thousand_policies_are_read_like_the_declared_messages() -> None:
    generator = random.Random(2)
    for _ in range(1000):
        data = told_policy(random_policy(generator))
        assert codec.read_policy(data) == codec.decode_policy(parse(wire.userpolicy_msg, data))


@pytest.mark.parametrize(
    ("data", "parsed", "read"),
    [
        (told_sa(OUTBOUND), wire.usersa_msg, codec.read_sa),
        (told_policy(POLICIES[0]), wire.userpolicy_msg, codec.read_policy),
    ],
    ids=["SA", "policy"],
)
def test_what_ends_early_is_refused_wherever_it_ends(data: bytes, parsed: Any, read: Callable[[bytes], object]) -> None:
    for size in range(len(data)):
        cut = struct.pack("=I", size) + data[4:size]
        try:
            parse(parsed, cut.ljust(HEADER_SIZE, b"\0"))
        except MalformedReplyError:
            with pytest.raises(MalformedReplyError, match="cut short"):
                read(cut)


def test_no_byte_of_an_sa_makes_it_fail_later_than_when_it_is_read() -> None:
    generator = random.Random(8)
    data = told_sa(replace(OUTBOUND, selector=OUTBOUND.effective_selector))
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(generator.randrange(1, 4)):
            changed[generator.randrange(HEADER_SIZE, len(data))] = generator.randrange(256)
        try:
            sa = codec.read_sa(bytes(changed))
        except MalformedReplyError:
            continue
        for field in fields(SA):
            getattr(sa, field.name)


def test_a_field_is_worked_out_once_and_kept() -> None:
    sa = codec.read_sa(told_sa(OUTBOUND))
    assert sa.encryption is sa.encryption
    assert sa.encryption == OUTBOUND.encryption


def test_a_value_that_was_read_is_like_any_other() -> None:
    sa = codec.read_sa(told_sa(OUTBOUND))
    assert repr(sa) == repr(codec.decode_sa(parse(wire.usersa_msg, told_sa(OUTBOUND))))
    assert hash(sa.id) == hash(OUTBOUND.id)
    assert replace(sa, reqid=9).reqid == 9
    with pytest.raises(AttributeError, match="'SA' object has no attribute 'spy'"):
        sa.spy  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError):
        sa.reqid = 3  # type: ignore[misc]
    with pytest.raises(AttributeError, match="'SA' object has no attribute 'id'"):
        SA.__new__(SA).id  # noqa: B018


def test_a_value_that_was_read_can_be_copied_and_sent_to_another_process() -> None:
    sa = codec.read_sa(told_sa(OUTBOUND))
    assert copy.copy(sa) == copy.deepcopy(sa) == pickle.loads(pickle.dumps(sa)) == sa


def dumped(*messages: bytes) -> Messages:
    return Messages(b"".join(messages), list(accumulate(map(len, messages))))


def test_the_entries_of_a_dump_are_a_sequence() -> None:
    told = [told_sa(replace(OUTBOUND, reqid=number, usage=None)) for number in range(5)]
    joined = Joined([Entries(dumped(*told[:2]), codec.read_sa), [], Entries(dumped(*told[2:]), codec.read_sa)])
    assert len(joined) == 5
    assert [sa.reqid for sa in joined] == [0, 1, 2, 3, 4]
    assert [joined[number].reqid for number in (0, 1, 2, 4, -1)] == [0, 1, 2, 4, 4]
    assert [sa.reqid for sa in joined[1:4]] == [1, 2, 3]
    assert joined == list(joined)
    assert joined != list(joined)[:-1]
    assert not Joined([])
    with pytest.raises(IndexError):
        joined[5]


def test_what_is_read_together_has_the_handles_of_its_identities() -> None:
    generator = random.Random(11)
    sas = codec.every_sa(dumped(*(told_sa(random_sa(generator)) for _ in range(1000))))
    assert isinstance(sas, Entries)
    assert [*tabled([sas])] == [sa.id.handle for sa in sas]
    anywhere = Template(Protocol.ESP, Mode.TRANSPORT)
    told = [told_policy(replace(random_policy(generator), templates=(anywhere,))) for _ in range(1000)]
    policies = codec.read_policies_at([], dumped(*told))
    assert len(policies) == len(told)
    assert [*tabled([policies])] == [policy.id.handle for policy in policies]


def test_in_what_two_entries_differ_is_told_alike_by_their_bytes_and_by_their_fields() -> None:
    generator = random.Random(12)
    verdicts: Counter[int] = Counter()
    for _ in range(1000):
        sa, policy = random_sa(generator), random_policy(generator)
        name = generator.choice(("", "usage", "replay", "reqid", "lifetime", "security_context", "other"))
        other = replace(sa, **{name: getattr(random_sa(generator), name)}) if name else sa
        verdicts[_compare(SAEntry, told_sa(sa), told_sa(other), SA.counted.keys())] += 1
        others_policy = generator.choice((replace(policy, index=7), replace(policy, priority=8)))
        _compare(PolicyEntry, told_policy(policy), told_policy(others_policy), Policy.counted.keys())
    assert min(verdicts[verdict] for verdict in (0, 1, 2)) > 20


def _compare(kind: Any, one: bytes, other: bytes, counted: Set[str]) -> int:
    """Return the verdict of the C core, after a look at whether it is true."""
    verdict: int = kind(one).compare(kind(other))
    read = codec.read_sa if kind is SAEntry else codec.read_policy
    values = read(one), read(other)
    names = values[0].__match_args__
    differing = {name for name in names if getattr(values[0], name) != getattr(values[1], name)}
    if verdict == lib.PFKEYX_SAME:
        assert not differing
    elif verdict == lib.PFKEYX_COUNTS_DIFFER:
        assert differing <= counted
    return verdict


def test_of_a_thousand_policies_none_is_left_out_that_a_move_concerns() -> None:
    generator = random.Random(4)
    policies = [codec.read_policy(told_policy(random_policy(generator))) for _ in range(1000)]
    ends = {end for policy in policies for t in policy.templates for end in (t.source, t.destination) if end}
    messages = dumped(*map(told_policy, policies))
    for old in generator.sample([end for end in sorted(ends, key=str) if end.version == 4], 15):
        update = AddressUpdate(old, IPv4Address("203.0.113.77"))
        assert_only_what_is_elsewhere_is_left_out(policies, messages, update, (old,))
    pairs = {(t.source, t.destination) for policy in policies for t in policy.templates if t.source and t.destination}
    for local, remote in generator.sample([pair for pair in sorted(pairs, key=str) if pair[0].version == 4], 15):
        update = AddressUpdate(AddressPair(local, remote), AddressPair(IPv4Address("203.0.113.77"), remote))
        assert_only_what_is_elsewhere_is_left_out(policies, messages, update, (local, remote))


def assert_only_what_is_elsewhere_is_left_out(
    policies: Sequence[Policy], messages: Messages, update: AddressUpdate, place: tuple[IPAddress, ...]
) -> None:
    found = codec.read_policies_at([[end.packed for end in place]], messages)
    assert [policy for policy in found if concerns(update, policy)] == [p for p in policies if concerns(update, p)]
    assert not any(_is_elsewhere(policy, place) for policy in found)


def _is_elsewhere(policy: Policy, place: tuple[IPAddress, ...]) -> bool:
    return all(t.mode is Mode.TUNNEL and not {t.source, t.destination}.issuperset(place) for t in policy.templates)


def test_of_a_gateways_policies_those_of_one_tunnel_are_read() -> None:
    others = replace(TUNNEL, remote=IPv4Address("203.0.113.9")).policies()
    messages = dumped(*map(told_policy, (*POLICIES, *others)))
    one, all_of_them = ([LOCAL.packed, REMOTE.packed],), ([LOCAL.packed],)
    assert [policy.as_written() for policy in codec.read_policies_at(one, messages)] == list(POLICIES)
    assert len(codec.read_policies_at(all_of_them, messages)) == 6


@pytest.mark.parametrize("network", [ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
def test_a_prefix_that_is_longer_than_an_address_is_refused(network: Any) -> None:
    assert isinstance(network.network_address, (IPv4Address, IPv6Address))
    selector = replace(OUTBOUND.effective_selector, source=network, destination=network)
    data = bytearray(told_sa(replace(OUTBOUND, selector=selector)))
    data[HEADER_SIZE + 43] = network.max_prefixlen + 1
    with pytest.raises(MalformedReplyError):
        codec.read_sa(bytes(data))
