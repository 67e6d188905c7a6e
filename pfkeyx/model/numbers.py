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
    #: Mobile IPv6's (RFC 6275), which have no SPI.
    ROUTE_OPTIMIZATION = 2
    IN_TRIGGER = 3
    BEET = 4
    #: RFC 9347.
    IPTFS = 5

    def __str__(self) -> str:
        return self.name.lower()


#: Modes in which the kernel looks for the SA between a template's addresses, and not the packet's.
ADDRESSED_MODES = (Mode.TUNNEL, Mode.BEET, Mode.IPTFS)


class Direction(OpenEnum):
    """Where in a packet's way a policy stands; FORWARD is for what arrived through a tunnel and goes on.

    Numbers beyond these are policies of single sockets, which a dump shows and nobody else can change.
    """

    IN = 0
    OUT = 1
    FORWARD = 2

    def __str__(self) -> str:
        return "fwd" if self is Direction.FORWARD else self.name.lower()


class Action(OpenEnum):
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


class SAExtraFlag(IntFlag):
    """Flags of an SA that only XFRM knows (`XFRM_SA_XFLAG_*`)."""

    #: Leave the outer DSCP alone.
    DONT_ENCAP_DSCP = 1
    #: Go on at 0 when the 32-bit sequence numbers are used up, where nothing checks replays (RFC 4303 §3.3.3).
    SEQUENCE_MAY_WRAP = 2


NO_EXTRA_FLAGS = SAExtraFlag(0)


class OffloadFlag(IntFlag):
    """What an interface does of an SA's or a policy's work (`XFRM_OFFLOAD_*`)."""

    IPV6 = 1
    INBOUND = 2
    #: Whole packets, and not only their cryptography.
    PACKET = 4


NO_OFFLOAD_FLAGS = OffloadFlag(0)


class PolicyType(OpenEnum):
    """Which of the SPD's two tables a policy is in; a packet obeys a policy of each (CONFIG_XFRM_SUB_POLICY)."""

    MAIN = 0
    SUB = 1

    def __str__(self) -> str:
        return self.name.lower()


class PolicyFlag(IntFlag):
    """Flags of a policy (`XFRM_POLICY_*`)."""

    #: A socket's own policy may differ.
    LOCAL_OVERRIDE = 1
    #: Pass ICMP errors about what it passes.
    ICMP = 2
    #: Acquire an SA for each CPU.
    CPU_ACQUIRE = 4


NO_POLICY_FLAGS = PolicyFlag(0)


class Share(OpenEnum):
    """Who may share an SA (`XFRM_SHARE_*`); Linux makes nothing of it, and does not even keep a policy's."""

    ANY = 0
    SESSION = 1
    USER = 2
    UNIQUE = 3
