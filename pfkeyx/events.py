"""What a kernel says unasked, as values. How it is heard is the dialects' business."""

from dataclasses import dataclass
from enum import Enum, IntFlag

from pfkeyx.algorithms import Algorithm
from pfkeyx.model import (
    SA,
    AddressPair,
    DefaultPolicy,
    Encap,
    IPAddress,
    Lifetime,
    Mark,
    Policy,
    PolicyId,
    PolicyType,
    Progress,
    Protocol,
    SAId,
    SecurityContext,
    Selector,
    Template,
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One suite that the kernel would take for an acquired SA (RFC 2367 §2.3.7); key lengths are in bits."""

    encryption: Algorithm | None
    encryption_bits: tuple[int, int]
    authentication: Algorithm | None
    authentication_bits: tuple[int, int]
    lifetime: Lifetime


@dataclass(frozen=True, slots=True)
class Acquire:
    """A packet met a policy whose SA is missing (RFC 2367 §3.1.6): negotiate one between these addresses.

    `policy_id` is the index of the SPD entry behind it: over PF_KEY, `Engine.get_policy` returns that, with the traffic
    selectors to negotiate (draft-schilcher §4). Over XFRM an index finds only policies of the main type without mark
    and if_id; there `policy` is the entry, and its `id` finds it again. `sequence` names the larval SA to
    `Engine.get_spi` and `Engine.answer_acquire`; where both kernel interfaces are there, the one whose module was
    loaded last gives it its number. PF_KEY does not tell `selector`, the packet's flow, `reqid`, `policy`, nor `cpu`,
    the one that wants an SA of its own (RFC 9611); XFRM does not tell `proposals`.
    """

    source: IPAddress
    destination: IPAddress
    protocol: Protocol
    policy_id: int
    sequence: int
    selector: Selector | None = None
    reqid: int | None = None
    proposals: tuple[Proposal, ...] = ()
    security_context: SecurityContext | None = None
    policy: Policy | None = None
    cpu: int | None = None

    def __str__(self) -> str:
        return f"{self.protocol} {self.source} -> {self.destination} (acquire {self.sequence})"


@dataclass(frozen=True, slots=True)
class Expire:
    """An SA reached its soft or hard limit (RFC 2367 §3.1.8); after the hard one it is gone."""

    sa_id: SAId
    source: IPAddress
    reqid: int
    hard: bool


@dataclass(frozen=True, slots=True)
class PolicyExpire:
    """A policy reached its soft or hard limit; after the hard one it is gone. PF_KEY does not tell."""

    policy: Policy
    hard: bool


@dataclass(frozen=True, slots=True)
class NatMapping:
    """A peer behind a NAT was heard from another address or port than its SA has (RFC 4555 §3.8).

    `spi` is the inbound SA's; PF_KEY does not tell `sa_id` and `reqid`. Each change goes to one key manager of the
    kernel only: to PF_KEY's listeners or to XFRM's, whichever kernel module was loaded first and has one.
    """

    spi: int
    old_address: IPAddress
    old_port: int
    new_address: IPAddress
    new_port: int
    sa_id: SAId | None = None
    reqid: int | None = None


@dataclass(frozen=True, slots=True)
class Migrated:
    """A policy's templates, and the SAs they found, were moved (SADB_X_MIGRATE, XFRM_MSG_MIGRATE), by whomever.

    `templates` are pairs of old and new. `kmaddress` is what the mover said of the key managers' own addresses, `encap`
    what it said of the SAs' encapsulation, which PF_KEY does not tell.
    """

    policy_id: PolicyId
    templates: tuple[tuple[Template, Template], ...]
    kmaddress: AddressPair | None = None
    encap: Encap | None = None


@dataclass(frozen=True, slots=True)
class SAMigrated:
    """One SA was moved, found by its SPI, by whomever; `sa_id` is what it was found by before.

    XFRM tells of XFRM_MSG_MIGRATE_STATE, and of SADB_X_ADDRUPDATE in the same words: `encap` is the SA's from now on,
    whether the mover gave it or left it; with `removes_encap` the mover took it away. `mark` is the SA's new one, where
    the mover gave one. PF_KEY tells of SADB_X_ADDRUPDATE alone, and neither reqid nor selector; its `encap` is the one
    that the mover gave.
    """

    sa_id: SAId
    new_source: IPAddress
    new_destination: IPAddress
    reqid: int | None = None
    selector: Selector | None = None
    encap: Encap | None = None
    removes_encap: bool = False
    mark: Mark | None = None


class ProgressCause(IntFlag):
    """Why the kernel tells of an SA's progress (`XFRM_AE_C*`)."""

    PACKETS = 16
    TIMER = 32
    SET = 64


@dataclass(frozen=True, slots=True)
class SAProgress:
    """An SA's sequence numbers and counters, told after some packets, some time, or when somebody set them.

    The kernel counts for it only while someone listens. PF_KEY does not tell.
    """

    sa_id: SAId
    source: IPAddress
    reqid: int
    progress: Progress
    cause: ProgressCause


@dataclass(frozen=True, slots=True)
class Report:
    """A packet of Mobile IPv6 was refused for want of an SA (XFRM_MSG_REPORT); PF_KEY does not tell.

    `protocol` is the extension header's number, `address` the care-of address that the packet came from.
    """

    protocol: int
    selector: Selector
    address: IPAddress | None = None


class Change(Enum):
    """What was done to an SA or a policy."""

    ADDED = "added"
    UPDATED = "updated"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class SAChange:
    """Someone other than the engine that watches changed an SA; an update is told as it was asked for."""

    change: Change
    sa: SA


@dataclass(frozen=True, slots=True)
class SAFlush:
    """Someone other than the engine that watches deleted all SAs of a protocol; None is all IPsec protocols."""

    protocol: Protocol | None


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """Someone other than the engine that watches changed a policy."""

    change: Change
    policy: Policy


@dataclass(frozen=True, slots=True)
class PolicyFlush:
    """Someone other than the engine that watches deleted all policies of a type."""

    type: PolicyType = PolicyType.MAIN


@dataclass(frozen=True, slots=True)
class DefaultPolicyChange:
    """What happens to packets that no policy is for was set, by whomever: the kernel does not say. PF_KEY is silent."""

    policy: DefaultPolicy


Event = (
    Acquire
    | Expire
    | PolicyExpire
    | NatMapping
    | Migrated
    | SAMigrated
    | SAProgress
    | Report
    | SAChange
    | SAFlush
    | PolicyChange
    | PolicyFlush
    | DefaultPolicyChange
)
