"""The demonstration from its beginning to its end: build, talk, move, count, tell.

What it shows is done by the engine's public methods; what it claims is what `tally` counted.
"""

import asyncio
import errno
import gc
import platform
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from pfkeyx.aio import AsyncEngine
from pfkeyx.algorithms import AES_GCM, HMAC_SHA256, Algorithm, Kind
from pfkeyx.demo.picture import draw
from pfkeyx.demo.tally import Allowance, Cause, Lane, Moments, Result, count_lane
from pfkeyx.demo.topology import LINKS, Addressing, Topology
from pfkeyx.demo.traffic import End, Log
from pfkeyx.demo.wire import Capture, Sniffer
from pfkeyx.demo.worker import Worker
from pfkeyx.engine import Engine
from pfkeyx.errors import KernelError, UnsupportedError
from pfkeyx.migration import AddressUpdate, Method, MigrationPlan, MigrationReport
from pfkeyx.model import AddressPair, Authentication, Encryption, Key, Tunnel

_WIDTH = 79
_REQID = 1
_ON_ITS_WAY_S = 0.3
#: What a packet is counted as that met an SA in its move, or policies that had not followed, or had gone before.
_MET_A_MOVE = ("XfrmInStateInvalid", "XfrmInTmplMismatch")
_MET_NO_SA = ("XfrmInNoStates",)
_BLOCKED = ("XfrmOutPolBlock",)
_NEEDS_A_KERNEL = "run `make demo`, which boots a kernel that has it, or lab/run -- pfkeyx demo"


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be chosen: `rate` is in packets a second each way, `seconds` is how long they flow."""

    method: Method | None = None
    algorithm: Algorithm = AES_GCM
    version: int = 4
    rate: int = 100
    seconds: float = 6.0
    output: Path | None = None


def tell(settings: Settings) -> bool:
    """Run the demonstration and print it; return whether nothing was lost, repeated or seen beyond what the plans say.

    Raises `NotPermittedError` without the right to make network namespaces, `UnsupportedError` when the kernel lacks
    what it takes, and what `Engine.migrate` raises.
    """
    with ExitStack() as stack:
        topology = stack.enter_context(Topology(settings.version))
        at = topology.addresses
        _say(_PLACE.format(at=at, algorithm=settings.algorithm, rate=settings.rate))
        roaming = stack.enter_context(Engine.open("xfrm", netns=topology.roaming.path))
        gateway = stack.enter_context(Engine.open("xfrm", netns=topology.gateway.path))
        _connect(roaming, gateway, at, settings.algorithm)
        near_plan, far_plan = plans = _plan(settings, at, roaming, gateway)
        _say(f"The roaming host's plan: {near_plan}")
        _say(f"The gateway's plan: {far_plan}")
        result = _live(settings, topology, lambda: _move(topology, near_plan, far_plan))
    _say(_report(result))
    if settings.output is not None:
        settings.output.write_text(draw(result, at.old.ip, at.new.ip, _caption(settings, plans, result)))
        _say(f"picture: {settings.output}")
    for problem in result.problems:
        _say(f"NOT AS PLANNED: {problem}")
    if result.problems:
        _say(_counted(result))
    else:
        _say(_AS_PLANNED)
    return not result.problems


_PLACE = """\
A roaming host with two uplinks, a router, a gateway, and a host behind it:

  roaming host {at.roaming_inside.ip}
    uplink 1  {at.old.ip}   <- the tunnel is here
    uplink 2  {at.new.ip}
  gateway     {at.gateway.ip}
    host      {at.host.ip}

