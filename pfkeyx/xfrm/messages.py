"""The wire of NETLINK_XFRM (`<linux/xfrm.h>`), declared once, in pyroute2's idiom, under the kernel's names.

Only layouts and numbers live here: what a message means is the codec's business. Byte order is native but for
addresses, SPIs and ports, which are in network order.
"""

import struct
from typing import Any, ClassVar

from pyroute2.netlink import nla, nlmsg

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
XFRM_MSG_FLUSHSA = 28
XFRM_MSG_FLUSHPOLICY = 29
XFRM_MSG_NEWAE = 30
XFRM_MSG_MIGRATE = 33
#: Linux 7.2.
XFRM_MSG_MIGRATE_STATE = 41

XFRMNLGRP_ACQUIRE = 1
XFRMNLGRP_EXPIRE = 2

UDP_ENCAP_ESPINUDP = 2


class cstruct:
    """A C struct: `fields` are names and either `struct` formats or other structs."""

    fields: ClassVar[tuple[tuple[str, Any], ...]] = ()

    @classmethod
    def size(cls) -> int:
        return sum(size_of(fmt) for _, fmt in cls.fields)

    @classmethod
    def decode_from(cls, data: Any, offset: int) -> tuple[dict[str, Any], int]:
        value: dict[str, Any] = {}
        for name, fmt in cls.fields:
            if not isinstance(fmt, str):
                value[name], offset = fmt.decode_from(data, offset)
                continue
            if not fmt.endswith("x"):
                (value[name],) = struct.unpack_from(fmt, data, offset)
            offset += struct.calcsize(fmt)
        return value, offset

    @classmethod
    def encode_into(cls, data: bytearray, offset: int, value: Any) -> int:
        value = value or {}
        for name, fmt in cls.fields:
            if not isinstance(fmt, str):
                offset = fmt.encode_into(data, offset, value.get(name))
                continue
            if fmt.endswith("x"):
                data.extend(bytes(struct.calcsize(fmt)))
            else:
                data.extend(struct.pack(fmt, value.get(name, b"" if fmt.endswith("s") else 0)))
            offset += struct.calcsize(fmt)
        return offset


def size_of(fmt: Any) -> int:
    """Return the bytes that a field of this format takes."""
    return struct.calcsize(fmt) if isinstance(fmt, str) else int(fmt.size())


class xfrm_id(cstruct):
    fields = (("daddr", "16s"), ("spi", ">I"), ("proto", "B"), ("_pad", "3x"))


class xfrm_selector(cstruct):
    fields = (
        ("daddr", "16s"),
        ("saddr", "16s"),
        ("dport", ">H"),
        ("dport_mask", ">H"),
        ("sport", ">H"),
        ("sport_mask", ">H"),
        ("family", "H"),
        ("prefixlen_d", "B"),
        ("prefixlen_s", "B"),
        ("proto", "B"),
        ("_pad", "3x"),
        ("ifindex", "i"),
        ("user", "I"),
    )


class xfrm_lifetime_cfg(cstruct):
    fields = (
        ("soft_byte_limit", "Q"),
        ("hard_byte_limit", "Q"),
        ("soft_packet_limit", "Q"),
        ("hard_packet_limit", "Q"),
        ("soft_add_expires_seconds", "Q"),
        ("hard_add_expires_seconds", "Q"),
        ("soft_use_expires_seconds", "Q"),
        ("hard_use_expires_seconds", "Q"),
    )


class xfrm_lifetime_cur(cstruct):
    fields = (("bytes", "Q"), ("packets", "Q"), ("add_time", "Q"), ("use_time", "Q"))


class xfrm_stats(cstruct):
    fields = (("replay_window", "I"), ("replay", "I"), ("integrity_failed", "I"))


class xfrm_usersa_info(cstruct):
    fields = (
        ("sel", xfrm_selector),
        ("id", xfrm_id),
        ("saddr", "16s"),
        ("lft", xfrm_lifetime_cfg),
        ("curlft", xfrm_lifetime_cur),
        ("stats", xfrm_stats),
        ("seq", "I"),
        ("reqid", "I"),
        ("family", "H"),
        ("mode", "B"),
        ("replay_window", "B"),
        ("flags", "B"),
        ("_pad", "7x"),
    )


