"""Values to XFRM messages and back."""

import struct
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfkeyx import (
    AES_CBC,
    AES_GCM,
    CHACHA20_POLY1305,
    DEFLATE,
    HMAC_SHA256,
    HMAC_SHA512,
    NULL,
    SA,
    Action,
    Attribute,
    Authentication,
    Direction,
    Encryption,
    InvalidRequestError,
    Key,
    Lifetime,
    Limit,
    MalformedReplyError,
    Mark,
    Mode,
    Policy,
    Port,
    Protocol,
    SAFlag,
    SAId,
    SecurityContext,
    Selector,
    Template,
    UdpEncap,
)
from pfkeyx.algorithms import HMAC_SHA256_96, Kind, by_xfrm_name
from pfkeyx.model import any_selector
from pfkeyx.xfrm import XfrmDialect, codec, layout, parts
from pfkeyx.xfrm import messages as wire
from tests.unit.samples import CBC, GCM, OUTBOUND, POLICIES, SHA256, SHA256_96

versions: st.SearchStrategy[Literal[4, 6]] = st.sampled_from((4, 6))
numbers_32 = st.integers(1, 0xFFFFFFFF)
marks = st.none() | st.builds(Mark, numbers_32, numbers_32)
limits = st.builds(Limit, *[st.none() | st.integers(1, 2**63) for _ in range(4)])
lifetimes = st.builds(Lifetime, limits, limits)
ports = st.none() | st.builds(Port, st.integers(0, 0xFFFF), st.integers(1, 0xFFFF))
encryptions = st.sampled_from(
    [
        (Encryption(AES_GCM, Key(bytes(36)), 96), None),
        (Encryption(CHACHA20_POLY1305, Key(bytes(36))), None),
        (Encryption(AES_CBC, Key(bytes(32))), Authentication(HMAC_SHA256, Key(bytes(32)))),
        (Encryption(AES_CBC, Key(bytes(16))), Authentication(HMAC_SHA512, Key(bytes(64)))),
        (Encryption(NULL, Key(b"")), Authentication(HMAC_SHA256_96, Key(bytes(32)))),
    ]
)


@st.composite
def selectors(draw: st.DrawFn) -> Selector:
    version = draw(versions)
    prefix = st.ip_addresses(v=version).flatmap(
        lambda a: st.integers(0, a.max_prefixlen).map(lambda n: ip_network((a, n), strict=False))
    )
    return Selector(
        draw(prefix),
        draw(prefix),
        draw(st.integers(0, 255)),
        draw(ports),
        draw(ports),
        draw(st.integers(0, 2**31 - 1)),
        draw(st.integers(0, 0xFFFFFFFF)),
    )


def narrowed(selector: Selector) -> Selector:
    """Return a selector that cannot be taken for the one of everything."""
    return replace(selector, protocol=17)


@st.composite
def sas(draw: st.DrawFn) -> SA:
    version = draw(versions)
    encryption, authentication = draw(encryptions)
    window = draw(st.integers(0, 4096))
    return SA(
        id=SAId(draw(st.ip_addresses(v=version)), draw(numbers_32), Protocol.ESP, draw(marks)),
        source=draw(st.ip_addresses(v=version)),
        mode=draw(st.sampled_from(list(Mode))),
        reqid=draw(st.integers(0, 0xFFFFFFFF)),
        encryption=encryption,
        authentication=authentication,
        encap=draw(st.none() | st.builds(UdpEncap, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))),
        selector=draw(st.none() | selectors().map(narrowed)),
        lifetime=draw(lifetimes),
        replay_window=window,
        flags=draw(st.sampled_from((SAFlag(0), SAFlag.ESN, SAFlag.NO_ECN | SAFlag.DECAP_DSCP))),
        if_id=draw(st.integers(0, 0xFFFFFFFF)),
        other=draw(
            st.lists(st.builds(Attribute, st.just(22), st.binary(min_size=4, max_size=4)), max_size=1).map(tuple)
        ),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    selector = draw(selectors())
    template = Template(
        mode=Mode.TUNNEL,
        source=draw(st.ip_addresses(v=draw(versions))),
        reqid=draw(st.integers(0, 0xFFFFFFFF)),
        optional=draw(st.booleans()),
        spi=draw(st.integers(0, 0xFFFFFFFF)),
    )
    template = replace(template, destination=template.source)
    transport = Template(protocol=Protocol.AH, mode=Mode.TRANSPORT)
    return Policy(
        selector=selector,
        direction=draw(st.sampled_from((Direction.IN, Direction.OUT, Direction.FORWARD))),
        templates=draw(st.sampled_from(((), (template,), (template, transport)))),
        action=draw(st.sampled_from(list(Action))),
        priority=draw(st.integers(0, 0xFFFFFFFF)),
        lifetime=draw(lifetimes),
        mark=draw(marks),
        if_id=draw(st.integers(0, 0xFFFFFFFF)),
        type=draw(st.sampled_from((0, 1))),
        flags=draw(st.integers(0, 7)),
        share=draw(st.integers(0, 3)),
    )


def decoded(message_class: type[Any], data: bytes) -> Any:
    message = message_class(data)
    message.decode()
    return message


def through_the_wire(sa: SA) -> SA:
    data = parts.encode(wire.usersa_msg, wire.XFRM_MSG_NEWSA, 0, codec.sa_fields(sa), codec.sa_attributes(sa), sa.other)
    return codec.decode_sa(decoded(wire.usersa_msg, bytes(data)))


@given(sas())
def test_an_sa_comes_back_as_it_was_written(sa: SA) -> None:
    assert through_the_wire(sa).as_written() == sa


