"""A policy's life, over both kernel interfaces and both families, and who is told of it."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest

from pfkeyx import (
    Action,
    AddressPair,
    AlreadyExistsError,
    Change,
    Direction,
    Engine,
    EventStream,
    KernelError,
    Lifetime,
    Limit,
    Migrated,
    Mode,
    NotFoundError,
    Policy,
    PolicyChange,
    PolicyFlush,
    Port,
    Protocol,
    SecurityContext,
    Template,
)
from pfkeyx.opening import EngineName
from tests.kernel.values import ADDRESSES, make_policies, make_sa

LABEL = SecurityContext(b"system_u:object_r:ipsec_spd_t:s0\0")


@pytest.fixture
def bystander(engine_name: EngineName, own_network_namespace: None) -> Iterator[EventStream]:  # noqa: ARG001
    """Listen, as another program, to what is done to policies; PF_KEY tells that to whoever has not registered too."""
    with Engine.open(engine_name) as another, another.watch(PolicyChange, PolicyFlush, Migrated) as events:
        yield events


def test_a_policy_is_added_with_its_templates_and_limits_and_told(
    engine: Engine, bystander: EventStream, family: int
) -> None:
    policy = _nested(family)
    engine.add_policy(policy)
    added = engine.get_policy(policy.id)
    assert added.as_written() == policy
    assert added.index & 7 == Direction.OUT
    assert _told(bystander) == [(Change.ADDED, replace(policy, index=added.index))]
    with pytest.raises(AlreadyExistsError):
        engine.add_policy(policy)
    assert bystander.next(timeout_s=0) is None


def test_an_update_of_a_policy_adds_it_or_replaces_it_under_its_index(
    engine: Engine, bystander: EventStream, family: int
) -> None:
    first = replace(make_policies(family)[0], priority=9)
    engine.update_policy(first)
    added = engine.get_policy(first.id)
    # What was read, changed and given back is the same policy still.
    limited = Lifetime(hard=Limit(seconds=3600))
    second = replace(added, priority=5, templates=(Template(mode=Mode.TRANSPORT, reqid=8),), lifetime=limited)
    engine.update_policy(second)
    assert [replace(it, usage=None) for it in engine.dump_policies()] == [replace(second, usage=None)]
    assert _told(bystander) == [
        (Change.UPDATED, replace(first, index=added.index)),
        (Change.UPDATED, replace(second, usage=None)),
    ]


def test_policies_that_block_and_that_let_pass_are_told_apart(engine: Engine, family: int) -> None:
    for action in Action:
        policy = replace(make_policies(family)[0], templates=(), action=action)
        engine.update_policy(policy)
        assert engine.get_policy(policy.id).as_written() == policy


@pytest.mark.parametrize("by_index", [False, True], ids=["by-its-selector", "by-its-index"])
def test_a_policy_is_read_and_deleted(engine: Engine, bystander: EventStream, family: int, *, by_index: bool) -> None:
    policies = make_policies(family)
    engine.add_policies(policies)
    before = {policy.id: policy for policy in engine.dump_policies()}
    _told(bystander)
    for policy in policies:
        entry = before[policy.id]
        found = engine.get_policy(entry.index if by_index else policy.id)
        assert found == entry
        engine.delete_policy(entry.index if by_index else policy.id)
        assert _told(bystander) == [(Change.DELETED, replace(entry, usage=None))]
        for gone in (entry.index, policy.id):
            with pytest.raises(NotFoundError):
                engine.get_policy(gone)
            with pytest.raises(NotFoundError):
                engine.delete_policy(gone)
    assert bystander.next(timeout_s=0) is None


def test_policies_are_dumped_and_flushed(engine: Engine, bystander: EventStream, family: int) -> None:
    assert engine.dump_policies() == []
    out = make_policies(family)[0]
    policies = [
        replace(out, selector=replace(out.selector, protocol=17, destination_port=Port(port))) for port in (1, 2, 3)
    ]
    engine.add_policies(policies)
    assert {policy.as_written() for policy in engine.dump_policies()} == set(policies)
    assert {policy for _, policy in _told(bystander)} == {replace(it, usage=None) for it in engine.dump_policies()}
    engine.flush_policies()
    assert bystander.next(timeout_s=0) == PolicyFlush()
    assert engine.dump_policies() == []
    engine.flush_policies()


def test_a_label_is_taken_and_dropped_where_no_security_module_uses_it(engine: Engine, family: int) -> None:
    policy = replace(make_policies(family)[0], security_context=LABEL)
    unlabelled = replace(policy, security_context=None)
    engine.add_policy(policy)
    for policy_id in (policy.id, unlabelled.id):
        assert engine.get_policy(policy_id).as_written() == unlabelled
    engine.delete_policy(policy.id)
    assert engine.dump_policies() == []


def test_a_move_of_a_policy_takes_its_sa_along_and_is_told(engine: Engine, bystander: EventStream, family: int) -> None:
    at = ADDRESSES[family]
    out, sa = make_policies(family)[0], make_sa(family)
    engine.add_policy(out)
    engine.add_sa(sa)
    _told(bystander)
    (old,) = out.templates
    new = replace(old, source=at.roaming_later)
    kmaddress = AddressPair(at.roaming_later, at.gateway)
    engine.migrate_policy(out.id, [(old, new)], kmaddress=kmaddress)
    assert bystander.next(timeout_s=0) == Migrated(out.id, ((old, new),), kmaddress)
    assert engine.get_policy(out.id).as_written() == replace(out, templates=(new,))
    assert engine.get_sa(sa.id).as_written() == replace(sa, source=at.roaming_later)
    engine.migrate_policy(out.id, [(new, old)])
    assert bystander.next(timeout_s=0) == Migrated(out.id, ((new, old),))


def test_a_move_that_cannot_be_made_is_refused(engine: Engine, family: int) -> None:
    at = ADDRESSES[family]
    out = make_policies(family)[0]
    (old,) = out.templates
    new = replace(old, source=at.roaming_later)

    def refused(*moves: tuple[Template, Template]) -> int | None:
        with pytest.raises(KernelError) as refusal:
            engine.migrate_policy(out.id, moves)
        return refusal.value.errno

    assert refused((old, new)) == errno.ENOENT
    engine.add_policy(out)
    assert refused((new, old)) == errno.ENODATA
    assert refused((old, new), (old, new)) == errno.EINVAL
    assert engine.get_policy(out.id).as_written() == out


def _nested(family: int) -> Policy:
    """Return a policy of three templates, the last of which is a tunnel between addresses of the other family."""
    out, at = make_policies(family)[0], ADDRESSES[10 - family]
    compressing = Template(Protocol.IPCOMP, Mode.TRANSPORT, optional=True)
    tunnel = Template(source=at.roaming, destination=at.gateway, reqid=8)
    selector = replace(out.selector, protocol=17, destination_port=Port(500))
    limits = Lifetime(Limit(seconds=3000, idle_seconds=300), Limit(seconds=3600, idle_seconds=600))
    return replace(
        out, selector=selector, templates=(compressing, *out.templates, tunnel), priority=1000, lifetime=limits
    )


def _told(events: EventStream) -> list[tuple[Change, Policy]]:
    """Return the changes that wait: the kernel tells of a change before it answers to it."""
    changes = []
    while (event := events.next(timeout_s=0)) is not None:
        change = cast(PolicyChange, event)
        changes.append((change.change, replace(change.policy, usage=None)))
    return changes
