"""Every field of the model is said over PF_KEY, or refused by its name before anything is sent."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from pfkeyx.algorithms import (
    AES_CBC,
    AES_CMAC,
    AES_CTR,
    AES_GCM,
    DEFLATE,
    HMAC_SHA1,
    HMAC_SHA256,
    HMAC_SHA384,
    Algorithm,
    Kind,
)
from pfkeyx.errors import InvalidRequestError, UnsupportedError
from pfkeyx.features import Feature
from pfkeyx.model import (
    SA,
    Action,
    Attribute,
    Authentication,
    DefaultPolicy,
    Direction,
    Encryption,
    Failures,
    HashThreshold,
    Iptfs,
    Key,
    Lifetime,
    Limit,
    Mark,
    Mode,
    Offload,
    Policy,
    PolicyFlag,
    PolicyId,
    PolicyType,
    Port,
    Progress,
    Protocol,
    Replay,
    SAExtraFlag,
    SAFilter,
    SAFlag,
    SAId,
    SAState,
    SecurityContext,
    Selector,
    Share,
    SPIRequest,
    TcpEncap,
    Template,
    UdpEncap,
    Usage,
    any_selector,
    make_prefix,
)
from pfkeyx.native import ffi
from pfkeyx.operation import Batch, Request
from pfkeyx.pfkey import PfkeyDialect, codec, parts
from pfkeyx.pfkey.extensions import AddressExtension, PolicyExtension, SA2Extension, SAExtension, SPIRangeExtension
from pfkeyx.pfkey.message import ExtensionType, Message, read

PFKEY = PfkeyDialect()
A, B, C = (ip_address(f"192.0.2.{number}") for number in (1, 2, 3))
CBC, SHA1 = Encryption(AES_CBC, Key(bytes(range(16)))), Authentication(HMAC_SHA1, Key(bytes(range(20))))
SA_ = SA(SAId(B, 0x1000), A, reqid=7, encryption=CBC, authentication=SHA1, encap=UdpEncap())
ANY4 = ip_network("0.0.0.0/0")
SELECTOR = Selector(ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16"), protocol=17)
TEMPLATE = Template(source=A, destination=B, reqid=7)
POLICY = Policy(SELECTOR, Direction.IN, (TEMPLATE,))
LABEL = SecurityContext(b"a label")
MARK = Mark(1)
BROTLI = Algorithm("brotli", Kind.COMPRESSION, "brotli", ())
IPCOMP: dict[str, Any] = {"id": SAId(B, 5, Protocol.IPCOMP), "encryption": None, "authentication": None}
IPCOMP |= {"encap": None, "replay_window": 0}


def key_of(size: int) -> Key:
    return Key(bytes([7]) * size)


def sent(request: Request[Any]) -> bytes:
    message = request.wire.message
    return bytes(ffi.buffer(message.data, message.size))


class With(dict[str, Any]):
    """A field's value together with what it takes of other fields."""


@dataclass(frozen=True)
class Samples:
    """Values of a field: those that are said and read back, are refused by the name given, and that make no difference.

    Each differs from what the model has in `CARRIERS`.
    """

    said: tuple[Any, ...] = ()
    refused: tuple[tuple[str, Any], ...] = ()
    ignored: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Carrier:
    """A value of one part of the model, how it is sent, and how it is found in what was sent."""

    value: Any
    send: Callable[[Any], Request[Any]]
    find: Callable[[Message, int], Any]


def said(*values: Any) -> Samples:
    return Samples(said=values)


def refused(name: str, *values: Any) -> Samples:
    return Samples(refused=tuple((name, value) for value in values))


def ignored(*values: Any) -> Samples:
    return Samples(ignored=values)


def find_sa_id(message: Message, _sequence: int) -> SAId:
    destination = message.need(ExtensionType.ADDRESS_DST, AddressExtension).address
    spi = message.need(ExtensionType.SA, SAExtension).spi
    return SAId(destination, spi, parts.PROTOCOLS[message.satype])


def find_policy_id(message: Message, _sequence: int) -> PolicyId:
    source = message.need(ExtensionType.ADDRESS_SRC, AddressExtension)
    selector = parts.decode_selector(source, message.need(ExtensionType.ADDRESS_DST, AddressExtension))
    direction = Direction(message.need(ExtensionType.X_POLICY, PolicyExtension).direction - 1)
    return PolicyId(selector, direction, security_context=parts.decode_security_context(message.extensions))


