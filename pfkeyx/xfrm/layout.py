"""The C structs of NETLINK_XFRM (`<linux/xfrm.h>`), declared once, under the kernel's names.

Only layouts live here: the messages that are made of them are in `declarations`. Byte order is native but for
addresses, SPIs and ports, which are in network order.
"""

from typing import Any

from pfkeyx.xfrm.cstruct import CStruct, FlexibleStruct


class xfrm_id(CStruct):
    fields = (("daddr", "16s"), ("spi", ">I"), ("proto", "B"), ("_pad", "3x"))


class xfrm_selector(CStruct):
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


class xfrm_lifetime_cfg(CStruct):
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


class xfrm_lifetime_cur(CStruct):
    fields = (("bytes", "Q"), ("packets", "Q"), ("add_time", "Q"), ("use_time", "Q"))


class xfrm_stats(CStruct):
    fields = (("replay_window", "I"), ("replay", "I"), ("integrity_failed", "I"))


class xfrm_usersa_info(CStruct):
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


class xfrm_usersa_id(CStruct):
    fields = (("daddr", "16s"), ("spi", ">I"), ("family", "H"), ("proto", "B"), ("_pad", "x"))


class xfrm_aevent_id(CStruct):
    fields = (("sa_id", xfrm_usersa_id), ("saddr", "16s"), ("flags", "I"), ("reqid", "I"))


class xfrm_userspi_info(CStruct):
    fields = (("info", xfrm_usersa_info), ("min", "I"), ("max", "I"))


class xfrm_userpolicy_info(CStruct):
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


class xfrm_userpolicy_id(CStruct):
    fields = (("sel", xfrm_selector), ("index", "I"), ("dir", "B"), ("_pad", "3x"))


class xfrm_user_acquire(CStruct):
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


class xfrm_user_expire(CStruct):
    fields = (("state", xfrm_usersa_info), ("hard", "B"), ("_pad", "7x"))


class xfrm_usersa_flush(CStruct):
    fields = (("proto", "B"),)


class xfrm_userpolicy_type(CStruct):
    fields = (("type", "B"), ("_pad1", "x"), ("reserved1", "H"), ("reserved2", "B"), ("_pad2", "x"))


class xfrm_user_tmpl(CStruct):
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


class xfrm_encap_tmpl(CStruct):
    fields = (("encap_type", "H"), ("encap_sport", ">H"), ("encap_dport", ">H"), ("_pad", "2x"), ("encap_oa", "16s"))


class xfrm_mark(CStruct):
    fields = (("v", "I"), ("m", "I"))


class xfrm_replay_state(CStruct):
    fields = (("oseq", "I"), ("seq", "I"), ("bitmap", "I"))


class xfrm_user_migrate(CStruct):
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


class xfrm_user_migrate_state(CStruct):
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


class xfrm_user_kmaddress(CStruct):
    fields = (("local", "16s"), ("remote", "16s"), ("reserved", "I"), ("family", "H"), ("_pad", "2x"))


class xfrm_user_mapping(CStruct):
    fields = (
        ("id", xfrm_usersa_id),
        ("reqid", "I"),
        ("old_saddr", "16s"),
        ("new_saddr", "16s"),
        ("old_sport", ">H"),
        ("new_sport", ">H"),
    )


class xfrm_address_filter(CStruct):
    fields = (("saddr", "16s"), ("daddr", "16s"), ("family", "H"), ("splen", "B"), ("dplen", "B"))


class xfrm_user_polexpire(CStruct):
    fields = (("pol", xfrm_userpolicy_info), ("hard", "B"), ("_pad", "7x"))


class xfrm_user_report(CStruct):
    fields = (("proto", "B"), ("_pad", "3x"), ("sel", xfrm_selector))


class xfrm_user_offload(CStruct):
    fields = (("ifindex", "i"), ("flags", "B"), ("_pad", "3x"))


class xfrm_userpolicy_default(CStruct):
    fields = (("in", "B"), ("fwd", "B"), ("out", "B"))


class xfrmu_sadhinfo(CStruct):
    fields = (("sadhcnt", "I"), ("sadhmcnt", "I"))


class xfrmu_spdinfo(CStruct):
    fields = (("incnt", "I"), ("outcnt", "I"), ("fwdcnt", "I"), ("inscnt", "I"), ("outscnt", "I"), ("fwdscnt", "I"))


class xfrmu_spdhinfo(CStruct):
    fields = (("spdhcnt", "I"), ("spdhmcnt", "I"))


class xfrmu_spdhthresh(CStruct):
    fields = (("lbits", "B"), ("rbits", "B"))


class _hidden(bytes):
    """Key bytes, which a message that is printed does not show."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


class _algorithm(FlexibleStruct):
    count = "alg_key_len"
    tail = "alg_key"

    @classmethod
    def tail_size(cls, count: int) -> int:
        return (count + 7) // 8

    @classmethod
    def decode_from(cls, data: Any, offset: int) -> tuple[dict[str, Any], int]:
        value, offset = super().decode_from(data, offset)
        value[cls.tail] = _hidden(value[cls.tail])
        return value, offset


class xfrm_algo(_algorithm):
    fields = (("alg_name", "64s"), ("alg_key_len", "I"))


class xfrm_algo_auth(_algorithm):
    fields = (("alg_name", "64s"), ("alg_key_len", "I"), ("alg_trunc_len", "I"))


class xfrm_algo_aead(_algorithm):
    fields = (("alg_name", "64s"), ("alg_key_len", "I"), ("alg_icv_len", "I"))


class algorithm_name(CStruct):
    """A `struct xfrm_algo` of which only the name is read: the kernel does not always set the key length of IPComp."""

    fields = (("alg_name", "64s"), ("alg_key_len", "I"))


class xfrm_replay_state_esn(FlexibleStruct):
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


class xfrm_user_sec_ctx(FlexibleStruct):
    count = "ctx_len"
    tail = "ctx"
    fields = (("len", "H"), ("exttype", "H"), ("ctx_alg", "B"), ("ctx_doi", "B"), ("ctx_len", "H"))

    @classmethod
    def tail_size(cls, count: int) -> int:
        return count
