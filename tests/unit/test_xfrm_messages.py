"""XFRM messages to bytes and back, and what becomes of malformed ones: nothing that pyroute2 would log."""

import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pfkeyx import MalformedReplyError
from pfkeyx.xfrm import declarations, layout
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.cstruct import CStruct, FlexibleStruct, Form, size_of
from pfkeyx.xfrm.messages import parse
from pfkeyx.xfrm.probes import needs_of
from pfkeyx.xfrm.received import Received
from tests import xfrm_page
from tests.unit.conftest import UNTIMED

STRUCTS = [
    struct
    for struct in vars(layout).values()
    if isinstance(struct, type) and issubclass(struct, CStruct) and struct.fields
]
MESSAGES = sorted(
    {message for message in vars(wire).values() if isinstance(message, type) and issubclass(message, wire.strict_msg)}
    - {wire.strict_msg, wire.xfrm_message},
    key=lambda message: str(message.__name__),
)
FAMILIES = (wire.usersa_msg, wire.sadinfo_msg, wire.spdinfo_msg)
#: Every attribute that has a payload, with the message that it belongs to and what its payload is declared as.
ATTRIBUTES = {
    name: (message, number, getattr(message, kind))
    for message in FAMILIES
    for number, name, kind in message.nla_map
    if kind not in ("none", "flag")
}
INTEGERS = {"B": 8, "H": 16, ">H": 16, "I": 32, ">I": 32, "Q": 64}


def values_of(fmt: Any) -> st.SearchStrategy[Any]:
    if not isinstance(fmt, str):
        return structs_of(fmt)
    if fmt == "i":
        return st.integers(-(1 << 31), (1 << 31) - 1)
    if fmt.endswith("s"):
        return st.binary(min_size=struct.calcsize(fmt), max_size=struct.calcsize(fmt))
    return st.integers(0, (1 << INTEGERS[fmt]) - 1)


def fields_of(fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: values_of(fmt) for name, fmt in fields if not name.startswith("_pad")})


@st.composite
def structs_of(draw: st.DrawFn, kind: type[CStruct]) -> dict[str, Any]:
    value: dict[str, Any] = draw(fields_of(kind.fields))
    if issubclass(kind, FlexibleStruct):
        value[kind.count] = draw(st.integers(0, 300))
        size = kind.tail_size(value[kind.count])
        value[kind.tail] = draw(st.binary(min_size=size, max_size=size))
    return value


def payloads_of(kind: Any) -> st.SearchStrategy[Any]:
    if issubclass(kind, wire.struct_array_nla):
        return st.lists(structs_of(kind.struct), min_size=1, max_size=6)
    if issubclass(kind, wire.struct_nla):
        return structs_of(kind.struct)
    ((_, fmt),) = kind.fields
    return values_of(fmt)


@st.composite
def messages_of(draw: st.DrawFn, kind: Any) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Return the fields of a message and some of its attributes."""
    named = [name for _, name, payload in kind.nla_map if payload not in ("none", "flag")]
    chosen = draw(st.lists(st.sampled_from(named), unique=True, max_size=5))
    payloads = {name: getattr(kind, payload) for _, name, payload in kind.nla_map if name in chosen}
    return draw(fields_of(kind.fields)), [(name, draw(payloads_of(payloads[name]))) for name in chosen]


def encoded(kind: Any, fields: dict[str, Any], attributes: list[tuple[str, Any]]) -> bytes:
    message = kind()
    message.update(fields)
    message["attrs"] = list(attributes)
    message.encode()
    return bytes(message.data)


def with_attribute(kind: Any, number: int, payload: bytes, length: int | None = None) -> bytes:
    """Return a message with one attribute, whose header claims `length` bytes, and zeros for another's header."""
    body = struct.pack("=HH", 4 + len(payload) if length is None else length, number) + payload
    data = bytearray(encoded(kind, {}, []) + body + bytes(-len(body) % 4) + struct.pack("=HH", 4, 0))
    struct.pack_into("=I", data, 0, len(data))
    return bytes(data)


def payload_size(kind: Any) -> int:
    if issubclass(kind, wire.struct_nla):
        return int(kind.struct.size())
    return size_of(kind.fields[0][1])