ESP tunnel with {algorithm}; {rate} numbered packets a second flow each way."""

_AS_PLANNED = """\
Nothing was lost but what the plans said might be, no ESP sequence number was
used twice, and nothing was in clear."""


def _connect(roaming: Engine, gateway: Engine, at: Addressing, algorithm: Algorithm) -> None:
    """Make the tunnel on both ends, with fresh keys; each end names the SPI of what it receives, as with IKE."""
    near = Tunnel(at.old.ip, at.gateway.ip, at.roaming_net, at.gateway_net, _REQID)
    far = near.reversed()
    try:
        for sender, receiver, tunnel, peer in ((roaming, gateway, near, far), (gateway, roaming, far, near)):
            spi = receiver.get_spi(tunnel.local, tunnel.remote, reqid=_REQID)
            keys = _fresh_keys(algorithm)
            receiver.update_sa(peer.inbound(spi, *keys))
            sender.add_sa(tunnel.outbound(spi, *keys))
    except KernelError as error:
        # No ESP, or no such cipher.
        if error.errno in (errno.EPROTONOSUPPORT, errno.ENOSYS, errno.ENOENT):
            raise UnsupportedError(f"ESP with {algorithm}", f"this kernel has none; {_NEEDS_A_KERNEL}") from error
        raise
    roaming.add_policies(near.policies())
    gateway.add_policies(far.policies())


def _fresh_keys(algorithm: Algorithm) -> tuple[Encryption, Authentication | None]:
    encryption = Encryption(algorithm, Key.generate((256 + algorithm.salt_bits) // 8))
    if algorithm.kind is Kind.AEAD:
        return encryption, None
    return encryption, Authentication(HMAC_SHA256, Key.generate(32))


def _live(settings: Settings, topology: Topology, move: Callable[[], Moments]) -> Result:
    """Let the packets flow, move the tunnel in their midst, and count."""
    at = topology.addresses
    inside = (at.roaming_inside.ip, at.host.ip)
    with ExitStack() as stack:
        sniffer = stack.enter_context(closing(Sniffer(topology.router, LINKS, settings.version, inside)))
        near = stack.enter_context(closing(End(topology.roaming, at.roaming_inside.ip, at.host.ip, settings.rate)))
        far = stack.enter_context(closing(End(topology.host, at.host.ip, at.roaming_inside.ip, settings.rate)))
        # The workers are forked: what is loaded by now is kept out of their collections, and out of the move's.
        gc.freeze()
        capture = stack.enter_context(Worker(sniffer.run))
        talk = [stack.enter_context(Worker(end.run)) for end in (near, far)]
        time.sleep(settings.seconds / 2)
        moments = move()
        time.sleep(settings.seconds / 2)
        for worker in talk:
            worker.end()
        near_log, far_log = (worker.result() for worker in talk)
        time.sleep(_ON_ITS_WAY_S)
        near_log.arrived += near.arrivals()
        far_log.arrived += far.arrivals()
        capture.end()
        return _count(topology, near_log, far_log, capture.result(), moments)


def _plan(settings: Settings, at: Addressing, roaming: Engine, gateway: Engine) -> tuple[MigrationPlan, MigrationPlan]:
    old, new = AddressPair(at.old.ip, at.gateway.ip), AddressPair(at.new.ip, at.gateway.ip)
    return (
        roaming.plan_migration(AddressUpdate(old, new), settings.method),
        gateway.plan_migration(AddressUpdate(_reversed(old), _reversed(new)), settings.method),
    )


def _move(topology: Topology, near_plan: MigrationPlan, far_plan: MigrationPlan) -> Moments:
    """Change the address and move the tunnel on both ends.

    Uplink 2 is up before uplink 1 goes. The ends move side by side, so that the time is shortest in which one
    sends to where the other is not, or not yet.
    """
    at = topology.addresses
    _say(f"The address changes from {at.old.ip} to {at.new.ip}.")
    with ExitStack() as stack:
        near, far = (AsyncEngine.open("xfrm", netns=end.path) for end in (topology.roaming, topology.gateway))
        stack.enter_context(closing(near))
        stack.enter_context(closing(far))
        topology.switch_uplink()
        switched = time.time_ns()
        near_report, far_report, migrating = asyncio.run(_migrate_both(near, near_plan, far, far_plan))
    topology.take_old_address()
    gone = time.time_ns()
    _say(f"The roaming host has moved:\n{near_report}")
    _say(f"The gateway has moved:\n{far_report}")
    return Moments(switched, migrating, gone)


def _reversed(pair: AddressPair) -> AddressPair:
    return AddressPair(pair.remote, pair.local)


async def _migrate_both(
    near: AsyncEngine, near_plan: MigrationPlan, far: AsyncEngine, far_plan: MigrationPlan
) -> tuple[MigrationReport, MigrationReport, tuple[int, int]]:
    begun = time.time_ns()
    # Operations take turns, batch by batch. The first one starts in its second turn; the gateway's is kept one behind,
    # so that the gateway sends to the new address right after the roaming host can receive there, and not before.
    ahead = asyncio.ensure_future(near.migrate(near_plan))
    for _ in range(2):
        await asyncio.sleep(0)
    far_report = await far.migrate(far_plan)
    near_report = await ahead
    return near_report, far_report, (begun, time.time_ns())


def _count(topology: Topology, near: Log, far: Log, capture: Capture, moments: Moments) -> Result:
    at = topology.addresses
    ends = (at.old.ip, at.new.ip)
    outbound = [packet for packet in capture.esp if packet.destination == at.gateway.ip]
    inbound = [packet for packet in capture.esp if packet.source == at.gateway.ip]
    counters = {"roaming host": topology.roaming.dropped(), "gateway": topology.gateway.dropped()}
    near_drops, far_drops = counters["roaming host"], counters["gateway"]
    inward = Allowance(
        in_flight=_total(near_drops, _MET_NO_SA + _MET_A_MOVE),
        between=_total(near_drops, _MET_A_MOVE),
        bracket=_total(far_drops, _BLOCKED),
    )
    # Outbound the gateway's address stays, and the sender is local: it is told what is blocked, and sends it again.
    outward = Allowance(between=_total(far_drops, _MET_A_MOVE))
    return Result(
        count_lane("outbound", near.sent, far.arrived, outbound, *ends, moments, outward),
        count_lane("inbound", far.sent, near.arrived, inbound, *ends, moments, inward),
        moments,
        len(capture.clear),
        capture.missed,
        counters,
    )


def _total(counters: Mapping[str, int], names: Iterable[str]) -> int:
    # A kernel that keeps no counters cannot contradict what the wire showed.
    return sum(counters[name] for name in names) if counters else sys.maxsize


def _report(result: Result) -> str:
    out, back = result.lanes
    rows = [
        ("", "outbound", "inbound"),
        ("packets sent", len(out.fates), len(back.fates)),
        ("sends refused, and done again", out.refused, back.refused),
        ("packets lost", out.lost(), back.lost()),
        *((f"  {cause.value}", out.lost(cause), back.lost(cause)) for cause in Cause),
        ("duplicated", out.duplicated, back.duplicated),
        ("out of order", out.reordered, back.reordered),
        ("ESP on the wire: SPI", _spis(out), _spis(back)),
        ("  last sequence number, old address", _or_none(out.last_old), _or_none(back.last_old)),
        ("  first sequence number, new address", _or_none(out.first_new), _or_none(back.first_new)),
        ("  sequence numbers used twice", out.repeated, back.repeated),
    ]
    moments = result.moments
    return "\n".join(
        [
            *(f"{name:<48}{left!s:>14}{right!s:>14}" for name, left, right in rows),
            "",
            f"packets in clear on the wire: {result.in_clear}",
            f"the move on both ends, planned anew and read back: {_ms(*moments.migrating)} ms",
            f"from the address change to its end: {_ms(moments.switched, moments.migrating[1])} ms",
        ]
    )


def _counted(result: Result) -> str:
    lines = [
        f"dropped on the {end}: " + (", ".join(f"{name} {count}" for name, count in counts.items() if count) or "none")
        for end, counts in result.counters.items()
    ]
    return "\n".join(lines)


def _caption(settings: Settings, plans: Iterable[MigrationPlan], result: Result) -> str:
    methods = dict.fromkeys(move.method.value for plan in plans for move in plan.sa_moves())
    times = [fate.sent_ns for lane in result.lanes for fate in lane.fates]
    sent, rate = len(times), len(times) * 10**9 / len(result.lanes) / (max(times) - min(times))
    lost = sum(lane.lost() for lane in result.lanes)
    return (
        f"Linux {platform.release()}, ESP with {settings.algorithm}, {rate:.0f} packets/s each way, moved by"
        f" {', '.join(methods)}: {sent} sent, {lost} lost, {result.in_clear} in clear"
    )


def _spis(lane: Lane) -> str:
    return ", ".join(f"{spi:#010x}" for spi in lane.spis) or "none"


def _or_none(number: int | None) -> str:
    return "none" if number is None else str(number)


def _ms(begun_ns: int, ended_ns: int) -> str:
    return f"{(ended_ns - begun_ns) / 1e6:.0f}"


def _say(text: str) -> None:
    """Print text at once, with long lines folded."""
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        folded = textwrap.wrap(line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        print("\n".join(folded), flush=True)
    print(flush=True)
