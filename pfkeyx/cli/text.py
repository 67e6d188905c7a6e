"""Values as text for people: aligned, within 80 columns, coloured on a terminal only. Nothing is read here."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from pfkeyx.cli.command import WIDTH
from pfkeyx.model import (
    ADDRESSED_MODES,
    SA,
    Authentication,
    Encryption,
    IPAddress,
    Key,
    Lifetime,
    Limit,
    Policy,
    PolicyType,
    Port,
    Protocol,
    SAState,
    Selector,
    Template,
    Usage,
    any_selector,
)

_INDENT = "    "
_GAP = "  "
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_PROTOCOL_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmpv6", 132: "sctp"}
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


def fold(pieces: Iterable[str], first_indent: str = "", indent: str = _INDENT) -> list[str]:
    """Return lines made of pieces, as many on each as fit; only a piece that is too long alone stands out."""
    lines: list[str] = []
    line = first_indent
    for piece in pieces:
        if line.strip() and len(line) + len(_GAP) + len(piece) > WIDTH:
            lines.append(line)
            line = indent
        line += (_GAP if line.strip() else "") + piece
    return [*lines, line] if line.strip() else lines


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows with their columns aligned; what stands behind a row that would be too wide goes to another line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        line = _GAP.join(padded).rstrip()
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


def ago(moment: int, now: float) -> str:
    """Return how long ago a moment was, of epoch seconds; a clock that was set is shown for what it is."""
    passed = int(now) - moment
    return f"{duration(passed)} ago" if passed >= 0 else datetime.fromtimestamp(moment, UTC).isoformat()


def sa_lines(sas: Sequence[SA], now: float, *, show_keys: bool = False) -> Iterator[str]:
    """Yield a list of SAs, aligned; `now` is in epoch seconds."""
    heads = [_sa_head(sa) for sa in sas]
    for sa, head in zip(sas, table(heads) if heads else (), strict=True):
        yield from head.split("\n")
        yield from _sa_details(sa, now, show_keys)


def _sa_head(sa: SA) -> tuple[str, ...]:
    return (
        f"{sa.id.protocol} {sa.id.spi:#010x}",
        f"{sa.source} ->",
        str(sa.id.destination),
        str(sa.mode),
        f"reqid {sa.reqid}",
    )


def _sa_details(sa: SA, now: float, show_keys: bool) -> Iterator[str]:
    for part in (sa.encryption, sa.authentication):
        if part is not None:
            yield from _keyed_lines(part, show_keys)
    yield from fold(_sa_words(sa), _INDENT)
    yield from fold(_limit_words(sa.lifetime, sa.usage, now), _INDENT)
    yield from fold(_usage_words(sa, now), _INDENT)


def _keyed_lines(part: Encryption | Authentication, show_keys: bool) -> list[str]:
    icv = f" icv {part.icv_bits}" if part.icv_bits else ""
    return fold((f"{part.algorithm} {part.key.bits} bits{icv}", key_text(part.key, show_keys)), _INDENT)


def key_text(key: Key, show_keys: bool) -> str:
    """Return a key in hex, or that it is hidden: by us, or by the kernel."""
    if not show_keys:
        return "key (hidden)"
    return f"0x{key.reveal().hex()}" if not key.is_hidden else "key (hidden by the kernel)"


def _sa_words(sa: SA) -> Iterator[str]:
    if sa.compression is not None:
        yield str(sa.compression)
    if sa.state is not None and sa.state is not SAState.MATURE:
        yield str(sa.state)
    elif sa.state is None and (sa.encryption, sa.authentication, sa.compression) == (None, None, None):
        yield "larval"
    if sa.direction is not None:
        yield f"direction {sa.direction}"
    if sa.id.mark is not None:
        yield f"mark {sa.id.mark}"
    if sa.if_id:
        yield f"if_id {sa.if_id}"
    if sa.output_mark is not None:
        yield f"output-mark {sa.output_mark}"
    if sa.encap is not None:
        yield f"encap {sa.encap}"
    if sa.id.protocol is not Protocol.IPCOMP:
        yield f"replay-window {sa.replay_window}"
    for flag in (*sa.flags, *sa.extra_flags):
        yield (flag.name or str(int(flag))).lower().replace("_", "-")
    if sa.selector is not None and sa.selector != any_selector(sa.source.version):
        yield from ("selector", *selector_words(sa.selector))
    if sa.offload is not None:
        yield f"offload to interface {sa.offload.interface_index}"
    for name, value in (
        ("tfc-padding", sa.tfc_padding),
        ("nat-keepalive", sa.nat_keepalive_s),
        ("mapping-threshold", sa.mapping_threshold_s),
    ):
        if value:
            yield f"{name} {value}"
    if sa.cpu is not None:
        yield f"cpu {sa.cpu}"
    if sa.care_of is not None:
        yield f"care-of {sa.care_of}"
    if sa.security_context is not None:
        yield f"context {sa.security_context.context!r}"
    for attribute in sa.other:
        yield f"attribute {attribute.number} ({len(attribute.data)} bytes)"


def _limit_words(lifetime: Lifetime, usage: Usage | None, now: float) -> Iterator[str]:
    for name, limit in (("soft", lifetime.soft), ("hard", lifetime.hard)):
        if limit == Limit():
            continue
        if limit.seconds is not None:
            yield f"{name} {_remaining(limit.seconds, usage.added if usage else 0, now)}"
        if limit.octets is not None:
            yield f"{name} at {size(limit.octets)}"
        if limit.packets is not None:
            yield f"{name} at {count(limit.packets, 'packet')}"
        if limit.idle_seconds is not None:
            yield f"{name} idle {duration(limit.idle_seconds)}"


def _remaining(seconds: int, added: int, now: float) -> str:
    if not added:
        return f"after {duration(seconds)}"
    left = added + seconds - int(now)
    return f"in {duration(left)}" if left > 0 else "reached"


def _usage_words(sa: SA, now: float) -> Iterator[str]:
    if sa.usage is not None:
        yield f"{size(sa.usage.octets)} in {count(sa.usage.packets, 'packet')}"
        if sa.usage.added:
            yield f"added {ago(sa.usage.added, now)}"
        if sa.usage.last_used:
            yield f"used {ago(sa.usage.last_used, now)}"
    if sa.replay is not None:
        yield f"sequence out {sa.replay.outbound} in {sa.replay.inbound}"
    if sa.failures is not None and any((sa.failures.too_old, sa.failures.replayed, sa.failures.integrity)):
        failed = sa.failures
        yield f"failures: {failed.too_old} too old, {failed.replayed} replayed, {failed.integrity} integrity"


def policy_lines(policies: Sequence[Policy], now: float) -> Iterator[str]:
    """Yield a list of policies, aligned; `now` is in epoch seconds."""
    heads = [_policy_head(policy) for policy in policies]
    for policy, head in zip(policies, table(heads) if heads else (), strict=True):
        yield from head.split("\n")
        yield from fold(_policy_words(policy, now), _INDENT)
        for template in policy.templates:
            yield from fold(template_words(template), _INDENT, _INDENT * 2)


def _policy_head(policy: Policy) -> tuple[str, ...]:
    return (
        str(policy.direction),
        f"{policy.selector.source} ->",
        str(policy.selector.destination),
        str(policy.action),
        f"priority {policy.priority}",
    )


def _policy_words(policy: Policy, now: float) -> Iterator[str]:
    selector = policy.selector
    yield from _upper_words(selector)
    if policy.type is not PolicyType.MAIN:
        yield f"type {policy.type}"
    if policy.mark is not None:
        yield f"mark {policy.mark}"
    if policy.if_id:
        yield f"if_id {policy.if_id}"
    if policy.index:
        yield f"index {policy.index}"
    for flag in policy.flags:
        yield (flag.name or str(int(flag))).lower().replace("_", "-")
    if policy.offload is not None:
        yield f"offload to interface {policy.offload.interface_index}"
    if policy.security_context is not None:
        yield f"context {policy.security_context.context!r}"
    yield from _limit_words(policy.lifetime, policy.usage, now)
    if policy.usage is not None:
        if policy.usage.added:
            yield f"added {ago(policy.usage.added, now)}"
        if policy.usage.first_used:
            yield f"used {ago(policy.usage.first_used, now)}"
    for attribute in policy.other:
        yield f"attribute {attribute.number} ({len(attribute.data)} bytes)"


def selector_words(selector: Selector) -> Iterator[str]:
    """Yield the parts of a selector."""
    yield f"{selector.source} ->"
    yield str(selector.destination)
    yield from _upper_words(selector)


def _upper_words(selector: Selector) -> Iterator[str]:
    if selector.protocol:
        yield _PROTOCOL_NAMES.get(selector.protocol, f"protocol {selector.protocol}")
    for name, port in (("sport", selector.source_port), ("dport", selector.destination_port)):
        if port is not None:
            yield f"{name} {port_text(port)}"
    if selector.interface_index:
        yield f"interface {selector.interface_index}"
    if selector.user:
        yield f"user {selector.user}"


def port_text(port: Port) -> str:
    """Return a port, with its mask where that is not all ones."""
    return str(port.value) if port.mask == 0xFFFF else f"{port.value}/{port.mask:#x}"


def template_words(template: Template) -> Iterator[str]:
    """Yield the parts of a template."""
    yield f"{template.protocol} {template.mode}"
    if template.mode in ADDRESSED_MODES:
        yield f"{end_text(template.source)} ->"
        yield end_text(template.destination)
    if template.reqid:
        yield f"reqid {template.reqid}"
    if template.spi:
        yield f"spi {template.spi:#010x}"
    if template.optional:
        yield "optional"


def end_text(address: IPAddress | None) -> str:
    """Return the end of a template, where none is any."""
    return "any" if address is None or address.is_unspecified else str(address)
