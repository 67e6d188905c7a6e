"""The messages of NETLINK_XFRM as pyroute2's: any can be written, sent and read, by pyroute2 too.

They are made of what `declarations` says. Only what needs a message of pyroute2's own imports this.
"""

import struct
from collections.abc import Iterator
from typing import Any, ClassVar

from pyroute2.netlink import nla, nlmsg
from pyroute2.netlink.exceptions import NetlinkDecodeError, NetlinkNLADecodeError

from pfkeyx.errors import MalformedReplyError
from pfkeyx.xfrm import declarations, layout
from pfkeyx.xfrm.cstruct import CStruct, Form
from pfkeyx.xfrm.numbers import *


class payload_nla(nla):  # type: ignore[misc]  # pyroute2 has no types
    """An attribute that is decoded from its own bytes alone, and of which nothing is logged."""

    value: Any

    def payload(self, offset: int) -> bytes:
        return bytes(self.data[offset : self.offset + self.length])


class scalar_nla(payload_nla):
    """An attribute whose payload is the one value of its `fields`."""

    def ft_decode(self, offset: int) -> None:
        ((_, fmt),) = self.fields
        (self.value,) = struct.unpack_from(fmt, self.payload(offset))

    def ft_encode(self, offset: int) -> tuple[int, int]:
        ((_, fmt),) = self.fields
        self.data.extend(struct.pack(fmt, self.value))
        return _pad(self.data, offset + struct.calcsize(fmt))


class struct_nla(payload_nla):
    """An attribute whose payload is one struct, as a dict."""

    struct: ClassVar[type[CStruct]]

    def ft_decode(self, offset: int) -> None:
        self.value, _ = self.struct.decode_from(self.payload(offset), 0)

    def ft_encode(self, offset: int) -> tuple[int, int]:
        return _pad(self.data, self.struct.encode_into(self.data, offset, dict(self)))


class struct_array_nla(struct_nla):
    """An attribute whose payload is an array of one struct, as a list of dicts."""

    def ft_decode(self, offset: int) -> None:
        self.value = self.struct.decode_all(self.payload(offset))

    def ft_encode(self, offset: int) -> tuple[int, int]:
        for value in self.value:
            offset = self.struct.encode_into(self.data, offset, value)
        return _pad(self.data, offset)


