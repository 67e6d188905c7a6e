"""From what the kernel holds and what is asked to a plan: which SAs and policies, together, by which method.

Pure: the SAs, the policies and the probes' answers come in as values, and the plan is a value.
"""

import errno
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

from pfkeyx.checks import check_policy
from pfkeyx.errors import AlreadyExistsError, InvalidRequestError
from pfkeyx.migration.alike import Order, find_alike
from pfkeyx.migration.methods import Candidate, Supports, choose
from pfkeyx.migration.plan import Left, Method, MigrationPlan, PolicyMove, Step
from pfkeyx.migration.templates import (
    Ends,
    Index,
    is_between_hosts,
    is_interrupted,
    names_anywhere,
    selector_after,
    template_after,
    template_ends,
)
from pfkeyx.migration.update import KEEP, AddressUpdate, Heading, Keep, OpenEnds
from pfkeyx.model import (
    SA,
    Action,
    Direction,
    Encap,
    IPAddress,
    Mode,
    Policy,
    Protocol,
    UdpEncap,
)
from pfkeyx.model.addresses import is_in
from pfkeyx.model.deferred import changed

_DIRECTIONS = (Direction.OUT, Direction.IN, Direction.FORWARD)


def make_plan(
    update: AddressUpdate,
    sas: Sequence[SA],
    policies: Sequence[Policy],
    supports: Supports,
    method: Method | None = None,
    *,
    hold: bool = False,
    can_block: bool = True,
) -> MigrationPlan:
    """Return the plan for `update`, given the SAs and policies that it may be about and what the kernel can do.

    `method` forces one. `can_block` says whether packets can be kept from a policy while its SAs move. Raises
    `InvalidRequestError` when nothing is at the old or new addresses, or a policy is missing or cannot be written back,
    `AlreadyExistsError` when a new place is taken, `UnsupportedError` when no method can move an SA.
    """
    _check_named_policies(update, policies)
    alike = find_alike(update, sas, policies) if can_block else None
    if alike is not None:
        planned, left = _plan_each(update, alike.sas, alike.policies, alike.known, supports, method, can_block)
        others = alike.steps([step for _, step in planned], sas)
        if others is not None:
            return _plan_of(update, [*planned, *others], left, method, hold)
    planned, left = _plan_each(update, sas, policies, sas, supports, method, can_block)
    return _plan_of(update, planned, left, method, hold)


def _plan_of(
    update: AddressUpdate, planned: list[tuple[Order, Step]], left: Sequence[Left], method: Method | None, hold: bool
) -> MigrationPlan:
    planned.sort(key=itemgetter(0))
    return MigrationPlan(update, tuple(step for _, step in planned), method, hold, tuple(sorted(left, key=repr)))


def _plan_each(
    update: AddressUpdate,
    sas: Sequence[SA],
    policies: Sequence[Policy],
    known: Sequence[SA],
    supports: Supports,
    method: Method | None,
    can_block: bool,
) -> tuple[list[tuple[Order, Step]], Sequence[Left]]:
    """Return the steps with what they are put in order by, and what stays; `known` are all SAs that may matter."""
    named = _named(update, sas, any(is_interrupted(update, policy) for policy in policies))
    moves = [move for sa in named if (move := _sa_move(update, sa)) is not None]
    _check_targets(moves, sas)
    index = Index(known)
    reqids = _reqids(update, named)
    handles = {sa.handle for sa in named}
    users = []
    for policy in policies:
        if policy.direction in _DIRECTIONS:
            ends = tuple(template_ends(policy))
            used = tuple(index.found_by(ends))
            is_used = any(sa.handle in handles for sa in used)
            outbound = policy.direction is Direction.OUT
            its_reqids = None if reqids is None else reqids[outbound]
            users.append(_User(_policy_move(update, policy, ends, its_reqids, is_used), used, ends))
    _check_sides(update, moves, users)
    groups = _groups(moves, users)
    _check_policies(update, groups, policies)
    for group in groups:
        group.moves.sort(key=lambda move: move.before.handle)
        group.policies.sort(key=lambda move: move.before.handle)
    steps = [(_order(group), _step(group, index, supports, method, can_block)) for group in groups]
    left = (*_left_sockets(update, policies), *_left_sas(update, moves, users), *_left_hosts(update, moves, users))
    return steps, left