def find_spi_request(message: Message, sequence: int) -> SPIRequest:
    sa2 = message.need(ExtensionType.X_SA2, SA2Extension)
    return SPIRequest(
        message.need(ExtensionType.ADDRESS_SRC, AddressExtension).address,
        message.need(ExtensionType.ADDRESS_DST, AddressExtension).address,
        parts.PROTOCOLS[message.satype],
        parts.MODES_READ[sa2.mode],
        sa2.reqid,
        *message.need(ExtensionType.SPIRANGE, SPIRangeExtension),
        sequence,
    )


CARRIERS: dict[type, Carrier] = {
    SA: Carrier(SA_, PFKEY.add_sa, lambda message, _: codec.decode_sa(message).as_written()),
    SAId: Carrier(SA_.id, PFKEY.get_sa, find_sa_id),
    UdpEncap: Carrier(
        UdpEncap(), lambda it: PFKEY.add_sa(replace(SA_, encap=it)), lambda message, _: codec.decode_sa(message).encap
    ),
    SPIRequest: Carrier(SPIRequest(A, B, maximum=0x200), PFKEY.get_spi, find_spi_request),
    Policy: Carrier(POLICY, PFKEY.add_policy, lambda message, _: codec.decode_policy(message)),
    PolicyId: Carrier(POLICY.id, PFKEY.delete_policy, find_policy_id),
    Selector: Carrier(
        SELECTOR,
        lambda it: PFKEY.add_policy(replace(POLICY, selector=it)),
        lambda message, _: codec.decode_policy(message).selector,
    ),
    Template: Carrier(
        TEMPLATE,
        lambda it: PFKEY.add_policy(replace(POLICY, templates=(it,))),
        lambda message, _: codec.decode_policy(message).templates[0],
    ),
}

