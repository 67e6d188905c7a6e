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
    DefaultPolicy,
    Direction,
    Encryption,
    Failures,
    InvalidRequestError,
    Iptfs,
    Key,
    Lifetime,
    Limit,
    MalformedReplyError,
    Mark,
    Mode,
    Offload,
    OffloadFlag,
    Policy,
    PolicyFlag,
    PolicyType,
    Port,
    Progress,
    Protocol,
    Replay,
    SAExtraFlag,
    SAFlag,
    SAId,
    SecurityContext,
    Selector,
    Share,
    TcpEncap,
    Template,
    UdpEncap,
    Usage,
)
from pfkeyx.algorithms import HMAC_SHA256_96, Kind, by_xfrm_name
from pfkeyx.model import Encap, any_selector
from pfkeyx.xfrm import XfrmDialect, codec, layout, parts
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.encoding import encode
from pfkeyx.xfrm.messages import parse
from tests.unit.samples import CBC, GCM, OUTBOUND, POLICIES, SHA256, SHA256_96

versions: st.SearchStrategy[Literal[4, 6]] = st.sampled_from((4, 6))
numbers = st.integers(0, 0xFFFFFFFF)
numbers_32 = st.integers(1, 0xFFFFFFFF)
marks = st.none() | st.builds(Mark, numbers_32, numbers_32)
limits = st.builds(Limit, *[st.none() | st.integers(1, 2**63) for _ in range(4)])
lifetimes = st.builds(Lifetime, limits, limits)
ports = st.none() | st.builds(Port, st.integers(0, 0xFFFF), st.integers(1, 0xFFFF))
offloads = st.none() | st.builds(
    Offload, st.integers(0, 2**31 - 1), st.sampled_from((OffloadFlag(0), OffloadFlag.INBOUND | OffloadFlag.PACKET))
)
iptfs = st.builds(
    Iptfs,
    drop_time_us=st.none() | numbers,
    reorder_window=st.none() | st.integers(0, 0xFFFF),
    dont_fragment=st.booleans(),
    init_delay_us=st.none() | numbers,
    queue_octets=st.none() | numbers,
    packet_octets=st.none() | numbers,
)
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


def encaps(version: Literal[4, 6]) -> st.SearchStrategy[Encap]:
    """Return encapsulations; an original address of zeros is none."""
    port = st.integers(0, 0xFFFF)
    originals = st.none() | st.ip_addresses(v=version).filter(lambda address: int(address) > 0)
    return st.builds(UdpEncap, port, port, originals) | st.builds(TcpEncap, port, port, originals)


