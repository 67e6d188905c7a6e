"""The C core against RFC 2367 section 2 and <linux/pfkeyv2.h>, written a second time with struct.pack."""

import errno
import ipaddress
import os
import re
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfkeyx import _pfkey
from pfkeyx._version import __version__
from pfkeyx.native import check_version, ffi, lib

KEY = bytes(range(1, 65))
V4 = ipaddress.ip_address("192.0.2.1")
V6 = ipaddress.ip_address("2001:db8::1")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def c_address(address: Address, port: int = 0) -> Any:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return ffi.new("struct pfkeyx_address *", [family, port, address.packed])


def sockaddr(address: Address, port: int = 0) -> bytes:
    if address.version == 4:
        return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + address.packed + bytes(8)
    return struct.pack("=H", socket.AF_INET6) + struct.pack(">HI", port, 0) + address.packed + bytes(4)


def python_address(address: Any) -> tuple[Address, int]:
    size = 4 if address.family == socket.AF_INET else 16
    return ipaddress.ip_address(bytes(address.bytes)[:size]), address.port


def extension(exttype: int, body: bytes) -> bytes:
    body += bytes(-(4 + len(body)) % 8)
    return struct.pack("=HH", (4 + len(body)) // 8, exttype) + body


def message(*extensions: bytes, version: int = 2, words: int | None = None, msgtype: int = lib.SADB_GET) -> bytes:
    body = b"".join(extensions)
    length = 2 + len(body) // 8 if words is None else words
    return struct.pack("=BBBBHHII", version, msgtype, 0, lib.SADB_SATYPE_ESP, length, 0, 7, 42) + body


@pytest.fixture
def builder() -> Iterator[Any]:
    builder = ffi.new("struct pfkeyx_builder *")
    lib.pfkeyx_begin(builder, lib.SADB_GET, lib.SADB_SATYPE_ESP, 0, 7, 42)
    yield builder
    lib.pfkeyx_builder_release(builder)


@pytest.fixture
def buffer() -> Iterator[Any]:
    buffer = ffi.new("struct pfkeyx_buffer *")
    yield buffer
    lib.pfkeyx_buffer_release(buffer)


def finish(builder: Any) -> bytes:
    assert lib.pfkeyx_finish(builder) == 0
    return ffi.buffer(builder.data, builder.size)[:]


def read(data: bytes) -> list[tuple[int, bytes]]:
    """Return type and bytes of each extension; raise OSError as the reader refuses."""
    reader, header = ffi.new("struct pfkeyx_reader *"), ffi.new("struct sadb_msg *")
    found = ffi.new("struct pfkeyx_extension *")
    kept = ffi.from_buffer(data)
    result = lib.pfkeyx_read_message(reader, kept, len(data), header)
    extensions = []
    if result == 0:
        while (result := lib.pfkeyx_read_extension(reader, found)) == 1:
            extensions.append((found.type, ffi.buffer(found.data, found.size)[:]))
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return extensions


def c_extension(data: bytes) -> tuple[Any, Any]:
    """Return an extension and what must be kept alive with it."""
    kept = ffi.from_buffer("uint8_t[]", data)
    return ffi.new("struct pfkeyx_extension *", [0, kept, len(data)]), kept


def get(getter: Callable[[Any, Any], int], struct_name: str, data: bytes) -> Any:
    found, _kept = c_extension(data)
    out = ffi.new(f"struct {struct_name} *")
    assert getter(found, out) == 0
    return out


# Building


def test_the_base_header_is_16_bytes_with_its_length_in_words(builder: Any) -> None:
    assert finish(builder) == struct.pack("=BBBBHHII", 2, 5, 0, 3, 2, 0, 7, 42)


Put = Callable[[Any], None]

PUTS: dict[str, tuple[Put, bytes]] = {
    "sa": (
        lambda b: lib.pfkeyx_put_sa(b, 0x12345678, 32, 1, 3, 12, 0x80000000),
        extension(1, struct.pack(">I", 0x12345678) + struct.pack("=BBBBI", 32, 1, 3, 12, 0x80000000)),
    ),
    "lifetime": (
        lambda b: lib.pfkeyx_put_lifetime(b, 3, 2**32 - 1, 2**64 - 1, 5, 6),
        extension(3, struct.pack("=IQQQ", 2**32 - 1, 2**64 - 1, 5, 6)),
    ),
    "address of IPv4": (
        lambda b: lib.pfkeyx_put_address(b, 5, 17, 24, c_address(V4, 4500)),
        extension(5, struct.pack("=BBH", 17, 24, 0) + sockaddr(V4, 4500)),
    ),
    "address of IPv6": (
        lambda b: lib.pfkeyx_put_address(b, 6, 255, 128, c_address(V6, 500)),
        extension(6, struct.pack("=BBH", 255, 128, 0) + sockaddr(V6, 500)),
    ),
    "sa2": (lambda b: lib.pfkeyx_put_sa2(b, 2, 3, 4), extension(19, struct.pack("=BBHII", 2, 0, 0, 3, 4))),
    "spirange": (
        lambda b: lib.pfkeyx_put_spirange(b, 0x100, 0x1FF),
        extension(16, struct.pack("=III", 0x100, 0x1FF, 0)),
    ),
    "nat_t_type": (lambda b: lib.pfkeyx_put_nat_t_type(b, 2), extension(20, bytes([2, 0, 0, 0]))),
    "nat_t_port": (
        lambda b: lib.pfkeyx_put_nat_t_port(b, 22, 4500),
        extension(22, struct.pack(">HH", 4500, 0)),
    ),
    "policy": (
        lambda b: lib.pfkeyx_put_policy(b, 2, 3, 8, 100),
        extension(18, struct.pack("=HBBII", 2, 3, 0, 8, 100)),
    ),
}


@pytest.mark.parametrize("name", PUTS)
def test_an_extension_is_what_the_rfc_lays_out_byte_by_byte(name: str, builder: Any) -> None:
    put, expected = PUTS[name]
    put(builder)
    assert finish(builder) == message(expected)


def test_extensions_follow_each_other_aligned_to_64_bits(builder: Any) -> None:
    for put, _ in PUTS.values():
        put(builder)
    data = finish(builder)
    assert data == message(*(expected for _, expected in PUTS.values()))
    assert all(len(part) % 8 == 0 for _, part in read(data))


@pytest.mark.parametrize("bits", range(513))
def test_a_key_takes_its_bytes_and_zeros_up_to_64_bits(bits: int, builder: Any) -> None:
    used = KEY[: (bits + 7) // 8]
    lib.pfkeyx_put_key(builder, lib.SADB_EXT_KEY_AUTH, KEY, bits)
    assert finish(builder) == message(extension(8, struct.pack("=HH", bits, 0) + used))


def test_padding_is_zero_in_memory_that_held_a_key(builder: Any) -> None:
    lib.pfkeyx_put_key(builder, lib.SADB_EXT_KEY_AUTH, KEY, 512)
    lib.pfkeyx_begin(builder, lib.SADB_GET, lib.SADB_SATYPE_ESP, 0, 7, 42)
    lib.pfkeyx_put_key(builder, lib.SADB_EXT_KEY_AUTH, b"\xff", 1)
    assert finish(builder) == message(extension(8, struct.pack("=HHB", 1, 0, 0xFF)))


def test_requests_go_into_their_policy_with_lengths_in_bytes(builder: Any) -> None:
    lib.pfkeyx_put_policy(builder, 2, 2, 0, 0)
    lib.pfkeyx_put_ipsecrequest(builder, 50, 2, 3, 9, c_address(V4), c_address(V4))
    lib.pfkeyx_put_ipsecrequest(builder, 50, 2, 2, 0, c_address(V6), c_address(V6))
    lib.pfkeyx_put_ipsecrequest(builder, 51, 1, 1, 0, ffi.NULL, ffi.NULL)
    lib.pfkeyx_put_nat_t_type(builder, 2)
    body = struct.pack("=HBBII", 2, 2, 0, 0, 0)
    body += struct.pack("=HHBBHII", 48, 50, 2, 3, 0, 9, 0) + sockaddr(V4) * 2
    body += struct.pack("=HHBBHII", 72, 50, 2, 2, 0, 0, 0) + sockaddr(V6) * 2
    body += struct.pack("=HHBBHII", 16, 51, 1, 1, 0, 0, 0)
    assert finish(builder) == message(extension(18, body), extension(20, bytes([2, 0, 0, 0])))


def put_request_without_policy(builder: Any) -> None:
    lib.pfkeyx_put_ipsecrequest(builder, 50, 1, 1, 0, ffi.NULL, ffi.NULL)


def put_request_after_another_extension(builder: Any) -> None:
    lib.pfkeyx_put_policy(builder, 2, 2, 0, 0)
    lib.pfkeyx_put_nat_t_type(builder, 2)
    put_request_without_policy(builder)


def put_request_of_two_families(builder: Any) -> None:
    lib.pfkeyx_put_policy(builder, 2, 2, 0, 0)
    lib.pfkeyx_put_ipsecrequest(builder, 50, 2, 1, 0, c_address(V4), c_address(V6))


def put_request_with_one_address(builder: Any) -> None:
    lib.pfkeyx_put_policy(builder, 2, 2, 0, 0)
    lib.pfkeyx_put_ipsecrequest(builder, 50, 2, 1, 0, c_address(V4), ffi.NULL)


def put_too_much(builder: Any) -> None:
    while not builder.error:
        lib.pfkeyx_put_key(builder, lib.SADB_EXT_KEY_AUTH, bytes(8192), 65535)


REFUSED: dict[str, tuple[int, Put]] = {
    "a family that is not IP": (
        errno.EINVAL,
        lambda b: lib.pfkeyx_put_address(b, 5, 0, 0, ffi.new("struct pfkeyx_address *", [socket.AF_UNIX])),
    ),
    "an IPv4 prefix of 33": (errno.EINVAL, lambda b: lib.pfkeyx_put_address(b, 5, 0, 33, c_address(V4))),
    "an IPv6 prefix of 129": (errno.EINVAL, lambda b: lib.pfkeyx_put_address(b, 5, 0, 129, c_address(V6))),
    "bits without a key": (errno.EINVAL, lambda b: lib.pfkeyx_put_key(b, 8, ffi.NULL, 1)),
    "a request without a policy": (errno.EINVAL, put_request_without_policy),
    "a request after another extension": (errno.EINVAL, put_request_after_another_extension),
    "a request of two families": (errno.EINVAL, put_request_of_two_families),
    "a request with one address": (errno.EINVAL, put_request_with_one_address),
    "key managers of two families": (
        errno.EINVAL,
        lambda b: lib.pfkeyx_put_kmaddress(b, c_address(V4), c_address(V6)),
    ),
    "a filter with an IPv4 prefix of 33": (
        errno.EINVAL,
        lambda b: lib.pfkeyx_put_filter(b, ffi.new("struct pfkeyx_filter *", [socket.AF_INET, 33])),
    ),
    "combinations without an array": (errno.EINVAL, lambda b: lib.pfkeyx_put_proposal(b, 32, ffi.NULL, 1)),
    "more than 65535 words": (errno.EMSGSIZE, put_too_much),
    "more algorithms than a message has room for": (
        errno.EMSGSIZE,
        lambda b: lib.pfkeyx_put_supported(b, 14, ffi.new("struct sadb_alg[1]"), 2**61),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_first_refusal_sticks_and_nothing_is_put_after_it(name: str, builder: Any) -> None:
    error, put = REFUSED[name]
    put(builder)
    size = builder.size
    lib.pfkeyx_put_sa2(builder, 1, 0, 0)
    lib.pfkeyx_put_key(builder, 8, KEY, 8)
    put_request_without_policy(builder)
    assert builder.size == size
    assert lib.pfkeyx_finish(builder) == -error


def test_a_new_message_starts_without_the_error_of_the_last(builder: Any) -> None:
    put_request_without_policy(builder)
    lib.pfkeyx_begin(builder, lib.SADB_GET, lib.SADB_SATYPE_ESP, 0, 7, 42)
    assert finish(builder) == message()


def test_a_message_that_was_never_begun_is_refused() -> None:
    builder = ffi.new("struct pfkeyx_builder *")
    lib.pfkeyx_put_sa2(builder, 1, 0, 0)
    assert lib.pfkeyx_finish(builder) == -errno.EINVAL
    lib.pfkeyx_builder_release(builder)


# Reading


def test_an_unknown_extension_is_handed_out_as_it_is() -> None:
    unknown = extension(999, b"whatever")
    assert read(message(unknown)) == [(999, unknown)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        message()[:15],
        message(version=1),
        message(words=3),
        message(words=3, msgtype=lib.SADB_X_PCHANGE),
        message(words=3, msgtype=lib.SADB_X_NAT_T_NEW_MAPPING),
        message(extension(1, bytes(12)))[:-8],
        message(struct.pack("=HHI", 0, 1, 0)),
        message(struct.pack("=HHI", 2, 1, 0)),
        message(struct.pack("=HHI", 65535, 1, 0)),
        message(words=2) + b"\x01\x00\x01",
    ],
    ids=[
        "nothing",
        "half a header",
        "another version",
        "a length beyond what arrived",
        "a length beyond what arrived, in the type before policies",
        "a length beyond what arrived, in the type after policies",
        "a cut extension",
        "an extension of no length",
        "an extension beyond the end",
        "an extension of the greatest length",
        "less than an extension header",
    ],
)
def test_a_malformed_message_is_refused(data: bytes) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EBADMSG)):
        read(data)


def test_a_header_that_says_less_than_arrived_is_not_believed() -> None:
    parts = [extension(1, bytes(12)), extension(19, bytes(12))]
    assert read(message(*parts, words=4)) == [(1, parts[0]), (19, parts[1])]


@pytest.mark.parametrize("words", [0, 4, 9])
@pytest.mark.parametrize("msgtype", [lib.SADB_X_SPDUPDATE, lib.SADB_X_SPDDUMP, lib.SADB_X_SPDDELETE2])
def test_the_length_of_a_policy_message_is_not_believed_at_all(msgtype: int, words: int) -> None:
    policy = PUTS["policy"][1]
    assert read(message(policy, words=words, msgtype=msgtype)) == [(18, policy)]


@pytest.mark.parametrize(
    ("name", "getter", "struct_name"),
    [
        ("sa", lib.pfkeyx_get_sa, "sadb_sa"),
        ("lifetime", lib.pfkeyx_get_lifetime, "sadb_lifetime"),
        ("sa2", lib.pfkeyx_get_sa2, "sadb_x_sa2"),
        ("spirange", lib.pfkeyx_get_spirange, "sadb_spirange"),
        ("nat_t_type", lib.pfkeyx_get_nat_t_type, "sadb_x_nat_t_type"),
        ("nat_t_port", lib.pfkeyx_get_nat_t_port, "sadb_x_nat_t_port"),
        ("policy", lib.pfkeyx_get_policy, "sadb_x_policy"),
    ],
)
def test_an_extension_is_copied_whole_or_refused(
    name: str, getter: Callable[[Any, Any], int], struct_name: str
) -> None:
    whole, whole_kept = c_extension(PUTS[name][1])
    longer, longer_kept = c_extension(PUTS[name][1] + bytes(8))
    short, short_kept = c_extension(PUTS[name][1][:-8])
    out = ffi.new(f"struct {struct_name} *")
    assert getter(whole, out) == 0
    assert ffi.buffer(out)[:] == bytes(whole_kept)
    assert getter(longer, out) == 0
    assert ffi.buffer(out)[:] == bytes(longer_kept)[:-8]
    assert getter(short, out) == -errno.EBADMSG
    assert len(short_kept) == len(whole_kept) - 8


@pytest.mark.parametrize("name", ["address of IPv4", "address of IPv6"])
def test_a_cut_address_is_refused(name: str) -> None:
    header, address = ffi.new("struct sadb_address *"), ffi.new("struct pfkeyx_address *")
    found, _kept = c_extension(PUTS[name][1][:-8])
    assert lib.pfkeyx_get_address(found, header, address) == -errno.EBADMSG


def test_an_address_of_another_family_is_refused() -> None:
    header, address = ffi.new("struct sadb_address *"), ffi.new("struct pfkeyx_address *")
    found, _kept = c_extension(extension(5, bytes(4) + struct.pack("=H", socket.AF_UNIX) + bytes(30)))
    assert lib.pfkeyx_get_address(found, header, address) == -errno.EBADMSG


def test_a_key_longer_than_its_extension_is_refused() -> None:
    bits, key = ffi.new("uint16_t *"), ffi.new("const uint8_t **")
    found, _kept = c_extension(extension(8, struct.pack("=HH", 65, 0) + bytes(8)))
    assert lib.pfkeyx_get_key(found, bits, key) == -errno.EBADMSG


def requests_of(body: bytes) -> int:
    """Return how the walk through a policy's requests ends: 0 or -errno."""
    found, _kept = c_extension(extension(18, bytes(12) + body))
    offset, request = ffi.new("size_t *"), ffi.new("struct pfkeyx_ipsecrequest *")
    while (result := lib.pfkeyx_get_ipsecrequest(found, offset, request)) == 1:
        pass
    return result


def request(size: int, rest: bytes = b"") -> bytes:
    return struct.pack("=HHBBHII", size, 50, 2, 3, 0, 0, 0) + rest


@pytest.mark.parametrize(
    "body",
    [
        request(0),
        request(15),
        request(17),
        request(16) + bytes(8),
        request(32, sockaddr(V4)),
        request(47, sockaddr(V4) * 2),
        request(60, sockaddr(V4) + sockaddr(V6)),
        request(48, bytes(32)),
    ],
    ids=[
        "of no length",
        "shorter than its header",
        "beyond the policy",
        "cut to 8 bytes",
        "with one address",
        "with a cut address",
        "with two families",
        "with a family that is not IP",
    ],
)
def test_a_malformed_request_is_refused(body: bytes) -> None:
    assert requests_of(body) == -errno.EBADMSG


def test_a_well_formed_request_is_read_up_to_the_end() -> None:
    assert requests_of(request(48, sockaddr(V4) * 2) + request(72, sockaddr(V6) * 2) + request(16)) == 0


def test_padding_behind_the_last_request_is_not_a_request() -> None:
    assert requests_of(request(52, sockaddr(V4) * 2 + bytes(4))) == 0


# There and back


def build(put: Callable[..., None], *arguments: Any) -> bytes:
    """Return the one extension that put appends."""
    builder = ffi.new("struct pfkeyx_builder *")
    lib.pfkeyx_begin(builder, lib.SADB_GET, lib.SADB_SATYPE_ESP, 0, 7, 42)
    put(builder, *arguments)
    data = finish(builder)
    lib.pfkeyx_builder_release(builder)
    ((_, part),) = read(data)
    return part


@given(spi=u32, replay=u8, state=u8, auth=u8, encrypt=u8, flags=u32)
def test_an_sa_comes_back_as_it_was_put(spi: int, replay: int, state: int, auth: int, encrypt: int, flags: int) -> None:
    sa = get(lib.pfkeyx_get_sa, "sadb_sa", build(lib.pfkeyx_put_sa, spi, replay, state, auth, encrypt, flags))
    assert lib.pfkeyx_spi(sa) == spi
    assert (sa.sadb_sa_replay, sa.sadb_sa_state, sa.sadb_sa_auth) == (replay, state, auth)
    assert (sa.sadb_sa_encrypt, sa.sadb_sa_flags) == (encrypt, flags)


@given(exttype=u16, values=st.tuples(u32, u64, u64, u64))
def test_a_lifetime_comes_back_as_it_was_put(exttype: int, values: tuple[int, int, int, int]) -> None:
    out = get(lib.pfkeyx_get_lifetime, "sadb_lifetime", build(lib.pfkeyx_put_lifetime, exttype, *values))
    names = ("exttype", "allocations", "bytes", "addtime", "usetime")
    assert tuple(getattr(out, f"sadb_lifetime_{name}") for name in names) == (exttype, *values)


@given(proto=u8, address=addresses, port=u16, data=st.data())
def test_an_address_comes_back_as_it_was_put(proto: int, address: Address, port: int, data: st.DataObject) -> None:
    prefixlen = data.draw(st.integers(0, address.max_prefixlen))
    part = build(lib.pfkeyx_put_address, 5, proto, prefixlen, c_address(address, port))
    found, _kept = c_extension(part)
    header, out = ffi.new("struct sadb_address *"), ffi.new("struct pfkeyx_address *")
    assert lib.pfkeyx_get_address(found, header, out) == 0
    assert python_address(out) == (address, port)
    assert (header.sadb_address_proto, header.sadb_address_prefixlen) == (proto, prefixlen)


@given(key=st.binary(max_size=8191))
def test_a_key_comes_back_as_it_was_put(key: bytes) -> None:
    found, _kept = c_extension(build(lib.pfkeyx_put_key, 9, key, len(key) * 8))
    bits, out = ffi.new("uint16_t *"), ffi.new("const uint8_t **")
    assert lib.pfkeyx_get_key(found, bits, out) == 0
    assert (bits[0], ffi.buffer(out[0], bits[0] // 8)[:]) == (len(key) * 8, key)


pairs = st.none() | st.tuples(*[st.ip_addresses(v=4)] * 2) | st.tuples(*[st.ip_addresses(v=6)] * 2)
requests = st.lists(st.tuples(u16, u8, u8, u32, pairs), max_size=6)


@given(policy=st.tuples(u16, u8, u32, u32), requests=requests)
def test_a_policy_and_its_requests_come_back_as_they_were_put(
    policy: tuple[int, int, int, int],
    requests: list[tuple[int, int, int, int, tuple[Address, Address] | None]],
) -> None:
    def put(builder: Any) -> None:
        lib.pfkeyx_put_policy(builder, *policy)
        for *fields, pair in requests:
            ends = [c_address(end) for end in pair] if pair else [ffi.NULL, ffi.NULL]
            lib.pfkeyx_put_ipsecrequest(builder, *fields, *ends)

    part = build(put)
    out = get(lib.pfkeyx_get_policy, "sadb_x_policy", part)
    names = ("type", "dir", "id", "priority")
    assert tuple(getattr(out, f"sadb_x_policy_{name}") for name in names) == policy

    found, _kept = c_extension(part)
    offset, one = ffi.new("size_t *"), ffi.new("struct pfkeyx_ipsecrequest *")
    read_back = []
    while (result := lib.pfkeyx_get_ipsecrequest(found, offset, one)) == 1:
        header = one.header
        fields = [getattr(header, f"sadb_x_ipsecrequest_{name}") for name in ("proto", "mode", "level", "reqid")]
        ends = (python_address(one.source)[0], python_address(one.destination)[0]) if one.has_addresses else None
        read_back.append((*fields, ends))
    assert result == 0
    assert read_back == requests


@given(data=st.binary(max_size=256))
def test_no_bytes_at_all_make_the_reader_do_more_than_refuse(data: bytes) -> None:
    try:
        parts = read(data)
    except OSError as error:
        refusal = error.errno
    else:
        refusal = 0 if 16 + sum(len(part) for _, part in parts) == len(data) else None
    assert refusal in (0, errno.EBADMSG)


# Sockets


@pytest.fixture(params=[socket.SOCK_SEQPACKET, socket.SOCK_DGRAM], ids=["seqpacket", "datagram"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair(socket.AF_UNIX, request.param)
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


def test_a_message_of_160_kb_arrives_whole(ends: tuple[socket.socket, socket.socket], buffer: Any) -> None:
    sent = os.urandom(160 * 1024)
    assert lib.pfkeyx_send(ends[0].fileno(), sent, len(sent)) == 0
    assert lib.pfkeyx_send(ends[0].fileno(), b"the next", 8) == 0
    assert lib.pfkeyx_receive(ends[1].fileno(), buffer) == 0
    assert ffi.buffer(buffer.data, buffer.size)[:] == sent
    assert lib.pfkeyx_receive(ends[1].fileno(), buffer) == 0
    assert ffi.buffer(buffer.data, buffer.size)[:] == b"the next"


def test_receiving_when_nothing_waits_is_eagain(ends: tuple[socket.socket, socket.socket], buffer: Any) -> None:
    assert lib.pfkeyx_receive(ends[1].fileno(), buffer) == -errno.EAGAIN


def test_an_empty_message_is_taken_and_refused(ends: tuple[socket.socket, socket.socket], buffer: Any) -> None:
    ends[0].send(b"")
    ends[0].send(b"the next")
    assert lib.pfkeyx_receive(ends[1].fileno(), buffer) == -errno.EPIPE
    assert lib.pfkeyx_receive(ends[1].fileno(), buffer) == 0
    assert ffi.buffer(buffer.data, buffer.size)[:] == b"the next"


def test_a_message_too_large_for_the_socket_is_refused_whole(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    assert lib.pfkeyx_send(ends[0].fileno(), bytes(200_000), 200_000) == -errno.EMSGSIZE
    with pytest.raises(BlockingIOError):
        ends[1].recv(1)


def test_there_is_room_for_what_the_receive_buffer_holds(ends: tuple[socket.socket, socket.socket]) -> None:
    limit = ends[1].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert [lib.pfkeyx_has_room(ends[1].fileno(), size) for size in (0, limit, limit + 1)] == [1, 1, 0]


def test_what_is_no_socket_has_no_room_to_ask_for() -> None:
    with Path("/dev/null").open("rb") as no_socket:
        assert lib.pfkeyx_has_room(no_socket.fileno(), 0) == -errno.ENOTSOCK


def test_a_descriptor_that_is_no_namespace_is_refused_before_anything_is_opened() -> None:
    with Path("/dev/null").open("rb") as no_namespace:
        assert lib.pfkeyx_open(socket.AF_KEY, lib.PF_KEY_V2, no_namespace.fileno(), 0) == -errno.EINVAL


# The package around it


def test_the_compiled_core_carries_the_version_of_the_package() -> None:
    assert ffi.string(lib.pfkeyx_version()).decode() == __version__


def test_a_core_of_another_version_is_refused_with_a_sentence() -> None:
    check_version("1.2.3", "1.2.3")
    with pytest.raises(ImportError) as refusal:
        check_version("1.2.2", "1.2.3")
    assert str(refusal.value) == (
        "pfkeyx 1.2.3 found its compiled core pfkeyx._pfkey built for version 1.2.2: "
        "install pfkeyx again (in a source tree: pip install -e .), so that both are of one version"
    )


def test_the_types_name_all_that_the_core_has_and_nothing_else() -> None:
    stub = Path(str(_pfkey.__file__)).with_name("_pfkey.pyi").read_text().partition("class _Lib:")[2]
    named = set(re.findall(r"^    (?:def )?(\w+)[:(]", stub, re.MULTILINE))
    assert named == set(dir(lib))
