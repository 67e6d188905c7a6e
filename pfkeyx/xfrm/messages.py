"""The messages and attributes of NETLINK_XFRM (`<linux/xfrm.h>`), in pyroute2's idiom, under the kernel's names.

Only numbers and declarations live here: what a message means is the codec's business, its structs are in `layout.py`.
"""

import struct
from collections.abc import Iterator
from typing import Any, ClassVar

from pyroute2.netlink import nla, nlmsg
from pyroute2.netlink.exceptions import NetlinkNLADecodeError

from pfkeyx.xfrm import layout

XFRM_MSG_NEWSA = 16
XFRM_MSG_DELSA = 17
XFRM_MSG_GETSA = 18
XFRM_MSG_NEWPOLICY = 19
XFRM_MSG_DELPOLICY = 20
XFRM_MSG_GETPOLICY = 21
XFRM_MSG_ALLOCSPI = 22
XFRM_MSG_ACQUIRE = 23
XFRM_MSG_EXPIRE = 24
XFRM_MSG_UPDPOLICY = 25
XFRM_MSG_UPDSA = 26
XFRM_MSG_POLEXPIRE = 27
XFRM_MSG_FLUSHSA = 28
XFRM_MSG_FLUSHPOLICY = 29
XFRM_MSG_NEWAE = 30
XFRM_MSG_GETAE = 31
XFRM_MSG_REPORT = 32
XFRM_MSG_MIGRATE = 33
XFRM_MSG_NEWSADINFO = 34
XFRM_MSG_GETSADINFO = 35
XFRM_MSG_NEWSPDINFO = 36
XFRM_MSG_GETSPDINFO = 37
XFRM_MSG_MAPPING = 38
XFRM_MSG_SETDEFAULT = 39
XFRM_MSG_GETDEFAULT = 40
#: Linux 7.2.
XFRM_MSG_MIGRATE_STATE = 41

XFRMNLGRP_ACQUIRE = 1
XFRMNLGRP_EXPIRE = 2
XFRMNLGRP_SA = 3
XFRMNLGRP_POLICY = 4
XFRMNLGRP_AEVENTS = 5
XFRMNLGRP_REPORT = 6
XFRMNLGRP_MIGRATE = 7
XFRMNLGRP_MAPPING = 8

XFRM_INF = 0xFFFFFFFFFFFFFFFF

XFRM_SA_DIR_IN = 1
XFRM_SA_DIR_OUT = 2

XFRM_AE_RTHR = 1
XFRM_AE_RVAL = 2
XFRM_AE_LVAL = 4
XFRM_AE_ETHR = 8
XFRM_AE_CR = 16
XFRM_AE_CE = 32
XFRM_AE_CU = 64

XFRM_USERPOLICY_UNSPEC = 0
XFRM_USERPOLICY_BLOCK = 1
XFRM_USERPOLICY_ACCEPT = 2

XFRM_MIGRATE_STATE_CLEAR_OFFLOAD = 1
XFRM_MIGRATE_STATE_UPDATE_H2H_SEL = 2

XFRMA_SEC_CTX = 8

UDP_ENCAP_ESPINUDP = 2  # <linux/udp.h>
TCP_ENCAP_ESPINTCP = 7  # <linux/udp.h>
IPSEC_PROTO_ANY = 255  # <linux/ipsec.h>


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

    struct: ClassVar[type[layout.cstruct]]

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
        packed = layout.Form(self.fields).pack(dict(self))
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


