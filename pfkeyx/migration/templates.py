"""Which SAs the templates of a policy find, and where templates and selectors go. What moves is not decided here."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import NamedTuple

from pfkeyx.migration.update import AddressUpdate, OpenEnds
from pfkeyx.model import (
    ADDRESSED_MODES,
    SA,
    Action,
    AddressPair,
    Direction,
    IPAddress,
    Mode,
    Policy,
    PolicyId,
    Protocol,
    Selector,
    Template,
)
from pfkeyx.model.addresses import prefix_host, unspecified


class Ends(NamedTuple):
    """A template and the ends between which its SA is looked for; None is any."""

    template: Template
    source: IPAddress | None
    destination: IPAddress | None

    @property
    def ends(self) -> OpenEnds:
        """Source and destination."""
        return self.source, self.destination


class Index:
    """SAs by what templates look for."""

    def __init__(self, sas: Iterable[SA]) -> None:
        self._anywhere: dict[tuple[Protocol, Mode, int], list[SA]] = defaultdict(list)
        self._between: dict[tuple[Protocol, Mode, int, IPAddress, IPAddress], list[SA]] = defaultdict(list)
        for sa in sas:
            # A template without a reqid finds an SA of any.
            for reqid in {0, sa.reqid}:
                kind = sa.id.protocol, sa.mode, reqid
                self._anywhere[kind].append(sa)
                self._between[*kind, sa.source, sa.destination].append(sa)

    def used_by(self, policy: Policy) -> Iterator[SA]:
        """Yield the SAs that the templates of a policy may find."""
        return self.found_by(template_ends(policy))

    def found_by(self, ends: Iterable["Ends"]) -> Iterator[SA]:
        """Yield the SAs that templates may find between their ends."""
        for template, source, destination in ends:
            kind = template.protocol, template.mode, template.reqid
            found: Iterable[SA]
            if source is not None and destination is not None:
                found = self._between.get((*kind, source, destination), ())
            else:
                found = (
                    sa
                    for sa in self._anywhere.get(kind, ())
                    if source in (None, sa.source) and destination in (None, sa.destination)
                )
            yield from (sa for sa in found if sa.id.spi and template.spi in (0, sa.id.spi))

    def is_alone(self, sa: SA, reqids: Iterable[int]) -> bool:
        """Return whether templates of these reqids find no other SA of its kind between its ends, larval ones too."""
        kind = sa.id.protocol, sa.mode
        return all(len(self._between.get((*kind, reqid, sa.source, sa.destination), [])) <= 1 for reqid in reqids)


def template_ends(policy: Policy) -> Iterator[Ends]:
    """Yield each template with its ends: a transport template's are those of the tunnel around it, or the hosts'."""
    ends: OpenEnds | None = None
    for template in policy.templates:
        if template.mode in ADDRESSED_MODES:
            ends = _specified(template.source), _specified(template.destination)
        elif ends is None:
            ends = prefix_host(policy.selector.source), prefix_host(policy.selector.destination)
        yield Ends(template, *ends)


def _specified(address: IPAddress | None) -> IPAddress | None:
    return None if address is None or address.is_unspecified else address


def concerns(update: AddressUpdate, policy: Policy) -> bool:
    """Return whether a policy may have anything to do with the old or new places of an update."""
    return any(
        # What is between any ends, and a transport template under no tunnel, may use any SA.
        (e.source is None and e.destination is None)
        or any(update.ends_after(e.ends, way) or update.has_arrived(e.ends, way) for way in (True, False))
        for e in template_ends(policy)
    )


def is_interrupted(update: AddressUpdate, policy: Policy) -> bool:
    """Return whether an outbound policy at one of the places was left blocked by a move that was cut short."""
    return (
        policy.direction is Direction.OUT
        and policy.action is Action.BLOCK
        and any(update.ends_after(e.ends, True) or update.has_arrived(e.ends, True) for e in template_ends(policy))
    )


def template_after(update: AddressUpdate, ends: Ends, reqids: set[int] | None, outbound: bool) -> Template:
    """Return a template as it is after an update, which may be about SAs of certain reqids only."""
    template = ends.template
    if template.mode not in ADDRESSED_MODES or (reqids is not None and template.reqid not in (0, *reqids)):
        return template
    after = update.ends_after(ends.ends, outbound)
    if after is None:
        return template
    version = next(address.version for address in after if address is not None)
    source, destination = (address or unspecified(version) for address in after)
    return replace(template, source=source, destination=destination)


def is_between_hosts(policy: Policy) -> bool:
    """Return whether a policy's first SA is that of the hosts themselves, under no tunnel."""
    return bool(policy.templates) and policy.templates[0].mode not in ADDRESSED_MODES


def selector_after(update: AddressUpdate, policy: Policy, ends: Sequence[Ends], outbound: bool) -> Selector:
    """Return the selector of a policy, of whose templates an update may be about some; that between hosts follows them.

    With one side open it does where a whole gateway moves: other hosts may use it too.
    """
    if not is_between_hosts(policy) or not ends or ends[0].template is not policy.templates[0]:
        return policy.selector
    hosts = ends[0].ends
    if None in hosts and isinstance(update.new, AddressPair):
        return policy.selector
    after = update.ends_after(hosts, outbound)
    if after is None:
        return policy.selector
    return _between(after, policy.selector)


def names_anywhere(update: AddressUpdate, name: PolicyId) -> Iterator[PolicyId]:
    """Yield what a policy is found by, and what else it may be found by at the places if it is between hosts."""
    yield name
    hosts = prefix_host(name.selector.source), prefix_host(name.selector.destination)
    if None not in hosts or not isinstance(update.new, AddressPair):
        for ends in update.ends_anywhere(hosts, name.direction is Direction.OUT):
            yield replace(name, selector=_between(ends, name.selector))


def _between(hosts: OpenEnds, selector: Selector) -> Selector:
    source, destination = (
        prefix if host is None else ip_network(host)
        for prefix, host in zip((selector.source, selector.destination), hosts, strict=True)
    )
    return replace(selector, source=source, destination=destination)
