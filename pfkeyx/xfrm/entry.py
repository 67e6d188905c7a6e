"""A message about a whole SA or policy, read where it is looked at: the C core has found its attributes.

`messages.parse` reads the same, any message, and all of it. What an entry means is not known here.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

from pfkeyx.entries import Messages
from pfkeyx.errors import MalformedReplyError
from pfkeyx.model.deferred import Handle
from pfkeyx.native import ffi, lib
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm import layout
from pfkeyx.xfrm.cstruct import CStruct, is_value, size_of
from pfkeyx.xfrm.datagram import HEADER_SIZE

_ATTRIBUTE = struct.Struct("=HH")
_SIZE = struct.Struct("=I")
#: Reads something of a message, that begins at some offset.
_Read = Callable[[bytes, int], Any]


class Entry:
    """One entry of a kernel's table: its struct's fields by name, and its attributes.

    The C core looks through the entries of a dump as they come; any other has to be checked before it is looked at.
    """

    __slots__ = ("_message", "_places")

    _fields: ClassVar[dict[str, tuple[_Read, int]]]
    _spans: ClassVar[dict[str, slice]]
    _end: ClassVar[int]

    def __init__(self, message: bytes) -> None:
        self._message = message

    def __getattr__(self, name: str) -> Any:
        if name != "_places":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        # They are found when the first is wanted: of most entries of a dump none is.
        self._places = ffi.new("uint16_t[]", lib.PFKEYX_XFRMA_MAX + 1)
        if lib.pfkeyx_xfrm_attributes(ffi.from_buffer(self._message), len(self._message), self._places):
            raise MalformedReplyError(f"XFRM: {type(self).__name__} of {len(self._message)} bytes: it is cut short")
        return self._places

    def checked(self) -> Self:
        """Return this entry; raises `MalformedReplyError` for a message that does not hold what it says."""
        self.__getattr__("_places")
        return self

    def __getitem__(self, name: str) -> Any:
        read, offset = self._fields[name]
        return read(self._message, offset)

    def get_attr(self, name: str) -> Any:
        """Return the value of an attribute, None where it is not there."""
        number, read = _ATTRIBUTES[name]
        place = self._places[number]
        return read(self._message, place) if place else None

    def attributes(self) -> Iterator[tuple[int, bytes]]:
        """Yield the numbers and the bytes of all attributes."""
        at, (end,) = self._end, _SIZE.unpack_from(self._message)
        while at + _ATTRIBUTE.size <= end:
            length, number = _ATTRIBUTE.unpack_from(self._message, at)
            yield number, self._message[at + _ATTRIBUTE.size : at + length]
            at += (length + 3) & ~3

    @property
    def message(self) -> bytes:
        """The whole message."""
        return self._message

    def attribute(self, name: str) -> slice:
        """Return where the bytes of an attribute are, nowhere for one that is not there."""
        place = self._places[_ATTRIBUTES[name][0]]
        return slice(place + _ATTRIBUTE.size, place + _ATTRIBUTE.unpack_from(self._message, place)[0] if place else 0)

    def rewritten(self, changes: Iterable[tuple[int, bytes]]) -> Self:
        """Return an entry with other bytes at some offsets, whose attributes are where this one's are."""
        data = bytearray(self._message)
        for at, changed in changes:
            data[at : at + len(changed)] = changed
        entry = self.__class__.__new__(self.__class__)
        entry._message, entry._places = bytes(data), self._places
        return entry

    @property
    def link(self) -> bytes | None:
        """What an SA is found by by templates, and the only template of a policy finds one by (pfkeyx_xfrm_link)."""
        link = ffi.new("uint8_t[]", lib.PFKEYX_LINK)
        found = lib.pfkeyx_xfrm_link(self._message, len(self._message), link)
        return bytes(ffi.buffer(link)) if found else None

    def is_alike(self, other: Self) -> bool:
        """Return whether another entry tells the same but for ends, identity, reqid, keys and counts."""
        # One that was used has a time more, and the rest elsewhere.
        return len(self._message) == len(other._message) and self._compare_alike(other) != lib.PFKEYX_DIFFERS

    def has_same_counts(self, other: Self) -> bool:
        """Return whether another entry is alike, and tells the same counts too."""
        return self._compare_alike(other) == lib.PFKEYX_SAME

    def _compare_alike(self, other: Self) -> int:
        mine, others = self._message, other._message
        return lib.pfkeyx_xfrm_compare_alike(mine, len(mine), others, len(others))

    def compare(self, other: Self) -> int:
        """Return in what another entry differs, as the C core says it (PFKEYX_SAME and so on)."""
        mine, others = self._message, other._message
        return lib.pfkeyx_xfrm_compare(mine, len(mine), others, len(others))

    def differing(self, other: Self) -> Iterator[str]:
        """Yield the names of the fields and attributes that are others in another entry; "" is an unknown attribute."""
        if self is other:
            return
        mine, others, end = self._message, other._message, self._end
        if mine[HEADER_SIZE:end] != others[HEADER_SIZE:end]:
            yield from (name for name, span in self._spans.items() if mine[span] != others[span])
        if mine[end:] != others[end:]:
            for number, _ in set(self.attributes()) ^ set(other.attributes()):
                yield wire.ATTRIBUTE_NAMES.get(number, "")


