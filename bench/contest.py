"""Who does the same work in which time: contestants take turns, and the ratios are those of each turn.

A machine's speed comes and goes, and a contest's rounds are over before it has: so only what was measured in the same
round is compared. Nothing here knows what is measured.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

#: Whose time the others' is compared with.
FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do a case's work. It returns the seconds that it took where it knows better than its caller."""

    name: str
    work: Callable[[], float | None]
    #: Makes ready, and afterwards clean, what is not measured.
    prepare: Callable[[], object] = lambda: None
    clean: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class Result:
    """The seconds that each contestant took for a case of some size, round by round."""

    case: str
    size: int
    seconds: dict[str, list[float]]

    def ratio(self, name: str, to: str = FLOOR) -> tuple[float, float, float]:
        """Return the median of a contestant's ratios to another, and the least and the greatest of them."""
        ratios = sorted(a / b for a, b in zip(self.seconds[name], self.seconds[to], strict=True))
        return median(ratios), ratios[0], ratios[-1]

    def as_json(self) -> dict[str, Any]:
        """Return what is stored: times are medians, in microseconds for one of the case's objects."""
        return {
            "case": self.case,
            "size": self.size,
            "seconds": {name: [round(value, 6) for value in values] for name, values in self.seconds.items()},
            "microseconds each": {
                name: round(median(values) / self.size * 1e6, 2) for name, values in self.seconds.items()
            },
            "ratio to the floor": {
                name: [round(ratio, 3) for ratio in self.ratio(name)]
                for name in self.seconds
                if name != FLOOR and FLOOR in self.seconds
            },
        }


def hold(case: str, size: int, contestants: Sequence[Contestant], rounds: int) -> Result:
    """Let contestants take turns, beginning with another one each round."""
    seconds: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        first = number % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            contestant.prepare()
            gc.collect()
            start = perf_counter()
            told = contestant.work()
            passed = perf_counter() - start
            contestant.clean()
            seconds[contestant.name].append(passed if told is None else told)
    return Result(case, size, seconds)