class strict_msg(nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """A message that is decoded with all its attributes: `decode` raises `NetlinkNLADecodeError` for a malformed one.

    pyroute2's own decodes an attribute when it is asked for, and logs one that is malformed.
    """

    def decode(self) -> None:
        nlmsg.decode(self)
        for slot in self["attrs"]:
            name, attribute = slot.cell
            there = attribute.length
            try:
                attribute.decode()
            except (ValueError, struct.error) as error:
                raise NetlinkNLADecodeError(f"{name}: {error}") from error
            if attribute.length != there:
                raise NetlinkNLADecodeError(f"{name} claims {attribute.length} bytes of {there}")

    def attributes(self) -> Iterator[tuple[int, bytes]]:
        """Yield the numbers and the bytes of all attributes."""
        for slot in self["attrs"]:
            attribute = slot.cell[1]
            length, number = struct.unpack_from("=HH", attribute.data, attribute.offset)
            yield number, bytes(attribute.data[attribute.offset + 4 : attribute.offset + length])

    def ft_encode(self, offset: int) -> tuple[int, int]:
        # The padding before the attributes is counted in the message's length.
        packed = Form(self.fields).pack(dict(self))
        self.data.extend(packed)
        return _pad(self.data, offset + len(packed))[0], 0

    # pyroute2's own read on behind a payload that is too short, and log a number that is too large.
    class uint8(scalar_nla):
        fields = (("value", "B"),)

    class uint16(scalar_nla):
        fields = (("value", "H"),)

    class uint32(scalar_nla):
        fields = (("value", "I"),)

    class uint64(scalar_nla):
        fields = (("value", "Q"),)

    class address(scalar_nla):
        fields = (("value", "16s"),)


def _pad(data: bytearray, end: int) -> tuple[int, int]:
    """Return where what comes next begins, and how many bytes were put before it."""
    padding = -end % 4
    data.extend(bytes(padding))
    return end + padding, padding


def _map(attributes: declarations.Attributes) -> tuple[tuple[int, str, str], ...]:
    """Return pyroute2's table of attributes, in which what each holds is the name of a class."""
    return tuple((number, name, _class_name(kind)) for name, (number, kind) in attributes.kinds.items())


def _class_name(kind: declarations.Kind) -> str:
    if kind is None:
        return "none"
    if kind is bool:
        return "flag"
    if isinstance(kind, str):
        return {"B": "uint8", "H": "uint16", "I": "uint32", "Q": "uint64", "16s": "address"}[kind]
    struct = kind[0] if isinstance(kind, list) else kind
    return struct.__name__.removeprefix("xfrm_").removeprefix("xfrmu_")


class xfrm_message(strict_msg):
    """Any message of the family: a struct of its own, then attributes."""

    prefix = "XFRMA_"
    nla_map = _map(declarations.ATTRIBUTES)

    class algo(struct_nla):
        struct = layout.xfrm_algo

    class algo_auth(struct_nla):
        struct = layout.xfrm_algo_auth

    class algo_aead(struct_nla):
        struct = layout.xfrm_algo_aead

    class algorithm_name(struct_nla):
        struct = layout.algorithm_name

    class encap_tmpl(struct_nla):
        struct = layout.xfrm_encap_tmpl

    class user_tmpl(struct_array_nla):
        struct = layout.xfrm_user_tmpl

    class usersa_info(struct_nla):
        struct = layout.xfrm_usersa_info

    class userpolicy_info(struct_nla):
        struct = layout.xfrm_userpolicy_info

    class lifetime_cur(struct_nla):
        struct = layout.xfrm_lifetime_cur

    class replay_state(struct_nla):
        struct = layout.xfrm_replay_state

    class replay_state_esn(struct_nla):
        struct = layout.xfrm_replay_state_esn

    class userpolicy_type(struct_nla):
        struct = layout.xfrm_userpolicy_type

    class user_sec_ctx(struct_nla):
        struct = layout.xfrm_user_sec_ctx

    class user_kmaddress(struct_nla):
        struct = layout.xfrm_user_kmaddress

    class address_filter(struct_nla):
        struct = layout.xfrm_address_filter

    class user_migrate(struct_array_nla):
        struct = layout.xfrm_user_migrate

    class mark(struct_nla):
        struct = layout.xfrm_mark

    class user_offload(struct_nla):
        struct = layout.xfrm_user_offload


class usersa_msg(declarations.usersa_msg, xfrm_message):
    """NEWSA, UPDSA."""


class usersa_id_msg(declarations.usersa_id_msg, xfrm_message):
    """GETSA, DELSA."""


class aevent_id_msg(declarations.aevent_id_msg, xfrm_message):
    """NEWAE, GETAE."""


class userspi_msg(declarations.userspi_msg, xfrm_message):
    """ALLOCSPI."""


class usersa_flush_msg(declarations.usersa_flush_msg, xfrm_message):
    """FLUSHSA."""


class userpolicy_msg(declarations.userpolicy_msg, xfrm_message):
    """NEWPOLICY, UPDPOLICY."""


class userpolicy_id_msg(declarations.userpolicy_id_msg, xfrm_message):
    """GETPOLICY, DELPOLICY, MIGRATE."""


class empty_msg(declarations.empty_msg, xfrm_message):
    """FLUSHPOLICY, and dumps."""


class acquire_msg(declarations.acquire_msg, xfrm_message):
    """ACQUIRE."""


class expire_msg(declarations.expire_msg, xfrm_message):
    """EXPIRE."""


class mapping_msg(declarations.mapping_msg, xfrm_message):
    """MAPPING."""


class migrate_state_msg(declarations.migrate_state_msg, xfrm_message):
    """MIGRATE_STATE."""


class polexpire_msg(declarations.polexpire_msg, xfrm_message):
    """POLEXPIRE."""


class report_msg(declarations.report_msg, xfrm_message):
    """REPORT."""


class userpolicy_default_msg(declarations.userpolicy_default_msg, xfrm_message):
    """SETDEFAULT, GETDEFAULT."""


class sadinfo_msg(declarations.sadinfo_msg, strict_msg):
    """NEWSADINFO, GETSADINFO: the attributes have numbers of their own."""

    prefix = "XFRMA_SAD_"
    nla_map = _map(declarations.SAD_ATTRIBUTES)

    class sadhinfo(struct_nla):
        struct = layout.xfrmu_sadhinfo


class spdinfo_msg(declarations.spdinfo_msg, strict_msg):
    """NEWSPDINFO, GETSPDINFO: the attributes have numbers of their own."""

    prefix = "XFRMA_SPD_"
    nla_map = _map(declarations.SPD_ATTRIBUTES)

    class spdinfo(struct_nla):
        struct = layout.xfrmu_spdinfo

    class spdhinfo(struct_nla):
        struct = layout.xfrmu_spdhinfo

    class spdhthresh(struct_nla):
        struct = layout.xfrmu_spdhthresh


_CLASSES = {
    declared: message for message in vars().values() if isinstance(message, type) for declared in message.__bases__
}
#: What each message that the kernel sends is read with.
RECEIVED: dict[int, type[strict_msg]] = {number: _CLASSES[it] for number, it in declarations.RECEIVED.items()}
#: What each message that a program sends is written with.
SENT: dict[int, type[strict_msg]] = {number: _CLASSES[it] for number, it in declarations.SENT.items()}


def parse(message_class: type[strict_msg], data: bytes) -> Any:
    """Return a whole message as one of `message_class`; raises `MalformedReplyError`."""
    message = message_class(data)
    try:
        message.decode()
    except (NetlinkDecodeError, ValueError, struct.error) as error:
        raise MalformedReplyError(f"XFRM: {message_class.__name__}: {error}") from error
    return message


def received(data: bytes) -> Any:
    """Return a message that the kernel has sent, as it is declared; raises `MalformedReplyError`."""
    (number,) = struct.unpack_from("=H", data, 4)
    return parse(RECEIVED[number], data)