class SAEntry(Entry):
    """A NEWSA or UPDSA."""

    __slots__ = ()


class PolicyEntry(Entry):
    """A NEWPOLICY or UPDPOLICY."""

    __slots__ = ()


def handles(data: Any, count: int, size: int) -> Sequence[Handle]:
    """Return what `SAId.handle` or `PolicyId.handle`, of some size, says of messages that are back to back.

    That of a policy with a security context is empty.
    """
    found = ffi.new("uint8_t[]", count * size)
    lib.pfkeyx_xfrm_handles(ffi.from_buffer(data), count, found)
    packed, none = bytes(ffi.buffer(found)), bytes(size)
    each = (packed[start : start + size] for start in range(0, len(packed), size))
    return [b"" if handle == none else handle for handle in each]


def policies_at(places: Sequence[Sequence[bytes]], messages: Messages) -> Iterator[bytes]:
    """Yield those of policies that may have a template at one of these places, each one end or two.

    It is asked of every policy there is to find those of one tunnel.
    """
    wanted = ffi.new("struct pfkeyx_place[]", [(len(place[0]), len(place), list(place)) for place in places])
    found = ffi.new("uint32_t[]", len(messages))
    entries = ffi.from_buffer(messages.data)
    number = lib.pfkeyx_policies_at(entries, len(messages), wanted, len(places), found)
    return (messages[index] for index in ffi.unpack(found, number))


def _field(fmt: Any) -> _Read:
    if isinstance(fmt, str):
        unpack = struct.Struct(fmt).unpack_from
        return lambda message, offset: unpack(message, offset)[0]
    return lambda message, offset: fmt.decode_from(message, offset)[0]


def _declare(entry: type[Entry], declared: type[CStruct]) -> None:
    entry._fields, entry._spans, entry._end = {}, {}, HEADER_SIZE
    for name, fmt in declared.fields:
        start, entry._end = entry._end, entry._end + size_of(fmt)
        if is_value(fmt):
            entry._fields[name] = _field(fmt), start
            entry._spans[name] = slice(start, entry._end)


def _payload(message: bytes, place: int) -> bytes:
    """Return the bytes of an attribute, none where it is not there."""
    if not place:
        return b""
    length, _ = _ATTRIBUTE.unpack_from(message, place)
    return message[place + _ATTRIBUTE.size : place + length]


def _attribute(kind: wire.Kind) -> _Read:
    """Return what reads an attribute that holds a kind."""
    head = _ATTRIBUTE.size
    if kind is None or kind is bool:
        return lambda *_: True  # it says by being there all that it says
    if isinstance(kind, str):
        scalar = _field(kind)
        return lambda message, place: scalar(message, place + head)

    if isinstance(kind, list):
        (element,) = kind
        return lambda message, place: element.decode_all(_payload(message, place))
    decode = kind.decode_from
    return lambda message, place: decode(_payload(message, place), 0)[0]


_declare(SAEntry, layout.xfrm_usersa_info)
_declare(PolicyEntry, layout.xfrm_userpolicy_info)
_ATTRIBUTES = {name: (number, _attribute(kind)) for name, (number, kind) in wire.ATTRIBUTES.kinds.items()}
