"""What is measured: every case by its name."""

from dataclasses import dataclass
from functools import partial

from bench import interruption, moves, single, tables
from bench.gateway import cbc_sas, gcm_sas
from bench.ground import Case
from pfkeyx import Method

#: PF_KEY answers a dump with a message an SA, which have to fit into a receive buffer.
_MOST_OVER_PFKEY = 20_000
#: Each SA of a move is found in a dump of all.
_MOST_MOVED_OVER_PFKEY = 1000
#: Whenever a policy is replaced that the kernel does not have by hash, it goes through all such.
_MOST_NOT_HASHED = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A case, of how many objects it can be made at most (None: their number means nothing), and in how many rounds."""

    make: Case
    most: int | None = 1_000_000
    rounds: int | None = None


CASES: dict[str, Entry] = {
    "add SAs, AES-GCM": Entry(partial(tables.add, gcm_sas, "xfrm")),
    "add SAs, AES-CBC and HMAC": Entry(partial(tables.add, cbc_sas, "xfrm")),
    "add SAs, PF_KEY": Entry(partial(tables.add, cbc_sas, "pfkey"), _MOST_OVER_PFKEY),
    "update SAs": Entry(partial(tables.update, "xfrm")),
    "update SAs, PF_KEY": Entry(partial(tables.update, "pfkey"), _MOST_OVER_PFKEY),
    "delete SAs": Entry(partial(tables.delete, "xfrm")),
    "delete SAs, PF_KEY": Entry(partial(tables.delete, "pfkey"), _MOST_OVER_PFKEY),
    "dump SAs": Entry(partial(tables.dump, "xfrm")),
    "dump SAs, PF_KEY": Entry(partial(tables.dump, "pfkey"), _MOST_OVER_PFKEY),
    "filter SAs": Entry(tables.filtered),
    "add policies": Entry(tables.add_policies),
    "dump policies": Entry(tables.dump_policies),
    "move tunnels, MIGRATE_STATE": Entry(partial(moves.move, Method.MIGRATE_STATE), _MOST_NOT_HASHED),
    "move tunnels, MIGRATE": Entry(partial(moves.move, Method.MIGRATE), _MOST_NOT_HASHED),
    "move tunnels, REPLACE": Entry(partial(moves.move, Method.REPLACE), _MOST_NOT_HASHED),
    "move tunnels, MIGRATE_STATE, hashed": Entry(partial(moves.move, Method.MIGRATE_STATE, hashed=True)),
    "move tunnels, MIGRATE, hashed": Entry(partial(moves.move, Method.MIGRATE, hashed=True)),
    "move tunnels, SADB_X_MIGRATE": Entry(partial(moves.move, Method.SADB_X_MIGRATE), _MOST_MOVED_OVER_PFKEY),
    "move one tunnel among many": Entry(moves.move_one),
    "get an SA": Entry(partial(single.get, "xfrm")),
    "get an SA, PF_KEY": Entry(partial(single.get, "pfkey"), _MOST_OVER_PFKEY),
    "memory": Entry(single.memory),
    "start": Entry(single.start, None),
    "interruption of traffic": Entry(interruption.interruption, None, rounds=200),
}
