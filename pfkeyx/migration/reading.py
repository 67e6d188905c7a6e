"""What the kernel holds of what an update is about, read at one moment. What is made of it is not known here."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network

from pfkeyx.dialect import Dialect
from pfkeyx.migration.templates import concerns
from pfkeyx.migration.update import AddressUpdate, ends_of
from pfkeyx.model import SA, IPAddress, Policy, PolicyId, Prefix, SAFilter, SAId
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
    places = {tuple(end for end in ends_of(place) if end is not None) for place in (*update.old_places, update.new)}
    policies = yield from ask(keep(dialect.dump_policies(places), partial(concerns, update)))
    return Snapshot(sas, {policy.id: policy for policy in policies}, tuple(policies))


def _filters(update: AddressUpdate) -> Iterator[SAFilter]:
    for place in (*update.old_places, update.new):
        local, remote = map(_host, ends_of(place))
        yield SAFilter(source=local, destination=remote)
        yield SAFilter(source=remote, destination=local)
    # Whatever has a new destination already may stand in the way of what comes.
    for end in ends_of(update.new):
        if end is not None:
            yield SAFilter(destination=_host(end))


def _host(address: IPAddress | None) -> Prefix | None:
    return None if address is None else ip_network(address)
