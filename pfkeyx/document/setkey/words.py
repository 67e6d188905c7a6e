"""What setkey's words stand for on Linux, and why some stand for nothing there."""

from pfkeyx.algorithms import (
    AES_CBC,
    AES_CTR,
    AES_XCBC_MAC,
    AUTH_NULL,
    BLOWFISH_CBC,
    CAMELLIA_CBC,
    CAST_CBC,
    DEFLATE,
    DES_CBC,
    HMAC_MD5,
    HMAC_RIPEMD160,
    HMAC_SHA1,
    HMAC_SHA256_96,
    HMAC_SHA384,
    HMAC_SHA512,
    LZS,
    NULL,
    TRIPLE_DES_CBC,
    TWOFISH_CBC,
)
from pfkeyx.model import Action, Direction, Mode, Protocol

PROTOCOLS = {"esp": Protocol.ESP, "esp-udp": Protocol.ESP, "ah": Protocol.AH, "ipcomp": Protocol.IPCOMP}
MODES = {"transport": Mode.TRANSPORT, "tunnel": Mode.TUNNEL}
ENCRYPTION = {
    "null": NULL,
    "simple": NULL,
    "des-cbc": DES_CBC,
    "3des-cbc": TRIPLE_DES_CBC,
    "blowfish-cbc": BLOWFISH_CBC,
    "cast128-cbc": CAST_CBC,
    "twofish-cbc": TWOFISH_CBC,
    "aes-cbc": AES_CBC,
    "rijndael-cbc": AES_CBC,
    "aes-ctr": AES_CTR,
    "camellia-cbc": CAMELLIA_CBC,
}
#: PF_KEY sends 96 bits of SHA-256, where RFC 4868 has 128.
SHA256_NAMES = ("hmac-sha256", "hmac-sha2-256")
AUTHENTICATION = {
    "null": AUTH_NULL,
    "hmac-md5": HMAC_MD5,
    "hmac-sha1": HMAC_SHA1,
    **dict.fromkeys(SHA256_NAMES, HMAC_SHA256_96),
    **dict.fromkeys(("hmac-sha384", "hmac-sha2-384"), HMAC_SHA384),
    **dict.fromkeys(("hmac-sha512", "hmac-sha2-512"), HMAC_SHA512),
    "hmac-ripemd160": HMAC_RIPEMD160,
    "aes-xcbc-mac": AES_XCBC_MAC,
}
COMPRESSION = {"deflate": DEFLATE, "lzs": LZS}
#: These stand without a key.
KEYLESS = ("null", "simple")

DIRECTIONS = {"in": Direction.IN, "out": Direction.OUT, "fwd": Direction.FORWARD}
ACTIONS = {"discard": Action.BLOCK, "none": Action.ALLOW, "ipsec": Action.ALLOW}
LEVELS = ("default", "use", "require", "unique")
#: The lower number comes first (libipsec's libpfkey.h).
PRIORITIES = {"low": 0xC0000000, "def": 0x80000000, "high": 0x40000000}
DEFAULT_PRIORITY = PRIORITIES["def"]

#: Padding and sequence numbers (-f): what Linux does whatever is said, and what it never does.
ALWAYS = ("nocyclic-seq", "seq-pad")
NEVER = ("zero-pad", "random-pad")

#: Words that are setkey's and nothing to Linux, with what to do.
REFUSED = {
    "esp-old": "Linux has no ESP of RFC 1827, and would make one of RFC 4303 of it; write esp",
    "ah-old": "Linux has no AH of RFC 1826, and would make one of RFC 4302 of it; write ah",
    "tcp": "Linux has no SAs for TCP-MD5; a program asks for it with the socket option TCP_MD5SIG",
    "tcp-md5": "Linux has no SAs for TCP-MD5; a program asks for it with the socket option TCP_MD5SIG",
    "des-deriv": "Linux has no des-deriv, and would make des-cbc of it",
    "des-32iv": "Linux has no des-32iv, which belongs to esp-old",
    "keyed-md5": "Linux has no keyed-md5; write hmac-md5",
    "keyed-sha1": "Linux has no keyed-sha1; write hmac-sha1",
    "oui": "Linux has no compression oui; write deflate",
    "entrust": "Linux refuses entrust in the SPD; write none or ipsec",
    "bypass": "Linux refuses bypass in the SPD; write none",
    "tagged": "Linux has no tagged policies; XFRM has marks, which a file of pfkeyx's can say",
    "update": "setkey has no update; write delete and add",
}
