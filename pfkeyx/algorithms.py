"""The registry of algorithms: one row an algorithm, with what each standard and each kernel interface calls it.

Sizes and PF_KEY numbers are Linux's (`net/xfrm/xfrm_algo.c`, `<linux/pfkeyv2.h>`), the draft's are those of
draft-schilcher-mobike-pfkey-extension-01 §6, IKEv2's are IANA's "IKEv2 Parameters" (RFC 7296 §3.3.2). Where the
draft's number and Linux's differ, Linux's is spoken. Nothing here knows a message.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from pfkeyx.errors import InvalidRequestError


class Kind(Enum):
    """What an algorithm is for."""

    ENCRYPTION = "encryption"
    AEAD = "combined-mode encryption"
    AUTHENTICATION = "authentication"
    COMPRESSION = "compression"


#: RFC 7296 §3.3.2. What compresses is announced in a notification (§3.10.1), and has no transform type.
_TRANSFORM_TYPES = {Kind.ENCRYPTION: 1, Kind.AEAD: 1, Kind.AUTHENTICATION: 3}


@dataclass(frozen=True, slots=True, repr=False)
class Algorithm:
    """One algorithm.

    - `key_bits` are the lengths it takes, without the `salt_bits` that combined and counter modes keep at the end
      of the key.
    - `icv_bits` are the truncations it may be sent with, the usual one first.
    - `pfkey_number` is what PF_KEY on Linux is asked for it with, None where it cannot be. `pfkey_refused_numbers`,
      one for each of `icv_bits`, are in the header too, but the kernel answers them with ENOSYS.
    - `ikev2_ids` are its transform ids: one for each of `icv_bits`, as far as IANA has any, the first ones first; a
      single one where there is no ICV.
    - `draft` is the name and the number of draft-schilcher §6.
    - `xfrm_alias` is an older name, which XFRM takes as well.
    - `note` is what else one has to know before taking it.
    """

    name: str
    kind: Kind
    xfrm_name: str
    key_bits: Sequence[int]
    salt_bits: int = 0
    icv_bits: tuple[int, ...] = ()
    pfkey_number: int | None = None
    pfkey_refused_numbers: tuple[int, ...] = ()
    ikev2_ids: tuple[int, ...] = ()
    draft: tuple[str, int] | None = None
    xfrm_alias: str | None = None
    note: str = ""

    @property
    def on_pfkey(self) -> bool:
        """Whether PF_KEY on Linux can ask for it; a kernel built without it answers ENOSYS."""
        return self.pfkey_number is not None

    @property
    def on_xfrm(self) -> bool:
        """Whether XFRM can ask for it; a kernel built without it answers ENOSYS."""
        return bool(self.xfrm_name)

    @property
    def pfkey_icv_bits(self) -> int:
        """The only truncation on PF_KEY, which is the usual one; 0 where there is none."""
        return self.icv_bits[0] if self.on_pfkey and self.icv_bits else 0

    @property
    def ikev2_transform_type(self) -> int | None:
        """IKEv2's transform type (RFC 7296 §3.3.2): 1 encrypts, 3 authenticates; None for IPComp, which has none."""
        return _TRANSFORM_TYPES.get(self.kind)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Algorithm({self.name!r})"


_AES = (128, 192, 256)
_UNIMPLEMENTED = "Linux knows the name and has no implementation"
_SHANGMI = "many kernels are built without it"

# One aspect a line: names and sizes, then PF_KEY and IKEv2, then the draft.
# fmt: off

# ---- encryption ----

