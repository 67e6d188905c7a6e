"""Cases of many SAs or policies at once: added, updated, deleted and read."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from ipaddress import ip_network

from bench import gateway
from bench.contest import FLOOR, Contest, Contestant
from bench.ground import Ground
from pfkeyx import SA, Engine, Lifetime, Limit, Policy, SAFilter
from pfkeyx.opening import EngineName

#: Of the SAs of a filtered dump, so many are kept.
_KEPT = 16
#: So many objects are told in a turn at least, so that how a turn begins, with cold caches, counts for little.
_TOLD = 10_000


def add(make: Callable[[int], list[SA]], name: EngineName, ground: Ground, size: int) -> Contest:
    """Add SAs to an empty SAD."""
    sas = make(size)
    recorded = ground.recorded(name, lambda engine: engine.add_sas(sas))
    ground.flush()
    engine = ground.engine(name)
    clean = partial(_check_count, ground, size)
    contestants = [
        Contestant("pfkeyx", lambda: engine.add_sas(sas), ground.hear, clean),
        Contestant(FLOOR, partial(ground.replay, recorded, name), clean=clean),
    ]
    if name == "xfrm":
        contestants.append(Contestant("ip -batch", ground.batch(map(gateway.add_in_words, sas)), clean=clean))
    return Contest(contestants, times=size)


def update(name: EngineName, ground: Ground, size: int) -> Contest:
    """Change the limits of SAs."""
    sas = gateway.cbc_sas(size)
    changed = [replace(sa, lifetime=Lifetime(hard=Limit(seconds=3600))) for sa in sas]
    ground.xfrm.add_sas(sas)

    def work(engine: Engine) -> None:
        engine.update_sas(changed)

    recorded = ground.recorded(name, work)
    contestants = [
        Contestant("pfkeyx", partial(work, ground.engine(name)), ground.hear),
        Contestant(FLOOR, partial(ground.replay, recorded, name)),
    ]
    if name == "xfrm":
        contestants.append(Contestant("ip -batch", ground.batch(map(gateway.update_in_words, changed))))
    return Contest(contestants, times=size)


def delete(name: EngineName, ground: Ground, size: int) -> Contest:
    """Delete SAs."""
    sas = gateway.cbc_sas(size)
    added = ground.recorded("xfrm", lambda engine: engine.add_sas(sas))

    def work(engine: Engine) -> None:
        engine.delete_sas(sa.id for sa in sas)

    recorded = ground.recorded(name, work)

    def prepare() -> None:
        ground.replay(added)
        ground.hear()

    contestants = [
        Contestant("pfkeyx", partial(work, ground.engine(name)), prepare),
        Contestant(FLOOR, partial(ground.replay, recorded, name), prepare),
    ]
    if name == "xfrm":
        contestants.append(Contestant("ip -batch", ground.batch(map(gateway.delete_in_words, sas)), prepare))
    return Contest(contestants, times=size)


def dump(name: EngineName, ground: Ground, size: int) -> Contest:
    """Read the SAD: count it, make each SA of it, look at one or at all of its fields, and stream it."""
    ground.xfrm.add_sas(gateway.cbc_sas(size))
    engine = ground.engine(name)
    works: dict[str, Callable[[], object]] = {
        "count": lambda: _see(engine.dump_sas(), size),
        "each SA": lambda: _exhaust(engine.dump_sas()),
        "each SPI": lambda: _exhaust(sa.id.spi for sa in engine.dump_sas()),
        "all fields": lambda: _exhaust(map(_look_at_all, engine.dump_sas())),
        "stream": lambda: _exhaust(engine.iter_sas()),
    }
    if name == "xfrm":
        works["ip xfrm state"] = lambda: ground.ip("xfrm", "state")
    return _told(ground, size, works, name, lambda engine: engine.dump_sas())


def filtered(ground: Ground, size: int) -> Contest:
    """Read a few SAs of many, which the kernel chooses."""
    ground.xfrm.add_sas(gateway.gcm_sas(size))
    matching = SAFilter(destination=ip_network(f"{gateway.REMOTES}/28"))
    kept = min(_KEPT, (size + 1) // 2)
    works = {"pfkeyx": lambda: _see(ground.xfrm.dump_sas(matching), kept)}
    return _told(ground, size, works, "xfrm", lambda engine: engine.dump_sas(matching))


def add_policies(ground: Ground, size: int) -> Contest:
    """Add policies to an empty SPD."""
    policies = _policies(size)
    recorded = ground.recorded("xfrm", lambda engine: engine.add_policies(policies))
    ground.flush()
    return Contest(
        [
            Contestant("pfkeyx", lambda: ground.xfrm.add_policies(policies), clean=ground.flush),
            Contestant(FLOOR, partial(ground.replay, recorded), clean=ground.flush),
            Contestant("ip -batch", ground.batch(map(gateway.policy_in_words, policies)), clean=ground.flush),
        ],
        times=size,
    )


def dump_policies(ground: Ground, size: int) -> Contest:
    """Read the SPD: count it, and look at all fields of each policy."""
    ground.xfrm.add_policies(_policies(size))
    works = {
        "count": lambda: _see(ground.xfrm.dump_policies(), size),
        "all fields": lambda: _exhaust(map(_look_at_all, ground.xfrm.dump_policies())),
        "ip xfrm policy": lambda: ground.ip("xfrm", "policy"),
    }
    return _told(ground, size, works, "xfrm", lambda engine: engine.dump_policies())


def _told(
    ground: Ground,
    size: int,
    works: Mapping[str, Callable[[], object]],
    name: EngineName,
    asked: Callable[[Engine], object],
) -> Contest:
    """Return the contest of those who read a table of some size, some times in a turn, beside who only asks for it."""
    times = max(1, _TOLD // size)

    def repeated(work: Callable[[], object]) -> None:
        for _ in range(times):
            work()

    recorded = ground.recorded(name, lambda engine: repeated(lambda: asked(engine)))
    contestants = [Contestant(name, partial(repeated, work)) for name, work in works.items()]
    contestants.append(Contestant(FLOOR, partial(ground.replay, recorded, name)))
    return Contest(contestants, times=times * size)


def _policies(count: int) -> list[Policy]:
    return gateway.policies((count + 2) // 3)[:count]


def _check_count(ground: Ground, count: int) -> None:
    assert ground.xfrm.get_sad_info().count == count
    ground.flush()


def _see(entries: Sequence[object], count: int) -> None:
    assert len(entries) == count, f"{len(entries)} of {count}"


def _exhaust(values: Iterable[object]) -> None:
    deque(values, maxlen=0)


def _look_at_all(value: SA | Policy) -> None:
    for field in fields(value):
        getattr(value, field.name)
