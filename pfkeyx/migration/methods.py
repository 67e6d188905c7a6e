"""How a step is done: its requests, in the order in which the kernel shall run them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol, runtime_checkable

from pfkeyx.dialect import Dialect
from pfkeyx.errors import UnsupportedError
from pfkeyx.migration.plan import Method, Step, leading_pairs, leading_policy
from pfkeyx.model import SA, Action, Replay
from pfkeyx.operation import Batch, Operation, Request


@runtime_checkable
class MigratingDialect(Dialect, Protocol):
    """A dialect that can move SAs and set their sequence numbers; XFRM is one."""

    def set_replay(self, sa: SA, replay: Replay) -> Request[None]:
        """Return the request that sets an SA's sequence numbers and replay window."""


#: How far a sequence number is put ahead: packets that are past the policy when it blocks, segments included.
_MARGIN = 4096


def perform(dialect: MigratingDialect, step: Step) -> Operation[None]:
    """Do a step.

    Outbound it is a bracket: the policies are blocked in place with their templates, so that nothing leaves in
    clear nor under a used sequence number while the SA is between two states, and allowed again at the end.
    The kernel runs a datagram to its end even when its sender is killed.
    """
    if step.method is Method.MIGRATE and step.outbound and step.sas:
        yield from _migrate_ahead(dialect, step)
    else:
        yield Batch(requests(dialect, step), one_datagram=True)


def requests(dialect: MigratingDialect, step: Step) -> tuple[Request[None], ...]:
    """Return what is asked in a step, in order, but for the sequence numbers that MIGRATE puts ahead."""
    return (*_block(dialect, step), *_move(dialect, step), *_allow(dialect, step))


def _migrate_ahead(dialect: MigratingDialect, step: Step) -> Operation[None]:
    # MIGRATE copies the sequence number and lets the old SA live a little longer, for a packet that was past its
    # policy when that was blocked: the copy would use its number again. So the number is read when nothing new
    # flows, and put ahead. Killed between the two datagrams, the policies stay blocked: it fails closed.
    yield Batch(tuple(_block(dialect, step)), one_datagram=True)
    states = yield Batch(tuple(dialect.get_sa(move.before.id) for move in step.sas))
    ahead = tuple(dialect.set_replay(move.after, _ahead(state)) for move, state in zip(step.sas, states, strict=True))
    yield Batch((*_move(dialect, step), *ahead, *_allow(dialect, step)), one_datagram=True)


def _ahead(sa: SA) -> Replay:
    replay = sa.replay or Replay(0, 0, (0,))
    outbound = replay.outbound + _MARGIN
    if outbound >= 1 << (64 if sa.esn else 32):
        raise UnsupportedError(f"moving {sa} by MIGRATE", "its sequence numbers are used up: rekey it")
    return replace(replay, outbound=outbound)


def _block(dialect: MigratingDialect, step: Step) -> Iterator[Request[None]]:
    if step.outbound and step.sas:
        for move in step.policies:
            yield dialect.update_policy(replace(move.before, action=Action.BLOCK))


def _move(dialect: MigratingDialect, step: Step) -> Iterator[Request[None]]:
    if step.method is Method.MIGRATE_STATE:
        for move in step.sas:
            yield dialect.migrate_sa(move.before, move.after)
    elif step.sas:
        pairs = leading_pairs(step.policies)
        yield dialect.migrate_policy(leading_policy(step.policies).before.id, pairs, step.sas[0].after.encap)


def _allow(dialect: MigratingDialect, step: Step) -> Iterator[Request[None]]:
    for move in step.policies:
        yield dialect.update_policy(move.after)
