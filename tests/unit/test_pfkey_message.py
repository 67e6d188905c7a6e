"""The raw level of PF_KEY against RFC 2367 §2.2-§2.3 and <linux/pfkeyv2.h>, laid out a second time with struct.pack."""

import re
import struct
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest

from pfkeyx import Key
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    Combination,
    Extension,
    FilterExtension,
    IdentityExtension,
    IPsecRequest,
    KeyExtension,
    KMAddressExtension,
    KMPrivateExtension,
    LifetimeExtension,
    NatTPortExtension,
    NatTTypeExtension,
    PolicyExtension,
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
from pfkeyx.pfkey.message import (
    ExtensionType,
    Message,
    MessageType,
    SAType,
    read,
    read_header,
)
from tests import linux
from tests.unit.pfkey_bytes import (
    OTHER_V4,
    OTHER_V6,
    PAIRS,
    POLICY,
    SECRET,
    V4,
    V6,
    Address,
    built,
    extension,
    message,
    message_bytes,
    request,
    sockaddr,
)

HEADER = Path("/usr/include/linux/pfkeyv2.h")


def check(exttype: int, value: Extension, body: bytes) -> None:
    """Hold an extension against its bytes, padded with zeros, both ways."""
    data = message_bytes(extension(exttype, body))
    assert built(message({exttype: value})) == data
    assert read(data) == message({exttype: value})


# ---- names ----


def header_numbers() -> dict[str, int]:
    return {name: int(number) for name, number in re.findall(r"#define\s+(SADB_\w+)\s+(\d+)\b", HEADER.read_text())}


@pytest.mark.parametrize(
    "members", [linux.MESSAGES, list(SAType), linux.EXTENSIONS], ids=lambda it: type(it[0]).__name__
)
def test_every_member_has_the_name_and_number_of_the_header(
    members: list[MessageType] | list[SAType] | list[ExtensionType],
) -> None:
    numbers = header_numbers()
    assert {str(member): int(member) for member in members} == {str(member): numbers[str(member)] for member in members}


def test_the_message_of_the_draft_has_the_first_numbers_that_the_header_does_not_have() -> None:
    taken = header_numbers()
    assert int(MessageType.X_ADDRUPDATE) == taken["SADB_MAX"] + 1
    assert [int(it) for it in ExtensionType if it not in linux.EXTENSIONS] == [
        taken["SADB_EXT_MAX"] + n for n in (1, 2)
    ]


@pytest.mark.parametrize(
    ("members", "first", "last"),
    [(linux.MESSAGES, "SADB_GETSPI", "SADB_X_MIGRATE"), (linux.EXTENSIONS, "SADB_EXT_SA", "SADB_X_EXT_FILTER")],
)
def test_no_message_and_no_extension_of_the_header_up_to_migrate_and_filter_is_left_out(
    members: list[MessageType] | list[ExtensionType], first: str, last: str
) -> None:
    numbers = header_numbers()
    assert sorted(members) == list(range(numbers[first], numbers[last] + 1))


def test_a_number_without_a_name_prints_as_itself() -> None:
    assert [str(kind(200)) for kind in (MessageType, SAType, ExtensionType)] == ["200"] * 3


# ---- byte by byte ----


def test_the_base_header_is_what_the_rfc_lays_out() -> None:
    whole = Message(MessageType.X_SPDADD, SAType.X_IPCOMP, errno=17, seq=0xFFFFFFFE, pid=0x01020304)
    data = struct.pack("=BBBBHHII", 2, 14, 17, 9, 2, 0, 0xFFFFFFFE, 0x01020304)
    assert built(whole) == data
    assert read(data) == whole
    assert read_header(data) == (14, 9, 17, 0xFFFFFFFE, 0x01020304)


