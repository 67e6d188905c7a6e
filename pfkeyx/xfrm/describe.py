"""Any announced XFRM message for people: its fields by the kernel's names, without those that may be a key."""

from collections.abc import Iterator
from typing import Any

from pfkeyx.errors import MalformedReplyError
from pfkeyx.xfrm import declarations
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.datagram import Header

_NAMES = {number: name for name, number in vars(wire).items() if name.startswith("XFRM_MSG_")}
_KEY = "alg_key"
_IN_HEX = {"spi", "flags"}


def message_name(message_type: int) -> str:
    """Return a message's name in `<linux/xfrm.h>`."""
    return _NAMES.get(message_type, f"message {message_type}")


def describe(header: Header, message: bytes) -> str:
    """Return a message in lines for people, whatever is wrong with it; never raises.

    What is 0 is left out. `**` stands for a key, and for what has no name here, since nobody knows that it is none.
    """
    return "\n".join(_lines(header, message))


def _lines(header: Header, message: bytes) -> Iterator[str]:
    yield (
        f"{message_name(header.type)}: length {header.length}, flags {header.flags:#x}, seq {header.sequence}, "
        f"pid {header.sender}"
    )
    message_class = wire.RECEIVED.get(header.type)
    if message_class is None:
        yield "  ** has no layout here: not shown, since a key may be in it"
        return
    try:
        parsed = wire.parse(message_class, message)
    except MalformedReplyError as error:
        yield f"  ** {error}: not shown, since a key may be in it"
        return
    yield from _fields({name: parsed[name] for name, _ in message_class.fields if name in parsed}, "  ")
    for slot in parsed["attrs"]:
        name, attribute = slot.cell
        if name in declarations.ATTRIBUTE_NAMES.values():
            yield from _attribute(name, attribute.value)
        else:
            yield f"  {name} **"


def _attribute(name: str, value: Any) -> Iterator[str]:
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, dict):
            yield f"  {name}"
            yield from _fields(part, "    ")
        else:
            yield f"  {name} {_value(name, part)}"


def _fields(values: dict[str, Any], indent: str) -> Iterator[str]:
    plain = [f"{name} {_value(name, value)}" for name, value in values.items() if _is_plain(value) and _is_set(value)]
    if plain:
        yield indent + ", ".join(plain)
    for name, value in values.items():
        if isinstance(value, dict) and any(map(_is_set, value.values())):
            yield f"{indent}{name}"
            yield from _fields(value, f"{indent}  ")


def _is_plain(value: Any) -> bool:
    return not isinstance(value, (dict, list))


def _is_set(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_set, value.values()))
    return any(value) if isinstance(value, bytes) else bool(value)


def _value(name: str, value: Any) -> str:
    if name == _KEY:
        return "**"
    if name == "alg_name":
        return str(value.split(b"\0", 1)[0].decode(errors="replace"))
    if isinstance(value, bytes):
        return value.hex()
    return f"{value:#010x}" if name in _IN_HEX and isinstance(value, int) else str(value)