class xfrm_usersa_id(cstruct):
    fields = (("daddr", "16s"), ("spi", ">I"), ("family", "H"), ("proto", "B"), ("_pad", "x"))


class xfrm_aevent_id(cstruct):
    fields = (("sa_id", xfrm_usersa_id), ("saddr", "16s"), ("flags", "I"), ("reqid", "I"))


class xfrm_userspi_info(cstruct):
    fields = (("info", xfrm_usersa_info), ("min", "I"), ("max", "I"))


class xfrm_userpolicy_info(cstruct):
    fields = (
        ("sel", xfrm_selector),
        ("lft", xfrm_lifetime_cfg),
        ("curlft", xfrm_lifetime_cur),
        ("priority", "I"),
        ("index", "I"),
        ("dir", "B"),
        ("action", "B"),
        ("flags", "B"),
        ("share", "B"),
        ("_pad", "4x"),
    )


class xfrm_userpolicy_id(cstruct):
    fields = (("sel", xfrm_selector), ("index", "I"), ("dir", "B"), ("_pad", "3x"))


class xfrm_user_acquire(cstruct):
    fields = (
        ("id", xfrm_id),
        ("saddr", "16s"),
        ("sel", xfrm_selector),
        ("policy", xfrm_userpolicy_info),
        ("aalgos", "I"),
        ("ealgos", "I"),
        ("calgos", "I"),
        ("seq", "I"),
    )


class xfrm_user_expire(cstruct):
    fields = (("state", xfrm_usersa_info), ("hard", "B"), ("_pad", "7x"))


class xfrm_usersa_flush(cstruct):
    fields = (("proto", "B"),)


class xfrm_userpolicy_type(cstruct):
    fields = (("type", "B"), ("_pad1", "x"), ("reserved1", "H"), ("reserved2", "B"), ("_pad2", "x"))


class xfrm_user_tmpl(cstruct):
    fields = (
        ("id", xfrm_id),
        ("family", "H"),
        ("_pad1", "2x"),
        ("saddr", "16s"),
        ("reqid", "I"),
        ("mode", "B"),
        ("share", "B"),
        ("optional", "B"),
        ("_pad2", "x"),
        ("aalgos", "I"),
        ("ealgos", "I"),
        ("calgos", "I"),
    )


class xfrm_encap_tmpl(cstruct):
    fields = (("encap_type", "H"), ("encap_sport", ">H"), ("encap_dport", ">H"), ("_pad", "2x"), ("encap_oa", "16s"))


class xfrm_mark(cstruct):
    fields = (("v", "I"), ("m", "I"))


class xfrm_replay_state(cstruct):
    fields = (("oseq", "I"), ("seq", "I"), ("bitmap", "I"))


class xfrm_user_migrate(cstruct):
    fields = (
        ("old_daddr", "16s"),
        ("old_saddr", "16s"),
        ("new_daddr", "16s"),
        ("new_saddr", "16s"),
        ("proto", "B"),
        ("mode", "B"),
        ("reserved", "H"),
        ("reqid", "I"),
        ("old_family", "H"),
        ("new_family", "H"),
    )


class xfrm_user_migrate_state(cstruct):
    fields = (
        ("id", xfrm_usersa_id),
        ("new_daddr", "16s"),
        ("new_saddr", "16s"),
        ("old_mark", xfrm_mark),
        ("new_sel", xfrm_selector),
        ("new_reqid", "I"),
        ("flags", "I"),
        ("new_family", "H"),
        ("reserved", "H"),
    )


class flexible(cstruct):
    """A struct that ends in an array named `tail`, whose length the field `count` tells."""

    count: ClassVar[str]
    tail: ClassVar[str]

    @classmethod
    def tail_size(cls, count: int) -> int:
        """Return how many bytes the array has."""
        raise NotImplementedError

    @classmethod
    def decode_from(cls, data: Any, offset: int) -> tuple[dict[str, Any], int]:
        value, offset = super().decode_from(data, offset)
        end = offset + cls.tail_size(value[cls.count])
        if end > len(data):
            raise ValueError(f"{cls.__name__}: {cls.tail} runs past its attribute")
        value[cls.tail] = bytes(data[offset:end])
        return value, end

    @classmethod
    def encode_into(cls, data: bytearray, offset: int, value: Any) -> int:
        offset = super().encode_into(data, offset, value)
        data.extend(value[cls.tail])
        return offset + len(value[cls.tail])


