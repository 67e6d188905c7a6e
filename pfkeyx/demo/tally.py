"""The count: what became of every packet, and whether that is what the plans said.

Pure: logs, the capture and the kernel's counters come in as values. A packet is recognised on the wire by its
size, so each loss is explained by what that very packet met, and the kernel's own counters must agree.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from pfkeyx.demo.traffic import SIZE_STEP, SIZES, Arrival, Sent
from pfkeyx.demo.wire import EspPacket
from pfkeyx.model import IPAddress


class Cause(Enum):
    """Why a packet did not arrive; all but the last are what the plans name, and nothing else may happen."""

    OLD_ADDRESS = "on its way to the old address"
    BETWEEN = "between the move of its SA and its policies"
    BRACKET = "dropped where it is forwarded, in the bracket"
    UNEXPLAINED = "not explained"


@dataclass(frozen=True, slots=True)
class Moments:
    """When things happened, in nanoseconds since the epoch; both ends migrate from one moment to another."""

    switched: int
    migrating: tuple[int, int]
    old_address_gone: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many losses of each cause the kernel's counters confirm, in one direction."""

    in_flight: int = 0
    between: int = 0
    bracket: int = 0


@dataclass(frozen=True, slots=True)
class Fate:
    """One packet: sent when, after how many refusals, from or to which roaming address, arrived when or lost why."""

    number: int
    sent_ns: int
    refusals: int
    roaming_address: IPAddress | None
    arrived_ns: int | None
    cause: Cause | None


@dataclass(frozen=True, slots=True)
class Lane:
    """One direction: every packet's fate, and what the wire showed of it."""

    name: str
    fates: tuple[Fate, ...]
    duplicated: int
    reordered: int
    spis: tuple[int, ...]
    last_old: int | None
    first_new: int | None
    repeated: int

    def lost(self, cause: Cause | None = None) -> int:
        """Return how many packets were lost, for one cause or in all."""
        return sum(1 for fate in self.fates if fate.cause is not None and cause in (None, fate.cause))

    @property
    def refused(self) -> int:
        """How many sends were refused, and sent again."""
        return sum(fate.refusals for fate in self.fates)

    @property
    def problems(self) -> Iterator[str]:
        """What went otherwise than the plans said."""
        if unexplained := self.lost(Cause.UNEXPLAINED):
            yield f"{unexplained} of the {self.name} packets were lost, and no plan said that they might be"
        if self.duplicated:
            yield f"{self.duplicated} of the {self.name} packets arrived twice"
        if self.repeated:
            yield f"{self.repeated} {self.name} ESP sequence numbers were used twice"
        if self.last_old is None or self.first_new is None:
            yield f"the {self.name} SA was not seen at both addresses"
        elif self.first_new <= self.last_old:
            yield f"the {self.name} ESP sequence numbers went back"
        if len(self.spis) > 1:
            yield f"the {self.name} SPI changed"


@dataclass(frozen=True, slots=True)
class Result:
    """Both directions, what was on the wire outside ESP, and each end's counters of dropped packets."""

    outbound: Lane
    inbound: Lane
    moments: Moments
    in_clear: int
    missed: int
    counters: Mapping[str, Mapping[str, int]]

    @property
    def lanes(self) -> tuple[Lane, Lane]:
        """Outbound and inbound, as the roaming host sees them."""
        return self.outbound, self.inbound

    @property
    def problems(self) -> tuple[str, ...]:
        """What went otherwise than the plans said; nothing, when all is well."""
        problems = [problem for lane in self.lanes for problem in lane.problems]
        if self.in_clear:
            problems.append(f"{self.in_clear} packets were on the wire in clear")
        if self.missed:
            problems.append(f"the sniffer missed {self.missed} packets, so the wire is not proven")
        return tuple(problems)


def count_lane(
    name: str,
    sent: Sequence[Sent],
    arrived: Sequence[Arrival],
    wire: Sequence[EspPacket],
    old: IPAddress,
    new: IPAddress,
    moments: Moments,
    allowance: Allowance,
) -> Lane:
    """Return one direction's count; `wire` is its ESP packets in the order of time."""
    seen = recognise(sent, wire)
    arrivals = {arrival.number: arrival.time_ns for arrival in reversed(arrived)}
    left = {
        Cause.OLD_ADDRESS: allowance.in_flight,
        Cause.BETWEEN: allowance.between,
        Cause.BRACKET: allowance.bracket,
    }
    fates = []
    for packet in sent:
        on_wire = seen.get(packet.number)
        arrived_ns = arrivals.get(packet.number)
        cause = None
        if arrived_ns is None:
            cause = _cause(on_wire, old, moments)
            # What the kernel did not count has not happened.
            if cause in left:
                left[cause] -= 1
                cause = cause if left[cause] >= 0 else Cause.UNEXPLAINED
        ends = (on_wire.source, on_wire.destination) if on_wire else ()
        address = next((end for end in ends if end in (old, new)), None)
        fates.append(Fate(packet.number, packet.time_ns, packet.refusals, address, arrived_ns, cause))
    on_old = [packet for packet in wire if old in (packet.source, packet.destination)]
    on_new = [packet for packet in wire if new in (packet.source, packet.destination)]
    return Lane(
        name,
        tuple(fates),
        duplicated=len(arrived) - len(arrivals),
        reordered=sum(1 for one, other in pairwise(arrived) if other.number < one.number),
        spis=tuple(dict.fromkeys(packet.spi for packet in wire)),
        last_old=max((packet.sequence for packet in on_old), default=None),
        first_new=min((packet.sequence for packet in on_new), default=None),
        repeated=_repeated((packet.spi, packet.sequence) for packet in wire),
    )


def recognise(sent: Sequence[Sent], wire: Sequence[EspPacket]) -> dict[int, EspPacket]:
    """Return which packet on the wire carries which number.

    A size tells the number modulo `SIZES`; of those numbers it is the last that had been sent by then.
    """
    if not wire:
        return {}
    smallest = min(packet.size for packet in wire)
    times = [packet.time_ns for packet in sent]
    found = {}
    for packet in wire:
        newest = bisect_right(times, packet.time_ns) - 1
        number = newest - (newest - (packet.size - smallest) // SIZE_STEP) % SIZES
        if number >= 0:
            found[number] = packet
    return found


def _cause(on_wire: EspPacket | None, old: IPAddress, moments: Moments) -> Cause:
    if on_wire is None:
        return Cause.BRACKET
    if on_wire.destination == old and on_wire.time_ns >= moments.migrating[0]:
        return Cause.OLD_ADDRESS
    if moments.migrating[0] <= on_wire.time_ns <= moments.migrating[1]:
        return Cause.BETWEEN
    return Cause.UNEXPLAINED


def _repeated(sequences: Iterable[tuple[int, int]]) -> int:
    return sum(times - 1 for times in Counter(sequences).values())
