"""Has a kernel send an XFRM message of every kind, and writes their bytes into a file.

It is run in the lab, where the name of the kernel is known:

    lab/run --kernel 7 --rwdir tests/unit/captures/xfrm -- .venv/bin/python -m tests.xfrm_captures \
        tests/unit/captures/xfrm/7.txt

What is written stands in `SAS` and `POLICIES`, so that whoever reads a capture knows what has to be in it.
"""

import os
import select
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from pyroute2.netlink import NLMSG_ERROR

from pfkeyx import (
    AES_CBC,
    AES_CTR,
    AES_GCM,
    CHACHA20_POLY1305,
    DEFLATE,
    HMAC_SHA1,
    HMAC_SHA256,
    NULL,
    SA,
    Action,
    Authentication,
    Direction,
    Encryption,
    Engine,
    Feature,
    Key,
    Lifetime,
    Limit,
    Mark,
    Mode,
    Policy,
    PolicyFlag,
    PolicyType,
    Port,
    Progress,
    Protocol,
    Replay,
    SAExtraFlag,
    SAFlag,
    SAId,
    Selector,
    Share,
    Template,
    UdpEncap,
)
from pfkeyx.model import DefaultPolicy, SPIRequest
from pfkeyx.operation import Request
from pfkeyx.xfrm import XfrmDialect
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.transport import open_socket
from tests.captures import text_of
from tests.kernel.manager import PORT, Host
from tests.kernel.values import ADDRESSES, key, make_policies

SEQ = 0x51525354
_GROUPS = range(wire.XFRMNLGRP_ACQUIRE, wire.XFRMNLGRP_MAPPING + 1)
#: A packet asks for its SA more than once, and an SA's timer tells of it.
_AT_ANY_TIME = (wire.XFRM_MSG_ACQUIRE, wire.XFRM_MSG_NEWAE)
_PATIENCE_S = 120
_HEADER = struct.Struct("=IHHII")

_FILE_HEADER = """\
# XFRM messages as a kernel sent them: kernel {name} of lab/kernels.toml, release {release}, on {day:%Y-%m-%d}.
# Written by `python -m tests.xfrm_captures`. The keys in them are test keys, counted up, and were never anybody's.
"""
_V4, _V6 = ADDRESSES[4], ADDRESSES[6]
_LIFETIME = Lifetime(soft=Limit(1000, 2000, 3000, 4000), hard=Limit(1 << 40, 5000, 6000, 7000))


def _sa(spi: int, family: int = 4, **fields: object) -> SA:
    at = ADDRESSES[family]
    suite = {"encryption": Encryption(AES_GCM, key(20))}
    return SA(SAId(at.gateway, spi), at.roaming, reqid=7, **{**suite, **fields})  # type: ignore[arg-type]


def _classic(spi: int, family: int = 4, **fields: object) -> SA:
    suite = {"encryption": Encryption(AES_CBC, key(16)), "authentication": Authentication(HMAC_SHA256, key(32))}
    return _sa(spi, family, **{**suite, **fields})


