"""How each field of an SA or a policy is read of a message, and of what in it. How they are written is in `codec`."""

import struct
from collections.abc import Callable, Mapping, Set
from functools import lru_cache, partial
from itertools import chain
from socket import AF_INET, AF_INET6
from types import MappingProxyType
from typing import Any

from pfkeyx.model import (
    ADDRESSED_MODES,
    SA,
    Action,
    Direction,
    Failures,
    IPAddress,
    Mode,
    Policy,
    PolicyFlag,
    Protocol,
    Replay,
    SAExtraFlag,
    SAFlag,
    SAId,
    Selector,
    Share,
    Template,
)
from pfkeyx.native import lib
from pfkeyx.xfrm import layout, parts
from pfkeyx.xfrm.algorithms import decode_authentication, decode_compression, decode_encryption
from pfkeyx.xfrm.entry import Entry, PolicyEntry
from pfkeyx.xfrm.rewriting import POLICY_REWRITERS, SA_REWRITERS, Rewriter

#: The `xfrm_selector` of every packet of a family.
_ANYTHING = {
    family: layout.xfrm_selector.decode_from(bytes(layout.xfrm_selector.size()), 0)[0] | {"family": family}
    for family in (AF_INET, AF_INET6)
}
_ALL_ALGORITHMS = (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)

_Read = Callable[[parts.Told], Any]


def _constant(value: Any, _: parts.Told) -> Any:
    return value


