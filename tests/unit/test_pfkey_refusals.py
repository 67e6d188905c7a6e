"""What of a message is malformed, and what cannot be built, and how the refusal names it."""

import re
import struct
from collections.abc import Mapping

import pytest

from pfkeyx import InvalidRequestError, Key, MalformedReplyError
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    Extension,
    FilterExtension,
    IdentityExtension,
    IPsecRequest,
    KeyExtension,
    KMAddressExtension,
    KMPrivateExtension,
    NatTPortExtension,
    PolicyExtension,
    SA2Extension,
    SecurityContextExtension,
    SensitivityExtension,
    Unknown,
)
from pfkeyx.pfkey.message import (
    ExtensionType,
    Message,
    MessageType,
    build,
    read,
)
from tests.unit.pfkey_bytes import V4, V6, extension, message, message_bytes, request, sockaddr


@pytest.mark.parametrize(
    ("exttype", "body", "complaint"),
    [
        (1, bytes(4), "SADB_EXT_SA of 8 bytes is cut short"),
        (2, bytes(20), "SADB_EXT_LIFETIME_CURRENT of 24 bytes"),
        (5, bytes(4) + sockaddr(V6, 0)[:20], "SADB_EXT_ADDRESS_SRC of 32 bytes"),
        (8, struct.pack("=HH", 65, 0) + bytes(8), "SADB_EXT_KEY_AUTH of 16 bytes"),
        (10, bytes(4), "SADB_EXT_IDENTITY_SRC of 8 bytes"),
        (11, bytes(12) + b"no end!!", "SADB_EXT_IDENTITY_DST of 24 bytes"),
        (12, struct.pack("=IBBBBI", 1, 0, 1, 0, 0, 0), "SADB_EXT_SENSITIVITY of 16 bytes"),
        (12, struct.pack("=IBBBBIQ", 1, 0, 1, 0, 1, 0, 5), "SADB_EXT_SENSITIVITY of 24 bytes"),
        (12, struct.pack("=IBBBBI", 1, 0, 255, 0, 255, 0), "SADB_EXT_SENSITIVITY of 16 bytes"),
        (13, bytes(4) + bytes(64), "SADB_EXT_PROPOSAL of 72 bytes"),
        (13, bytes(4) + bytes(80), "SADB_EXT_PROPOSAL of 88 bytes"),
        (16, bytes(4), "SADB_EXT_SPIRANGE of 8 bytes"),
        (18, struct.pack("=HBBII", 2, 2, 0, 0, 0) + request(17, 2, 3, 0)[:8], "SADB_X_EXT_POLICY of 24 bytes"),
        (24, struct.pack("=BBH", 1, 1, 1), "SADB_X_EXT_SEC_CTX of 8 bytes"),
        (25, bytes(4) + sockaddr(V4, 0), "SADB_X_EXT_KMADDRESS of 24 bytes"),
        (25, bytes(4) + sockaddr(V4, 0) + sockaddr(V6, 0), "SADB_X_EXT_KMADDRESS of 56 bytes"),
        (26, bytes(28), "SADB_X_EXT_FILTER of 32 bytes"),
    ],
)
def test_an_extension_that_is_shorter_than_what_it_says_is_malformed(exttype: int, body: bytes, complaint: str) -> None:
    with pytest.raises(MalformedReplyError, match=re.escape(complaint)):
        read(message_bytes(extension(exttype, body)))


@pytest.mark.parametrize("exttype", [1, 999])
def test_a_type_of_extension_that_comes_twice_is_malformed(exttype: int) -> None:
    with pytest.raises(MalformedReplyError, match=f"SADB_ADD: {ExtensionType(exttype)} comes twice"):
        read(message_bytes(extension(exttype, bytes(12)), extension(exttype, bytes(12))))


