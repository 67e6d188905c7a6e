"""How contestants take turns, and what is made of what was measured."""

import json
from xml.etree import ElementTree

from bench import goals, page, plot
from bench.cases import CASES
from bench.contest import FLOOR, Contest, Contestant, Result, hold


def test_each_round_begins_with_another_contestant() -> None:
    turns: list[str] = []
    contestants = [Contestant(name, lambda name=name: turns.append(name)) for name in ("a", "b", "c")]  # type: ignore[misc]
    hold("any", 1, Contest(contestants), 4)
    assert "".join(turns) == "abcbcacababc"


def test_what_is_prepared_and_cleaned_is_not_measured() -> None:
    done: list[str] = []
    contestant = Contestant("a", lambda: 2.5, lambda: done.append("prepared"), lambda: done.append("cleaned"))
    assert hold("any", 1, Contest([contestant]), 2).measured == {"a": [2.5, 2.5]}
    assert done == ["prepared", "cleaned"] * 2


def test_a_ratio_is_that_of_the_same_round() -> None:
    # The machine was ten times slower in the second round.
    result = Result("any", 100, 1, "s", {"a": [2.0, 30.0, 4.0], FLOOR: [1.0, 10.0, 1.0]})
    assert result.ratio("a") == (3.0, 2.0, 4.0)


def test_seconds_are_shown_as_microseconds_for_each_of_what_is_compared() -> None:
    result = Result("any", 100, 4, "s", {"a": [2.0, 4.0, 1.0]})
    assert (result.each("a"), result.worst("a")) == (500_000, 1_000_000)
    assert Result("any", 100, 1, "MiB", {"a": [2.0]}).each("a") == 2.0


def test_what_is_stored_can_be_read_again() -> None:
    result = Result("any", 100, 10, "MiB", {"a": [2.0], FLOOR: [1.0]})
    assert Result.from_json(json.loads(json.dumps(result.as_json()))) == result


def test_a_goal_is_met_at_its_limit_and_on_its_better_side() -> None:
    at_most, at_least = (goals.Goal("any", lambda *_: None, 2, side) for side in (False, True))
    assert [at_most.is_met(value) for value in (1, 2, 3)] == [True, True, False]
    assert [at_least.is_met(value) for value in (1, 2, 3)] == [False, True, True]


def test_every_goal_is_about_a_case_and_contestants_that_exist() -> None:
    # Values of any contestant, so that only a case that does not exist has none.
    results = {(case, size): Result(case, size, 1, "s", _anyone()) for case in CASES for size in (1000, 10_000)}
    assert all(goal.value(results, 10_000) is not None for goal in goals.GOALS)


def test_the_page_shows_what_was_reached_in_bold() -> None:
    results = {
        ("dump SAs", size): Result("dump SAs", size, size, "s", _anyone() | {"count": [cost]})
        for size, cost in ((100, 1.1), (1000, 1.5))
    }
    run = {"is_user_mode": True, "kernel": "7.3", "python": "3.11", "machine": "a machine"}
    lines = page.page(run, results).splitlines()
    assert "| count a dump: to the floor | ≤ 1.2 times | **1.10** | 1.50 |" in lines


def test_the_picture_has_a_line_for_each_contestant_of_each_panel() -> None:
    results = {(case, size): Result(case, size, size, "s", _anyone()) for case in CASES for size in (100, 1000)}
    picture = ElementTree.fromstring(plot.draw(results))
    lines = [path for path in picture.iter() if path.get("stroke-linejoin")]
    assert len(lines) == 9


def _anyone() -> dict[str, list[float]]:
    ours = "pfkeyx", "count", "each SA", "alone", "hashed", "stream", "pfkeyx sa list"
    peers = "ip -batch", "ip xfrm state", "get, delete, add", "get, delete, add in Python"
    return {name: [1.0] for name in (*ours, *peers, FLOOR)}
