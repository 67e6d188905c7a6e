"""What is measured, and who takes part: each case is made for a number of objects, in an empty namespace."""

import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from functools import partial
from ipaddress import IPv4Address, ip_network
from pathlib import Path

from bench.contest import FLOOR, Contestant
from bench.recording import record
from pfkeyx import (
    AES_CBC,
    AES_GCM,
    HMAC_SHA1,
    SA,
    AddressUpdate,
    Authentication,
    Encryption,
    Engine,
    Key,
    Lifetime,
    Limit,
    Policy,
    SAFilter,
    Tunnel,
)
from pfkeyx.opening import EngineName

_LOCAL, _NEW_LOCAL = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
_REMOTES, _INNERS = IPv4Address("100.64.0.0"), IPv4Address("10.0.0.0")
_OWN_NET = ip_network("172.16.0.0/24")
_UPDATE = AddressUpdate(_LOCAL, _NEW_LOCAL)
#: Of the SAs of a filtered dump, so many are kept.
_KEPT = 16


class Bench:
    """What the cases share: the floor's program, a folder for what it sends, and open engines."""

    def __init__(self, floor: Path, folder: Path) -> None:
        self._floor = floor
        self._folder = folder
        self.xfrm = Engine.open("xfrm")

        self.pfkey = Engine.open("pfkey")

    def close(self) -> None:
        """Close the engines."""
        self.xfrm.close()
        self.pfkey.close()

    def engine(self, name: EngineName) -> Engine:
        """Return the engine of an interface."""
        return self.xfrm if name == "xfrm" else self.pfkey

    def flush(self) -> None:
        """Empty both tables."""
        self.xfrm.flush_sas()
        self.xfrm.flush_policies()

    def recorded(
        self, name: EngineName, work: Callable[[Engine], object], before: Callable[[Engine], object] = lambda _: None
    ) -> Path:
        """Return a file of what an engine sends for some work, after what it does before."""
        path = self._folder / f"recorded-{len(list(self._folder.iterdir()))}"
        record(name, path, work, before)
        return path

    def replay(self, path: Path, name: EngineName = "xfrm") -> float:
        """Have the floor send what was recorded, and return the seconds that it took."""
        done = subprocess.run([self._floor, name, path], capture_output=True, text=True, check=True)
        nanoseconds, refused = map(int, done.stdout.split())
        assert not refused, f"{refused} of the floor's messages were refused"
        return nanoseconds / 1e9

    def ip(self, *arguments: str | Path) -> None:
        """Run `ip`, writing to nowhere."""
        subprocess.run(["ip", *arguments], stdout=subprocess.DEVNULL, check=True)

    def write(self, lines: Iterable[str]) -> Path:
        """Return a file of lines."""
        path = self._folder / f"lines-{len(list(self._folder.iterdir()))}"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path


Case = Callable[[Bench, int], list[Contestant]]


def tunnels(count: int) -> list[Tunnel]:
    """Return tunnels of one gateway, each to another remote end."""
    return [
        Tunnel(_LOCAL, _REMOTES + number, _OWN_NET, ip_network(_INNERS + number), reqid=1 + number)
        for number in range(count)
    ]


def gcm_sas(count: int) -> list[SA]:
    """Return as many SAs, in pairs, with a key of its own each."""
    return list(_pairs(count, lambda key: (Encryption(AES_GCM, Key(key[:20])), None)))


def cbc_sas(count: int) -> list[SA]:
    """Return as many SAs, in pairs, with two keys of its own each."""
    return list(_pairs(count, lambda key: (Encryption(AES_CBC, Key(key[:16])), Authentication(HMAC_SHA1, Key(key)))))