def test_the_page_of_xfrm_names_the_features_that_attributes_need() -> None:
    for name, row in xfrm_page.ATTRIBUTES.items():
        assert needs_of([(name, None)]) in ((), (row.feature,)), name
    assert {*xfrm_page.ATTRIBUTES, *xfrm_page.WITHOUT_MEANING} >= set(declarations.ATTRIBUTE_NAMES.values())


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Any:
    """Fail a test that lets something be logged or printed."""
    yield
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", STRUCTS)
def test_a_struct_is_read_as_it_was_written(kind: type[CStruct]) -> None:
    @settings(max_examples=20)
    @given(structs_of(kind))
    def check(value: dict[str, Any]) -> None:
        data = bytearray(b"before")
        end = kind.encode_into(data, 6, value)
        assert end == len(data)
        assert kind.decode_from(bytes(data) + b"behind", 6) == (value, end)

    check()


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_is_read_as_it_was_written(kind: Any) -> None:
    @settings(max_examples=20)
    @given(messages_of(kind))
    def check(message: tuple[dict[str, Any], list[tuple[str, Any]]]) -> None:
        fields, attributes = message
        data = encoded(kind, fields, attributes)
        assert len(data) % 4 == 0
        read = parse(kind, data)
        assert read["header"]["length"] == len(data)
        assert {name: read[name] for name in fields} == fields
        assert [(slot.name, slot.value) for slot in read["attrs"]] == attributes

    check()


@pytest.mark.parametrize(
    ("attribute", "length"),
    [
        (("XFRMA_IPTFS_DONT_FRAG", True), 4),
        (("XFRMA_SA_DIR", wire.XFRM_SA_DIR_OUT), 5),
        (("XFRMA_IPTFS_REORDER_WINDOW", 3), 6),
        (("XFRMA_OFFLOAD_DEV", {"ifindex": 4, "flags": 2}), 12),
        (("XFRMA_COADDR", bytes(range(16))), 20),
        (("XFRMA_ALG_AEAD", {"alg_name": b"x".ljust(64, b"\0"), "alg_key_len": 136, "alg_icv_len": 64}), 93),
        (("XFRMA_SEC_CTX", {"len": 9, "exttype": 8, "ctx_alg": 1, "ctx_doi": 1, "ctx_len": 1}), 13),
    ],
    ids=lambda attribute: attribute[0] if isinstance(attribute, tuple) else "",
)
def test_an_attribute_is_padded_and_does_not_count_its_padding(attribute: tuple[str, Any], length: int) -> None:
    name, value = attribute
    tails = {"XFRMA_ALG_AEAD": {"alg_key": bytes(17)}, "XFRMA_SEC_CTX": {"ctx": b"c"}}
    if name in tails:
        value |= tails[name]
    data = encoded(wire.usersa_id_msg, {}, [(name, value), ("XFRMA_IF_ID", 7)])
    assert struct.unpack_from("=H", data, 16 + 24) == (length,)
    message = parse(wire.usersa_id_msg, data)
    assert message.get_attr(name) == value
    assert message.get_attr("XFRMA_IF_ID") == 7


def test_attributes_begin_behind_the_padding_of_a_short_struct() -> None:
    data = encoded(wire.usersa_flush_msg, {"proto": 50}, [("XFRMA_IF_ID", 7)])
    assert len(data) == 16 + 4 + 8
    message = parse(wire.usersa_flush_msg, data)
    assert (message["proto"], message.get_attr("XFRMA_IF_ID")) == (50, 7)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_that_is_too_short_is_malformed(name: str) -> None:
    kind, number, declared = ATTRIBUTES[name]
    data = with_attribute(kind, number, bytes(payload_size(declared) - 1))
    with pytest.raises(MalformedReplyError, match=name):
        parse(kind, data)


@pytest.mark.parametrize("name", [name for name, (_, _, kind) in ATTRIBUTES.items() if "array" not in str(kind.mro())])
def test_an_attribute_that_has_grown_is_read(name: str) -> None:
    kind, number, declared = ATTRIBUTES[name]
    known = bytes(payload_size(declared))
    grown = parse(kind, with_attribute(kind, number, known + b"new!"))
    assert grown.get_attr(name) == parse(kind, with_attribute(kind, number, known)).get_attr(name)


