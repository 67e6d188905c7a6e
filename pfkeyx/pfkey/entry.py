"""A message about a whole SA or policy, read where it is looked at: the C core has found its extensions.

`message.read` reads the same, any message, and all of it. What an entry means is not known here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pfkeyx.errors import MalformedReplyError
from pfkeyx.native import ffi, lib
from pfkeyx.pfkey.extensions import Extension
from pfkeyx.pfkey.layout import get
from pfkeyx.pfkey.message import Told
from pfkeyx.pfkey.numbers import MessageType, SAType

#: Where <linux/pfkeyv2.h> has them in a `sadb_msg`.
_TYPE, _SATYPE = (ffi.offsetof("struct sadb_msg", f"sadb_msg_{name}") for name in ("type", "satype"))
_WORD = 8


class Entry(Told, Mapping[int, Extension]):
    """One entry of a kernel's table: the extensions by type, each read when it is looked at first.

    Raises `MalformedReplyError` when the first one is, for a message that does not hold what it says, which the entries
    of a dump have been looked through for.
    """

    __slots__ = ("_found", "_message", "_places")

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._places: Any = None
        self._found: dict[int, Extension] = {}

    @property
    def type(self) -> MessageType:
        """The message's type."""
        return MessageType(self._message[_TYPE])

    @property
    def satype(self) -> SAType:
        """The message's type of SA."""
        return SAType(self._message[_SATYPE])

    @property
    def extensions(self) -> Mapping[int, Extension]:
        """The extensions by type."""
        return self

    def get(self, exttype: int, default: Any = None) -> Any:
        """Return an extension, or something else where it is not there."""
        found = self._found.get(exttype)
        if found is None:
            place = self._find()[exttype]
            if not place:
                return default
            self._found[exttype] = found = self._read(place)
        return found

    def __getitem__(self, exttype: int) -> Extension:
        extension: Extension | None = self.get(exttype)
        if extension is None:
            raise KeyError(exttype)
        return extension

    def __iter__(self) -> Iterator[int]:
        return (exttype for exttype, place in enumerate(self._find()) if place)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def is_same(self, other: "Entry") -> bool:
        """Return whether another entry has the same bytes."""
        return self._message == other._message

    def _find(self) -> Any:
        if self._places is None:
            places = ffi.new("uint16_t[]", lib.PFKEYX_EXT_MAX + 1)
            if lib.pfkeyx_pfkey_extensions(ffi.from_buffer(self._message), len(self._message), places):
                raise MalformedReplyError(
                    f"PF_KEY: an entry of {len(self._message)} bytes is cut short or makes no sense"
                )
            self._places = places
        return self._places

    def _read(self, place: int) -> Extension:
        data = ffi.from_buffer(self._message)
        reader = ffi.new("struct pfkeyx_reader *", (data, len(self._message), _WORD * place))
        native = ffi.new("struct pfkeyx_extension *")
        lib.pfkeyx_read_extension(reader, native)
        return get(native)
