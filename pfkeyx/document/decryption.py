"""Tables by which other programs decrypt captured ESP: Wireshark's `esp_sa`, and the file of tcpdump's `-E`.

They hold keys in clear. An SA that a program could not decrypt is a comment, which says why.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pfkeyx.algorithms import (
    AES_CBC,
    AES_CTR,
    AES_GCM,
    AUTH_NULL,
    BLOWFISH_CBC,
    CAMELLIA_CBC,
    CAST_CBC,
    DES_CBC,
    HMAC_MD5,
    HMAC_RIPEMD160,
    HMAC_SHA1,
    HMAC_SHA256,
    HMAC_SHA256_96,
    HMAC_SHA384,
    HMAC_SHA512,
    NULL,
    TRIPLE_DES_CBC,
    TWOFISH_CBC,
)
from pfkeyx.model import SA, Key, Protocol


@dataclass(frozen=True, slots=True)
class Table:
    """A decryption table: its text, and how many SAs are left out of it."""

    text: str
    left_out: int


#: Wireshark's names (epan/dissectors/packet-ipsec.c).
_WIRESHARK_ENCRYPTION = {
    NULL.name: "NULL",
    DES_CBC.name: "DES-CBC [RFC2405]",
    TRIPLE_DES_CBC.name: "TripleDES-CBC [RFC2451]",
    CAST_CBC.name: "CAST5-CBC [RFC2144]",
    BLOWFISH_CBC.name: "BLOWFISH-CBC [RFC2451]",
    TWOFISH_CBC.name: "TWOFISH-CBC",
    AES_CBC.name: "AES-CBC [RFC3602]",
    AES_CTR.name: "AES-CTR [RFC3686]",
}
#: By the bits of the ICV; the authentication is NULL.
_WIRESHARK_AEAD = {(AES_GCM.name, bits): f"AES-GCM with {bits // 8} octet ICV [RFC4106]" for bits in (128, 96, 64)}
_WIRESHARK_AUTHENTICATION = {
    (HMAC_MD5.name, 96): "HMAC-MD5-96 [RFC2403]",
    (HMAC_SHA1.name, 96): "HMAC-SHA-1-96 [RFC2404]",
    (HMAC_RIPEMD160.name, 96): "MAC-RIPEMD-160-96 [RFC2857]",
    (HMAC_SHA256_96.name, 96): "HMAC-SHA-256-96 [draft-ietf-ipsec-ciph-sha-256-00]",
    (HMAC_SHA256.name, 128): "HMAC-SHA-256-128 [RFC4868]",
    (HMAC_SHA384.name, 192): "HMAC-SHA-384-192 [RFC4868]",
    (HMAC_SHA512.name, 256): "HMAC-SHA-512-256 [RFC4868]",
}
#: ICVs that Wireshark passes over unchecked, in bits.
_WIRESHARK_UNCHECKED = (64, 96, 128, 192, 256)

#: What tcpdump (print-esp.c) makes OpenSSL's name of, by algorithm and key length.
_TCPDUMP_ENCRYPTION = {
    (DES_CBC.name, 64): "des-cbc",
    (TRIPLE_DES_CBC.name, 192): "3des-cbc",
    (BLOWFISH_CBC.name, 128): "blowfish-cbc",
    (CAST_CBC.name, 128): "cast-cbc",
    **{(AES_CBC.name, bits): f"aes{bits}-cbc" for bits in (128, 192, 256)},
    **{(CAMELLIA_CBC.name, bits): f"camellia{bits}-cbc" for bits in (128, 192, 256)},
}


def wireshark_table(sas: Iterable[SA]) -> Table:
    """Return the file `esp_sa` of a Wireshark profile, a line for each SA of ESP."""
    return _table(sas, _wireshark_line)


def tcpdump_table(sas: Iterable[SA]) -> Table:
    """Return the file for tcpdump's `-E "file NAME"`, a line for each SA of ESP."""
    return _table(sas, _tcpdump_line)


class _UnableError(Exception):
    """The program could not decrypt this."""


def _table(sas: Iterable[SA], line: Callable[[SA], str]) -> Table:
    lines = []
    left_out = 0
    for sa in sas:
        try:
            if sa.id.protocol is not Protocol.ESP:
                raise _UnableError("nothing is encrypted")
            if sa.encryption is None:
                raise _UnableError("it is larval")
            if sa.encryption.key.is_hidden:
                raise _UnableError("the kernel hides its key")
            lines.append(line(sa))
        except _UnableError as reason:
            lines.append(f"# {sa}: left out, since {reason}")
            left_out += 1
    return Table("".join(f"{line}\n" for line in lines), left_out)


def _wireshark_line(sa: SA) -> str:
    assert sa.encryption is not None
    algorithm = sa.encryption.algorithm
    name = _WIRESHARK_ENCRYPTION.get(algorithm.name) or _WIRESHARK_AEAD.get((algorithm.name, sa.encryption.icv_bits))
    if name is None:
        raise _UnableError(f"Wireshark has no {algorithm}")
    authentication, key = "NULL", Key(b"")
    if sa.authentication is not None and sa.authentication.algorithm != AUTH_NULL:
        bits = sa.authentication.icv_bits
        known = _WIRESHARK_AUTHENTICATION.get((sa.authentication.algorithm.name, bits))
        authentication, key = known or _unchecked(bits), sa.authentication.key if known else key
    fields = [
        f"IPv{sa.source.version}",
        str(sa.source),
        str(sa.destination),
        f"{sa.id.spi:#010x}",
        name,
        _hex(sa.encryption.key),
        authentication,
        _hex(key),
        # A field that only newer ones have, and fill in themselves.
        *(("64-bit",) if sa.esn else ()),
    ]
    return ",".join(f'"{field}"' for field in fields)


def _unchecked(bits: int) -> str:
    if bits not in _WIRESHARK_UNCHECKED:
        raise _UnableError(f"Wireshark has no ICV of {bits} bits")
    return f"ANY {bits} bit authentication [no checking]"


def _tcpdump_line(sa: SA) -> str:
    assert sa.encryption is not None
    encryption = sa.encryption
    name = _TCPDUMP_ENCRYPTION.get((encryption.algorithm.name, encryption.key.bits))
    if name is None:
        raise _UnableError(f"tcpdump has no {encryption.algorithm} with a key of {encryption.key.bits} bits")
    icv_bits = sa.authentication.icv_bits if sa.authentication is not None else 0
    if icv_bits not in (0, 96):
        raise _UnableError(f"tcpdump has no ICV of {icv_bits} bits, only of 96")
    return f"{sa.id.spi:#010x}@{sa.destination} {name}{'-hmac96' if icv_bits else ''}:{_hex(encryption.key)}"


def _hex(key: Key) -> str:
    return f"0x{key.reveal().hex()}" if len(key) else ""
