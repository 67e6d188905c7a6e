"""Writes docs/reference/performance.md and its picture: `python -m bench.page bench/results/7.json`."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.contest import FLOOR, Result
from bench.goals import GOALS, Results
from bench.plot import draw

_DOCS = Path(__file__).parents[1] / "docs"
_PAGE, _PICTURE = _DOCS / "reference/performance.md", _DOCS / "performance.svg"
_INTRODUCTION = """\
# How fast it is

This page is written by `python -m bench.page`, of what `make bench` measured. In each case several contestants take
turns: pfkeyx; the floor, which is a bare loop in C that sends the same messages and reads the answers without looking
at them; and peers that are installed. What is compared was measured in the same round. A number is the median of the
rounds, and in brackets are the least and the greatest.

Measured with Linux {kernel}{ground}, Python {python}, {machine}.

Only ratios say something: times are the machine's. Of the peers, `setkey` is not in Debian any more, so it is not here.
"""
_USER_MODE = """\
The kernel ran in user mode, as a program of the machine, so that nothing is emulated ([lab](../../lab/README.md)). Its
code and Python's run as fast as they do elsewhere; to enter the kernel, to start a process and to touch a new page of
memory takes many times as long: 12 and 39 µs were seen, against 0.6 and 7 outside. That is on both sides of each ratio,
but Python needs more memory than the floor. Where the rounds lie far apart, the machine had others at work.
"""
_BOUNDS = """\
## What bounds the rest

What a profiler shows of what is above the floor:

- **Adding.** Of an SA thirty fields are looked at, to see that it is like the last ones, and six are put into a copy of
  their message: 1.4 µs over XFRM, as long as the kernel takes to add it, and to keep and send it takes 0.3 more. One
  that is not alike takes 26, over PF_KEY 42. The floor has its messages ready.
- **Reading.** C takes a dump in, and nothing is copied; but it is kept, and wiped, where the floor writes over the same
  place: a tenth of a microsecond an SA. To ask for it and to end it takes 30 µs, and each value half a microsecond, for
  three Python objects, where nothing of it is looked at. A number costs half a microsecond more when it is, an address
  or an identity four to eight.
- **Moving a gateway.** The floor's messages are ready. To read SAs and policies three times, to plan, to write the
  messages and to compare takes 150 to 200 µs a tunnel by MIGRATE_STATE, in some thousand calls of Python. The
  kernel's share is 12 to 35 where it finds policies by hash (`set_spd_thresholds`), and grows with their number where
  it does not: 400 among 10,000. There its messages of a move take as long as those of get, delete and add, so that
  nobody could be twice as fast; a daemon makes them and waits for each, as the one in Python does.
- **Moving one tunnel among many.** Its SAs and policies are named, and read one by one: that takes as long among many.
  But whenever a policy is replaced that the kernel does not have by hash, four times a move, it goes through the
  prefixes of all such: among 30,000 tunnels that is three quarters of a move. Where it has policies by hash
  (`set_spd_thresholds`) a move takes as long as alone. Where only the SAs are named the policies are found: the kernel
  can choose SAs for a dump but no policies, and tells all of them, of which C passes over those at other ends.
- **PF_KEY.** Each SA is a message and a system call of its own, on both sides.
- **One request.** Python makes it, runs its operation and finds whose the answer is; under asyncio the event loop has a
  turn besides.
- **Starting.** Most of it defines dataclasses, and of those some that a list has no use for.

`ip` is measured with its start. "Get, delete, add" is sent by the floor's loop, which does not think; "in Python" a
program makes each message by itself and waits for its answer.
"""


def page(run: dict[str, object], results: Results) -> str:
    """Return the page."""
    sizes = sorted({size for _, size in results})
    ground = " in user mode" if run["is_user_mode"] else ""
    introduction = _INTRODUCTION.format(ground=ground, **run)
    lines = [introduction, *([_USER_MODE] if ground else []), f"![Cost of one object](../{_PICTURE.name})\n"]
    lines += ["## What is to be reached, and what it came to\n", *_goals(results, sizes), ""]
    lines += [_BOUNDS, "## All that was measured\n", *_table(results), ""]
    return "\n".join(lines)


def _goals(results: Results, sizes: Sequence[int]) -> Iterator[str]:
    yield from _head("ratio", "reach", *(f"{size:,}" for size in sizes))
    for goal in GOALS:
        cells = [goal.what, goal.reach]
        for size in sizes:
            value = goal.value(results, size)
            text = "" if value is None else f"{value:.2f}"
            cells.append(f"**{text}**" if value is not None and goal.is_met(value) else text)
        yield _row(cells)
    yield ""
    yield "What is reached is bold."


def _table(results: Results) -> Iterator[str]:
    yield from _head("case", "size", "contestant", "median, each", "to the floor")
    for result in results.values():
        for name in result.measured:
            unit = "µs" if result.unit == "s" else result.unit
            cost = f"{result.each(name):.1f} {unit}"
            if result.case.startswith("interruption"):
                cost += f", at worst {result.worst(name):.0f}"
            ratio = ""
            if FLOOR in result.measured and name != FLOOR:
                ratio = "{:.2f} ({:.2f} to {:.2f})".format(*result.ratio(name))
            yield _row([result.case, f"{result.size:,}", name, cost, ratio])


def _head(*names: str) -> Iterator[str]:
    yield _row(names)
    yield _row("---" for _ in names)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Write the page and the picture, and print what was reached."""
    run = json.loads(Path(sys.argv[1]).read_text())
    stored = [Result.from_json(result) for result in run["results"]]
    results = {(result.case, result.size): result for result in stored}
    _PAGE.write_text(page(run, results))
    _PICTURE.write_text(draw(results))
    print("\n".join(_goals(results, sorted({size for _, size in results}))))


if __name__ == "__main__":
    main()