#: What is added, by name.
SAS: dict[str, SA] = {
    "aead": _sa(0x1001, lifetime=_LIFETIME),
    "ipv6": _classic(0x1002, 6, mode=Mode.TRANSPORT, replay_window=0, flags=SAFlag.NO_ECN | SAFlag.DECAP_DSCP),
    "esn": _sa(0x1003, flags=SAFlag.ESN, replay_window=128, encryption=Encryption(CHACHA20_POLY1305, key(36))),
    "window": _classic(0x1004, replay_window=33),
    "encap": _sa(0x1005, encap=UdpEncap(4500, 61234, ip_address("192.0.2.99")), mapping_threshold_s=5),
    "marked": replace(
        _sa(0x1006, if_id=42, output_mark=Mark(0x10, 0xF0), tfc_padding=64),
        id=SAId(_V4.gateway, 0x1006, mark=Mark(5, 0xFF)),
    ),
    "extra": _sa(0x1007, extra_flags=SAExtraFlag.DONT_ENCAP_DSCP | SAExtraFlag.SEQUENCE_MAY_WRAP),
    "counter": _sa(
        0x1008,
        encryption=Encryption(AES_CTR, key(20)),
        authentication=Authentication(HMAC_SHA1, key(20)),
        selector=Selector(ip_network("10.1.0.0/16"), ip_network("10.2.0.0/24"), 17, Port(500), Port(0x1000, 0xF000)),
    ),
    "ah": SA(
        SAId(_V6.gateway, 0x1009, Protocol.AH),
        _V6.roaming,
        mode=Mode.TRANSPORT,
        authentication=Authentication(HMAC_SHA256, key(32)),
    ),
    "ipcomp": SA(
        SAId(_V4.gateway, 0x100A, Protocol.IPCOMP), _V4.roaming, compression=DEFLATE, replay_window=0, reqid=7
    ),
    "beet": _classic(
        0x100B, mode=Mode.BEET, selector=Selector(ip_network(_V4.roaming_inner), ip_network(_V4.gateway_inner))
    ),
    "null": _sa(0x100C, encryption=Encryption(NULL, Key(b"")), authentication=Authentication(HMAC_SHA1, key(20))),
}
#: What is added where the kernel has the feature.
YOUNG_SAS: dict[str, tuple[Feature, SA]] = {
    "out": (Feature.SA_DIRECTION, _sa(0x1010, direction=Direction.OUT, replay_window=0)),
    "in": (Feature.SA_DIRECTION, _sa(0x1011, 6, direction=Direction.IN)),
    "keepalive": (
        Feature.NAT_KEEPALIVE,
        _sa(0x1012, direction=Direction.OUT, replay_window=0, nat_keepalive_s=20, encap=UdpEncap()),
    ),
    "cpu": (Feature.SA_CPU, _sa(0x1013, direction=Direction.IN, cpu=1)),
}
_SELECTOR = Selector(ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16"))
POLICIES: dict[str, Policy] = {
    "out": make_policies(4)[0],
    "fwd ipv6": replace(make_policies(6)[2], priority=9, lifetime=Lifetime(hard=Limit(seconds=9000))),
    "block": Policy(_SELECTOR, Direction.IN, action=Action.BLOCK),
    "sub": Policy(_SELECTOR, Direction.OUT, type=PolicyType.SUB, flags=PolicyFlag.LOCAL_OVERRIDE | PolicyFlag.ICMP),
    "marked": Policy(_SELECTOR, Direction.OUT, mark=Mark(5, 0xFF), if_id=42, priority=3),
    "bundle": Policy(
        Selector(ip_network("10.1.0.1/32"), ip_network("10.2.0.0/24"), 6, destination_port=Port(443)),
        Direction.OUT,
        (
            Template(Protocol.IPCOMP, Mode.TRANSPORT, reqid=7, optional=True),
            Template(Protocol.ESP, Mode.TUNNEL, _V6.roaming, _V6.gateway, 7, spi=0x1001, share=Share.UNIQUE),
        ),
    ),
}
PROGRESS = Progress(Replay(77, 66, (5,)), replay_threshold=3)
MOVED = (POLICIES["out"].templates[0], replace(POLICIES["out"].templates[0], source=_V4.roaming_later))


class Capture:
    """A socket that asks, another that hears everything, and the host that both are on."""

    def __init__(self, stack: ExitStack) -> None:
        self._host = Host(stack)
        self._dialect = XfrmDialect()
        self.engine: Engine = stack.enter_context(self._host.open("xfrm"))
        self._asking = stack.enter_context(self._host.namespace.call(lambda: open_socket(None)))
        self._listening = stack.enter_context(self._host.namespace.call(lambda: open_socket(None, _GROUPS)))

    def messages(self) -> Iterator[tuple[str, list[bytes]]]:
        """Yield all there is to capture, by name."""
        young = {name: sa for name, (feature, sa) in YOUNG_SAS.items() if self.engine.supports(feature).available}
        for name, sa in {**SAS, **young}.items():
            yield from self._sa(name, sa)
        for name, policy in POLICIES.items():
            yield from self._policy(name, policy)
        yield from self._tables()
        yield from self._unasked()

    def _sa(self, name: str, sa: SA) -> Iterator[tuple[str, list[bytes]]]:
        dialect = self._dialect
        yield f"add sa {name}", self._told_of(dialect.add_sa(sa))
        yield f"get sa {name}", self._answer(dialect.get_sa(sa.id))
        yield f"progress of sa {name}", self._answer(dialect.get_progress(sa.id))
        yield f"expire sa {name} soft", self._told_of(dialect.expire_sa(sa.id, False))
        yield f"delete sa {name}", self._told_of(dialect.delete_sa(sa.id))

    def _policy(self, name: str, policy: Policy) -> Iterator[tuple[str, list[bytes]]]:
        dialect = self._dialect
        yield f"add policy {name}", self._told_of(dialect.add_policy(policy))
        yield f"get policy {name}", self._answer(dialect.get_policy(policy.id))
        yield f"expire policy {name} soft", self._told_of(dialect.expire_policy(policy.id, False))
        yield f"delete policy {name}", self._told_of(dialect.delete_policy(policy.id))

    def _tables(self) -> Iterator[tuple[str, list[bytes]]]:
        dialect = self._dialect
        yield "sad info", self._answer(dialect.get_sad_info())
        yield "spd info", self._answer(dialect.get_spd_info())
        yield "default policy", self._answer(dialect.get_default_policy())
        yield "set default policy", self._told_of(dialect.set_default_policy(DefaultPolicy(forward=Action.BLOCK)))
        self.engine.set_default_policy(DefaultPolicy())
        self._heard()
        self.engine.add_policy(POLICIES["out"])
        self.engine.add_policy(POLICIES["sub"])
        self.engine.add_sa(SAS["aead"])
        self.engine.add_sa(SAS["encap"])
        self._heard()
        yield "update sa", self._told_of(dialect.update_sa(replace(SAS["encap"], encap=UdpEncap(4500, 4501))))
        yield "update policy", self._told_of(dialect.update_policy(replace(POLICIES["out"], priority=5)))
        yield "migrate policy", self._told_of(dialect.migrate_policy(POLICIES["out"].id, [MOVED]))
        if self.engine.supports(Feature.MIGRATE_STATE).available:
            sa = next(sa for sa in self.engine.dump_sas() if sa.source == _V4.roaming)
            yield "migrate sa", self._told_of(dialect.migrate_sa(sa, sa.moved(_V4.roaming_later, _V4.gateway, None)))
        yield "flush sub policies", self._told_of(dialect.flush_policies(PolicyType.SUB))
        yield "flush policies", self._told_of(dialect.flush_policies(PolicyType.MAIN))
        yield "flush sas", self._told_of(dialect.flush_sas(None))
        wanted = SPIRequest(_V4.gateway, _V4.roaming, minimum=0x2000, maximum=0x2000, reqid=7)
        yield "get spi", self._answer(dialect.get_spi(wanted))
        self.engine.flush_sas()
        self._heard()

    def _unasked(self) -> Iterator[tuple[str, list[bytes]]]:
        sa = SAS["aead"]
        self.engine.add_sa(sa)
        self._heard()
        self.engine.set_progress(sa, PROGRESS)
        yield "progress", self._first_heard(wire.XFRM_MSG_NEWAE)
        yield "expire sa hard", self._told_of(self._dialect.expire_sa(sa.id, True))
        for family in ADDRESSES:
            version = f"IPv{family}"
            policy = make_policies(family)[0]
            self.engine.add_policy(policy)
            self._heard()
            self._host.send_packet(family)
            yield f"{version} acquire", self._first_heard(wire.XFRM_MSG_ACQUIRE)
            yield f"{version} expire policy hard", self._told_of(self._dialect.expire_policy(policy.id, True))
            self.engine.flush_sas()
            self.engine.add_sa(peer(family))
            self._heard()
            self._host.send_encapsulated(family, peer(family).id.spi)
            yield f"{version} new mapping", self._heard()

    def _answer(self, request: Request[Any]) -> list[bytes]:
        answer, _ = self._exchange(request)
        self._heard()
        return answer

    def _told_of(self, request: Request[None]) -> list[bytes]:
        _, refusal = self._exchange(request)
        if refusal:
            raise RuntimeError(f"{request.operation} {request.subject}: errno {refusal}")
        return self._heard()

    def _exchange(self, request: Request[Any]) -> tuple[list[bytes], int]:
        message = bytearray(request.wire.message)
        struct.pack_into("=I", message, 8, SEQ)
        self._asking.send(message)
        answer: list[bytes] = []
        while True:
            select.select([self._asking.fileno()], [], [], _PATIENCE_S)
            for kind, data in _split(self._asking.recv(1 << 20)):
                if kind == NLMSG_ERROR:
                    return answer, -struct.unpack_from("=i", data, _HEADER.size)[0]
                answer.append(data)
            if answer:
                return answer, 0

    def _heard(self) -> list[bytes]:
        return [data for kind, data in self._all_heard() if kind not in _AT_ANY_TIME]

    def _first_heard(self, wanted: int) -> list[bytes]:
        return [data for kind, data in self._all_heard() if kind == wanted][:1]

    def _all_heard(self) -> list[tuple[int, bytes]]:
        heard: list[tuple[int, bytes]] = []
        # What a packet causes may take a moment, and all else is there.
        while select.select([self._listening.fileno()], [], [], 0.2)[0]:
            heard += _split(self._listening.recv(1 << 20))
        return heard


def peer(family: int) -> SA:
    """Return the SA by which a peer sends ESP in UDP to this host; see `Host.send_encapsulated`."""
    at = ADDRESSES[family]
    return SA(
        SAId(at.roaming, 0x3000),
        at.roaming_later,
        encryption=Encryption(NULL, Key(b"")),
        encap=UdpEncap(PORT, PORT),
    )


def _split(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    while datagram:
        length, kind, *_ = _HEADER.unpack_from(datagram)
        yield kind, datagram[:length]
        datagram = datagram[(length + 3) & ~3 :]


def main(path: Path) -> None:
    """Write what this kernel sends."""
    header = _FILE_HEADER.format(name=os.environ["LAB_KERNEL"], release=os.uname().release, day=datetime.now(UTC))
    with ExitStack() as stack:
        blocks = [text_of(name, messages) for name, messages in Capture(stack).messages()]
    path.write_text(header + "".join(blocks))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
