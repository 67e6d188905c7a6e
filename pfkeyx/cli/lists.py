"""SAs and policies as lists for people. Nothing is read here."""

from collections.abc import Iterator, Sequence

from pfkeyx.cli.text import INDENT, ago, count, duration, end_text, fold, size, table, traffic_text
from pfkeyx.model import (
    ADDRESSED_MODES,
    SA,
    Authentication,
    Encryption,
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

_PROTOCOL_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmpv6", 132: "sctp"}


def sa_lines(sas: Sequence[SA], now: float, *, show_keys: bool = False) -> Iterator[str]:
    """Yield a list of SAs, aligned; `now` is in epoch seconds."""
    heads = [_sa_head(sa) for sa in sas]
    for sa, head in zip(sas, table(heads) if heads else (), strict=True):
        yield from head.split("\n")
        yield from _sa_details(sa, now, show_keys)


def _sa_head(sa: SA) -> tuple[str, ...]:
    return (
        f"{sa.id.protocol} {sa.id.spi:#010x}",
        str(sa.source),
        f"-> {sa.id.destination}",
        str(sa.mode),
        f"reqid {sa.reqid}",
    )


def _sa_details(sa: SA, now: float, show_keys: bool) -> Iterator[str]:
    for part in (sa.encryption, sa.authentication):
        if part is not None:
            yield from _keyed_lines(part, show_keys)
    yield from fold(_sa_words(sa), INDENT)
    yield from fold(_limit_words(sa.lifetime, sa.usage, now), INDENT)
    yield from fold(_usage_words(sa, now), INDENT)


def _keyed_lines(part: Encryption | Authentication, show_keys: bool) -> list[str]:
    icv = f" icv {part.icv_bits}" if part.icv_bits else ""
    bits = part.key.bits - part.algorithm.salt_bits
    return fold((f"{part.algorithm} {bits} bits{icv}", key_text(part.key, show_keys)), INDENT)


def key_text(key: Key, show_keys: bool) -> str:
    """Return a key in hex, or that it is hidden: by us, or by the kernel."""
    if not show_keys:
        return "key (hidden)"
    return f"0x{key.reveal().hex()}" if not key.is_hidden else "key (hidden by the kernel)"


def _sa_words(sa: SA) -> Iterator[str]:
    no_algorithm = (sa.encryption, sa.authentication, sa.compression) == (None, None, None)
    if sa.compression is not None:
        yield str(sa.compression)
    if sa.state is not None and sa.state is not SAState.MATURE:
        yield str(sa.state)
    elif sa.state is None and no_algorithm:
        yield "larval"
    elif no_algorithm:
        yield "algorithms that PF_KEY does not show"
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
    if sa.iptfs is not None:
        told = ((name, getattr(sa.iptfs, name)) for name in sa.iptfs.__dataclass_fields__)
        yield from (f"iptfs {name} {value}" for name, value in told if value not in (None, False))
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
        yield traffic_text(sa.usage)
        if sa.usage.added:
            yield f"added {ago(sa.usage.added, now)}"
        if sa.usage.last_used:
            yield f"used {ago(sa.usage.last_used, now)}"
    if sa.replay is not None and sa.replay.outbound:
        yield f"sequence out {sa.replay.outbound}"
    if sa.replay is not None and sa.replay.inbound:
        yield f"sequence in {sa.replay.inbound}"
    if sa.failures is not None and any((sa.failures.too_old, sa.failures.replayed, sa.failures.integrity)):
        failed = sa.failures
        yield f"failures: {failed.too_old} too old, {failed.replayed} replayed, {failed.integrity} integrity"


def policy_lines(policies: Sequence[Policy], now: float) -> Iterator[str]:
    """Yield a list of policies, aligned; `now` is in epoch seconds."""
    heads = [_policy_head(policy) for policy in policies]
    for policy, head in zip(policies, table(heads) if heads else (), strict=True):
        yield from head.split("\n")
        yield from fold(_policy_words(policy, now), INDENT)
        for template in policy.templates:
            yield from fold(template_words(template), INDENT, INDENT * 2)


def _policy_head(policy: Policy) -> tuple[str, ...]:
    return (
        str(policy.direction),
        str(policy.selector.source),
        f"-> {policy.selector.destination}",
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
    yield str(selector.source)
    yield f"-> {selector.destination}"
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
        yield end_text(template.source)
        yield f"-> {end_text(template.destination)}"
    if template.reqid:
        yield f"reqid {template.reqid}"
    if template.spi:
        yield f"spi {template.spi:#010x}"
    if template.optional:
        yield "optional"
