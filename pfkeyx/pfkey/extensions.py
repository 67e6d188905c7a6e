"""What the extensions of PF_KEY messages hold, as plain values, one class for each layout.

Numbers are in host order, and mean what RFC 2367 §2.3 and <linux/pfkeyv2.h> say: nothing is checked against a kernel
here, and how the bytes lie is `layout.py`'s and the C core's to know.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self, TypeAlias

from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import IPAddress, Key


class SAExtension(NamedTuple):
    """`sadb_sa` (RFC 2367 §2.3.1): `replay` is the window in packets."""

    spi: int
    replay: int = 0
    state: int = 0
    auth: int = 0
    encrypt: int = 0
    flags: int = 0


class LifetimeExtension(NamedTuple):
    """`sadb_lifetime` (RFC 2367 §2.3.2): Linux counts packets in allocations; times are in seconds."""

    packets: int = 0
    octets: int = 0
    addtime: int = 0
    usetime: int = 0


class AddressExtension(NamedTuple):
    """`sadb_address` (RFC 2367 §2.3.3)."""

    address: IPAddress
    prefix_length: int
    protocol: int = 0
    port: int = 0


@dataclass(frozen=True, slots=True)
class KeyExtension:
    """`sadb_key` (RFC 2367 §2.3.4): `bits` may end inside the last byte of `key`."""

    key: Key
    bits: int

    def __post_init__(self) -> None:
        if (self.bits + 7) // 8 != len(self.key):
            raise InvalidRequestError(f"{len(self.key)} bytes of key are not {self.bits} bits")

    @classmethod
    def of(cls, key: Key) -> Self:
        """Return the extension of a key of whole bytes."""
        return cls(key, key.bits)


class SA2Extension(NamedTuple):
    """`sadb_x_sa2`: `sequence` is the id of a policy (draft-schilcher §4); Linux neither reads nor writes it."""

    mode: int
    reqid: int
    sequence: int = 0


class SPIRangeExtension(NamedTuple):
    """`sadb_spirange` (RFC 2367 §2.3.9)."""

    minimum: int
    maximum: int


class NatTTypeExtension(NamedTuple):
    """`sadb_x_nat_t_type`: UDP_ENCAP_* of <linux/udp.h>."""

    type: int


class NatTPortExtension(NamedTuple):
    """`sadb_x_nat_t_port`."""

    port: int


class IPsecRequest(NamedTuple):
    """`sadb_x_ipsecrequest`, one template of a policy; both addresses or none."""

    protocol: int
    mode: int
    level: int
    reqid: int
    source: IPAddress | None
    destination: IPAddress | None


class PolicyExtension(NamedTuple):
    """`sadb_x_policy` and its requests."""

    type: int
    direction: int
    id: int = 0
    priority: int = 0
    requests: tuple[IPsecRequest, ...] = ()


class IdentityExtension(NamedTuple):
    """`sadb_ident` (RFC 2367 §2.3.5): bytes of the name that are no UTF-8 are kept as surrogate escapes."""

    type: int
    id: int = 0
    name: str = ""


class SensitivityExtension(NamedTuple):
    """`sadb_sens` (RFC 2367 §2.3.6): bitmaps in words of 64 bits."""

    dpd: int
    sensitivity_level: int = 0
    sensitivity_bitmap: tuple[int, ...] = ()
    integrity_level: int = 0
    integrity_bitmap: tuple[int, ...] = ()


class Combination(NamedTuple):
    """`sadb_comb`: algorithms, key lengths and lifetimes that may be had together."""

    auth: int
    encrypt: int
    flags: int = 0
    auth_minimum_bits: int = 0
    auth_maximum_bits: int = 0
    encrypt_minimum_bits: int = 0
    encrypt_maximum_bits: int = 0
    soft: LifetimeExtension = LifetimeExtension()
    hard: LifetimeExtension = LifetimeExtension()


class ProposalExtension(NamedTuple):
    """`sadb_prop` (RFC 2367 §2.3.7): the preferred combination comes first; `replay` is the window in packets."""

    replay: int
    combinations: tuple[Combination, ...] = ()


class SupportedAlgorithm(NamedTuple):
    """`sadb_alg`: `iv_length` is in bytes, 8 for every block cipher on Linux."""

    id: int
    iv_length: int
    minimum_bits: int
    maximum_bits: int


class SupportedExtension(NamedTuple):
    """`sadb_supported` (RFC 2367 §2.3.8)."""

    algorithms: tuple[SupportedAlgorithm, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class KMPrivateExtension:
    """`sadb_x_kmprivate`: what only key managers understand; it may be a secret and is not shown.

    Nothing tells its padding, zeros up to 64 bits, from the data.
    """

    data: bytes

    def __repr__(self) -> str:
        return f"KMPrivateExtension({len(self.data)} bytes)"


class SecurityContextExtension(NamedTuple):
    """`sadb_x_sec_ctx`: `algorithm` names the security module, XFRM_SC_ALG_* of <linux/xfrm.h>."""

    algorithm: int
    doi: int
    context: bytes


class KMAddressExtension(NamedTuple):
    """`sadb_x_kmaddress`: where the key managers speak to each other after a migration; of one family."""

    local: IPAddress
    remote: IPAddress
    local_port: int = 0
    remote_port: int = 0


class FilterExtension(NamedTuple):
    """`sadb_x_filter`: which SAs are dumped; `family` AF_INET has IPv4 addresses, every other has IPv6 ones."""

    family: int
    source: IPAddress
    source_prefix_length: int
    destination: IPAddress
    destination_prefix_length: int


@dataclass(frozen=True, slots=True, repr=False)
class Unknown:
    """An extension as bytes, those after its header of four; they may be a secret and are not shown.

    >>> Unknown(27, bytes(20))
    Unknown(type=27, 24 bytes)
    """

    type: int
    data: bytes

    def __repr__(self) -> str:
        return f"Unknown(type={int(self.type)}, {4 + len(self.data)} bytes)"


Extension: TypeAlias = (
    SAExtension
    | LifetimeExtension
    | AddressExtension
    | KeyExtension
    | SA2Extension
    | SPIRangeExtension
    | NatTTypeExtension
    | NatTPortExtension
    | PolicyExtension
    | IdentityExtension
    | SensitivityExtension
    | ProposalExtension
    | SupportedExtension
    | KMPrivateExtension
    | SecurityContextExtension
    | KMAddressExtension
    | FilterExtension
    | Unknown
)