def test_a_message_without_a_needed_extension_is_malformed_and_both_are_named() -> None:
    whole = message({ExtensionType.X_SA2: SA2Extension(1, 0)})
    assert whole.need(ExtensionType.X_SA2, SA2Extension) == SA2Extension(1, 0)
    with pytest.raises(MalformedReplyError, match="SADB_ADD came without SADB_EXT_KEY_AUTH"):
        whole.need(ExtensionType.KEY_AUTH, KeyExtension)


LONG_KEY = KeyExtension.of(Key(bytes(8191)))

REFUSED: dict[str, tuple[Mapping[int, Extension], str]] = {
    "another extension's value": ({1: SA2Extension(1, 1)}, "SADB_EXT_SA: takes SAExtension, not SA2Extension"),
    "a value for an unknown type": ({99: SA2Extension(1, 1)}, "99: takes Unknown, not SA2Extension"),
    "bytes of another type": ({99: Unknown(98, b"")}, "99: Unknown(type=98, 4 bytes) is of another type"),
    "a number beyond its field": ({22: NatTPortExtension(65536)}, "SADB_X_EXT_NAT_T_DPORT: integer 65536 does not fit"),
    "a bitmap beyond its length": ({12: SensitivityExtension(1, 1, (0,) * 256)}, "integer 256 does not fit"),
    "a prefix of 33 bits": ({5: AddressExtension(V4, 33)}, "SADB_EXT_ADDRESS_SRC: too long a prefix"),
    "a prefix of 129 bits": ({23: AddressExtension(V6, 129)}, "SADB_X_EXT_NAT_T_OA: too long a prefix"),
    "a filter of 33 bits": ({26: FilterExtension(2, V4, 33, V4, 0)}, "SADB_X_EXT_FILTER: too long a prefix"),
    "a filter of 129 bits": ({26: FilterExtension(0, V6, 0, V6, 129)}, "SADB_X_EXT_FILTER: too long a prefix"),
    "a filter of another family": (
        {26: FilterExtension(10, V4, 0, V4, 0)},
        "with family 10 both addresses are of IPv6",
    ),
    "a filter of two families": ({26: FilterExtension(2, V4, 0, V6, 0)}, "with family 2 both addresses are of IPv4"),
    "key managers of two families": ({25: KMAddressExtension(V4, V6)}, "SADB_X_EXT_KMADDRESS: too long a prefix, one"),
    "a request of two families": (
        {18: PolicyExtension(2, 2, requests=(IPsecRequest(50, 2, 1, 0, V4, V6),))},
        "two of different families",
    ),
    "a request with one address": (
        {18: PolicyExtension(2, 2, requests=(IPsecRequest(50, 2, 1, 0, V4, None),))},
        "one address where it takes two",
    ),
    "a name with an end inside": ({10: IdentityExtension(2, 0, "a\0b")}, "a name ends before its first NUL"),
    "a security context beyond its length": ({24: SecurityContextExtension(1, 1, bytes(65536))}, "does not fit"),
    "more than 65535 words": (
        {8: LONG_KEY, 9: LONG_KEY} | {n: Unknown(n, bytes(60000)) for n in range(90, 99)},
        "98: a message ends after 65535 words",
    ),
    "an extension of more than 65535 words": ({17: KMPrivateExtension(bytes(8 * 65536))}, "ends after 65535 words"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_said_is_refused_with_the_extensions_name(name: str) -> None:
    extensions, complaint = REFUSED[name]
    with pytest.raises(InvalidRequestError, match=f"build SADB_ADD: .*{re.escape(complaint)}"):
        build(message(extensions))


def test_a_header_that_cannot_be_said_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"build SADB_ADD: .*does not fit"):
        build(Message(MessageType.ADD, errno=256))


@pytest.mark.parametrize(("size", "bits"), [(1, 0), (1, 9), (2, 8), (0, 1), (1, -1)])
def test_a_key_has_as_many_bytes_as_its_bits_take(size: int, bits: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes of key are not {bits} bits"):
        KeyExtension(Key(bytes(size)), bits)
