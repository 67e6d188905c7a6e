"""A whole gateway moves, all its tunnels by one call, with the guarantees that one tunnel has."""

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from itertools import count, pairwise
from threading import Event, Thread

import pytest

from pfkeyx import AddressPair, AddressUpdate, Engine, MigrationError
from pfkeyx.migration.move import migrate
from pfkeyx.operation import run
from pfkeyx.testing import Frame, Traffic, Wire
from pfkeyx.xfrm import XfrmDialect
from tests.kernel import bulk
from tests.kernel.bulk import EARLIER, LATER, UPDATE
from tests.kernel.interruption import Ending, InterruptedTransport, Moment, kill_this_process
from tests.kernel.topology import DEVICE, Road
from tests.kernel.traffic import PORT, open_socket

TUNNELS = range(1, 5_001 if os.environ.get("SOAK") else 61)
#: Those that carry traffic: the first, the last, and one between them.
SAMPLE = (TUNNELS[0], TUNNELS[len(TUNNELS) // 2], TUNNELS[-1])
_PAUSE_S = 0.02
_fork = multiprocessing.get_context("fork")


@pytest.fixture
def family() -> int:
    return 4


@pytest.fixture
def engine(road: Road) -> Engine:
    """Make the roaming host a gateway of many tunnels, and return its engine."""
    bulk.write_tunnels(TUNNELS)
    return road.roaming.engine


def test_one_call_moves_every_tunnel_once_and_nothing_else(engine: Engine) -> None:
    others = range(TUNNELS.stop, TUNNELS.stop + 2)
    elsewhere = bulk.INNER
    for number in others:
        engine.add_sas(bulk.tunnel_sas(number, elsewhere))
        engine.add_policies(bulk.tunnel(number, elsewhere).policies())
    told: list[tuple[int, int]] = []
    report = engine.migrate(UPDATE, progress=lambda done, total: told.append((done, total)))
    before, after = bulk.written(TUNNELS, EARLIER), bulk.written(TUNNELS, LATER)
    for place, expected in enumerate((before, after)):
        sas = [pair[place].as_written() for pair in report.sas]
        policies = [pair[place].as_written() for pair in report.policies]
        assert bulk.in_order(sas, policies) == expected
    total = 2 * len(TUNNELS)
    assert len(told) > 1
    assert all(earlier < later for (earlier, _), (later, _) in pairwise(told))
    assert (told[-1], {of for _, of in told}) == ((total, total), {total})
    strangers = bulk.written(others, elsewhere)
    assert bulk.held(engine) == bulk.in_order(after[0] + strangers[0], after[1] + strangers[1])


def test_a_refusal_in_the_middle_brings_every_tunnel_back(engine: Engine) -> None:
    _, inbound = bulk.tunnel_sas(TUNNELS[len(TUNNELS) * 2 // 3], LATER)
    occupant = replace(inbound, reqid=99)
    with Engine.open("xfrm") as another, pytest.raises(MigrationError, match="everything is back") as refusal:
        engine.migrate(UPDATE, progress=_once(lambda: another.add_sa(occupant)))
    engine.delete_sa(occupant.id)
    assert (refusal.value.rolled_back, refusal.value.moved) == (True, ())
    assert bulk.held(engine) == bulk.written(TUNNELS, EARLIER)


def test_a_process_that_is_killed_in_the_middle_is_finished_by_the_same_call(engine: Engine) -> None:
    child = _fork.Process(target=_move_until_killed)
    child.start()
    child.join()
    assert child.exitcode == Ending.KILLED
    locals_ = [sa.source if sa.id.spi & 0x1000_0000 else sa.destination for sa in engine.dump_sas()]
    assert {EARLIER, LATER} == set(locals_)
    engine.migrate(UPDATE)
    assert bulk.held(engine) == bulk.written(TUNNELS, LATER)


def test_nothing_leaves_in_clear_or_under_a_used_number_while_all_tunnels_move(engine: Engine, road: Road) -> None:
    with ExitStack() as stack:
        samples = [stack.enter_context(_traffic_through(road, number)) for number in SAMPLE]
        stack.enter_context(_reading(road.roaming.wire, road.gateway.wire))
        stack.enter_context(_flowing(samples))
        engine.migrate(UPDATE)
        for number in SAMPLE:
            remote = bulk.tunnel(number).remote
            road.gateway.engine.migrate(AddressUpdate(AddressPair(remote, EARLIER), AddressPair(remote, LATER)))
        _wait_until_it_flows(samples)
    _check_frames(road.roaming.wire.frames(), bulk.outbound_spi)
    _check_frames(road.gateway.wire.frames(), bulk.inbound_spi)


def _once(action: Callable[[], object]) -> Callable[[int, int], None]:
    """Return a progress callback that acts the first time, when some tunnels have moved and others have not."""
    waiting = [action]

    def progress(_done: int, _total: int) -> None:
        if waiting:
            waiting.pop()()

    return progress


def _move_until_killed() -> None:
    """Move in this process, and end it two datagrams after half the SAs have moved."""
    happenings: dict[Moment, Callable[[], None]] = {}
    with closing(InterruptedTransport(happenings)) as transport:

        def progress(done: int, total: int) -> None:
            if done >= total // 2 and not happenings:
                happenings[Moment(transport.count + 2)] = kill_this_process

        run(migrate(XfrmDialect(), UPDATE, progress=progress), transport)


@contextmanager
def _traffic_through(road: Road, number: int) -> Iterator[Traffic]:
    """Make the road's gateway the remote end of a tunnel, and open sockets at both of its ends."""
    there = bulk.tunnel(number)
    inner = bulk.REMOTE_INNERS[number]
    road.gateway.namespace.ip(f"addr add {there.remote}/32 dev {DEVICE}\naddr add {inner}/32 dev {DEVICE}")
    road.roaming.namespace.ip(
        f"route add {there.remote} via {road.addresses.gateway}\n"
        f"route add {inner} via {road.addresses.gateway} src {bulk.INNER}"
    )
    bulk.add_remote_end(road.gateway.engine, number)
    port = PORT + number
    with open_socket(road.roaming, bulk.INNER, port) as near, open_socket(road.gateway, inner, port) as far:
        yield Traffic.between(near, far)


@contextmanager
def _reading(*wires: Wire) -> Iterator[None]:
    """Read wires until the block is left: a plan for all tunnels takes longer than a packet socket remembers."""
    over = Event()

    def read() -> None:
        while not over.wait(_PAUSE_S):
            for wire in wires:
                wire.read()

    reader = Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()


@contextmanager
def _flowing(samples: Sequence[Traffic]) -> Iterator[None]:
    """Let a process send through each tunnel in turn, both ways, until the block is left."""

    def send() -> None:
        for number in count():
            for stream in (stream for traffic in samples for stream in (traffic.outward, traffic.inward)):
                with suppress(OSError):
                    stream.send_one(number)
            time.sleep(_PAUSE_S)

    sender = _fork.Process(target=send)
    sender.start()
    try:
        _wait_until_it_flows(samples)
        yield
    finally:
        sender.kill()
        sender.join()


def _wait_until_it_flows(samples: Sequence[Traffic]) -> None:
    for traffic in samples:
        traffic.wait_until_it_flows()


def _check_frames(frames: Sequence[Frame], spi_of: Callable[[int], int]) -> None:
    """Assert, of what one side has sent: all in ESP, each number once, and each tunnel has been at both places."""
    inners = {bulk.INNER, *(bulk.REMOTE_INNERS[number] for number in SAMPLE)}
    clear = [frame for frame in frames if {frame.source, frame.destination} & inners]
    assert not clear, f"packets in clear: {clear}"
    esp = [frame for frame in frames if frame.spi is not None]
    repeated = [frame for frame, times in Counter((it.spi, it.sequence) for it in esp).items() if times > 1]
    assert not repeated, f"repeated sequence numbers: {repeated}"
    places = {(it.spi, end) for it in esp for end in (it.source, it.destination) if end in (EARLIER, LATER)}
    assert places == {(spi_of(number), place) for number in SAMPLE for place in (EARLIER, LATER)}
