"""What has a number and a name: protocols, modes, directions, states, flags."""

from enum import IntEnum, IntFlag
from typing import Self


class OpenEnum(IntEnum):
    """An enum of what has a name here; a kernel's other numbers become members named after themselves."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = str(value)
        member._value_ = value
        return member


class Protocol(OpenEnum):
    """An IPsec protocol, by its IP protocol number."""

    ESP = 50
    AH = 51
    IPCOMP = 108

    def __str__(self) -> str:
        return self.name.lower()


class Mode(OpenEnum):
    """How an SA wraps packets (RFC 4301 §3.2)."""

    TRANSPORT = 0
    TUNNEL = 1
    BEET = 4

    def __str__(self) -> str:
        return self.name.lower()


class Direction(OpenEnum):
    """Where in a packet's way a policy stands; FORWARD is for what arrived through a tunnel and goes on.

    Numbers beyond these are policies of single sockets, which a dump shows and nobody else can change.
    """

    IN = 0
    OUT = 1
    FORWARD = 2

    def __str__(self) -> str:
        return "fwd" if self is Direction.FORWARD else self.name.lower()


class Action(IntEnum):
    """What a policy does with a packet; ALLOW means "through the templates, if there are any"."""

    ALLOW = 0
    BLOCK = 1

    def __str__(self) -> str:
        return self.name.lower()


class SAState(IntEnum):
    """The life of an SA (RFC 2367 §1.4)."""

    LARVAL = 0
    MATURE = 1
    DYING = 2
    DEAD = 3

    def __str__(self) -> str:
        return self.name.lower()


class SAFlag(IntFlag):
    """Flags of an SA that both kernel interfaces know (`XFRM_STATE_*`, `SADB_SAFLAGS_*`)."""

    NO_ECN = 1
    DECAP_DSCP = 2
    NO_PMTU_DISCOVERY = 4
    WILDCARD_RECEIVE = 8
    ICMP = 16
    AF_UNSPEC = 32
    ALIGN4 = 64
    ESN = 128


NO_FLAGS = SAFlag(0)
