"""The JSON schema of documents, made of the types that they are read by."""

import json
from collections.abc import Sequence
from dataclasses import MISSING, fields
from enum import Enum, IntFlag
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from pfkeyx.algorithms import ALGORITHMS, Algorithm
from pfkeyx.document.plain import VERSION, to_plain
from pfkeyx.document.reading import HIDDEN, field_types, name_of, required_fields
from pfkeyx.model import SA, Attribute, DefaultPolicy, Encap, IPAddress, Key, Mark, OpenEnum, Policy, Port, Prefix, SAId

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer"}
_HEX: Schema = {"type": "string", "pattern": f"^(?:(?:0x)?(?:[0-9a-fA-F]{{2}})*|{HIDDEN})$"}
_MASKED: Schema = {"anyOf": [_NUMBER, {"type": "string", "pattern": "^(0x[0-9a-f]+|[0-9]+)(/(0x[0-9a-f]+|[0-9]+))?$"}]}
SPI: Schema = {"anyOf": [{"type": "string", "pattern": "^(0x[0-9a-fA-F]+|[0-9]+)$"}, _NUMBER]}
_SIMPLE: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: _NUMBER,
    str: _TEXT,
    bytes: _TEXT,
    Key: _HEX,
    "spi": SPI,
    Mark: _MASKED,
    Port: _MASKED,
    Attribute: {
        "type": "object",
        "properties": {"number": _NUMBER, "data": _HEX},
        "required": ["number", "data"],
        "additionalProperties": False,
    },
}


def schema_text() -> str:
    """Return the schema as the file that is published."""
    return json.dumps(schema(), indent=2) + "\n"


def schema() -> Schema:
    """Return the schema of a document: what `pfkeyx export json` writes, and `apply` reads."""
    definitions: dict[str, Schema] = {}
    lists = {
        name: {"type": "array", "items": of_type(kind, definitions)} for name, kind in (("sa", SA), ("policy", Policy))
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "SAs and policies, as pfkeyx writes and reads them",
        "type": "object",
        "properties": {"version": {"const": VERSION}, "default_policy": of_type(DefaultPolicy, definitions), **lists},
        "required": ["version"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def of_type(kind: Any, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a type of the model; what it refers to is added to the definitions."""
    if isinstance(kind, UnionType):
        return _of_union(frozenset(get_args(kind)) - {NoneType}, definitions)
    if get_origin(kind) in (tuple, Sequence):
        return _of_list(get_args(kind), definitions)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if issubclass(kind, IntFlag):
        return {"type": "array", "items": {"anyOf": [{"enum": [name_of(member) for member in kind]}, _NUMBER]}}
    if issubclass(kind, Enum):
        names: Schema = {"enum": [name_of(member) for member in kind]}
        return {"anyOf": [names, _NUMBER]} if issubclass(kind, OpenEnum) else names
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = _of_dataclass(kind, definitions)
    reference = {"$ref": f"#/$defs/{kind.__name__}"}
    return {"anyOf": [{"enum": [row.name for row in ALGORITHMS]}, reference]} if kind is Algorithm else reference


def _of_union(kinds: frozenset[Any], definitions: dict[str, Schema]) -> Schema:
    if kinds in (frozenset(get_args(IPAddress)), frozenset(get_args(Prefix))):
        return _TEXT
    if kinds == frozenset(get_args(Encap)):
        return {"anyOf": [of_type(kind, definitions) for kind in get_args(Encap)]}
    (kind,) = kinds
    return of_type(kind, definitions)


def _of_list(kinds: tuple[Any, ...], definitions: dict[str, Schema]) -> Schema:
    if len(kinds) == 1 or kinds[1] is Ellipsis:
        return {"type": "array", "items": of_type(kinds[0], definitions)}
    items = [of_type(kind, definitions) for kind in kinds]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _of_dataclass(kind: Any, definitions: dict[str, Schema]) -> Schema:
    types = field_types(kind)
    defaults = (
        {field.name: field.default for part in (kind, SAId) for field in fields(part)}
        if kind is SA
        else {field.name: field.default for field in fields(kind)}
    )
    properties = {name: dict(of_type(of, definitions)) for name, of in types.items()}
    for name, found in properties.items():
        if isinstance(defaults[name], (bool, int, str)) and defaults[name] is not MISSING:
            found["default"] = to_plain(defaults[name])
    required = list(required_fields(kind))
    if "key" in types:
        properties["key_bits"] = _NUMBER
    if kind in get_args(Encap):
        properties = {"type": {"const": kind.__name__.removesuffix("Encap").lower()}, **properties}
        required = ["type"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
