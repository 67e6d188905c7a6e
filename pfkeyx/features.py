"""What a kernel or an engine may or may not be able to do, and how an answer is given.

How a feature is probed is the dialects' business; a kernel's version decides nothing.
"""

from dataclasses import dataclass, field
from enum import Enum

from pfkeyx.algorithms import Algorithm
from pfkeyx.errors import KernelError


class Feature(Enum):
    """Something that some kernels or engines have and others lack.

    ADDRUPDATE is SADB_X_ADDRUPDATE (draft-schilcher-mobike-pfkey-extension-01 §3), which no Linux has as it comes. The
    SADB_* are PF_KEY's messages that Linux knows by number and neither takes from a program nor, but for SADB_EXPIRE
    and SADB_X_NAT_T_NEW_MAPPING, ever sends.
    """

    XFRM = "xfrm"
    PFKEY = "pfkey"
    AEAD = "aead"
    ESN = "esn"
    MARK = "mark"
    IF_ID = "if_id"
    ADDRUPDATE = "addrupdate"
    MIGRATE = "migrate"
    MIGRATE_STATE = "migrate_state"
    SUB_POLICY = "sub_policy"
    DEFAULT_POLICY = "default_policy"
    OUTPUT_MARK = "output_mark"
    OFFLOAD = "offload"
    MAPPING_THRESHOLD = "mapping_threshold"
    SA_DIRECTION = "sa_direction"
    NAT_KEEPALIVE = "nat_keepalive"
    SA_CPU = "sa_cpu"
    IPTFS = "iptfs"
    PROGRESS = "progress"
    RESTORE = "restore"
    EXPIRE_REQUEST = "expire_request"
    TABLE_INFO = "table_info"
    REGISTER = "register"
    ACQUIRE_ANSWER = "acquire_answer"
    SADB_EXPIRE = "sadb_expire"
    SADB_X_PCHANGE = "sadb_x_pchange"
    SADB_X_SPDACQUIRE = "sadb_x_spdacquire"
    SADB_X_SPDEXPIRE = "sadb_x_spdexpire"
    SADB_X_NAT_T_NEW_MAPPING = "sadb_x_nat_t_new_mapping"


@dataclass(frozen=True, slots=True)
class Support:
    """The answer to "can it?": yes, no, or None where it could not be told; `reason` says from what.

    `error` is what a probe ended in that could not tell.
    """

    available: bool | None
    reason: str
    error: KernelError | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        answer = {True: "yes", False: "no", None: "could not tell"}[self.available]
        return f"{answer}: {self.reason}"


@dataclass(frozen=True, slots=True)
class SupportedAlgorithm:
    """An algorithm that the kernel can use now, as it describes it: IV in octets, key lengths in bits, without salt."""

    algorithm: Algorithm
    iv_octets: int
    minimum_bits: int
    maximum_bits: int


@dataclass(frozen=True, slots=True)
class SupportedAlgorithms:
    """What the kernel answers to a registration (RFC 2367 §3.1.7)."""

    authentication: tuple[SupportedAlgorithm, ...]
    encryption: tuple[SupportedAlgorithm, ...]
