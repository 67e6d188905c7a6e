"""What the kernel holds of what an update is about, read at one moment. What is made of it is not known here."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_network
from typing import Any, TypeVar

from pfkeyx.dialect import Dialect
from pfkeyx.migration.plan import PolicyMove, SAMove, Step
from pfkeyx.migration.tables import are_like, tabled
from pfkeyx.migration.templates import concerns, is_between_hosts, names_anywhere
from pfkeyx.migration.update import AddressUpdate, ends_of
from pfkeyx.model import SA, AddressPair, IPAddress, Policy, PolicyId, Prefix, SAFilter
from pfkeyx.model.deferred import Handle
from pfkeyx.operation import Operation, Request, ask, ask_each, keep

T = TypeVar("T", SA, Policy)

#: So many SAs or policies are asked for one by one. To find them, the kernel would look at all that there are.
FEW = 64


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The SAs and policies that an update may be about, by handle; and all such policies, those of sockets too."""

    sas: Mapping[Handle, SA]
    policies: Mapping[Handle, Policy]
    all_policies: Sequence[Policy]

    def is_like(self, other: "Snapshot", but: Set[str]) -> bool:
        """Return whether another one has the same in the same order, but for what is counted: these fields of SAs."""
        return are_like(self.sas, other.sas, but) and are_like(
            self.all_policies, other.all_policies, Policy.counted.keys()
        )


def can_read_by_name(dialect: Dialect, update: AddressUpdate) -> bool:
    """Return whether the SAs and policies that an update names can be read without looking at others."""
    return dialect.reads_singly and update.named_policies is not None


def read(dialect: Dialect, update: AddressUpdate, *, others: bool = False) -> Operation[Snapshot]:
    """Read what is at the old and new places, and what stands where something would go; no more is kept.

    Where SAs and policies are named it is these alone; with `others`, all SAs at the places all the same.
    """
    by_name = can_read_by_name(dialect, update) and not others
    sas: Mapping[Handle, SA] | None = (yield from _read_named_sas(dialect, update)) if by_name else None
    if sas is None:
        sas = yield from _find_sas(dialect, update)
    if update.named_policies is None:
        policies = yield from _find_policies(dialect, update)
    else:
        policies = yield from _read_named_policies(dialect, update, update.named_policies)
    return Snapshot(sas, tabled([policies]), policies)


def read_back(dialect: Dialect, update: AddressUpdate, steps: Sequence[Step]) -> Operation[Snapshot]:
    """Read what steps were about, where it was and where it should be."""
    if dialect.reads_singly and sum(len(step.sas) for step in steps) <= FEW:
        sas = yield from _read_singly(dialect.get_sa, _ids(move for step in steps for move in step.sas))
        if sas is not None:
            policy_ids = _ids(move for step in steps for move in step.policies)
            policies = yield from _read_singly(dialect.get_policy, policy_ids)
            if policies is not None:
                return Snapshot(sas, policies, tuple(policies.values()))
    return (yield from read(dialect, update))


def _ids(moves: Iterable[SAMove | PolicyMove]) -> dict[Handle, Any]:
    return {value.handle: value.id for move in moves for value in (move.after, move.before)}


def _read_named_sas(dialect: Dialect, update: AddressUpdate) -> Operation[Mapping[Handle, SA] | None]:
    """Return what is where the named SAs may be, and where they go; None where others have to be looked at."""
    names = update.sas or ()
    ids = [replace(name, destination=end) for name in names for end in update.destinations(name.destination)]
    return (yield from _read_singly(dialect.get_sa, {each.handle: each for each in ids}))


def _find_sas(dialect: Dialect, update: AddressUpdate) -> Operation[Mapping[Handle, SA]]:
    if not dialect.reads_singly:
        return (yield from _dump_sas(dialect, (*_between(update), *_to_new(update))))
    sas = yield from _dump_sas(dialect, _between(update))
    return (yield from _with_occupants(dialect, update, sas))


def _read_named_policies(
    dialect: Dialect, update: AddressUpdate, names: Iterable[PolicyId]
) -> Operation[Sequence[Policy]]:
    """Return the named policies, by whichever name, and what stands where one between hosts would go."""
    wanted = {each.handle: each for name in names for each in names_anywhere(update, name)}
    found = (yield from _read_singly(dialect.get_policy, wanted)) if dialect.reads_singly else None
    if found is None:
        dumped = yield from ask(keep(dialect.dump_policies(), lambda policy: policy.handle in wanted))
        found = {policy.handle: policy for policy in dumped}
    kept: dict[Handle, Policy] = {}
    for name in names:
        own = found.get(name.handle)
        for handle in (each.handle for each in names_anywhere(update, name)):
            policy = found.get(handle)
            # That of a tunnel keeps its name, and what has the other is a stranger.
            if policy is not None and (policy is own or is_between_hosts(own or policy)):
                kept[handle] = policy
    return list(kept.values())


def _find_policies(dialect: Dialect, update: AddressUpdate) -> Operation[Sequence[Policy]]:
    places = {tuple(end for end in ends_of(place) if end is not None) for place in (*update.old_places, update.new)}
    request = dialect.dump_policies(places)
    return (yield from ask(request if dialect.reads_singly else keep(request, partial(concerns, update))))


def _dump_sas(dialect: Dialect, filters: Iterable[SAFilter]) -> Operation[Mapping[Handle, SA]]:
    wanted = dict.fromkeys(filters)
    dumps = []
    for matching in wanted:
        if matching.source is not None and SAFilter(destination=matching.destination) in wanted:
            continue  # the wider one brings these too
        dumps.append((yield from ask(dialect.dump_sas(matching))))
    return tabled(dumps)


def _between(update: AddressUpdate) -> Iterator[SAFilter]:
    for place in (*update.old_places, update.new):
        local, remote = map(_host, ends_of(place))
        yield SAFilter(source=local, destination=remote)
        yield SAFilter(source=remote, destination=local)


def _to_new(update: AddressUpdate) -> Iterator[SAFilter]:
    # Whatever has a new destination already may stand in the way of what comes.
    return (SAFilter(destination=_host(end)) for end in ends_of(update.new) if end is not None)


def _with_occupants(
    dialect: Dialect, update: AddressUpdate, sas: Mapping[Handle, SA]
) -> Operation[Mapping[Handle, SA]]:
    """Return SAs with what stands where they would go; all else to a new end is others'."""
    if not isinstance(update.new, AddressPair):
        return sas  # whatever goes to the new local end has been read
    headings = ((sa.id, update.heading(sa.source, sa.destination)) for sa in sas.values() if sa.id.spi)
    ids = [replace(sa_id, destination=heading.destination) for sa_id, heading in headings if heading is not None]
    found = yield from _read_singly(dialect.get_sa, {each.handle: each for each in ids if each.handle not in sas})
    if found is None:
        found = yield from _dump_sas(dialect, _to_new(update))
    return {**sas, **found}


def _read_singly(
    get: Callable[[Any], Request[T]], wanted: Mapping[Handle, Any]
) -> Operation[Mapping[Handle, T] | None]:
    """Return what there is of these by their handles; None where it would be much, or others are found."""
    if len(wanted) > FEW:
        return None
    found = yield from ask_each([get(each) for each in wanted.values()])
    there = {handle: value for handle, value in zip(wanted, found, strict=True) if value is not None}
    # An SA without a mark is found by any, and hides one that has it.
    return there if all(value.handle == handle for handle, value in there.items()) else None


def _host(address: IPAddress | None) -> Prefix | None:
    return None if address is None else ip_network(address)
