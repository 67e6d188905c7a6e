"""Values to PF_KEY extensions and back. What is asked for, and of which socket, is not decided here.

What PF_KEY cannot express has been refused before (`limits.py`).
"""

from collections.abc import Mapping
from typing import Any

from pfkeyx.algorithms import Kind, by_pfkey_number
from pfkeyx.errors import MalformedReplyError
from pfkeyx.events import Acquire, Expire
from pfkeyx.model import (
    SA,
    Action,
    Authentication,
    Direction,
    Encryption,
    IPAddress,
    Key,
    Lifetime,
    Limit,
    Mode,
    Policy,
    PolicyId,
    Port,
    Prefix,
    Protocol,
    SAFlag,
    SAId,
    SAState,
    Selector,
    Template,
    UdpEncap,
    Usage,
    any_selector,
    make_prefix,
    prefix_address,
    prefix_length,
)
from pfkeyx.native import lib
from pfkeyx.pfkey.messages import (
    AddressExtension,
    IPsecRequest,
    LifetimeExtension,
    Message,
    PolicyExtension,
    SA2Extension,
    SAExtension,
)

_UDP_ENCAP_ESPINUDP = 2  # <linux/udp.h>

SATYPES = {
    Protocol.ESP: lib.SADB_SATYPE_ESP,
    Protocol.AH: lib.SADB_SATYPE_AH,
    Protocol.IPCOMP: lib.SADB_X_SATYPE_IPCOMP,
}
MODES = {
    Mode.TRANSPORT: lib.IPSEC_MODE_TRANSPORT,
    Mode.TUNNEL: lib.IPSEC_MODE_TUNNEL,
    Mode.BEET: lib.IPSEC_MODE_BEET,
}
FLAGS = {
    SAFlag.NO_ECN: lib.SADB_SAFLAGS_NOECN,
    SAFlag.DECAP_DSCP: lib.SADB_SAFLAGS_DECAP_DSCP,
    SAFlag.NO_PMTU_DISCOVERY: lib.SADB_SAFLAGS_NOPMTUDISC,
}
_PROTOCOLS = {number: protocol for protocol, number in SATYPES.items()}
_MODES_READ = {number: mode for mode, number in MODES.items()} | {lib.IPSEC_MODE_ANY: Mode.TRANSPORT}


def sa_extensions(sa: SA) -> dict[int, Any]:
    """Return the extensions of an SA that is to be made."""
    encryption, authentication = sa.encryption, sa.authentication
    extensions: dict[int, Any] = {
        lib.SADB_EXT_SA: SAExtension(
            sa.id.spi,
            sa.replay_window,
            lib.SADB_SASTATE_MATURE,
            (authentication and authentication.algorithm.pfkey_number) or lib.SADB_AALG_NONE,
            (encryption and encryption.algorithm.pfkey_number) or lib.SADB_EALG_NONE,
            sum(number for flag, number in FLAGS.items() if flag in sa.flags),
        ),
        lib.SADB_EXT_ADDRESS_SRC: _host(sa.source),
        lib.SADB_EXT_ADDRESS_DST: _host(sa.destination),
        lib.SADB_EXT_ADDRESS_PROXY: _prefix_extension(sa.effective_selector.source),
        lib.SADB_X_EXT_SA2: SA2Extension(MODES[sa.mode], sa.reqid),
    }
    if encryption is not None:
        extensions[lib.SADB_EXT_KEY_ENCRYPT] = encryption.key
    if authentication is not None:
        extensions[lib.SADB_EXT_KEY_AUTH] = authentication.key
    if sa.encap is not None:
        extensions[lib.SADB_X_EXT_NAT_T_TYPE] = _UDP_ENCAP_ESPINUDP
        extensions[lib.SADB_X_EXT_NAT_T_SPORT] = sa.encap.source_port
        extensions[lib.SADB_X_EXT_NAT_T_DPORT] = sa.encap.destination_port
    return extensions | _lifetime_extensions(sa.lifetime)


def sa_id_extensions(sa_id: SAId) -> dict[int, Any]:
    """Return the extensions that an SA is looked up by; Linux asks for a source and does not compare it."""
    return {
        lib.SADB_EXT_SA: SAExtension(sa_id.spi),
        **pair_extensions(sa_id.destination, sa_id.destination),
    }


def pair_extensions(source: IPAddress, destination: IPAddress) -> dict[int, Any]:
    """Return the extensions for the two ends of an SA."""
    return {lib.SADB_EXT_ADDRESS_SRC: _host(source), lib.SADB_EXT_ADDRESS_DST: _host(destination)}


