"""SAs and policies with any fields, by the thousand: they are drawn in a fraction of the time that Hypothesis takes."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from random import Random
from typing import TypeVar

from pfkeyx import (
    AES_CBC,
    AES_GCM,
    HMAC_SHA256,
    NULL,
    SA,
    Action,
    Attribute,
    Authentication,
    Direction,
    Encryption,
    Iptfs,
    Key,
    Lifetime,
    Limit,
    Mark,
    Mode,
    Offload,
    OffloadFlag,
    Policy,
    PolicyFlag,
    PolicyType,
    Port,
    Protocol,
    Replay,
    SAExtraFlag,
    SAFlag,
    SAId,
    SecurityContext,
    Selector,
    TcpEncap,
    Template,
    UdpEncap,
)
from pfkeyx.algorithms import DEFLATE
from pfkeyx.model import IPAddress, Prefix

T = TypeVar("T")


def random_sa(random: Random) -> SA:
    """Return any SA that XFRM can express."""
    version = random.choice((4, 6))
    sa = SA(
        SAId(_address(random, version), _number(random, 32, 1), Protocol.ESP, _maybe(random, _mark)),
        _address(random, version),
        mode=random.choice(list(Mode)),
        reqid=_number(random, 32),
        encap=_maybe(random, lambda random: random.choice((UdpEncap, TcpEncap))(1, 2, _address(random, version))),
        selector=_maybe(random, _selector),
        lifetime=Lifetime(_limit(random), _limit(random)),
        replay_window=random.choice((0, 32, 33, 64, 4096)),
        flags=SAFlag(_number(random, 8)),
        extra_flags=SAExtraFlag(random.choice((0, 1, 3))),
        if_id=random.choice((0, _number(random, 32))),
        output_mark=_maybe(random, _mark),
        offload=_maybe(random, _offload),
        tfc_padding=random.choice((0, 1400)),
        direction=random.choice((None, Direction.IN, Direction.OUT)),
        nat_keepalive_s=random.choice((0, 20)),
        mapping_threshold_s=random.choice((0, 60)),
        cpu=random.choice((None, 0, 3)),
        iptfs=random.choice((None, Iptfs(1, 2, True, 3, 4, 5), Iptfs(packet_octets=1400))),
        care_of=_maybe(random, lambda random: _address(random, version)),
        security_context=random.choice((None, SecurityContext(b"system_u:object_r:ipsec_spd_t:s0"))),
        other=random.choice(((), (Attribute(60, random.randbytes(5)), Attribute(61, b"")))),
        replay=random.choice((None, Replay(1, 2, (3,)), Replay(1 << 31, 5, (6, 7), extended=True))),
    )
    suite = random.choice(("gcm", "cbc", "null", "compression"))
    if suite == "gcm":
        return replace(sa, encryption=Encryption(AES_GCM, Key(random.randbytes(36)), random.choice((64, 96, 128))))
    if suite == "compression":
        return replace(sa, compression=DEFLATE)
    encryption = Encryption(AES_CBC, Key(random.randbytes(32))) if suite == "cbc" else Encryption(NULL, Key(b""))
    return replace(sa, encryption=encryption, authentication=Authentication(HMAC_SHA256, Key(random.randbytes(32))))


def random_policy(random: Random) -> Policy:
    """Return any policy that XFRM can express."""
    return Policy(
        _selector(random),
        random.choice((Direction.IN, Direction.OUT, Direction.FORWARD)),
        tuple(_template(random) for _ in range(random.randrange(4))),
        random.choice(list(Action)),
        _number(random, 32),
        Lifetime(_limit(random), _limit(random)),
        _maybe(random, _mark),
        random.choice((0, _number(random, 32))),
        random.choice(list(PolicyType)),
        PolicyFlag(_number(random, 3)),
        offload=_maybe(random, _offload),
        security_context=random.choice((None, SecurityContext(b"label"))),
        index=_number(random, 32),
    )


def _template(random: Random) -> Template:
    mode = random.choice((Mode.TUNNEL, Mode.TRANSPORT))
    template = Template(Protocol.ESP, mode, reqid=_number(random, 32), optional=random.random() < 0.5)
    if mode is Mode.TRANSPORT:
        return template
    version = random.choice((4, 6))
    return replace(template, source=_address(random, version), destination=_address(random, version))


def _maybe(random: Random, make: Callable[[Random], T]) -> T | None:
    return make(random) if random.random() < 0.5 else None


def _number(random: Random, bits: int, least: int = 0) -> int:
    return random.randrange(least, 1 << bits)


def _address(random: Random, version: int) -> IPAddress:
    return IPv4Address(random.randbytes(4)) if version == 4 else IPv6Address(random.randbytes(16))


def _prefix(random: Random, version: int) -> Prefix:
    return ip_network((_address(random, version), random.randrange(33 if version == 4 else 129)), strict=False)


def _selector(random: Random) -> Selector:
    version = random.choice((4, 6))
    port = _maybe(random, lambda random: Port(_number(random, 16), _number(random, 16, 1)))
    return Selector(_prefix(random, version), _prefix(random, version), random.choice((0, 17)), port, None, 2, 1000)


def _mark(random: Random) -> Mark:
    return Mark(_number(random, 32), _number(random, 32, 1))


def _limit(random: Random) -> Limit:
    return Limit(*(_maybe(random, lambda random: _number(random, 62, 1)) for _ in range(4)))


def _offload(random: Random) -> Offload:
    return Offload(_number(random, 31), random.choice((OffloadFlag(0), OffloadFlag.INBOUND | OffloadFlag.PACKET)))
