"""What a move did, read back from the kernel and compared, field by field, with what was there before."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from pfkeyx.migration.plan import MigrationPlan, SAMove, Step
from pfkeyx.migration.reading import Snapshot
from pfkeyx.model import SA, Policy
from pfkeyx.model.deferred import same, same_but

#: What beside its identity an SA is known by.
_KNOWN_BY = ("source", "encryption", "authentication", "compression")


class FieldChange(NamedTuple):
    """A field of an SA or policy that is another than before."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """A finished move: each SA and policy before and after, counters included, as the kernel showed them.

    Policies that did not change are not listed.
    """

    plan: MigrationPlan
    sas: Sequence[tuple[SA, SA]]
    policies: Sequence[tuple[Policy, Policy]]

    def __str__(self) -> str:
        if not self.sas and not self.policies:
            return "nothing was moved: it had been moved already"
        lines = []
        for before, after in self.sas:
            lines.append(f"{after} {_sequences(before, after)}".rstrip())
        lines.append(
            f"moved {_count(len(self.sas), 'SA', 'SAs')} and {_count(len(self.policies), 'policy', 'policies')}"
        )
        return "\n".join(lines)


def changes(before: SA | Policy, after: SA | Policy) -> tuple[FieldChange, ...]:
    """Return the fields of an SA or policy that differ, with their values; a key is shown as its length only.

    Every other field was read back as it had been.
    """
    pairs = ((f.name, getattr(before, f.name), getattr(after, f.name)) for f in fields(before))
    return tuple(FieldChange(name, old, new) for name, old, new in pairs if old != new)


def differences(
    steps: Sequence[Step], before: Snapshot, after: Snapshot, as_shown: Callable[[SA], SA]
) -> Iterator[str]:
    """Say, of each object, in what it differs from what was planned: a success is believed only when read back.

    `as_shown` turns an SA that was written into what a read shows of it.
    """
    for move in (move for step in steps for move in step.sas):
        old, new = before.sas.get(move.before.handle), after.sas.get(move.after.handle)
        is_left = move.before.handle in after.sas and move.before.handle != move.after.handle
        is_whole = new is not None and same_but(new, as_shown(move.after), SA.counted.keys())
        if old is None or new is None or is_left or not (is_whole or is_moved(after, move)):
            yield f"the kernel reported success, but {move.before} is not at the new addresses"
        elif not is_whole:
            names = ", ".join(change.name for change in changes(as_shown(move.after), new.as_written()))
            yield f"the kernel moved {move.before} and lost something: {names}"
        elif _have_same_counts(old, new):
            continue
        elif any(count < count_before for count, count_before in zip(_counts(new), _counts(old), strict=True)):
            yield f"the kernel moved {move.before} and its counters went back"
        elif not _same_window(old, new):
            yield f"the kernel moved {move.before} and forgot which packets it had received"
    for policy_move in (move for step in steps for move in step.policies):
        policy = after.policies.get(policy_move.after.handle)
        if policy is None or not same_but(policy, policy_move.after, Policy.counted.keys()):
            yield f"{policy_move} is not as it was written"
        if policy_move.renamed and policy_move.before.handle in after.policies:
            yield f"{policy_move} is still there"


def is_moved(now: Snapshot, move: SAMove) -> bool:
    """Return whether the SA is at its new place."""
    old, new = move.before, move.after
    if old.handle != new.handle and old.handle in now.sas:
        return False  # whatever is at the new place is another's
    sa = now.sas.get(new.handle)
    if sa is None or not same(sa, new, _KNOWN_BY):
        return False  # whoever stands there after a refused REPLACE is a stranger too
    return (old.source, old.destination) != (new.source, new.destination) or sa.encap == new.encap


def _have_same_counts(old: SA, new: SA) -> bool:
    told, told_anew = old.told, new.told
    if told is not None and told_anew is not None:
        return bool(told.has_same_counts(told_anew))
    return same(old, new, ("usage", "replay"))


def _counts(sa: SA) -> tuple[int, ...]:
    replay = (sa.replay.outbound, sa.replay.inbound) if sa.replay else (0, 0)
    return (*replay, sa.usage.packets, sa.usage.octets, sa.usage.added) if sa.usage else replay


def _same_window(old: SA, new: SA) -> bool:
    if old.replay is None or new.replay is None or old.replay.inbound != new.replay.inbound:
        return True
    # Packets may have come meanwhile that fill gaps, and none is forgotten.
    windows = zip(old.replay.bitmap, new.replay.bitmap, strict=False)
    return all(word & later == word for word, later in windows)


def _sequences(before: SA, after: SA) -> str:
    """Return how its sequence numbers went on; of one that was not used nothing."""
    if before.replay is None or after.replay is None:
        return ""
    numbers = (
        ("out", before.replay.outbound, after.replay.outbound),
        ("in", before.replay.inbound, after.replay.inbound),
    )
    return "".join(f" sequence {name} {old} -> {new}" for name, old, new in numbers if new)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