OUT, IN = {"direction": Direction.OUT, "replay_window": 0}, {"direction": Direction.IN}
SAMPLES: dict[type, dict[str, Samples]] = {
    SA: {
        "id": said(SAId(B, 0x1001), SAId(C, 0x1000)),
        "source": said(C),
        "mode": Samples((Mode.TRANSPORT, Mode.BEET), (("mode", Mode.ROUTE_OPTIMIZATION), ("mode", Mode(9)))),
        "reqid": said(0, 0xFFFFFFFF),
        "encryption": Samples(
            (Encryption(AES_CBC, key_of(32)),),
            (
                ("encryption.algorithm", With(encryption=Encryption(AES_GCM, key_of(20)), authentication=None)),
                ("encryption.algorithm", Encryption(replace(AES_CTR, pfkey_number=None), key_of(20))),
            ),
        ),
        "authentication": Samples(
            (None, Authentication(HMAC_SHA384, key_of(48))),
            (
                ("authentication.algorithm", Authentication(AES_CMAC, key_of(16))),
                ("authentication.algorithm", Authentication(HMAC_SHA256, key_of(32))),
                ("authentication.icv_bits", Authentication(HMAC_SHA1, key_of(20), 160)),
            ),
        ),
        "compression": Samples(
            (With(IPCOMP, compression=DEFLATE),),
            (("compression", With(IPCOMP, compression=BROTLI)),),
        ),
        "encap": Samples((None, UdpEncap(4501, 4502)), (("encap", TcpEncap()),)),
        "selector": Samples(
            (Selector(ip_network("10.0.0.0/8"), ANY4), Selector(make_prefix(A, 32), ANY4)),
            tuple(
                ("selector", selector)
                for selector in (
                    SELECTOR,
                    Selector(ip_network("2001:db8::/32"), ip_network("::/0")),
                    replace(any_selector(6), protocol=6),
                    Selector(ANY4, ANY4, protocol=6),
                    Selector(make_prefix(A, 24), ANY4),
                )
            ),
        ),
        "lifetime": Samples(
            (Lifetime(Limit(1, 2, 3, 4), Limit(5, 6, 7, 8)),),
            (("lifetime", Lifetime(hard=Limit(packets=1 << 32))),),
        ),
        "replay_window": Samples((0, 1, 31), (("replay_window", 33),)),
        "flags": Samples(
            (SAFlag.NO_ECN, SAFlag.DECAP_DSCP | SAFlag.NO_PMTU_DISCOVERY),
            (("esn", SAFlag.ESN), ("flags", SAFlag.ICMP | SAFlag.NO_ECN)),
        ),
        "extra_flags": refused("extra_flags", *SAExtraFlag),
        "if_id": refused("if_id", 1),
        "output_mark": refused("output_mark", MARK, Mark(0, 0)),
        "offload": refused("offload", Offload(1)),
        "tfc_padding": refused("tfc_padding", 100),
        "direction": refused("direction", With(OUT), With(IN)),
        "nat_keepalive_s": refused("nat_keepalive_s", With(OUT, nat_keepalive_s=20)),
        "mapping_threshold_s": refused("mapping_threshold_s", 1),
        "cpu": refused("cpu", With(IN, cpu=0)),
        "iptfs": refused("iptfs", With(OUT, mode=Mode.IPTFS, iptfs=Iptfs())),
        "care_of": refused("care_of", C),
        "security_context": said(LABEL),
        "other": refused("other", (Attribute(99, b"\1"),)),
        "state": ignored(SAState.DEAD),
        "usage": ignored(Usage(1, 2, 3, 4)),
        "replay": ignored(Replay(1, 2, (3,))),
        "failures": ignored(Failures(1, 2, 3)),
    },
    SAId: {
        "destination": said(C),
        "spi": said(1, 0xFFFFFFFF),
        "protocol": Samples((Protocol.AH, With(protocol=Protocol.IPCOMP, spi=5)), (("protocol", Protocol(17)),)),
        "mark": refused("mark", MARK),
    },
    UdpEncap: {
        "source_port": said(0, 65535),
        "destination_port": said(0, 65535),
        "original_address": refused("encap.original_address", C),
    },
    SPIRequest: {
        "source": said(C),
        "destination": said(C),
        "protocol": Samples((Protocol.AH, Protocol.IPCOMP), (("protocol", Protocol(17)),)),
        "mode": Samples((Mode.TRANSPORT, Mode.BEET), (("mode", Mode.IPTFS),)),
        "reqid": said(7),
        "minimum": said(0x101),
        "maximum": said(0x201),
        "sequence": said(77),
        "mark": refused("mark", MARK),
        "if_id": refused("if_id", 1),
        "direction": refused("direction", Direction.IN),
        "cpu": refused("cpu", 0),
    },
    Policy: {
        "selector": said(Selector(ANY4, ANY4), any_selector(6)),
        "direction": Samples((Direction.OUT, Direction.FORWARD), (("direction", Direction(4)),)),
        "templates": Samples(
            ((), (TEMPLATE, Template(mode=Mode.TRANSPORT))),
            (
                (
                    "template.optional",
                    With(direction=Direction.OUT, templates=(replace(TEMPLATE, reqid=0, optional=True),)),
                ),
            ),
        ),
        "action": Samples((With(action=Action.BLOCK, templates=()),), (("templates", Action.BLOCK),)),
        "priority": said(1, 0xFFFFFFFF),
        "lifetime": Samples(
            (Lifetime(Limit(1, 2, 3, 4), Limit(5, 6, 7, 8)),),
            (("lifetime", Lifetime(soft=Limit(packets=1 << 32))),),
        ),
        "mark": refused("mark", MARK),
        "if_id": refused("if_id", 1),
        "type": refused("type", PolicyType.SUB),
        "flags": refused("flags", *PolicyFlag),
        "share": refused("share", Share.SESSION),
        "offload": refused("offload", Offload(1)),
        "security_context": said(LABEL),
        "other": refused("other", (Attribute(99, b"\1"),)),
        "index": refused("index", 8),
        "usage": ignored(Usage(1, 2, 3, 4)),
    },
    PolicyId: {
        "selector": said(Selector(ANY4, ANY4)),
        "direction": Samples((Direction.OUT, Direction.FORWARD), (("direction", Direction(3)),)),
        "mark": refused("mark", MARK),
        "if_id": refused("if_id", 1),
        "type": refused("type", PolicyType.SUB),
        "security_context": said(LABEL),
    },
    Selector: {
        "source": said(ANY4, make_prefix(A, 24)),
        "destination": said(ANY4, make_prefix(A, 24)),
        "protocol": Samples((0, 6), (("selector.protocol", 255),)),
        "source_port": Samples(
            (Port(80),), (("selector.source_port", Port(0)), ("selector.source_port", Port(8, 0xFFF8)))
        ),
        "destination_port": Samples(
            (Port(80),), (("selector.destination_port", Port(0)), ("selector.destination_port", Port(8, 0xFFF8)))
        ),
        "interface_index": refused("selector.interface_index", 1),
        "user": refused("selector.user", 1000),
    },
    Template: {
        "protocol": Samples((Protocol.AH, Protocol.IPCOMP), (("template.protocol", Protocol(43)),)),
        "mode": Samples(
            (With(mode=Mode.TRANSPORT, source=None, destination=None),),
            (("template.mode", Mode.BEET), ("template.mode", Mode.IPTFS)),
        ),
        "source": Samples((C,), (("template.source", With(mode=Mode.TRANSPORT, source=C)),)),
        "destination": said(C),
        "reqid": Samples((0, 0x3FFF), (("template.reqid", 0x4000),)),
        "spi": refused("template.spi", 5),
        "optional": Samples((With(optional=True, reqid=0),), (("template.reqid", True),)),
        "share": refused("template.share", Share.UNIQUE),
        "algorithm_masks": refused("template.algorithm_masks", (1, 1, 1)),
    },
}