class _algorithm(flexible):
    count = "alg_key_len"
    tail = "alg_key"

    @classmethod
    def tail_size(cls, count: int) -> int:
        return (count + 7) // 8


class xfrm_algo(_algorithm):
    fields = (("alg_name", "64s"), ("alg_key_len", "I"))


class xfrm_algo_auth(_algorithm):
    fields = (("alg_name", "64s"), ("alg_key_len", "I"), ("alg_trunc_len", "I"))


class xfrm_algo_aead(_algorithm):
    fields = (("alg_name", "64s"), ("alg_key_len", "I"), ("alg_icv_len", "I"))


class xfrm_replay_state_esn(flexible):
    count = "bmp_len"
    tail = "bmp"
    fields = (
        ("bmp_len", "I"),
        ("oseq", "I"),
        ("seq", "I"),
        ("oseq_hi", "I"),
        ("seq_hi", "I"),
        ("replay_window", "I"),
    )

    @classmethod
    def tail_size(cls, count: int) -> int:
        return 4 * count


class struct_nla(nla):  # type: ignore[misc]  # pyroute2 has no types
    """An attribute whose payload is one struct, as a dict."""

    layout: ClassVar[type[cstruct]]
    value: Any

    def ft_decode(self, offset: int) -> None:
        payload = bytes(self.data[offset : self.offset + self.length])
        self.value, _ = self.layout.decode_from(payload, 0)

    def ft_encode(self, offset: int) -> tuple[int, int]:
        offset = self.layout.encode_into(self.data, offset, dict(self))
        padding = -offset % 4
        self.data.extend(bytes(padding))
        return offset + padding, padding


class struct_array_nla(struct_nla):
    """An attribute whose payload is an array of one struct, as a list of dicts."""

    def ft_decode(self, offset: int) -> None:
        payload = bytes(self.data[offset : self.offset + self.length])
        size = self.layout.size()
        self.value = [self.layout.decode_from(payload, at)[0] for at in range(0, len(payload) - size + 1, size)]

    def ft_encode(self, offset: int) -> tuple[int, int]:
        for value in self.value:
            offset = self.layout.encode_into(self.data, offset, value)
        return offset, 0


