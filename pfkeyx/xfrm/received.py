"""One message that the kernel answers with, read whole by its declaration. What it means is not known here.

`messages` reads the same, with pyroute2. Here that is not imported: a process may have changed its root, or given up
its rights, since it has opened its socket.
"""

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

from pfkeyx.errors import MalformedReplyError
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm.cstruct import Form
from pfkeyx.xfrm.datagram import HEADER_SIZE

_ATTRIBUTE = struct.Struct("=HH")


class Received:
    """A message: its header's type, its struct's fields by name, and its attributes.

    Raises `MalformedReplyError` for a message that does not hold what it says.
    """

    __slots__ = ("_attributes", "_fields", "_values")

    def __init__(self, declared: type[wire.Message], message: bytes) -> None:
        form = _form(declared.fields)
        try:
            (number,) = struct.unpack_from("=H", message, 4)
            self._fields = {"header": {"type": number}, **form.unpack_from(message, HEADER_SIZE)}
            self._attributes = tuple(_walk(message, _aligned(HEADER_SIZE + form.size)))
            self._values: dict[str, Any] = {}
            for number, payload in self._attributes:
                if number in declared.table.names:
                    name = declared.table.names[number]
                    self._values.setdefault(name, _read(declared.table.kinds[name][1], payload))
        except (ValueError, struct.error) as error:
            raise MalformedReplyError(f"XFRM: {declared.__name__}: {error}") from error

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def get_attr(self, name: str) -> Any:
        """Return the value of an attribute, None where it is not there."""
        return self._values.get(name)

    def attributes(self) -> Iterator[tuple[int, bytes]]:
        """Yield the numbers and the bytes of all attributes."""
        return iter(self._attributes)


def received(message: bytes) -> Received:
    """Return a message that the kernel has sent, as it is declared; raises `MalformedReplyError`."""
    (number,) = struct.unpack_from("=H", message, 4)
    return Received(wire.RECEIVED[number], message)


def _walk(message: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while len(message) - at >= _ATTRIBUTE.size:
        length, number = _ATTRIBUTE.unpack_from(message, at)
        if not _ATTRIBUTE.size <= length <= len(message) - at:
            raise ValueError(f"attribute {number} claims {length} bytes of {len(message) - at}")
        yield number, message[at + _ATTRIBUTE.size : at + length]
        at = _aligned(at + length)


def _read(kind: wire.Kind, payload: bytes) -> Any:
    """Return what an attribute holds: its bytes where nothing is declared."""
    if kind is None:
        return payload
    if kind is bool:
        return True
    if isinstance(kind, str):
        (value,) = struct.unpack_from(kind, payload)
        return value
    if isinstance(kind, list):
        (element,) = kind
        return element.decode_all(payload)
    return kind.decode_from(payload, 0)[0]


@cache
def _form(fields: tuple[tuple[str, Any], ...]) -> Form:
    return Form(fields)


def _aligned(size: int) -> int:
    return (size + 3) & ~3
