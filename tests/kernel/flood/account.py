"""The account of one way of a flood: each packet is found where it should be, or so is the reason why it is not."""

import errno
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6

from pfkeyx.model import IPAddress
from tests.kernel.flood.flood import FORWARDED, LOCAL, Absence, Flow, Way
from tests.kernel.flood.programs import Frame

#: Counted of a packet that finds its policy blocked, or has passed it and finds its SA gone: one that is forwarded is
#: dropped, the gateway's own is refused with the errno.
_IN_THE_BRACKET = {"XfrmOutPolBlock": errno.EPERM, "XfrmOutStateInvalid": errno.EINVAL}
#: Counted of a packet that has found its policy, and then no SA for it. Nobody is told, not even a local sender.
_BETWEEN_POLICY_AND_SA = "XfrmOutNoStates"
#: Counted of a packet that comes while SAs and policies change, or to where they were before.
_ON_THE_MOVE = ("XfrmInNoStates", "XfrmInStateInvalid", "XfrmInTmplMismatch")
#: The first bytes of the addresses inside the tunnel.
_INNER = {(AF_INET, 10), (AF_INET6, 0xFD)}
#: ICMPv6, and what leads such to groups: how neighbours find each other.
_NEIGHBOURLY = {58, 0}
_TURN = 1 << 32
CPUS = os.cpu_count() or 1

Esp = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the packets of one way; by kind of traffic, errno, or name of /proc/net/xfrm_stat."""

    sent: "_Sent"
    left: "_Left"
    came: "_Came"
    dropped: Counter[str]
    #: How often the gateway that they left moved.
    moves: int

    @property
    def in_the_bracket(self) -> int:
        """How many forwarded packets were dropped by the gateway that they should have left."""
        refused = self.sent.refused
        return sum(self.dropped[name] - refused[error] for name, error in _IN_THE_BRACKET.items())

    @property
    def in_flight(self) -> int:
        """How many packets were dropped by the gateway that they came to."""
        return sum(self.dropped[name] for name in _ON_THE_MOVE)

    def faults(self) -> dict[str, int]:
        """Return what must not be, and how often it was."""
        sent, left, came = self.sent, self.left, self.came
        known = {*_IN_THE_BRACKET, *_ON_THE_MOVE, _BETWEEN_POLICY_AND_SA}
        unsent = {kind: sent.accepted[kind] - left.kinds[kind] for kind in (LOCAL, FORWARDED)}
        unsent[FORWARDED] -= self.in_the_bracket
        refused = sum(count for error, count in sent.refused.items() if error not in _IN_THE_BRACKET.values())
        found = {
            "left in clear": left.clear,
            "left that are not ESP": left.strange,
            "sequence numbers that left twice": left.repeated_numbers,
            "IVs that left twice": left.repeated_ivs,
            "refused, but not for a move": refused,
            "neither left, nor were refused or dropped in the bracket": (
                sum(unsent.values()) - self.dropped[_BETWEEN_POLICY_AND_SA]
            ),
            "left, and had not been sent": -sum(min(0, count) for count in unsent.values()),
            # One CPU can be between the two when a move begins.
            "found no SA": max(0, self.dropped[_BETWEEN_POLICY_AND_SA] - self.moves * CPUS),
            "left and did not come": len(left.esp - came.esp),
            "came and had not left": len(came.esp - left.esp),
            "came, and neither arrived nor were lost in flight": came.count - sent.arrived - self.in_flight,
            "lost where no gateway was on the move": max(0, self.in_flight - came.exposed - came.late),
            "arrived where the gateway no longer was": max(0, came.late - self.in_flight),
            "arrived twice, or had not been sent": sent.wrongly_arrived,
            **{name: count for name, count in self.dropped.items() if name not in known},
        }
        return {name: count for name, count in found.items() if count}

    def __str__(self) -> str:
        sent = self.sent
        refused = ", ".join(f"{count} {errno.errorcode[error]}" for error, count in sorted(sent.refused.items()))
        where = f"to the old address ({self.came.late} after the move)" if self.came.is_elsewhere else "at the change"
        return (
            f"{sent.accepted[LOCAL]} of its own and {sent.accepted[FORWARDED]} to be forwarded were sent "
            f"in {self.left.seconds:.0f} s, refused {refused or 0}, dropped in the bracket {self.in_the_bracket} "
            f"and {self.dropped[_BETWEEN_POLICY_AND_SA]} between policy and SA; "
            f"{self.left.kinds.total()} left, lost {self.in_flight} in flight {where}, {sent.arrived} arrived; "
            f"faults: {self.faults() or 'none'}"
        )


class _Sent:
    """What the senders and receivers say."""

    def __init__(self, flows: Mapping[int, Flow]) -> None:
        self.accepted: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        self.arrived = self.wrongly_arrived = 0
        for kind, flow in flows.items():
            sends = list(flow.sender.records())
            arrivals = [number for (number,) in flow.receiver.records()]
            accepted = {number for number, error in sends if not error}
            self.accepted[kind] = len(accepted)
            self.refused.update(error for _, error in sends if error)
            self.arrived += len(arrivals)
            self.wrongly_arrived += len(arrivals) - len(accepted.intersection(arrivals))


class _Left:
    """What a sniffer saw leave the gateway."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.clear = self.strange = 0
        self.kinds: Counter[int] = Counter()
        esp = []
        outsides = set()
        for frame in frames:
            if frame.is_clear or _INNER & {(frame.family, frame.source[0]), (frame.family, frame.destination[0])}:
                self.clear += 1
            elif frame.spi:
                esp.append((frame.spi, frame.sequence, frame.iv))
                self.kinds[frame.traffic_class] += 1
                outsides.add((frame.family, frame.source, frame.destination))
            elif frame.protocol not in _NEIGHBOURLY:
                self.strange += 1
        self.esp = set(esp)
        self.repeated_numbers = len(esp) - len(set(_whole_numbers(esp)))
        self.repeated_ivs = len(esp) - len({(spi, iv) for spi, _, iv in esp})
        self.outsides = {(_unpacked(family, source), _unpacked(family, end)) for family, source, end in outsides}
        self.seconds = (frames[-1].time_ns - frames[0].time_ns) / 10**9


