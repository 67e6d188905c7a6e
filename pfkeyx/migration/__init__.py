"""Moving live SAs and policies to new addresses: what is asked, how it is planned, and how it is done."""

from pfkeyx.migration.move import ProgressCallback
from pfkeyx.migration.plan import Left, Loss, Method, MigrationPlan, PolicyMove, SAMove, Step
from pfkeyx.migration.report import FieldChange, MigrationReport, changes
from pfkeyx.migration.update import KEEP, AddressUpdate, Keep

__all__ = [
    "KEEP",
    "AddressUpdate",
    "FieldChange",
    "Keep",
    "Left",
    "Loss",
    "Method",
    "MigrationPlan",
    "MigrationReport",
    "PolicyMove",
    "ProgressCallback",
    "SAMove",
    "Step",
    "changes",
]
