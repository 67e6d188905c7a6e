"""Whole XFRM messages as bytes, from the declarations in `messages`. What is in them is not known here.

pyroute2 encodes the same bytes, and takes many times as long over them: it makes an object of every attribute.
"""

import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import Attribute
from pfkeyx.xfrm import layout
from pfkeyx.xfrm import messages as wire

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


def encode(
    message_class: Any,
    message_type: int,
    flags: int,
    fields: dict[str, Any],
    attributes: Sequence[tuple[str, Any]] = (),
    other: Sequence[Attribute] = (),
) -> bytearray:
    """Return a whole message, sequence number 0: `fields` of its struct, `attributes`, then those kept as they came.

    Of one that is among `attributes`, what was kept is left out: the kernel would take the last. Raises
    `InvalidRequestError` for a number that its field cannot hold.
    """
    form, writers = _form(message_class)
    try:
        data = bytearray(_HEADER.size)
        data += form.pack(fields)
        data += bytes(-len(data) % 4)
        for name, value in attributes:
            number, write = writers[name]
            _put(data, number, write(value))
        if other:
            given = {writers[name][0] for name, _ in attributes}
            for attribute in other:
                if attribute.number not in given:
                    _put(data, attribute.number, attribute.data)
        _HEADER.pack_into(data, 0, len(data), message_type, flags, 0, 0)
    except (OverflowError, struct.error) as error:
        raise InvalidRequestError(f"XFRM message {message_type}: a number does not fit its field: {error}") from error
    return data


def _put(data: bytearray, number: int, payload: bytes) -> None:
    data += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), number)
    data += payload
    data += bytes(-len(payload) % 4)


@cache
def _form(message_class: Any) -> tuple[layout.Form, dict[str, tuple[int, Callable[[Any], bytes]]]]:
    kinds = ((number, name, getattr(message_class, kind)) for number, name, kind in message_class.nla_map)
    return layout.Form(message_class.fields), {name: (number, _writer(kind)) for number, name, kind in kinds}


def _writer(kind: Any) -> Callable[[Any], bytes]:
    if not issubclass(kind, wire.payload_nla):
        return lambda _: b""
    if issubclass(kind, wire.scalar_nla):
        ((_, fmt),) = kind.fields
        return struct.Struct(fmt).pack
    pack = kind.struct.pack
    if issubclass(kind, wire.struct_array_nla):
        return lambda values: b"".join(map(pack, values))
    return lambda value: bytes(pack(value))
