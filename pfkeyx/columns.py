"""What differs between SAs or policies of a kind, and what they have in common: for `molds`."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from operator import attrgetter
from struct import pack
from typing import Any

from pfkeyx.model import SA, Authentication, Encryption, IPAddress, Key, Policy, PolicyId, Protocol, SAId, Selector
from pfkeyx.model.addresses import prefix_length
from pfkeyx.model.deferred import changed
from pfkeyx.molds import Values

_INT = {int}
_NETWORKS = (IPv4Network, IPv6Network)
#: Values that stand nowhere else in a message. An SPI of IPComp has 16 bits.
_MARKED_SPI, _MARKED_REQID = 0x9A5B, 0xD34C8E17


def _marked_address(version: int, number: int = 0) -> IPAddress:
    """Return an address that differs from others in each of its parts."""
    if version == 4:
        return IPv4Address(0xCBA571AB - number * 0x02030405)
    return IPv6Address((0x2A5B - number * 0x0101 << 112) + 0x0DB8_005A_003C_0000_ABCD - number * 0x01_0203_0405)


_packed, _zone, _spi, _reqid = map(attrgetter, ("packed", "scope_id", "spi", "reqid"))
_source, _destination, _protocol, _mark = map(attrgetter, ("source", "destination", "protocol", "mark"))


class SAIds(Values[SAId]):
    """What SAs are found by: destination and SPI differ."""

    def kinds(self, values: Sequence[SAId]) -> list[Any]:
        """See `Values.kinds`."""
        versions = map(type, map(_destination, values))
        return list(zip(map(_protocol, values), map(_mark, values), versions, strict=True))

    def columns(self, values: Sequence[SAId]) -> list[bytes] | None:
        """See `Values.columns`."""
        spis = _numbers(list(map(_spi, values)), 1, _greatest_spi(values[0]), ">")
        destinations = _addresses(list(map(_destination, values)))
        return None if spis is None or destinations is None else [spis, destinations]

    def can_be_marked(self, value: SAId) -> bool:
        """See `Values.can_be_marked`: some SAs may have no SPI, and so no marked one."""
        return value.spi != 0

    def marked(self, value: SAId) -> SAId:
        """See `Values.marked`."""
        return replace(value, spi=_MARKED_SPI, destination=_marked_address(value.destination.version, 1))


#: What differs, what no message has since the kernel counts it, and what is looked at closer.
_NOT_FIXED = ("id", "source", "reqid", "encryption", "authentication", "state", "usage", "failures", "replay")
_fixed = attrgetter(*(field.name for field in fields(SA) if field.name not in _NOT_FIXED))


def _of_class(kind: type, values: Sequence[object], kinds: list[Any]) -> list[Any]:
    """Return the kinds of values, none of what is of a class of its own, and may have fields otherwise."""
    if set(map(type, values)) <= {kind}:
        return kinds
    return [its if type(value) is kind else None for value, its in zip(values, kinds, strict=True)]


class SAs(Values[SA]):
    """SAs: what they are found by, source, reqid and keys differ."""

    _id, _replay, _mode, _window = map(attrgetter, ("id", "replay", "mode", "replay_window"))
    _keyed = tuple(map(attrgetter, ("encryption", "authentication")))
    _ids = SAIds()

    def kinds(self, values: Sequence[SA]) -> list[Any]:
        """See `Values.kinds`."""
        ids = list(map(self._id, values))
        encryption, authentication = self._keyed
        columns = (
            map(_fixed, values),
            map(_protocol, ids),
            map(_mark, ids),
            map(type, map(_destination, ids)),
            map(type, map(_source, values)),
            # What compares as equal and is written, or refused, otherwise: a mode or a window that is but a number.
            map(type, map(self._mode, values)),
            map(type, map(self._window, values)),
            # The kernel counts in a window, and has two forms of it.
            [None if replay is None else replay.extended for replay in map(self._replay, values)],
            _algorithms(map(encryption, values)),
            _algorithms(map(authentication, values)),
        )
        return _of_class(SA, values, list(zip(*columns, strict=True)))

    def columns(self, values: Sequence[SA]) -> list[bytes] | None:
        """See `Values.columns`."""
        columns = self._ids.columns(list(map(self._id, values)))
        reqids = _numbers(list(map(_reqid, values)), 0, 0xFFFFFFFF, "=")
        sources = _addresses(list(map(_source, values)))
        if columns is None or reqids is None or sources is None:
            return None
        columns += [reqids, sources]
        for get in self._keyed:
            keyed = get(values[0])
            if keyed is None or not len(keyed.key):
                continue
            keys = [it.key.reveal() for it in map(get, values)]
            if not all(map(any, keys)):  # one that a locked-down kernel has hidden
                return None
            columns.append(b"".join(keys))
        return columns

    def kind(self, value: SA) -> Any:
        """See `Values.kind`."""
        if type(value) is not SA:
            return None
        sa_id, replay = value.id, value.replay
        classes = type(value.source), type(value.mode), type(value.replay_window)
        found_by = sa_id.protocol, sa_id.mark, type(sa_id.destination)
        window = None if replay is None else replay.extended
        return _fixed(value), *found_by, *classes, window, *_algorithms((value.encryption, value.authentication))

    def pieces(self, value: SA) -> list[bytes] | None:
        """See `Values.pieces`."""
        spi, reqid, source, destination = value.id.spi, value.reqid, value.source, value.id.destination
        if not (type(spi) is type(reqid) is int and 0 < spi <= _greatest_spi(value.id) and 0 <= reqid <= 0xFFFFFFFF):
            return None
        if isinstance(source, IPv6Address) and (_zone(source) or _zone(destination)):
            return None
        keys = [key for it in (value.encryption, value.authentication) if it and (key := it.key.reveal())]
        if not all(map(any, keys)):
            return None
        return [spi.to_bytes(4, "big"), destination.packed, reqid.to_bytes(4, sys.byteorder), source.packed, *keys]

    def can_be_marked(self, value: SA) -> bool:
        """See `Values.can_be_marked`: a selector can be right or wrong beside the SA's own ends."""
        return value.selector is None and self._ids.can_be_marked(value.id)

    def marked(self, value: SA) -> SA:
        """See `Values.marked`."""
        encryption, authentication = value.encryption, value.authentication
        return changed(
            value,
            id=self._ids.marked(value.id),
            source=_marked_address(value.source.version),
            reqid=_MARKED_REQID,
            encryption=encryption and replace(encryption, key=_marked_key(encryption.key, 11)),
            authentication=authentication and replace(authentication, key=_marked_key(authentication.key, 92)),
        )


