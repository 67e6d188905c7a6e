"""The timeline as a picture: what arrived, when, and over which address; a small SVG, drawn without a library.

Above the moment of the move, packet by packet; below all that was sent. Nothing here counts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from pfkeyx.demo.tally import Fate, Lane, Result
from pfkeyx.model import IPAddress

_WIDTH, _HEIGHT = 900, 420
_LEFT, _RIGHT = 66, 884
_PANELS = ((92, 200), (208, 316))
_OVERVIEW = ((358, 370), (372, 384))
# Distinct for the colour-blind, and lost packets by their shape too.
_OLD, _NEW, _LOST, _REFUSED = "#0072b2", "#e08a00", "#d0021b", "#555555"
_TITLE = "A live IPsec tunnel moves to a new address"
_NS = 10**9


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps `low`..`high` to the pixels `start`..`end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def draw(result: Result, old: IPAddress, new: IPAddress, caption: str) -> str:
    """Return the SVG of a result; `caption` is the line below its title."""
    moments = result.moments
    moved = moments.old_address_gone - moments.switched
    margin = max(moved // 2, _NS * 3 // 20)
    zoom = _Scale(moments.switched - margin, moments.old_address_gone + margin, _LEFT, _RIGHT)
    times = [fate.sent_ns for lane in result.lanes for fate in lane.fates]
    whole = _Scale(min(times), max(times), _LEFT, _RIGHT)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}"'
            f' height="{_HEIGHT}" role="img" font-family="system-ui, sans-serif" font-size="11" fill="#24292f">',
            f"<title>{_TITLE}</title>",
            f"<desc>{escape(caption)}</desc>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#fff" stroke="#d0d7de"/>',
            _text(_LEFT, 26, _TITLE, 'font-size="17" font-weight="600"'),
            _text(_LEFT, 44, caption, 'fill="#57606a"'),
            *_moments(result, zoom),
            *(part for lane, rows in zip(result.lanes, _PANELS, strict=True) for part in _panel(lane, rows, zoom, old)),
            *_time_axis(zoom, moments.switched),
            *_overview(result, whole, zoom, old),
            *_legend(old, new),
            "</svg>\n",
        )
    )


def _moments(result: Result, x: _Scale) -> Iterator[str]:
    """Mark when the address changed, and while both ends migrated."""
    moments = result.moments
    top, bottom = _PANELS[0][0], _PANELS[1][1]
    begun, ended = moments.migrating
    yield f'<path d="M{x(begun):.1f} {top}H{x(ended):.1f}V{bottom}H{x(begun):.1f}Z" fill="#dfe4e9"/>'
    for moment in (moments.switched, moments.old_address_gone):
        yield f'<path d="M{x(moment):.1f} {top - 28}V{bottom}" stroke="#24292f" stroke-dasharray="3 2"/>'
    # Each label goes away from the middle, so that they keep clear of each other however short the move is.
    for moment, height, label, anchor in (
        (moments.switched, 20, "address changes", "end"),
        (begun, 6, "both ends migrate", "start"),
        (moments.old_address_gone, 20, "old address gone", "start"),
    ):
        offset = 4 if anchor == "start" else -4
        yield _text(x(moment) + offset, top - height, label, f'text-anchor="{anchor}"')


def _panel(lane: Lane, rows: tuple[int, int], x: _Scale, old: IPAddress) -> Iterator[str]:
    """Draw one direction around the move: each packet at its time and number."""
    top, bottom = rows
    yield f'<rect x="{_LEFT}" y="{top}" width="{_RIGHT - _LEFT}" height="{bottom - top}" fill="none" stroke="#8c959f"/>'
    arrow = "from the roaming host" if lane.name == "outbound" else "to the roaming host"
    yield _text(_LEFT + 8, top + 16, f"{lane.name}: {arrow}", 'font-weight="600"')
    middle = (top + bottom) / 2
    yield _text(16, middle, "packet number", f'text-anchor="middle" transform="rotate(-90 16 {middle})"')
    shown = [fate for fate in lane.fates if x.holds(_time(fate))]
    if not shown:
        return
    y = _Scale(shown[0].number, shown[-1].number + 1, bottom - 6, top + 6)
    for fate in (shown[0], shown[-1]):
        yield _text(_LEFT - 5, y(fate.number) + 4, str(fate.number), 'text-anchor="end"')
    yield from _dots([fate for fate in shown if fate.cause is None], x, y, old)
    lost = "".join(f"M{x(f.sent_ns) - 3:.1f} {y(f.number) - 3:.1f}l6 6m0-6l-6 6" for f in shown if f.cause)
    yield f'<path d="{lost}" stroke="{_LOST}" stroke-width="1.8" fill="none"/>'


def _dots(fates: Sequence[Fate], x: _Scale, y: _Scale, old: IPAddress) -> Iterator[str]:
    # A line of no length with round caps is a dot, at a third of a circle's size.
    for colour, group in _by_colour(fates, old):
        dots = "".join(f"M{x(_time(fate)):.1f} {y(fate.number):.1f}h0" for fate in group)
        yield f'<path d="{dots}" stroke="{colour}" stroke-width="3.6" stroke-linecap="round"/>'
    for fate in fates:
        if fate.refusals:
            yield (
                f'<circle cx="{x(_time(fate)):.1f}" cy="{y(fate.number):.1f}" r="4.5" fill="none" stroke="{_REFUSED}"/>'
            )


def _time_axis(x: _Scale, zero: int) -> Iterator[str]:
    bottom = _PANELS[1][1]
    step = next(
        step for step in (20, 50, 100, 200, 500, 1000, 5000) if (x.high - x.low) / 1e6 / step <= 12 or step == 5000
    )
    for tick in range(int((x.low - zero) / 1e6 // step) + 1, int((x.high - zero) / 1e6 // step) + 1):
        at = x(zero + tick * step * 1e6)
        yield f'<path d="M{at:.1f} {bottom}v4" stroke="#8c959f"/>'
        if at > _RIGHT - 16:
            break
        yield _text(at, bottom + 15, f"{tick * step:+d} ms" if tick else "0", 'text-anchor="middle"')
    yield _text((_LEFT + _RIGHT) / 2, bottom + 30, "time from the address change", 'text-anchor="middle"')


def _overview(result: Result, x: _Scale, zoom: _Scale, old: IPAddress) -> Iterator[str]:
    """Draw all packets of both directions as two bands, and what the panels show of them."""
    for lane, (top, bottom) in zip(result.lanes, _OVERVIEW, strict=True):
        yield _text(_LEFT - 5, bottom - 2, lane.name, 'text-anchor="end"')
        for colour, group in _by_colour([fate for fate in lane.fates if fate.cause is None], old):
            ticks = "".join(f"M{x(fate.sent_ns):.1f} {top}v{bottom - top}" for fate in group)
            yield f'<path d="{ticks}" stroke="{colour}" stroke-width=".6"/>'
        lost = "".join(f"M{x(fate.sent_ns):.1f} {top}v{bottom - top}" for fate in lane.fates if fate.cause)
        yield f'<path d="{lost}" stroke="{_LOST}" stroke-width="1.2"/>'
    left, right = max(x(zoom.low), _LEFT), min(x(zoom.high), _RIGHT)
    top, bottom = _OVERVIEW[0][0] - 3, _OVERVIEW[1][1] + 3
    yield f'<path d="M{left:.1f} {top}H{right:.1f}V{bottom}H{left:.1f}Z" fill="none" stroke="#24292f"/>'


def _legend(old: IPAddress, new: IPAddress) -> Iterator[str]:
    y = 405
    dot = 'stroke-width="7" stroke-linecap="round"'
    entries = (
        (f'<path d="M0 0h0" stroke="{_OLD}" {dot}/>', f"uplink 1, {old}"),
        (f'<path d="M0 0h0" stroke="{_NEW}" {dot}/>', f"uplink 2, {new}"),
        (f'<path d="M-3-3l6 6m0-6l-6 6" stroke="{_LOST}" stroke-width="1.8"/>', "lost"),
        (f'<circle r="4.5" fill="none" stroke="{_REFUSED}"/>', "refused to its sender, and sent again"),
    )
    x = _LEFT + 6.0
    for mark, label in entries:
        yield f'<g transform="translate({x:.0f} {y - 4})">{mark}</g>'
        yield _text(x + 10, y, label)
        x += 36 + 6.2 * len(label)


def _by_colour(fates: Iterable[Fate], old: IPAddress) -> tuple[tuple[str, list[Fate]], ...]:
    groups: dict[bool, list[Fate]] = {True: [], False: []}
    for fate in fates:
        groups[fate.roaming_address == old].append(fate)
    return (_OLD, groups[True]), (_NEW, groups[False])


def _time(fate: Fate) -> int:
    return fate.arrived_ns or fate.sent_ns


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