def changed(part: type, field: str, value: Any) -> Any:
    return replace(CARRIERS[part].value, **(value if isinstance(value, With) else {field: value}))


def each(kind: str) -> list[Any]:
    """Return the samples of a kind, as parameters: the part of the model, the field, and the value."""
    return [
        pytest.param(part, field, value, id=f"{part.__name__}.{field}-{number}")
        for part, samples in SAMPLES.items()
        for field, of_field in samples.items()
        for number, value in enumerate(getattr(of_field, kind))
    ]


@pytest.mark.parametrize("part", CARRIERS, ids=lambda part: part.__name__)
def test_every_field_of_the_model_has_its_samples(part: type) -> None:
    assert list(SAMPLES[part]) == [field.name for field in fields(part)]
    assert all(samples != Samples() for samples in SAMPLES[part].values())


@pytest.mark.parametrize(("part", "field", "value"), each("said"))
def test_what_pfkey_can_say_is_said(part: type, field: str, value: Any) -> None:
    it = changed(part, field, value)
    assert it != CARRIERS[part].value
    request = CARRIERS[part].send(it)
    assert CARRIERS[part].find(read(sent(request)), request.wire.sequence) == it


@pytest.mark.parametrize(("part", "field", "value"), each("refused"))
def test_what_pfkey_cannot_say_is_refused_by_its_name(part: type, field: str, value: tuple[str, Any]) -> None:
    name, sample = value
    with pytest.raises(UnsupportedError, match="xfrm engine") as caught:
        CARRIERS[part].send(changed(part, field, sample))
    assert caught.value.feature == name


@pytest.mark.parametrize(("part", "field", "value"), each("ignored"))
def test_what_is_the_kernels_own_is_not_sent(part: type, field: str, value: Any) -> None:
    carrier = CARRIERS[part]
    assert sent(carrier.send(changed(part, field, value))) == sent(carrier.send(carrier.value))


def test_an_update_has_the_limits_of_an_addition() -> None:
    with pytest.raises(UnsupportedError, match="tfc_padding: update SA"):
        PFKEY.update_sa(replace(SA_, tfc_padding=1))
    with pytest.raises(UnsupportedError, match="flags: update policy"):
        PFKEY.update_policy(replace(POLICY, flags=PolicyFlag.ICMP))


def test_a_policy_that_was_read_and_changed_is_given_back_with_its_index() -> None:
    assert sent(PFKEY.update_policy(replace(POLICY, index=8))) == sent(PFKEY.update_policy(POLICY))


def test_a_wish_for_an_index_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        UnsupportedError, match=r"index: add policy in .* numbers policies itself \(policy\.as_written\("
    ):
        PFKEY.add_policy(replace(POLICY, index=8))


def test_the_refusal_of_sha_256_says_why() -> None:
    with pytest.raises(UnsupportedError, match=r"96 bits.*128 of RFC 4868"):
        PFKEY.add_sa(replace(SA_, authentication=Authentication(HMAC_SHA256, key_of(32))))


