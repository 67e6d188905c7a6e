"""Moving live SAs and policies to new addresses: what is asked, how it is planned, and how it is done."""

from pfkeyx.migration.plan import Method, MigrationPlan, PolicyMove, SAMove, Step
from pfkeyx.migration.report import MigrationReport
from pfkeyx.migration.update import KEEP, AddressUpdate, Keep

__all__ = [
    "KEEP",
    "AddressUpdate",
    "Keep",
    "Method",
    "MigrationPlan",
    "MigrationReport",
    "PolicyMove",
    "SAMove",
    "Step",
]