def _pairs(count: int, suite: Callable[[bytes], tuple[Encryption, Authentication | None]]) -> Iterable[SA]:
    for number, tunnel in enumerate(tunnels((count + 1) // 2)):
        key = 5 * (number + 1).to_bytes(4, "big")
        yield tunnel.outbound(0x1000_0000 + number, *suite(key))
        if 2 * number + 1 < count:
            yield tunnel.inbound(0x2000_0000 + number, *suite(key))


def add(make: Callable[[int], list[SA]], name: EngineName, bench: Bench, size: int) -> list[Contestant]:
    """Add SAs to an empty SAD."""
    sas = make(size)
    recorded = bench.recorded(name, lambda engine: engine.add_sas(sas))
    bench.flush()
    engine = bench.engine(name)
    clean = partial(_check_count, bench, size)
    contestants = [
        Contestant("pfkeyx", lambda: engine.add_sas(sas), clean=clean),
        Contestant(FLOOR, partial(bench.replay, recorded, name), clean=clean),
    ]
    if name == "xfrm":
        batch = bench.write(f"xfrm state add {_as_ip_says(sa)}" for sa in sas)
        contestants.append(Contestant("ip -batch", lambda: bench.ip("-batch", batch), clean=clean))
    return contestants


def delete(bench: Bench, size: int) -> list[Contestant]:
    """Delete SAs."""
    sas = gcm_sas(size)
    added = bench.recorded("xfrm", lambda engine: engine.add_sas(sas))

    def work(engine: Engine) -> None:
        engine.delete_sas(sa.id for sa in sas)

    recorded = bench.recorded("xfrm", work)
    batch = bench.write(f"xfrm state delete {_id_as_ip_says(sa)}" for sa in sas)
    prepare = partial(bench.replay, added)
    return [
        Contestant("pfkeyx", lambda: work(bench.xfrm), prepare),
        Contestant(FLOOR, partial(bench.replay, recorded), prepare),
        Contestant("ip -batch", lambda: bench.ip("-batch", batch), prepare),
    ]


def update(bench: Bench, size: int) -> list[Contestant]:
    """Change the limits of SAs."""
    sas = gcm_sas(size)
    changed = [replace(sa, lifetime=Lifetime(hard=Limit(seconds=3600))) for sa in sas]
    bench.xfrm.add_sas(sas)

    def work(engine: Engine) -> None:
        engine.update_sas(changed)

    recorded = bench.recorded("xfrm", work)
    return [
        Contestant("pfkeyx", lambda: work(bench.xfrm)),
        Contestant(FLOOR, partial(bench.replay, recorded)),
    ]


def dump(name: EngineName, bench: Bench, size: int) -> list[Contestant]:
    """Read the SAD: at all, each SA of it, with one or all of its fields looked at, and as a stream."""
    bench.xfrm.add_sas(gcm_sas(size))
    recorded = bench.recorded(name, lambda engine: engine.dump_sas())
    engine = bench.engine(name)
    contestants = [
        Contestant("pfkeyx", lambda: _see(engine.dump_sas(), size)),
        Contestant("each SA", lambda: _exhaust(engine.dump_sas())),
        Contestant("each SA's SPI", lambda: _exhaust(sa.id.spi for sa in engine.dump_sas())),
        Contestant("all fields", lambda: _exhaust(map(_look_at_all, engine.dump_sas()))),
        Contestant("stream", lambda: _exhaust(engine.iter_sas())),
        Contestant(FLOOR, partial(bench.replay, recorded, name)),
    ]
    if name == "xfrm":
        contestants.append(Contestant("ip xfrm state", lambda: bench.ip("xfrm", "state")))
    return contestants


def filtered(bench: Bench, size: int) -> list[Contestant]:
    """Read a few SAs of many, which the kernel chooses."""
    sas = gcm_sas(size)
    bench.xfrm.add_sas(sas)
    matching = SAFilter(destination=ip_network(f"{_REMOTES}/28"))
    recorded = bench.recorded("xfrm", lambda engine: engine.dump_sas(matching))
    return [
        Contestant("pfkeyx", lambda: _see(bench.xfrm.dump_sas(matching), min(_KEPT, (size + 1) // 2))),
        Contestant(FLOOR, partial(bench.replay, recorded)),
    ]


def policies(bench: Bench, size: int) -> list[Contestant]:
    """Read the SPD, three policies to a tunnel."""
    bench.xfrm.add_policies(_policies(size))
    recorded = bench.recorded("xfrm", lambda engine: engine.dump_policies())
    return [
        Contestant("pfkeyx", lambda: _see(bench.xfrm.dump_policies(), size)),
        Contestant("all fields", lambda: _exhaust(map(_look_at_all, bench.xfrm.dump_policies()))),
        Contestant(FLOOR, partial(bench.replay, recorded)),
        Contestant("ip xfrm policy", lambda: bench.ip("xfrm", "policy")),
    ]


def add_policies(bench: Bench, size: int) -> list[Contestant]:
    """Add policies to an empty SPD."""
    made = _policies(size)
    recorded = bench.recorded("xfrm", lambda engine: engine.add_policies(made))
    bench.flush()
    return [
        Contestant("pfkeyx", lambda: bench.xfrm.add_policies(made), clean=bench.flush),
        Contestant(FLOOR, partial(bench.replay, recorded), clean=bench.flush),
    ]


def _policies(count: int) -> list[Policy]:
    return [policy for tunnel in tunnels((count + 2) // 3) for policy in tunnel.policies()][:count]


def move(bench: Bench, size: int) -> list[Contestant]:
    """Move a gateway of so many tunnels: by the best method, and by get, delete and add."""
    sas = gcm_sas(2 * size)
    spd = [policy for tunnel in tunnels(size) for policy in tunnel.policies()]

    def fill(engine: Engine) -> None:
        engine.add_sas(sas)
        engine.add_policies(spd)

    filled = bench.recorded("xfrm", fill)
    # What the kernel has is found out once, by what it refuses.
    recorded = bench.recorded(
        "xfrm", lambda engine: engine.migrate(_UPDATE), before=lambda engine: engine.plan_migration(_UPDATE)
    )
    bench.flush()
    prepare = partial(bench.replay, filled)
    return [
        Contestant("pfkeyx", lambda: _nothing(bench.xfrm.migrate(_UPDATE)), prepare, bench.flush),
        Contestant(FLOOR, partial(bench.replay, recorded), prepare, bench.flush),
        Contestant("get, delete, add", lambda: _as_daemons_do(bench.xfrm, sas, spd), prepare, bench.flush),
    ]


def _as_daemons_do(engine: Engine, sas: Sequence[SA], spd: Sequence[Policy]) -> None:
    for sa in sas:
        old = engine.get_sa(sa.id)
        engine.delete_sa(sa.id)
        source, destination = (_NEW_LOCAL if end == _LOCAL else end for end in (old.source, old.destination))
        engine.restore_sa(old.moved(source, destination, old.encap))
    for policy in spd:
        (template,) = policy.templates
        if template.source == _LOCAL:
            moved_template = replace(template, source=_NEW_LOCAL)
        else:
            moved_template = replace(template, destination=_NEW_LOCAL)
        engine.update_policy(replace(policy, templates=(moved_template,)))


def get(bench: Bench, size: int) -> list[Contestant]:
    """Read one SA among many, again and again, one request at a time."""
    sas = gcm_sas(size)
    bench.xfrm.add_sas(sas)
    asked = [sas[number * size // 100].id for number in range(100)]

    def work(engine: Engine) -> None:
        for sa_id in asked:
            engine.get_sa(sa_id)

    recorded = bench.recorded("xfrm", work)
    return [
        Contestant("pfkeyx", lambda: work(bench.xfrm)),
        Contestant(FLOOR, partial(bench.replay, recorded)),
    ]


def start(bench: Bench, size: int) -> list[Contestant]:
    """Start programs: Python alone, with the package, and one that reads an empty SAD."""
    del bench, size

    def python(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    return [
        Contestant(FLOOR, lambda: python("pass")),
        Contestant("import", lambda: python("import pfkeyx")),
        Contestant("empty SAD", lambda: python("import pfkeyx; pfkeyx.Engine.open('xfrm').dump_sas()")),
    ]


CASES: dict[str, Case] = {
    "add SAs, AES-GCM": partial(add, gcm_sas, "xfrm"),
    "add SAs, AES-CBC and HMAC": partial(add, cbc_sas, "xfrm"),
    "add SAs, PF_KEY": partial(add, cbc_sas, "pfkey"),
    "update SAs": update,
    "delete SAs": delete,
    "dump SAs": partial(dump, "xfrm"),
    "dump SAs, PF_KEY": partial(dump, "pfkey"),
    "filter SAs": filtered,
    "add policies": add_policies,
    "dump policies": policies,
    "move tunnels": move,
    "get an SA": get,
    "start": start,
}


def _check_count(bench: Bench, count: int) -> None:
    assert bench.xfrm.get_sad_info().count == count
    bench.flush()


def _see(entries: Sequence[object], count: int) -> None:
    assert len(entries) == count, f"{len(entries)} of {count}"


def _nothing(_: object) -> None:
    pass


def _exhaust(values: Iterable[object]) -> None:
    deque(values, maxlen=0)


def _look_at_all(value: SA | Policy) -> None:
    for field in fields(value):
        getattr(value, field.name)


def _id_as_ip_says(sa: SA) -> str:
    return f"src {sa.source} dst {sa.destination} proto {sa.id.protocol} spi {sa.id.spi}"


def _as_ip_says(sa: SA) -> str:
    assert sa.encryption is not None
    key = sa.encryption.key.reveal().hex()
    if sa.authentication is None:
        algorithms = f"aead {sa.encryption.algorithm.xfrm_name} 0x{key} {sa.encryption.icv_bits}"
    else:
        authentication = sa.authentication
        algorithms = (
            f"auth-trunc {authentication.algorithm.xfrm_name} 0x{authentication.key.reveal().hex()}"
            f" {authentication.icv_bits} enc {sa.encryption.algorithm.xfrm_name} 0x{key}"
        )
    return f"{_id_as_ip_says(sa)} mode tunnel reqid {sa.reqid} replay-window {sa.replay_window} {algorithms}"
