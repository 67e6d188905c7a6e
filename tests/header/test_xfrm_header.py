"""The declarations of XFRM against the newest kernel's headers: their text, and what the compiler makes of it."""

from collections.abc import Iterator
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

from lab import cache, kernels
from pfkeyx.events import ProgressCause
from pfkeyx.model import (
    Action,
    Direction,
    Mode,
    OffloadFlag,
    PolicyFlag,
    PolicyType,
    SAExtraFlag,
    SAFlag,
    Share,
)
from pfkeyx.xfrm import layout
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.cstruct import CStruct, FlexibleStruct, size_of
from tests.header.header import Header, evaluate

XFRM = "linux/xfrm.h"
#: That one leaves some numbers to others.
HEADERS = (XFRM, "linux/udp.h", "linux/ipsec.h", "linux/netlink.h")

STRUCTS: dict[str, type[CStruct]] = {
    name: struct
    for name, struct in vars(layout).items()
    if isinstance(struct, type) and name.startswith(("xfrm_", "xfrmu_"))
}
#: The kernel's own, which no message has: XFRMA_SEC_CTX is a `struct xfrm_user_sec_ctx`.
NOT_IN_MESSAGES = {"xfrm_sec_ctx"}
FORMATS = {
    "__u8": "B",
    "__u16": "H",
    "__u32": "I",
    "__u64": "Q",
    "__be16": ">H",
    "__be32": ">I",
    "__kernel_uid32_t": "I",
    "int": "i",
    "unsigned int": "I",
    "char[64]": "64s",
    "xfrm_address_t": "16s",
}

#: What the model says in words of its own.
MODELLED: dict[str, IntEnum | IntFlag] = {
    "XFRM_MODE_TRANSPORT": Mode.TRANSPORT,
    "XFRM_MODE_TUNNEL": Mode.TUNNEL,
    "XFRM_MODE_ROUTEOPTIMIZATION": Mode.ROUTE_OPTIMIZATION,
    "XFRM_MODE_IN_TRIGGER": Mode.IN_TRIGGER,
    "XFRM_MODE_BEET": Mode.BEET,
    "XFRM_MODE_IPTFS": Mode.IPTFS,
    "XFRM_POLICY_IN": Direction.IN,
    "XFRM_POLICY_OUT": Direction.OUT,
    "XFRM_POLICY_FWD": Direction.FORWARD,
    "XFRM_POLICY_ALLOW": Action.ALLOW,
    "XFRM_POLICY_BLOCK": Action.BLOCK,
    "XFRM_POLICY_TYPE_MAIN": PolicyType.MAIN,
    "XFRM_POLICY_TYPE_SUB": PolicyType.SUB,
    "XFRM_POLICY_LOCALOK": PolicyFlag.LOCAL_OVERRIDE,
    "XFRM_POLICY_ICMP": PolicyFlag.ICMP,
    "XFRM_POLICY_CPU_ACQUIRE": PolicyFlag.CPU_ACQUIRE,
    "XFRM_SHARE_ANY": Share.ANY,
    "XFRM_SHARE_SESSION": Share.SESSION,
    "XFRM_SHARE_USER": Share.USER,
    "XFRM_SHARE_UNIQUE": Share.UNIQUE,
    "XFRM_STATE_NOECN": SAFlag.NO_ECN,
    "XFRM_STATE_DECAP_DSCP": SAFlag.DECAP_DSCP,
    "XFRM_STATE_NOPMTUDISC": SAFlag.NO_PMTU_DISCOVERY,
    "XFRM_STATE_WILDRECV": SAFlag.WILDCARD_RECEIVE,
    "XFRM_STATE_ICMP": SAFlag.ICMP,
    "XFRM_STATE_AF_UNSPEC": SAFlag.AF_UNSPEC,
    "XFRM_STATE_ALIGN4": SAFlag.ALIGN4,
    "XFRM_STATE_ESN": SAFlag.ESN,
    "XFRM_SA_XFLAG_DONT_ENCAP_DSCP": SAExtraFlag.DONT_ENCAP_DSCP,
    "XFRM_SA_XFLAG_OSEQ_MAY_WRAP": SAExtraFlag.SEQUENCE_MAY_WRAP,
    "XFRM_OFFLOAD_IPV6": OffloadFlag.IPV6,
    "XFRM_OFFLOAD_INBOUND": OffloadFlag.INBOUND,
    "XFRM_OFFLOAD_PACKET": OffloadFlag.PACKET,
    "XFRM_AE_CR": ProgressCause.PACKETS,
    "XFRM_AE_CE": ProgressCause.TIMER,
    "XFRM_AE_CU": ProgressCause.SET,
}
#: What pfkeyx has no use for: bounds of the header itself, masks of a bind(2) that it does without, other names.
UNUSED = {
    "XFRM_SC_DOI_RESERVED",
    "XFRM_SC_DOI_LSM",
    "XFRM_SC_ALG_RESERVED",
    "XFRM_SC_ALG_SELINUX",
    "XFRMA_REPLAY_ESN_MAX",
    "XFRM_POLICY_TYPE_MAX",
    "XFRM_POLICY_TYPE_ANY",
    "XFRM_POLICY_MASK",
    "XFRM_POLICY_MAX",
    "XFRM_MODE_MAX",
    "XFRM_MSG_BASE",
    "XFRM_MSG_MAX",
    "XFRM_NR_MSGTYPES",
    "XFRM_AE_UNSPEC",
    "XFRM_AE_MAX",
    "XFRMA_MAX",
    "XFRMA_SAD_MAX",
    "XFRMA_SPD_MAX",
    "XFRMA_OUTPUT_MARK",
    "XFRM_MIGRATE_STATE_KNOWN_FLAGS",
    "XFRMGRP_ACQUIRE",
    "XFRMGRP_EXPIRE",
    "XFRMGRP_SA",
    "XFRMGRP_POLICY",
    "XFRMGRP_REPORT",
    "XFRMNLGRP_NONE",
    "XFRMNLGRP_MAX",
}

