"""Strategies for any value of the model and any event, made of the types of their fields: a new field is tried too."""

from dataclasses import fields, is_dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any, get_args, get_type_hints

from hypothesis import strategies as st

from pfkeyx import Key, events, model
from pfkeyx.algorithms import ALGORITHMS, Algorithm, Kind, by_pfkey_number, by_xfrm_name
from pfkeyx.events import Event
from pfkeyx.model import OpenEnum, Prefix, make_prefix


def values_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Return any values of a dataclass of the model, or of the events."""
    return st.from_type(kind)


def _dataclass_values(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: st.from_type(hints[field.name]) for field in fields(kind)})


def _prefixes() -> st.SearchStrategy[Prefix]:
    either = st.ip_addresses(v=4) | st.ip_addresses(v=6)
    return either.flatmap(
        lambda address: st.builds(make_prefix, st.just(address), st.integers(0, address.max_prefixlen))
    )


def _algorithms() -> st.SearchStrategy[Algorithm]:
    unlisted = [
        by_xfrm_name("cbc(enigma)", Kind.ENCRYPTION),
        by_xfrm_name("rfc9999(enigma)", Kind.AEAD, 128),
        by_xfrm_name("hmac(sha512)", Kind.AUTHENTICATION, 96),
        by_pfkey_number(249, Kind.ENCRYPTION),
    ]
    return st.sampled_from([*ALGORITHMS, *unlisted])


def _register() -> None:
    """Tell hypothesis what it cannot know of the types that the fields have."""
    kinds = [getattr(model, name) for name in model.__all__] + [events.Proposal, *get_args(Event)]
    for kind in kinds:
        if isinstance(kind, type) and is_dataclass(kind):
            st.register_type_strategy(kind, partial(_dataclass_values))
        elif isinstance(kind, type) and issubclass(kind, OpenEnum) and kind is not OpenEnum:
            st.register_type_strategy(
                kind,
                st.sampled_from(kind) | st.integers(60, 255).map(kind),
            )
    for prefix in get_args(Prefix):
        st.register_type_strategy(prefix, _prefixes())
    for version in (4, 6):
        addresses = st.ip_addresses(v=version)
        st.register_type_strategy(type(ip_address({4: "0.0.0.0", 6: "::"}[version])), addresses)
    st.register_type_strategy(int, st.integers(min_value=0))
    # One of zeros only is what a kernel shows instead of one.
    st.register_type_strategy(Key, st.binary().filter(lambda key: not key or any(key)).map(Key))
    st.register_type_strategy(Algorithm, _algorithms())


_register()
