"""By how many MiB this process grows at most, while it reads all SAs or plans to move them.

python -m bench.memory stream|dump|plan
"""

import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from bench.gateway import THERE
from pfkeyx import Engine


def _stream(engine: Engine) -> object:
    return deque(engine.iter_sas(), maxlen=0)


def _dump(engine: Engine) -> object:
    return engine.dump_sas()


def _plan(engine: Engine) -> object:
    return engine.plan_migration(THERE)


_WORK: dict[str, Callable[[Engine], object]] = {"stream": _stream, "dump": _dump, "plan": _plan}


def _peak_mib() -> float:
    # Not ru_maxrss, which begins with what the parent had.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def main() -> None:
    """Work, and print by how much memory grew."""
    with Engine.open("xfrm") as engine:
        before = _peak_mib()
        _WORK[sys.argv[1]](engine)
        print(_peak_mib() - before)


if __name__ == "__main__":
    main()
