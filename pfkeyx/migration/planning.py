"""From what the kernel holds and what is asked to a plan: which SAs and policies, together, by which method.

Pure: the SAs, the policies and the probes' answers come in as values, and the plan is a value.
"""

import errno
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pfkeyx.checks import check_policy
from pfkeyx.errors import AlreadyExistsError, InvalidRequestError
from pfkeyx.migration.methods import Candidate, Supports, choose
from pfkeyx.migration.plan import Left, Method, MigrationPlan, PolicyMove, Step
from pfkeyx.migration.templates import (
    Index,
    is_between_hosts,
    is_interrupted,
    selector_after,
    template_after,
    template_ends,
)
from pfkeyx.migration.update import KEEP, AddressUpdate, Heading, Keep, OpenEnds, ends_of
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
from pfkeyx.model.addresses import is_in, prefix_address, prefix_length
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
    `InvalidRequestError` when nothing is at the old or new addresses, or a policy cannot be written back,
    `AlreadyExistsError` when a new place is taken, `UnsupportedError` when no method can move an SA.
    """
    named = _named(update, sas, any(is_interrupted(update, policy) for policy in policies))
    moves = [move for sa in named if (move := _sa_move(update, sa)) is not None]
    _check_targets(moves, sas)
    index = Index(sas)
    reqids = _reqids(update, named)
    ids = {sa.id for sa in named}
    users = []
    for policy in policies:
        if policy.direction in _DIRECTIONS:
            used = tuple(index.used_by(policy))
            is_used = any(sa.id in ids for sa in used)
            outbound = policy.direction is Direction.OUT
            users.append((_policy_move(update, policy, None if reqids is None else reqids[outbound], is_used), used))
    _check_sides(update, moves, users)
    groups = _groups(moves, users)
    _check_policies(update, groups, policies)
    steps = sorted((_step(group, index, supports, method, can_block) for group in groups), key=_order)
    left = (*_left_sockets(update, policies), *_left_sas(update, moves, users), *_left_hosts(update, moves, users))
    return MigrationPlan(update, tuple(steps), method, hold, tuple(sorted(left, key=repr)))


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


#: Policies, and the SAs that each uses.
_Users = Sequence[tuple[PolicyMove, Sequence[SA]]]


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
            if _is_the_named(update, sa.destination, named.destination)
        ]
        for named in update.sas
    }
    missing = [named for named, matching in found.items() if not matching]
    if missing and not was_interrupted:
        names = ", ".join(map(str, missing))
        raise InvalidRequestError(f"plan migration: there is no SA {names} at {update.old}; is the old address right?")
    return list({sa.id: sa for matching in found.values() for sa in matching}.values())


def _reqids(update: AddressUpdate, named: Sequence[SA]) -> dict[bool, set[int]] | None:
    """Return by which reqids policies find the SAs that an update names, outbound and inbound; None for all."""
    if update.sas is None:
        return None
    reqids: dict[bool, set[int]] = {True: set(), False: set()}
    for sa in named:
        place = _place(update, sa.source, sa.destination)
        assert place is not None  # as it was found there
        reqids[place.outbound].add(sa.reqid)
    return reqids


def _place(update: AddressUpdate, source: IPAddress, destination: IPAddress) -> Heading | None:
    return update.heading(source, destination) or update.arrival(source, destination)


def _is_the_named(update: AddressUpdate, destination: IPAddress, named: IPAddress) -> bool:
    # After a move an SA has another destination, and is still the one that was named.
    if destination == named:
        return True
    places = (*update.old_places, update.new)
    return any({destination, named} <= set(ends) for ends in zip(*map(ends_of, places), strict=True))


def _sa_move(update: AddressUpdate, sa: SA) -> _Move | None:
    heading = update.heading(sa.source, sa.destination)
    if heading is None:
        return None
    if heading.source == heading.destination:
        raise InvalidRequestError(f"plan migration: both ends of {sa} would be {heading.source}")
    before = sa.as_written()
    encap = _encap_after(sa, update.encap, heading.outbound)
    after = before.moved(heading.source, heading.destination, encap)
    return _Move(heading.outbound, sa, before, after) if after != before else None


def _encap_after(sa: SA, encap: UdpEncap | Keep | None, outbound: bool) -> Encap | None:
    if encap is KEEP:
        return sa.encap
    # Only ESP goes in UDP (RFC 3948).
    if encap is None or sa.id.protocol is not Protocol.ESP:
        return None
    return encap if outbound else encap.reversed()


def _check_targets(moves: Sequence[_Move], sas: Sequence[SA]) -> None:
    # MIGRATE onto an occupied place makes 6.1 and 6.12 warn and taint, so it is never tried.
    moving = {move.before.id for move in moves}
    taken = {sa.id: sa for sa in sas if sa.id not in moving}
    for move in moves:
        occupant = taken.get(move.after.id)
        if occupant is not None:
            raise AlreadyExistsError(
                errno.EEXIST,
                "plan migration",
                move.before,
                f"{occupant} has the same SPI at the new address: delete it first",
            )
        taken[move.after.id] = move.before


def _check_sides(update: AddressUpdate, moves: Sequence[_Move], users: _Users) -> None:
    """Raise `InvalidRequestError` where an outbound policy uses SAs that the update takes for inbound."""
    inbound = {move.before.id for move in moves if not move.outbound}
    for policy, used in users:
        ends = [e.ends for e in template_ends(policy.before)]
        if policy.before.direction is Direction.OUT and not any(None in pair for pair in ends):
            for sa in used:
                if sa.id in inbound:
                    raise InvalidRequestError(
                        f"plan migration: {sa} is outbound, as policy {policy.before} uses it, and {update} has its "
                        "source for the remote end: are local and remote swapped?"
                    )


def _check_policies(update: AddressUpdate, groups: Sequence[_Group], policies: Sequence[Policy]) -> None:
    there = {policy.id: policy.as_written() for policy in policies}
    for move in (move for group in groups for move in group.policies):
        for policy in (move.before, move.after):
            check_policy("migrate", policy)
        occupant = there.get(move.after.id)
        if move.renamed and occupant is not None and not _is_left_of(move.after, occupant):
            hint = "another policy has the new selector: delete it first"
            raise AlreadyExistsError(errno.EEXIST, "plan migration", move.before, hint)
        there[move.after.id] = move.after
        if not update.policies and move.before.direction is Direction.OUT and move.has_optional:
            raise InvalidRequestError(
                f"plan migration: policy {move.before} has an optional template: its packets would leave in clear "
                "when the SA has gone without it; let the policies move too"
            )


def _is_left_of(policy: Policy, occupant: Policy) -> bool:
    """Return whether a policy is another itself, blocked or not: what an interrupted move the other way has left."""
    has_been_blocked = policy.direction is Direction.OUT and occupant.action is Action.BLOCK
    return occupant == policy or (has_been_blocked and changed(occupant, action=policy.action) == policy)


def _policy_move(update: AddressUpdate, policy: Policy, reqids: set[int] | None, is_used: bool) -> PolicyMove:
    before = policy.as_written()
    outbound = before.direction is Direction.OUT
    all_ends = tuple(template_ends(before))
    ends = [e for e in all_ends if reqids is None or e.template.reqid in (0, *reqids)]
    at_a_place = any(update.ends_after(e.ends, outbound) or update.has_arrived(e.ends, outbound) for e in ends)
    after = before
    if update.policies:
        templates = tuple(template_after(update, e, reqids, outbound) for e in all_ends)
        after = changed(before, templates=templates, selector=selector_after(update, before, ends, outbound))
    # Only outbound policies are ever blocked by a move.
    if outbound and before.action is Action.BLOCK and before.templates and (at_a_place or is_used):
        after = changed(after, action=Action.ALLOW)
    return PolicyMove(before, after)


def _groups(moves: Sequence[_Move], users: _Users) -> list[_Group]:
    """Put together what hangs together: SAs that one policy uses, and policies that use one SA."""
    group_of = {move.before.id: _Group(move.outbound, [move]) for move in moves}
    alone = []
    for policy, used in users:
        outbound = policy.before.direction is Direction.OUT
        if policy.before == policy.after and not outbound:
            continue
        groups = {id(group): group for sa in used if (group := group_of.get(sa.id)) and group.outbound == outbound}
        first, *others = sorted(groups.values(), key=lambda group: -len(group.moves)) or [_Group(outbound)]
        for other in others:
            first.moves += other.moves
            first.policies += other.policies
            group_of |= {move.before.id: first for move in other.moves}
        # While an SA moves, whatever may use it has to be blocked.
        if policy.before != policy.after or groups:
            first.policies.append(policy)
        if not groups and first.policies:
            alone.append(first)
    return [*{id(group): group for group in group_of.values()}.values(), *alone]


def _step(group: _Group, index: Index, supports: Supports, method: Method | None, can_block: bool) -> Step:
    moves = sorted(group.moves, key=lambda move: _sa_order(move.before))
    policies = sorted(group.policies, key=lambda move: _policy_order(move.before))
    companions = [(move.before, move.after) for move in moves]
    reqids = {template.reqid for move in policies for template in move.before.templates}
    candidates = (
        Candidate(
            m.read, m.before, m.after, m.outbound, index.is_alone(m.before, reqids), policies, companions, can_block
        )
        for m in moves
    )
    chosen = tuple(choose(candidate, supports, method) for candidate in candidates)
    if not can_block:
        policies = [move for move in policies if move.before != move.after]
    return Step(group.outbound, chosen, tuple(policies), can_block)


def _order(step: Step) -> tuple[object, ...]:
    """Return what steps are sorted by, so that equal plans are: tunnel by tunnel, outbound first."""
    ends: OpenEnds
    if step.sas:
        sa = step.sas[0].before
        ends, reqid, rest = (sa.source, sa.destination), sa.reqid, _sa_order(sa)
    else:
        policy = step.policies[0].before
        first = next(template_ends(policy))
        ends, reqid, rest = first.ends, first.template.reqid, _policy_order(policy)
    local, remote = (int(end or 0) for end in (ends if step.outbound else ends[::-1]))
    return remote, local, reqid, not step.outbound, not step.sas, rest


def _sa_order(sa: SA) -> tuple[object, ...]:
    return sa.id.protocol, sa.id.spi, int(sa.destination), str(sa.id.mark)


def _policy_order(policy: Policy) -> tuple[object, ...]:
    selector = policy.selector
    prefixes = selector.source, selector.destination
    ports = ((port and (port.value, port.mask)) or () for port in (selector.source_port, selector.destination_port))
    return (
        policy.direction,
        *(int(prefix_address(prefix)) for prefix in prefixes),
        *(prefix_length(prefix) for prefix in prefixes),
        *(selector.protocol, *ports, selector.interface_index, selector.user),
        *(str(policy.mark), policy.if_id, policy.type, policy.priority),
    )


def _left_sockets(update: AddressUpdate, policies: Iterable[Policy]) -> Iterator[Left]:
    for policy in policies:
        if policy.direction not in _DIRECTIONS and any(
            update.ends_after(e.ends, outbound) for e in template_ends(policy) for outbound in (True, False)
        ):
            yield Left(policy.as_written(), "it belongs to a socket, and only its owner can change it")


def _left_sas(update: AddressUpdate, moves: Sequence[_Move], users: _Users) -> Iterator[Left]:
    moving = {move.before.id for move in moves}
    stranded = {
        sa.id: sa
        for policy, used in users
        for sa in used
        if policy.before != policy.after and sa.id not in moving and update.heading(sa.source, sa.destination)
    }
    for sa in stranded.values():
        yield Left(sa.as_written(), "it is not named, and a policy that uses it moves")


def _left_hosts(update: AddressUpdate, moves: Sequence[_Move], users: _Users) -> Iterator[Left]:
    """Yield the policies of hosts whose packets will have other addresses than the policy is for."""
    if not update.policies:
        return
    afters = {move.before.id: move.after for move in moves if move.before.mode is Mode.TRANSPORT}
    for policy, used in users:
        selector = policy.after.selector
        if is_between_hosts(policy.before) and any(
            not is_in(after.source, selector.source) or not is_in(after.destination, selector.destination)
            for after in (afters[sa.id] for sa in used if sa.id in afters)
        ):
            yield Left(policy.before, "its selector is not for the new addresses, and others than these may need it")