class _Move(NamedTuple):
    """An SA that shall move: as it was read, as it was written, and as it shall be."""

    outbound: bool
    read: SA
    before: SA
    after: SA


@dataclass(slots=True, eq=False)
class _Group:
    """SAs of one direction and the policies that use them, which hang together."""

    outbound: bool
    moves: list[_Move] = field(default_factory=list)
    policies: list[PolicyMove] = field(default_factory=list)


class _User(NamedTuple):
    """A policy, the SAs that it uses, and the ends between which it finds them."""

    move: PolicyMove
    used: Sequence[SA]
    ends: Sequence[Ends]

    @property
    def outbound(self) -> bool:
        return self.move.before.direction is Direction.OUT


def _check_named_policies(update: AddressUpdate, policies: Sequence[Policy]) -> None:
    there = {policy.handle for policy in policies}
    missing = [
        name
        for name in update.named_policies or ()
        if there.isdisjoint(each.handle for each in names_anywhere(update, name))
    ]
    if missing:
        names = ", ".join(f"policy {name}" for name in missing)
        raise InvalidRequestError(f"plan migration: there is no {names}; name only policies that are there")


def _named(update: AddressUpdate, sas: Sequence[SA], was_interrupted: bool) -> list[SA]:
    """Return the SAs at the old and new places that the update is about, or refuse it.

    Where a move was interrupted they may have expired since, and the policies are left to be opened.
    """
    # What an ACQUIRE left behind has no SPI, and goes by itself.
    there = [sa for sa in sas if sa.id.spi and _place(update, sa.source, sa.destination)]
    if update.sas is None:
        if not there and not was_interrupted:
            raise InvalidRequestError(f"plan migration: there is no SA at {update.old}; is the old address right?")
        return there
    by_name: dict[tuple[int, Protocol, object], list[SA]] = defaultdict(list)
    for sa in there:
        by_name[sa.id.spi, sa.id.protocol, sa.id.mark].append(sa)
    found = {
        named: [
            sa
            for sa in by_name[named.spi, named.protocol, named.mark]
            # After a move an SA has another destination, and is still the one that was named.
            if sa.destination in update.destinations(named.destination)
        ]
        for named in update.sas
    }
    missing = [named for named, matching in found.items() if not matching]
    if missing and not was_interrupted:
        names = ", ".join(map(str, missing))
        raise InvalidRequestError(f"plan migration: there is no SA {names} at {update.old}; is the old address right?")
    return list({sa.handle: sa for matching in found.values() for sa in matching}.values())


def _reqids(update: AddressUpdate, named: Sequence[SA]) -> dict[bool, set[int]] | None:
    """Return by which reqids policies find the SAs that an update names, outbound and inbound; None for all.

    Policies that are named themselves are about these SAs, which may have expired where a move was interrupted.
    """
    if update.sas is None or update.named_policies is not None:
        return None
    reqids: dict[bool, set[int]] = {True: set(), False: set()}
    for sa in named:
        place = _place(update, sa.source, sa.destination)
        assert place is not None  # as it was found there
        reqids[place.outbound].add(sa.reqid)
    return reqids


def _place(update: AddressUpdate, source: IPAddress, destination: IPAddress) -> Heading | None:
    return update.heading(source, destination) or update.arrival(source, destination)


def _sa_move(update: AddressUpdate, sa: SA) -> _Move | None:
    heading = update.heading(sa.source, sa.destination)
    if heading is None:
        return None
    if heading.source == heading.destination:
        raise InvalidRequestError(f"plan migration: both ends of {sa} would be {heading.source}")
    before = sa.as_written()
    moved = sa.moved(heading.source, heading.destination, _encap_after(sa, update.encap, heading.outbound))
    after = moved.as_written()
    moves = (heading.source, heading.destination) != (sa.source, sa.destination) or after != before
    return _Move(heading.outbound, sa, before, after) if moves else None


