"""The algorithm table: one row an algorithm, under our name, XFRM's, and its number on PF_KEY.

Numbers and key sizes are Linux's (`net/xfrm/xfrm_algo.c`, `<linux/pfkeyv2.h>`). Nothing here knows a message.
"""

from collections.abc import Container
from dataclasses import dataclass
from enum import Enum

from pfkeyx.errors import InvalidRequestError


class Kind(Enum):
    """What an algorithm is for."""

    ENCRYPTION = "encryption"
    AEAD = "combined-mode encryption"
    AUTHENTICATION = "authentication"


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One algorithm.

    `key_bits` are the lengths it takes, without the `salt_bits` that combined and counter modes keep at the
    end of the key. `icv_bits` are the truncations it may be sent with, the usual one first. `pfkey_number` is
    None where PF_KEY on Linux cannot ask for it, and `pfkey_icv_bits` is the one truncation that it uses.
    """

    name: str
    kind: Kind
    xfrm_name: str
    key_bits: Container[int]
    salt_bits: int = 0
    icv_bits: tuple[int, ...] = ()
    pfkey_number: int | None = None
    pfkey_icv_bits: int = 0

    def __str__(self) -> str:
        return self.name


_AES = (128, 192, 256)
_BYTES_128_TO_256 = range(128, 257, 8)

NULL = Algorithm("null", Kind.ENCRYPTION, "ecb(cipher_null)", (0,), pfkey_number=11)
DES_CBC = Algorithm("des-cbc", Kind.ENCRYPTION, "cbc(des)", (64,), pfkey_number=2)
TRIPLE_DES_CBC = Algorithm("3des-cbc", Kind.ENCRYPTION, "cbc(des3_ede)", (192,), pfkey_number=3)
CAST_CBC = Algorithm("cast-cbc", Kind.ENCRYPTION, "cbc(cast5)", range(40, 129, 8), pfkey_number=6)
BLOWFISH_CBC = Algorithm("blowfish-cbc", Kind.ENCRYPTION, "cbc(blowfish)", range(40, 449, 8), pfkey_number=7)
AES_CBC = Algorithm("aes-cbc", Kind.ENCRYPTION, "cbc(aes)", _AES, pfkey_number=12)
#: RFC 3686: a 32-bit nonce stands at the end of the key.
AES_CTR = Algorithm("aes-ctr", Kind.ENCRYPTION, "rfc3686(ctr(aes))", _AES, salt_bits=32, pfkey_number=13)
CAMELLIA_CBC = Algorithm("camellia-cbc", Kind.ENCRYPTION, "cbc(camellia)", _AES, pfkey_number=22)
SERPENT_CBC = Algorithm("serpent-cbc", Kind.ENCRYPTION, "cbc(serpent)", _BYTES_128_TO_256, pfkey_number=252)
TWOFISH_CBC = Algorithm("twofish-cbc", Kind.ENCRYPTION, "cbc(twofish)", _AES, pfkey_number=253)

#: RFC 4106.
AES_GCM = Algorithm("aes-gcm", Kind.AEAD, "rfc4106(gcm(aes))", _AES, salt_bits=32, icv_bits=(128, 96, 64))
#: RFC 4309.
AES_CCM = Algorithm("aes-ccm", Kind.AEAD, "rfc4309(ccm(aes))", _AES, salt_bits=24, icv_bits=(128, 96, 64))
#: RFC 4543, which authenticates and does not encrypt.
AES_GMAC = Algorithm("aes-gmac", Kind.AEAD, "rfc4543(gcm(aes))", _AES, salt_bits=32, icv_bits=(128,))
#: RFC 7634.
CHACHA20_POLY1305 = Algorithm(
    "chacha20-poly1305", Kind.AEAD, "rfc7539esp(chacha20,poly1305)", (256,), salt_bits=32, icv_bits=(128,)
)

HMAC_MD5 = Algorithm(
    "hmac-md5", Kind.AUTHENTICATION, "hmac(md5)", (128,), icv_bits=(96, 128), pfkey_number=2, pfkey_icv_bits=96
)
HMAC_SHA1 = Algorithm(
    "hmac-sha1", Kind.AUTHENTICATION, "hmac(sha1)", (160,), icv_bits=(96, 160), pfkey_number=3, pfkey_icv_bits=96
)
#: RFC 4868 sends 128 bits of it; PF_KEY on Linux sends 96, which no other system understands.
HMAC_SHA256 = Algorithm(
    "hmac-sha256",
    Kind.AUTHENTICATION,
    "hmac(sha256)",
    (256,),
    icv_bits=(128, 96, 256),
    pfkey_number=5,
    pfkey_icv_bits=96,
)
HMAC_SHA384 = Algorithm(
    "hmac-sha384",
    Kind.AUTHENTICATION,
    "hmac(sha384)",
    (384,),
    icv_bits=(192, 384),
    pfkey_number=6,
    pfkey_icv_bits=192,
)
HMAC_SHA512 = Algorithm(
    "hmac-sha512",
    Kind.AUTHENTICATION,
    "hmac(sha512)",
    (512,),
    icv_bits=(256, 512),
    pfkey_number=7,
    pfkey_icv_bits=256,
)
AES_XCBC_MAC = Algorithm(
    "aes-xcbc-mac", Kind.AUTHENTICATION, "xcbc(aes)", (128,), icv_bits=(96, 128), pfkey_number=9, pfkey_icv_bits=96
)
AES_CMAC = Algorithm("aes-cmac", Kind.AUTHENTICATION, "cmac(aes)", (128,), icv_bits=(96, 128))

ALGORITHMS: tuple[Algorithm, ...] = tuple(row for row in globals().values() if isinstance(row, Algorithm))

#: Names that XFRM takes and shows for the same algorithm.
_XFRM_ALIASES = {
    "cipher_null": NULL,
    "des": DES_CBC,
    "des3_ede": TRIPLE_DES_CBC,
    "cast5": CAST_CBC,
    "blowfish": BLOWFISH_CBC,
    "aes": AES_CBC,
    "camellia": CAMELLIA_CBC,
    "serpent": SERPENT_CBC,
    "twofish": TWOFISH_CBC,
    "md5": HMAC_MD5,
    "sha1": HMAC_SHA1,
    "sha256": HMAC_SHA256,
}


def by_name(name: str) -> Algorithm:
    """Return the algorithm that we call `name`.

    Raises `InvalidRequestError`, with the names there are, when there is none.

    >>> by_name("aes-gcm").salt_bits
    32
    """
    for row in ALGORITHMS:
        if row.name == name:
            return row
    raise InvalidRequestError(f"unknown algorithm {name!r}: take one of {', '.join(r.name for r in ALGORITHMS)}")


def by_xfrm_name(name: str, kind: Kind) -> Algorithm:
    """Return the row for a name that XFRM showed; one we have no row for gets one that only carries its names."""
    for row in ALGORITHMS:
        if row.xfrm_name == name and row.kind is kind:
            return row
    alias = _XFRM_ALIASES.get(name)
    if alias is not None and alias.kind is kind:
        return alias
    return Algorithm(name, kind, name, (), icv_bits=())


def by_pfkey_number(number: int, kind: Kind) -> Algorithm:
    """Return the row for a number that PF_KEY showed; one we have no row for is named after its number."""
    for row in ALGORITHMS:
        if row.pfkey_number == number and row.kind is kind:
            return row
    return Algorithm(f"pfkey-{number}", kind, "", (), pfkey_number=number)
