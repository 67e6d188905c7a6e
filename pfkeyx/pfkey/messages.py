"""PF_KEY messages: extensions as plain values, put into C memory and read from it.

Layouts are the C core's, which has them from the kernel's header. What a value means to IPsec is not known here,
and nothing is sent or received.
"""

import builtins
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6
from typing import Any, NamedTuple, TypeAlias, TypeVar

from pfkeyx.errors import MalformedReplyError
from pfkeyx.model import IPAddress, Key
from pfkeyx.native import ffi, lib

E = TypeVar("E")
# A cffi pointer: its fields are those of the C declaration.
CData: TypeAlias = Any


class SAExtension(NamedTuple):
    """`sadb_sa`: `replay` is the window in packets."""

    spi: int
    replay: int = 0
    state: int = 0
    auth: int = 0
    encrypt: int = 0
    flags: int = 0


class LifetimeExtension(NamedTuple):
    """`sadb_lifetime`: Linux counts packets in allocations; times are in seconds."""

    packets: int
    octets: int
    addtime: int
    usetime: int


class AddressExtension(NamedTuple):
    """`sadb_address`."""

    address: IPAddress
    prefix_length: int
    protocol: int = 0
    port: int = 0


class SA2Extension(NamedTuple):
    """`sadb_x_sa2`, without its sequence number, which Linux neither reads nor writes."""

    mode: int
    reqid: int


class SPIRangeExtension(NamedTuple):
    """`sadb_spirange`."""

    minimum: int
    maximum: int


class IPsecRequest(NamedTuple):
    """`sadb_x_ipsecrequest`, one template of a policy; both addresses or none."""

    protocol: int
    mode: int
    level: int
    reqid: int
    source: IPAddress | None
    destination: IPAddress | None


