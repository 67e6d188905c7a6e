"""SAs and policies of a tunnel, and what they may be changed to; nothing here asks a kernel."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

from pfkeyx import (
    DEFLATE,
    SA,
    Algorithm,
    Direction,
    Encryption,
    Engine,
    Lifetime,
    Limit,
    Mark,
    Mode,
    Policy,
    Progress,
    Protocol,
    Replay,
    SAId,
    Selector,
    Template,
    Usage,
)
from pfkeyx.model import IPAddress
from tests.kernel.topology import INWARD_SPI, OUTWARD_SPI
from tests.kernel.values import authentication, encryption, key, roaming_tunnel

_UDP = 17
_MARK = Mark(5, 0xFF)
#: Seconds are from when the SA was made, which is years ago.
_LIMITS = Lifetime(
    Limit(octets=10**9, packets=10**6, seconds=10**9, idle_seconds=10**9 + 1),
    Limit(octets=10**10, packets=10**7, seconds=10**9 + 2, idle_seconds=10**9 + 3),
)
_USAGE = Usage(octets=1000, packets=10, added=1_700_000_000, first_used=1_700_000_001)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a host holds of a tunnel: SAs with their counters, outbound ones first, and policies."""

    sas: tuple[SA, ...]
    policies: tuple[Policy, ...]

    def write(self, engine: Engine, xfrm: Engine) -> None:
        """Write it all into a kernel, over XFRM how far the SAs are: only XFRM can say that."""
        engine.add_sas(sa.as_written() for sa in self.sas)
        for sa in self.sas:
            xfrm.set_progress(sa, Progress(sa.replay, sa.usage))
        engine.add_policies(self.policies)

    def from_there(self) -> "Holding":
        """Return what the other end holds: the same SAs, and each policy the other way round."""
        used = (policy for policy in self.policies if policy.direction is not Direction.FORWARD)
        return Holding(self.sas, tuple(_turned(policy) for policy in used))


def _turned(policy: Policy) -> Policy:
    inbound = policy.direction is Direction.OUT
    # What is too short to be compressed arrives without IPComp (RFC 3173 §2.2).
    templates = tuple(replace(t, optional=inbound) if t.protocol is Protocol.IPCOMP else t for t in policy.templates)
    return replace(policy, direction=Direction.IN if inbound else Direction.OUT, templates=templates)


Change = Callable[[Holding], Holding]


def plain(family: int) -> Holding:
    """Return a tunnel that every method can move, and that was used."""
    tunnel, suite = roaming_tunnel(family), (encryption(), authentication())
    outbound, inbound = tunnel.outbound(OUTWARD_SPI, *suite), tunnel.inbound(INWARD_SPI, *suite)
    return Holding(
        (
            replace(outbound, lifetime=_LIMITS, replay=Replay(41, 0, (0,)), usage=_USAGE),
            replace(inbound, lifetime=_LIMITS, replay=Replay(0, 39, (0xF0F0,)), usage=_USAGE),
        ),
        tuple(replace(policy, priority=1000) for policy in tunnel.policies()),
    )


def ways(outbound: dict[str, Any], inbound: dict[str, Any]) -> Change:
    """Return a change of the fields of each of two SAs."""

    def change(holding: Holding) -> Holding:
        out, inward = holding.sas
        return replace(holding, sas=(replace(out, **outbound), replace(inward, **inbound)))

    return change


def sas(**fields: Any) -> Change:
    """Return a change of the fields of both SAs."""
    return ways(fields, fields)


def policies(**fields: Any) -> Change:
    """Return a change of the fields of all policies."""
    return lambda holding: replace(holding, policies=tuple(replace(p, **fields) for p in holding.policies))


def templates(**fields: Any) -> Change:
    """Return a change of the fields of all templates."""

    def changed(policy: Policy) -> Policy:
        return replace(policy, templates=tuple(replace(t, **fields) for t in policy.templates))

    return lambda holding: replace(holding, policies=tuple(changed(policy) for policy in holding.policies))


def optional_inbound(holding: Holding) -> Holding:
    """Return the same, letting in what comes in clear; outward, newer kernels refuse that of a tunnel."""

    def changed(policy: Policy) -> Policy:
        optional = policy.direction is not Direction.OUT
        return replace(policy, templates=tuple(replace(t, optional=optional) for t in policy.templates))

    return replace(holding, policies=tuple(map(changed, holding.policies)))


