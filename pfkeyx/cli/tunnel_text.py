"""Tunnels as text for people, and as plain values for programs."""

from collections.abc import Iterator, Sequence
from typing import Any

from pfkeyx.cli.lists import key_text
from pfkeyx.cli.text import INDENT, count, end_text, fold, traffic_text
from pfkeyx.model import SA, Direction
from pfkeyx.tunnels import FoundTunnel, FoundTunnels, TunnelState


def tunnel_lines(tunnels: Sequence[FoundTunnel], *, show_keys: bool = False) -> Iterator[str]:
    """Yield a list of tunnels."""
    for tunnel in tunnels:
        yield from fold(_head(tunnel))
        for policy in tunnel.policies:
            if policy.direction is Direction.OUT:
                yield from fold((str(policy.selector.source), f"-> {policy.selector.destination}"), INDENT)
        for name, sas in (("out", tunnel.outbound), ("in ", tunnel.inbound)):
            for number, sa in enumerate(sas):
                yield from fold(_sa_words(name, sa, is_older=number > 0, show_keys=show_keys), INDENT, INDENT * 2)
        if notes := _notes(tunnel):
            yield from fold(notes, INDENT)


def _head(tunnel: FoundTunnel) -> Iterator[str]:
    yield end_text(tunnel.local)
    yield f"- {end_text(tunnel.remote)}"
    yield f"reqid {tunnel.reqid}"
    if tunnel.mark is not None:
        yield f"mark {tunnel.mark}"
    if tunnel.if_id:
        yield f"if_id {tunnel.if_id}"
    yield tunnel.state.value


def _sa_words(name: str, sa: SA, *, is_older: bool, show_keys: bool) -> Iterator[str]:
    yield f"{name} {sa.id.protocol} {sa.id.spi:#010x}"
    for part in (sa.encryption, sa.authentication):
        if part is not None:
            yield str(part.algorithm)
    if sa.compression is not None:
        yield str(sa.compression)
    if sa.encap is not None:
        yield str(sa.encap)
    if sa.usage is not None:
        yield traffic_text(sa.usage)
    if is_older:
        yield "older"
    if show_keys:
        yield from (key_text(part.key, True) for part in (sa.encryption, sa.authentication) if part is not None)


def _notes(tunnel: FoundTunnel) -> list[str]:
    notes = []
    if tunnel.state is TunnelState.BLOCKED:
        notes.append("blocked by a move that was interrupted: move it again to finish")
    if tunnel.state is TunnelState.WAITING:
        notes.append("no SA yet: a packet has a key manager asked for them")
    elif tunnel.missing:
        notes.append(f"no {' and no '.join(tunnel.missing)}")
    if not tunnel.forwards:
        notes.append("no fwd policy: what arrives stays on this host")
    return notes


def summary(chosen: Sequence[FoundTunnel], found: FoundTunnels) -> str:
    """Return the last line of a list: what it shows, what it left out, and what belongs to no tunnel."""
    parts = [count(len(chosen), "tunnel")]
    if missing := len(found.tunnels) - len(chosen):
        parts.append(f"{missing} left out by the filters")
    if found.other_sas:
        parts.append(f"{count(len(found.other_sas), 'SA')} of no tunnel")
    if found.other_policies:
        parts.append(f"{count(len(found.other_policies), 'policy', 'policies')} of no tunnel")
    return "; ".join(parts)


def tunnel_to_plain(tunnel: FoundTunnel, *, show_keys: bool = False) -> dict[str, Any]:
    """Return a tunnel as a plain dict, with its SAs and policies in the encoding of documents."""
    from pfkeyx.document.plain import policy_to_plain, sa_to_plain

    return {
        "local": str(tunnel.local),
        "remote": str(tunnel.remote),
        "reqid": tunnel.reqid,
        **({"mark": str(tunnel.mark)} if tunnel.mark else {}),
        **({"if_id": tunnel.if_id} if tunnel.if_id else {}),
        "state": tunnel.state.value,
        "missing": list(tunnel.missing),
        "outbound": [sa_to_plain(sa, show_keys) for sa in tunnel.outbound],
        "inbound": [sa_to_plain(sa, show_keys) for sa in tunnel.inbound],
        "policies": [policy_to_plain(policy) for policy in tunnel.policies],
    }