NULL = Algorithm(  # RFC 2410
    "null", Kind.ENCRYPTION, "ecb(cipher_null)", (0,), xfrm_alias="cipher_null",
    pfkey_number=11, ikev2_ids=(11,),
    draft=("SADB_EALG_NULL", 11),
)
DES_CBC = Algorithm(  # RFC 2405
    "des-cbc", Kind.ENCRYPTION, "cbc(des)", (64,), xfrm_alias="des",
    pfkey_number=2, ikev2_ids=(2,),
    draft=("SADB_EALG_DESCBC", 2),
)
TRIPLE_DES_CBC = Algorithm(  # RFC 2451
    "3des-cbc", Kind.ENCRYPTION, "cbc(des3_ede)", (192,), xfrm_alias="des3_ede",
    pfkey_number=3, ikev2_ids=(3,),
    draft=("SADB_EALG_3DESCBC", 3),
)
CAST_CBC = Algorithm(  # RFC 2451
    "cast-cbc", Kind.ENCRYPTION, "cbc(cast5)", range(40, 129, 8), xfrm_alias="cast5",
    pfkey_number=6, ikev2_ids=(6,),
    draft=("SADB_X_EALG_CASTCBC", 6),
)
BLOWFISH_CBC = Algorithm(  # RFC 2451
    "blowfish-cbc", Kind.ENCRYPTION, "cbc(blowfish)", range(40, 449, 8), xfrm_alias="blowfish",
    pfkey_number=7, ikev2_ids=(7,),
    draft=("SADB_X_EALG_BLOWFISHCBC", 7),
)
AES_CBC = Algorithm(  # RFC 3602; SADB_EALG_AESCBC128 in the draft is the same number
    "aes-cbc", Kind.ENCRYPTION, "cbc(aes)", _AES, xfrm_alias="aes",
    pfkey_number=12, ikev2_ids=(12,),
    draft=("SADB_X_EALG_AESCBC", 12),
)
AES_CTR = Algorithm(  # RFC 3686: the nonce stands at the end of the key, as a salt
    "aes-ctr", Kind.ENCRYPTION, "rfc3686(ctr(aes))", _AES, salt_bits=32,
    pfkey_number=13, ikev2_ids=(13,),
    draft=("SADB_X_EALG_AESCTR", 13),
)
CAMELLIA_CBC = Algorithm(  # RFC 4312, RFC 5529
    "camellia-cbc", Kind.ENCRYPTION, "cbc(camellia)", _AES, xfrm_alias="camellia",
    pfkey_number=22, ikev2_ids=(23,),
)
SM4_CBC = Algorithm(  # GB/T 32907
    "sm4-cbc", Kind.ENCRYPTION, "cbc(sm4)", (128,), xfrm_alias="sm4",
    pfkey_number=24,
    note=_SHANGMI,
)
SERPENT_CBC = Algorithm(  # draft-ietf-ipsec-ciph-aes-cbc-00
    "serpent-cbc", Kind.ENCRYPTION, "cbc(serpent)", range(128, 257, 8), xfrm_alias="serpent",
    pfkey_number=252,
)
TWOFISH_CBC = Algorithm(  # draft-ietf-ipsec-ciph-aes-cbc-00
    "twofish-cbc", Kind.ENCRYPTION, "cbc(twofish)", _AES, xfrm_alias="twofish",
    pfkey_number=253,
)

# ---- combined modes ----

AES_GCM = Algorithm(  # RFC 4106
    "aes-gcm", Kind.AEAD, "rfc4106(gcm(aes))", _AES, salt_bits=32, icv_bits=(128, 96, 64),
    pfkey_refused_numbers=(20, 19, 18), ikev2_ids=(20, 19, 18),
)
AES_CCM = Algorithm(  # RFC 4309
    "aes-ccm", Kind.AEAD, "rfc4309(ccm(aes))", _AES, salt_bits=24, icv_bits=(128, 96, 64),
    pfkey_refused_numbers=(16, 15, 14), ikev2_ids=(16, 15, 14),
)
AES_GMAC = Algorithm(  # RFC 4543 §3; IKEv2's other ids for it are AH's, where Linux does not have it
    "aes-gmac", Kind.AEAD, "rfc4543(gcm(aes))", _AES, salt_bits=32, icv_bits=(128,),
    pfkey_refused_numbers=(23,), ikev2_ids=(21,),
    note="authenticates and does not encrypt",
)
CHACHA20_POLY1305 = Algorithm(  # RFC 7634
    "chacha20-poly1305", Kind.AEAD, "rfc7539esp(chacha20,poly1305)", (256,), salt_bits=32, icv_bits=(128,),
    ikev2_ids=(28,),
)

