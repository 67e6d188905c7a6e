"""The numbers of PF_KEY by name: types of messages, SAs and extensions, as <linux/pfkeyv2.h> names them.

Members have the header's names without SADB_, SADB_SATYPE_ and SADB_EXT_, `str` gives the whole name; a number that
has none here prints as itself. Values come from the C core, so that no number is written twice.
"""

from functools import cache

from pfkeyx.model import OpenEnum
from pfkeyx.native import lib


class MessageType(OpenEnum):
    """What a message asks or tells: SADB_* (RFC 2367 §2.1) and SADB_X_* of Linux."""

    GETSPI = lib.SADB_GETSPI
    UPDATE = lib.SADB_UPDATE
    ADD = lib.SADB_ADD
    DELETE = lib.SADB_DELETE
    GET = lib.SADB_GET
    ACQUIRE = lib.SADB_ACQUIRE
    REGISTER = lib.SADB_REGISTER
    EXPIRE = lib.SADB_EXPIRE
    FLUSH = lib.SADB_FLUSH
    DUMP = lib.SADB_DUMP
    X_PROMISC = lib.SADB_X_PROMISC
    X_PCHANGE = lib.SADB_X_PCHANGE
    X_SPDUPDATE = lib.SADB_X_SPDUPDATE
    X_SPDADD = lib.SADB_X_SPDADD
    X_SPDDELETE = lib.SADB_X_SPDDELETE
    X_SPDGET = lib.SADB_X_SPDGET
    X_SPDACQUIRE = lib.SADB_X_SPDACQUIRE
    X_SPDDUMP = lib.SADB_X_SPDDUMP
    X_SPDFLUSH = lib.SADB_X_SPDFLUSH
    X_SPDSETIDX = lib.SADB_X_SPDSETIDX
    X_SPDEXPIRE = lib.SADB_X_SPDEXPIRE
    X_SPDDELETE2 = lib.SADB_X_SPDDELETE2
    X_NAT_T_NEW_MAPPING = lib.SADB_X_NAT_T_NEW_MAPPING
    X_MIGRATE = lib.SADB_X_MIGRATE
    X_ADDRUPDATE = lib.SADB_X_ADDRUPDATE

    def __str__(self) -> str:
        return _name(self, "")


class SAType(OpenEnum):
    """The protocol of an SA: SADB_SATYPE_* (RFC 2367 §2.1)."""

    UNSPEC = lib.SADB_SATYPE_UNSPEC
    AH = lib.SADB_SATYPE_AH
    ESP = lib.SADB_SATYPE_ESP
    RSVP = lib.SADB_SATYPE_RSVP
    OSPFV2 = lib.SADB_SATYPE_OSPFV2
    RIPV2 = lib.SADB_SATYPE_RIPV2
    MIP = lib.SADB_SATYPE_MIP
    X_IPCOMP = lib.SADB_X_SATYPE_IPCOMP

    def __str__(self) -> str:
        return _name(self, "SATYPE_")


class ExtensionType(OpenEnum):
    """What an extension holds: SADB_EXT_* (RFC 2367 §2.3) and SADB_X_EXT_* of Linux."""

    SA = lib.SADB_EXT_SA
    LIFETIME_CURRENT = lib.SADB_EXT_LIFETIME_CURRENT
    LIFETIME_HARD = lib.SADB_EXT_LIFETIME_HARD
    LIFETIME_SOFT = lib.SADB_EXT_LIFETIME_SOFT
    ADDRESS_SRC = lib.SADB_EXT_ADDRESS_SRC
    ADDRESS_DST = lib.SADB_EXT_ADDRESS_DST
    ADDRESS_PROXY = lib.SADB_EXT_ADDRESS_PROXY
    KEY_AUTH = lib.SADB_EXT_KEY_AUTH
    KEY_ENCRYPT = lib.SADB_EXT_KEY_ENCRYPT
    IDENTITY_SRC = lib.SADB_EXT_IDENTITY_SRC
    IDENTITY_DST = lib.SADB_EXT_IDENTITY_DST
    SENSITIVITY = lib.SADB_EXT_SENSITIVITY
    PROPOSAL = lib.SADB_EXT_PROPOSAL
    SUPPORTED_AUTH = lib.SADB_EXT_SUPPORTED_AUTH
    SUPPORTED_ENCRYPT = lib.SADB_EXT_SUPPORTED_ENCRYPT
    SPIRANGE = lib.SADB_EXT_SPIRANGE
    X_KMPRIVATE = lib.SADB_X_EXT_KMPRIVATE
    X_POLICY = lib.SADB_X_EXT_POLICY
    X_SA2 = lib.SADB_X_EXT_SA2
    X_NAT_T_TYPE = lib.SADB_X_EXT_NAT_T_TYPE
    X_NAT_T_SPORT = lib.SADB_X_EXT_NAT_T_SPORT
    X_NAT_T_DPORT = lib.SADB_X_EXT_NAT_T_DPORT
    X_NAT_T_OA = lib.SADB_X_EXT_NAT_T_OA
    X_SEC_CTX = lib.SADB_X_EXT_SEC_CTX
    X_KMADDRESS = lib.SADB_X_EXT_KMADDRESS
    X_FILTER = lib.SADB_X_EXT_FILTER
    X_NEW_ADDRESS_SRC = lib.SADB_X_EXT_NEW_ADDRESS_SRC
    X_NEW_ADDRESS_DST = lib.SADB_X_EXT_NEW_ADDRESS_DST

    def __str__(self) -> str:
        return _name(self, "EXT_")


@cache
def _name(member: OpenEnum, kind: str) -> str:
    """Return the header's name, SADB_X_EXT_POLICY of X_POLICY; a number that has none is named after itself."""
    if member.name == str(member.value):
        return member.name
    ours = member.name.removeprefix("X_")
    return f"SADB_{'' if ours == member.name else 'X_'}{kind}{ours}"
