"""Who does the same work in which time, or with how much memory: contestants take turns.

A machine's speed comes and goes, and a contest's rounds are over before it has: so only what was measured in the same
round is compared, and ratios are those of each round. Nothing here knows what is measured.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

#: Whose measure the others' is compared with.
FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do a contest's work. It returns its measure where that is not the time that its caller sees pass."""

    name: str
    work: Callable[[], float | None]
    #: Makes ready, and afterwards clean, what is not measured.
    prepare: Callable[[], object] = lambda: None
    clean: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class Contest:
    """Contestants, how often each does in a turn what is compared, and the unit of its measure."""

    contestants: Sequence[Contestant]
    times: int = 1
    unit: str = "s"


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured of each contestant in a case of some size, round by round."""

    case: str
    size: int
    times: int
    unit: str
    measured: dict[str, list[float]]

    def each(self, name: str) -> float:
        """Return the median of a contestant for what is compared, in microseconds where the unit is seconds."""
        return median(self.measured[name]) / self.times * (1e6 if self.unit == "s" else 1)

    def worst(self, name: str) -> float:
        """Return the greatest of a contestant, as `each`."""
        return max(self.measured[name]) / self.times * (1e6 if self.unit == "s" else 1)

    def ratio(self, name: str, to: str = FLOOR) -> tuple[float, float, float]:
        """Return the median of a contestant's ratios to another, and the least and the greatest of them."""
        ratios = sorted(a / b for a, b in zip(self.measured[name], self.measured[to], strict=True))
        return median(ratios), ratios[0], ratios[-1]

    def as_json(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "case": self.case,
            "size": self.size,
            "times": self.times,
            "unit": self.unit,
            "measured": {name: [round(value, 7) for value in values] for name, values in self.measured.items()},
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Result":
        """Return what was stored."""
        return cls(**stored)


def hold(case: str, size: int, contest: Contest, rounds: int) -> Result:
    """Let contestants take turns, beginning with another one each round."""
    contestants = contest.contestants
    measured: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        first = number % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            contestant.prepare()
            gc.collect()
            start = perf_counter()
            told = contestant.work()
            passed = perf_counter() - start
            contestant.clean()
            measured[contestant.name].append(passed if told is None else told)
    return Result(case, size, contest.times, contest.unit, measured)
