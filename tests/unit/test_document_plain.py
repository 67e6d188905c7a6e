"""Values of the model as plain dicts, and back: nothing is lost, and what is wrong is named by its place."""

import json
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings

from pfkeyx import AES_CBC, SA, Encryption, InvalidRequestError, Key, Mode, Policy, SAFlag
from pfkeyx.document.plain import (
    document,
    event_from_plain,
    event_name,
    event_to_plain,
    policy_from_plain,
    policy_to_plain,
    sa_from_plain,
    sa_to_plain,
    to_plain,
)
from pfkeyx.events import Event, NatMapping, SAFlush, SAProgress
from pfkeyx.model import Attribute, Direction, Protocol
from tests.unit.model_values import values_of
from tests.unit.samples import CBC, LOCAL, OUTBOUND, POLICIES, REMOTE, SAS, SECRET, SHA256
from tests.unit.test_keys_are_hidden import assert_hidden

_thoroughly = settings(max_examples=50)


def through_json(plain: Any) -> Any:
    return json.loads(json.dumps(plain))


@_thoroughly
@given(values_of(SA))
def test_any_sa_comes_back(sa: SA) -> None:
    assert sa_from_plain(through_json(sa_to_plain(sa, show_keys=True))) == sa


@_thoroughly
@given(values_of(Policy))
def test_any_policy_comes_back(policy: Policy) -> None:
    assert policy_from_plain(through_json(policy_to_plain(policy, show_keys=True))) == policy


@pytest.mark.parametrize("kind", get_args(Event), ids=lambda kind: kind.__name__)
def test_any_event_comes_back(kind: type[Event]) -> None:
    @settings(_thoroughly, max_examples=20)
    @given(values_of(kind))
    def comes_back(event: Event) -> None:
        assert event_from_plain(through_json(event_to_plain(event, show_keys=True))) == event

    comes_back()


@pytest.mark.parametrize("kind", [SA, Policy])
def test_every_field_is_written_when_it_is_not_what_it_is_by_default(kind: type[Any]) -> None:
    @settings(_thoroughly, max_examples=20)
    @given(values_of(kind))
    def is_written(value: Any) -> None:
        plain = to_plain(value, show_keys=True)
        for field in fields(kind):
            if field.name != "id" and getattr(value, field.name) not in (None, field.default):
                assert field.name in plain

    is_written()


def test_an_sa_is_written_in_the_order_of_ip_xfrm_and_without_what_it_does_not_have() -> None:
    sa = replace(OUTBOUND, usage=None, replay=None, flags=SAFlag.ESN, encryption=CBC, authentication=SHA256)
    assert list(sa_to_plain(sa, show_keys=True).items()) == [
        ("source", "192.0.2.2"),
        ("destination", "203.0.113.1"),
        ("protocol", "esp"),
        ("spi", "0xc0ffee01"),
        ("mode", "tunnel"),
        ("reqid", 7),
        ("encryption", {"algorithm": "aes-cbc", "key": SECRET[:32].hex(), "key_bits": 256}),
        ("authentication", {"algorithm": "hmac-sha256", "key": SECRET[:32].hex(), "key_bits": 256, "icv_bits": 128}),
        ("replay_window", 32),
        ("flags", ["esn"]),
    ]


def test_a_policy_is_written_without_what_it_does_not_have() -> None:
    assert policy_to_plain(POLICIES[2]) == {
        "selector": {"source": "10.2.0.0/16", "destination": "10.1.0.0/16"},
        "direction": "fwd",
        "templates": [
            {"protocol": "esp", "mode": "tunnel", "source": str(REMOTE), "destination": str(LOCAL), "reqid": 7}
        ],
        "action": "allow",
        "priority": 0,
    }


def test_keys_are_hidden_unless_they_are_asked_for() -> None:
    with_unknown = replace(OUTBOUND, other=(Attribute(99, SECRET),))
    for plain in (sa_to_plain(with_unknown), document([with_unknown]), event_to_plain(SAFlush(None))):
        assert_hidden(json.dumps(plain))
    assert SECRET.hex() in json.dumps(document([OUTBOUND], show_keys=True))


def test_a_key_that_the_kernel_hides_is_written_as_hidden_and_never_as_zeros() -> None:
    locked = replace(OUTBOUND, encryption=Encryption(AES_CBC, Key(bytes(16))))
    assert sa_to_plain(locked, show_keys=True)["encryption"] == {
        "algorithm": "aes-cbc",
        "key": "hidden",
        "key_bits": 128,
    }