_selector, _templates = map(attrgetter, ("selector", "templates"))
_network_address = attrgetter("network_address")
_selected = attrgetter("protocol", "source_port", "destination_port", "interface_index", "user")
_template = attrgetter(
    *("protocol", "mode", "spi", "optional", "share", "algorithm_masks", "source.__class__", "destination.__class__")
)


class PolicyIds(Values[PolicyId | int]):
    """What policies are found by: the addresses of the selector's prefixes differ."""

    _fixed = attrgetter("direction", "mark", "if_id", "type", "security_context")

    def kinds(self, values: Sequence[PolicyId | int]) -> list[Any]:
        """See `Values.kinds`: an index is no kind."""
        found: Any = [value for value in values if not isinstance(value, int)]
        kinds = zip(map(self._fixed, found), _selector_kinds(list(map(_selector, found))), strict=True)
        return [None if isinstance(value, int) else next(kinds) for value in values]

    def columns(self, values: Sequence[Any]) -> list[bytes] | None:
        """See `Values.columns`."""
        return _selector_columns(list(map(_selector, values)))

    def can_be_marked(self, value: Any) -> bool:
        """See `Values.can_be_marked`."""
        return _has_networks(value.selector)

    def marked(self, value: Any) -> PolicyId | int:
        """See `Values.marked`."""
        marked: PolicyId = replace(value, selector=_marked_selector(value.selector))
        return marked


