"""What a kernel or an engine may or may not be able to do, and how an answer is given.

How a feature is probed is the dialects' business; a kernel's version decides nothing.
"""

from dataclasses import dataclass
from enum import Enum


class Feature(Enum):
    """Something that some kernels or engines have and others lack."""

    XFRM = "xfrm"
    PFKEY = "pfkey"
    AEAD = "aead"
    ESN = "esn"
    MARK = "mark"
    IF_ID = "if_id"
    MIGRATE = "migrate"
    MIGRATE_STATE = "migrate_state"


@dataclass(frozen=True, slots=True)
class Support:
    """The answer to "can it?": yes, no, or None where it could not be told; `reason` says from what."""

    available: bool | None
    reason: str

    def __str__(self) -> str:
        answer = {True: "yes", False: "no", None: "could not tell"}[self.available]
        return f"{answer}: {self.reason}"
