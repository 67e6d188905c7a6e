"""What SAs and policies are made of: keys, algorithms at work, limits, marks and the rest."""

import os
from dataclasses import dataclass, field
from typing import Self

from pfkeyx.algorithms import Algorithm


class Key:
    """Key bytes that are never shown: `repr` gives their number only.

    >>> Key(bytes(16))
    Key(16 bytes)
    """

    __slots__ = ("_bytes",)

    def __init__(self, key: bytes | bytearray) -> None:
        self._bytes = bytes(key)

    @classmethod
    def generate(cls, size: int) -> Self:
        """Return a fresh random key of `size` bytes, salt included where the algorithm has one."""
        return cls(os.urandom(size))

    def reveal(self) -> bytes:
        """Return the key bytes, for the kernel or for a caller who is entitled to them."""
        return self._bytes

    @property
    def bits(self) -> int:
        """The key's length in bits."""
        return 8 * len(self._bytes)

    @property
    def is_hidden(self) -> bool:
        """Whether these are only zeros, which is what a locked-down kernel shows instead of a key."""
        return len(self._bytes) > 0 and not any(self._bytes)

    def __len__(self) -> int:
        return len(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __repr__(self) -> str:
        return f"Key({len(self._bytes)} bytes)"


@dataclass(frozen=True, slots=True)
class _Keyed:
    """An algorithm at work; 0 `icv_bits` are its usual ones."""

    algorithm: Algorithm
    key: Key
    icv_bits: int = 0

    def __post_init__(self) -> None:
        if self.icv_bits == 0 and self.algorithm.icv_bits:
            object.__setattr__(self, "icv_bits", self.algorithm.icv_bits[0])


@dataclass(frozen=True, slots=True)
class Encryption(_Keyed):
    """An encryption algorithm and its key; an AEAD's key ends in the salt, and 0 `icv_bits` are its usual ones."""


@dataclass(frozen=True, slots=True)
class Authentication(_Keyed):
    """An integrity algorithm, its key, and how many bits of its output are sent; 0 are the usual ones."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A packet mark: matches where `packet & mask == value`."""

    value: int
    mask: int = 0xFFFFFFFF

    def __str__(self) -> str:
        return f"{self.value:#x}/{self.mask:#x}"


@dataclass(frozen=True, slots=True)
class UdpEncap:
    """ESP in UDP (RFC 3948): the ports of the outer header, in host order."""

    source_port: int = 4500
    destination_port: int = 4500

    def reversed(self) -> "UdpEncap":
        """Return the encapsulation of the other direction."""
        return UdpEncap(self.destination_port, self.source_port)

    def __str__(self) -> str:
        return f"udp {self.source_port} -> {self.destination_port}"


@dataclass(frozen=True, slots=True)
class Limit:
    """When an SA or policy ends; None is never.

    `seconds` count from its making; `idle_seconds` of an SA from its first use, of a policy from its last. Linux counts
    neither `octets` nor `packets` for a policy.
    """

    octets: int | None = None
    packets: int | None = None
    seconds: int | None = None
    idle_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Soft and hard limits (RFC 2367 §2.3.2): at the soft one a daemon is warned, at the hard one it is over."""

    soft: Limit = Limit()
    hard: Limit = Limit()


NO_LIMITS = Lifetime()


@dataclass(frozen=True, slots=True)
class Usage:
    """What has gone through: octets, packets, when it was made and first used (epoch seconds, 0 = never).

    Linux counts neither octets nor packets for a policy, and its `first_used` is when it was used last.
    """

    octets: int
    packets: int
    added: int
    first_used: int


@dataclass(frozen=True, slots=True)
class Replay:
    """Sequence numbers: last one sent, highest one received, and the received ones below it as window bits."""

    outbound: int
    inbound: int
    bitmap: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that this model does not name, kept as it came so that an update gives it back."""

    number: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """A label for a security module (RFC 2367's successor of sensitivities); Linux ignores it where no module wants it.

    `algorithm` and `doi` are 1 and 1 for SELinux (XFRM_SC_ALG_SELINUX, XFRM_SC_DOI_LSM).
    """

    context: bytes
    algorithm: int = 1
    doi: int = 1
