"""What a kernel says unasked, as values. How it is heard is the dialects' business."""

from dataclasses import dataclass
from typing import Protocol

from pfkeyx.model import IPAddress, SAId, Selector
from pfkeyx.model import Protocol as IPsecProtocol


@dataclass(frozen=True, slots=True)
class Acquire:
    """A packet met a policy whose SA is missing (RFC 2367 §3.1.6): negotiate one between these addresses.

    `policy_index` finds the policy in a dump. PF_KEY does not tell `selector`, the packet's flow, nor `reqid`.
    """

    source: IPAddress
    destination: IPAddress
    protocol: IPsecProtocol
    policy_index: int
    sequence: int
    selector: Selector | None = None
    reqid: int | None = None


@dataclass(frozen=True, slots=True)
class Expire:
    """An SA reached its soft or hard limit (RFC 2367 §3.1.8); after the hard one it is gone."""

    sa_id: SAId
    source: IPAddress
    reqid: int
    hard: bool


Event = Acquire | Expire


class EventSource(Protocol):
    """A socket that only listens, in one dialect."""

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""

    def receive(self) -> list[Event]:
        """Return the events that wait, none when none does; raise `EventsLostError` when some were dropped."""

    def close(self) -> None:
        """Close the socket."""