def test_an_sa_with_a_mark_cannot_be_deleted() -> None:
    with pytest.raises(UnsupportedError, match="mark: delete SA"):
        PFKEY.delete_sa(replace(SA_.id, mark=MARK))


def test_sas_of_another_protocol_are_neither_dumped_nor_flushed() -> None:
    for ask in (PFKEY.flush_sas, lambda protocol: PFKEY.dump_sas(SAFilter(protocol))):
        with pytest.raises(UnsupportedError, match="no SA type for protocol 43"):
            ask(Protocol(43))


def test_sub_policies_are_not_flushed() -> None:
    with pytest.raises(UnsupportedError, match="type: flush policies sub: PF_KEY has main policies only"):
        PFKEY.flush_policies(PolicyType.SUB)


def test_a_move_takes_no_encapsulation() -> None:
    with pytest.raises(UnsupportedError, match=r"encap: migrate policy in .* SADB_X_MIGRATE has no encapsulation"):
        PFKEY.migrate_policy(POLICY.id, [(TEMPLATE, replace(TEMPLATE, source=C))], UdpEncap())


def test_a_number_beyond_its_field_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequestError, match=r"add SA .* does not fit"):
        PFKEY.add_sa(replace(SA_, encap=UdpEncap(70000, 4500)))


REFUSED: list[tuple[Feature, Callable[[], object]]] = [
    (Feature.RESTORE, lambda: PFKEY.restore_sa(SA_)),
    (Feature.EXPIRE_REQUEST, lambda: PFKEY.expire_sa(SA_.id, hard=True)),
    (Feature.EXPIRE_REQUEST, lambda: PFKEY.expire_policy(POLICY.id, hard=True)),
    (Feature.PROGRESS, lambda: PFKEY.get_progress(SA_.id)),
    (Feature.PROGRESS, lambda: PFKEY.set_progress(SA_, Progress(timer_ms=1))),
    (Feature.PROGRESS, lambda: PFKEY.set_replay(SA_, Replay(1, 0, (0,)))),
    (Feature.TABLE_INFO, PFKEY.get_sad_info),
    (Feature.TABLE_INFO, PFKEY.get_spd_info),
    (Feature.TABLE_INFO, lambda: PFKEY.set_spd_thresholds(HashThreshold(0, 0), None)),
    (Feature.DEFAULT_POLICY, PFKEY.get_default_policy),
    (Feature.DEFAULT_POLICY, lambda: PFKEY.set_default_policy(DefaultPolicy())),
    (Feature.MIGRATE_STATE, lambda: PFKEY.migrate_sa(SA_, SA_)),
    (Feature.XFRM, lambda: PFKEY.message(object())),
]


@pytest.mark.parametrize(("feature", "ask"), REFUSED, ids=lambda it: it.value if isinstance(it, Feature) else "")
def test_what_only_xfrm_does_is_refused_and_not_supported(feature: Feature, ask: Callable[[], object]) -> None:
    with pytest.raises(UnsupportedError, match="open the xfrm engine") as caught:
        ask()
    assert caught.value.feature == feature.value
    with pytest.raises(StopIteration) as answered:
        next(PFKEY.supports(feature))
    assert answered.value.value.available is False
    assert answered.value.value.reason == caught.value.hint


SPOKEN = {Feature.PFKEY, Feature.REGISTER, Feature.ACQUIRE_ANSWER}
PROBED = [
    feature
    for feature in Feature
    if feature in (Feature.MIGRATE, Feature.ADDRUPDATE) or feature.name.startswith("SADB_")
]


@pytest.mark.parametrize(
    "feature", [feature for feature in Feature if feature not in PROBED], ids=lambda feature: feature.value
)
def test_what_needs_no_probe_is_answered_at_once(feature: Feature) -> None:
    with pytest.raises(StopIteration) as answered:
        next(PFKEY.supports(feature))
    assert answered.value.value.available is (feature in SPOKEN)


@pytest.mark.parametrize("feature", PROBED, ids=lambda feature: feature.value)
def test_what_kernels_differ_in_is_probed_for(feature: Feature) -> None:
    batch = next(PFKEY.supports(feature))
    assert isinstance(batch, Batch)
    assert len(batch.requests) == 1