def _encap_after(sa: SA, encap: UdpEncap | Keep | None, outbound: bool) -> Encap | None:
    if encap is KEEP:
        return sa.encap
    # Only ESP goes in UDP (RFC 3948).
    if encap is None or sa.id.protocol is not Protocol.ESP:
        return None
    return encap if outbound else encap.reversed()


def _check_targets(moves: Sequence[_Move], sas: Sequence[SA]) -> None:
    # MIGRATE onto an occupied place makes 6.1 and 6.12 warn and taint, so it is never tried.
    moving = {move.before.handle for move in moves}
    taken = {sa.handle: sa for sa in sas if sa.handle not in moving}
    for move in moves:
        occupant = taken.get(move.after.handle)
        if occupant is not None:
            raise AlreadyExistsError(
                errno.EEXIST,
                "plan migration",
                move.before,
                f"{occupant} has the same SPI at the new address: delete it first",
            )
        taken[move.after.handle] = move.before


def _check_sides(update: AddressUpdate, moves: Sequence[_Move], users: Sequence[_User]) -> None:
    """Raise `InvalidRequestError` where an outbound policy uses SAs that the update takes for inbound."""
    inbound = {move.before.handle for move in moves if not move.outbound}
    for user in users:
        if user.outbound:
            for sa in user.used:
                if sa.handle in inbound and not any(None in e.ends for e in user.ends):
                    raise InvalidRequestError(
                        f"plan migration: {sa} is outbound, as policy {user.move.before} uses it, and {update} has its "
                        "source for the remote end: are local and remote swapped?"
                    )


def _check_policies(update: AddressUpdate, groups: Sequence[_Group], policies: Sequence[Policy]) -> None:
    there = {policy.handle: policy for policy in policies}
    for move in (move for group in groups for move in group.policies):
        for policy in (move.before, move.after):
            # What the kernel has told it takes again, between other ends too.
            if policy.told is None:
                check_policy("migrate", policy)
        occupant = there.get(move.after.handle)
        if move.renamed and occupant is not None and not _is_left_of(move.after, occupant.as_written()):
            hint = "another policy has the new selector: delete it first"
            raise AlreadyExistsError(errno.EEXIST, "plan migration", move.before, hint)
        there[move.after.handle] = move.after
        if not update.policies and move.before.direction is Direction.OUT and move.has_optional:
            raise InvalidRequestError(
                f"plan migration: policy {move.before} has an optional template: its packets would leave in clear "
                "when the SA has gone without it; let the policies move too"
            )


def _is_left_of(policy: Policy, occupant: Policy) -> bool:
    """Return whether a policy is another itself, blocked or not: what an interrupted move the other way has left."""
    has_been_blocked = policy.direction is Direction.OUT and occupant.action is Action.BLOCK
    return occupant == policy or (has_been_blocked and changed(occupant, action=policy.action) == policy)


def _policy_move(
    update: AddressUpdate, policy: Policy, all_ends: Sequence[Ends], reqids: set[int] | None, is_used: bool
) -> PolicyMove:
    before = policy.as_written()
    outbound = policy.direction is Direction.OUT
    ends = all_ends if reqids is None else [e for e in all_ends if e.template.reqid in (0, *reqids)]
    changes: dict[str, Any] = {}
    if update.policies:
        changes["templates"] = tuple(template_after(update, e, reqids, outbound) for e in all_ends)
        if is_between_hosts(policy):
            changes["selector"] = selector_after(update, policy, ends, outbound)
    # Only outbound policies are ever blocked by a move.
    if outbound and policy.action is Action.BLOCK and all_ends:
        at_a_place = any(update.ends_after(e.ends, outbound) or update.has_arrived(e.ends, outbound) for e in ends)
        if at_a_place or is_used:
            changes["action"] = Action.ALLOW
    changes = {name: value for name, value in changes.items() if value != getattr(policy, name)}
    return PolicyMove(before, changed(before, **changes) if changes else before)


