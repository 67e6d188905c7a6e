"""What the kernel holds of what an update is about, read at one moment. What is made of it is not known here."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network

from pfkeyx.dialect import Dialect
from pfkeyx.migration.planning import concerns
from pfkeyx.migration.update import AddressUpdate, Place
from pfkeyx.model import SA, AddressPair, IPAddress, Policy, PolicyId, SAFilter, SAId
from pfkeyx.operation import Operation, ask, keep


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The SAs and policies that an update may be about, by identity; and all policies, those of sockets too."""

    sas: dict[SAId, SA]
    policies: dict[PolicyId, Policy]
    all_policies: tuple[Policy, ...]


def read(dialect: Dialect, update: AddressUpdate) -> Operation[Snapshot]:
    """Read what is at the old and new places, and what stands where something would go; no more is kept."""
    sas: dict[SAId, SA] = {}
    filters = dict.fromkeys(_filters(update))
    for matching in filters:
        if matching.source is not None and SAFilter(destination=matching.destination) in filters:
            continue  # the wider one brings these too
        for sa in (yield from ask(dialect.dump_sas(matching))):
            sas[sa.id] = sa
    policies = yield from ask(keep(dialect.dump_policies(), partial(concerns, update)))
    return Snapshot(sas, {policy.id: policy for policy in policies}, tuple(policies))


def _filters(update: AddressUpdate) -> Iterator[SAFilter]:
    for place in (*update.old_places, update.new):
        yield from _both_ways(place)
    # Whatever has a new destination already may stand in the way of what comes.
    yield SAFilter(destination=ip_network(_local(update.new)))
    if isinstance(update.new, AddressPair):
        yield SAFilter(destination=ip_network(update.new.remote))


def _both_ways(place: Place) -> Iterator[SAFilter]:
    local = ip_network(_local(place))
    remote = ip_network(place.remote) if isinstance(place, AddressPair) else None
    yield SAFilter(source=local, destination=remote)
    yield SAFilter(source=remote, destination=local)


def _local(place: Place) -> IPAddress:
    return place.local if isinstance(place, AddressPair) else place
