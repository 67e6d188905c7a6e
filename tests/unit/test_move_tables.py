"""What was read for a move: the values that are made of it, by handle, in order, and compared."""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from pfkeyx import Policy, SecurityContext
from pfkeyx.entries import Messages
from pfkeyx.migration.tables import Pairs, Table, are_like, made, tabled
from pfkeyx.operation import Joined
from pfkeyx.xfrm import codec
from tests.unit.samples import LOCAL, POLICIES
from tests.unit.xfrm_bytes import told_policy

LABELLED = replace(POLICIES[0], security_context=SecurityContext(b"label"))
COUNTED = Policy.counted.keys()


def dump(*parts: Sequence[Policy]) -> Joined[Policy]:
    """Return what came of a dump in parts."""
    told = [[*map(told_policy, part)] for part in parts]
    messages = [Messages(b"".join(part), [*accumulate(map(len, part))]) for part in told]
    return Joined([codec.read_policies_at([[LOCAL.packed]], part) for part in messages])


def test_what_came_in_parts_is_there_in_order_and_by_handle() -> None:
    policies = [*POLICIES, LABELLED]
    for parts in ((policies,), (policies[:1], policies[1:]), (policies, ()), ((), policies[:2], (), policies[2:])):
        came = dump(*parts)
        assert [policy.as_written() for policy in made(came)] == policies
        assert [policy.handle for policy in made(came)] == [policy.id.handle for policy in policies]
        table = tabled([came])
        assert isinstance(table, Table)
        assert [*table] == [policy.id.handle for policy in policies]
        assert [policy.as_written() for policy in table.values()] == policies
        assert table[LABELLED.handle].security_context == LABELLED.security_context


def test_what_is_no_dump_is_there_by_handle_too() -> None:
    assert tabled([POLICIES]) == {policy.handle: policy for policy in POLICIES}
    assert tabled([]) == {}


def test_what_is_told_twice_is_alike_unless_more_than_counts_has_changed() -> None:
    changed = [replace(POLICIES[0], priority=7), *POLICIES[1:]]
    renumbered = [replace(policy, index=77) for policy in POLICIES]
    for one in (dump(POLICIES), dump(POLICIES[:1], POLICIES[1:]), POLICIES, tabled([dump(POLICIES)])):
        assert are_like(one, dump(POLICIES), COUNTED)
        assert are_like(one, dump(renumbered), COUNTED)
        assert not are_like(one, dump(renumbered), frozenset())
        assert not are_like(one, dump(changed), COUNTED)
        assert not are_like(one, dump(POLICIES[1:]), COUNTED)
        assert not are_like(one, dump([POLICIES[1], POLICIES[0], POLICIES[2]]), COUNTED)


def test_pairs_are_a_sequence() -> None:
    table = tabled([dump(POLICIES)])
    out, inward, forward = (policy.handle for policy in POLICIES)
    pairs = Pairs(table, table, [(out, inward), (inward, forward)])
    assert [(before.handle, after.handle) for before, after in pairs] == [(out, inward), (inward, forward)]
    assert pairs == tuple(pairs) == pairs
    assert pairs != ()
    assert Pairs(table, table, []) == ()
    assert pairs[1:] == [pairs[1]]
    assert repr(pairs) == repr(tuple(pairs))
    assert hash(pairs) == hash(tuple(pairs))


def test_pairs_keep_nothing_that_has_not_moved() -> None:
    table = tabled([dump([*POLICIES, LABELLED])])
    out = POLICIES[0].handle
    for values in (table, dict(table)):
        kept = pickle.dumps(Pairs(values, values, [(out, out)]))
        assert b"label" not in kept
        assert pickle.loads(kept)[0][0].handle == out
