"""Messages that are cast after others of their kind, beside those that are written and checked one by one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network
from random import Random
from typing import Any
from unittest import mock

import pytest

from bench import gateway
from pfkeyx import (
    AES_CBC,
    HMAC_SHA1,
    NULL,
    SA,
    Authentication,
    Encryption,
    Feature,
    Key,
    PfkeyxError,
    Policy,
    Protocol,
    SAFlag,
)
from pfkeyx.algorithms import DEFLATE
from pfkeyx.columns import SAs
from pfkeyx.dialect import Dialect
from pfkeyx.model import IPAddress, Mode, Prefix, Replay, SAId, any_selector
from pfkeyx.molds import Molds, Needs
from pfkeyx.native import ffi
from pfkeyx.operation import Request
from pfkeyx.pfkey import PfkeyDialect
from pfkeyx.xfrm import XfrmDialect, codec
from pfkeyx.xfrm.encoding import encode
from tests.unit.random_values import random_policy, random_sa
from tests.unit.samples import INBOUND, OUTBOUND, POLICIES
from tests.unit.xfrm_bytes import told_policy

PLAIN = replace(
    OUTBOUND, encryption=Encryption(AES_CBC, Key(b"k" * 16)), authentication=Authentication(HMAC_SHA1, Key(b"a" * 20))
)
IPCOMP = replace(
    PLAIN,
    id=replace(PLAIN.id, protocol=Protocol.IPCOMP, spi=0x100),
    encryption=None,
    authentication=None,
    compression=DEFLATE,
    replay_window=0,
)
#: A number where a mode should be.
NUMBER_OF_IPTFS: Any = int(Mode.IPTFS)
#: Mobile IPv6's SAs have no SPI.
CARE_OF = SA(
    SAId(IPv6Address("2001:db8::1"), 0, Protocol(60)),
    IPv6Address("2001:db8::2"),
    Mode.ROUTE_OPTIMIZATION,
    care_of=IPv6Address("2001:db8::3"),
)
#: Over PF_KEY no SA can have it whose source is where it begins.
PREFIX = replace(any_selector(4), source=ip_network("198.51.100.0/24"))
KINDS = [
    PLAIN,
    IPCOMP,
    OUTBOUND,
    INBOUND,
    replace(PLAIN, encryption=Encryption(NULL, Key(b""))),
    replace(PLAIN, selector=PREFIX),
    CARE_OF,
    *(replace(PLAIN, replay=Replay(0, 0, (0,), extended=extended)) for extended in (False, True)),
    *(replace(PLAIN, mode=mode) for mode in (NUMBER_OF_IPTFS, Mode.IPTFS)),
]
DIALECTS = [XfrmDialect, PfkeyDialect]


def outcome(dialect: Dialect, operation: str, sa: SA) -> object:
    """Return the bytes of a request and what it needs, or the error."""
    try:
        request = getattr(dialect, operation)(sa)
    except PfkeyxError as error:
        return type(error), str(error)
    return told(request)


def told(request: Request[None]) -> object:
    message = request.wire.message
    data = bytes(message if isinstance(message, bytearray) else ffi.buffer(message.data, message.size))
    return data, request.operation, request.subject, request.needs, request.hints


def others(random: Random, sa: SA) -> Iterator[SA]:
    """Yield SAs like another one: right, and wrong in what differs."""

    def address() -> IPAddress:
        return type(sa.source)(random.getrandbits(sa.source.max_prefixlen))

    def with_keys(make: Callable[[int], bytes]) -> SA:
        return replace(
            sa,
            encryption=sa.encryption and replace(sa.encryption, key=Key(make(len(sa.encryption.key)))),
            authentication=sa.authentication and replace(sa.authentication, key=Key(make(len(sa.authentication.key)))),
        )

    def with_spi(spi: Any) -> SA:
        return replace(sa, id=replace(sa.id, spi=spi))

    for _ in range(3):
        other = replace(with_keys(random.randbytes), source=address(), reqid=random.getrandbits(32))
        yield replace(other, id=replace(sa.id, spi=random.randrange(1, 0x10000), destination=address()))
    yield from map(with_spi, (0, -1, 0xFFFF, 0x10000, 0xFFFFFFFF, 1 << 32))
    yield with_keys(bytes)
    yield with_keys(lambda size: random.randbytes(size + 1))
    for reqid in (0, -1, 0xFFFFFFFF, 1 << 32):
        yield replace(sa, reqid=reqid)
    for end in (
        IPv4Address("192.0.2.9"),
        IPv4Address("198.51.100.0"),
        IPv6Address("2001:db8::9"),
        IPv6Address("fe80::9%eth0"),
    ):
        yield replace(sa, source=end)
        yield replace(sa, id=replace(sa.id, destination=end))
        yield replace(sa, source=end, id=replace(sa.id, destination=end))
    yield replace(sa, flags=sa.flags ^ SAFlag.NO_ECN)
    yield replace(sa, selector=None if sa.selector else sa.effective_selector)
    yield sa


@pytest.mark.parametrize("operation", ["add_sa", "update_sa"])
@pytest.mark.parametrize("make", DIALECTS)
def test_what_is_cast_is_what_is_written_or_the_same_refusal(make: Callable[[], Dialect], operation: str) -> None:
    random = Random(5)
    casting = make()
    kinds = [*KINDS, *(replace(random_sa(random), selector=None) for _ in range(60))]
    for sa in kinds:
        for other in (sa, *others(random, sa), *others(random, sa)):
            assert outcome(casting, operation, other) == outcome(make(), operation, other)


def is_right(outcome: object) -> bool:
    return isinstance(outcome, tuple) and isinstance(outcome[0], bytes)


@pytest.mark.parametrize("operation", ["add_sa", "update_sa", "delete_sa"])
@pytest.mark.parametrize("make", DIALECTS)
def test_many_of_all_kinds_are_written_as_each_alone(make: Callable[[], Dialect], operation: str) -> None:
    random = Random(7)
    kinds = [*KINDS, *(replace(random_sa(random), selector=None) for _ in range(60))]
    values: list[Any] = [other for sa in kinds for other in others(random, sa)]
    if operation == "delete_sa":
        values = [sa.id for sa in values]
    right = [value for value in values if is_right(outcome(make(), operation, value))]
    alone = [outcome(make(), operation, value) for value in right]
    assert len(right) > 100
    # As they are, so that kinds follow each other, and in any order, so that all are mixed.
    order = 4 * list(range(len(right)))
    for _ in range(2):
        requests = getattr(make(), f"{operation}s")([right[number] for number in order])
        assert [told(request) for request in requests] == [alone[number] for number in order]
        random.shuffle(order)


def test_alone_an_sa_is_looked_at_as_among_many() -> None:
    random = Random(10)
    kinds = [*KINDS, *(random_sa(random) for _ in range(60))]
    for sa in (other for kind in kinds for other in (kind, *others(random, kind))):
        assert SAs().kind(sa) == SAs().kinds([sa])[0]
        if sa.source.version == sa.destination.version:  # others are of no kind that anything is cast of
            assert SAs().pieces(sa) == SAs().columns([sa])


def policies_like(random: Random, policy: Policy) -> Iterator[Policy]:
    """Yield policies like another one: right, and wrong in what differs."""

    def address(version: int) -> IPAddress:
        return IPv4Address(random.getrandbits(32)) if version == 4 else IPv6Address(random.getrandbits(128))

    def prefix(old: Prefix, length: int) -> Prefix:
        return ip_network((address(old.version), length), strict=False)

    def with_template(**changes: Any) -> Policy:
        return replace(policy, templates=(*policy.templates[:-1], replace(policy.templates[-1], **changes)))

    selector = policy.selector
    for length in (0, 1, 7, 8, 24, 24, 24, 32, 32):
        source, destination = prefix(selector.source, length), prefix(selector.destination, 32 - length)
        templates = tuple(
            replace(
                template,
                source=template.source and address(template.source.version),
                destination=template.destination and address(template.destination.version),
                reqid=random.getrandbits(32),
            )
            for template in policy.templates
        )
        yield replace(
            policy, selector=replace(selector, source=source, destination=destination), templates=templates, index=0
        )
    yield replace(policy, selector=replace(selector, source=ip_interface((address(selector.source.version), 20))))
    for reqid in (0, -1, 1 << 32) if policy.templates else ():
        yield with_template(reqid=reqid)
    for end in (IPv6Address("fe80::9%eth0"), None) if policy.templates else ():
        yield with_template(destination=end)
    yield codec.read_policy(told_policy(policy))
    yield policy


@pytest.mark.parametrize("operation", ["add_policy", "update_policy", "delete_policy"])
@pytest.mark.parametrize("make", DIALECTS)
def test_many_policies_are_written_as_each_alone(make: Callable[[], Dialect], operation: str) -> None:
    random = Random(9)
    kinds = [*POLICIES, *(random_policy(random) for _ in range(60))]
    values: list[Any] = [other for policy in kinds for other in policies_like(random, policy)]
    if operation == "delete_policy":
        values = [9, *(policy.id for policy in values)]
    right = [value for value in values if is_right(outcome(make(), operation, value))]
    alone = [outcome(make(), operation, value) for value in right]
    assert len(right) > 10
    order = 4 * list(range(len(right)))
    for _ in range(2):
        requests = getattr(make(), operation.replace("policy", "policies"))([right[number] for number in order])
        assert [told(request) for request in requests] == [alone[number] for number in order]
        random.shuffle(order)
    for value in values:
        if not is_right(refused := outcome(make(), operation, value)):
            with pytest.raises(PfkeyxError) as error:
                getattr(make(), operation.replace("policy", "policies"))([*right[:9], *right[:9], value])
            assert (type(error.value), str(error.value)) == refused


@pytest.mark.parametrize("change", [lambda sa: sa, lambda sa: sa.id], ids=["SAs", "identities"])
def test_of_many_policies_of_a_kind_few_are_written(change: Callable[[Any], Any]) -> None:
    dialect = XfrmDialect()
    policies = gateway.policies(50)
    any_source = [
        replace(it, selector=replace(it.selector, source=any_selector(4).source, destination=ip_network("10.0.0.0/8")))
        for it in gateway.policies(1)
    ]
    values = [change(policy) for policy in (*policies, *(50 * any_source[:1]))]
    write = dialect.delete_policies if change(POLICIES[0]) != POLICIES[0] else dialect.add_policies
    with mock.patch("pfkeyx.xfrm.requests.encode", wraps=encode) as encoding:
        assert len(write(values)) == 200
    assert encoding.call_count == 8


def test_of_policies_that_were_read_nothing_is_looked_at() -> None:
    policies = [replace(POLICIES[0], if_id=7, priority=number) for number in (1, 1, 1, 2)]
    read = [codec.read_policy(told_policy(policy)) for policy in policies]
    dialect = XfrmDialect()
    with mock.patch("pfkeyx.xfrm.requests.encode", side_effect=AssertionError):
        requests = dialect.update_policies(read)
    assert [told(request) for request in requests] == [told(dialect.update_policy(policy)) for policy in read]
    mixed = [policies[0], read[0], policies[1], read[1]]
    assert [request.needs for request in dialect.update_policies(mixed)] == [(Feature.IF_ID,), (), (Feature.IF_ID,), ()]


@pytest.mark.parametrize("make", DIALECTS)
def test_one_that_is_wrong_among_many_is_refused(make: Callable[[], Dialect]) -> None:
    random = Random(8)
    for wrong in others(random, PLAIN):
        refused = outcome(make(), "add_sa", wrong)
        many = [replace(PLAIN, reqid=number) for number in range(2000)]
        many[random.randrange(2000)] = wrong
        if is_right(refused):
            assert len(make().add_sas(many)) == 2000
            continue
        with pytest.raises(PfkeyxError) as error:
            make().add_sas(many)
        assert (type(error.value), str(error.value)) == refused


@pytest.mark.parametrize("make", DIALECTS)
def test_kinds_of_sas_may_take_turns(make: Callable[[], Dialect]) -> None:
    random = Random(6)
    casting = make()
    pairs = [(replace(PLAIN, reqid=number), replace(IPCOMP, reqid=number)) for number in range(1, 20)]
    for sa in (sa for pair in pairs for sa in pair):
        for operation in ("add_sa", "update_sa"):
            assert outcome(casting, operation, sa) == outcome(make(), operation, sa)
    for sa in (replace(PLAIN, flags=SAFlag(random.getrandbits(3)), reqid=number) for number in range(100)):
        assert outcome(casting, "add_sa", sa) == outcome(make(), "add_sa", sa)


NEEDS = (Feature.IF_ID,)


class Writing:
    """What writes an SA, and remembers which."""

    def __init__(self, message: Callable[[SA], bytes]) -> None:
        self._message = message
        self.written: list[SA] = []

    def __call__(self, sa: SA) -> tuple[bytearray, Needs]:
        self.written.append(sa)
        return bytearray(self._message(sa)), NEEDS


def pieces(sa: SA) -> bytes:
    assert sa.encryption is not None
    key = sa.encryption.key.reveal()
    return b"".join((sa.id.spi.to_bytes(4, "big"), sa.source.packed, b"-", sa.destination.packed, key))


MARKED = XfrmDialect().add_sa(SAs().marked(OUTBOUND)).wire.message


def plain_message(sa: SA) -> bytes:
    return sa.reqid.to_bytes(4, "little") + pieces(sa)


def test_of_a_kind_two_are_written_and_one_of_marks() -> None:
    writing = Writing(plain_message)
    molds = Molds(SAs(), writing)
    many = [replace(OUTBOUND, reqid=number) for number in range(10)]
    for sa in many:
        assert molds.write_one(sa) == (bytearray(plain_message(sa)), NEEDS)
    assert [sa for sa in writing.written if sa in many] == many[:2]
    assert len(writing.written) == 3


def test_of_many_of_a_kind_one_is_written_and_one_of_marks() -> None:
    writing = Writing(plain_message)
    many = [replace(OUTBOUND, reqid=number) for number in range(10)]
    written = Molds(SAs(), writing).write(many)
    assert list(map(bytes, written)) == list(map(plain_message, many))
    assert written.needs == [NEEDS] * 10
    assert len(writing.written) == 2


@pytest.mark.parametrize(
    "message",
    [
        lambda sa: pieces(sa) + bytes([sa.reqid & 1]),
        lambda sa: pieces(sa) + (sa.reqid ^ 1).to_bytes(4, "little"),
    ],
    ids=["in part", "as something else"],
)
def test_a_message_in_which_a_piece_does_not_stand_as_it_is_is_written_each_time(
    message: Callable[[SA], bytes],
) -> None:
    writing = Writing(message)
    molds = Molds(SAs(), writing)
    for number in range(10):
        sa = replace(OUTBOUND, reqid=number)
        assert molds.write_one(sa)[0] == message(sa)
        assert writing.written.pop() is not None


def test_what_happens_to_be_like_a_mark_shows_nothing() -> None:
    mark = 0xD34C8E17.to_bytes(4, "little")
    assert mark in MARKED
    many = [replace(OUTBOUND, reqid=reqid) for reqid in (0xD34C8E17, 1, 2)]
    written = Molds(SAs(), Writing(lambda sa: plain_message(sa) + mark)).write(many)
    assert list(map(bytes, written)) == [plain_message(sa) + mark for sa in many]


def test_a_piece_may_stand_several_times() -> None:
    writing = Writing(lambda sa: pieces(sa) + 2 * sa.reqid.to_bytes(4, "little"))
    many = [replace(OUTBOUND, reqid=number) for number in range(10)]
    written = Molds(SAs(), writing).write(many)
    assert list(map(bytes, written)) == [pieces(sa) + 2 * sa.reqid.to_bytes(4, "little") for sa in many]
    assert len(writing.written) == 2


class _Wide(SA):
    """An SA that has its window otherwise than its field says."""

    __slots__ = ()

    @property
    def esn(self) -> bool:
        return True


def test_what_is_of_a_class_of_its_own_or_only_compares_as_right_is_written_alone() -> None:
    plain = [replace(OUTBOUND, id=replace(OUTBOUND.id, spi=0x1000 + number)) for number in range(3)]
    odd = _Wide(**{name: getattr(plain[0], name) for name in SA.__match_args__})
    floating: Any = 32.0
    for sa in (odd, replace(plain[0], replay_window=floating)):
        assert outcome_of([sa]) == outcome_of([*plain, sa])


def outcome_of(sas: list[SA]) -> object:
    """Return the last one's message, or how it is refused."""
    try:
        return bytes(XfrmDialect().add_sas(sas)[-1].wire.message)
    except PfkeyxError as error:
        return type(error)
