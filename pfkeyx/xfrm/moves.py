"""What can be asked over XFRM to move SAs and policies: the bare messages. How a move is safe is not known here."""

import errno
from collections.abc import Sequence
from typing import Any

from pfkeyx.checks import check_end, check_moves, check_pair, check_sa_id
from pfkeyx.dialect import changed_templates
from pfkeyx.errors import UnsupportedError
from pfkeyx.features import Feature
from pfkeyx.model import SA, AddressPair, Encap, Policy, PolicyId, Template
from pfkeyx.operation import Request
from pfkeyx.xfrm import codec, parts
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm.answers import Answer, Wire, nothing
from pfkeyx.xfrm.encoding import encode
from pfkeyx.xfrm.entry import PolicyEntry, SAEntry
from pfkeyx.xfrm.numbers import NLM_F_ACK, NLM_F_REQUEST
from pfkeyx.xfrm.probes import needs_of
from pfkeyx.xfrm.rewriting import write_move, write_policy_move

_ACKED = NLM_F_REQUEST | NLM_F_ACK
_MOVE_HINTS = {
    errno.ENODATA: "no template of the policy is like an old one, or an SA could not be made anew; "
    "or, on newer kernels, a policy of higher priority covers this one"
}


class MoveRequests:
    """The part of the dialect that moves SAs and policies to other addresses."""

    def migrate_policy(
        self,
        policy_id: PolicyId,
        moves: Sequence[tuple[Template, Template]],
        encap: Encap | None = None,
        kmaddress: AddressPair | None = None,
    ) -> Request[None]:
        """Return the request that moves a policy's templates, and the newest SA of each (XFRM_MSG_MIGRATE).

        `moves` are pairs of old and new templates. `encap` is what the moved SAs are encapsulated in, which
        kernels since 7.2 drop unless it is said again. `kmaddress` is told to those who listen.
        """
        check_moves("migrate policy", policy_id, moves)
        if policy_id.mark is not None:
            # No kernel reads it: some would move a policy with another mark, others find none.
            raise UnsupportedError("mark", f"migrate policy {policy_id}: XFRM_MSG_MIGRATE finds no policy by its mark")
        attributes = [
            *parts.mark_attributes(None, policy_id.if_id),
            *codec.policy_type_attributes(policy_id.type),
            ("XFRMA_MIGRATE", [_migrate_fields(old, new) for old, new in moves]),
        ]
        if encap is not None:
            attributes.append(("XFRMA_ENCAP", parts.encap_fields(encap)))
        if kmaddress is not None:
            attributes.append(("XFRMA_KMADDRESS", _kmaddress_fields(kmaddress)))
        fields = codec.policy_id_fields(policy_id)
        message = encode(wire.userpolicy_id_msg, wire.XFRM_MSG_MIGRATE, _ACKED, fields, attributes)
        needs = (Feature.MIGRATE, *needs_of(attributes))
        return Request("migrate policy", policy_id, Wire(message, Answer.ACK), nothing, _MOVE_HINTS, needs)

    def move_policy(self, policy: Policy, moved: Policy, encap: Encap | None) -> Request[None]:
        """Return the request that moves a policy's templates to where `moved` has them, and the newest SA of each.

        See `migrate_policy`.
        """
        if encap is None and isinstance(told := policy.told, PolicyEntry) and isinstance(moved.told, PolicyEntry):
            message = write_policy_move(told, moved.told, _ACKED)
            if message is not None:
                wired = Wire(message, Answer.ACK)
                return Request("migrate policy", policy, wired, nothing, _MOVE_HINTS, (Feature.MIGRATE,))
        return self.migrate_policy(policy.id, changed_templates(policy, moved), encap)

    def migrate_sa(self, sa: SA, moved: SA) -> Request[None]:
        """Return the request that moves one SA, found by its SPI, to where `moved` is (XFRM_MSG_MIGRATE_STATE).

        Mark, reqid and `moved`'s selector are sent, since the kernel takes them as sent. All else is inherited, what
        the model does not name too, but for an encapsulation that `moved` has otherwise than `sa`.
        """
        message = None
        if isinstance(told := sa.told, SAEntry) and isinstance(told_moved := moved.told, SAEntry):
            message = write_move(told, told_moved, _ACKED)
        if message is None:
            check_sa_id("migrate SA", sa.id)
            check_pair("migrate SA", moved.source, moved.destination)
            for address in (moved.source, moved.destination):
                check_end("migrate SA", address)
            message = _migrate_state(sa, moved)
        return Request("migrate SA", sa, Wire(message, Answer.ACK), nothing, needs=(Feature.MIGRATE_STATE,))


def _migrate_state(sa: SA, moved: SA) -> bytearray:
    mark = sa.id.mark
    fields = {
        "id": codec.sa_id_fields(sa.id),
        "new_daddr": moved.destination.packed,
        "new_saddr": moved.source.packed,
        "old_mark": {"v": mark.value, "m": mark.mask} if mark else None,
        "new_sel": codec.sa_selector_fields(moved),
        "new_reqid": sa.reqid,
        "new_family": parts.family_of(moved.destination),
    }
    attributes = codec.encap_attributes(moved) if moved.encap != sa.encap else []
    return encode(wire.migrate_state_msg, wire.XFRM_MSG_MIGRATE_STATE, _ACKED, fields, attributes)


def _migrate_fields(old: Template, new: Template) -> dict[str, Any]:
    old_ends, new_ends = _ends(old), _ends(new)
    return {
        "old_daddr": old_ends.remote.packed,
        "old_saddr": old_ends.local.packed,
        "new_daddr": new_ends.remote.packed,
        "new_saddr": new_ends.local.packed,
        "proto": old.protocol,
        "mode": old.mode,
        "reqid": old.reqid,
        "old_family": parts.family_of(old_ends.local),
        "new_family": parts.family_of(new_ends.local),
    }


def _ends(template: Template) -> AddressPair:
    assert template.source is not None  # as check_moves has seen
    assert template.destination is not None
    return AddressPair(template.source, template.destination)


def _kmaddress_fields(kmaddress: AddressPair) -> dict[str, Any]:
    check_pair("migrate policy", kmaddress.local, kmaddress.remote)
    return {
        "local": kmaddress.local.packed,
        "remote": kmaddress.remote.packed,
        "family": parts.family_of(kmaddress.local),
    }
