"""What the kernel says unasked over PF_KEY, as events. All raise `MalformedReplyError`; no socket is here."""

from pfkeyx.algorithms import Algorithm, Kind, by_pfkey_number
from pfkeyx.errors import MalformedReplyError
from pfkeyx.events import (
    Acquire,
    Change,
    Expire,
    Migrated,
    NatMapping,
    PolicyChange,
    Proposal,
    SAChange,
    SAFlush,
    SAMigrated,
)
from pfkeyx.model import AddressPair, Direction, Lifetime, PolicyId, Protocol, SAId
from pfkeyx.pfkey import codec, fields, parts
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    Combination,
    KMAddressExtension,
    NatTPortExtension,
    PolicyExtension,
    ProposalExtension,
    SA2Extension,
    SAExtension,
)
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType

_CHANGES = {
    MessageType.ADD: Change.ADDED,
    MessageType.UPDATE: Change.UPDATED,
    MessageType.DELETE: Change.DELETED,
    MessageType.X_SPDADD: Change.ADDED,
    MessageType.X_SPDUPDATE: Change.UPDATED,
    MessageType.X_SPDDELETE: Change.DELETED,
    MessageType.X_SPDDELETE2: Change.DELETED,
}


def decode_acquire(message: Message) -> Acquire:
    """Return the event of a SADB_ACQUIRE."""
    proposal = message.extensions.get(ExtensionType.PROPOSAL)
    combinations = proposal.combinations if isinstance(proposal, ProposalExtension) else ()
    return Acquire(
        source=message.need(ExtensionType.ADDRESS_SRC, AddressExtension).address,
        destination=message.need(ExtensionType.ADDRESS_DST, AddressExtension).address,
        protocol=_protocol(message),
        policy_id=_policy_id(message),
        sequence=message.seq,
        proposals=tuple(_proposal(combination) for combination in combinations),
        security_context=parts.decode_security_context(message.extensions),
    )


def decode_expire(message: Message) -> Expire:
    """Return the event of a SADB_EXPIRE."""
    sa = codec.decode_sa(message)
    return Expire(sa.id, sa.source, sa.reqid, hard=ExtensionType.LIFETIME_HARD in message.extensions)


def decode_nat_mapping(message: Message) -> NatMapping:
    """Return the event of a SADB_X_NAT_T_NEW_MAPPING: its source is the peer's old address, its destination the new."""
    return NatMapping(
        spi=message.need(ExtensionType.SA, SAExtension).spi,
        old_address=message.need(ExtensionType.ADDRESS_SRC, AddressExtension).address,
        old_port=message.need(ExtensionType.X_NAT_T_SPORT, NatTPortExtension).port,
        new_address=message.need(ExtensionType.ADDRESS_DST, AddressExtension).address,
        new_port=message.need(ExtensionType.X_NAT_T_DPORT, NatTPortExtension).port,
    )


def decode_migrated(message: Message) -> Migrated:
    """Return the event of a SADB_X_MIGRATE: its requests are pairs of old and new."""
    policy = message.need(ExtensionType.X_POLICY, PolicyExtension)
    source = message.need(ExtensionType.ADDRESS_SRC, AddressExtension)
    destination = message.need(ExtensionType.ADDRESS_DST, AddressExtension)
    kmaddress = message.extensions.get(ExtensionType.X_KMADDRESS)
    try:
        templates = [parts.decode_template(request) for request in policy.requests]
        selector, direction = parts.decode_selector(source, destination), Direction(policy.direction - 1)
        pairs = tuple(zip(templates[::2], templates[1::2], strict=True))
    except (KeyError, ValueError) as error:
        raise MalformedReplyError(f"PF_KEY message {message.type}: no such value in a move: {error}") from error
    return Migrated(
        PolicyId(selector, direction),
        pairs,
        AddressPair(kmaddress.local, kmaddress.remote) if isinstance(kmaddress, KMAddressExtension) else None,
    )


def decode_sa_migrated(message: Message) -> SAMigrated:
    """Return the event of a SADB_X_ADDRUPDATE (draft-schilcher-mobike-pfkey-extension-01 §3)."""
    source = message.need(ExtensionType.X_NEW_ADDRESS_SRC, AddressExtension).address
    destination = message.need(ExtensionType.ADDRESS_DST, AddressExtension).address
    encap, is_given = fields.decode_encap(message.extensions), ExtensionType.X_NAT_T_TYPE in message.extensions
    return SAMigrated(
        SAId(destination, message.need(ExtensionType.SA, SAExtension).spi, _protocol(message)),
        source,
        message.need(ExtensionType.X_NEW_ADDRESS_DST, AddressExtension).address,
        encap=encap,
        removes_encap=is_given and encap is None,
    )


def decode_sa_change(message: Message) -> SAChange:
    """Return the event of a change of the SAD."""
    return SAChange(_CHANGES[message.type], codec.decode_sa(message))


def decode_sa_flush(message: Message) -> SAFlush:
    """Return the event of a SADB_FLUSH."""
    return SAFlush(_protocol(message) if message.satype else None)


def decode_policy_change(message: Message) -> PolicyChange:
    """Return the event of a change of the SPD."""
    return PolicyChange(_CHANGES[message.type], codec.decode_policy(message))


def _protocol(message: Message) -> Protocol:
    if message.satype not in parts.PROTOCOLS:
        raise MalformedReplyError(f"PF_KEY message {message.type}: no such SA type {message.satype}")
    return parts.PROTOCOLS[message.satype]


def _policy_id(message: Message) -> int:
    # Linux says it in a policy, draft-schilcher (§4) in the sequence of SADB_X_SA2.
    if isinstance(sa2 := message.extensions.get(ExtensionType.X_SA2), SA2Extension):
        return sa2.sequence
    return message.need(ExtensionType.X_POLICY, PolicyExtension).id


def _proposal(it: Combination) -> Proposal:
    return Proposal(
        _algorithm(it.encrypt, Kind.ENCRYPTION),
        (it.encrypt_minimum_bits, it.encrypt_maximum_bits),
        _algorithm(it.auth, Kind.AUTHENTICATION),
        (it.auth_minimum_bits, it.auth_maximum_bits),
        Lifetime(parts.decode_limit(it.soft), parts.decode_limit(it.hard)),
    )


def _algorithm(number: int, kind: Kind) -> Algorithm | None:
    return by_pfkey_number(number, kind) if number else None