def _groups(moves: Sequence[_Move], users: Sequence[_User]) -> list[_Group]:
    """Put together what hangs together: SAs that one policy uses, and policies that use one SA."""
    group_of = {move.before.handle: _Group(move.outbound, [move]) for move in moves}
    alone = []
    for policy, used, _ in users:
        outbound = policy.before.direction is Direction.OUT
        if policy.before is policy.after and not outbound:
            continue
        found = (group_of.get(sa.handle) for sa in used)
        groups = {id(group): group for group in found if group is not None and group.outbound == outbound}
        first, *others = sorted(groups.values(), key=lambda group: -len(group.moves)) or [_Group(outbound)]
        for other in others:
            first.moves += other.moves
            first.policies += other.policies
            group_of |= {move.before.handle: first for move in other.moves}
        # While an SA moves, whatever may use it has to be blocked.
        if policy.before is not policy.after or groups:
            first.policies.append(policy)
        if not groups and first.policies:
            alone.append(first)
    return [*{id(group): group for group in group_of.values()}.values(), *alone]


def _step(group: _Group, index: Index, supports: Supports, method: Method | None, can_block: bool) -> Step:
    moves, policies = group.moves, group.policies
    companions = [(move.before, move.after) for move in moves]
    candidates = (
        Candidate(m.read, m.before, m.after, m.outbound, index, policies, companions, can_block) for m in moves
    )
    chosen = tuple(choose(candidate, supports, method) for candidate in candidates)
    if not can_block:
        policies = [move for move in policies if move.changes]
    return Step(group.outbound, chosen, tuple(policies), can_block)


def _order(group: _Group) -> Order:
    """Return what steps are sorted by, so that equal plans are: tunnel by tunnel, outbound first."""
    ends: OpenEnds
    if group.moves:
        sa = group.moves[0].read
        ends, reqid, handle = (sa.source, sa.destination), sa.reqid, sa.handle
    else:
        policy = group.policies[0].before
        first = next(template_ends(policy))
        ends, reqid, handle = first.ends, first.template.reqid, policy.handle
    local, remote = (int(end or 0) for end in (ends if group.outbound else ends[::-1]))
    return remote, local, reqid, not group.outbound, not group.moves, handle


def _left_sockets(update: AddressUpdate, policies: Iterable[Policy]) -> Iterator[Left]:
    for policy in policies:
        if policy.direction not in _DIRECTIONS and any(
            update.ends_after(e.ends, outbound) for e in template_ends(policy) for outbound in (True, False)
        ):
            yield Left(policy.as_written(), "it belongs to a socket, and only its owner can change it")


def _left_sas(update: AddressUpdate, moves: Sequence[_Move], users: Sequence[_User]) -> Iterator[Left]:
    moving = {move.before.handle for move in moves}
    stranded = {
        sa.handle: sa
        for policy, used, _ in users
        if policy.before is not policy.after
        for sa in used
        if sa.handle not in moving and update.heading(sa.source, sa.destination)
    }
    for sa in stranded.values():
        yield Left(sa.as_written(), "it is not named, and a policy that uses it moves")


def _left_hosts(update: AddressUpdate, moves: Sequence[_Move], users: Sequence[_User]) -> Iterator[Left]:
    """Yield the policies of hosts whose packets will have other addresses than the policy is for."""
    if not update.policies:
        return
    afters = {move.before.handle: move.after for move in moves if move.read.mode is Mode.TRANSPORT}
    for policy, used, _ in users:
        if is_between_hosts(policy.before) and any(
            not is_in(after.source, policy.after.selector.source)
            or not is_in(after.destination, policy.after.selector.destination)
            for after in (afters[sa.handle] for sa in used if sa.handle in afters)
        ):
            yield Left(policy.before, "its selector is not for the new addresses, and others than these may need it")
