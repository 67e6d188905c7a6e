"""Has a kernel send a PF_KEY message of every kind, and writes their bytes into a file.

It is run in the lab, where the name of the kernel is known:

    lab/run --kernel 7 --rwdir tests/unit/captures -- .venv/bin/python -m tests.captures tests/unit/captures/7.txt

What is asked for stands in `REQUESTS`, so that whoever reads a capture knows what has to be in it.
"""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from pfkeyx.model import Protocol
from pfkeyx.native import lib
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    KMAddressExtension,
    LifetimeExtension,
    NatTPortExtension,
    NatTTypeExtension,
    PolicyExtension,
    SA2Extension,
    SPIRangeExtension,
)
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, SAType, read
from tests.kernel.manager import KeyManager, encapsulated
from tests.kernel.raw import (
    HARD,
    REQID,
    SOFT,
    Extensions,
    ah,
    by_index,
    ends,
    esp,
    found_by,
    ipcomp,
    outbound,
    selector,
    transport,
    tunnel,
)
from tests.kernel.values import ADDRESSES, make_policies

SEQ, PID = 0x51525354, 0x61626364
_LIFETIMES: Extensions = {ExtensionType.LIFETIME_HARD: HARD, ExtensionType.LIFETIME_SOFT: SOFT}
_PATIENCE_S = 120
_BYTES_A_LINE = 32

_HEADER = """\
# PF_KEY messages as a kernel sent them: kernel {name} of lab/kernels.toml, release {release}, on {day:%Y-%m-%d}.
# Written by `python -m tests.captures`. The keys in them are test keys, counted up, and were never anybody's.
"""


def _encapsulated(family: int) -> Extensions:
    at = ADDRESSES[family]
    return esp(family, 0x1001) | {
        ExtensionType.ADDRESS_PROXY: AddressExtension(
            at.roaming_inner, at.roaming_inner.max_prefixlen - 8, lib.IPSEC_PROTO_ANY
        ),
        ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(2),
        ExtensionType.X_NAT_T_SPORT: NatTPortExtension(4500),
        ExtensionType.X_NAT_T_DPORT: NatTPortExtension(61234),
    }


def _larval(family: int) -> Extensions:
    return ends(family) | {
        ExtensionType.X_SA2: SA2Extension(lib.IPSEC_MODE_TUNNEL, REQID),
        ExtensionType.SPIRANGE: SPIRangeExtension(0x2000, 0x2000),
    }


def _migration(family: int) -> Extensions:
    at = ADDRESSES[family]
    old, new = tunnel(family), tunnel(family)._replace(source=at.roaming_later)
    kmaddress = KMAddressExtension(at.roaming_later, at.gateway)
    return selector(family) | outbound(old, new) | {ExtensionType.X_KMADDRESS: kmaddress}


def _mixed(family: int) -> Extensions:
    requests = (tunnel(10 - family), transport(lib.IPSEC_LEVEL_REQUIRE, protocol=Protocol.AH))
    return selector(family, 6) | outbound(*requests)


def _nested(family: int) -> Extensions:
    requests = (transport(lib.IPSEC_LEVEL_USE, protocol=Protocol.IPCOMP), tunnel(family))
    return selector(family, 17, 500) | outbound(*requests, priority=9) | _LIFETIMES


def _sad(message_type: MessageType, extensions: Callable[[int], Extensions], satype: SAType = SAType.ESP) -> "_Request":
    return lambda family: Message(message_type, satype, 0, SEQ, PID, extensions(family))


def _spd(message_type: MessageType, extensions: Callable[[int], Extensions]) -> "_Request":
    return _sad(message_type, extensions, SAType.UNSPEC)


def _nothing(_family: int) -> Extensions:
    return {}


_Request = Callable[[int], Message]

#: What is asked for, by name and in this order, of a kernel that has no SAs and policies at first.
REQUESTS: dict[str, _Request] = {
    "dump of nothing": _sad(MessageType.DUMP, _nothing),
    "refusal": _sad(MessageType.GET, lambda family: found_by(esp(family))),
    "getspi": _sad(MessageType.GETSPI, _larval),
    "add esp": _sad(MessageType.ADD, lambda family: esp(family) | _LIFETIMES),
    "add esp in udp": _sad(MessageType.ADD, _encapsulated),
    "add ah": _sad(MessageType.ADD, ah, SAType.AH),
    "add ipcomp": _sad(MessageType.ADD, ipcomp, SAType.X_IPCOMP),
    "get esp": _sad(MessageType.GET, lambda family: found_by(esp(family))),
    "update esp": _sad(MessageType.UPDATE, lambda family: esp(family) | _LIFETIMES),
    "dump": _sad(MessageType.DUMP, _nothing, SAType.UNSPEC),
    "delete esp": _sad(MessageType.DELETE, lambda family: found_by(esp(family))),
    "flush": _sad(MessageType.FLUSH, _nothing, SAType.UNSPEC),
    "flush of nothing": _sad(MessageType.FLUSH, _nothing, SAType.UNSPEC),
    "promisc": _sad(MessageType.X_PROMISC, _nothing, SAType.UNSPEC),
    "spdadd": _spd(MessageType.X_SPDADD, lambda family: selector(family) | outbound(tunnel(family))),
    "spdadd nested": _spd(MessageType.X_SPDADD, _nested),
    "spdsetidx mixed": _spd(MessageType.X_SPDSETIDX, _mixed),
    "spddump": _spd(MessageType.X_SPDDUMP, _nothing),
    "migrate": _spd(MessageType.X_MIGRATE, _migration),
    "spdupdate": _spd(MessageType.X_SPDUPDATE, lambda family: selector(family) | outbound(tunnel(family), priority=7)),
    "spddelete": _spd(MessageType.X_SPDDELETE, lambda family: selector(family, 6) | outbound()),
    "spdflush": _spd(MessageType.X_SPDFLUSH, _nothing),
}


