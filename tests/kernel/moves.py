"""Moving both ends of a road's tunnel from place to place, and what the wire must show of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from pfkeyx import KEEP, SA, AddressPair, AddressUpdate, Method, MigrationReport, UdpEncap
from pfkeyx.model import IPAddress
from pfkeyx.testing import Frame
from tests.kernel.topology import INWARD_SPI, OUTWARD_SPI, Host, Road
from tests.kernel.values import ADDRESSES

Outside = tuple[IPAddress, IPAddress, tuple[int, int] | None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tunnel is: its two ends and its encapsulation as the roaming host's outbound SA has it."""

    roaming: IPAddress
    gateway: IPAddress
    encap: UdpEncap | None = None

    @property
    def outward(self) -> Outside:
        """What a packet of the roaming host shows: addresses, and ports if it is in UDP."""
        ports = (self.encap.source_port, self.encap.destination_port) if self.encap else None
        return self.roaming, self.gateway, ports

    @property
    def inward(self) -> Outside:
        """What a packet of the gateway shows."""
        source, destination, ports = self.outward
        return destination, source, ports and ports[::-1]


def places(family: int, encap: UdpEncap | None = None) -> tuple[Place, Place]:
    """Return where the roaming host is at first, and where it goes."""
    at = ADDRESSES[family]
    return Place(at.roaming, at.gateway, encap), Place(at.roaming_later, at.gateway, encap)


def updates(old: Place, new: Place) -> tuple[AddressUpdate, AddressUpdate]:
    """Return the update for the roaming host and the one for the gateway."""
    encap = KEEP if old.encap == new.encap else new.encap
    there = encap.reversed() if isinstance(encap, UdpEncap) else encap
    return (
        AddressUpdate(AddressPair(old.roaming, old.gateway), AddressPair(new.roaming, new.gateway), encap),
        AddressUpdate(AddressPair(old.gateway, old.roaming), AddressPair(new.gateway, new.roaming), there),
    )


def put_ahead(sa: SA, method: Method, times: int = 1) -> SA:
    """Return an SA of the roaming host as so many moves leave it: the outbound number ahead, a last use forgotten."""
    if method is Method.REPLACE and sa.usage is not None:
        sa = replace(sa, usage=replace(sa.usage, last_used=None))
    if method in (Method.ADDRUPDATE, Method.MIGRATE_STATE) or sa.replay is None or sa.id.spi != OUTWARD_SPI:
        return sa
    return replace(sa, replay=replace(sa.replay, outbound=sa.replay.outbound + times * 4096))


def move(road: Road, old: Place, new: Place, method: Method | None = None) -> tuple[MigrationReport, MigrationReport]:
    """Move the tunnel, at the roaming host first; `method` is forced where it is given."""
    here, there = updates(old, new)
    return _move(road.roaming, here, method), _move(road.gateway, there, method)


def _move(host: Host, update: AddressUpdate, method: Method | None) -> MigrationReport:
    return host.engine.migrate(host.engine.plan_migration(update, method))


def check_wire(road: Road, path: Sequence[Place], came_back: Method | None = None) -> None:
    """Assert, of all that both hosts have sent: nothing in clear, one SPI each, each number once, and the path.

    Numbers follow each other; where the place changes, a method may leave some out, and none ever comes again. So it
    is on the roaming host where it stays, when it went and `came_back` by MIGRATE or REPLACE.
    """
    leaps = came_back in (Method.MIGRATE, Method.REPLACE)
    _check_stream(road.roaming.wire.frames(), OUTWARD_SPI, [place.outward for place in path], leaps)
    _check_stream(road.gateway.wire.frames(), INWARD_SPI, [place.inward for place in path], leaps=False)


def _check_stream(frames: Sequence[Frame], spi: int, path: Sequence[Outside], leaps: bool) -> None:
    inner = {a for at in ADDRESSES.values() for a in (at.roaming_inner, at.gateway_inner)}
    clear = [frame for frame in frames if {frame.source, frame.destination} & inner]
    assert not clear, f"packets in clear: {clear}"
    esp = [frame for frame in frames if frame.spi is not None]
    spis = {frame.spi for frame in esp}
    assert spis == {spi}, f"SPIs on the wire: {spis}"
    steps = [(one.sequence, next_.sequence, one.outside == next_.outside) for one, next_ in pairwise(esp)]
    breaks = [(a, b) for a, b, same_place in steps if b <= a or (same_place and not leaps and b != a + 1)]
    assert not breaks, f"sequence numbers, each followed by one that is not to follow: {breaks}"
    outsides = [outside for outside, _ in groupby(frame.outside for frame in esp)]
    assert outsides == [outside for outside, _ in groupby(path)], f"the way of the tunnel: {outsides}"