class xfrm_message(nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """Any message of the family: a struct of its own, then attributes."""

    prefix = "XFRMA_"
    nla_map = (
        (0, "XFRMA_UNSPEC", "none"),
        (1, "XFRMA_ALG_AUTH", "algo"),
        (2, "XFRMA_ALG_CRYPT", "algo"),
        (3, "XFRMA_ALG_COMP", "algo"),
        (4, "XFRMA_ENCAP", "encap_tmpl"),
        (5, "XFRMA_TMPL", "user_tmpl"),
        (6, "XFRMA_SA", "usersa_info"),
        (7, "XFRMA_POLICY", "userpolicy_info"),
        (8, "XFRMA_SEC_CTX", "cdata"),
        (9, "XFRMA_LTIME_VAL", "lifetime_cur"),
        (10, "XFRMA_REPLAY_VAL", "replay_state"),
        (11, "XFRMA_REPLAY_THRESH", "uint32"),
        (12, "XFRMA_ETIMER_THRESH", "uint32"),
        (13, "XFRMA_SRCADDR", "cdata"),
        (14, "XFRMA_COADDR", "cdata"),
        (15, "XFRMA_LASTUSED", "uint64"),
        (16, "XFRMA_POLICY_TYPE", "userpolicy_type"),
        (17, "XFRMA_MIGRATE", "user_migrate"),
        (18, "XFRMA_ALG_AEAD", "algo_aead"),
        (19, "XFRMA_KMADDRESS", "cdata"),
        (20, "XFRMA_ALG_AUTH_TRUNC", "algo_auth"),
        (21, "XFRMA_MARK", "mark"),
        (22, "XFRMA_TFCPAD", "uint32"),
        (23, "XFRMA_REPLAY_ESN_VAL", "replay_state_esn"),
        (24, "XFRMA_SA_EXTRA_FLAGS", "uint32"),
        (25, "XFRMA_PROTO", "uint8"),
        (26, "XFRMA_ADDRESS_FILTER", "cdata"),
        (27, "XFRMA_PAD", "none"),
        (28, "XFRMA_OFFLOAD_DEV", "cdata"),
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
        layout = xfrm_algo

    class algo_auth(struct_nla):
        layout = xfrm_algo_auth

    class algo_aead(struct_nla):
        layout = xfrm_algo_aead

    class encap_tmpl(struct_nla):
        layout = xfrm_encap_tmpl

    class user_tmpl(struct_array_nla):
        layout = xfrm_user_tmpl

    class usersa_info(struct_nla):
        layout = xfrm_usersa_info

    class userpolicy_info(struct_nla):
        layout = xfrm_userpolicy_info

    class lifetime_cur(struct_nla):
        layout = xfrm_lifetime_cur

    class replay_state(struct_nla):
        layout = xfrm_replay_state

    class replay_state_esn(struct_nla):
        layout = xfrm_replay_state_esn

    class userpolicy_type(struct_nla):
        layout = xfrm_userpolicy_type

    class user_migrate(struct_array_nla):
        layout = xfrm_user_migrate

    class mark(struct_nla):
        layout = xfrm_mark


class usersa_msg(xfrm_message):
    """NEWSA, UPDSA."""

    fields = xfrm_usersa_info.fields


class usersa_id_msg(xfrm_message):
    """GETSA, DELSA."""

    fields = xfrm_usersa_id.fields


class aevent_id_msg(xfrm_message):
    """NEWAE."""

    fields = xfrm_aevent_id.fields


class userspi_msg(xfrm_message):
    """ALLOCSPI."""

    fields = xfrm_userspi_info.fields


class usersa_flush_msg(xfrm_message):
    """FLUSHSA."""

    fields = xfrm_usersa_flush.fields


class userpolicy_msg(xfrm_message):
    """NEWPOLICY, UPDPOLICY."""

    fields = xfrm_userpolicy_info.fields


class userpolicy_id_msg(xfrm_message):
    """GETPOLICY, DELPOLICY, MIGRATE."""

    fields = xfrm_userpolicy_id.fields


class empty_msg(xfrm_message):
    """FLUSHPOLICY, and dumps."""

    fields = ()


class acquire_msg(xfrm_message):
    """ACQUIRE."""

    fields = xfrm_user_acquire.fields


class expire_msg(xfrm_message):
    """EXPIRE."""

    fields = xfrm_user_expire.fields


class migrate_state_msg(xfrm_message):
    """MIGRATE_STATE."""

    fields = xfrm_user_migrate_state.fields


class error_msg(nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """NLMSG_ERROR with NETLINK_CAP_ACK: the error, the request's header alone, and the extended acknowledgement."""

    fields = (("error", "i"), ("length", "I"), ("type", "H"), ("flags", "H"), ("sequence", "I"), ("pid", "I"))
    nla_map = (
        (0, "NLMSGERR_ATTR_UNUSED", "none"),
        (1, "NLMSGERR_ATTR_MSG", "asciiz"),
        (2, "NLMSGERR_ATTR_OFFS", "uint32"),
    )


#: What each message that the kernel sends is read with.
RECEIVED: dict[int, type[xfrm_message]] = {
    XFRM_MSG_NEWSA: usersa_msg,
    XFRM_MSG_UPDSA: usersa_msg,
    XFRM_MSG_NEWPOLICY: userpolicy_msg,
    XFRM_MSG_UPDPOLICY: userpolicy_msg,
    XFRM_MSG_ACQUIRE: acquire_msg,
    XFRM_MSG_EXPIRE: expire_msg,
}

ATTRIBUTE_NAMES: dict[int, str] = {number: name for number, name, _ in xfrm_message.nla_map}
