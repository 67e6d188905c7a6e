"""What the kernel answers over NETLINK_XFRM, byte by byte, for tests that play its part."""

import struct

from pfkeyx import SA, Policy
from pfkeyx.xfrm import codec, messages
from pfkeyx.xfrm.encoding import encode
from tests.unit.samples import OUTBOUND

ACK_TLVS = 0x200
#: What the kernel calls the socket of the transport that is tested.
PORT = 4711


def sequences(datagram: bytes) -> list[int]:
    """Return the numbers of a datagram's messages."""
    found, offset = [], 0
    while offset < len(datagram):
        length, _, _, sequence, _ = struct.unpack_from("=IHHII", datagram, offset)
        found.append(sequence)
        offset += (length + 3) & ~3
    return found


def ack(sequence: int, error: int = 0, text: str = "", offset: int | None = None, missing: int | None = None) -> bytes:
    """Return an acknowledgement, or a refusal and what the kernel says of it."""
    attributes = b""
    for number, value in (
        (1, text.encode() + b"\0" if text else None),
        (2, None if offset is None else struct.pack("=I", offset)),
        (5, None if missing is None else struct.pack("=I", missing)),
    ):
        if value is not None:
            attributes += struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)
    body = struct.pack("=iIHHII", -error, 20, 16, 5, sequence, 0) + attributes
    flags = 0x100 | (ACK_TLVS if attributes else 0)
    return struct.pack("=IHHII", 16 + len(body), 2, flags, sequence, 0) + body


def sa_entry(sequence: int, sa: SA = OUTBOUND) -> bytes:
    """Return an SA as an answer tells it."""
    fields, attributes = codec.sa_fields(sa), codec.sa_attributes(sa)
    entry = encode(messages.usersa_msg, messages.XFRM_MSG_NEWSA, 2, fields, attributes)
    struct.pack_into("=I", entry, 8, sequence)
    return bytes(entry)


def told_sa(sa: SA) -> bytes:
    """Return an SA as a kernel tells of it, with what the SA has received and sent."""
    attributes = codec.sa_attributes(sa, sa.replay)
    fields = codec.sa_fields(sa)
    return bytes(encode(messages.usersa_msg, messages.XFRM_MSG_NEWSA, 0, fields, attributes, sa.other))


def told_policy(policy: Policy) -> bytes:
    """Return a policy as a kernel tells of it."""
    fields, attributes = codec.policy_fields(policy), codec.policy_attributes(policy)
    message, number = messages.userpolicy_msg, messages.XFRM_MSG_NEWPOLICY
    return bytes(encode(message, number, 0, fields, attributes, policy.other))


def done(sequence: int, error: int = 0) -> bytes:
    """Return the end of a dump."""
    return struct.pack("=IHHIIi", 20, 3, 2, sequence, 0, -error)
