"""From a step to the requests that do it, in the order in which the kernel shall run them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol, runtime_checkable

from pfkeyx.migration.plan import Method, SAMove, Step
from pfkeyx.model import SA, Action, Direction, IPAddress, PolicyId, Template, UdpEncap
from pfkeyx.operation import Batch, Dialect, Request


@runtime_checkable
class MigratingDialect(Dialect, Protocol):
    """A dialect that can move SAs; XFRM is one."""

    def migrate_sa(self, sa: SA, source: IPAddress, destination: IPAddress, encap: UdpEncap | None) -> Request[None]:
        """Return the request that moves one SA, found by its SPI."""

    def migrate_policy(
        self, policy_id: PolicyId, moves: list[tuple[Template, Template]], encap: UdpEncap | None
    ) -> Request[None]:
        """Return the request that moves a policy's templates, and the newest SA of each."""


def step_batch(dialect: MigratingDialect, step: Step) -> Batch:
    """Return the one datagram that does a step.

    Outbound it is a bracket: the policies are blocked in place with their templates, so that nothing leaves in
    clear nor under a used sequence number while the SA is between two states, and allowed again at the end.
    The kernel runs a datagram to its end even when its sender is killed.
    """
    return Batch(tuple(_requests(dialect, step)), one_datagram=True)


def _requests(dialect: MigratingDialect, step: Step) -> Iterator[Request[None]]:
    if step.outbound and step.sas:
        for move in step.policies:
            yield dialect.update_policy(replace(move.before, action=Action.BLOCK))
    if step.method is Method.MIGRATE_STATE:
        for sa_move in step.sas:
            after = sa_move.after
            yield dialect.migrate_sa(sa_move.before, after.source, after.destination, after.encap)
    elif step.sas:
        yield _migrate_through_policy(dialect, step)
    for move in step.policies:
        yield dialect.update_policy(move.after)


def _migrate_through_policy(dialect: MigratingDialect, step: Step) -> Request[None]:
    # Inbound the kernel is asked with the `in` policy: `fwd` is only looked up for what goes on.
    policy = min(step.policies, key=lambda move: move.before.direction is Direction.FORWARD)
    pairs = [(old, new) for old, new in zip(policy.before.templates, policy.after.templates, strict=True) if old != new]
    return dialect.migrate_policy(policy.before.id, pairs, _encap(step.sas))


def _encap(sas: tuple[SAMove, ...]) -> UdpEncap | None:
    return sas[0].after.encap
