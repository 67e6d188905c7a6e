"""How the move of a whole gateway grows: time and memory a tunnel at n, 4n and 16n tunnels, in one run.

By hand, on a kernel of the lab:

    lab/run --kernel 7 -- .venv/bin/python -m bench.bulk_move 50
    lab/run --kernel 7 -- .venv/bin/python -m bench.bulk_move 50 --method REPLACE --profile

Only the ratios say something: how long a move takes is the machine's, and many times longer under emulation.
"""

import argparse
import cProfile
import multiprocessing
import pstats
import resource
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple

from pfkeyx import Engine, Method
from tests.kernel import bulk
from tests.kernel.topology import Namespace

_fork = multiprocessing.get_context("fork")
_FACTORS = (1, 4, 16)
_HEADINGS = ("tunnels", "move s", "ms a tunnel", "ratio", "KiB a tunnel")
_PROFILED = 25


class Sample(NamedTuple):
    """One move: of how many tunnels, in how many seconds, and by how many KiB memory grew at most."""

    tunnels: int
    seconds: float
    kib: int


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="bench.bulk_move", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tunnels", type=int, nargs="?", default=50, help="the smallest number of tunnels")
    parser.add_argument("--method", type=Method, choices=list(Method), help="force a method")
    parser.add_argument("--profile", action="store_true", help="show what the largest move spends its time on")
    arguments = parser.parse_args()
    samples = []
    for factor in _FACTORS:
        is_profiled = arguments.profile and factor == _FACTORS[-1]
        # A process of its own, since the most memory that one had in use is known of its whole life.
        with _fork.Pool(1) as pool:
            samples.append(pool.apply(_measure, (factor * arguments.tunnels, arguments.method, is_profiled)))
    _print_table(samples)


def _measure(tunnels: int, method: Method | None, is_profiled: bool) -> Sample:
    with Namespace.new() as namespace:
        return namespace.call(partial(_move, tunnels, method, is_profiled))


def _move(tunnels: int, method: Method | None, is_profiled: bool) -> Sample:
    bulk.write_tunnels(range(1, tunnels + 1))
    profile = cProfile.Profile()
    with Engine.open("xfrm") as engine:
        before = _peak_kib()
        what = engine.plan_migration(bulk.UPDATE, method) if method else bulk.UPDATE
        start = perf_counter()
        if is_profiled:
            profile.enable()
        report = engine.migrate(what)
        profile.disable()
        sample = Sample(tunnels, perf_counter() - start, _peak_kib() - before)
    assert len(report.sas) == 2 * tunnels
    if is_profiled:
        pstats.Stats(profile).sort_stats("tottime").print_stats(_PROFILED)
    return sample


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _print_table(samples: Sequence[Sample]) -> None:
    print("  ".join(f"{heading:>12}" for heading in _HEADINGS))
    first = samples[0].seconds / samples[0].tunnels
    for sample in samples:
        ms, kib = 1000 * sample.seconds / sample.tunnels, sample.kib / sample.tunnels
        cells = (
            f"{sample.tunnels}",
            f"{sample.seconds:.1f}",
            f"{ms:.1f}",
            f"{ms / 1000 / first:.2f}",
            f"{kib:.1f}",
        )
        print("  ".join(f"{cell:>12}" for cell in cells))


if __name__ == "__main__":
    main()
