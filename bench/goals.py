"""What pfkeyx is to reach, and what it came to: ratios of one run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.contest import FLOOR, Result

#: Results by case and size.
Results = Mapping[tuple[str, int], Result]


@dataclass(frozen=True, slots=True)
class Goal:
    """A value of a run at some size, None where it was not measured, and how great it may be at most, or at least."""

    what: str
    value: Callable[[Results, int], float | None]
    limit: float
    at_least: bool = False
    unit: str = "times"

    def is_met(self, value: float) -> bool:
        """Return whether a value is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def reach(self) -> str:
        """The limit in words."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"


def _ratio(case: str, name: str, to: str = FLOOR) -> Callable[[Results, int], float | None]:
    """Return what gives the median ratio of one contestant to another."""

    def value(results: Results, size: int) -> float | None:
        result = results.get((case, size))
        return result.ratio(name, to)[0] if result and {name, to} <= result.measured.keys() else None

    return value


def _growth(case: str, name: str, since: int = 1000) -> Callable[[Results, int], float | None]:
    """Return what gives how much more one object costs than in a small table, beyond what the floor itself shows."""

    def value(results: Results, size: int) -> float | None:
        small, large = results.get((case, since)), results.get((case, size))
        if small is None or large is None or size <= since:
            return None
        return large.each(name) / small.each(name) / max(1, large.each(FLOOR) / small.each(FLOOR))

    return value


def _each(case: str, name: str) -> Callable[[Results, int], float | None]:
    def value(results: Results, size: int) -> float | None:
        result = results.get((case, size))
        return result.each(name) if result else None

    return value


_ADD, _DUMP, _ONE = "add SAs, AES-GCM", "dump SAs", "move one tunnel among many"
GOALS = (
    Goal("add SAs: to the floor", _ratio(_ADD, "pfkeyx"), 1.1),
    Goal("add SAs: `ip -batch` to pfkeyx", _ratio(_ADD, "ip -batch", "pfkeyx"), 1.5, at_least=True),
    Goal("dump SAs, each a value: to the floor", _ratio(_DUMP, "each SA"), 2),
    Goal("dump SAs, each a value: `ip xfrm state` to pfkeyx", _ratio(_DUMP, "ip xfrm state", "each SA"), 1, True),
    Goal("count a dump: to the floor", _ratio(_DUMP, "count"), 1.2),
    Goal("filter a dump: to the floor", _ratio("filter SAs", "pfkeyx"), 1.2),
    *(
        goal
        for method in ("MIGRATE_STATE", "MIGRATE")
        for case in (f"move tunnels, {method}", f"move tunnels, {method}, hashed")
        for goal in (
            Goal(f"{case}: to the floor", _ratio(case, "pfkeyx"), 1.15),
            Goal(
                f"{case}: get, delete, add by the floor to pfkeyx", _ratio(case, "get, delete, add", "pfkeyx"), 2, True
            ),
            Goal(
                f"{case}: get, delete, add in Python to pfkeyx",
                _ratio(case, "get, delete, add in Python", "pfkeyx"),
                2,
                at_least=True,
            ),
        )
    ),
    Goal("add SAs over PF_KEY: to the floor", _ratio("add SAs, PF_KEY", "pfkeyx"), 1.3),
    Goal("dump SAs over PF_KEY, each a value: to the floor", _ratio("dump SAs, PF_KEY", "each SA"), 1.3),
    Goal("add SAs: cost of one, to that among 1,000", _growth(_ADD, "pfkeyx"), 1.1),
    Goal("dump SAs: cost of one, to that among 1,000", _growth(_DUMP, "each SA"), 1.1),
    Goal(f"{_ONE}: to the same alone", _ratio(_ONE, "pfkeyx", "alone"), 1.5),
    Goal(f"{_ONE}, policies hashed: to the same alone", _ratio(_ONE, "hashed", "alone"), 1.5),
    Goal("memory of a streamed dump", _each("memory", "stream"), 64, unit="MiB"),
    Goal("`pfkeyx sa list`, empty SAD: to `python3 -c pass`", _ratio("start", "pfkeyx sa list"), 5),
)