# ---- authentication ----

AUTH_NULL = Algorithm(  # IKEv2's NONE (0) means that there is no such algorithm, not that this one is used
    "auth-null", Kind.AUTHENTICATION, "digest_null", (0,), icv_bits=(0,),
    pfkey_number=251,
)
HMAC_MD5 = Algorithm(  # RFC 2403, RFC 4595
    "hmac-md5", Kind.AUTHENTICATION, "hmac(md5)", (128,), icv_bits=(96, 128), xfrm_alias="md5",
    pfkey_number=2, ikev2_ids=(1, 6),
    draft=("SADB_AALG_MD5HMAC", 2),
)
HMAC_SHA1 = Algorithm(  # RFC 2404, RFC 4595
    "hmac-sha1", Kind.AUTHENTICATION, "hmac(sha1)", (160,), icv_bits=(96, 160), xfrm_alias="sha1",
    pfkey_number=3, ikev2_ids=(2, 7),
    draft=("SADB_AALG_SHA1HMAC", 3),
)
HMAC_SHA256 = Algorithm(  # RFC 4868
    "hmac-sha256", Kind.AUTHENTICATION, "hmac(sha256)", (256,), icv_bits=(128, 256), xfrm_alias="sha256",
    ikev2_ids=(12,),
    note="PF_KEY cuts SHA-256 to 96 bits: hmac-sha256-96",
)
HMAC_SHA256_96 = Algorithm(  # no standard
    "hmac-sha256-96", Kind.AUTHENTICATION, "hmac(sha256)", (256,), icv_bits=(96,), xfrm_alias="sha256",
    pfkey_number=5,
    draft=("SADB_X_AALG_SHA2_256HMAC", 5),
    note="not RFC 4868, which sends 128 bits: for peers that cut it like this too",
)
HMAC_SHA384 = Algorithm(  # RFC 4868
    "hmac-sha384", Kind.AUTHENTICATION, "hmac(sha384)", (384,), icv_bits=(192, 384),
    pfkey_number=6, ikev2_ids=(13,),
    draft=("SADB_X_AALG_SHA2_384HMAC", 6),
)
HMAC_SHA512 = Algorithm(  # RFC 4868
    "hmac-sha512", Kind.AUTHENTICATION, "hmac(sha512)", (512,), icv_bits=(256, 512),
    pfkey_number=7, ikev2_ids=(14,),
    draft=("SADB_X_AALG_SHA2_512HMAC", 7),
)
HMAC_RIPEMD160 = Algorithm(  # RFC 2857
    "hmac-ripemd160", Kind.AUTHENTICATION, "hmac(rmd160)", (160,), icv_bits=(96, 160), xfrm_alias="rmd160",
    pfkey_number=8,
    draft=("SADB_X_AALG_RIPEMD160HMAC", 8),
    note="Linux 7 no longer has it",
)
HMAC_SM3 = Algorithm(  # GB/T 32905
    "hmac-sm3", Kind.AUTHENTICATION, "hmac(sm3)", (256,), icv_bits=(256,), xfrm_alias="sm3",
    pfkey_number=10,
    note=_SHANGMI,
)
AES_XCBC_MAC = Algorithm(  # RFC 3566
    "aes-xcbc-mac", Kind.AUTHENTICATION, "xcbc(aes)", (128,), icv_bits=(96, 128),
    pfkey_number=9, ikev2_ids=(5,),
    draft=("SADB_AALG_AESXCBCMAC", 4),
    note="Linux's number is spoken, not the draft's",
)
AES_CMAC = Algorithm(  # RFC 4494
    "aes-cmac", Kind.AUTHENTICATION, "cmac(aes)", (128,), icv_bits=(96, 128),
    ikev2_ids=(8,),
)

