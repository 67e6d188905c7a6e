"""Values of the model, and events, as dicts, lists, strings and numbers, and back: what JSON and TOML can hold.

There is one encoding for everything that is written as text. What has a name is its name in lower case, addresses are
text, an SPI is text in hex, flags are a list of names, keys are hex. A field is left out where it is what it is by
default, but for those that one looks for. An SA has the fields of its `id` among its own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum, IntFlag
from functools import cache
from typing import Any, cast, get_args

from pfkeyx.algorithms import ALGORITHMS, Algorithm
from pfkeyx.document.reading import HIDDEN, name_of, read_fields
from pfkeyx.errors import InvalidRequestError
from pfkeyx.events import Event
from pfkeyx.model import SA, Attribute, DefaultPolicy, Key, Mark, Policy, Port, SAId, TcpEncap, Template, UdpEncap

#: Of the encoding. It changes when what is written now would be read as something else.
VERSION = 1

#: Written at their defaults too.
_LOOKED_FOR: dict[type[Any], frozenset[str]] = {
    SA: frozenset({"mode", "reqid", "replay_window"}),
    SAId: frozenset({"protocol"}),
    Template: frozenset({"protocol", "mode", "reqid"}),
    Policy: frozenset({"action", "priority"}),
    DefaultPolicy: frozenset({"inbound", "forward", "outbound"}),
    **dict.fromkeys((UdpEncap, TcpEncap), frozenset({"source_port", "destination_port"})),
}
#: The order of `ip xfrm`.
_FIRST = ("source", "destination", "protocol", "spi", "mode", "reqid")
_ROWS = {row.name: row for row in ALGORITHMS}


def document(
    sas: Sequence[SA] | None = None,
    policies: Sequence[Policy] | None = None,
    *,
    default_policy: DefaultPolicy | None = None,
    show_keys: bool = False,
) -> dict[str, Any]:
    """Return SAs and policies as one versioned object; what is None is left out."""
    parts = {"default_policy": default_policy, "sa": sas, "policy": policies}
    plain = {name: to_plain(part, show_keys=show_keys) for name, part in parts.items() if part is not None}
    return {"version": VERSION} | plain


def sa_to_plain(sa: SA, show_keys: bool = False) -> dict[str, Any]:
    """Return an SA as a plain dict."""
    return _fields(sa, show_keys)


def sa_from_plain(plain: Any, path: str = "sa") -> SA:
    """Return the SA that a plain dict says; raises `InvalidRequestError`, which names the field below `path`."""
    return read_fields(SA, plain, path)


def policy_to_plain(policy: Policy, show_keys: bool = False) -> dict[str, Any]:
    """Return a policy as a plain dict."""
    return _fields(policy, show_keys)


def policy_from_plain(plain: Any, path: str = "policy") -> Policy:
    """Return the policy that a plain dict says; raises `InvalidRequestError`, which names the field below `path`."""
    return read_fields(Policy, plain, path)


def event_to_plain(event: Event, show_keys: bool = False) -> dict[str, Any]:
    """Return an event as a plain dict, whose `event` is its kind, such as "nat_mapping"."""
    return {"event": event_name(type(event))} | _fields(event, show_keys)


def event_from_plain(plain: Any, path: str = "event") -> Event:
    """Return the event that a plain dict says; raises `InvalidRequestError`, which names the field below `path`."""
    kinds = {event_name(kind): kind for kind in get_args(Event)}
    name = plain.get("event") if isinstance(plain, Mapping) else None
    if name not in kinds:
        raise InvalidRequestError(f"{path}.event: take one of {', '.join(kinds)}")
    event: Event = read_fields(kinds[name], {key: value for key, value in plain.items() if key != "event"}, path)
    return event


def event_name(kind: type[Event]) -> str:
    """Return what a kind of event is called in text.

    >>> from pfkeyx.events import SAProgress
    >>> event_name(SAProgress)
    'sa_progress'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind.__name__).lower()


def to_plain(value: Any, *, show_keys: bool = False) -> Any:
    """Return any value of the model in the encoding of this module."""
    match value:
        case bool() | str():
            return value
        case IntFlag():
            return _flag_names(value)
        case Enum():
            return name_of(value)
        case int():
            return value
        case bytes():
            return value.decode("latin-1")
        case Key():
            return value.reveal().hex() if show_keys and not value.is_hidden else HIDDEN
        case Algorithm() if _ROWS.get(value.name) == value:
            return value.name
        case Mark():
            return str(value)
        case Port():
            return value.value if value.mask == 0xFFFF else f"{value.value:#x}/{value.mask:#x}"
        case Attribute():
            # Nobody knows that it is no key.
            return {"number": value.number, "data": value.data.hex() if show_keys else HIDDEN}
        case tuple() | list() | range():
            return [to_plain(item, show_keys=show_keys) for item in value]
        case _ if is_dataclass(value):
            return _fields(value, show_keys)
    return str(value)


def _fields(value: Any, show_keys: bool) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    looked_for = _LOOKED_FOR.get(type(value), ())
    for name, default in _defaults(cast(Any, type(value))):
        part = getattr(value, name)
        if part is None or (part == default and name not in looked_for):
            continue
        if name == "id" and isinstance(part, SAId):
            plain |= _fields(part, show_keys)
        elif name == "spi":
            plain[name] = f"{part:#010x}"
        else:
            plain[name] = to_plain(part, show_keys=show_keys)
            if isinstance(part, Key):
                plain["key_bits"] = part.bits
    if isinstance(value, (UdpEncap, TcpEncap)):
        plain = {"type": "udp" if isinstance(value, UdpEncap) else "tcp"} | plain
    return {name: plain[name] for name in _FIRST if name in plain} | plain if isinstance(value, (SA, SAId)) else plain


def _flag_names(flags: IntFlag) -> list[str | int]:
    names: list[str | int] = [str(flag.name).lower() for flag in type(flags) if flag & flags]
    unnamed = int(flags) & ~sum(type(flags))
    return [*names, unnamed] if unnamed else names


@cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.default) for field in fields(kind))
