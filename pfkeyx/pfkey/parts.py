"""What SAs and policies are made of, as PF_KEY extensions, and back. A whole SA or policy is not here."""

from collections.abc import Mapping
from typing import Any

from pfkeyx.model import (
    IPAddress,
    Lifetime,
    Limit,
    Mode,
    Port,
    Prefix,
    Protocol,
    SAFlag,
    SecurityContext,
    Selector,
    Template,
    Usage,
    make_prefix,
    prefix_address,
    prefix_length,
)
from pfkeyx.native import lib
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    Extension,
    IPsecRequest,
    LifetimeExtension,
    SecurityContextExtension,
)
from pfkeyx.pfkey.message import ExtensionType, SAType

SATYPES = {
    Protocol.ESP: SAType.ESP,
    Protocol.AH: SAType.AH,
    Protocol.IPCOMP: SAType.X_IPCOMP,
}
PROTOCOLS: Mapping[int, Protocol] = {number: protocol for protocol, number in SATYPES.items()}
FLAGS = {
    SAFlag.NO_ECN: lib.SADB_SAFLAGS_NOECN,
    SAFlag.DECAP_DSCP: lib.SADB_SAFLAGS_DECAP_DSCP,
    SAFlag.NO_PMTU_DISCOVERY: lib.SADB_SAFLAGS_NOPMTUDISC,
}
MODES = {
    Mode.TRANSPORT: lib.IPSEC_MODE_TRANSPORT,
    Mode.TUNNEL: lib.IPSEC_MODE_TUNNEL,
    Mode.BEET: lib.IPSEC_MODE_BEET,
}
MODES_READ = {number: mode for mode, number in MODES.items()} | {lib.IPSEC_MODE_ANY: Mode.TRANSPORT}


def pair_extensions(source: IPAddress, destination: IPAddress) -> dict[int, Extension]:
    """Return the extensions for the two ends of an SA."""
    return {ExtensionType.ADDRESS_SRC: _host(source), ExtensionType.ADDRESS_DST: _host(destination)}


def new_pair_extensions(source: IPAddress, destination: IPAddress) -> dict[int, Extension]:
    """Return the extensions for the two ends that an SA shall have (draft-schilcher-mobike-pfkey-extension-01 §3)."""
    return {ExtensionType.X_NEW_ADDRESS_SRC: _host(source), ExtensionType.X_NEW_ADDRESS_DST: _host(destination)}


def prefix_extension(prefix: Prefix, protocol: int = 0, port: Port | None = None) -> AddressExtension:
    """Return the extension of a prefix, with the protocol and port that a selector has beside it."""
    return AddressExtension(
        prefix_address(prefix),
        prefix_length(prefix),
        protocol or lib.IPSEC_PROTO_ANY,
        port.value if port else 0,
    )


def selector_extensions(selector: Selector) -> dict[int, Extension]:
    """Return the two extensions of a policy's selector."""
    return {
        ExtensionType.ADDRESS_SRC: prefix_extension(selector.source, selector.protocol, selector.source_port),
        ExtensionType.ADDRESS_DST: prefix_extension(selector.destination, selector.protocol, selector.destination_port),
    }


def decode_selector(source: AddressExtension, destination: AddressExtension) -> Selector:
    """Return the selector of a policy's two addresses."""
    return Selector(
        make_prefix(source.address, source.prefix_length),
        make_prefix(destination.address, destination.prefix_length),
        decode_protocol(destination.protocol),
        Port(source.port) if source.port else None,
        Port(destination.port) if destination.port else None,
    )


def decode_protocol(number: int) -> int:
    """Return the protocol of a selector; 0 is any."""
    return 0 if number == lib.IPSEC_PROTO_ANY else number


def ipsecrequest(template: Template) -> IPsecRequest:
    """Return the request of a template."""
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


def decode_template(request: IPsecRequest) -> Template:
    """Return the template of a request; raises `ValueError`."""
    return Template(
        protocol=Protocol(request.protocol),
        mode=MODES_READ[request.mode],
        source=request.source,
        destination=request.destination,
        reqid=request.reqid,
        optional=request.level == lib.IPSEC_LEVEL_USE,
    )


def lifetime_extensions(lifetime: Lifetime) -> dict[int, Extension]:
    """Return the extensions of what an SA or policy may carry; none where there is no limit."""
    # Linux takes both of an SA's lifetimes or none.
    if lifetime == Lifetime():
        return {}
    return {
        ExtensionType.LIFETIME_HARD: _limit_extension(lifetime.hard),
        ExtensionType.LIFETIME_SOFT: _limit_extension(lifetime.soft),
    }


def decode_lifetime(extensions: Mapping[int, Any]) -> Lifetime:
    """Return the limits of an SA or policy; where they are missing there are none."""
    nothing = LifetimeExtension(0, 0, 0, 0)
    return Lifetime(
        soft=decode_limit(extensions.get(ExtensionType.LIFETIME_SOFT, nothing)),
        hard=decode_limit(extensions.get(ExtensionType.LIFETIME_HARD, nothing)),
    )


def decode_limit(lifetime: LifetimeExtension) -> Limit:
    """Return one limit; 0 is none."""
    return Limit(
        octets=lifetime.octets or None,
        packets=lifetime.packets or None,
        seconds=lifetime.addtime or None,
        idle_seconds=lifetime.usetime or None,
    )


def decode_usage(extensions: Mapping[int, Any]) -> Usage | None:
    """Return what has gone through an SA or policy, None where the message does not say."""
    current = extensions.get(ExtensionType.LIFETIME_CURRENT)
    return Usage(current.octets, current.packets, current.addtime, current.usetime) if current else None


def security_extensions(context: SecurityContext | None) -> dict[int, Extension]:
    """Return the extension of a label, none where there is none."""
    if context is None:
        return {}
    return {ExtensionType.X_SEC_CTX: SecurityContextExtension(context.algorithm, context.doi, context.context)}


def decode_security_context(extensions: Mapping[int, Any]) -> SecurityContext | None:
    """Return the label of an SA or policy, None where it has none."""
    extension = extensions.get(ExtensionType.X_SEC_CTX)
    return SecurityContext(extension.context, extension.algorithm, extension.doi) if extension else None


def _host(address: IPAddress) -> AddressExtension:
    return AddressExtension(address, address.max_prefixlen)


def _limit_extension(limit: Limit) -> LifetimeExtension:
    return LifetimeExtension(limit.packets or 0, limit.octets or 0, limit.seconds or 0, limit.idle_seconds or 0)
