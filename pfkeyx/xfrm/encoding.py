"""Whole XFRM messages as bytes, by their declarations. What is in them is not known here.

pyroute2 encodes the same bytes, and takes many times as long over them: it makes an object of every attribute.
"""

import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import Attribute
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm.cstruct import Form

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


def encode(
    declared: Any,
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
    form, writers = _form(declared)
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
def _form(declared: Any) -> tuple[Form, dict[str, tuple[int, Callable[[Any], bytes]]]]:
    kinds = declared.table.kinds
    return Form(declared.fields), {name: (number, _writer(kind)) for name, (number, kind) in kinds.items()}


def _writer(kind: wire.Kind) -> Callable[[Any], bytes]:
    if kind is None or kind is bool:
        return lambda _: b""
    if isinstance(kind, str):
        return struct.Struct(kind).pack
    if isinstance(kind, list):
        (element,) = kind
        return lambda values: b"".join(map(element.pack, values))
    pack = kind.pack
    return lambda value: bytes(pack(value))
