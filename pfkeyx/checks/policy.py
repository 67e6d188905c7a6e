"""Policies, checked, and what is set beside them in the SPD."""

from collections.abc import Sequence
from dataclasses import replace

from pfkeyx.checks.parts import (
    About,
    check_bits,
    check_end,
    check_lifetime,
    check_mark,
    check_offload,
    check_pair,
    check_security_context,
    check_selector,
)
from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import (
    ADDRESSED_MODES,
    Action,
    DefaultPolicy,
    Direction,
    HashThreshold,
    Policy,
    PolicyId,
    PolicyType,
    Share,
    Template,
)

#: Numbers of these that have no name are values of the enumerations too.
_TYPES, _DIRECTIONS, _SHARES, _ACTIONS = tuple(PolicyType), tuple(Direction), tuple(Share), tuple(Action)


def check_policy_id(operation: str, policy_id: PolicyId | Policy) -> None:
    """Raise `InvalidRequestError` for what no policy can be looked up by; a policy is by the same fields."""
    check_selector(operation, policy_id, policy_id.selector)
    check_bits(operation, policy_id, 32, if_id=policy_id.if_id)
    check_mark(operation, policy_id, policy_id.mark)
    check_security_context(operation, policy_id, policy_id.security_context)
    if policy_id.type not in _TYPES:
        raise InvalidRequestError(f"{operation} {policy_id}: a policy's type is main or sub, not {policy_id.type}")


def check_policy_index(operation: str, index: int) -> Direction:
    """Return the direction that the low three bits of a policy's index say.

    Raises `InvalidRequestError` for what is no index, and for the index of a single socket's policy, which only a
    dump shows.
    """
    direction = Direction(index & 7)
    if not 0 < index <= 0xFFFFFFFF or direction not in _DIRECTIONS:
        raise InvalidRequestError(
            f"{operation}: {index} is not the index of an in, out or forward policy; take a `Policy`'s index or an "
            "`Acquire`'s policy_id"
        )
    return direction


def check_policy(operation: str, policy: Policy) -> None:
    """Raise `InvalidRequestError` for a policy that no kernel could take as it is meant."""
    check_policy_id(operation, policy)
    if policy.index and check_policy_index(operation, policy.index) != policy.direction:
        raise InvalidRequestError(
            f"{operation} {policy}: {policy.index} is the index of another direction; give policy.as_written()"
        )
    if len(policy.templates) > 6:  # XFRM_MAX_DEPTH
        raise InvalidRequestError(f"{operation} {policy}: {len(policy.templates)} templates; the kernel takes 6")
    check_lifetime(operation, policy, policy.lifetime)
    check_bits(operation, policy, 32, priority=policy.priority)
    check_bits(operation, policy, 8, flags=int(policy.flags))
    if policy.share not in _SHARES:
        raise InvalidRequestError(f"{operation} {policy}: share {policy.share} is none of XFRM_SHARE_*")
    _check_action(operation, policy, policy.action)
    check_offload(operation, policy, policy.offload)
    for template in policy.templates:
        _check_template(About(operation, policy), template)


def check_moves(operation: str, policy_id: PolicyId, moves: Sequence[tuple[Template, Template]]) -> None:
    """Raise `InvalidRequestError` for a move of templates that the kernel would not take as it is meant."""
    check_policy_id(operation, policy_id)
    if not 0 < len(moves) <= 6:  # XFRM_MAX_DEPTH
        raise InvalidRequestError(f"{operation} {policy_id}: {len(moves)} moves; the kernel takes 1 to 6")
    for old, new in moves:
        if replace(old, source=new.source, destination=new.destination) != new:
            raise InvalidRequestError(f"{operation} {policy_id}: a move changes a template's addresses alone")
        for template in (old, new):
            if template.source is None or template.destination is None:
                raise InvalidRequestError(f"{operation} {policy_id}: a move has old and new addresses, in every mode")
            check_pair(About(operation, policy_id), template.source, template.destination)
            for end in (template.source, template.destination) if template is new else ():
                check_end(About(operation, policy_id), end)


def check_default_policy(operation: str, policy: DefaultPolicy) -> None:
    """Raise `InvalidRequestError` for an action that is neither to allow nor to block."""
    for action in (policy.inbound, policy.forward, policy.outbound):
        _check_action(operation, policy, action)


def _check_action(operation: str, subject: object, action: Action) -> None:
    if action not in _ACTIONS:
        raise InvalidRequestError(f"{operation} {subject}: a policy allows or blocks; {action} is neither")


def check_thresholds(operation: str, ipv4: HashThreshold | None, ipv6: HashThreshold | None) -> None:
    """Raise `InvalidRequestError` for thresholds beyond the length of an address, and for none at all."""
    if ipv4 is None and ipv6 is None:
        raise InvalidRequestError(f"{operation}: there is nothing to set; give the thresholds of IPv4 or of IPv6")
    for version, threshold, longest in (("IPv4", ipv4, 32), ("IPv6", ipv6, 128)):
        for bits in (threshold.local, threshold.remote) if threshold is not None else ():
            if not 0 <= bits <= longest:
                raise InvalidRequestError(f"{operation}: a prefix of {version} has 0 to {longest} bits, not {bits}")


def _check_template(operation: About, template: Template) -> None:
    if (template.source is None) != (template.destination is None):
        raise InvalidRequestError(f"{operation}: a template has both addresses or none")
    if template.source is not None and template.destination is not None:
        check_pair(operation, template.source, template.destination)
    check_bits(*operation, 32, reqid=template.reqid, spi=template.spi)
    check_bits(operation.operation, operation.subject, 8, **{"a template's share": template.share})
    for mask in {*template.algorithm_masks}:
        check_bits(operation.operation, operation.subject, 32, **{"algorithm mask": mask})
    if template.source is None and template.mode in ADDRESSED_MODES:
        raise InvalidRequestError(f"{operation}: a {template.mode} template needs source and destination")
