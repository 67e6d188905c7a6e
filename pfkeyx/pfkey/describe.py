"""Any PF_KEY message for people: its fields by name, and its bytes, except those that may be a key.

What cannot be understood is told and not shown, since nobody knows where in it a key lies.
"""

import struct
from collections.abc import Iterator
from errno import EOPNOTSUPP, errorcode
from typing import Any

from pfkeyx.native import ffi, lib
from pfkeyx.pfkey.cdata import NonsenseError
from pfkeyx.pfkey.extensions import Extension, KeyExtension, KMPrivateExtension, Unknown
from pfkeyx.pfkey.layout import get, put
from pfkeyx.pfkey.numbers import ExtensionType, MessageType, SAType

_BASE_HEADER = struct.Struct("=BBBBHHII")
_EXTENSION_HEADER = struct.Struct("=HH")
_WORD = 8
_IN_HEX = {"spi", "flags"}
#: Linux has one number for two names, and Python's choice is not the one that sockets use.
_ERRORS = {**errorcode, EOPNOTSUPP: "EOPNOTSUPP"}


def describe(data: bytes | memoryview) -> str:
    """Return a message in lines for people, whatever is wrong with it; never raises.

    Shown are the fields of the base header and of each extension by name, and every byte in hex, 16 a line, each line
    with the offset of its first. `**` stands for bytes that may be a secret: keys, what only key managers understand,
    extensions without a name here, and all that follows the place from which on lengths make no sense.

    >>> print(describe(bytes.fromhex("02030003 04000000 07000000 00000000 02000800 40000000 0123456789abcdef")))
    SADB_ADD: version 2, errno 0, satype SADB_SATYPE_ESP, len 4, reserved 0, seq 7, pid 0
      0000  02 03 00 03 04 00 00 00 07 00 00 00 00 00 00 00
    SADB_EXT_KEY_AUTH: bits 64
      0010  02 00 08 00 40 00 00 00 ** ** ** ** ** ** ** **
    """
    return "\n".join(_lines(bytes(data)))


def _lines(data: bytes) -> Iterator[str]:
    if len(data) < _BASE_HEADER.size:
        yield f"no PF_KEY message: {len(data)} bytes are less than a base header"
        yield from _hex(data, 0, 0)
        return
    version, msgtype, error, satype, words, reserved, seq, pid = _BASE_HEADER.unpack_from(data)
    refusal = f" {_ERRORS[error]}" if error in _ERRORS else ""
    arrived = "" if words * _WORD == len(data) else f" ({words * _WORD} bytes, but {len(data)} arrived)"
    yield (
        f"{MessageType(msgtype)}: version {version}, errno {error}{refusal}, satype {SAType(satype)}, "
        f"len {words}{arrived}, reserved {reserved}, seq {seq}, pid {pid}"
    )
    yield from _hex(data[: _BASE_HEADER.size], 0, _BASE_HEADER.size)
    offset = _BASE_HEADER.size
    if version != lib.PF_KEY_V2:
        yield from _broken(data, offset, f"version {version} may lay out the rest otherwise")
        return
    seen = set()
    while offset < len(data):
        size, exttype = _extension_header(data, offset)
        if exttype in seen:
            yield from _broken(data, offset, f"{exttype} comes twice")
            return
        seen.add(exttype)
        if not size:
            yield from _broken(data, offset, "an extension that has no length or goes beyond the end")
            return
        part = data[offset : offset + size]
        extension = _extension(exttype, part)
        if extension is None:
            yield from _broken(data, offset, f"{exttype}: cut short or makes no sense")
            return
        yield from _fields(str(exttype), extension, "")
        yield from _hex(part, offset, _shown(exttype, extension))
        offset += size


def _broken(data: bytes, offset: int, reason: str) -> Iterator[str]:
    yield f"{reason}: not shown, since a key may be in it or behind it"
    yield from _hex(data[offset:], offset, 0)


def _extension_header(data: bytes, offset: int) -> tuple[int, ExtensionType]:
    """Return how many bytes an extension has, 0 where that cannot be, and its type."""
    if len(data) - offset < _EXTENSION_HEADER.size:
        return 0, ExtensionType(0)
    words, exttype = _EXTENSION_HEADER.unpack_from(data, offset)
    size = words * _WORD
    return size if size <= len(data) - offset else 0, ExtensionType(exttype)


def _extension(exttype: int, part: bytes) -> Extension | None:
    memory = ffi.from_buffer("uint8_t[]", part)
    try:
        return get(ffi.new("struct pfkeyx_extension *", {"type": exttype, "data": memory, "size": len(part)}))
    except NonsenseError:
        return None


def _shown(exttype: int, extension: Extension) -> int:
    """Return how many bytes from the extension's start are no secret: those that its fields account for."""
    match extension:
        case KeyExtension():
            return _WORD
        case KMPrivateExtension() | Unknown():
            return _EXTENSION_HEADER.size
        case _:
            builder = ffi.gc(ffi.new("struct pfkeyx_builder *"), lib.pfkeyx_builder_release)
            lib.pfkeyx_begin(builder, 0, 0, 0, 0, 0)
            put(builder, exttype, extension)
            return int(max(builder.size - _BASE_HEADER.size, _EXTENSION_HEADER.size))


def _fields(title: str, value: Any, indent: str) -> Iterator[str]:
    """Yield the fields on one line, and a line of its own for each part that has fields itself."""
    plain, parts = [], []
    match value:
        case KeyExtension():
            plain.append(f"bits {value.bits}")
        case KMPrivateExtension() | Unknown():
            plain.append(f"{len(value.data)} bytes")
        case _:
            for name, field in zip(value._fields, value, strict=True):
                if hasattr(field, "_fields"):
                    parts.append((name, field))
                elif isinstance(field, tuple) and field and hasattr(field[0], "_fields"):
                    parts += [(name.removesuffix("s"), part) for part in field]
                else:
                    plain.append(f"{name} {_number(name, field)}")
    yield f"{indent}{title}" + (f": {', '.join(plain)}" if plain else "")
    for name, part in parts:
        yield from _fields(name, part, f"{indent}  ")


def _number(name: str, value: object) -> str:
    if name in _IN_HEX and isinstance(value, int):
        return f"{value:#010x}"
    return repr(value) if isinstance(value, (str, bytes)) else str(value)


def _hex(data: bytes, offset: int, shown: int) -> Iterator[str]:
    texts = [f"{byte:02x}" for byte in data[:shown]] + ["**"] * (len(data) - shown)
    for start in range(0, len(data), 16):
        yield f"  {offset + start:04x}  {' '.join(texts[start : start + 16])}"