def suite(algorithm: Algorithm, size: int, icv_bits: int = 0, *, authenticated: bool = False) -> Change:
    """Return a change of both SAs to encryption with a key of `size` bytes."""
    cipher = Encryption(algorithm, key(size), icv_bits)
    return sas(encryption=cipher, authentication=authentication() if authenticated else None)


def marked(holding: Holding) -> Holding:
    """Return the same with a mark, of SAs and policies."""
    sas = tuple(replace(sa, id=replace(sa.id, mark=_MARK)) for sa in holding.sas)
    return policies(mark=_MARK)(replace(holding, sas=sas))


def with_third_address(fields: Callable[[IPAddress], dict[str, Any]]) -> Change:
    """Return a change of the SAs to fields that hold an address of neither end."""
    thirds = {4: ip_address("198.51.100.7"), 6: ip_address("2001:db8:7::7")}
    return lambda holding: sas(**fields(thirds[holding.sas[0].source.version]))(holding)


def selective(holding: Holding) -> Holding:
    """Return the same with SAs that take no other packets than their policies do."""
    out, inward, _ = (policy.selector for policy in holding.policies)
    return ways({"selector": out}, {"selector": inward})(holding)


def between_hosts(holding: Holding) -> Holding:
    """Return the same in transport mode, for the packets of the two ends alone."""
    selectors = [Selector(ip_network(sa.source), ip_network(sa.destination)) for sa in holding.sas]
    template = Template(mode=Mode.TRANSPORT, reqid=holding.sas[0].reqid)
    return Holding(
        tuple(replace(sa, mode=Mode.TRANSPORT, selector=s) for sa, s in zip(holding.sas, selectors, strict=True)),
        tuple(
            # Neighbours find each other in clear.
            replace(policy, selector=replace(s, protocol=_UDP), templates=(template,))
            for policy, s in zip(holding.policies[:2], selectors, strict=True)
        ),
    )


def with_ah_alone(holding: Holding) -> Holding:
    """Return the same by AH."""
    sas = tuple(replace(sa, id=replace(sa.id, protocol=Protocol.AH), encryption=None) for sa in holding.sas)
    return templates(protocol=Protocol.AH)(replace(holding, sas=sas))


def in_ah(holding: Holding) -> Holding:
    """Return the same, with AH around ESP."""
    outer = tuple(
        replace(sa, id=replace(sa.id, protocol=Protocol.AH), mode=Mode.TRANSPORT, reqid=8, encryption=None)
        for sa in holding.sas
    )
    template = Template(Protocol.AH, Mode.TRANSPORT, reqid=8)
    policies = tuple(replace(p, templates=(*p.templates, template)) for p in holding.policies)
    return Holding((*holding.sas, *outer), policies)


def compressed(holding: Holding) -> Holding:
    """Return the same, with IPComp in tunnel mode within ESP in transport mode."""
    inner = tuple(
        replace(
            sa,
            id=SAId(sa.destination, sa.id.spi, Protocol.IPCOMP),
            encryption=None,
            authentication=None,
            compression=DEFLATE,
            # IPComp has no sequence numbers: with a window, every packet would be one that came already.
            replay_window=0,
            replay=Replay(0, 0, (0,)),
        )
        for sa in holding.sas
    )
    outer = tuple(replace(sa, mode=Mode.TRANSPORT, reqid=8) for sa in holding.sas)
    template = Template(mode=Mode.TRANSPORT, reqid=8)
    policies = tuple(
        replace(
            p,
            templates=(
                replace(p.templates[0], protocol=Protocol.IPCOMP, optional=p.direction is not Direction.OUT),
                template,
            ),
        )
        for p in holding.policies
    )
    return Holding((*inner, *outer), policies)


def rekeyed(holding: Holding) -> Holding:
    """Return the same with a second SA each way, as there is while an SA is rekeyed."""
    newer = tuple(
        replace(sa, id=replace(sa.id, spi=sa.id.spi + 1), encryption=encryption(size=32)) for sa in holding.sas
    )
    return replace(holding, sas=(*holding.sas, *newer))


def of_several_selectors(holding: Holding) -> Holding:
    """Return the same with three policies each way, of one SA."""
    policies = tuple(
        replace(policy, selector=replace(policy.selector, protocol=protocol), priority=policy.priority + protocol)
        for policy in holding.policies
        for protocol in (6, 17, 50)
    )
    return replace(holding, policies=policies)
