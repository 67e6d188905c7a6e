"""Tunnels recognised in any SAD and SPD, whoever wrote them. Nothing is asked here."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pfkeyx.errors import InvalidRequestError
from pfkeyx.migration.templates import Index
from pfkeyx.migration.update import KEEP, AddressUpdate, Keep
from pfkeyx.model import (
    ADDRESSED_MODES,
    SA,
    Action,
    AddressPair,
    Direction,
    IPAddress,
    Mark,
    Policy,
    SAId,
    SAState,
    Template,
    UdpEncap,
)
from pfkeyx.model.addresses import unspecified

_ORDER = (Direction.OUT, Direction.IN, Direction.FORWARD)


class TunnelState(Enum):
    """How whole a tunnel is."""

    UP = "up"
    REKEYING = "rekeying"
    #: Policies without any SA: the first packet has a key manager asked for them.
    WAITING = "waiting"
    #: Something of one direction is missing.
    HALF = "half"
    #: Its outbound policy blocks and has its templates: a move was interrupted.
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class FoundTunnel:
    """What belongs together: policies that name the same two ends and reqid, and the SAs that they find.

    `local` and `remote` are as its outbound policies name them; unspecified is any. `outbound` and `inbound` are SAs,
    the one that packets are sent with first. `mark` and `if_id` are those of its policies.
    """

    local: IPAddress
    remote: IPAddress
    reqid: int
    outbound: tuple[SA, ...]
    inbound: tuple[SA, ...]
    policies: tuple[Policy, ...]
    mark: Mark | None = None
    if_id: int = 0

    @property
    def sas(self) -> tuple[SA, ...]:
        """All its SAs, outbound ones first."""
        return self.outbound + self.inbound

    @property
    def state(self) -> TunnelState:
        """How whole it is."""
        if any(p.direction is Direction.OUT and p.action is Action.BLOCK for p in self.policies):
            return TunnelState.BLOCKED
        if not self.sas:
            return TunnelState.WAITING
        if self.missing:
            return TunnelState.HALF
        return TunnelState.REKEYING if self._has_several() else TunnelState.UP

    @property
    def missing(self) -> tuple[str, ...]:
        """What it lacks to carry packets both ways, in words.

        A `fwd` policy is not among it, which a host needs for itself only.
        """
        directions = {policy.direction for policy in self.policies}
        parts = {
            "outbound SA": any(_is_usable(sa) for sa in self.outbound),
            "inbound SA": any(_is_usable(sa) for sa in self.inbound),
            "out policy": Direction.OUT in directions,
            "in policy": Direction.IN in directions,
        }
        return tuple(part for part, is_there in parts.items() if not is_there)

    @property
    def forwards(self) -> bool:
        """Whether what arrives through it may go on to other hosts."""
        return any(policy.direction is Direction.FORWARD for policy in self.policies)

    def _has_several(self) -> bool:
        # The SAs of a bundle are of one protocol each.
        for sas in (self.outbound, self.inbound):
            kinds = [(sa.id.protocol, sa.mode) for sa in sas]
            if len(set(kinds)) < len(kinds):
                return True
        return False

    def __str__(self) -> str:
        return f"{self.local} - {self.remote} reqid {self.reqid}"


@dataclass(frozen=True, slots=True)
class FoundTunnels:
    """Every tunnel of a SAD and SPD, and what belongs to none: SAs that no policy uses, policies without a tunnel."""

    tunnels: tuple[FoundTunnel, ...]
    other_sas: tuple[SA, ...]
    other_policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class _Ends:
    """What policies of one tunnel agree on."""

    local: IPAddress
    remote: IPAddress
    reqid: int


@dataclass(frozen=True, slots=True)
class _Way:
    """By what tunnels between the same ends are told from each other."""

    mark: Mark | None
    if_id: int


def find_tunnels(sas: Iterable[SA], policies: Iterable[Policy]) -> FoundTunnels:
    """Return the tunnels of a SAD and SPD, in the order of the policies.

    A tunnel is what policies say it is: the SAs are those that their templates find, by the kernel's own rules.
    Policies of the two directions may differ in mark and if_id where nothing else is between the same ends.
    """
    sas = tuple(sas)
    index = Index(sas)
    by_ends: dict[_Ends, dict[_Way, list[Policy]]] = defaultdict(lambda: defaultdict(list))
    other_policies = []
    for policy in policies:
        ends = _ends(policy)
        if ends is None:
            other_policies.append(policy)
        else:
            by_ends[ends][_Way(policy.mark, policy.if_id)].append(policy)
    found = [_tunnel(ends, group, index) for ends, ways in by_ends.items() for group in _joined(list(ways.values()))]
    used = {sa.id for tunnel in found for sa in tunnel.sas}
    return FoundTunnels(tuple(found), tuple(sa for sa in sas if sa.id not in used), tuple(other_policies))


def _ends(policy: Policy) -> _Ends | None:
    """Return the ends of the tunnel that a policy sends packets through, or takes them from; None for no tunnel."""
    outer = _outer_template(policy)
    if outer is None or policy.direction not in (*Direction,):
        return None
    version = policy.selector.source.version
    source, destination = outer.source or unspecified(version), outer.destination or unspecified(version)
    is_outbound = policy.direction is Direction.OUT
    return _Ends(*((source, destination) if is_outbound else (destination, source)), outer.reqid)


def _outer_template(policy: Policy) -> Template | None:
    addressed = [template for template in policy.templates if template.mode in ADDRESSED_MODES]
    return addressed[-1] if addressed else None


def _joined(groups: list[list[Policy]]) -> Iterator[list[Policy]]:
    """Yield groups of policies; two that are of one direction each are the two halves of one tunnel."""
    directions = [{policy.direction is Direction.OUT for policy in group} for group in groups]
    if len(groups) == 2 and len(directions[0]) == len(directions[1]) == 1 and directions[0] != directions[1]:
        yield groups[0] + groups[1]
    else:
        yield from groups


def _tunnel(ends: _Ends, policies: list[Policy], index: Index) -> FoundTunnel:
    policies = sorted(policies, key=lambda policy: _ORDER.index(policy.direction))
    return FoundTunnel(
        ends.local,
        ends.remote,
        ends.reqid,
        outbound=_used((p for p in policies if p.direction is Direction.OUT), index),
        inbound=_used((p for p in policies if p.direction is not Direction.OUT), index),
        policies=tuple(policies),
        mark=policies[0].mark,
        if_id=policies[0].if_id,
    )


def _used(policies: Iterable[Policy], index: Index) -> tuple[SA, ...]:
    sas = {sa.id: sa for policy in policies for sa in index.used_by(policy) if _fits(sa, policy)}
    # The kernel sends with the newest.
    return tuple(sorted(sas.values(), key=lambda sa: -(sa.usage.added if sa.usage else 0)))


def _fits(sa: SA, policy: Policy) -> bool:
    """Return whether a policy may use an SA by what is compared beside a template: if_id, and outbound marks."""
    if sa.if_id != policy.if_id:
        return False
    if sa.id.mark is None or (policy.direction is not Direction.OUT and policy.mark is None):
        return True
    value = policy.mark.value & policy.mark.mask if policy.mark else 0
    return value & sa.id.mark.mask == sa.id.mark.value


def _is_usable(sa: SA) -> bool:
    if sa.state is not None:
        return sa.state in (SAState.MATURE, SAState.DYING)
    return any(part is not None for part in (sa.encryption, sa.authentication, sa.compression))


def update_for(
    found: FoundTunnels,
    chosen: Sequence[FoundTunnel],
    local: IPAddress | None,
    remote: IPAddress | None,
    encap: UdpEncap | Keep | None = KEEP,
) -> AddressUpdate | None:
    """Return the update that moves one tunnel to a new `local` or `remote` address, None for an end that stays.

    Two of those chosen are one where a move was interrupted between them: it is finished. Others between the same ends
    stay. Returns None where the tunnel is there already, and nothing is said of its encapsulation. Raises
    `InvalidRequestError` where none or several are chosen.
    """
    moves = {
        AddressPair(tunnel.local, tunnel.remote): AddressPair(local or tunnel.local, remote or tunnel.remote)
        for tunnel in chosen
    }
    names = {(tunnel.reqid, tunnel.mark, tunnel.if_id) for tunnel in chosen}
    leaving = [old for old, new in moves.items() if new != old] if len(moves) > 1 else [*moves]
    if len(names) != 1 or len(leaving) != 1 or any(new != moves[leaving[0]] for new in moves.values()):
        which = f"several match: {'; '.join(map(str, chosen))}" if chosen else "none matches"
        raise InvalidRequestError(f"move tunnel: {which}; see pfkeyx tunnel list")
    old = leaving[0]
    if old == moves[old] and encap is KEEP:
        return None
    return AddressUpdate(old, moves[old], encap, _named(found, chosen, (old, moves[old])))


def _named(
    found: FoundTunnels, chosen: Sequence[FoundTunnel], places: tuple[AddressPair, ...]
) -> tuple[SAId, ...] | None:
    """Return the SAs to name, None where there are no others at these places."""
    reqids = {tunnel.reqid for tunnel in chosen}
    at_places = [{place.local, place.remote} for place in places]
    others = [t for t in found.tunnels if t not in chosen and {t.local, t.remote} in at_places]
    strays = [sa for sa in found.other_sas if {sa.source, sa.destination} in at_places]
    if not others and all(sa.reqid in reqids for sa in strays):
        return None
    mine = {sa.id for tunnel in chosen for sa in tunnel.sas}
    # An interrupted move has left them at the new addresses, where no policy finds them yet.
    mine |= {sa.id for sa in strays if sa.reqid in reqids and sa.reqid}
    return tuple(mine)