CONSTANTS: dict[str, int] = {
    name: number for name, number in vars(wire).items() if isinstance(number, int) and not name.startswith("_")
}
ATTRIBUTES: dict[str, int] = {
    name: number
    for message in (wire.xfrm_message, wire.sadinfo_msg, wire.spdinfo_msg)
    for number, name, _ in message.nla_map
}


def _layout(name: str) -> dict[str, int]:
    """Return what C expressions about a struct should come to."""
    struct, offset, layout_of = STRUCTS[name], 0, {}
    for field, fmt in struct.fields:
        if not field.startswith("_pad"):
            layout_of[f"__builtin_offsetof(struct {name}, {field})"] = offset
            layout_of[f"sizeof(((struct {name} *)0)->{field})"] = size_of(fmt)
        offset += size_of(fmt)
    # The text of a security context stands behind its struct, and in no declaration of C's.
    if issubclass(struct, FlexibleStruct) and struct is not layout.xfrm_user_sec_ctx:
        layout_of[f"__builtin_offsetof(struct {name}, {struct.tail})"] = offset
    return layout_of | {f"sizeof(struct {name})": struct.size()}


@pytest.fixture(scope="module")
def folders() -> Iterator[tuple[Path, ...]]:
    """Hold the newest kernel's headers in place."""
    with cache.headers(kernels.load().newest) as folders:
        yield folders


@pytest.fixture(scope="module")
def header(folders: tuple[Path, ...]) -> Header:
    """Return <linux/xfrm.h>."""
    return Header(folders, XFRM)


@pytest.fixture(scope="module")
def compiled(folders: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Return what the compiler makes of every expression that is asked about below."""
    expressions = [
        *CONSTANTS,
        *ATTRIBUTES,
        *MODELLED,
        *(expression for name in STRUCTS for expression in _layout(name)),
    ]
    return dict(
        zip(expressions, evaluate(folders, HEADERS, expressions, tmp_path_factory.mktemp("probe")), strict=True)
    )


def test_every_struct_is_declared_and_no_other(header: Header) -> None:
    assert STRUCTS.keys() == header.structs.keys() - NOT_IN_MESSAGES


@pytest.mark.parametrize("name", STRUCTS)
def test_a_struct_has_the_headers_members_in_their_order(name: str, header: Header) -> None:
    declared = [(field, fmt) for field, fmt in STRUCTS[name].fields if not field.startswith("_pad")]
    members = [(member, kind) for member, kind in header.structs[name] if not kind.endswith("[]")]
    assert declared == [(member, _format_of(kind)) for member, kind in members]


@pytest.mark.parametrize("name", STRUCTS)
def test_a_struct_is_laid_out_as_the_compiler_does_it(name: str, compiled: dict[str, int]) -> None:
    expected = _layout(name)
    assert {expression: compiled[expression] for expression in expected} == expected


@pytest.mark.parametrize("numbers", [CONSTANTS, ATTRIBUTES, MODELLED], ids=["constants", "attributes", "model"])
def test_every_number_is_the_headers(numbers: dict[str, int], compiled: dict[str, int]) -> None:
    assert {name: compiled[name] for name in numbers} == numbers


def test_every_number_of_the_header_is_declared(header: Header) -> None:
    assert header.constants - {*CONSTANTS, *ATTRIBUTES, *MODELLED} == UNUSED


def _format_of(kind: str) -> object:
    return STRUCTS[kind.removeprefix("struct ")] if kind.startswith("struct ") else FORMATS[kind]
