"""Traffic through both gateways, of their own and forwarded, both ways; and what of it is counted, and by whom."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from struct import Struct

import pytest

from pfkeyx import AddressPair, AddressUpdate
from tests.kernel.flood.programs import ARRIVED, FRAME, SENT, Program
from tests.kernel.flood.topology import Site, Sites
from tests.kernel.topology import DEVICE, Namespace

#: The traffic classes of the two kinds; a tunnel's outer header has what the inner one has (RFC 4301 §5.1.2).
LOCAL, FORWARDED = 0x28, 0x48
_PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Absence:
    """When a gateway was on the move, in ns since the epoch, and which address it left, as a frame has it, if any."""

    began: int
    ended: int
    left: bytes | None


class End:
    """A gateway under the flood: what a sniffer sees of it, what its kernel counts, and when it was on the move."""

    def __init__(self, site: Site, sniffer: Program) -> None:
        self.site = site
        self.sniffer = sniffer
        self.absences: list[Absence] = []
        self._before = site.gateway.dropped()

    @contextmanager
    def moving(self, update: AddressUpdate) -> Iterator[None]:
        """Take note that the gateway is on the move while the block runs."""
        old, new = (place.local if isinstance(place, AddressPair) else place for place in (update.old, update.new))
        began = time.time_ns()
        yield
        self.absences.append(Absence(began, time.time_ns(), None if old == new else old.packed.ljust(16, b"\0")))

    def counters(self, prefix: str) -> dict[str, int]:
        """Return what the kernel has counted since the beginning, where it has, under names that begin so."""
        now = self.site.gateway.dropped().items()
        changes = {name: count - self._before[name] for name, count in now if name.startswith(prefix)}
        return {name: change for name, change in changes.items() if change}


@dataclass(frozen=True, slots=True)
class Flow:
    """Numbered packets of one kind: who sends them, and who receives."""

    sender: Program
    receiver: Program


@dataclass(frozen=True, slots=True)
class Way:
    """One direction: out of one gateway and into the other, with a flow of each kind."""

    source: End
    target: End
    flows: Mapping[int, Flow]


@dataclass(frozen=True, slots=True)
class Flood:
    """Both ends and both ways; the roaming gateway, and what comes out of it, first."""

    ends: tuple[End, End]
    ways: tuple[Way, Way]

    def wait_until_it_flows(self) -> None:
        """Wait until of each flow a packet has arrived that was sent after this was called."""
        awaited = [(flow.receiver, flow.sender.newest() + 1) for flow in self._flows()]
        if not happens(lambda: all(receiver.newest() >= number for receiver, number in awaited)):
            pytest.fail(f"no packets came in {_PATIENCE_S} s")

    def stop(self) -> None:
        """End the senders; and the others, once each packet has come to where it is counted, or too late for that."""
        for flow in self._flows():
            flow.sender.stop()
        happens(lambda: self._unaccounted() == 0)
        for program in (*(flow.receiver for flow in self._flows()), *(end.sniffer for end in self.ends)):
            program.stop()

    def _unaccounted(self) -> int:
        # The kernel counts what it refuses to a gateway's own sender, too.
        missing = sum(len(flow.sender) - len(flow.receiver) for flow in self._flows())
        return missing - sum(sum(end.counters("Xfrm").values()) for end in self.ends)

    def _flows(self) -> Iterator[Flow]:
        return (flow for way in self.ways for flow in way.flows.values())


def happens(condition: Callable[[], bool]) -> bool:
    """Wait for what may happen, and return whether it did in time."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def flood(sites: Sites, binary: Path, folder: Path, rate: int) -> Iterator[Flood]:
    """Send `rate` packets a second each way, half of them of each kind, until `Flood.stop` or the end of the block."""
    with ExitStack() as stack:
        numbers = count()

        def run(namespace: Namespace, record: Struct, *command: object) -> Program:
            log = folder / f"{next(numbers)} {command[0]}"
            return stack.enter_context(Program(namespace, record, log, binary, *command))

        def receive(site: Site) -> dict[int, Program]:
            return {
                LOCAL: run(site.gateway, ARRIVED, "receive", site.inner),
                FORWARDED: run(site.host, ARRIVED, "receive", site.behind),
            }

        def send(source: End, target: End, receivers: Mapping[int, Program]) -> Way:
            at, to = source.site, target.site
            rhythm = 2 * 10**9 // rate
            senders = {
                LOCAL: run(at.gateway, SENT, "send", at.inner, to.inner, rhythm, LOCAL),
                FORWARDED: run(at.host, SENT, "send", at.behind, to.behind, rhythm, FORWARDED),
            }
            return Way(source, target, {kind: Flow(senders[kind], receivers[kind]) for kind in senders})

        here, there = (End(site, run(site.gateway, FRAME, "sniff", DEVICE)) for site in (sites.roaming, sites.gateway))
        at_here, at_there = receive(here.site), receive(there.site)
        running = Flood((here, there), (send(here, there, at_there), send(there, here, at_here)))
        running.wait_until_it_flows()
        yield running
