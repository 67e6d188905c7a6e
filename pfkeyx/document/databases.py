"""The SAD and the SPD as one value (RFC 4301 §4.4), as plain values, and as text in TOML or JSON."""

import json
import tomllib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pfkeyx.document.plain import VERSION, document, policy_from_plain, sa_from_plain
from pfkeyx.document.reading import read_fields
from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import SA, DefaultPolicy, Direction, Policy, SAState

T = TypeVar("T", SA, Policy)


@dataclass(frozen=True, slots=True)
class Databases:
    """SAs and policies in the order in which they are added, and the default policy; what is None is left alone."""

    sas: tuple[SA, ...] | None = ()
    policies: tuple[Policy, ...] | None = ()
    default_policy: DefaultPolicy | None = None


def as_exported(found: Databases, *, with_state: bool = True) -> Databases:
    """Return what was dumped as a file keeps it, so that it can be written again.

    Left out are larval SAs, policies of single sockets, and what the kernel counts; but for each SA's sequence
    numbers, replay window and counters, if `with_state` and the interface tells them. The kernel dumps the newest
    first, and of two that fit alike the older policy and the newer SA wins: so the order is turned round.
    """
    sas = [sa for sa in found.sas or () if not is_larval(sa)]
    policies = [policy for policy in found.policies or () if not is_of_socket(policy)]
    return Databases(
        tuple(_with_state(sa) if with_state else sa.as_written() for sa in reversed(sas)),
        tuple(policy.as_written() for policy in reversed(policies)),
        found.default_policy,
    )


def is_larval(sa: SA) -> bool:
    """Return whether an SA is only a reserved SPI, or a place for an SA that was asked for."""
    # XFRM does not tell the state, but a larval SA has no algorithms.
    return sa.state is SAState.LARVAL or (sa.encryption, sa.authentication, sa.compression) == (None, None, None)


def is_of_socket(policy: Policy) -> bool:
    """Return whether a policy belongs to a single socket, and nobody else can change it."""
    return policy.direction not in (*Direction,)


def _with_state(sa: SA) -> SA:
    written = sa.as_written()
    return replace(written, usage=sa.usage, replay=sa.replay) if sa.replay is not None else written


def to_text(databases: Databases, form: str, *, show_keys: bool = False) -> str:
    """Return databases as text in the form "toml" or "json"."""
    default = databases.default_policy
    plain = document(databases.sas, databases.policies, default_policy=default, show_keys=show_keys)
    if form == "json":
        return json.dumps(plain, indent=2) + "\n"
    import tomli_w

    return tomli_w.dumps(plain)


def from_text(text: str, name: str) -> Databases:
    """Return the databases that a text in TOML or JSON says.

    Raises `InvalidRequestError`, which names the text and the place in it, such as `vpn.toml: sa[3].encryption.key`.
    """
    try:
        return from_plain(_parsed(text))
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{name}: {error}") from None


def from_plain(plain: Any) -> Databases:
    """Return the databases that a plain dict says; raises `InvalidRequestError`, which names the place in it."""
    if not isinstance(plain, Mapping) or type(plain.get("version")) is not int:
        raise InvalidRequestError(f"version: is missing; begin with version = {VERSION}")
    if plain["version"] != VERSION:
        raise InvalidRequestError(f"version: is {plain['version']}; this pfkeyx reads {VERSION}")
    known = ("version", "sa", "policy", "default_policy")
    unknown = [name for name in plain if name not in known]
    if unknown:
        raise InvalidRequestError(f"{unknown[0]}: there is no such table; take one of {', '.join(known[1:])}")
    default = plain.get("default_policy")
    return Databases(
        _each(plain, "sa", sa_from_plain, lambda sa: sa.id),
        _each(plain, "policy", policy_from_plain, lambda policy: policy.id),
        None if default is None else read_fields(DefaultPolicy, default, "default_policy"),
    )


def _each(
    plain: Mapping[str, Any], name: str, read: Callable[[Any, str], T], identify: Callable[[T], Hashable]
) -> tuple[T, ...] | None:
    if name not in plain:
        return None
    listed = plain[name]
    if not isinstance(listed, list):
        raise InvalidRequestError(f"{name}: is no list; write [[{name}]] above each")
    values = [read(item, f"{name}[{n}]") for n, item in enumerate(listed)]
    first: dict[Hashable, int] = {}
    for n, key in enumerate(map(identify, values)):
        if key in first:
            raise InvalidRequestError(f"{name}[{n}]: {key} is {name}[{first[key]}] already")
        first[key] = n
    return tuple(values)


def _parsed(text: str) -> Any:
    # A document in TOML begins with a name, one in JSON with a brace.
    try:
        return json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except json.JSONDecodeError as error:
        # Its own text tells the place only; what stands there may be a key.
        raise InvalidRequestError(f"line {error.lineno}: this is no JSON: {error.msg}") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequestError(f"this is no TOML: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"this cannot be read: {error}") from None