class xfrm_message(strict_msg):
    """Any message of the family: a struct of its own, then attributes."""

    prefix = "XFRMA_"
    nla_map = (
        (0, "XFRMA_UNSPEC", "none"),
        (1, "XFRMA_ALG_AUTH", "algo"),
        (2, "XFRMA_ALG_CRYPT", "algo"),
        (3, "XFRMA_ALG_COMP", "algorithm_name"),
        (4, "XFRMA_ENCAP", "encap_tmpl"),
        (5, "XFRMA_TMPL", "user_tmpl"),
        (6, "XFRMA_SA", "usersa_info"),
        (7, "XFRMA_POLICY", "userpolicy_info"),
        (8, "XFRMA_SEC_CTX", "user_sec_ctx"),
        (9, "XFRMA_LTIME_VAL", "lifetime_cur"),
        (10, "XFRMA_REPLAY_VAL", "replay_state"),
        (11, "XFRMA_REPLAY_THRESH", "uint32"),
        (12, "XFRMA_ETIMER_THRESH", "uint32"),
        (13, "XFRMA_SRCADDR", "address"),
        (14, "XFRMA_COADDR", "address"),
        (15, "XFRMA_LASTUSED", "uint64"),
        (16, "XFRMA_POLICY_TYPE", "userpolicy_type"),
        (17, "XFRMA_MIGRATE", "user_migrate"),
        (18, "XFRMA_ALG_AEAD", "algo_aead"),
        (19, "XFRMA_KMADDRESS", "user_kmaddress"),
        (20, "XFRMA_ALG_AUTH_TRUNC", "algo_auth"),
        (21, "XFRMA_MARK", "mark"),
        (22, "XFRMA_TFCPAD", "uint32"),
        (23, "XFRMA_REPLAY_ESN_VAL", "replay_state_esn"),
        (24, "XFRMA_SA_EXTRA_FLAGS", "uint32"),
        (25, "XFRMA_PROTO", "uint8"),
        (26, "XFRMA_ADDRESS_FILTER", "address_filter"),
        (27, "XFRMA_PAD", "none"),
        (28, "XFRMA_OFFLOAD_DEV", "user_offload"),
        (29, "XFRMA_SET_MARK", "uint32"),
        (30, "XFRMA_SET_MARK_MASK", "uint32"),
        (31, "XFRMA_IF_ID", "uint32"),
        (32, "XFRMA_MTIMER_THRESH", "uint32"),
        (33, "XFRMA_SA_DIR", "uint8"),
        (34, "XFRMA_NAT_KEEPALIVE_INTERVAL", "uint32"),
        (35, "XFRMA_SA_PCPU", "uint32"),
        (36, "XFRMA_IPTFS_DROP_TIME", "uint32"),
        (37, "XFRMA_IPTFS_REORDER_WINDOW", "uint16"),
        (38, "XFRMA_IPTFS_DONT_FRAG", "flag"),
        (39, "XFRMA_IPTFS_INIT_DELAY", "uint32"),
        (40, "XFRMA_IPTFS_MAX_QSIZE", "uint32"),
        (41, "XFRMA_IPTFS_PKT_SIZE", "uint32"),
    )

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


class usersa_msg(xfrm_message):
    """NEWSA, UPDSA."""

    fields = layout.xfrm_usersa_info.fields


class usersa_id_msg(xfrm_message):
    """GETSA, DELSA."""

    fields = layout.xfrm_usersa_id.fields


class aevent_id_msg(xfrm_message):
    """NEWAE, GETAE."""

    fields = layout.xfrm_aevent_id.fields


class userspi_msg(xfrm_message):
    """ALLOCSPI."""

    fields = layout.xfrm_userspi_info.fields


class usersa_flush_msg(xfrm_message):
    """FLUSHSA."""

    fields = layout.xfrm_usersa_flush.fields


class userpolicy_msg(xfrm_message):
    """NEWPOLICY, UPDPOLICY."""

    fields = layout.xfrm_userpolicy_info.fields


class userpolicy_id_msg(xfrm_message):
    """GETPOLICY, DELPOLICY, MIGRATE."""

    fields = layout.xfrm_userpolicy_id.fields


class empty_msg(xfrm_message):
    """FLUSHPOLICY, and dumps."""

    fields = ()


class acquire_msg(xfrm_message):
    """ACQUIRE."""

    fields = layout.xfrm_user_acquire.fields


class expire_msg(xfrm_message):
    """EXPIRE."""

    fields = layout.xfrm_user_expire.fields


class mapping_msg(xfrm_message):
    """MAPPING."""

    fields = layout.xfrm_user_mapping.fields


class migrate_state_msg(xfrm_message):
    """MIGRATE_STATE."""

    fields = layout.xfrm_user_migrate_state.fields


class polexpire_msg(xfrm_message):
    """POLEXPIRE."""

    fields = layout.xfrm_user_polexpire.fields


class report_msg(xfrm_message):
    """REPORT."""

    fields = layout.xfrm_user_report.fields


class userpolicy_default_msg(xfrm_message):
    """SETDEFAULT, GETDEFAULT."""

    fields = layout.xfrm_userpolicy_default.fields


class sadinfo_msg(strict_msg):
    """NEWSADINFO, GETSADINFO: the attributes have numbers of their own."""

    prefix = "XFRMA_SAD_"
    fields = (("flags", "I"),)
    nla_map = (
        (0, "XFRMA_SAD_UNSPEC", "none"),
        (1, "XFRMA_SAD_CNT", "uint32"),
        (2, "XFRMA_SAD_HINFO", "sadhinfo"),
    )

    class sadhinfo(struct_nla):
        struct = layout.xfrmu_sadhinfo


