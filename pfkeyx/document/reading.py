"""Values of the model out of plain dicts, lists, strings and numbers, by the types of their fields.

Errors name the place in the document, such as `sa[3].encryption.key`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from enum import Enum, IntEnum, IntFlag
from functools import cache
from ipaddress import ip_address, ip_interface
from types import NoneType, UnionType
from typing import Any, NoReturn, TypeVar, cast, get_args, get_origin, get_type_hints

from pfkeyx.algorithms import Algorithm, by_name
from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import (
    SA,
    Attribute,
    Direction,
    Encap,
    IPAddress,
    Key,
    Mark,
    Port,
    Prefix,
    SAId,
    TcpEncap,
    UdpEncap,
    make_prefix,
)

T = TypeVar("T")

#: Stands for the bytes of a key that is not shown.
HIDDEN = "hidden"
_SHOW = "it was left out of the document; write that with --show-keys"


def name_of(member: Enum) -> str | int:
    """Return what an enum's member is called in text, or its number where it has no name."""
    if isinstance(member.value, str):
        return member.value
    if member is Direction.FORWARD:
        return "fwd"
    return int(member.value) if member.name.isdigit() else member.name.lower()


def read_fields(kind: type[T], plain: Any, path: str) -> T:
    """Return the dataclass `kind` that a plain dict says; raises `InvalidRequestError`, which names the field."""
    if not isinstance(plain, Mapping):
        _refuse(path, f"is {_kind_of(plain)} and not a table")
    known, required = field_types(cast(Any, kind)), required_fields(cast(Any, kind))
    has_key = "key" in known
    unknown = [name for name in plain if name not in known and not (name == "key_bits" and has_key)]
    if unknown:
        _refuse(_below(path, unknown[0]), f"there is no such field; take one of {', '.join(known)}")
    values = {name: read(known[name], plain[name], _below(path, name)) for name in plain if name in known}
    missing = [name for name in required if name not in values]
    if missing:
        _refuse(_below(path, missing[0]), "is missing")
    if has_key and plain.get("key_bits", values["key"].bits) != values["key"].bits:
        _refuse(_below(path, "key"), f"has {values['key'].bits} bits and not the {plain['key_bits']} of key_bits")
    if kind is SA:
        values["id"] = SAId(**{field.name: values.pop(field.name) for field in fields(SAId) if field.name in values})
    return kind(**(_nothing(cast(Any, kind)) | values))


def read(kind: Any, plain: Any, path: str) -> Any:
    """Return the value of type `kind` that a plain one says."""
    if isinstance(kind, UnionType):
        return _read_union(frozenset(get_args(kind)) - {NoneType}, plain, path)
    if get_origin(kind) in (tuple, Sequence):
        return _read_list(get_args(kind), plain, path)
    if kind in _READERS:
        return _READERS[kind](plain, path)
    if issubclass(kind, IntFlag):
        return _read_flags(kind, plain, path)
    if issubclass(kind, Enum):
        return _read_enum(kind, plain, path)
    return read_fields(kind, plain, path)


def _read_union(kinds: frozenset[Any], plain: Any, path: str) -> Any:
    if kinds == _IP_ADDRESS:
        return _read_address(plain, path)
    if kinds == _PREFIX:
        return _read_prefix(plain, path)
    if kinds == _ENCAP:
        return _read_encap(plain, path)
    (kind,) = kinds
    return read(kind, plain, path)


