"""Text for people: aligned, within 80 columns, coloured on a terminal only. Which values it is of is not known here."""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from pfkeyx.cli.command import WIDTH
from pfkeyx.model import IPAddress, Usage

INDENT = "    "
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_BOLD, _RED, _GREEN, _YELLOW, _CYAN = "1", "31", "32", "33", "36"
_COLOURS = {"spi": _YELLOW, "address": _CYAN, "bad": _RED, "good": _GREEN, "word": _BOLD}
_HIGHLIGHTS = re.compile(
    r"(?P<spi>\b0x[0-9a-f]{8}\b)"
    r"|(?P<address>\b\d+\.\d+\.\d+\.\d+(?:/\d+)?|(?<![\w:])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:/\d+)?)"
    r"|(?P<bad>\b(?:block|larval|dead|half|blocked|no|not|failures|hidden)\b)"
    r"|(?P<good>\b(?:allow|up|yes)\b)"
    r"|(?P<word>^(?:in|out|fwd|esp|ah|ipcomp|tunnel)\b)"
)


def show(lines: Iterable[str]) -> None:
    """Print lines, coloured if a person reads them and wants that."""
    paint = wants_colour()
    for line in lines:
        print(highlight(line) if paint else line)


def wants_colour() -> bool:
    """Return whether standard output is a terminal that takes colours, and its owner too (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def highlight(line: str) -> str:
    """Return a line with the escape sequences of its colours."""
    return _HIGHLIGHTS.sub(lambda found: f"\x1b[{_COLOURS[found.lastgroup or '']}m{found[0]}\x1b[0m", line)


def fold(pieces: Iterable[str], first_indent: str = "", indent: str = INDENT) -> list[str]:
    """Return lines made of pieces, as many on each as fit; only a piece that is too long alone stands out."""
    lines: list[str] = []
    line = first_indent
    for piece in pieces:
        if line.strip() and len(line) + len(_gap(piece)) + len(piece) > WIDTH:
            lines.append(line)
            line = indent
        line += (_gap(piece) if line.strip() else "") + piece
    return [*lines, line] if line.strip() else lines


def _gap(piece: str) -> str:
    """Return what stands before a piece: two ends are nearer to each other than to the rest."""
    return " " if piece.startswith(("-> ", "- ")) else "  "


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows with their columns aligned; what stands behind a row that would be too wide goes to another line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        line = "".join(_gap(cell) + cell for cell in padded).strip()
        lines.append(line if len(line) <= WIDTH else "\n".join(fold(filter(None, row))))
    return lines


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def size(octets: int) -> str:
    """Return octets as people read them.

    >>> size(13002342)
    '12.4 MiB'
    """
    amount = float(octets)
    for unit in _UNITS:
        if amount < 1024 or unit == _UNITS[-1]:
            break
        amount /= 1024
    return f"{octets} B" if unit == "B" else f"{amount:.1f} {unit}"


def duration(seconds: int, units: int = 2) -> str:
    """Return seconds as people read them, in the largest units.

    >>> duration(5400)
    '1 h 30 min'
    """
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length:
            parts.append(f"{seconds // length} {unit}")
            seconds %= length
    return " ".join(parts[:units]) or "0 s"


def traffic_text(usage: Usage) -> str:
    """Return what has gone through an SA."""
    return f"{size(usage.octets)} in {count(usage.packets, 'packet')}" if usage.packets else "unused"


def ago(moment: int, now: float) -> str:
    """Return how long ago a moment was, of epoch seconds; a clock that was set is shown for what it is."""
    passed = int(now) - moment
    return f"{duration(passed)} ago" if passed >= 0 else datetime.fromtimestamp(moment, UTC).isoformat()


def end_text(address: IPAddress | None) -> str:
    """Return the end of a template, where none is any."""
    return "any" if address is None or address.is_unspecified else str(address)