class _Came:
    """What a sniffer saw come to the gateway, which was on the move at times."""

    def __init__(self, frames: Iterable[Frame], absences: Sequence[Absence]) -> None:
        self.esp: set[Esp] = set()
        self.count = 0
        #: To where it was, after it had left.
        self.late = 0
        #: While it moved: to the address that it left, or to the one that it kept.
        self.exposed = 0
        self.is_elsewhere = any(absence.left for absence in absences)
        begins = [absence.began for absence in absences]
        for frame in frames:
            if not frame.spi:
                continue
            self.count += 1
            self.esp.add((frame.spi, frame.sequence, frame.iv))
            last = bisect_right(begins, frame.time_ns) - 1
            if last < 0:
                continue
            absence = absences[last]
            if frame.time_ns <= absence.ended:
                self.exposed += absence.left in (None, frame.destination)
            else:
                self.late += absence.left == frame.destination


def account_for(way: Way) -> Account:
    """Take the account of one way of a flood that has stopped."""
    dropped = Counter(way.source.counters("XfrmOut") | way.target.counters("XfrmIn"))
    for end in (way.source, way.target):
        dropped.update(end.counters("XfrmFwd") | end.counters("XfrmAcquire"))
    leaving = [frame for frame in way.source.sniffer.frames() if frame.is_outgoing]
    coming = (frame for frame in way.target.sniffer.frames() if not frame.is_outgoing)
    moves = len(way.source.absences)
    return Account(_Sent(way.flows), _Left(leaving), _Came(coming, way.target.absences), dropped, moves)


def _whole_numbers(packets: Iterable[Esp]) -> Iterator[tuple[int, int]]:
    """Yield the SPI of each and its sequence number with the high half, which is not on the wire (RFC 4303 §2.2.1)."""
    newest: dict[int, int] = {}
    for spi, low, _ in packets:
        last = newest.get(spi, low)
        # Packets overtake each other, but not by half of the low half.
        number = last + (low - last + _TURN // 2) % _TURN - _TURN // 2
        newest[spi] = number
        yield spi, number


def _unpacked(family: int, address: bytes) -> IPAddress:
    """Return an address as a frame has it."""
    return ip_address(address[:4] if family == AF_INET else address)