@given(policies())
def test_a_policy_comes_back_as_it_was_written(policy: Policy) -> None:
    data = parts.encode(
        wire.userpolicy_msg,
        wire.XFRM_MSG_NEWPOLICY,
        0,
        codec.policy_fields(policy),
        codec.policy_attributes(policy),
        policy.other,
    )
    assert codec.decode_policy(decoded(wire.userpolicy_msg, bytes(data))).as_written() == policy


def test_a_selector_keeps_host_bits_that_a_network_cannot_hold() -> None:
    selector = Selector(ip_interface("10.1.2.3/16"), ip_network("10.2.0.0/16"))
    assert parts.decode_selector(_complete(parts.selector_fields(selector))) == selector


def test_the_family_comes_from_the_message_and_not_from_zeros() -> None:
    assert parts.decode_address(ip_address("2001:db8::").packed, 10) == ip_address("2001:db8::")
    assert parts.decode_address(bytes(16), 10) == ip_address("::")


def test_the_empty_masks_of_a_policy_made_over_pf_key_allow_every_algorithm() -> None:
    (template,) = POLICIES[0].templates
    policy = replace(POLICIES[0], templates=(replace(template, algorithm_masks=(0, 0, 0)),))
    data = parts.encode(
        wire.userpolicy_msg, wire.XFRM_MSG_NEWPOLICY, 0, codec.policy_fields(policy), codec.policy_attributes(policy)
    )
    assert codec.decode_policy(decoded(wire.userpolicy_msg, bytes(data))).templates == POLICIES[0].templates


def test_an_algorithm_without_a_row_is_shown_under_the_kernels_name() -> None:
    unknown = replace(AES_CBC, xfrm_name="cbc(new)")
    sa = through_the_wire(replace(OUTBOUND, encryption=Encryption(unknown, Key(bytes(16)))))
    assert sa.encryption is not None
    assert sa.encryption.algorithm.name == "cbc(new)"


def test_an_sa_for_both_ip_versions_stays_one() -> None:
    both = replace(OUTBOUND.as_written(), flags=SAFlag.AF_UNSPEC)
    assert codec.sa_selector_fields(both) == {}
    assert through_the_wire(both).as_written() == both
    one = replace(both, selector=any_selector(4))
    assert through_the_wire(one).as_written() == one


def test_an_encapsulation_other_than_in_udp_is_kept_as_it_came() -> None:
    in_tcp = Attribute(4, struct.pack("=HHHH16x", 7, 1, 2, 0))
    sa = through_the_wire(replace(OUTBOUND, other=(in_tcp,)))
    assert sa.encap is None
    assert sa.other == (in_tcp,)


def test_a_number_that_no_field_holds_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequestError, match="does not fit"):
        parts.encode(wire.usersa_msg, wire.XFRM_MSG_NEWSA, 0, codec.sa_fields(replace(OUTBOUND, reqid=1 << 32)))


def test_a_truncation_without_a_row_is_read_and_can_be_written_back() -> None:
    sha1 = by_xfrm_name("hmac(sha1)", Kind.AUTHENTICATION, 80)
    gcm = by_xfrm_name("rfc4106(gcm(aes))", Kind.AEAD, 112)
    for encryption, authentication in (
        (CBC, Authentication(sha1, Key(bytes(range(20))), 80)),
        (Encryption(gcm, GCM.key, 112), None),
    ):
        sa = replace(OUTBOUND.as_written(), encryption=encryption, authentication=authentication)
        read = through_the_wire(sa).as_written()
        assert read == sa
        XfrmDialect().update_sa(read)


def test_sha_256_is_told_apart_by_its_truncation() -> None:
    for integrity in (SHA256, SHA256_96):
        sa = replace(OUTBOUND.as_written(), encryption=CBC, authentication=integrity)
        assert through_the_wire(sa).as_written() == sa


def test_a_compressing_sa_comes_back_as_it_was_written() -> None:
    sa = replace(OUTBOUND.as_written(), encryption=None, compression=DEFLATE, replay_window=0)
    sa = replace(sa, id=replace(sa.id, spi=0x1234, protocol=Protocol.IPCOMP))
    assert through_the_wire(sa).as_written() == sa


def test_a_security_context_comes_back_as_it_was_written() -> None:
    label = SecurityContext(b"system_u:object_r:ipsec_spd_t:s0\0", algorithm=2, doi=3)
    sa = replace(OUTBOUND.as_written(), security_context=label)
    assert through_the_wire(sa).as_written() == sa
    policy = replace(POLICIES[0], security_context=label)
    attributes = codec.policy_attributes(policy)
    data = parts.encode(wire.userpolicy_msg, wire.XFRM_MSG_NEWPOLICY, 0, codec.policy_fields(policy), attributes)
    assert codec.decode_policy(decoded(wire.userpolicy_msg, bytes(data))).as_written() == policy


def test_a_security_context_that_claims_more_than_came_is_malformed() -> None:
    label = Attribute(8, struct.pack("=HHBBH", 100, 8, 1, 1, 92) + b"short")
    data = parts.encode(wire.usersa_msg, wire.XFRM_MSG_NEWSA, 0, codec.sa_fields(OUTBOUND), [], (label,))
    with pytest.raises(MalformedReplyError):
        parts.decoding(codec.decode_sa, decoded(wire.usersa_msg, bytes(data)))


def test_a_mode_without_a_name_is_kept() -> None:
    assert through_the_wire(replace(OUTBOUND, mode=Mode(5))).mode == 5


def _complete(fields: dict[str, Any]) -> dict[str, Any]:
    data = bytearray()
    layout.xfrm_selector.encode_into(data, 0, fields)
    return layout.xfrm_selector.decode_from(bytes(data), 0)[0]
