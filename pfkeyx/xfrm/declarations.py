"""The messages and attributes of NETLINK_XFRM (`<linux/xfrm.h>`), declared once, under the kernel's names.

`messages` makes pyroute2's messages of them. What they mean is the codec's business, their structs are in `layout`.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from pfkeyx.xfrm import layout
from pfkeyx.xfrm.cstruct import CStruct
from pfkeyx.xfrm.numbers import *

#: What an attribute holds: a struct, an array of one, a number or an address, that it is there (`bool`), or nothing.
Kind = type[CStruct] | list[type[CStruct]] | str | type[bool] | None


class Attributes:
    """Attributes that messages have, in rows of number, name and what they hold."""

    def __init__(self, rows: Iterable[tuple[int, str, Kind]]) -> None:
        self.kinds = {name: (number, kind) for number, name, kind in rows}
        self.names = {number: name for name, (number, _) in self.kinds.items()}


ATTRIBUTES = Attributes(
    (
        (0, "XFRMA_UNSPEC", None),
        (1, "XFRMA_ALG_AUTH", layout.xfrm_algo),
        (2, "XFRMA_ALG_CRYPT", layout.xfrm_algo),
        (3, "XFRMA_ALG_COMP", layout.algorithm_name),
        (4, "XFRMA_ENCAP", layout.xfrm_encap_tmpl),
        (5, "XFRMA_TMPL", [layout.xfrm_user_tmpl]),
        (6, "XFRMA_SA", layout.xfrm_usersa_info),
        (7, "XFRMA_POLICY", layout.xfrm_userpolicy_info),
        (8, "XFRMA_SEC_CTX", layout.xfrm_user_sec_ctx),
        (9, "XFRMA_LTIME_VAL", layout.xfrm_lifetime_cur),
        (10, "XFRMA_REPLAY_VAL", layout.xfrm_replay_state),
        (11, "XFRMA_REPLAY_THRESH", "I"),
        (12, "XFRMA_ETIMER_THRESH", "I"),
        (13, "XFRMA_SRCADDR", "16s"),
        (14, "XFRMA_COADDR", "16s"),
        (15, "XFRMA_LASTUSED", "Q"),
        (16, "XFRMA_POLICY_TYPE", layout.xfrm_userpolicy_type),
        (17, "XFRMA_MIGRATE", [layout.xfrm_user_migrate]),
        (18, "XFRMA_ALG_AEAD", layout.xfrm_algo_aead),
        (19, "XFRMA_KMADDRESS", layout.xfrm_user_kmaddress),
        (20, "XFRMA_ALG_AUTH_TRUNC", layout.xfrm_algo_auth),
        (21, "XFRMA_MARK", layout.xfrm_mark),
        (22, "XFRMA_TFCPAD", "I"),
        (23, "XFRMA_REPLAY_ESN_VAL", layout.xfrm_replay_state_esn),
        (24, "XFRMA_SA_EXTRA_FLAGS", "I"),
        (25, "XFRMA_PROTO", "B"),
        (26, "XFRMA_ADDRESS_FILTER", layout.xfrm_address_filter),
        (27, "XFRMA_PAD", None),
        (28, "XFRMA_OFFLOAD_DEV", layout.xfrm_user_offload),
        (29, "XFRMA_SET_MARK", "I"),
        (30, "XFRMA_SET_MARK_MASK", "I"),
        (31, "XFRMA_IF_ID", "I"),
        (32, "XFRMA_MTIMER_THRESH", "I"),
        (33, "XFRMA_SA_DIR", "B"),
        (34, "XFRMA_NAT_KEEPALIVE_INTERVAL", "I"),
        (35, "XFRMA_SA_PCPU", "I"),
        (36, "XFRMA_IPTFS_DROP_TIME", "I"),
        (37, "XFRMA_IPTFS_REORDER_WINDOW", "H"),
        (38, "XFRMA_IPTFS_DONT_FRAG", bool),
        (39, "XFRMA_IPTFS_INIT_DELAY", "I"),
        (40, "XFRMA_IPTFS_MAX_QSIZE", "I"),
        (41, "XFRMA_IPTFS_PKT_SIZE", "I"),
    )
)
#: Those of NEWSADINFO and NEWSPDINFO have numbers of their own.
SAD_ATTRIBUTES = Attributes(
    (
        (0, "XFRMA_SAD_UNSPEC", None),
        (1, "XFRMA_SAD_CNT", "I"),
        (2, "XFRMA_SAD_HINFO", layout.xfrmu_sadhinfo),
    )
)
SPD_ATTRIBUTES = Attributes(
    (
        (0, "XFRMA_SPD_UNSPEC", None),
        (1, "XFRMA_SPD_INFO", layout.xfrmu_spdinfo),
        (2, "XFRMA_SPD_HINFO", layout.xfrmu_spdhinfo),
        (3, "XFRMA_SPD_IPV4_HTHRESH", layout.xfrmu_spdhthresh),
        (4, "XFRMA_SPD_IPV6_HTHRESH", layout.xfrmu_spdhthresh),
    )
)
#: Those of an extended acknowledgement (`<linux/netlink.h>`).
ERROR_ATTRIBUTES = Attributes(
    (
        (0, "NLMSGERR_ATTR_UNUSED", None),
        (1, "NLMSGERR_ATTR_MSG", None),
        (2, "NLMSGERR_ATTR_OFFS", "I"),
        (3, "NLMSGERR_ATTR_COOKIE", None),
        (4, "NLMSGERR_ATTR_POLICY", None),
        (5, "NLMSGERR_ATTR_MISS_TYPE", "I"),
        (6, "NLMSGERR_ATTR_MISS_NEST", "I"),
    )
)
ATTRIBUTE_NAMES = ATTRIBUTES.names


class Message:
    """A message of the family: a struct of its own, then attributes."""

    fields: ClassVar[tuple[tuple[str, Any], ...]] = ()
    table: ClassVar[Attributes] = ATTRIBUTES


class usersa_msg(Message):
    """NEWSA, UPDSA."""

    fields = layout.xfrm_usersa_info.fields


class usersa_id_msg(Message):
    """GETSA, DELSA."""

    fields = layout.xfrm_usersa_id.fields


class aevent_id_msg(Message):
    """NEWAE, GETAE."""

    fields = layout.xfrm_aevent_id.fields


class userspi_msg(Message):
    """ALLOCSPI."""

    fields = layout.xfrm_userspi_info.fields


class usersa_flush_msg(Message):
    """FLUSHSA."""

    fields = layout.xfrm_usersa_flush.fields


class userpolicy_msg(Message):
    """NEWPOLICY, UPDPOLICY."""

    fields = layout.xfrm_userpolicy_info.fields


class userpolicy_id_msg(Message):
    """GETPOLICY, DELPOLICY, MIGRATE."""

    fields = layout.xfrm_userpolicy_id.fields


class empty_msg(Message):
    """FLUSHPOLICY, and dumps."""


class acquire_msg(Message):
    """ACQUIRE."""

    fields = layout.xfrm_user_acquire.fields


class expire_msg(Message):
    """EXPIRE."""

    fields = layout.xfrm_user_expire.fields


class mapping_msg(Message):
    """MAPPING."""

    fields = layout.xfrm_user_mapping.fields


class migrate_state_msg(Message):
    """MIGRATE_STATE."""

    fields = layout.xfrm_user_migrate_state.fields


class polexpire_msg(Message):
    """POLEXPIRE."""

    fields = layout.xfrm_user_polexpire.fields


class report_msg(Message):
    """REPORT."""

    fields = layout.xfrm_user_report.fields


class userpolicy_default_msg(Message):
    """SETDEFAULT, GETDEFAULT."""

    fields = layout.xfrm_userpolicy_default.fields


class sadinfo_msg(Message):
    """NEWSADINFO, GETSADINFO."""

    fields = (("flags", "I"),)
    table = SAD_ATTRIBUTES


class spdinfo_msg(Message):
    """NEWSPDINFO, GETSPDINFO."""

    fields = (("flags", "I"),)
    table = SPD_ATTRIBUTES


class error_msg(Message):
    """NLMSG_ERROR with NETLINK_CAP_ACK: the error, the request's header alone, and the extended acknowledgement."""

    fields = (("error", "i"), ("length", "I"), ("type", "H"), ("flags", "H"), ("sequence", "I"), ("pid", "I"))
    table = ERROR_ATTRIBUTES


#: What each message that the kernel sends is read with.
RECEIVED: dict[int, type[Message]] = {
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
SENT: dict[int, type[Message]] = {
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