class spdinfo_msg(strict_msg):
    """NEWSPDINFO, GETSPDINFO: the attributes have numbers of their own."""

    prefix = "XFRMA_SPD_"
    fields = (("flags", "I"),)
    nla_map = (
        (0, "XFRMA_SPD_UNSPEC", "none"),
        (1, "XFRMA_SPD_INFO", "spdinfo"),
        (2, "XFRMA_SPD_HINFO", "spdhinfo"),
        (3, "XFRMA_SPD_IPV4_HTHRESH", "spdhthresh"),
        (4, "XFRMA_SPD_IPV6_HTHRESH", "spdhthresh"),
    )

    class spdinfo(struct_nla):
        struct = layout.xfrmu_spdinfo

    class spdhinfo(struct_nla):
        struct = layout.xfrmu_spdhinfo

    class spdhthresh(struct_nla):
        struct = layout.xfrmu_spdhthresh


class error_msg(strict_msg):
    """NLMSG_ERROR with NETLINK_CAP_ACK: the error, the request's header alone, and the extended acknowledgement."""

    fields = (("error", "i"), ("length", "I"), ("type", "H"), ("flags", "H"), ("sequence", "I"), ("pid", "I"))
    nla_map = (
        (0, "NLMSGERR_ATTR_UNUSED", "none"),
        (1, "NLMSGERR_ATTR_MSG", "asciiz"),
        (2, "NLMSGERR_ATTR_OFFS", "uint32"),
        (3, "NLMSGERR_ATTR_COOKIE", "cdata"),
        (4, "NLMSGERR_ATTR_POLICY", "cdata"),
        (5, "NLMSGERR_ATTR_MISS_TYPE", "uint32"),
        (6, "NLMSGERR_ATTR_MISS_NEST", "uint32"),
    )


#: What each message that the kernel sends is read with.
RECEIVED: dict[int, type[nlmsg]] = {
    XFRM_MSG_NEWSA: usersa_msg,
    XFRM_MSG_DELSA: usersa_id_msg,
    XFRM_MSG_NEWPOLICY: userpolicy_msg,
    XFRM_MSG_DELPOLICY: userpolicy_id_msg,
    XFRM_MSG_ACQUIRE: acquire_msg,
    XFRM_MSG_EXPIRE: expire_msg,
    XFRM_MSG_UPDPOLICY: userpolicy_msg,
    XFRM_MSG_UPDSA: usersa_msg,
    XFRM_MSG_POLEXPIRE: polexpire_msg,
    XFRM_MSG_FLUSHSA: usersa_flush_msg,
    XFRM_MSG_FLUSHPOLICY: empty_msg,
    XFRM_MSG_NEWAE: aevent_id_msg,
    XFRM_MSG_REPORT: report_msg,
    XFRM_MSG_MIGRATE: userpolicy_id_msg,
    XFRM_MSG_NEWSADINFO: sadinfo_msg,
    XFRM_MSG_NEWSPDINFO: spdinfo_msg,
    XFRM_MSG_MAPPING: mapping_msg,
    XFRM_MSG_GETDEFAULT: userpolicy_default_msg,
    XFRM_MSG_MIGRATE_STATE: migrate_state_msg,
}

#: What each message that a program sends is written with.
SENT: dict[int, type[nlmsg]] = {
    XFRM_MSG_NEWSA: usersa_msg,
    XFRM_MSG_DELSA: usersa_id_msg,
    XFRM_MSG_GETSA: usersa_id_msg,
    XFRM_MSG_NEWPOLICY: userpolicy_msg,
    XFRM_MSG_DELPOLICY: userpolicy_id_msg,
    XFRM_MSG_GETPOLICY: userpolicy_id_msg,
    XFRM_MSG_ALLOCSPI: userspi_msg,
    XFRM_MSG_ACQUIRE: acquire_msg,
    XFRM_MSG_EXPIRE: expire_msg,
    XFRM_MSG_UPDPOLICY: userpolicy_msg,
    XFRM_MSG_UPDSA: usersa_msg,
    XFRM_MSG_POLEXPIRE: polexpire_msg,
    XFRM_MSG_FLUSHSA: usersa_flush_msg,
    XFRM_MSG_FLUSHPOLICY: empty_msg,
    XFRM_MSG_NEWAE: aevent_id_msg,
    XFRM_MSG_GETAE: aevent_id_msg,
    XFRM_MSG_MIGRATE: userpolicy_id_msg,
    XFRM_MSG_GETSADINFO: sadinfo_msg,
    XFRM_MSG_NEWSPDINFO: spdinfo_msg,
    XFRM_MSG_GETSPDINFO: spdinfo_msg,
    XFRM_MSG_SETDEFAULT: userpolicy_default_msg,
    XFRM_MSG_GETDEFAULT: userpolicy_default_msg,
    XFRM_MSG_MIGRATE_STATE: migrate_state_msg,
}

#: What the entries of a dump are, by what asks for it.
ENTRIES = {XFRM_MSG_GETSA: XFRM_MSG_NEWSA, XFRM_MSG_GETPOLICY: XFRM_MSG_NEWPOLICY}

ATTRIBUTE_NAMES: dict[int, str] = {number: name for number, name, _ in xfrm_message.nla_map}
