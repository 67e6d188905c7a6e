"""What a move is asked for: an address update, as MOBIKE makes one (RFC 4555 §3.5)."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from pfkeyx.checks import check_bits, check_end
from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import AddressPair, SAId, UdpEncap, same_family


class Keep(Enum):
    """The type of `KEEP`."""

    KEEP = "keep"

    def __repr__(self) -> str:
        return "KEEP"


#: Leave the encapsulation as each SA has it.
KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True)
class AddressUpdate:
    """Where SAs and policies are, and where they shall be.

    `encap` after the move: `KEEP`, a `UdpEncap` as the outbound SAs carry it (source port ours), or None for none.
    `sas` names the SAs to move; None means all between the two old addresses. With `policies` false only SAs
    move (the O flag of draft-dupont-ikev2-addrmgmt).

    Raises `InvalidRequestError` for an update that no SA could follow.
    """

    old: AddressPair
    new: AddressPair
    encap: UdpEncap | Keep | None = KEEP
    sas: tuple[SAId, ...] | None = None
    policies: bool = True

    def __post_init__(self) -> None:
        for pair in (self.old, self.new):
            if not same_family((pair.local, pair.remote)):
                raise InvalidRequestError(f"address update: {pair} mixes IPv4 and IPv6; both ends have one version")
        for address in (self.new.local, self.new.remote):
            check_end("address update", address)
        if isinstance(self.encap, UdpEncap):
            ports = {"source port": self.encap.source_port, "destination port": self.encap.destination_port}
            check_bits("address update", self, 16, **ports)
        if self.old == self.new and self.encap is KEEP:
            raise InvalidRequestError(f"address update: old and new are both {self.old}; nothing would change")

    def __str__(self) -> str:
        return f"{self.old} to {self.new}"
