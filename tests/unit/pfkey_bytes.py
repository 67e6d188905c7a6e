"""PF_KEY messages as bytes, laid out with struct.pack and not by the code under test; and as they are built."""

import struct
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from pfkeyx.native import ffi
from pfkeyx.pfkey.extensions import (
    Extension,
    IPsecRequest,
    PolicyExtension,
)
from pfkeyx.pfkey.message import (
    Message,
    MessageType,
    SAType,
    build,
)

SECRET = bytes(range(0xA0, 0xE0))
V4, OTHER_V4 = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.7")
V6, OTHER_V6 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8:7::ffff")
PAIRS = [(V4, OTHER_V4), (V6, OTHER_V6)]

Address = IPv4Address | IPv6Address


# ---- the bytes, computed here ----


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def extension(exttype: int, body: bytes) -> bytes:
    whole = padded(bytes(4) + body)
    return struct.pack("=HH", len(whole) // 8, exttype) + whole[4:]


def message_bytes(*extensions: bytes, msgtype: int = 3, errno: int = 0, satype: int = 3, seq: int = 7) -> bytes:
    body = b"".join(extensions)
    return struct.pack("=BBBBHHII", 2, msgtype, errno, satype, 2 + len(body) // 8, 0, seq, 42) + body


def sockaddr(address: Address, port: int) -> bytes:
    if address.version == 4:
        return struct.pack("=H", 2) + struct.pack(">H", port) + address.packed + bytes(8)
    return struct.pack("=H", 10) + struct.pack(">HI", port, 0) + address.packed + struct.pack("=I", 0)


# ---- the bytes, as they are built ----


def message(extensions: Mapping[int, Extension] | None = None) -> Message:
    return Message(MessageType.ADD, SAType.ESP, seq=7, pid=42, extensions=extensions or {})


def built(message: Message) -> bytes:
    outgoing = build(message)
    return ffi.buffer(outgoing.data, outgoing.size)[:]


def request(proto: int, mode: int, level: int, reqid: int, addresses: bytes = b"") -> bytes:
    return struct.pack("=HHBBHII", 16 + len(addresses), proto, mode, level, 0, reqid, 0) + addresses


POLICY = PolicyExtension(
    2,
    3,
    0x01020308,
    0x80000001,
    (
        IPsecRequest(50, 2, 3, 9, V4, OTHER_V4),
        IPsecRequest(51, 1, 2, 0, None, None),
        IPsecRequest(108, 2, 1, 0x3FFF, V6, OTHER_V6),
    ),
)
