"""What can be known to be wrong before anything is sent, whichever kernel interface it is sent over.

What only one interface cannot express is refused in its own dialect, and what only some kernels refuse by the kernel.
"""

from pfkeyx.checks.parts import check_bits, check_end, check_pair, spi_hints, spi_maximum
from pfkeyx.checks.policy import (
    check_default_policy,
    check_moves,
    check_policy,
    check_policy_id,
    check_policy_index,
    check_thresholds,
)
from pfkeyx.checks.sa import (
    ADDITION_HINTS,
    check_filter,
    check_progress,
    check_sa,
    check_sa_id,
    check_spi_request,
)

__all__ = [
    "ADDITION_HINTS",
    "check_bits",
    "check_default_policy",
    "check_end",
    "check_filter",
    "check_moves",
    "check_pair",
    "check_policy",
    "check_policy_id",
    "check_policy_index",
    "check_progress",
    "check_sa",
    "check_sa_id",
    "check_spi_request",
    "check_thresholds",
    "spi_hints",
    "spi_maximum",
]
