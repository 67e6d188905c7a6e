"""Text of the command line into values; an error says what to give instead."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from enum import Enum
from ipaddress import ip_address, ip_interface
from typing import Any, NamedTuple

from pfkeyx.algorithms import ALGORITHMS, Algorithm, Kind, by_name
from pfkeyx.migration import Loss, Method
from pfkeyx.model import (
    Action,
    Direction,
    Encap,
    IPAddress,
    Limit,
    Mark,
    Mode,
    PolicyFlag,
    PolicyType,
    Port,
    Prefix,
    Protocol,
    SAExtraFlag,
    SAFlag,
    TcpEncap,
    Template,
    UdpEncap,
    make_prefix,
)

_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_UPPER_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "icmpv6": 58, "sctp": 132}


def address(text: str) -> IPAddress:
    """Return an IPv4 or IPv6 address."""
    try:
        return ip_address(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no address; take one such as 192.0.2.1 or 2001:db8::1") from None


def prefix(text: str) -> Prefix:
    """Return a network, or an address alone as the network that it is; host bits stay."""
    try:
        interface = ip_interface(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no network; take one such as 10.1.0.0/16 or 2001:db8::/32") from None
    return make_prefix(interface.ip, interface.network.prefixlen)


def number(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return what reads a whole number between two, in decimal or with 0x."""

    def read(text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            value = -1
        if not minimum <= value <= maximum:
            largest = hex(maximum) if maximum > 1 << 16 else str(maximum)
            hint = f"; if it is hex, write 0x{text}" if re.fullmatch("[0-9a-fA-F]*[a-fA-F][0-9a-fA-F]*", text) else ""
            raise ArgumentTypeError(f"{text!r} is no number from {minimum} to {largest}{hint}")
        return value

    return read


spi = number(1, 0xFFFFFFFF)
reqid = number(0, 0xFFFFFFFF)
if_id = number(0, 0xFFFFFFFF)


def mark(text: str) -> Mark:
    """Return a mark, with its mask or for all bits."""
    value, slash, mask = text.partition("/")
    read = number(0, 0xFFFFFFFF)
    return Mark(read(value), read(mask)) if slash else Mark(read(value))


def port(text: str) -> Port:
    """Return a port of a selector, with its mask or for all bits."""
    value, slash, mask = text.partition("/")
    read = number(0, 0xFFFF)
    return Port(read(value), read(mask)) if slash else Port(read(value))


def upper_protocol(text: str) -> int:
    """Return the IP protocol of a selector, by its number or one of some names."""
    known = _UPPER_PROTOCOLS.get(text.lower())
    if known is not None:
        return known
    if not text.isdecimal() or int(text) > 255:
        raise ArgumentTypeError(f"{text!r} is no protocol; take a number up to 255, or {_listed(_UPPER_PROTOCOLS)}")
    return int(text)


class OneOf:
    """What reads one of named values; `values` are by name, for help and completions."""

    def __init__(self, values: Mapping[str, Enum]) -> None:
        self.values = dict(values)

    def __call__(self, text: str) -> Any:
        """Return the value of that name."""
        try:
            return self.values[text.lower().replace("_", "-")]
        except KeyError:
            raise ArgumentTypeError(f"{text!r} is none of {', '.join(self.values)}") from None

    @property
    def metavar(self) -> str:
        """How the names stand in a help text."""
        return "|".join(self.values)


def _one_of(values: type[Enum]) -> OneOf:
    return OneOf({(value.name or "").lower().replace("_", "-"): value for value in values})


protocol = _one_of(Protocol)
mode = OneOf({str(value): value for value in (Mode.TUNNEL, Mode.TRANSPORT, Mode.BEET, Mode.IPTFS)})
direction = OneOf({str(value): value for value in Direction})
action = _one_of(Action)
policy_type = _one_of(PolicyType)
sa_flag = _one_of(SAFlag)
sa_extra_flag = _one_of(SAExtraFlag)
policy_flag = _one_of(PolicyFlag)
method = _one_of(Method)
loss = OneOf({value.name.lower().replace("_", "-"): value for value in Loss if not value.minor})


class AlgorithmChoice(NamedTuple):
    """An algorithm and how many bits of its ICV are sent, 0 for the usual ones."""

    algorithm: Algorithm
    icv_bits: int = 0


def algorithm(*kinds: Kind) -> Callable[[str], AlgorithmChoice]:
    """Return what reads an algorithm of these kinds, as NAME or NAME/ICV-BITS."""

    def read(text: str) -> AlgorithmChoice:
        name, slash, bits = text.partition("/")
        names = [row.name for row in ALGORITHMS if row.kind in kinds]
        if name not in names:
            raise ArgumentTypeError(f"{name!r} is none of {', '.join(names)}")
        found = by_name(name)
        lengths = [str(length) for length in found.icv_bits if length]
        if slash and bits not in lengths:
            sent = f"{' or '.join(lengths)} bits of its ICV" if lengths else "no ICV"
            raise ArgumentTypeError(f"{name} is sent with {sent}, not {bits!r}")
        return AlgorithmChoice(found, int(bits) if slash else 0)

    return read


def encap(text: str) -> Encap:
    """Return an encapsulation: udp or tcp, and its source and destination ports."""
    kind, *ports = text.lower().split(":")
    kinds: dict[str, type[UdpEncap | TcpEncap]] = {"udp": UdpEncap, "tcp": TcpEncap}
    if kind not in kinds or len(ports) not in (0, 2):
        raise ArgumentTypeError(f"{text!r} is no encapsulation; take udp, tcp, or udp:SOURCE-PORT:DESTINATION-PORT")
    read = number(1, 0xFFFF)
    return kinds[kind](read(ports[0]), read(ports[1])) if ports else kinds[kind]()


def udp_encap(text: str) -> UdpEncap:
    """Return an encapsulation in UDP, which alone a move can give."""
    read = encap(text)
    if not isinstance(read, UdpEncap):
        raise ArgumentTypeError("an SA can be moved into UDP alone; take udp or udp:SOURCE-PORT:DESTINATION-PORT")
    return read


def seconds(text: str) -> int:
    """Return seconds of such as 90, 15m or 1h30m."""
    if not text.isdecimal() and not re.fullmatch(r"(\d+[smhd])+", text):
        raise ArgumentTypeError(f"{text!r} is no time; take seconds, or such as 90s, 15m, 1h30m or 2d")
    if text.isdecimal():
        return int(text)
    return sum(int(count) * _TIMES[unit] for count, unit in re.findall(r"(\d+)([smhd])", text))


def limit(text: str) -> Limit:
    """Return when an SA or policy ends, of such as 1h, 10GiB, 1000000packets, idle=5m, with commas between."""
    limits: dict[str, int] = {}
    for part in text.split(","):
        name, value = _one_limit(part)
        if name in limits:
            raise ArgumentTypeError(f"{text!r} says {name} twice")
        limits[name] = value
    return Limit(**limits)


def _one_limit(text: str) -> tuple[str, int]:
    if text.startswith("idle="):
        return "idle_seconds", seconds(text.removeprefix("idle="))
    size = re.fullmatch(r"(\d+)(B|KiB|MiB|GiB|TiB|packets)", text)
    if size and size[2] == "packets":
        return "packets", int(size[1])
    if size:
        return "octets", int(size[1]) * _SIZES[size[2]]
    try:
        return "seconds", seconds(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(f"{text!r} is no limit; take such as 1h, 10GiB, 1000000packets or idle=5m") from None


def template(text: str) -> Template:
    """Return a template: PROTOCOL/MODE, and /SOURCE-DESTINATION, /reqid:N, /spi:N, /optional as far as wanted."""
    parts = text.split("/")
    if len(parts) < 2:
        raise ArgumentTypeError(f"{text!r} is no template; take such as esp/tunnel/192.0.2.1-198.51.100.1/reqid:7")
    fields: dict[str, object] = {"protocol": protocol(parts[0]), "mode": mode(parts[1])}
    for part in parts[2:]:
        name, colon, value = part.partition(":")
        if part == "optional":
            fields["optional"] = True
        elif colon and name == "reqid":
            fields["reqid"] = reqid(value)
        elif colon and name == "spi":
            fields["spi"] = spi(value)
        elif "-" in part:
            source, _, destination = part.partition("-")
            fields |= {"source": address(source), "destination": address(destination)}
        else:
            raise ArgumentTypeError(f"{part!r} is none of SOURCE-DESTINATION, reqid:N, spi:N, optional")
    return Template(**fields)  # type: ignore[arg-type]  # as read above


def _listed(names: dict[str, int]) -> str:
    return ", ".join(names)
