"""What of a request a refusal is about: the extended acknowledgement (`<linux/netlink.h>`), in names.

No socket is here, and what is done about a refusal is not decided here.
"""

import struct
from typing import Any, NamedTuple

from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm.answers import is_dump
from pfkeyx.xfrm.cstruct import size_of
from pfkeyx.xfrm.datagram import HEADER_SIZE
from pfkeyx.xfrm.numbers import NLM_F_ACK_TLVS
from pfkeyx.xfrm.received import Received

_ATTRIBUTE = struct.Struct("=HH")


class Refusal(NamedTuple):
    """What the kernel says beside an errno: text, "" for none, and what of the request it took offence at, by name."""

    text: str
    attribute: str | None


def explain(acknowledgement: Received, flags: int, request: bytes | bytearray) -> Refusal:
    """Return what an acknowledgement with these header flags says of a request."""
    if not flags & NLM_F_ACK_TLVS:
        return Refusal("", None)
    said, _, _ = (acknowledgement.get_attr("NLMSGERR_ATTR_MSG") or b"").partition(b"\0")
    text = said.decode(errors="replace")
    missing = acknowledgement.get_attr("NLMSGERR_ATTR_MISS_TYPE")
    if missing is not None:
        return Refusal(text or "it is missing", _attribute_name(_message_class(request), missing))
    offset = acknowledgement.get_attr("NLMSGERR_ATTR_OFFS")
    return Refusal(text, None if offset is None else _name_at(request, offset))


def _name_at(request: bytes | bytearray, offset: int) -> str | None:
    message_class = _message_class(request)
    at = HEADER_SIZE
    if offset < at:
        return None
    for name, fmt in () if _is_dump(request) else message_class.fields:
        if offset < at + size_of(fmt):
            return _field_name(name, fmt, offset - at)
        at += size_of(fmt)
    at = _aligned(at)
    while at + _ATTRIBUTE.size <= len(request):
        length, number = _ATTRIBUTE.unpack_from(request, at)
        if at <= offset < at + length:
            return _attribute_name(message_class, number)
        at = _aligned(at + max(length, _ATTRIBUTE.size))
    return None


def _message_class(request: bytes | bytearray) -> type[wire.Message]:
    (number,) = struct.unpack_from("=H", request, 4)
    return wire.SENT.get(number, wire.empty_msg)


def _is_dump(request: bytes | bytearray) -> bool:
    number, flags = struct.unpack_from("=HH", request, 4)
    return is_dump(number, flags)


def _field_name(name: str, fmt: Any, offset: int) -> str:
    """Return the path to the field that is `offset` bytes into a field."""
    if isinstance(fmt, str):
        return name
    for inner, inner_fmt in fmt.fields:
        if offset < size_of(inner_fmt):
            return f"{name}.{_field_name(inner, inner_fmt, offset)}"
        offset -= size_of(inner_fmt)
    return name


def _attribute_name(message_class: type[wire.Message], number: int) -> str:
    return message_class.table.names.get(number, f"XFRMA {number}")


def _aligned(size: int) -> int:
    return (size + 3) & ~3
