"""How each field of an SA or a policy is read of a message. How they are written is in `codec`."""

from collections.abc import Callable, Mapping, Set
from dataclasses import fields
from typing import Any

from pfkeyx.algorithms import Kind, by_pfkey_number
from pfkeyx.model import (
    SA,
    Action,
    Authentication,
    Direction,
    Encryption,
    IPAddress,
    Key,
    Policy,
    Port,
    Protocol,
    SAFlag,
    SAId,
    SAState,
    Selector,
    UdpEncap,
    any_selector,
    make_prefix,
)
from pfkeyx.native import lib
from pfkeyx.pfkey import parts
from pfkeyx.pfkey.entry import Entry
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    NatTPortExtension,
    NatTTypeExtension,
    PolicyExtension,
    SA2Extension,
    SAExtension,
)
from pfkeyx.pfkey.message import ExtensionType, Told, need

_Read = Callable[[Told], Any]


class Fields(dict[str, _Read]):
    """What reads each field of a value; what PF_KEY does not tell is what it is where nothing is said."""

    #: A message of PF_KEY is not written back.
    rewritable: Set[str] = frozenset()

    def __init__(self, value: type[SA] | type[Policy], told: Mapping[str, _Read], *, is_counted: bool = True) -> None:
        super().__init__({field.name: _always(field.default) for field in fields(value)})
        self.update(told)
        constants = {name: _always(field) for name, field in value.counted.items()}
        self.as_written = Fields(value, {**told, **constants}, is_counted=False) if is_counted else self

    def rewritten(self, origin: Entry, value: Any, fields: Mapping[str, Any]) -> tuple[Entry, Set[str]]:
        """Return the entry, in which nothing is changed."""
        del value, fields
        return origin, frozenset()

    def differing(self, origin: Entry, other: Entry) -> Set[str]:
        """Return the names of the fields that may differ between what is read of two entries."""
        return frozenset() if origin.is_same(other) else self.keys()


def _always(value: Any) -> _Read:
    return lambda _: value


def decode_encap(extensions: Mapping[int, Any]) -> UdpEncap | None:
    """Return the encapsulation that NAT-T's extensions say, None for none."""
    kind = extensions.get(ExtensionType.X_NAT_T_TYPE, NatTTypeExtension(0))
    if not kind.type:
        return None
    source, destination = (
        extensions.get(exttype, NatTPortExtension(0)).port
        for exttype in (ExtensionType.X_NAT_T_SPORT, ExtensionType.X_NAT_T_DPORT)
    )
    return UdpEncap(source, destination)


def _fixed(message: Told) -> SAExtension:
    return need(message, ExtensionType.SA, SAExtension)


def _source(message: Told) -> IPAddress:
    return need(message, ExtensionType.ADDRESS_SRC, AddressExtension).address


def _decode_id(message: Told) -> SAId:
    destination = need(message, ExtensionType.ADDRESS_DST, AddressExtension).address
    return SAId(destination, _fixed(message).spi, parts.PROTOCOLS[message.satype])


def _sa2(message: Told) -> Any:
    return message.extensions.get(ExtensionType.X_SA2, SA2Extension(lib.IPSEC_MODE_ANY, 0))


def _is_ipcomp(message: Told) -> bool:
    return parts.PROTOCOLS[message.satype] is Protocol.IPCOMP


def _decode_encryption(message: Told) -> Encryption | None:
    number = _fixed(message).encrypt
    # IPComp has the number of its compression algorithm here.
    if number == lib.SADB_EALG_NONE or _is_ipcomp(message):
        return None
    return Encryption(by_pfkey_number(number, Kind.ENCRYPTION), _key(message, ExtensionType.KEY_ENCRYPT) or Key(b""))


def _decode_authentication(message: Told) -> Authentication | None:
    number, key = _fixed(message).auth, _key(message, ExtensionType.KEY_AUTH)
    # An algorithm that has no number on PF_KEY is shown as none, with its key.
    if number == lib.SADB_AALG_NONE and key is None:
        return None
    algorithm = by_pfkey_number(number, Kind.AUTHENTICATION)
    return Authentication(algorithm, Key(b"") if key is None else key, algorithm.pfkey_icv_bits)


def _key(message: Told, exttype: int) -> Key | None:
    extension: Any = message.extensions.get(exttype)
    return None if extension is None else extension.key


def _decode_proxy(message: Told) -> Selector | None:
    source, proxy = _source(message), message.extensions.get(ExtensionType.ADDRESS_PROXY)
    everything = any_selector(source.version)
    if not isinstance(proxy, AddressExtension):
        # Linux leaves it out where its address is the SA's source, which a larval SA's always is.
        if _fixed(message).state == lib.SADB_SASTATE_LARVAL or source.is_unspecified:
            return None
        return Selector(make_prefix(source, source.max_prefixlen), everything.destination)
    if proxy.prefix_length > source.max_prefixlen:
        # Linux shows a selector of the other IP version as if it were of the SA's.
        return None
    selector = Selector(
        make_prefix(proxy.address, proxy.prefix_length),
        everything.destination,
        parts.decode_protocol(proxy.protocol),
        Port(proxy.port) if proxy.port else None,
    )
    return None if selector == everything else selector


def _policy(message: Told) -> PolicyExtension:
    return need(message, ExtensionType.X_POLICY, PolicyExtension)


SA_FIELDS = Fields(
    SA,
    {
        "id": _decode_id,
        "source": _source,
        "mode": lambda message: parts.MODES_READ[_sa2(message).mode],
        "reqid": lambda message: _sa2(message).reqid,
        "encryption": _decode_encryption,
        "authentication": _decode_authentication,
        "compression": lambda message: (
            by_pfkey_number(_fixed(message).encrypt, Kind.COMPRESSION) if _is_ipcomp(message) else None
        ),
        "encap": lambda message: decode_encap(message.extensions),
        "selector": _decode_proxy,
        "lifetime": lambda message: parts.decode_lifetime(message.extensions),
        "replay_window": lambda message: _fixed(message).replay,
        "flags": lambda message: SAFlag(
            sum(flag for flag, number in parts.FLAGS.items() if _fixed(message).flags & number)
        ),
        "security_context": lambda message: parts.decode_security_context(message.extensions),
        "state": lambda message: SAState(_fixed(message).state),
        "usage": lambda message: parts.decode_usage(message.extensions),
    },
)
POLICY_FIELDS = Fields(
    Policy,
    {
        "selector": lambda message: parts.decode_selector(
            need(message, ExtensionType.ADDRESS_SRC, AddressExtension),
            need(message, ExtensionType.ADDRESS_DST, AddressExtension),
        ),
        "direction": lambda message: Direction(_policy(message).direction - 1),
        "templates": lambda message: tuple(map(parts.decode_template, _policy(message).requests)),
        "action": lambda message: Action.BLOCK if _policy(message).type == lib.IPSEC_POLICY_DISCARD else Action.ALLOW,
        "priority": lambda message: _policy(message).priority,
        "lifetime": lambda message: parts.decode_lifetime(message.extensions),
        "security_context": lambda message: parts.decode_security_context(message.extensions),
        "index": lambda message: _policy(message).id,
        "usage": lambda message: parts.decode_usage(message.extensions),
    },
)