@pytest.mark.parametrize(
    ("number", "payload"),
    [
        (1, bytes(64) + struct.pack("=I", 129) + bytes(16)),
        (18, bytes(64) + struct.pack("=II", 0xFFFFFFFF, 64) + bytes(16)),
        (20, bytes(64) + struct.pack("=II", 160, 96) + bytes(19)),
        (23, struct.pack("=IIIIII", 0x40000000, 0, 0, 0, 0, 32)),
        (8, struct.pack("=HHBBH", 20, 8, 1, 1, 12) + bytes(11)),
    ],
    ids=["ALG_AUTH", "ALG_AEAD", "ALG_AUTH_TRUNC", "REPLAY_ESN_VAL", "SEC_CTX"],
)
def test_an_array_that_claims_more_than_came_is_malformed(number: int, payload: bytes) -> None:
    with pytest.raises(MalformedReplyError, match="runs past its attribute"):
        parse(wire.usersa_msg, with_attribute(wire.usersa_msg, number, payload))


@pytest.mark.parametrize("number", [5, 17], ids=["TMPL", "MIGRATE"])
def test_an_array_that_ends_within_a_struct_is_malformed(number: int) -> None:
    with pytest.raises(MalformedReplyError, match="XFRMA_"):
        parse(wire.userpolicy_msg, with_attribute(wire.userpolicy_msg, number, bytes(2 * 64 + 80)))


@pytest.mark.parametrize("length", [0, 3, 9, 12, 0xFFFF])
@pytest.mark.parametrize("number", [21, 31, 38, 27, 99], ids=["MARK", "IF_ID", "DONT_FRAG", "PAD", "unknown"])
def test_an_attribute_whose_length_cannot_be_is_malformed(number: int, length: int) -> None:
    data = encoded(wire.usersa_msg, {}, []) + struct.pack("=HHI", length, number, 0)
    data = struct.pack("=I", len(data)) + data[4:]
    with pytest.raises(MalformedReplyError):
        parse(wire.usersa_msg, data)


def test_an_extended_acknowledgement_that_is_cut_is_malformed() -> None:
    text = b"no such state\0"
    error = bytes(16 + Form(declarations.error_msg.fields).size)
    whole, cut = (error + struct.pack("=HH", length, 1) + text for length in (4 + len(text), 200))
    assert Received(declarations.error_msg, whole).get_attr("NLMSGERR_ATTR_MSG") == text
    with pytest.raises(MalformedReplyError, match="attribute 1 claims 200 bytes of 18"):
        Received(declarations.error_msg, cut)


@pytest.mark.parametrize(
    ("fields", "attributes"),
    [
        ({"reqid": 1 << 32}, []),
        ({"mode": 256}, []),
        ({}, [("XFRMA_TFCPAD", 1 << 32)]),
        ({}, [("XFRMA_SA_DIR", -1)]),
        ({}, [("XFRMA_MARK", {"v": 1 << 32, "m": 0})]),
    ],
)
def test_what_does_not_fit_its_field_is_an_error_of_struct(
    fields: dict[str, Any], attributes: list[tuple[str, Any]]
) -> None:
    with pytest.raises(struct.error):
        encoded(wire.usersa_msg, fields, attributes)


@settings(suppress_health_check=[*UNTIMED, HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(MESSAGES), tail=st.binary(max_size=200), cut=st.integers(0, 400))
def test_noise_is_read_or_malformed(kind: Any, tail: bytes, cut: int) -> None:
    data = (encoded(kind, {}, []) + tail)[: max(16, cut)]
    data = struct.pack("=I", len(data)) + data[4:]
    declared = kind.__bases__[0]
    try:
        message = parse(kind, data)
    except MalformedReplyError:
        # pyroute2 reads text where there is none.
        with suppress(MalformedReplyError):
            Received(declared, data)
        return
    assert len([slot.value for slot in message["attrs"]]) <= len(tail) // 4
    assert list(Received(declared, data).attributes()) == list(message.attributes())