def _read_list(kinds: tuple[Any, ...], plain: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(plain, list):
        _refuse(path, f"is {_kind_of(plain)} and not a list")
    if len(kinds) == 1 or kinds[1] is Ellipsis:
        kinds = kinds[:1] * len(plain)
    if len(kinds) != len(plain):
        _refuse(path, f"has {len(plain)} entries and not {len(kinds)}")
    return tuple(read(kind, item, f"{path}[{n}]") for n, (kind, item) in enumerate(zip(kinds, plain, strict=True)))


def _read_flags(kind: type[IntFlag], plain: Any, path: str) -> IntFlag:
    if not isinstance(plain, list):
        _refuse(path, f"is {_kind_of(plain)} and not a list of names")
    flags = kind(0)
    for n, item in enumerate(plain):
        flags |= kind(item) if _is_int(item) else _read_enum(kind, item, f"{path}[{n}]")
    return flags


def _read_enum(kind: type[Enum], plain: Any, path: str) -> Any:
    names = {name_of(member): member for member in kind}
    if isinstance(plain, str) and plain in names:
        return names[plain]
    if not (_is_int(plain) and issubclass(kind, IntEnum)):
        _refuse(path, f"{plain!r} is none of {', '.join(map(str, names))}")
    with _named(path):
        return kind(plain)


def _read_encap(plain: Any, path: str) -> Encap:
    if not isinstance(plain, Mapping):
        _refuse(path, f"is {_kind_of(plain)} and not a table")
    kinds: dict[Any, type[UdpEncap] | type[TcpEncap]] = {"udp": UdpEncap, "tcp": TcpEncap}
    if plain.get("type") not in kinds:
        _refuse(_below(path, "type"), "take udp or tcp")
    return read_fields(kinds[plain["type"]], {name: plain[name] for name in plain if name != "type"}, path)


def _read_int(plain: Any, path: str) -> int:
    if not _is_int(plain):
        _refuse(path, f"is {_kind_of(plain)} and not a whole number")
    return int(plain)


def _read_spi(plain: Any, path: str) -> int:
    if not isinstance(plain, str):
        return _read_int(plain, path)
    with _named(path):
        return int(plain, 0)


def _read_bool(plain: Any, path: str) -> bool:
    if not isinstance(plain, bool):
        _refuse(path, f"is {_kind_of(plain)} and not true or false")
    return plain


def _read_text(plain: Any, path: str) -> str:
    if not isinstance(plain, str):
        _refuse(path, f"is {_kind_of(plain)} and not text")
    return plain


def _read_bytes(plain: Any, path: str) -> bytes:
    text = _read_text(plain, path)
    with _named(path):
        return text.encode("latin-1")


def _read_hex(plain: Any, path: str) -> bytes:
    text = _read_text(plain, path)
    if text == HIDDEN:
        _refuse(path, _SHOW)
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        # Python's own error would show a part of it.
        _refuse(path, "is not hex")


def _read_address(plain: Any, path: str) -> IPAddress:
    text = _read_text(plain, path)
    with _named(path):
        return ip_address(text)


def _read_prefix(plain: Any, path: str) -> Prefix:
    text = _read_text(plain, path)
    with _named(path):
        interface = ip_interface(text)
        return make_prefix(interface.ip, interface.network.prefixlen)


def _read_masked(kind: Callable[..., T]) -> Callable[[Any, str], T]:
    def read_masked(plain: Any, path: str) -> T:
        if _is_int(plain):
            return kind(plain)
        text = _read_text(plain, path)
        with _named(path):
            return kind(*(int(part, 0) for part in text.split("/", 1)))

    return read_masked


def _read_algorithm(plain: Any, path: str) -> Algorithm:
    if isinstance(plain, Mapping):
        return read_fields(Algorithm, plain, path)
    name = _read_text(plain, path)
    with _named(path):
        return by_name(name)


def _read_attribute(plain: Any, path: str) -> Attribute:
    if not isinstance(plain, Mapping) or set(plain) != {"number", "data"}:
        _refuse(path, "is not a table of number and data")
    return Attribute(_read_int(plain["number"], _below(path, "number")), _read_hex(plain["data"], _below(path, "data")))


_IP_ADDRESS, _PREFIX, _ENCAP = (frozenset(get_args(union)) for union in (IPAddress, Prefix, Encap))
_READERS: dict[Any, Callable[[Any, str], Any]] = {
    bool: _read_bool,
    int: _read_int,
    str: _read_text,
    bytes: _read_bytes,
    "spi": _read_spi,
    Key: lambda plain, path: Key(_read_hex(plain, path)),
    Mark: _read_masked(Mark),
    Port: _read_masked(Port),
    Algorithm: _read_algorithm,
    Attribute: _read_attribute,
}


@cache
def field_types(kind: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields by their names; an SA has those of its id."""
    hints = get_type_hints(kind)
    types = {field.name: "spi" if field.name == "spi" else hints[field.name] for field in fields(kind)}
    if kind is SA:
        del types["id"]
        return field_types(SAId) | types
    return types


@cache
def required_fields(kind: Any) -> tuple[str, ...]:
    """Return the fields of a dataclass that have to be there."""
    own = tuple(
        name for name in _without_default(kind) if name != "id" and NoneType not in get_args(field_types(kind)[name])
    )
    return required_fields(SAId) + own if kind is SA else own


@cache
def _nothing(kind: Any) -> dict[str, None]:
    """Return the fields of a dataclass that are None when they are left out, though not by default."""
    return {name: None for name in _without_default(kind) if NoneType in get_args(field_types(kind).get(name))}


def _without_default(kind: Any) -> list[str]:
    return [field.name for field in fields(kind) if field.default is MISSING]


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_int(plain: Any) -> bool:
    return isinstance(plain, int) and not isinstance(plain, bool)


def _kind_of(plain: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a table"}
    return kinds.get(type(plain), "nothing" if plain is None else type(plain).__name__)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Give what is wrong with a value its place in the document."""
    try:
        yield
    except ValueError as error:
        _refuse(path, str(error))


def _refuse(path: str, complaint: str) -> NoReturn:
    raise InvalidRequestError(f"{path}: {complaint}") from None