class Fields(dict[str, _Read]):
    """What reads each field of a value, and what of a message it is made of: fields of the struct, and attributes."""

    def __init__(
        self,
        fields: Mapping[str, tuple[_Read, tuple[str, ...]]],
        rewriters: Mapping[str, Rewriter] = MappingProxyType({}),
        counted: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__((name, read) for name, (read, _) in fields.items())
        self._rewriters = rewriters
        self.rewritable: Set[str] = frozenset(rewriters)
        self._counted: Set[str] = frozenset(counted)
        constants = {name: (partial(_constant, value), ()) for name, value in counted.items()}
        self.as_written = Fields({**fields, **constants}, rewriters) if constants else self
        self._made_of: dict[str, set[str]] = {}
        for name, (_, told) in fields.items():
            for each in told:
                self._made_of.setdefault(each, set()).add(name)

    def differing(self, origin: Entry, other: Entry) -> Set[str]:
        """Return the names of the fields that may differ between what is read of two entries."""
        match origin.compare(other):
            case lib.PFKEYX_SAME:
                return frozenset()
            case lib.PFKEYX_COUNTS_DIFFER:
                return self._counted
        return {name for told in origin.differing(other) for name in self.made_of(told)}

    def rewritten(self, origin: Entry, value: Any, fields: Mapping[str, Any]) -> tuple[Entry, Set[str]]:
        """Return an entry in which fields are changed that can be, and their names; see `Readers.rewritten`."""
        found = {name: self._rewriters[name](origin, getattr(value, name), field) for name, field in fields.items()}
        changes = {name: change for name, change in found.items() if change is not None}
        return origin.rewritten(chain.from_iterable(changes.values())), changes.keys()

    def made_of(self, told: str) -> Set[str]:
        """Return the names of the fields that are made of a field of the struct, or of an attribute."""
        return self._made_of.get(told, frozenset())


def _decode_id(message: parts.Told) -> SAId:
    fields = message["id"]
    address = parts.decode_address(fields["daddr"], message["family"])
    return SAId(address, fields["spi"], Protocol(fields["proto"]), parts.decode_mark(message))


def _decode_sa_selector(message: parts.Told) -> Selector | None:
    fields = message["sel"]
    if fields["family"] == 0:
        return None
    is_usual = fields == _ANYTHING.get(message["family"])
    return None if is_usual and not message["flags"] & SAFlag.AF_UNSPEC else parts.decode_selector(fields)


def _decode_care_of(message: parts.Told) -> IPAddress | None:
    care_of = message.get_attr("XFRMA_COADDR")
    return parts.decode_address(care_of, message["family"]) if care_of else None


def _decode_window(message: parts.Told) -> int:
    esn = message.get_attr("XFRMA_REPLAY_ESN_VAL")
    return int(esn["replay_window"] if esn else message["replay_window"])


def decode_replay(message: parts.Told) -> Replay | None:
    """Return the sequence numbers and the replay window that a message tells of, if it does."""
    esn = message.get_attr("XFRMA_REPLAY_ESN_VAL")
    if esn:
        return Replay(
            outbound=esn["oseq_hi"] << 32 | esn["oseq"],
            inbound=esn["seq_hi"] << 32 | esn["seq"],
            bitmap=struct.unpack(f"={esn['bmp_len']}I", esn["bmp"]),
            extended=True,
        )
    legacy = message.get_attr("XFRMA_REPLAY_VAL")
    return Replay(legacy["oseq"], legacy["seq"], (legacy["bitmap"],)) if legacy else None


def _decode_failures(fields: dict[str, Any]) -> Failures:
    return Failures(fields["replay_window"], fields["replay"], fields["integrity_failed"])


def _decode_template(fields: dict[str, Any]) -> Template:
    mode = Mode(fields["mode"])
    addressed = mode in ADDRESSED_MODES or any(fields["saddr"]) or any(fields["id"]["daddr"])
    masks = (fields["aalgos"], fields["ealgos"], fields["calgos"])
    return Template(
        protocol=Protocol(fields["id"]["proto"]),
        mode=mode,
        source=parts.decode_address(fields["saddr"], fields["family"]) if addressed else None,
        destination=parts.decode_address(fields["id"]["daddr"], fields["family"]) if addressed else None,
        reqid=fields["reqid"],
        spi=fields["id"]["spi"],
        optional=bool(fields["optional"]),
        share=Share(fields["share"]),
        # A policy made over PF_KEY allows every algorithm and shows empty masks; sent back as they
        # are, empty masks would allow none.
        algorithm_masks=_ALL_ALGORITHMS if masks == (0, 0, 0) else masks,
    )


def _decode_templates(message: parts.Told) -> tuple[Template, ...]:
    if isinstance(message, PolicyEntry):
        return _templates_of(message.message[message.attribute("XFRMA_TMPL")])
    return tuple(map(_decode_template, message.get_attr("XFRMA_TMPL") or ()))


@lru_cache(maxsize=1024)
def _templates_of(data: bytes) -> tuple[Template, ...]:
    # Those of a tunnel's policies for incoming packets are the same.
    return tuple(map(_decode_template, layout.xfrm_user_tmpl.decode_all(data)))


def _number(attribute: str) -> tuple[_Read, tuple[str, ...]]:
    """Return what reads an attribute that is a number, 0 where it is not there."""
    return lambda message: message.get_attr(attribute) or 0, (attribute,)


def _field(name: str, kind: Callable[[Any], Any] = lambda value: value) -> tuple[_Read, tuple[str, ...]]:
    """Return what reads a field of the struct, of some kind."""
    return lambda message: kind(message[name]), (name,)


SA_FIELDS = Fields(
    {
        "id": (_decode_id, ("id", "family", "XFRMA_MARK")),
        "source": (lambda message: parts.decode_address(message["saddr"], message["family"]), ("saddr", "family")),
        "mode": _field("mode", Mode),
        "reqid": _field("reqid"),
        "encryption": (decode_encryption, ("XFRMA_ALG_AEAD", "XFRMA_ALG_CRYPT")),
        "authentication": (decode_authentication, ("XFRMA_ALG_AUTH_TRUNC",)),
        "compression": (decode_compression, ("XFRMA_ALG_COMP",)),
        "encap": (lambda message: parts.decode_encap(message, message["family"]), ("XFRMA_ENCAP", "family")),
        "selector": (_decode_sa_selector, ("sel", "family", "flags")),
        "lifetime": _field("lft", parts.decode_lifetime),
        "replay_window": (_decode_window, ("replay_window", "XFRMA_REPLAY_ESN_VAL")),
        "flags": _field("flags", SAFlag),
        "extra_flags": (
            lambda message: SAExtraFlag(message.get_attr("XFRMA_SA_EXTRA_FLAGS") or 0),
            ("XFRMA_SA_EXTRA_FLAGS",),
        ),
        "if_id": _number("XFRMA_IF_ID"),
        "output_mark": (parts.decode_output_mark, ("XFRMA_SET_MARK", "XFRMA_SET_MARK_MASK")),
        "offload": (parts.decode_offload, ("XFRMA_OFFLOAD_DEV",)),
        "tfc_padding": _number("XFRMA_TFCPAD"),
        "direction": (parts.decode_direction, ("XFRMA_SA_DIR",)),
        "nat_keepalive_s": _number("XFRMA_NAT_KEEPALIVE_INTERVAL"),
        "mapping_threshold_s": _number("XFRMA_MTIMER_THRESH"),
        "cpu": (lambda message: message.get_attr("XFRMA_SA_PCPU"), ("XFRMA_SA_PCPU",)),
        "iptfs": (parts.decode_iptfs, parts.IPTFS_ATTRIBUTES),
        "care_of": (_decode_care_of, ("XFRMA_COADDR", "family")),
        "security_context": (parts.decode_security_context, ("XFRMA_SEC_CTX",)),
        "other": (parts.decode_other, ("", "XFRMA_ENCAP", "XFRMA_SA_DIR", *parts.UNMODELLED)),
        "state": (lambda _: None, ()),
        "usage": (
            lambda message: parts.decode_usage(message["curlft"], message.get_attr("XFRMA_LASTUSED")),
            ("curlft", "XFRMA_LASTUSED"),
        ),
        "replay": (decode_replay, ("XFRMA_REPLAY_VAL", "XFRMA_REPLAY_ESN_VAL")),
        "failures": _field("stats", _decode_failures),
    },
    SA_REWRITERS,
    SA.counted,
)
POLICY_FIELDS = Fields(
    {
        "selector": _field("sel", parts.decode_selector),
        "direction": _field("dir", Direction),
        "templates": (_decode_templates, ("XFRMA_TMPL",)),
        "action": _field("action", Action),
        "priority": _field("priority"),
        "lifetime": _field("lft", parts.decode_policy_lifetime),
        "mark": (parts.decode_mark, ("XFRMA_MARK",)),
        "if_id": _number("XFRMA_IF_ID"),
        "type": (parts.decode_policy_type, ("XFRMA_POLICY_TYPE",)),
        "flags": _field("flags", PolicyFlag),
        "share": _field("share", Share),
        "offload": (parts.decode_offload, ("XFRMA_OFFLOAD_DEV",)),
        "security_context": (parts.decode_security_context, ("XFRMA_SEC_CTX",)),
        "other": (parts.decode_other, ("", "XFRMA_ENCAP", "XFRMA_SA_DIR", *parts.UNMODELLED)),
        "index": _field("index"),
        "usage": _field("curlft", parts.decode_usage),
    },
    POLICY_REWRITERS,
    Policy.counted,
)
