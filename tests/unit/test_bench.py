"""How contestants take turns, and what is made of their times."""

import json

from bench.contest import FLOOR, Contestant, Result, hold


def test_each_round_begins_with_another_contestant() -> None:
    turns: list[str] = []
    contestants = [Contestant(name, lambda name=name: turns.append(name)) for name in ("a", "b", "c")]  # type: ignore[misc]
    hold("any", 1, contestants, 4)
    assert "".join(turns) == "abcbcacababc"


def test_what_is_prepared_and_cleaned_is_not_measured() -> None:
    done: list[str] = []
    contestant = Contestant("a", lambda: 2.5, lambda: done.append("prepared"), lambda: done.append("cleaned"))
    assert hold("any", 1, [contestant], 2).seconds == {"a": [2.5, 2.5]}
    assert done == ["prepared", "cleaned"] * 2


def test_a_ratio_is_that_of_the_same_round() -> None:
    # The machine was ten times slower in the second round.
    result = Result("any", 100, {"a": [2.0, 30.0, 4.0], FLOOR: [1.0, 10.0, 1.0]})
    assert result.ratio("a") == (3.0, 2.0, 4.0)


def test_what_is_stored_is_json() -> None:
    stored = json.loads(json.dumps(Result("any", 100, {"a": [2.0], FLOOR: [1.0]}).as_json()))
    assert stored["ratio to the floor"] == {"a": [2.0, 2.0, 2.0]}
    assert stored["microseconds each"] == {"a": 20000.0, FLOOR: 10000.0}
