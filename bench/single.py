"""Cases of single requests and single processes: how long one takes, how much memory it needs, how it starts."""

import subprocess
import sys
from functools import partial
from pathlib import Path

from bench import gateway
from bench.contest import FLOOR, Contest, Contestant
from bench.ground import Ground
from pfkeyx import Engine
from pfkeyx.opening import EngineName

_ASKED = 100


def get(name: EngineName, ground: Ground, size: int) -> Contest:
    """Read SAs among many, one request at a time."""
    sas = gateway.cbc_sas(size)
    ground.xfrm.add_sas(sas)
    asked = [sas[number * size // _ASKED].id for number in range(_ASKED)]

    def work(engine: Engine) -> None:
        for sa_id in asked:
            engine.get_sa(sa_id)

    async def work_awaited() -> None:
        for sa_id in asked:
            await awaited.get_sa(sa_id)

    recorded = ground.recorded(name, work)
    awaited = ground.open_for_asyncio(name)
    return Contest(
        [
            Contestant("pfkeyx", partial(work, ground.engine(name))),
            Contestant("asyncio", lambda: ground.await_(work_awaited())),
            Contestant(FLOOR, partial(ground.replay, recorded, name)),
        ],
        times=_ASKED,
    )


def memory(ground: Ground, size: int) -> Contest:
    """Read SAs, and plan and make a move of tunnels: by how much a process grows at most."""
    sas, policies = gateway.gcm_sas(2 * (size // 2)), gateway.policies(size // 2)
    ground.xfrm.add_sas(sas)
    ground.xfrm.add_policies(policies)

    def grown(what: str) -> float:
        command = [sys.executable, "-m", "bench.memory", what]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    return Contest([Contestant(what, partial(grown, what)) for what in ("stream", "dump", "plan")], unit="MiB")


def start(ground: Ground, size: int) -> Contest:
    """Start programs: Python alone, Python with the package, and the command with an empty SAD to list."""
    del ground, size
    python = sys.executable

    def run(*command: str | Path) -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    return Contest(
        [
            Contestant("pfkeyx sa list", partial(run, Path(python).with_name("pfkeyx"), "sa", "list")),
            Contestant("import pfkeyx", partial(run, python, "-c", "import pfkeyx")),
            Contestant(FLOOR, partial(run, python, "-c", "pass")),
            Contestant("ip xfrm state", partial(run, "ip", "xfrm", "state")),
        ]
    )
