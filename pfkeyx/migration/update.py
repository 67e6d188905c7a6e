"""What a move is asked for: an address update, as MOBIKE makes one (RFC 4555 §3.5)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain
from typing import Final, NamedTuple

from pfkeyx.checks import check_bits, check_end, check_policy_id, check_sa_id
from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import AddressPair, IPAddress, PolicyId, SAId, UdpEncap, same_family


class Keep(Enum):
    """The type of `KEEP`."""

    KEEP = "keep"

    def __repr__(self) -> str:
        return "KEEP"


#: Leave the encapsulation as each SA has it.
KEEP: Final = Keep.KEEP

#: Where tunnels are: between two ends, or at a local address, each with its own remote one.
Place = AddressPair | IPAddress
#: Source and destination, None for any.
OpenEnds = tuple[IPAddress | None, IPAddress | None]


class Heading(NamedTuple):
    """Where something goes: its new ends, and whether it is outbound."""

    outbound: bool
    source: IPAddress
    destination: IPAddress


@dataclass(frozen=True, slots=True)
class AddressUpdate:
    """Where SAs and policies are, and where they shall be.

    `old` and `new` are the two ends of a tunnel, or both the local address alone: then every tunnel of it moves, each
    with the remote address that it has. `encap` after the move: `KEEP`, a `UdpEncap` as the outbound SAs carry it
    (source port ours), or None for none. `sas` names the SAs to move; None means all between the old ends. With
    `policies` false only SAs move (the O flag of draft-dupont-ikev2-addrmgmt): until the caller moves the policies,
    their packets are dropped. `since` are older places at which a move that was superseded may have left SAs; they
    move too.

    `policies` can also name, beside `sas`, the policies that move, by what they are found by before or after. Where
    they are few these alone are read, so that a move costs the same however many others there are; which others use the
    SAs is not looked for. Whoever names them vouches that none does: one would find no SA any more, and its packets
    would be dropped, or leave in clear where its template is optional; and since it is not blocked, packets may use a
    sequence number twice while their SA moves by MIGRATE or REPLACE. Other SAs of these policies stay without a word.

    Raises `InvalidRequestError` for an update that no SA could follow.

    >>> from ipaddress import ip_address
    >>> print(AddressUpdate(ip_address("192.0.2.2"), ip_address("198.51.100.2")))
    192.0.2.2 to 198.51.100.2
    """

    old: Place
    new: Place
    encap: UdpEncap | Keep | None = KEEP
    sas: tuple[SAId, ...] | None = None
    policies: bool | tuple[PolicyId, ...] = True
    since: tuple[Place, ...] = ()

    def __post_init__(self) -> None:
        for place in self._places:
            self._check_place(place)
        for address in _addresses(self.new):
            check_end("address update", address)
        if isinstance(self.encap, UdpEncap):
            ports = {"source port": self.encap.source_port, "destination port": self.encap.destination_port}
            check_bits("address update", self, 16, **ports)
        for sa_id in self.sas or ():
            check_sa_id("address update", sa_id)
        for policy_id in self.named_policies or ():
            check_policy_id("address update", policy_id)
        if self.sas is None and self.named_policies is not None:
            raise InvalidRequestError("address update: it names policies and no SAs; name the SAs that use them too")
        if self.encap is KEEP and all(place == self.new for place in self.old_places):
            raise InvalidRequestError(f"address update: old and new are both {self.old}; nothing would change")

    @property
    def old_places(self) -> tuple[Place, ...]:
        """Every place that SAs are moved from."""
        return (self.old, *self.since)

    @property
    def named_policies(self) -> tuple[PolicyId, ...] | None:
        """The policies that it is about alone, None where they are to be found."""
        return None if isinstance(self.policies, bool) else self.policies

    def heading(self, source: IPAddress, destination: IPAddress) -> Heading | None:
        """Return where goes what is between these ends, None for what is not at an old place."""
        return self._heading(self.old_places, source, destination)

    def arrival(self, source: IPAddress, destination: IPAddress) -> Heading | None:
        """Return where is what is between these ends, None for what is not at the new place."""
        return self._heading((self.new,), source, destination)

    def ends_after(self, ends: OpenEnds, outbound: bool) -> OpenEnds | None:
        """Return the new ends of a template, None for one that is not at an old place; an end that is None is any."""
        return self._ends_after(self.old_places, ends, outbound)

    def has_arrived(self, ends: OpenEnds, outbound: bool) -> bool:
        """Return whether a template is at the new place."""
        return self._ends_after((self.new,), ends, outbound) is not None

    def destinations(self, destination: IPAddress) -> tuple[IPAddress, ...]:
        """Return where an SA may go to, at any of the places, that goes there at one of them."""
        sides = zip(*map(ends_of, self._places), strict=True)
        ends = chain([destination], *(side for side in sides if destination in side))
        return tuple(dict.fromkeys(end for end in ends if end is not None))

    def ends_anywhere(self, ends: OpenEnds, outbound: bool) -> Iterator[OpenEnds]:
        """Yield these ends as they are at each of the places, if they are at one of them."""
        if self._ends_after(self._places, ends, outbound) is not None:
            yield from (_ends_at(place, ends, outbound) for place in self._places)

    def concerns_what(self, other: "AddressUpdate") -> bool:
        """Return whether this update may be about SAs of another: it moves them from where that finds or leaves them.

        One of two ends and one of a local address take turns instead.
        """
        if isinstance(self.new, AddressPair) != isinstance(other.new, AddressPair):
            return False
        if self.sas is not None and other.sas is not None:
            names = {(named.spi, named.protocol) for named in self.sas}
            if not any((named.spi, named.protocol) in names for named in other.sas):
                return False
        return any(place in (*other.old_places, other.new) for place in self.old_places)

    def superseding(self, earlier: "AddressUpdate") -> "AddressUpdate":
        """Return this update for SAs that an earlier one, which is cut short, may have moved or not.

        What was at the earlier's new place before it is taken along. An encapsulation that is to be kept is the
        earlier's, which not all SAs may have yet.
        """
        encap = earlier.encap if self.encap is KEEP else self.encap
        done = (self.old, self.new) if encap is KEEP else (self.old,)
        places = dict.fromkeys((*self.since, earlier.new, *earlier.old_places))
        return replace(self, encap=encap, since=tuple(place for place in places if place not in done))

    @property
    def _places(self) -> tuple[Place, ...]:
        return (*self.old_places, self.new)

    def _heading(self, places: tuple[Place, ...], source: IPAddress, destination: IPAddress) -> Heading | None:
        for outbound in (True, False):
            after = self._ends_after(places, (source, destination), outbound)
            if after is not None:
                new_source, new_destination = after
                assert new_source is not None  # as none of the ends was any
                assert new_destination is not None
                return Heading(outbound, new_source, new_destination)
        return None

    def _ends_after(self, places: tuple[Place, ...], ends: OpenEnds, outbound: bool) -> OpenEnds | None:
        local, remote = ends if outbound else ends[::-1]
        for place in places:
            if _is_at(place, local, remote):
                return _ends_at(self.new, ends, outbound)
        return None

    def _check_place(self, place: Place) -> None:
        if isinstance(place, AddressPair) != isinstance(self.new, AddressPair):
            raise InvalidRequestError(
                f"address update: {place} and {self.new} are not alike; give both ends of each, or the local of each"
            )
        if not same_family(_addresses(place)):
            raise InvalidRequestError(f"address update: {place} mixes IPv4 and IPv6; both ends have one version")
        if isinstance(place, AddressPair):
            if place.local == place.remote:
                raise InvalidRequestError(f"address update: both ends are {place.local}")
        elif not same_family((*_addresses(place), *_addresses(self.new))):
            raise InvalidRequestError(
                f"address update: {place} and {self.new} are of two IP versions, and the remote ends would stay; "
                "give both ends"
            )

    def __str__(self) -> str:
        return f"{self.old} to {self.new}"


def ends_of(place: Place) -> tuple[IPAddress, IPAddress | None]:
    """Return the local and the remote end of a place, None for any remote one."""
    return (place.local, place.remote) if isinstance(place, AddressPair) else (place, None)


def _addresses(place: Place) -> tuple[IPAddress, ...]:
    return (place.local, place.remote) if isinstance(place, AddressPair) else (place,)


def _is_at(place: Place, local: IPAddress | None, remote: IPAddress | None) -> bool:
    if isinstance(place, AddressPair):
        known = local is not None or remote is not None
        return known and local in (None, place.local) and remote in (None, place.remote)
    return local == place


def _ends_at(place: Place, ends: OpenEnds, outbound: bool) -> OpenEnds:
    """Return what ends are at a place; one that is any stays so."""
    local, remote = ends if outbound else ends[::-1]
    if isinstance(place, AddressPair):
        moved = (place.local if local else None, place.remote if remote else None)
    else:
        moved = (place, remote)
    return moved if outbound else moved[::-1]