@pytest.mark.parametrize("exttype", [8, 9])
@pytest.mark.parametrize("bits", range(513))
def test_a_key_of_any_length_is_followed_by_zeros_up_to_64_bits(exttype: int, bits: int) -> None:
    key = SECRET[: (bits + 7) // 8]
    check(exttype, KeyExtension(Key(key), bits), struct.pack("=HH", bits, 0) + key)


@pytest.mark.parametrize("port", [0, 500, 65535])
@pytest.mark.parametrize("address", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("exttype", [5, 6, 7, 23])
def test_an_address_of_either_version_with_any_prefix_stands_in_every_place(
    exttype: int, address: Address, port: int
) -> None:
    for prefix_length in range(address.max_prefixlen + 1):
        for protocol in (0, 17, 255):
            value = AddressExtension(address, prefix_length, protocol, port)
            check(exttype, value, struct.pack("=BBH", protocol, prefix_length, 0) + sockaddr(address, port))


@pytest.mark.parametrize("ports", [(0, 0), (4500, 0), (0, 500), (65535, 1)])
@pytest.mark.parametrize(("local", "remote"), PAIRS, ids=["IPv4", "IPv6"])
def test_key_manager_addresses_stand_back_to_back(local: Address, remote: Address, ports: tuple[int, int]) -> None:
    body = bytes(4) + sockaddr(local, ports[0]) + sockaddr(remote, ports[1])
    check(25, KMAddressExtension(local, remote, *ports), body)


@pytest.mark.parametrize(("source", "destination"), PAIRS, ids=["IPv4", "IPv6"])
def test_the_addresses_of_a_request_stand_back_to_back(source: Address, destination: Address) -> None:
    policy = PolicyExtension(2, 2, 0, 0, (IPsecRequest(50, 2, 3, 9, source, destination),))
    body = struct.pack("=HBBII", 2, 2, 0, 0, 0) + request(50, 2, 3, 9, sockaddr(source, 0) + sockaddr(destination, 0))
    check(18, policy, body)


COMBINATION = Combination(
    2, 12, 1, 128, 160, 192, 256, LifetimeExtension(1, 2, 3, 4), LifetimeExtension(5, 6, 7, 2**64 - 1)
)
LONG = "a name of thirty-two bytes, or so"

EXPECTED: dict[str, tuple[int, Extension, bytes]] = {
    "an SA": (
        1,
        SAExtension(0x12345678, 32, 1, 3, 12, 0x80000001),
        struct.pack(">I", 0x12345678) + struct.pack("=BBBBI", 32, 1, 3, 12, 0x80000001),
    ),
    **{
        f"a lifetime, type {exttype}": (
            exttype,
            LifetimeExtension(2**32 - 1, 2**64 - 1, 5, 6),
            struct.pack("=IQQQ", 2**32 - 1, 2**64 - 1, 5, 6),
        )
        for exttype in (2, 3, 4)
    },
    **{
        f"an identity {len(name.encode())} bytes long, type {exttype}": (
            exttype,
            IdentityExtension(3, 2**63, name),
            struct.pack("=HHQ", 3, 0, 2**63) + (name.encode() + b"\0" if name else b""),
        )
        for exttype in (10, 11)
        for name in ("", "x", "a.bc.de", "a.bc.def", "é.example", LONG)
    },
    "sensitivity without bitmaps": (12, SensitivityExtension(1, 2, (), 3), struct.pack("=IBBBBI", 1, 2, 0, 3, 0, 0)),
    "sensitivity with bitmaps": (
        12,
        SensitivityExtension(0x01020304, 2, (2**64 - 1, 5), 3, (7,)),
        struct.pack("=IBBBBIQQQ", 0x01020304, 2, 2, 3, 1, 0, 2**64 - 1, 5, 7),
    ),
    "an empty proposal": (13, ProposalExtension(32), struct.pack("=BBBB", 32, 0, 0, 0)),
    "a proposal": (
        13,
        ProposalExtension(64, (COMBINATION, Combination(3, 0))),
        bytes([64, 0, 0, 0])
        + struct.pack("=BBHHHHHIIIQQQQQQ", 2, 12, 1, 128, 160, 192, 256, 0, 1, 5, 2, 6, 3, 7, 4, 2**64 - 1)
        + bytes([3])
        + bytes(71),
    ),
    **{
        f"supported algorithms, type {exttype}": (
            exttype,
            SupportedExtension((SupportedAlgorithm(3, 8, 160, 65535), SupportedAlgorithm(251, 0, 0, 0))),
            bytes(4) + struct.pack("=BBHHH", 3, 8, 160, 65535, 0) + struct.pack("=BBHHH", 251, 0, 0, 0, 0),
        )
        for exttype in (14, 15)
    },
    "no supported algorithms": (14, SupportedExtension(), bytes(4)),
    "an SPI range": (16, SPIRangeExtension(0x100, 0xFFFFFFFF), struct.pack("=III", 0x100, 0xFFFFFFFF, 0)),
    "private data": (17, KMPrivateExtension(SECRET), bytes(4) + SECRET),
    "no private data": (17, KMPrivateExtension(b""), bytes(4)),
    "a policy without requests": (18, PolicyExtension(1, 1, 8, 5), struct.pack("=HBBII", 1, 1, 0, 8, 5)),
    "a policy": (
        18,
        POLICY,
        struct.pack("=HBBII", 2, 3, 0, 0x01020308, 0x80000001)
        + request(50, 2, 3, 9, sockaddr(V4, 0) + sockaddr(OTHER_V4, 0))
        + request(51, 1, 2, 0)
        + request(108, 2, 1, 0x3FFF, sockaddr(V6, 0) + sockaddr(OTHER_V6, 0)),
    ),
    "SA2": (19, SA2Extension(2, 0xFFFFFFFF, 0x01020304), struct.pack("=BBHII", 2, 0, 0, 0x01020304, 0xFFFFFFFF)),
    "a NAT-T type": (20, NatTTypeExtension(2), bytes([2, 0, 0, 0])),
    "a NAT-T source port": (21, NatTPortExtension(4500), struct.pack(">HH", 4500, 0)),
    "a NAT-T destination port": (22, NatTPortExtension(65534), struct.pack(">HH", 65534, 0)),
    **{
        f"a security context of {len(context)} bytes": (
            24,
            SecurityContextExtension(1, 2, context),
            struct.pack("=BBH", 1, 2, len(context)) + context,
        )
        for context in (b"", b"c", b"system_u", b"system_u:object_r:ipsec_spd_t:s0\0")
    },
    "a filter of IPv4": (
        26,
        FilterExtension(2, V4, 32, OTHER_V4, 0),
        V4.packed + bytes(12) + OTHER_V4.packed + bytes(12) + struct.pack("=HBB", 2, 32, 0),
    ),
    "a filter of IPv6": (
        26,
        FilterExtension(10, V6, 128, OTHER_V6, 64),
        V6.packed + OTHER_V6.packed + struct.pack("=HBB", 10, 128, 64),
    ),
    "a filter of every family": (
        26,
        FilterExtension(0, IPv6Address("::"), 0, IPv6Address("::"), 0),
        bytes(32) + struct.pack("=HBB", 0, 0, 0),
    ),
    "a new source": (27, AddressExtension(V6, 128), struct.pack("=BBH", 0, 128, 0) + sockaddr(V6, 0)),
    "an extension that has no name here": (77, Unknown(77, b"whatever is in it!!!"), b"whatever is in it!!!"),
    "an extension of the greatest type": (65535, Unknown(65535, b"1234"), b"1234"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_extension_is_what_the_rfc_lays_out_byte_by_byte(name: str) -> None:
    check(*EXPECTED[name])


def test_extensions_follow_each_other_in_the_order_given() -> None:
    chosen = {exttype: (value, body) for exttype, value, body in EXPECTED.values()}
    for order in (sorted(chosen), sorted(chosen, reverse=True)):
        data = message_bytes(*(extension(exttype, chosen[exttype][1]) for exttype in order))
        whole = message({exttype: chosen[exttype][0] for exttype in order})
        assert built(whole) == data
        assert list(read(data).extensions.items()) == list(whole.extensions.items())


def test_an_extension_without_a_length_of_its_own_keeps_its_padding() -> None:
    for value, read_back in (
        (KMPrivateExtension(b"123"), KMPrivateExtension(b"123" + bytes(5))),
        (Unknown(99, b"123"), Unknown(99, b"123\0")),
    ):
        exttype = 17 if isinstance(value, KMPrivateExtension) else 99
        assert read(built(message({exttype: value}))).extensions[exttype] == read_back


def test_bytes_that_hold_a_known_extension_can_be_put_as_they_are() -> None:
    nonsense = Unknown(ExtensionType.SA, b"1234")
    assert built(message({ExtensionType.SA: nonsense})) == message_bytes(extension(1, b"1234"))


@pytest.mark.parametrize(
    ("exttype", "value", "body"),
    [
        (8, KeyExtension(Key(b"abc"), 24), struct.pack("=HH", 24, 0) + b"abc" + b"\xff" * 5),
        (6, AddressExtension(V6, 64), struct.pack("=BBH", 0, 64, 0) + sockaddr(V6, 0) + b"\xff" * 4),
        (10, IdentityExtension(2, 5, "a.b"), struct.pack("=HHQ", 2, 0, 5) + b"a.b\0" + b"\xff" * 4),
        (24, SecurityContextExtension(1, 1, b"abc"), struct.pack("=BBH", 1, 1, 3) + b"abc" + b"\xff" * 5),
    ],
)
def test_what_a_kernel_leaves_in_the_padding_is_not_read(exttype: int, value: Extension, body: bytes) -> None:
    assert read(message_bytes(extension(exttype, body))).extensions == {exttype: value}


def test_an_address_is_read_from_a_memoryview_too() -> None:
    data = message_bytes(extension(5, struct.pack("=BBH", 0, 32, 0) + sockaddr(V4, 0)))
    address = read(memoryview(data)).need(ExtensionType.ADDRESS_SRC, AddressExtension).address
    assert address == ip_address("192.0.2.1")
