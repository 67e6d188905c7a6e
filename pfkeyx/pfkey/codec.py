"""Values to PF_KEY extensions and back. What is asked for, and of which socket, is not decided here.

What PF_KEY cannot express has been refused before (`limits.py`).
"""

from collections.abc import Sequence
from socket import AF_INET, AF_INET6
from typing import Any

from pfkeyx.algorithms import Algorithm, Kind, by_pfkey_number
from pfkeyx.errors import MalformedReplyError
from pfkeyx.features import SupportedAlgorithm, SupportedAlgorithms
from pfkeyx.model import (
    SA,
    Action,
    AddressPair,
    Encap,
    Policy,
    PolicyId,
    SAFilter,
    SAId,
    Template,
    any_selector,
    prefix_address,
    prefix_length,
)
from pfkeyx.native import lib
from pfkeyx.pfkey import parts
from pfkeyx.pfkey.entry import Entry
from pfkeyx.pfkey.extensions import (
    Extension,
    FilterExtension,
    KeyExtension,
    KMAddressExtension,
    NatTPortExtension,
    NatTTypeExtension,
    PolicyExtension,
    SA2Extension,
    SAExtension,
    SupportedExtension,
)
from pfkeyx.pfkey.fields import POLICY_FIELDS, SA_FIELDS
from pfkeyx.pfkey.message import ExtensionType, Message

_UDP_ENCAP_ESPINUDP = 2  # <linux/udp.h>


def sa_extensions(sa: SA) -> dict[int, Extension]:
    """Return the extensions of an SA that is to be made."""
    encryption, authentication = sa.encryption, sa.authentication
    extensions: dict[int, Extension] = {
        ExtensionType.SA: SAExtension(
            sa.id.spi,
            sa.replay_window,
            lib.SADB_SASTATE_MATURE,
            _number(authentication.algorithm if authentication is not None else None),
            # IPComp has the number of its compression algorithm here.
            _number(encryption.algorithm if encryption is not None else sa.compression),
            sum(number for flag, number in parts.FLAGS.items() if flag in sa.flags),
        ),
        **parts.pair_extensions(sa.source, sa.destination),
        ExtensionType.ADDRESS_PROXY: parts.prefix_extension(sa.effective_selector.source),
        ExtensionType.X_SA2: SA2Extension(parts.MODES[sa.mode], sa.reqid),
    }
    if encryption is not None:
        extensions[ExtensionType.KEY_ENCRYPT] = KeyExtension.of(encryption.key)
    if authentication is not None:
        extensions[ExtensionType.KEY_AUTH] = KeyExtension.of(authentication.key)
    if sa.encap is not None:
        extensions |= _encap_extensions(sa.encap)
    return extensions | parts.lifetime_extensions(sa.lifetime) | parts.security_extensions(sa.security_context)


def sa_id_extensions(sa_id: SAId) -> dict[int, Extension]:
    """Return the extensions that an SA is looked up by; Linux asks for a source and does not compare it."""
    return {
        ExtensionType.SA: SAExtension(sa_id.spi),
        **parts.pair_extensions(sa_id.destination, sa_id.destination),
    }


def addrupdate_extensions(sa: SA, moved: SA) -> dict[int, Extension]:
    """Return the extensions that give an SA the ends of `moved`, and its encapsulation where that is another."""
    return {
        ExtensionType.SA: SAExtension(sa.id.spi),
        **parts.pair_extensions(sa.source, sa.destination),
        **parts.new_pair_extensions(moved.source, moved.destination),
        **({} if moved.encap == sa.encap else _encap_extensions(moved.encap)),
    }


def filter_extensions(matching: SAFilter) -> dict[int, Extension]:
    """Return the extension by which the kernel chooses what it dumps; none where it is to choose nothing."""
    given = matching.source or matching.destination
    if given is None:
        return {}
    anything = any_selector(given.version)
    source, destination = matching.source or anything.source, matching.destination or anything.destination
    return {
        ExtensionType.X_FILTER: FilterExtension(
            AF_INET if given.version == 4 else AF_INET6,
            prefix_address(source),
            prefix_length(source),
            prefix_address(destination),
            prefix_length(destination),
        )
    }