# ---- compression ----

DEFLATE = Algorithm(  # RFC 2394
    "deflate", Kind.COMPRESSION, "deflate", (),
    pfkey_number=2, ikev2_ids=(2,),
)
LZS = Algorithm(  # RFC 2395
    "lzs", Kind.COMPRESSION, "lzs", (),
    pfkey_number=3, ikev2_ids=(3,),
    note=_UNIMPLEMENTED,
)
LZJH = Algorithm(  # RFC 3051
    "lzjh", Kind.COMPRESSION, "lzjh", (),
    pfkey_number=4, ikev2_ids=(4,),
    note=_UNIMPLEMENTED,
)
# fmt: on

ALGORITHMS: tuple[Algorithm, ...] = tuple(row for row in globals().values() if isinstance(row, Algorithm))


def by_name(name: str) -> Algorithm:
    """Return the algorithm that we call `name`.

    Raises `InvalidRequestError`, with the names that are like it, or with all, when there is none.

    >>> by_name("aes-gcm").salt_bits
    32
    """
    for row in ALGORITHMS:
        if row.name == name:
            return row
    from difflib import get_close_matches

    names = [row.name for row in ALGORITHMS]
    close = get_close_matches(name.lower(), names)
    choice = f"did you mean {' or '.join(close)}?" if close else f"take one of {', '.join(names)}"
    raise InvalidRequestError(f"unknown algorithm {name!r}: {choice}")


def by_ikev2_id(transform_type: int | None, transform_id: int) -> tuple[Algorithm, int]:
    """Return the algorithm of an IKEv2 transform, and the bits of its ICV, 0 where it has none.

    The transform type is 1 or 3 (RFC 7296 §3.3.2), and None for the transform of an IPCOMP_SUPPORTED notification,
    which has no type (§3.10.1). Raises `InvalidRequestError` for a transform that the kernel has no algorithm for.

    >>> algorithm, icv_bits = by_ikev2_id(3, 12)
    >>> algorithm.name, icv_bits
    ('hmac-sha256', 128)
    """
    for row in ALGORITHMS:
        if row.ikev2_transform_type == transform_type and transform_id in row.ikev2_ids:
            return row, (row.icv_bits or (0,))[row.ikev2_ids.index(transform_id)]
    transform = "IPComp transform" if transform_type is None else f"transform type {transform_type},"
    raise InvalidRequestError(f"no algorithm for IKEv2 {transform} id {transform_id}; do not negotiate it")


@lru_cache(maxsize=64)  # what a kernel shows is nearly always of few kinds
def by_xfrm_name(name: str, kind: Kind, icv_bits: int = 0) -> Algorithm:
    """Return the row for a name and a truncation in bits that XFRM showed; 0 bits are the usual ones.

    What has no row gets one of its own, on XFRM alone, which can be written back as it was read.
    """
    rows = [row for row in ALGORITHMS if row.kind is kind and name in (row.xfrm_name, row.xfrm_alias)]
    for row in rows:
        if icv_bits == 0 or icv_bits in row.icv_bits:
            return row
    if rows:
        whole = rows[0]
        return Algorithm(f"{whole.name}-{icv_bits}", kind, name, whole.key_bits, whole.salt_bits, (icv_bits,))
    return Algorithm(name, kind, name, ())


def by_pfkey_number(number: int, kind: Kind) -> Algorithm:
    """Return the row for a number that PF_KEY showed; one we have no row for is named after its number."""
    for row in ALGORITHMS:
        if row.kind is kind and number in (row.pfkey_number, *row.pfkey_refused_numbers):
            return row
    return Algorithm(f"pfkey-{number}", kind, "", (), pfkey_number=number)
