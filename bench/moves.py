"""Cases of moving tunnels: a whole gateway by each method, one tunnel among many, and how long traffic stands still."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

from bench import gateway
from bench.contest import FLOOR, Contest, Contestant
from bench.gateway import LOCAL, NEW_LOCAL, THERE
from bench.ground import Ground
from pfkeyx import SA, AddressPair, AddressUpdate, Engine, HashThreshold, Loss, Method, Policy
from pfkeyx.migration.reading import FEW
from pfkeyx.model import IPAddress
from pfkeyx.opening import EngineName

End = TypeVar("End", IPAddress, IPAddress | None)

#: In a turn one tunnel moves so often there and back.
_TURNS = 3
#: So many tunnels are moved by single calls, which take long, at most.
_MOST_BY_CALLS = 10_000


def move(method: Method, ground: Ground, size: int, *, hashed: bool = False) -> Contest:
    """Move a gateway of so many tunnels by one method, beside what an IKE daemon does: get, delete and add.

    That is sent by the floor, which has the messages ready; and "in Python" by a program that makes each and waits for
    its answer, as daemons do. With `hashed` the kernel finds the policies by hash.
    """
    if hashed:
        ground.find_by_hash(gateway.OWN_NET.prefixlen)
    over_pfkey = method is Method.SADB_X_MIGRATE
    name: EngineName = "pfkey" if over_pfkey else "xfrm"
    sas, policies = gateway.gcm_sas(2 * size), gateway.policies(size)
    if over_pfkey:  # which shows no SA of an AEAD
        sas = gateway.cbc_sas(2 * size)
    filled = ground.recorded("xfrm", partial(_fill, sas, policies))

    def work(engine: Engine) -> None:
        engine.migrate(engine.plan_migration(THERE, method), accept=Loss)

    # What the kernel has is found out once, by what it refuses, and is no part of the floor's work.
    recorded = ground.recorded(name, work, before=lambda engine: engine.plan_migration(THERE, method))
    ground.flush()
    prepare = partial(ground.replay, filled)
    prepare()
    replaced = replacement(ground, sas, policies, LOCAL, NEW_LOCAL)
    ground.flush()
    # Of each SA that gets another destination REPLACE asks whether its new place is free, and of few whether they have
    # gone is asked too.
    refused = (size if method is Method.REPLACE else 0) + (size if 3 * size <= FEW else 0)
    contestants = [
        Contestant("pfkeyx", partial(work, ground.engine(name)), prepare, ground.flush),
        Contestant(
            FLOOR,
            partial(ground.replay, recorded, name, _refused_over_pfkey(size) if over_pfkey else refused),
            prepare,
            ground.flush,
        ),
        Contestant("get, delete, add", partial(ground.replay, replaced), prepare, ground.flush),
    ]
    if size <= _MOST_BY_CALLS and not over_pfkey:
        calls = partial(_replace, sas, policies, LOCAL, NEW_LOCAL, ground.xfrm)
        contestants.append(Contestant("get, delete, add in Python", calls, prepare, ground.flush))
    return Contest(contestants, times=size)


def move_one(ground: Ground, size: int) -> Contest:
    """Move one tunnel of a gateway there and back, its SAs and policies named: alone, and among many.

    Of what is "found" only the SAs are named, and the policies are looked for. Whenever a policy is replaced that the
    kernel does not have by hash, it goes through the prefixes of all such: "hashed" is where it has none.
    """
    sas, policies = gateway.gcm_sas(2 * size), gateway.policies(size)
    number = size // 2
    pair, its_policies = sas[2 * number : 2 * number + 2], policies[3 * number : 3 * number + 3]
    found = _named(pair, LOCAL, NEW_LOCAL), _named(pair, NEW_LOCAL, LOCAL)
    names = tuple(policy.id for policy in its_policies)
    there, back = named = tuple(replace(update, policies=names) for update in found)

    def work(engine: Engine, updates: Sequence[AddressUpdate] = named) -> None:
        for _ in range(_TURNS):
            for update in updates:
                engine.migrate(update)

    async def work_awaited() -> None:
        for _ in range(_TURNS):
            await awaited.migrate(there)
            await awaited.migrate(back)

    alone, hashed = ground.open_elsewhere(), ground.open_elsewhere()
    hashed.set_spd_thresholds(ipv4=HashThreshold(gateway.OWN_NET.prefixlen, 32))
    _fill(pair, its_policies, alone)
    _fill(sas, policies, hashed)
    _fill(sas, policies, ground.xfrm)
    awaited = ground.open_for_asyncio()
    recorded = ground.recorded("xfrm", work, before=lambda engine: engine.plan_migration(there))
    return Contest(
        [
            Contestant("pfkeyx", partial(work, ground.xfrm)),
            Contestant("asyncio", lambda: ground.await_(work_awaited())),
            Contestant("alone", partial(work, alone)),
            Contestant("hashed", partial(work, hashed)),
            Contestant("found", partial(work, ground.xfrm, found)),
            # Each move asks for the inbound SA where it is and where it goes, before and after.
            Contestant(FLOOR, partial(ground.replay, recorded, refused=2 * 2 * _TURNS)),
        ],
        times=2 * _TURNS,
    )


def _refused_over_pfkey(size: int) -> int:
    """Return how many messages of a move over PF_KEY are refused to the floor.

    Four ask what the kernel has, six dumps find nothing, and policies, three a tunnel, are asked for twice each by the
    indexes that they had when it was recorded.
    """
    return 4 + 6 + 3 * 2 * size


def replacement(
    ground: Ground, sas: Sequence[SA], policies: Sequence[Policy], old: IPv4Address, new: IPv4Address
) -> Path:
    """Return a file of what a daemon sends to move SAs and policies, one message after another; it moves them."""
    return ground.recorded("xfrm", partial(_replace, sas, policies, old, new))


def _replace(sas: Sequence[SA], policies: Sequence[Policy], old: IPv4Address, new: IPv4Address, engine: Engine) -> None:
    def moved(end: End) -> End:
        return new if end == old else end

    for sa in sas:
        read = engine.get_sa(sa.id)
        engine.delete_sa(sa.id)
        engine.restore_sa(read.moved(moved(read.source), moved(read.destination), read.encap))
    for policy in policies:
        (template,) = policy.templates
        template = replace(template, source=moved(template.source), destination=moved(template.destination))
        engine.update_policy(replace(policy, templates=(template,)))


def _fill(sas: Sequence[SA], policies: Sequence[Policy], engine: Engine) -> None:
    engine.add_sas(sas)
    engine.add_policies(policies)


def _named(pair: Sequence[SA], old: IPv4Address, new: IPv4Address) -> AddressUpdate:
    """Return the update of one tunnel, whose SAs are named where they are then."""
    outbound, inbound = (sa.id for sa in pair)
    remote = outbound.destination
    return AddressUpdate(
        AddressPair(old, remote), AddressPair(new, remote), sas=(outbound, replace(inbound, destination=old))
    )
