"""What a move did, read back from the kernel and compared with what was there before."""

from dataclasses import dataclass

from pfkeyx.migration.plan import MigrationPlan
from pfkeyx.model import SA, Policy


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """A finished move: each SA and policy before and after, counters included, as the kernel showed them."""

    plan: MigrationPlan
    sas: tuple[tuple[SA, SA], ...]
    policies: tuple[tuple[Policy, Policy], ...]

    def __str__(self) -> str:
        if not self.sas and not self.policies:
            return "nothing was moved: it had been moved already"
        lines = []
        for before, after in self.sas:
            sequence = ""
            if before.replay and after.replay:
                sequence = (
                    f"  sequence out {before.replay.outbound} -> {after.replay.outbound}"
                    f", in {before.replay.inbound} -> {after.replay.inbound}"
                )
            lines.append(f"{after.id.protocol} {after.id.spi:#010x} {after.source} -> {after.destination}{sequence}")
        lines.append(
            f"moved {_count(len(self.sas), 'SA', 'SAs')} and {_count(len(self.policies), 'policy', 'policies')}"
        )
        return "\n".join(lines)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
