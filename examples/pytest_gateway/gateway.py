"""A little VPN product: one end of a tunnel, which it lays, moves and takes down.

Its SPIs and keys come from a key exchange with the peer, which is not shown.
"""

from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from pfkeyx import SA, AddressPair, AddressUpdate, Encryption, Engine, IPAddress, Tunnel


@dataclass(frozen=True)
class Child:
    """What was agreed for one direction."""

    spi: int
    encryption: Encryption


class Gateway:
    """One end of a tunnel, in a network namespace or in that of the caller; use it in `with`.

    From `guard` on, nothing leaves between the networks but through the tunnel: the policies stay where it is down.
    """

    def __init__(self, tunnel: Tunnel, outbound: Child, inbound: Child, netns: str | None = None) -> None:
        self._tunnel = tunnel
        self._outbound = outbound
        self._inbound = inbound
        self._engine = Engine.open(netns=netns)

    def guard(self) -> None:
        """Let no packet pass that the tunnel does not protect."""
        self._engine.add_policies(self._tunnel.policies())

    def up(self) -> None:
        """Lay the tunnel."""
        self._engine.add_sas(self._sas())

    def move(self, local: IPAddress, remote: IPAddress) -> None:
        """Move the tunnel, as MOBIKE's UPDATE_SA_ADDRESSES asks for."""
        old, new = AddressPair(self._tunnel.local, self._tunnel.remote), AddressPair(local, remote)
        self._engine.migrate(AddressUpdate(old, new))
        self._tunnel = replace(self._tunnel, local=local, remote=remote)

    def down(self) -> None:
        """Take the tunnel down."""
        for sa in self._sas():
            self._engine.delete_sa(sa.id)

    def _sas(self) -> tuple[SA, SA]:
        return (
            self._tunnel.inbound(self._inbound.spi, self._inbound.encryption),
            self._tunnel.outbound(self._outbound.spi, self._outbound.encryption),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.close()
