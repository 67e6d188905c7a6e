"""Changes of fields as changes of the bytes that an SA or a policy was read of, where these can say them.

So what a move makes of an SA or a policy is written, and compared with what is read afterwards, without being made.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from pfkeyx.model import ADDRESSED_MODES, Action, IPAddress, SAId, Template
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm import layout
from pfkeyx.xfrm.datagram import HEADER_SIZE
from pfkeyx.xfrm.entry import PolicyEntry, SAEntry
from pfkeyx.xfrm.numbers import XFRM_MSG_MIGRATE, XFRM_MSG_MIGRATE_STATE

_info, _moved, _id = (
    declared.offset for declared in (layout.xfrm_usersa_info, layout.xfrm_user_migrate_state, layout.xfrm_usersa_id)
)
_template, _migrated = layout.xfrm_user_tmpl.offset, layout.xfrm_user_migrate.offset


def _place(here: int, there: int, size: int) -> tuple[slice, slice]:
    """Return where in a MIGRATE_STATE something stands, and where in an entry."""
    here, there = HEADER_SIZE + here, HEADER_SIZE + there
    return slice(here, here + size), slice(there, there + size)


#: Of how an SA is found, and what is kept, and of how it shall be.
_OF_OLD = (
    _place(0, _info("id"), _id("family")),  # the address and the SPI
    _place(_id("family"), _info("family"), 2),
    _place(_id("proto"), _info("id") + layout.xfrm_id.offset("proto"), 1),
    _place(_moved("new_reqid"), _info("reqid"), 4),
)
_OF_NEW = (
    _place(_moved("new_daddr"), _info("id"), 16),
    _place(_moved("new_saddr"), _info("saddr"), 16),
    _place(_moved("new_sel"), _info("sel"), layout.xfrm_selector.size()),
    _place(_moved("new_family"), _info("family"), 2),
)
_OLD_MARK = HEADER_SIZE + _moved("old_mark")
_FAMILY_OF_SELECTOR, _ = _place(_moved("new_sel") + layout.xfrm_selector.offset("family"), 0, 2)

#: Of how a template is moved what it has, and what it shall have: where that goes, where it is, and its size.
_OF_TEMPLATE = (
    (_migrated("old_daddr"), 0, 16),
    (_migrated("old_saddr"), _template("saddr"), 16),
    (_migrated("proto"), layout.xfrm_id.offset("proto"), 1),
    (_migrated("mode"), _template("mode"), 1),
    (_migrated("reqid"), _template("reqid"), 4),
    (_migrated("old_family"), _template("family"), 2),
)
_OF_MOVED = (
    (_migrated("new_daddr"), 0, 16),
    (_migrated("new_saddr"), _template("saddr"), 16),
    (_migrated("new_family"), _template("family"), 2),
)
_MIGRATE_SIZE = layout.xfrm_user_migrate.size()
_SELECTOR = slice(HEADER_SIZE, HEADER_SIZE + layout.xfrm_selector.size())
_DIRECTION = HEADER_SIZE + layout.xfrm_userpolicy_info.offset("dir")
_DIRECTION_OF_ID = HEADER_SIZE + layout.xfrm_userpolicy_id.offset("dir")
#: What a policy is found by beside its selector.
_FOUND_BY, _TYPE = ("XFRMA_MARK", "XFRMA_IF_ID", "XFRMA_SEC_CTX"), "XFRMA_POLICY_TYPE"
_ATTRIBUTE, _XFRMA_MIGRATE = struct.Struct("=HH"), wire.ATTRIBUTES.kinds["XFRMA_MIGRATE"][0]

#: Bytes, and where they go.
Changes = Sequence[tuple[int, bytes]]
#: Returns the changes of an entry that make of a field that was read another one; None where it takes more.
Rewriter = Callable[[Any, Any, Any], Changes | None]

_ID, _SOURCE = (HEADER_SIZE + layout.xfrm_usersa_info.offset(name) for name in ("id", "saddr"))
_TEMPLATE_SIZE, _TEMPLATE_SOURCE = layout.xfrm_user_tmpl.size(), layout.xfrm_user_tmpl.offset("saddr")
_USAGE, _INDEX, _ACTION = (
    HEADER_SIZE + layout.xfrm_userpolicy_info.offset(name) for name in ("curlft", "index", "action")
)
_HEADER = struct.Struct("=IHHII")
_NO_USAGE, _NUMBER = bytes(layout.xfrm_lifetime_cur.size()), struct.Struct("=I")
_MASKS, _EVERY_ALGORITHM = layout.xfrm_user_tmpl.offset("aalgos"), b"\xff" * 12
_all_but_ends = attrgetter("protocol", "mode", "reqid", "spi", "optional", "share", "algorithm_masks")


def _rewrite_id(_: SAEntry, old: SAId, new: SAId) -> Changes | None:
    is_like = (old.protocol, old.spi, old.mark) == (new.protocol, new.spi, new.mark)
    return _rewrite_address(_ID, old.destination, new.destination) if is_like else None


def _rewrite_source(_: SAEntry, old: IPAddress, new: IPAddress) -> Changes | None:
    return _rewrite_address(_SOURCE, old, new)


def _rewrite_address(at: int, old: IPAddress, new: IPAddress) -> Changes | None:
    return ((at, new.packed),) if old.version == new.version else None


def _rewrite_action(_: PolicyEntry, __: Action, new: Action) -> Changes:
    return ((_ACTION, bytes((new,))),)


def _rewrite_templates(entry: PolicyEntry, old: Sequence[Template], new: Sequence[Template]) -> Changes | None:
    if len(old) != len(new):
        return None
    at = entry.attribute("XFRMA_TMPL").start
    changes: list[tuple[int, bytes]] = []
    for before, after in zip(old, new, strict=True):
        if before is not after:
            ends = _rewrite_ends(at, before, after)
            if ends is None:
                return None
            changes += ends
        at += _TEMPLATE_SIZE
    return changes


def _rewrite_ends(at: int, old: Template, new: Template) -> Changes | None:
    source, destination = new.source, new.destination
    if old.mode not in ADDRESSED_MODES or old.source is None or source is None or destination is None:
        return None
    is_like = old.source.version == source.version == destination.version and _all_but_ends(old) == _all_but_ends(new)
    return ((at, destination.packed), (at + _TEMPLATE_SOURCE, source.packed)) if is_like else None


SA_REWRITERS: Mapping[str, Rewriter] = {"id": _rewrite_id, "source": _rewrite_source}
POLICY_REWRITERS: Mapping[str, Rewriter] = {"action": _rewrite_action, "templates": _rewrite_templates}


def _can_be_end(address: bytes) -> bool:
    # Of either IP version: unspecified and multicast ones cannot, nor do a few others look as if they could.
    return any(address[:4]) and not 0xE0 <= address[0] <= 0xEF and address[0] != 0xFF


def write_move(old: SAEntry, new: SAEntry, flags: int) -> bytearray | None:
    """Return the MIGRATE_STATE that makes of an SA what another entry tells; None where it takes more than that.

    That is where its encapsulation changes, and where it has no selector; and where a new end can be none.
    """
    if not all(map(_can_be_end, (new.message[_ID : _ID + 16], new.message[_SOURCE : _SOURCE + 16]))):
        return None
    if old.message[old.attribute("XFRMA_ENCAP")] != new.message[new.attribute("XFRMA_ENCAP")]:
        return None
    data = bytearray(HEADER_SIZE + layout.xfrm_user_migrate_state.size())
    _HEADER.pack_into(data, 0, len(data), XFRM_MSG_MIGRATE_STATE, flags, 0, 0)
    for entry, places in ((old, _OF_OLD), (new, _OF_NEW)):
        for here, there in places:
            data[here] = entry.message[there]
    mark = old.message[old.attribute("XFRMA_MARK")]
    data[_OLD_MARK : _OLD_MARK + len(mark)] = mark
    return data if any(data[_FAMILY_OF_SELECTOR]) else None


def write_policy_move(old: PolicyEntry, new: PolicyEntry, flags: int) -> bytearray | None:
    """Return the MIGRATE that moves every template of a policy to where another entry has it.

    None where it is found by more than its selector, and where a new end can be none.
    """
    if any(old.message[old.attribute(name)] for name in _FOUND_BY) or any(old.message[old.attribute(_TYPE)]):
        return None
    templates, moved = (entry.message[entry.attribute("XFRMA_TMPL")] for entry in (old, new))
    count, begin = len(templates) // _TEMPLATE_SIZE, HEADER_SIZE + layout.xfrm_userpolicy_id.size() + _ATTRIBUTE.size
    data = bytearray(begin + count * _MIGRATE_SIZE)
    _HEADER.pack_into(data, 0, len(data), XFRM_MSG_MIGRATE, flags, 0, 0)
    data[_SELECTOR] = old.message[_SELECTOR]
    data[_DIRECTION_OF_ID] = old.message[_DIRECTION]
    _ATTRIBUTE.pack_into(data, begin - _ATTRIBUTE.size, len(data) - begin + _ATTRIBUTE.size, _XFRMA_MIGRATE)
    for number in range(count):
        here, there = begin + number * _MIGRATE_SIZE, number * _TEMPLATE_SIZE
        for told, places in ((templates, _OF_TEMPLATE), (moved, _OF_MOVED)):
            for to, start, size in places:
                data[here + to : here + to + size] = told[there + start : there + start + size]
        ends = (moved[there : there + 16], moved[there + _TEMPLATE_SOURCE : there + _TEMPLATE_SOURCE + 16])
        if not all(map(_can_be_end, ends)):
            return None
    return data


def write_back(entry: PolicyEntry, message_type: int, flags: int, index: int) -> bytearray:
    """Return the message, sequence number 0, that writes a policy as an entry tells it, but for the index."""
    data = bytearray(entry.message)
    _HEADER.pack_into(data, 0, len(data), message_type, flags, 0, 0)
    data[_USAGE : _USAGE + len(_NO_USAGE)] = _NO_USAGE
    _NUMBER.pack_into(data, _INDEX, index)
    templates = entry.attribute("XFRMA_TMPL")
    for at in range(templates.start + _MASKS, templates.stop, _TEMPLATE_SIZE):
        # A policy made over PF_KEY allows every algorithm and shows empty masks, which sent back would allow none.
        if not any(data[at : at + len(_EVERY_ALGORITHM)]):
            data[at : at + len(_EVERY_ALGORITHM)] = _EVERY_ALGORITHM
    return data