def policy_extensions(policy: Policy) -> dict[int, Any]:
    """Return the extensions of a policy that is to be made."""
    if policy.action is Action.BLOCK:
        policy_type = lib.IPSEC_POLICY_DISCARD
    else:
        policy_type = lib.IPSEC_POLICY_IPSEC if policy.templates else lib.IPSEC_POLICY_NONE
    requests = tuple(_ipsecrequest(template) for template in policy.templates)
    return {
        **_selector_extensions(policy.selector),
        lib.SADB_X_EXT_POLICY: PolicyExtension(
            policy_type, policy.direction + 1, priority=policy.priority, requests=requests
        ),
        **_lifetime_extensions(policy.lifetime),
    }


def policy_id_extensions(policy_id: PolicyId) -> dict[int, Any]:
    """Return the extensions that a policy is looked up by: its selector, not its index."""
    return {
        **_selector_extensions(policy_id.selector),
        lib.SADB_X_EXT_POLICY: PolicyExtension(lib.IPSEC_POLICY_NONE, policy_id.direction + 1),
    }


def decode_sa(message: Message) -> SA:
    """Return the SA that a message tells of; raises `MalformedReplyError`."""
    try:
        return _decode_sa(message)
    except (KeyError, ValueError) as error:
        raise MalformedReplyError(f"PF_KEY message {message.type}: no such value in an SA: {error}") from error


def decode_policy(message: Message) -> Policy:
    """Return the policy that a message tells of; raises `MalformedReplyError`."""
    try:
        return _decode_policy(message)
    except (KeyError, ValueError) as error:
        raise MalformedReplyError(f"PF_KEY message {message.type}: no such value in a policy: {error}") from error


def decode_acquire(message: Message) -> Acquire:
    """Return the event of a SADB_ACQUIRE; raises `MalformedReplyError`."""
    if message.satype not in _PROTOCOLS:
        raise MalformedReplyError(f"PF_KEY message {message.type}: no such SA type {message.satype}")
    return Acquire(
        source=message.need(lib.SADB_EXT_ADDRESS_SRC, AddressExtension).address,
        destination=message.need(lib.SADB_EXT_ADDRESS_DST, AddressExtension).address,
        protocol=_PROTOCOLS[message.satype],
        policy_index=message.need(lib.SADB_X_EXT_POLICY, PolicyExtension).id,
        sequence=message.seq,
    )


def decode_expire(message: Message) -> Expire:
    """Return the event of a SADB_EXPIRE; raises `MalformedReplyError`."""
    sa = decode_sa(message)
    return Expire(sa.id, sa.source, sa.reqid, hard=lib.SADB_EXT_LIFETIME_HARD in message.extensions)


def _decode_sa(message: Message) -> SA:
    extensions = message.extensions
    fixed = message.need(lib.SADB_EXT_SA, SAExtension)
    source = message.need(lib.SADB_EXT_ADDRESS_SRC, AddressExtension).address
    destination = message.need(lib.SADB_EXT_ADDRESS_DST, AddressExtension).address
    protocol = _PROTOCOLS[message.satype]
    sa2 = extensions.get(lib.SADB_X_EXT_SA2, SA2Extension(lib.IPSEC_MODE_ANY, 0))
    return SA(
        id=SAId(destination, fixed.spi, protocol),
        source=source,
        mode=_MODES_READ[sa2.mode],
        reqid=sa2.reqid,
        encryption=_decode_encryption(protocol, fixed.encrypt, extensions.get(lib.SADB_EXT_KEY_ENCRYPT)),
        authentication=_decode_authentication(fixed.auth, extensions.get(lib.SADB_EXT_KEY_AUTH)),
        encap=_decode_encap(extensions),
        selector=_decode_proxy(extensions.get(lib.SADB_EXT_ADDRESS_PROXY), source, fixed.state),
        lifetime=_decode_lifetime(extensions),
        replay_window=fixed.replay,
        flags=SAFlag(sum(flag for flag, number in FLAGS.items() if fixed.flags & number)),
        state=SAState(fixed.state),
        usage=_decode_usage(extensions),
    )


def _decode_policy(message: Message) -> Policy:
    fixed = message.need(lib.SADB_X_EXT_POLICY, PolicyExtension)
    return Policy(
        selector=_decode_selector(
            message.need(lib.SADB_EXT_ADDRESS_SRC, AddressExtension),
            message.need(lib.SADB_EXT_ADDRESS_DST, AddressExtension),
        ),
        direction=Direction(fixed.direction - 1),
        templates=tuple(_decode_template(request) for request in fixed.requests),
        action=Action.BLOCK if fixed.type == lib.IPSEC_POLICY_DISCARD else Action.ALLOW,
        priority=fixed.priority,
        lifetime=_decode_lifetime(message.extensions),
        index=fixed.id,
        usage=_decode_usage(message.extensions),
    )


def _host(address: IPAddress) -> AddressExtension:
    return AddressExtension(address, address.max_prefixlen)


def _prefix_extension(prefix: Prefix, protocol: int = 0, port: Port | None = None) -> AddressExtension:
    return AddressExtension(
        prefix_address(prefix),
        prefix_length(prefix),
        protocol or lib.IPSEC_PROTO_ANY,
        port.value if port else 0,
    )