class PolicyExtension(NamedTuple):
    """`sadb_x_policy` and its requests."""

    type: int
    direction: int
    id: int = 0
    priority: int = 0
    requests: tuple[IPsecRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was read: its base header, and its extensions by type; bytes where the type has no name here."""

    type: int
    errno: int
    satype: int
    seq: int
    pid: int
    extensions: Mapping[int, Any] = field(default_factory=dict, repr=False)

    def need(self, exttype: int, kind: builtins.type[E]) -> E:
        """Return an extension that the kernel always sends; raises `MalformedReplyError` when it did not."""
        extension = self.extensions.get(exttype)
        if not isinstance(extension, kind):
            raise MalformedReplyError(f"PF_KEY message {self.type} came without {_KINDS[exttype].name}")
        return extension


class Outgoing:
    """A message in C memory, which is wiped and freed when nothing refers to it any more."""

    __slots__ = ("_builder",)

    def __init__(self, builder: CData) -> None:
        self._builder = builder

    def __repr__(self) -> str:
        return f"Outgoing({self.size} bytes)"

    @property
    def type(self) -> int:
        """The message's type, SADB_*."""
        return int(self._header.sadb_msg_type)

    @property
    def data(self) -> CData:
        """Where the message is."""
        return self._builder.data

    @property
    def size(self) -> int:
        """How long the message is, in bytes."""
        return int(self._builder.size)

    def stamp(self, seq: int, pid: int) -> None:
        """Write the two numbers that the answer repeats."""
        self._header.sadb_msg_seq = seq
        self._header.sadb_msg_pid = pid

    @property
    def _header(self) -> CData:
        return ffi.cast("struct sadb_msg *", self._builder.data)


def build(message_type: int, satype: int = 0, extensions: Mapping[int, Any] | None = None) -> Outgoing:
    """Return a whole message, seq and pid 0.

    Raises `OverflowError` for a number that its field cannot hold.
    """
    builder = ffi.gc(ffi.new("struct pfkeyx_builder *"), lib.pfkeyx_builder_release)
    lib.pfkeyx_begin(builder, message_type, satype, 0, 0, 0)
    for exttype, extension in (extensions or {}).items():
        _KINDS[exttype].put(builder, exttype, extension)
    error = lib.pfkeyx_finish(builder)
    if error:
        raise OSError(-error, f"PF_KEY message {message_type} could not be built")
    return Outgoing(builder)


def read_header(data: bytes | memoryview) -> Message:
    """Return the base header of a message, without its extensions; raises `MalformedReplyError`."""
    return _start(data)[1]


def read(data: bytes | memoryview) -> Message:
    """Return a whole message; raises `MalformedReplyError`, which names what is wrong with it."""
    reader, header = _start(data)
    extensions: dict[int, Any] = {}
    extension = ffi.new("struct pfkeyx_extension *")
    while status := lib.pfkeyx_read_extension(reader, extension):
        if status < 0:
            raise MalformedReplyError(
                f"PF_KEY message {header.type}: an extension at byte {reader.offset} of {len(data)} has no length "
                "or goes beyond the end"
            )
        kind = _KINDS.get(extension.type)
        extensions[extension.type] = (
            bytes(ffi.buffer(extension.data, extension.size)) if kind is None else _read(header, kind, extension)
        )
    return Message(header.type, header.errno, header.satype, header.seq, header.pid, extensions)


def _start(data: bytes | memoryview) -> tuple[CData, Message]:
    reader = ffi.new("struct pfkeyx_reader *")
    header = ffi.new("struct sadb_msg *")
    if lib.pfkeyx_read_message(reader, ffi.from_buffer(data), len(data), header):
        raise MalformedReplyError(f"{len(data)} bytes are no PF_KEY message: too few, or of another version")
    message = Message(
        header.sadb_msg_type,
        header.sadb_msg_errno,
        header.sadb_msg_satype,
        header.sadb_msg_seq,
        header.sadb_msg_pid,
    )
    return reader, message


class _Kind(NamedTuple):
    """One type of extension: its name in the header, and how it is written and read."""

    name: str
    put: Callable[[CData, int, Any], None]
    get: Callable[[CData], Any]


class _CutShortError(Exception):
    """An extension is shorter than what it should hold."""


def _read(header: Message, kind: _Kind, extension: CData) -> Any:
    try:
        return kind.get(extension)
    except _CutShortError:
        raise MalformedReplyError(
            f"PF_KEY message {header.type}: {kind.name} of {extension.size} bytes is cut short or makes no sense"
        ) from None


def _copy(getter: Callable[[CData, CData], int], struct: str, extension: CData) -> CData:
    copied = ffi.new(struct)
    if getter(extension, copied):
        raise _CutShortError
    return copied


def _native_address(address: IPAddress, port: int = 0) -> CData:
    family = AF_INET if address.version == 4 else AF_INET6
    return ffi.new("struct pfkeyx_address *", {"family": family, "port": port, "bytes": address.packed})


def _address(native: CData) -> IPAddress:
    raw = bytes(native.bytes)
    return IPv4Address(raw[:4]) if native.family == AF_INET else IPv6Address(raw)


def _put_sa(builder: CData, exttype: int, sa: SAExtension) -> None:
    del exttype
    lib.pfkeyx_put_sa(builder, *sa)


def _get_sa(extension: CData) -> SAExtension:
    sa = _copy(lib.pfkeyx_get_sa, "struct sadb_sa *", extension)
    return SAExtension(
        lib.pfkeyx_spi(sa),
        sa.sadb_sa_replay,
        sa.sadb_sa_state,
        sa.sadb_sa_auth,
        sa.sadb_sa_encrypt,
        sa.sadb_sa_flags,
    )


def _put_lifetime(builder: CData, exttype: int, lifetime: LifetimeExtension) -> None:
    lib.pfkeyx_put_lifetime(builder, exttype, *lifetime)


def _get_lifetime(extension: CData) -> LifetimeExtension:
    lifetime = _copy(lib.pfkeyx_get_lifetime, "struct sadb_lifetime *", extension)
    return LifetimeExtension(
        lifetime.sadb_lifetime_allocations,
        lifetime.sadb_lifetime_bytes,
        lifetime.sadb_lifetime_addtime,
        lifetime.sadb_lifetime_usetime,
    )


def _put_address(builder: CData, exttype: int, address: AddressExtension) -> None:
    native = _native_address(address.address, address.port)
    lib.pfkeyx_put_address(builder, exttype, address.protocol, address.prefix_length, native)


def _get_address(extension: CData) -> AddressExtension:
    native = ffi.new("struct pfkeyx_address *")
    header = _copy(lambda e, h: lib.pfkeyx_get_address(e, h, native), "struct sadb_address *", extension)
    return AddressExtension(_address(native), header.sadb_address_prefixlen, header.sadb_address_proto, native.port)


def _put_key(builder: CData, exttype: int, key: Key) -> None:
    lib.pfkeyx_put_key(builder, exttype, key.reveal(), key.bits)


def _get_key(extension: CData) -> Key:
    start = ffi.new("const uint8_t **")
    bits = _copy(lambda e, b: lib.pfkeyx_get_key(e, b, start), "uint16_t *", extension)
    return Key(bytes(ffi.buffer(start[0], (bits[0] + 7) // 8)))


def _put_sa2(builder: CData, exttype: int, sa2: SA2Extension) -> None:
    del exttype
    lib.pfkeyx_put_sa2(builder, sa2.mode, 0, sa2.reqid)


def _get_sa2(extension: CData) -> SA2Extension:
    sa2 = _copy(lib.pfkeyx_get_sa2, "struct sadb_x_sa2 *", extension)
    return SA2Extension(sa2.sadb_x_sa2_mode, sa2.sadb_x_sa2_reqid)


def _put_spirange(builder: CData, exttype: int, spirange: SPIRangeExtension) -> None:
    del exttype
    lib.pfkeyx_put_spirange(builder, *spirange)


def _get_spirange(extension: CData) -> SPIRangeExtension:
    spirange = _copy(lib.pfkeyx_get_spirange, "struct sadb_spirange *", extension)
    return SPIRangeExtension(spirange.sadb_spirange_min, spirange.sadb_spirange_max)


def _put_nat_t_type(builder: CData, exttype: int, encap_type: int) -> None:
    del exttype
    lib.pfkeyx_put_nat_t_type(builder, encap_type)


def _get_nat_t_type(extension: CData) -> int:
    nat_t_type = _copy(lib.pfkeyx_get_nat_t_type, "struct sadb_x_nat_t_type *", extension)
    return int(nat_t_type.sadb_x_nat_t_type_type)


def _put_nat_t_port(builder: CData, exttype: int, port: int) -> None:
    lib.pfkeyx_put_nat_t_port(builder, exttype, port)


def _get_nat_t_port(extension: CData) -> int:
    return lib.pfkeyx_nat_t_port(_copy(lib.pfkeyx_get_nat_t_port, "struct sadb_x_nat_t_port *", extension))


def _put_policy(builder: CData, exttype: int, policy: PolicyExtension) -> None:
    del exttype
    lib.pfkeyx_put_policy(builder, policy.type, policy.direction, policy.id, policy.priority)
    for request in policy.requests:
        source = ffi.NULL if request.source is None else _native_address(request.source)
        destination = ffi.NULL if request.destination is None else _native_address(request.destination)
        lib.pfkeyx_put_ipsecrequest(
            builder, request.protocol, request.mode, request.level, request.reqid, source, destination
        )


def _get_policy(extension: CData) -> PolicyExtension:
    policy = _copy(lib.pfkeyx_get_policy, "struct sadb_x_policy *", extension)
    offset = ffi.new("size_t *")
    native = ffi.new("struct pfkeyx_ipsecrequest *")
    requests = []
    while status := lib.pfkeyx_get_ipsecrequest(extension, offset, native):
        if status < 0:
            raise _CutShortError
        requests.append(
            IPsecRequest(
                native.header.sadb_x_ipsecrequest_proto,
                native.header.sadb_x_ipsecrequest_mode,
                native.header.sadb_x_ipsecrequest_level,
                native.header.sadb_x_ipsecrequest_reqid,
                _address(native.source) if native.has_addresses else None,
                _address(native.destination) if native.has_addresses else None,
            )
        )
    return PolicyExtension(
        policy.sadb_x_policy_type,
        policy.sadb_x_policy_dir,
        policy.sadb_x_policy_id,
        policy.sadb_x_policy_priority,
        tuple(requests),
    )


_KINDS: dict[int, _Kind] = {
    lib.SADB_EXT_SA: _Kind("SADB_EXT_SA", _put_sa, _get_sa),
    lib.SADB_EXT_LIFETIME_CURRENT: _Kind("SADB_EXT_LIFETIME_CURRENT", _put_lifetime, _get_lifetime),
    lib.SADB_EXT_LIFETIME_HARD: _Kind("SADB_EXT_LIFETIME_HARD", _put_lifetime, _get_lifetime),
    lib.SADB_EXT_LIFETIME_SOFT: _Kind("SADB_EXT_LIFETIME_SOFT", _put_lifetime, _get_lifetime),
    lib.SADB_EXT_ADDRESS_SRC: _Kind("SADB_EXT_ADDRESS_SRC", _put_address, _get_address),
    lib.SADB_EXT_ADDRESS_DST: _Kind("SADB_EXT_ADDRESS_DST", _put_address, _get_address),
    lib.SADB_EXT_ADDRESS_PROXY: _Kind("SADB_EXT_ADDRESS_PROXY", _put_address, _get_address),
    lib.SADB_EXT_KEY_AUTH: _Kind("SADB_EXT_KEY_AUTH", _put_key, _get_key),
    lib.SADB_EXT_KEY_ENCRYPT: _Kind("SADB_EXT_KEY_ENCRYPT", _put_key, _get_key),
    lib.SADB_EXT_SPIRANGE: _Kind("SADB_EXT_SPIRANGE", _put_spirange, _get_spirange),
    lib.SADB_X_EXT_POLICY: _Kind("SADB_X_EXT_POLICY", _put_policy, _get_policy),
    lib.SADB_X_EXT_SA2: _Kind("SADB_X_EXT_SA2", _put_sa2, _get_sa2),
    lib.SADB_X_EXT_NAT_T_TYPE: _Kind("SADB_X_EXT_NAT_T_TYPE", _put_nat_t_type, _get_nat_t_type),
    lib.SADB_X_EXT_NAT_T_SPORT: _Kind("SADB_X_EXT_NAT_T_SPORT", _put_nat_t_port, _get_nat_t_port),
    lib.SADB_X_EXT_NAT_T_DPORT: _Kind("SADB_X_EXT_NAT_T_DPORT", _put_nat_t_port, _get_nat_t_port),
}