class Policies(Values[Policy]):
    """Policies: the addresses of the selector's prefixes, and ends and reqids of the templates differ."""

    _fixed = attrgetter(
        *(field.name for field in fields(Policy) if field.name not in ("selector", "templates", "usage"))
    )

    def kinds(self, values: Sequence[Policy]) -> list[Any]:
        """See `Values.kinds`: what was read is written as it was told, and is no kind."""
        is_told = [value.told is not None or type(value) is not Policy for value in values]
        made = values if not any(is_told) else [value for value, told in zip(values, is_told, strict=True) if not told]
        templates = [tuple(map(_template, each)) for each in map(_templates, made)]
        kinds = zip(map(self._fixed, made), _selector_kinds(list(map(_selector, made))), templates, strict=True)
        return [None if told else next(kinds) for told in is_told]

    def columns(self, values: Sequence[Policy]) -> list[bytes] | None:
        """See `Values.columns`."""
        prefixes = _selector_columns(list(map(_selector, values)))
        if prefixes is None:
            return None
        columns: list[bytes | None] = [*prefixes]
        for templates in zip(*map(_templates, values), strict=True):
            columns.append(_numbers(list(map(_reqid, templates)), 0, 0xFFFFFFFF, "="))
            if templates[0].source is not None and templates[0].destination is not None:
                columns += [_addresses(list(map(end, templates))) for end in (_source, _destination)]
        found = [column for column in columns if column is not None]
        return found if len(found) == len(columns) else None

    def can_be_marked(self, value: Policy) -> bool:
        """See `Values.can_be_marked`."""
        return _has_networks(value.selector)

    def marked(self, value: Policy) -> Policy:
        """See `Values.marked`."""
        templates = tuple(
            replace(
                template,
                source=template.source and _marked_address(template.source.version, 2 * number + 2),
                destination=template.destination and _marked_address(template.destination.version, 2 * number + 3),
                reqid=_MARKED_REQID - number,
            )
            for number, template in enumerate(value.templates)
        )
        return changed(value, selector=_marked_selector(value.selector), templates=templates)


def _selector_kinds(selectors: Sequence[Selector]) -> Iterator[Any]:
    ends = [list(map(end, selectors)) for end in (_source, _destination)]
    prefixes = (column for end in ends for column in (map(type, end), map(prefix_length, end)))
    return zip(map(_selected, selectors), *prefixes, strict=True)


def _selector_columns(selectors: Sequence[Selector]) -> list[bytes] | None:
    columns = []
    for end in (_source, _destination):
        prefixes = list(map(end, selectors))
        # Of every address there is one prefix.
        if prefixes[0].prefixlen:
            column = _addresses(list(map(_network_address, prefixes)))
            if column is None:
                return None
            columns.append(column)
    return columns


def _has_networks(selector: Selector) -> bool:
    """Return whether it has prefixes without host bits."""
    # An interface is an address.
    return isinstance(selector.source, _NETWORKS) and isinstance(selector.destination, _NETWORKS)


def _marked_selector(selector: Selector) -> Selector:
    source, destination = (
        ip_network((_marked_address(prefix.version, number), prefix_length(prefix)), strict=False)
        for number, prefix in enumerate((selector.source, selector.destination))
    )
    return replace(selector, source=source, destination=destination)


def _greatest_spi(sa_id: SAId) -> int:
    return 0xFFFF if sa_id.protocol is Protocol.IPCOMP else 0xFFFFFFFF


def _algorithms(keyed: Iterable[Encryption | Authentication | None]) -> list[Any]:
    return [it and (it.algorithm, it.icv_bits, len(it.key.reveal())) for it in keyed]


def _numbers(column: list[int], least: int, greatest: int, order: str) -> bytes | None:
    """Return numbers of 32 bits, None where one is out of range, or something else."""
    if not _INT.issuperset(map(type, column)) or min(column) < least or max(column) > greatest:
        return None
    return pack(f"{order}{len(column)}I", *column)


def _addresses(column: list[IPAddress]) -> bytes | None:
    """Return the bytes of addresses of a version, None where one has a zone."""
    if column[0].version == 6 and any(map(_zone, column)):
        return None
    if column[0].version == 4:
        return pack(f">{len(column)}I", *map(int, column))
    return b"".join(map(_packed, column))


def _marked_key(key: Key, first: int) -> Key:
    return Key(bytes((first + 37 * number) % 255 + 1 for number in range(len(key))))