def _selector_extensions(selector: Selector) -> dict[int, Any]:
    return {
        lib.SADB_EXT_ADDRESS_SRC: _prefix_extension(selector.source, selector.protocol, selector.source_port),
        lib.SADB_EXT_ADDRESS_DST: _prefix_extension(selector.destination, selector.protocol, selector.destination_port),
    }


def _lifetime_extensions(lifetime: Lifetime) -> dict[int, Any]:
    # Linux takes both of an SA's lifetimes or none.
    if lifetime == Lifetime():
        return {}
    return {
        lib.SADB_EXT_LIFETIME_HARD: _limit_extension(lifetime.hard),
        lib.SADB_EXT_LIFETIME_SOFT: _limit_extension(lifetime.soft),
    }


def _limit_extension(limit: Limit) -> LifetimeExtension:
    return LifetimeExtension(limit.packets or 0, limit.octets or 0, limit.seconds or 0, limit.idle_seconds or 0)


def _ipsecrequest(template: Template) -> IPsecRequest:
    # Linux takes the reqid at level "unique" alone.
    if template.optional:
        level = lib.IPSEC_LEVEL_USE
    else:
        level = lib.IPSEC_LEVEL_UNIQUE if template.reqid else lib.IPSEC_LEVEL_REQUIRE
    return IPsecRequest(
        template.protocol,
        MODES[template.mode],
        level,
        template.reqid,
        template.source,
        template.destination,
    )


def _decode_encryption(protocol: Protocol, number: int, key: Key | None) -> Encryption | None:
    # IPComp has the number of its compression algorithm here.
    if number == lib.SADB_EALG_NONE or protocol is Protocol.IPCOMP:
        return None
    return Encryption(by_pfkey_number(number, Kind.ENCRYPTION), key or Key(b""))


def _decode_authentication(number: int, key: Key | None) -> Authentication | None:
    # An algorithm that has no number on PF_KEY is shown as none, with its key.
    if number == lib.SADB_AALG_NONE and key is None:
        return None
    algorithm = by_pfkey_number(number, Kind.AUTHENTICATION)
    return Authentication(algorithm, key or Key(b""), algorithm.pfkey_icv_bits)


def _decode_encap(extensions: Mapping[int, Any]) -> UdpEncap | None:
    if lib.SADB_X_EXT_NAT_T_TYPE not in extensions:
        return None
    return UdpEncap(extensions.get(lib.SADB_X_EXT_NAT_T_SPORT, 0), extensions.get(lib.SADB_X_EXT_NAT_T_DPORT, 0))


def _decode_proxy(proxy: AddressExtension | None, source: IPAddress, state: int) -> Selector | None:
    everything = any_selector(source.version)
    if proxy is None:
        # Linux leaves it out where its address is the SA's source, which a larval SA's always is.
        if state == lib.SADB_SASTATE_LARVAL or source.is_unspecified:
            return None
        return Selector(make_prefix(source, source.max_prefixlen), everything.destination)
    if proxy.prefix_length > source.max_prefixlen:
        # Linux shows a selector of the other IP version as if it were of the SA's.
        return None
    selector = Selector(
        make_prefix(proxy.address, proxy.prefix_length),
        everything.destination,
        _decode_protocol(proxy.protocol),
        Port(proxy.port) if proxy.port else None,
    )
    return None if selector == everything else selector


def _decode_selector(source: AddressExtension, destination: AddressExtension) -> Selector:
    return Selector(
        make_prefix(source.address, source.prefix_length),
        make_prefix(destination.address, destination.prefix_length),
        _decode_protocol(destination.protocol),
        Port(source.port) if source.port else None,
        Port(destination.port) if destination.port else None,
    )


def _decode_protocol(number: int) -> int:
    return 0 if number == lib.IPSEC_PROTO_ANY else number


def _decode_lifetime(extensions: Mapping[int, Any]) -> Lifetime:
    def limit(exttype: int) -> Limit:
        lifetime = extensions.get(exttype, LifetimeExtension(0, 0, 0, 0))
        return Limit(
            octets=lifetime.octets or None,
            packets=lifetime.packets or None,
            seconds=lifetime.addtime or None,
            idle_seconds=lifetime.usetime or None,
        )

    return Lifetime(soft=limit(lib.SADB_EXT_LIFETIME_SOFT), hard=limit(lib.SADB_EXT_LIFETIME_HARD))


def _decode_usage(extensions: Mapping[int, Any]) -> Usage | None:
    current = extensions.get(lib.SADB_EXT_LIFETIME_CURRENT)
    return Usage(current.octets, current.packets, current.addtime, current.usetime) if current else None


def _decode_template(request: IPsecRequest) -> Template:
    return Template(
        protocol=Protocol(request.protocol),
        mode=_MODES_READ[request.mode],
        source=request.source,
        destination=request.destination,
        reqid=request.reqid,
        optional=request.level == lib.IPSEC_LEVEL_USE,
    )