def test_a_document_has_a_version_and_only_the_lists_that_are_given() -> None:
    assert set(document(list(SAS))) == {"version", "sa"}
    assert set(document(None, list(POLICIES))) == {"version", "policy"}
    assert document([], [])["version"] == 1


def test_an_event_has_the_name_of_its_kind() -> None:
    assert [event_name(kind) for kind in (SAFlush, NatMapping, SAProgress)] == [
        "sa_flush",
        "nat_mapping",
        "sa_progress",
    ]


def test_what_has_no_name_is_a_number() -> None:
    strange = replace(OUTBOUND, mode=Mode(9), flags=SAFlag.ESN | SAFlag(1 << 20))
    plain = sa_to_plain(strange, show_keys=True)
    assert plain["mode"] == 9
    assert plain["flags"] == ["esn", 1 << 20]
    assert sa_from_plain(plain) == strange
    assert policy_to_plain(replace(POLICIES[0], direction=Direction(3)))["direction"] == 3
    assert sa_to_plain(replace(OUTBOUND, id=replace(OUTBOUND.id, protocol=Protocol(43), spi=0)))["protocol"] == 43


def plain_sa(**changes: Any) -> dict[str, Any]:
    return {**sa_to_plain(OUTBOUND.as_written(), show_keys=True), **changes}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"speed": 9}, "sa.speed: there is no such field; take one of destination, spi, protocol"),
        ({"source": "192.0.2"}, "sa.source: '192.0.2' does not appear to be an IPv4 or IPv6 address"),
        ({"source": 5}, "sa.source: is a number and not text"),
        ({"spi": "0xxyz"}, "sa.spi: invalid literal"),
        ({"spi": 1.5}, "sa.spi: is a number and not a whole number"),
        ({"mode": "funnel"}, "sa.mode: 'funnel' is none of transport, tunnel"),
        ({"reqid": True}, "sa.reqid: is true or false and not a whole number"),
        ({"flags": "esn"}, "sa.flags: is text and not a list of names"),
        ({"flags": ["esn", "fast"]}, r"sa.flags\[1\]: 'fast' is none of no_ecn"),
        ({"encap": {"type": "sctp"}}, "sa.encap.type: take udp or tcp"),
        ({"encap": {"type": "udp", "port": 1}}, "sa.encap.port: there is no such field"),
        ({"encryption": {"algorithm": "rot13", "key": ""}}, "sa.encryption.algorithm: unknown algorithm 'rot13'"),
        ({"encryption": {"algorithm": "aes-cbc"}}, "sa.encryption.key: is missing"),
        ({"encryption": {"algorithm": "aes-cbc", "key": "hidden"}}, "sa.encryption.key: .* --show-keys"),
        ({"encryption": {"algorithm": "aes-cbc", "key": "xx"}}, "sa.encryption.key: is not hex$"),
        ({"encryption": {"algorithm": "aes-cbc", "key": "00ff", "key_bits": 128}}, "sa.encryption.key: has 16 bits"),
        ({"lifetime": {"soft": {"seconds": "9"}}}, "sa.lifetime.soft.seconds: is text and not a whole number"),
        ({"selector": {"source": "10.0.0.0/8"}}, "sa.selector.destination: is missing"),
        ({"other": [{"number": 1}]}, r"sa.other\[0\]: is not a table of number and data"),
        ({"usage": []}, "sa.usage: is a list and not a table"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_named_by_its_place(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{complaint}"):
        sa_from_plain(plain_sa(**changes))


def test_a_missing_field_and_an_event_of_no_kind_are_named() -> None:
    with pytest.raises(InvalidRequestError, match=r"^sa.spi: is missing"):
        sa_from_plain({"source": "192.0.2.1", "destination": "192.0.2.2"})
    with pytest.raises(InvalidRequestError, match=r"^event.event: take one of acquire, expire"):
        event_from_plain({"event": "eclipse"})
    with pytest.raises(InvalidRequestError, match=r"^policy: is a list and not a table"):
        policy_from_plain([])


def test_no_part_of_a_bad_key_is_in_the_error() -> None:
    bad = plain_sa(encryption={"algorithm": "aes-cbc", "key": SECRET.hex() + "g"})
    with pytest.raises(InvalidRequestError) as caught:
        sa_from_plain(bad)
    assert_hidden(str(caught.value))
    assert caught.value.__cause__ is None


def test_numbers_may_be_text_where_people_write_hex() -> None:
    assert sa_from_plain(plain_sa(spi=0xC0FFEE01)) == OUTBOUND.as_written()
    assert sa_from_plain(plain_sa(mark=5)).id.mark == sa_from_plain(plain_sa(mark="0x5/0xffffffff")).id.mark
