"""The cost of one object against their number, as a picture: a small SVG, drawn without a library."""

from collections.abc import Iterator
from math import ceil, floor, log10

from bench.contest import FLOOR
from bench.goals import Results

_WIDTH, _HEIGHT = 900, 300
_LEFT, _TOP, _BOTTOM, _STEP, _PANEL = 56, 64, 236, 286, 230
_PANELS = (
    ("add SAs", "add SAs, AES-GCM", "pfkeyx", "ip -batch"),
    ("read SAs", "dump SAs", "each SA", "ip xfrm state"),
    ("move tunnels", "move tunnels, MIGRATE_STATE, hashed", "pfkeyx", "get, delete, add"),
)
# Distinct for the colour-blind.
_OURS, _PEER, _GROUND = "#0072b2", "#e08a00", "#57606a"


def draw(results: Results) -> str:
    """Return the SVG of a run."""
    panels = [part for number, panel in enumerate(_PANELS) for part in _panel(results, _LEFT + number * _STEP, *panel)]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}"'
            f' height="{_HEIGHT}" role="img" font-family="system-ui, sans-serif" font-size="11" fill="#24292f">',
            "<title>The cost of one object against their number</title>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#fff" stroke="#d0d7de"/>',
            _text(_LEFT, 28, "The cost of one object, in microseconds, against their number", 'font-size="15"'),
            *panels,
            "</svg>\n",
        )
    )


def _panel(results: Results, left: int, title: str, case: str, ours: str, peer: str) -> Iterator[str]:
    mine = {size: result for (name, size), result in sorted(results.items()) if name == case}
    yield _text(left, _TOP - 10, title, 'font-weight="600"')
    if not mine:
        return
    names = (ours, peer, FLOOR)
    costs = [result.each(name) for result in mine.values() for name in names if name in result.measured]
    low, high = floor(log10(min(costs))), ceil(log10(max(costs)))
    first, last = log10(min(mine)), max(log10(max(mine)), log10(min(mine)) + 1)

    def x(size: int) -> float:
        return left + (log10(size) - first) / (last - first) * _PANEL

    def y(cost: float) -> float:
        return _BOTTOM - (log10(cost) - low) / (high - low) * (_BOTTOM - _TOP)

    for power in range(low, high + 1):
        yield f'<path d="M{left} {y(10**power):.1f}h{_PANEL}" stroke="#d0d7de"/>'
        yield _text(left - 5, y(10**power) + 4, f"{10**power:g}", 'text-anchor="end"')
    for size in mine:
        yield _text(x(size), _BOTTOM + 15, f"{size:,}", 'text-anchor="middle"')
    for name, colour, begin in ((ours, _OURS, 0), (peer, _PEER, 62), (FLOOR, _GROUND, 172)):
        points = [(x(size), y(result.each(name))) for size, result in mine.items() if name in result.measured]
        line = "L".join(f"{at_x:.1f} {at_y:.1f}" for at_x, at_y in points)
        yield f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'
        for at_x, at_y in points:
            yield f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="3" fill="{colour}"/>'
        yield f'<path d="M{left + begin} {_BOTTOM + 36}h14" stroke="{colour}" stroke-width="2"/>'
        yield _text(left + begin + 18, _BOTTOM + 40, "pfkeyx" if name == ours else name, "")


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{text}</text>'