def read_captures(path: Path) -> dict[str, bytes]:
    """Return the messages of a file, by name."""
    blocks = path.read_text().split("\n[")[1:]
    return {name: bytes.fromhex(lines) for name, lines in (block.split("]\n") for block in blocks)}


def _captures(manager: KeyManager) -> Iterator[tuple[str, list[bytes]]]:
    yield "register", [manager.registration]
    for family in ADDRESSES:
        manager.begin()
        version = f"IPv{family}"
        for name, request in REQUESTS.items():
            yield f"{version} {name}", _answers(manager, request(family))
        yield from ((f"{version} {name}", messages) for name, messages in _by_index(manager, family))
        yield from ((f"{version} {name}", messages) for name, messages in _unasked(manager, family))


def _by_index(manager: KeyManager, family: int) -> Iterator[tuple[str, list[bytes]]]:
    (added,) = _answers(manager, REQUESTS["spdadd"](family))
    extensions = by_index(read(added).need(ExtensionType.X_POLICY, PolicyExtension).id)
    for name, message_type in (("spdget", MessageType.X_SPDGET), ("spddelete2", MessageType.X_SPDDELETE2)):
        yield name, _answers(manager, Message(message_type, SAType.UNSPEC, 0, SEQ, PID, extensions))


def _unasked(manager: KeyManager, family: int) -> Iterator[tuple[str, list[bytes]]]:
    _answers(manager, REQUESTS["spdadd"](family))
    manager.send_packet(family)
    yield "acquire", _waiting(manager)
    manager.begin()
    with manager.open("xfrm") as engine:
        engine.add_policy(make_policies(family)[0])
    _waiting(manager)
    manager.send_packet(family)
    yield "acquire with proposals", _waiting(manager)
    manager.begin()
    limits: Extensions = {
        ExtensionType.LIFETIME_HARD: LifetimeExtension(addtime=4),
        ExtensionType.LIFETIME_SOFT: LifetimeExtension(addtime=1),
    }
    _answers(manager, Message(MessageType.ADD, SAType.ESP, extensions=esp(family) | limits))
    yield "expire soft", [_next(manager)]
    yield "expire hard", [_next(manager)]
    _answers(manager, Message(MessageType.ADD, SAType.ESP, extensions=encapsulated(family, 0x3000)))
    manager.send_encapsulated(family, 0x3000)
    yield "new mapping", [_next(manager)]


def _answers(manager: KeyManager, request: Message) -> list[bytes]:
    manager.socket.send(request)
    return _waiting(manager)


def _waiting(manager: KeyManager) -> list[bytes]:
    messages = []
    while (data := manager.socket.receive_bytes()) is not None:
        messages.append(bytes(data))
    return messages


def _next(manager: KeyManager) -> bytes:
    select.select([manager.socket.fileno()], [], [], _PATIENCE_S)
    (message,) = _waiting(manager)
    return message


def text_of(name: str, messages: list[bytes]) -> str:
    """Return the block of a file that has these messages, numbered where there are several."""
    titles = [name] if len(messages) == 1 else [f"{name} {number}" for number in range(1, len(messages) + 1)]
    return "".join(
        "\n".join(
            [
                f"\n[{title}]",
                *(data[at : at + _BYTES_A_LINE].hex(" ", 4) for at in range(0, len(data), _BYTES_A_LINE)),
                "",
            ]
        )
        for title, data in zip(titles, messages, strict=True)
    )


def main(path: Path) -> None:
    """Write what this kernel sends."""
    header = _HEADER.format(name=os.environ["LAB_KERNEL"], release=os.uname().release, day=datetime.now(UTC))
    with ExitStack() as stack:
        blocks = [text_of(name, messages) for name, messages in _captures(KeyManager(stack))]
    path.write_text(header + "".join(blocks))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
