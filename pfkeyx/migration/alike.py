"""Tunnels that are alike: one of a kind is planned, and of the others only what differs.

A gateway's tunnels have the same algorithms, limits and flags, and each its own remote end, SPIs, reqid, keys and
selectors. What is planned for one direction of one is planned for those that are told in the same bytes but for these,
and whatever is not plainly so is left to be planned by itself. How that is done is not known here.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple, Protocol, TypeVar

from pfkeyx.migration.methods import has_room
from pfkeyx.migration.plan import Method, PolicyMove, SAMove, Step
from pfkeyx.migration.templates import Index
from pfkeyx.migration.update import KEEP, AddressUpdate
from pfkeyx.model import SA, Policy
from pfkeyx.model.deferred import Handle, of_origin, set_handle

T = TypeVar("T", SA, Policy)

#: So many kinds are known at once: a gateway has one in each direction, and a few more with and without a NAT.
_KINDS = 8
#: Where a link has its ends, and the reqid and version of IP before them.
_SOURCE, _DESTINATION = slice(7, 23), slice(23, 39)
_REQID, _VERSION = slice(2, 6), 6

#: What steps are put in order by: remote and local end, reqid, whether inbound, whether without an SA, and a handle.
Order = tuple[int, int, int, bool, bool, Handle]
#: Bytes, and where they go.
Changes = Sequence[tuple[int, bytes]]


class Told(Protocol):
    """What an SA or a policy was read of; see `Deferred.told`."""

    @property
    def message(self) -> bytes:
        """All of it."""

    @property
    def link(self) -> bytes | None:
        """What templates find an SA by, and the only template of a policy finds one by; None where there is no such.

        Protocol, mode, reqid, version of IP, source and destination.
        """

    def is_alike(self, other: Any) -> bool:
        """Return whether another one has the same but for ends, identity, reqid, keys and counts."""

    def rewritten(self, changes: Iterable[tuple[int, bytes]]) -> Any:
        """Return the same with other bytes at some offsets."""


class _User(NamedTuple):
    policy: Policy
    told: Told


@dataclass(frozen=True, slots=True, eq=False)
class _Tunnel:
    """One direction of a tunnel: an SA that nothing finds but these policies, which find nothing else."""

    sa: SA
    told: Told
    link: bytes
    outbound: bool
    users: Sequence[_User]

    @property
    def local(self) -> bytes:
        return self.link[_SOURCE if self.outbound else _DESTINATION]

    @property
    def remote(self) -> bytes:
        return self.link[_DESTINATION if self.outbound else _SOURCE]

    @property
    def order(self) -> Order:
        size = 4 if self.link[_VERSION] == 4 else 16
        remote, local = (int.from_bytes(end[:size], "big") for end in (self.remote, self.local))
        return remote, local, int.from_bytes(self.link[_REQID], "big"), not self.outbound, False, self.sa.handle

    def is_alike(self, other: "_Tunnel") -> bool:
        return (
            self.outbound == other.outbound
            and self.local == other.local
            and len(self.users) == len(other.users)
            and self.told.is_alike(other.told)
            and all(mine.told.is_alike(others.told) for mine, others in zip(self.users, other.users, strict=True))
        )


@dataclass(frozen=True, slots=True)
class _Kind:
    first: _Tunnel
    others: list[_Tunnel] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Likeness:
    """Tunnels by their kinds, and the SAs and policies that have to be planned: of one of each kind, and all others."""

    kinds: Sequence[_Kind]
    sas: Sequence[SA]
    policies: Sequence[Policy]
    #: What of the SAs has to be known of to plan these: all, where one of the policies may have to do with any.
    known: Sequence[SA]

    def steps(self, planned: Sequence[Step], sas: Sequence[SA]) -> list[tuple[Order, Step]] | None:
        """Return the steps of those that are not planned, given those of the others, and all SAs.

        None where each has to be planned by itself after all.
        """
        by_sa = {step.sas[0].before.handle: step for step in planned if len(step.sas) == 1}
        steps: list[tuple[Order, Step]] = []
        for kind in self.kinds:
            step = by_sa.get(kind.first.sa.handle)
            if step is None or not _is_plain(step, kind):
                return None
            steps += _repeat(step, kind)
        moves = [move for step in (*planned, *(step for _, step in steps)) for move in step.sas]
        places = {move.after.handle for move in moves}
        moving = {move.before.handle for move in moves}
        is_free = len(places) == len(moves) and places.isdisjoint(sa.handle for sa in sas if sa.handle not in moving)
        renamed = {move.after.handle for step in planned for move in step.policies if move.renamed}
        is_free = is_free and not any(
            user.policy.handle in renamed for kind in self.kinds for tunnel in kind.others for user in tunnel.users
        )
        return steps if is_free else None


def find_alike(update: AddressUpdate, sas: Sequence[SA], policies: Sequence[Policy]) -> Likeness | None:
    """Return the tunnels of a gateway that are alike, None where there are none."""
    if update.sas is not None or not update.policies or update.encap is not KEEP:
        return None
    if not isinstance(update.new, (IPv4Address, IPv6Address)):
        return None
    by_link: dict[bytes, list[SA]] = defaultdict(list)
    users: dict[bytes, list[_User]] = defaultdict(list)
    rest_sas: list[SA] = []
    rest_policies: list[Policy] = []
    for sa in sas:
        told: Told | None = sa.told
        link = told.link if told is not None else None
        (rest_sas if link is None else by_link[link]).append(sa)
    for policy in policies:
        told = policy.told
        link = told.link if told is not None else None
        if told is None or link is None:
            rest_policies.append(policy)
        else:
            users[link].append(_User(policy, told))
    is_plain = not any(policy.templates for policy in rest_policies)
    used: Set[Handle] = frozenset() if is_plain else _used(sas, rest_policies)
    kinds: list[_Kind] = []
    for link, found in by_link.items():
        is_free = used.isdisjoint(sa.handle for sa in found)
        tunnel = _tunnel(update, link, found, users.get(link, ())) if is_free else None
        if tunnel is not None and _joins(kinds, tunnel):
            del users[link]
        else:
            rest_sas += found
    rest_policies += (user.policy for its in users.values() for user in its)
    kinds = [kind for kind in kinds if kind.others]
    return Likeness(kinds, rest_sas, rest_policies, rest_sas if is_plain else sas) if kinds else None


def _joins(kinds: list[_Kind], tunnel: _Tunnel) -> bool:
    """Put a tunnel to its kind; return whether that has a first one already."""
    for kind in kinds:
        if kind.first.is_alike(tunnel):
            kind.others.append(tunnel)
            return True
    if len(kinds) < _KINDS:
        kinds.append(_Kind(tunnel))
    return False


def _used(sas: Sequence[SA], policies: Iterable[Policy]) -> Set[Handle]:
    """Return which SAs are found by policies whose templates are not plain."""
    index = Index(sas)
    return {sa.handle for policy in policies for sa in index.used_by(policy)}


def _tunnel(update: AddressUpdate, link: bytes, sas: Sequence[SA], users: Sequence[_User]) -> _Tunnel | None:
    """Return the SA and the policies of a link as one direction of a tunnel that moves, None where they are none."""
    old = {_padded(place) for place in update.old_places if isinstance(place, (IPv4Address, IPv6Address))}
    source, destination = link[_SOURCE], link[_DESTINATION]
    outbound = source in old
    remote = destination if outbound else source
    if len(sas) != 1 or not users or outbound == (destination in old) or remote == _padded(update.new):
        return None
    (sa,) = sas
    return _Tunnel(sa, sa.told, link, outbound, sorted(users, key=lambda user: user.policy.handle))


def _padded(address: Any) -> bytes:
    packed: bytes = address.packed
    return packed.ljust(16, b"\0")


def _is_plain(step: Step, kind: _Kind) -> bool:
    """Return whether what is planned for the first of a kind can be said of the others by bytes."""
    (move,), first = step.sas, kind.first
    return (
        step.outbound == first.outbound
        and [it.before.handle for it in step.policies] == [user.policy.handle for user in first.users]
        and move.after.told is not None
        and all(it.after.told is not None and not it.renamed for it in step.policies)
        # A reason may be about the one SA.
        and not any(str(move.before) in reason for _, reason in move.passed_over)
        and (
            move.method not in (Method.MIGRATE, Method.REPLACE) or not step.outbound or all(map(_has_room, kind.others))
        )
    )


def _has_room(tunnel: _Tunnel) -> bool:
    return tunnel.sa.replay is None or has_room(tunnel.sa, tunnel.sa.replay.outbound)


def _repeat(step: Step, kind: _Kind) -> Iterator[tuple[Order, Step]]:
    """Yield the steps of the others of a kind."""
    (move,) = step.sas
    change = _Change(move.before, move.after)
    changes = [_Change(it.before, it.after) for it in step.policies]
    for tunnel in kind.others:
        before, after = change.repeated(tunnel.sa, tunnel.told)
        moved = SAMove(before, after, move.method, move.undo, move.losses, move.passed_over)
        policies = (
            PolicyMove(*its.repeated(user.policy, user.told), like)
            for like, its, user in zip(step.policies, changes, tunnel.users, strict=True)
        )
        yield tunnel.order, Step(step.outbound, (moved,), tuple(policies), step.can_block)


class _Change:
    """What becomes of an SA or a policy, by its bytes, and of those that are alike."""

    def __init__(self, before: T, after: T) -> None:
        self._before: Any = before
        self._after: Any = after
        self._in_message = _differences(before.told.message, after.told.message)
        self._in_handle = _differences(before.handle, after.handle)

    def repeated(self, value: T, told: Told) -> tuple[T, T]:
        """Return another one as it was written, and as it shall be."""
        before = of_origin(self._before, told)
        set_handle(before, value.handle)
        after = of_origin(self._after, told.rewritten(self._in_message))
        handle = bytearray(value.handle)
        for at, octet in self._in_handle:
            handle[at : at + 1] = octet
        set_handle(after, bytes(handle))
        return before, after


def _differences(before: bytes, after: bytes) -> Changes:
    pairs = enumerate(zip(before, after, strict=True))
    return [(at, bytes((new,))) for at, (old, new) in pairs if old != new]