def policy_extensions(policy: Policy) -> dict[int, Extension]:
    """Return the extensions of a policy that is to be made."""
    if policy.action is Action.BLOCK:
        policy_type = lib.IPSEC_POLICY_DISCARD
    else:
        policy_type = lib.IPSEC_POLICY_IPSEC if policy.templates else lib.IPSEC_POLICY_NONE
    requests = tuple(parts.ipsecrequest(template) for template in policy.templates)
    return {
        **parts.selector_extensions(policy.selector),
        ExtensionType.X_POLICY: PolicyExtension(
            policy_type, policy.direction + 1, priority=policy.priority, requests=requests
        ),
        **parts.lifetime_extensions(policy.lifetime),
        **parts.security_extensions(policy.security_context),
    }


def migrate_extensions(
    policy_id: PolicyId, moves: Sequence[tuple[Template, Template]], kmaddress: AddressPair | None
) -> dict[int, Extension]:
    """Return the extensions that move templates from old to new, and the SAs that they find."""
    requests = tuple(parts.ipsecrequest(template) for move in moves for template in move)
    extensions: dict[int, Extension] = {
        **parts.selector_extensions(policy_id.selector),
        ExtensionType.X_POLICY: PolicyExtension(lib.IPSEC_POLICY_IPSEC, policy_id.direction + 1, requests=requests),
    }
    if kmaddress is not None:
        extensions[ExtensionType.X_KMADDRESS] = KMAddressExtension(kmaddress.local, kmaddress.remote)
    return extensions


def policy_id_extensions(policy_id: PolicyId) -> dict[int, Extension]:
    """Return the extensions that a policy is looked up by: its selector and its label."""
    return {
        **parts.selector_extensions(policy_id.selector),
        ExtensionType.X_POLICY: PolicyExtension(lib.IPSEC_POLICY_NONE, policy_id.direction + 1),
        **parts.security_extensions(policy_id.security_context),
    }


def policy_index_extensions(index: int) -> dict[int, Extension]:
    """Return the extension that a policy is looked up by: its index, of which the direction is a part."""
    return {ExtensionType.X_POLICY: PolicyExtension(lib.IPSEC_POLICY_NONE, lib.IPSEC_DIR_ANY, index)}


def decode_sa(message: Message) -> SA:
    """Return the SA that a message tells of; raises `MalformedReplyError`."""
    try:
        return SA(**{name: read(message) for name, read in SA_FIELDS.items()})
    except (KeyError, ValueError) as error:
        raise MalformedReplyError(f"PF_KEY message {message.type}: no such value in an SA: {error}") from error


def read_sa(message: bytes) -> SA:
    """Return the SA of an entry of a dump, of which nothing is worked out before it is looked at."""
    return SA.read(Entry(message), SA_FIELDS)


def decode_policy(message: Message) -> Policy:
    """Return the policy that a message tells of; raises `MalformedReplyError`."""
    try:
        return Policy(**{name: read(message) for name, read in POLICY_FIELDS.items()})
    except (KeyError, ValueError) as error:
        raise MalformedReplyError(f"PF_KEY message {message.type}: no such value in a policy: {error}") from error


def read_policy(message: bytes) -> Policy:
    """Return the policy of an entry of a dump, of which nothing is worked out before it is looked at."""
    return Policy.read(Entry(message), POLICY_FIELDS)


def decode_supported(message: Message) -> SupportedAlgorithms:
    """Return the lists of a SADB_REGISTER's answer; a list that is not there is empty."""
    none = SupportedExtension(())

    def supported(exttype: int, kind: Kind) -> tuple[SupportedAlgorithm, ...]:
        extension: Any = message.extensions.get(exttype, none)
        return tuple(
            SupportedAlgorithm(by_pfkey_number(it.id, kind), it.iv_length, it.minimum_bits, it.maximum_bits)
            for it in extension.algorithms
        )

    return SupportedAlgorithms(
        supported(ExtensionType.SUPPORTED_AUTH, Kind.AUTHENTICATION),
        supported(ExtensionType.SUPPORTED_ENCRYPT, Kind.ENCRYPTION),
    )


def _encap_extensions(encap: Encap | None) -> dict[int, Extension]:
    """Return the extensions of an encapsulation in UDP (RFC 3948), or of none."""
    if encap is None:
        return {ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(0)}
    return {
        ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(_UDP_ENCAP_ESPINUDP),
        ExtensionType.X_NAT_T_SPORT: NatTPortExtension(encap.source_port),
        ExtensionType.X_NAT_T_DPORT: NatTPortExtension(encap.destination_port),
    }


def _number(algorithm: Algorithm | None) -> int:
    return (algorithm and algorithm.pfkey_number) or lib.SADB_EALG_NONE
