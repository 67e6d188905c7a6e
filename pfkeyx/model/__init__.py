"""What an IPsec stack holds, as values: SAs, policies, and what they are made of.

Everything is a frozen, slotted dataclass of `ipaddress` types, ints and enums; nothing here knows how a
kernel spells it, checks it against a kernel, or does I/O. SPIs and ports are ints in host order.
"""

from pfkeyx.model.addresses import (
    AddressPair,
    IPAddress,
    Port,
    Prefix,
    Selector,
    any_selector,
    make_prefix,
    prefix_address,
    prefix_length,
    same_family,
)
from pfkeyx.model.numbers import NO_FLAGS, Action, Direction, Mode, OpenEnum, Protocol, SAFlag, SAState
from pfkeyx.model.parts import (
    Attribute,
    Authentication,
    Encryption,
    Key,
    Lifetime,
    Limit,
    Mark,
    Replay,
    SecurityContext,
    UdpEncap,
    Usage,
)
from pfkeyx.model.policy import Policy, PolicyId, Template
from pfkeyx.model.sa import EVERY_SA, SA, SAFilter, SAId
from pfkeyx.model.tunnel import Tunnel

__all__ = [
    "EVERY_SA",
    "NO_FLAGS",
    "SA",
    "Action",
    "AddressPair",
    "Attribute",
    "Authentication",
    "Direction",
    "Encryption",
    "IPAddress",
    "Key",
    "Lifetime",
    "Limit",
    "Mark",
    "Mode",
    "OpenEnum",
    "Policy",
    "PolicyId",
    "Port",
    "Prefix",
    "Protocol",
    "Replay",
    "SAFilter",
    "SAFlag",
    "SAId",
    "SAState",
    "SecurityContext",
    "Selector",
    "Template",
    "Tunnel",
    "UdpEncap",
    "Usage",
    "any_selector",
    "make_prefix",
    "prefix_address",
    "prefix_length",
    "same_family",
]
