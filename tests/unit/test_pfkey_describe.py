"""What is shown of PF_KEY messages: everything by name, and no secret."""

import doctest
import re
import struct
from types import ModuleType

import pytest

from pfkeyx import Key
from pfkeyx.pfkey import describe as describing
from pfkeyx.pfkey import extensions as values
from pfkeyx.pfkey import message as messages
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    Extension,
    IdentityExtension,
    IPsecRequest,
    KeyExtension,
    KMPrivateExtension,
    LifetimeExtension,
    PolicyExtension,
    SAExtension,
    SecurityContextExtension,
    Unknown,
)
from pfkeyx.pfkey.message import (
    Message,
    MessageType,
    build,
    describe,
)
from tests.unit.pfkey_bytes import (
    OTHER_V4,
    POLICY,
    SECRET,
    V4,
    V6,
    built,
    extension,
    message,
    message_bytes,
    sockaddr,
)

SECRETS = message(
    {
        8: KeyExtension(Key(SECRET), 512),
        9: KeyExtension(Key(SECRET[:17]), 129),
        17: KMPrivateExtension(SECRET),
        99: Unknown(99, SECRET[:12]),
    }
)


def shows_a_secret(text: str) -> bool:
    hexadecimal = re.sub(r"[^0-9a-f]", "", re.sub(r"(?m)^  [0-9a-f]{4}  ", "", text))
    return any(SECRET[at : at + 3].hex() in hexadecimal for at in range(len(SECRET) - 2)) or SECRET[:4].hex() in text


def test_no_repr_shows_a_secret() -> None:
    text = "".join(repr(value) for value in SECRETS.extensions.values()) + repr(SECRETS) + repr(build(SECRETS))
    assert repr(SECRETS.extensions[99]) == "Unknown(type=99, 16 bytes)"
    assert not shows_a_secret(text)
    assert "\\xa" not in text


def test_a_description_blanks_secrets_byte_by_byte() -> None:
    text = describe(built(SECRETS))
    assert not shows_a_secret(text)
    assert text.count("**") == 64 + 24 + 4 + 64 + 12


# Before each secret stands what could be made to swallow it.
AROUND: dict[int, Extension] = {
    1: SAExtension(5),
    3: LifetimeExtension(1),
    10: IdentityExtension(2, 1, "a.example"),
    5: AddressExtension(V4, 32),
    8: KeyExtension(Key(SECRET), 512),
    18: POLICY,
    9: KeyExtension(Key(SECRET), 512),
    24: SecurityContextExtension(1, 1, b"context"),
    17: KMPrivateExtension(SECRET),
    6: AddressExtension(V6, 128),
    99: Unknown(99, SECRET[:60]),
}


def test_a_description_of_a_cut_message_shows_no_secret() -> None:
    data = built(message(AROUND))
    for size in range(len(data)):
        assert not shows_a_secret(describe(data[:size])), size


def test_a_description_shows_no_secret_whatever_a_length_says() -> None:
    data = built(message(AROUND))
    offset = 16
    for exttype in AROUND:
        (words,) = struct.unpack_from("=H", data, offset)
        for other in {*range(80), 255, 65535}:
            mutant = data[:offset] + struct.pack("=H", other) + data[offset + 2 :]
            assert not shows_a_secret(describe(mutant)), (exttype, other)
        offset += 8 * words


def test_a_description_names_what_it_shows() -> None:
    lines = describe(
        built(
            Message(
                MessageType.X_SPDADD,
                errno=17,
                extensions={18: PolicyExtension(2, 2, 8, 5, (IPsecRequest(50, 2, 3, 9, V4, OTHER_V4),))},
            )
        )
    ).splitlines()
    assert lines == [
        "SADB_X_SPDADD: version 2, errno 17 EEXIST, satype SADB_SATYPE_UNSPEC, len 10, reserved 0, seq 0, pid 0",
        "  0000  02 0e 11 00 0a 00 00 00 00 00 00 00 00 00 00 00",
        "SADB_X_EXT_POLICY: type 2, direction 2, id 8, priority 5",
        "  request: protocol 50, mode 2, level 3, reqid 9, source 192.0.2.1, destination 198.51.100.7",
        "  0010  08 00 12 00 02 00 02 00 08 00 00 00 05 00 00 00",
        "  0020  30 00 32 00 02 03 00 00 09 00 00 00 00 00 00 00",
        "  0030  02 00 00 00 c0 00 02 01 00 00 00 00 00 00 00 00",
        "  0040  02 00 00 00 c6 33 64 07 00 00 00 00 00 00 00 00",
    ]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "no PF_KEY message: 0 bytes are less than a base header"),
        (bytes(15), "no PF_KEY message: 15 bytes are less than a base header"),
        (b"\x03" + message_bytes(extension(8, bytes(12)))[1:], "version 3 may lay out the rest otherwise"),
        (message_bytes(extension(8, bytes(12)))[:-1], "an extension that has no length or goes beyond the end"),
        (message_bytes() + bytes(8), "an extension that has no length or goes beyond the end"),
        (message_bytes() + bytes(3), "an extension that has no length or goes beyond the end"),
        (message_bytes(extension(1, bytes(4))), "SADB_EXT_SA: cut short or makes no sense"),
        (message_bytes() + extension(27, b"1234"), "len 2 (16 bytes, but 24 arrived)"),
    ],
)
def test_a_description_tells_where_sense_ends(data: bytes, complaint: str) -> None:
    assert complaint in describe(data)


def test_a_description_shows_the_fields_of_what_cannot_be_built() -> None:
    data = message_bytes(extension(7, struct.pack("=BBH", 0, 64, 0) + sockaddr(V4, 0)))
    assert "SADB_EXT_ADDRESS_PROXY: address 192.0.2.1, prefix_length 64, protocol 0, port 0" in describe(data)


@pytest.mark.parametrize("module", [messages, describing, values], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_are_true(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted > 0) == (0, True)