@st.composite
def sas(draw: st.DrawFn) -> SA:
    version = draw(versions)
    encryption, authentication = draw(encryptions)
    return SA(
        id=SAId(draw(st.ip_addresses(v=version)), draw(numbers_32), Protocol.ESP, draw(marks)),
        source=draw(st.ip_addresses(v=version)),
        mode=draw(st.sampled_from(list(Mode))),
        reqid=draw(numbers),
        encryption=encryption,
        authentication=authentication,
        encap=draw(st.none() | encaps(version)),
        selector=draw(st.none() | selectors().map(narrowed)),
        lifetime=draw(lifetimes),
        replay_window=draw(st.integers(0, 4096)),
        flags=draw(st.sampled_from((SAFlag(0), SAFlag.ESN, SAFlag.NO_ECN | SAFlag.DECAP_DSCP))),
        extra_flags=draw(st.builds(SAExtraFlag, numbers)),
        if_id=draw(numbers),
        output_mark=draw(marks),
        offload=draw(offloads),
        tfc_padding=draw(numbers),
        direction=draw(st.sampled_from((None, Direction.IN, Direction.OUT))),
        nat_keepalive_s=draw(numbers),
        mapping_threshold_s=draw(numbers),
        cpu=draw(st.none() | numbers),
        iptfs=draw(st.none() | iptfs.filter(lambda it: it != Iptfs())),
        care_of=draw(st.none() | st.ip_addresses(v=version)),
        other=draw(st.lists(st.builds(Attribute, st.just(60), st.binary()), max_size=2).map(tuple)),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    selector = draw(selectors())
    template = Template(
        mode=Mode.TUNNEL,
        source=draw(st.ip_addresses(v=draw(versions))),
        reqid=draw(numbers),
        optional=draw(st.booleans()),
        share=draw(st.sampled_from(list(Share))),
        spi=draw(numbers),
    )
    template = replace(template, destination=template.source)
    transport = Template(protocol=Protocol.AH, mode=Mode.TRANSPORT)
    return Policy(
        selector=selector,
        direction=draw(st.sampled_from((Direction.IN, Direction.OUT, Direction.FORWARD))),
        templates=draw(st.sampled_from(((), (template,), (template, transport)))),
        action=draw(st.sampled_from(list(Action))),
        priority=draw(numbers),
        lifetime=draw(lifetimes),
        mark=draw(marks),
        if_id=draw(numbers),
        type=draw(st.sampled_from(list(PolicyType))),
        flags=draw(st.builds(PolicyFlag, st.integers(0, 7))),
        share=draw(st.sampled_from(list(Share))),
        offload=draw(offloads),
        other=draw(st.lists(st.builds(Attribute, st.just(60), st.binary()), max_size=2).map(tuple)),
        index=draw(numbers),
    )


def decoded(message_class: type[Any], data: bytes) -> Any:
    return parse(message_class, data)


def through_the_wire(sa: SA) -> SA:
    data = encode(wire.usersa_msg, wire.XFRM_MSG_NEWSA, 0, codec.sa_fields(sa), codec.sa_attributes(sa), sa.other)
    return codec.decode_sa(decoded(wire.usersa_msg, bytes(data)))


@given(sas())
def test_an_sa_comes_back_as_it_was_written(sa: SA) -> None:
    assert through_the_wire(sa).as_written() == sa


@given(policies())
def test_a_policy_comes_back_as_it_was_written(policy: Policy) -> None:
    data = encode(
        wire.userpolicy_msg,
        wire.XFRM_MSG_NEWPOLICY,
        0,
        codec.policy_fields(policy),
        codec.policy_attributes(policy),
        policy.other,
    )
    assert replace(codec.decode_policy(decoded(wire.userpolicy_msg, bytes(data))), usage=None) == policy


def test_a_selector_keeps_host_bits_that_a_network_cannot_hold() -> None:
    selector = Selector(ip_interface("10.1.2.3/16"), ip_network("10.2.0.0/16"))
    assert parts.decode_selector(_complete(parts.selector_fields(selector))) == selector


def test_the_family_comes_from_the_message_and_not_from_zeros() -> None:
    assert parts.decode_address(ip_address("2001:db8::").packed, 10) == ip_address("2001:db8::")
    assert parts.decode_address(bytes(16), 10) == ip_address("::")


def test_the_empty_masks_of_a_policy_made_over_pf_key_allow_every_algorithm() -> None:
    (template,) = POLICIES[0].templates
    policy = replace(POLICIES[0], templates=(replace(template, algorithm_masks=(0, 0, 0)),))
    data = encode(
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


def test_an_encapsulation_that_the_model_has_no_name_for_is_kept_as_it_came() -> None:
    before_standards = Attribute(4, struct.pack("=HHHH16x", 1, 1, 2, 0))
    sa = through_the_wire(replace(OUTBOUND, other=(before_standards,)))
    assert sa.encap is None
    assert sa.other == (before_standards,)


def test_an_encapsulation_is_written_as_the_kernel_has_it() -> None:
    address = ip_address("198.51.100.7")
    assert parts.encap_fields(UdpEncap(1, 2)) == {"encap_type": 2, "encap_sport": 1, "encap_dport": 2, "encap_oa": b""}
    in_tcp = parts.encap_fields(TcpEncap(1, 2, address))
    assert (in_tcp["encap_type"], in_tcp["encap_oa"]) == (7, address.packed)


@pytest.mark.parametrize(("direction", "number"), [(Direction.IN, 1), (Direction.OUT, 2)])
def test_the_direction_of_an_sa_is_not_numbered_like_that_of_a_policy(direction: Direction, number: int) -> None:
    assert parts.direction_attributes(direction) == [("XFRMA_SA_DIR", number)]


def test_an_output_mark_without_a_mask_sets_all_bits() -> None:
    sa = through_the_wire(replace(OUTBOUND, other=(Attribute(29, struct.pack("=I", 7)),)))
    assert sa.output_mark == Mark(7)
    assert sa.other == ()


@pytest.mark.parametrize("window", [0, 1, 33, 64, 4095, 4096])
def test_an_outbound_sa_with_64_bit_numbers_has_as_many_words_as_its_window_takes(window: int) -> None:
    sa = replace(OUTBOUND, flags=SAFlag.ESN, replay_window=window)
    name, fields = codec.replay_attribute(sa, Replay(1 << 32 | 2, 0))
    assert name == "XFRMA_REPLAY_ESN_VAL"
    assert (fields["bmp_len"], len(fields["bmp"])) == ((window + 31) // 32, (window + 31) // 32 * 4)
    assert (fields["oseq_hi"], fields["oseq"]) == (1, 2)


def test_a_bitmap_longer_than_the_window_needs_goes_back_whole() -> None:
    sa = replace(OUTBOUND, replay_window=64)
    replay = Replay(1, 2, (1, 2, 3, 4))
    assert codec.replay_attribute(sa, replay)[1]["bmp"] == struct.pack("=4I", 1, 2, 3, 4)


def decoded_sa(*attributes: tuple[str, Any], other: tuple[Attribute, ...] = ()) -> SA:
    fields = codec.sa_fields(OUTBOUND)
    return codec.decode_sa(
        parse(wire.usersa_msg, bytes(encode(wire.usersa_msg, wire.XFRM_MSG_NEWSA, 0, fields, [*attributes], other)))
    )


def test_a_direction_without_a_name_is_kept_as_it_came() -> None:
    sa = decoded_sa(("XFRMA_SA_DIR", 3))
    assert (sa.direction, sa.other) == (None, (Attribute(33, b"\x03"),))


def test_an_attribute_that_is_kept_gives_way_to_the_field_that_is_set() -> None:
    unheard_of = Attribute(4, struct.pack("=HHH2x16x", 99, 1, 2))
    sa = replace(decoded_sa(other=(unheard_of,)), encap=UdpEncap())
    assert sa.other == (unheard_of,)
    request = XfrmDialect().update_sa(replace(OUTBOUND, other=sa.other, encap=sa.encap))
    message = parse(wire.usersa_msg, bytes(request.wire.message))
    assert [fields["encap_type"] for fields in message.get_attrs("XFRMA_ENCAP")] == [wire.UDP_ENCAP_ESPINUDP]


def test_the_name_of_an_algorithm_ends_where_c_ends_it() -> None:
    name = GCM.algorithm.xfrm_name.encode() + b"\0rubbish"
    fields = {"alg_name": name, "alg_key_len": 160, "alg_icv_len": 128, "alg_key": bytes(range(20))}
    assert decoded_sa(("XFRMA_ALG_AEAD", fields)).encryption == Encryption(GCM.algorithm, Key(bytes(range(20))), 128)


def test_key_bytes_are_not_in_what_a_message_prints() -> None:
    fields = {"alg_name": b"cbc(aes)", "alg_key_len": 128, "alg_key": b"a secret of ours"}
    data = encode(wire.usersa_msg, wire.XFRM_MSG_NEWSA, 0, {}, [("XFRMA_ALG_CRYPT", fields)])
    message = parse(wire.usersa_msg, bytes(data))
    assert message.get_attr("XFRMA_ALG_CRYPT")["alg_key"] == b"a secret of ours"
    assert "secret" not in f"{message} {message!r}"
    assert "<16 bytes>" in repr(message)


def test_a_policy_with_limits_of_nothing_has_none() -> None:
    fields = codec.policy_fields(POLICIES[0]) | {"lft": {}}
    data = encode(wire.userpolicy_msg, wire.XFRM_MSG_NEWPOLICY, 0, fields)
    assert codec.decode_policy(parse(wire.userpolicy_msg, bytes(data))).lifetime == Lifetime()


def test_a_policy_whose_action_is_younger_than_we_is_read() -> None:
    fields = codec.policy_fields(POLICIES[0]) | {"action": 7}
    data = encode(wire.userpolicy_msg, wire.XFRM_MSG_NEWPOLICY, 0, fields)
    policy = codec.decode_policy(parse(wire.userpolicy_msg, bytes(data)))
    assert policy.action == 7
    with pytest.raises(InvalidRequestError, match="allows or blocks"):
        XfrmDialect().update_policy(policy)


def test_an_attribute_that_no_message_can_hold_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="does not fit"):
        XfrmDialect().add_sa(replace(OUTBOUND, other=(Attribute(99, bytes(1 << 16)),)))


def test_a_short_window_that_the_kernel_keeps_in_the_extended_form_is_written_so_again() -> None:
    attribute = ("XFRMA_REPLAY_ESN_VAL", {"bmp_len": 1, "oseq": 5, "seq": 6, "replay_window": 32, "bmp": b"\x0f\0\0\0"})
    data = encode(wire.usersa_msg, wire.XFRM_MSG_NEWSA, 0, codec.sa_fields(OUTBOUND), [attribute])
    sa = codec.decode_sa(parse(wire.usersa_msg, bytes(data)))
    assert (sa.replay, sa.replay_window) == (Replay(5, 6, (15,)), 32)
    assert sa.replay is not None
    assert codec.replay_attribute(sa, replace(sa.replay, outbound=7)) == (
        attribute[0],
        attribute[1] | {"oseq": 7, "oseq_hi": 0, "seq_hi": 0},
    )


def test_what_an_sa_dropped_and_when_it_was_used_last_are_told() -> None:
    info = codec.sa_fields(OUTBOUND) | {"stats": {"replay_window": 1, "replay": 2, "integrity_failed": 3}}
    data = encode(wire.usersa_msg, wire.XFRM_MSG_NEWSA, 0, info, [("XFRMA_LASTUSED", 1700000000)])
    sa = codec.decode_sa(decoded(wire.usersa_msg, bytes(data)))
    assert sa.failures == Failures(too_old=1, replayed=2, integrity=3)
    assert sa.usage is not None
    assert sa.usage.last_used == 1700000000
    assert sa.other == ()
    assert sa.as_written().usage is None


def test_progress_is_told_with_the_timer_in_tenths_of_a_second() -> None:
    usage = parts.usage_fields(Usage(1, 2, 3, 4))
    replay = codec.replay_attribute(replace(OUTBOUND, replay_window=33), Replay(5, 6, (7, 8)))
    attributes = [replay, ("XFRMA_LTIME_VAL", usage), ("XFRMA_REPLAY_THRESH", 9), ("XFRMA_ETIMER_THRESH", 10)]
    data = encode(wire.aevent_id_msg, wire.XFRM_MSG_NEWAE, 0, {}, attributes)
    progress = codec.decode_progress(decoded(wire.aevent_id_msg, bytes(data)))
    assert progress == Progress(Replay(5, 6, (7, 8)), Usage(1, 2, 3, 4), 9, 1000)
    nothing = encode(wire.aevent_id_msg, wire.XFRM_MSG_NEWAE, 0, {})
    assert codec.decode_progress(decoded(wire.aevent_id_msg, bytes(nothing))) == Progress()


def test_a_default_policy_has_numbers_of_its_own() -> None:
    policy = DefaultPolicy(inbound=Action.BLOCK, forward=Action.ALLOW, outbound=Action.BLOCK)
    data = encode(wire.userpolicy_default_msg, wire.XFRM_MSG_SETDEFAULT, 0, codec.default_policy_fields(policy))
    assert bytes(data[16:19]) == bytes([1, 2, 1])
    assert codec.decode_default_policy(decoded(wire.userpolicy_default_msg, bytes(data))) == policy


def test_a_template_that_takes_any_address_keeps_its_zeros() -> None:
    anywhere = Template(mode=Mode.BEET, source=ip_address("::"), destination=ip_address("::"))
    policy = replace(POLICIES[0], templates=(anywhere, Template(mode=Mode.TRANSPORT)))
    data = encode(
        wire.userpolicy_msg, wire.XFRM_MSG_NEWPOLICY, 0, codec.policy_fields(policy), codec.policy_attributes(policy)
    )
    assert codec.decode_policy(decoded(wire.userpolicy_msg, bytes(data))).templates == policy.templates


def test_a_number_that_no_field_holds_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequestError, match="does not fit"):
        encode(wire.usersa_msg, wire.XFRM_MSG_NEWSA, 0, codec.sa_fields(replace(OUTBOUND, reqid=1 << 32)))


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
    data = encode(wire.userpolicy_msg, wire.XFRM_MSG_NEWPOLICY, 0, codec.policy_fields(policy), attributes)
    assert codec.decode_policy(decoded(wire.userpolicy_msg, bytes(data))).as_written() == policy


def test_a_security_context_that_claims_more_than_came_is_malformed() -> None:
    label = Attribute(8, struct.pack("=HHBBH", 100, 8, 1, 1, 92) + b"short")
    data = encode(wire.usersa_msg, wire.XFRM_MSG_NEWSA, 0, codec.sa_fields(OUTBOUND), [], (label,))
    with pytest.raises(MalformedReplyError):
        parts.decoding(codec.decode_sa, decoded(wire.usersa_msg, bytes(data)))


def test_a_mode_without_a_name_is_kept() -> None:
    assert through_the_wire(replace(OUTBOUND, mode=Mode(9))).mode == 9


def _complete(fields: dict[str, Any]) -> dict[str, Any]:
    data = bytearray()
    layout.xfrm_selector.encode_into(data, 0, fields)
    return layout.xfrm_selector.decode_from(bytes(data), 0)[0]
