"""How steps are done: their requests, in the order in which the kernel runs them. What to do is not decided here."""

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from pfkeyx.dialect import Dialect
from pfkeyx.errors import AlreadyExistsError, InvalidRequestError, NotFoundError, UnsupportedError
from pfkeyx.migration.methods import MARGIN, has_room, hides_keys, leading_pairs, leading_policy
from pfkeyx.migration.plan import Method, SAMove, Step
from pfkeyx.model import SA, Progress, Replay
from pfkeyx.model.deferred import Handle, changed
from pfkeyx.operation import Batch, Operation, Request

#: How many SAs and policies are moved by one datagram, about: it is run at once, and nobody else changes any meanwhile.
_TOGETHER = 64


#: SAs as they were read while nothing used them, by handle: what a refused REPLACE is undone from.
Held = dict[Handle, SA]


def chunks(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Yield steps in order, as many together as are done in the same way and fit."""
    chunk: list[Step] = []
    size = 0
    for step in steps:
        own = len(step.sas) + 2 * len(step.policies)
        if chunk and (_way(step) != _way(chunk[0]) or size + own > _TOGETHER):
            yield chunk
            chunk, size = [], 0
        chunk.append(step)
        size += own
    if chunk:
        yield chunk


def _way(step: Step) -> tuple[bool, bool]:
    return any(move.method in (Method.MIGRATE, Method.REPLACE) for move in step.sas), step.is_cautious


def perform(
    dialect: Dialect, steps: Sequence[Step], held: Held, *, hold: bool = False, is_undo: bool = False
) -> Operation[None]:
    """Do steps that are done in the same way.

    Outbound it is a bracket: the policies are blocked in place with their templates, so that nothing leaves in clear
    nor under a used sequence number while an SA is between two states, and allowed again at the end. The kernel runs a
    datagram to its end even when its sender is killed; killed between two, the policies stay blocked. With `hold` the
    policies of what is done in one datagram are not blocked. What `is_undo` moves back may have lost something on its
    way there.
    """
    blocks = partial(_blocks, dialect)
    moves = partial(_moves, dialect, held)
    allows = partial(_allows, dialect)
    is_read_first, is_cautious = _way(steps[0])
    thresholds: list[tuple[SA, Progress]] = []
    if is_read_first or is_cautious:
        # MIGRATE copies the sequence number and lets the old SA live a little longer, for a packet that was past its
        # policy when that was blocked; and REPLACE copies it to here. So it is read when nothing new flows, and put
        # ahead.
        yield from _together(dialect, steps, blocks)
        thresholds = yield from _read(dialect, steps, held, is_undo)
    if is_cautious:
        # The kernel goes on with a datagram after a refusal: packets that may go without their SA wait for the answer.
        yield from _together(dialect, steps, moves)
        yield from _together(dialect, steps, allows)
    elif is_read_first or hold:
        yield from _together(dialect, steps, moves, allows)
    else:
        yield from _together(dialect, steps, blocks, moves, allows)
    # When it is known that the new ones are there: the kernel goes on with a datagram after a refusal.
    yield from _together(dialect, steps, partial(_deletes, dialect))
    yield from _restore_thresholds(dialect, thresholds)


def restore(dialect: Dialect, sa: SA, outbound: bool) -> Request[None]:
    """Return the request that adds an SA as it was read, an outbound one with its sequence number ahead."""
    return dialect.restore_sa(_ahead(sa) if outbound else sa)


def _together(
    dialect: Dialect, steps: Sequence[Step], *parts: Callable[[Step], Iterator[Request[None]]]
) -> Operation[None]:
    """Ask for these parts of each step, one step after the other, in as few datagrams as may be."""
    requests = [request for step in steps for part in parts for request in part(step)]
    for aside, group in groupby(requests, lambda request: request.aside):
        if dialect.sends_together and not aside:
            yield Batch(tuple(group), one_datagram=True)
        else:
            for request in group:
                yield Batch((request,), one_datagram=True)


def _blocks(dialect: Dialect, step: Step) -> Iterator[Request[None]]:
    if step.is_blocked:
        for move in step.policies:
            yield dialect.update_policy(move.blocked)


def _opens(dialect: Dialect, step: Step) -> Iterator[Request[None]]:
    """Let inbound packets through whether or not their SA has moved, where the peer has another address."""
    if step.outbound or not step.sas or not dialect.sends_together or len(step.policies) > _TOGETHER:
        return
    if any(move.method is Method.ADDRUPDATE for move in step.sas):
        return  # that travels beside the datagrams: killed between two, it would leave them open
    # MIGRATE finds its policy by the templates, and changes them at once with the SA.
    through_policy = any(move.method is Method.MIGRATE for move in step.sas)
    leading = leading_policy(step.policies) if through_policy else None
    for move in step.policies:
        if move is not leading and (opened := move.opened) is not move.before:
            yield dialect.update_policy(opened)


def _moves(dialect: Dialect, held: Held, step: Step) -> Iterator[Request[None]]:
    yield from _opens(dialect, step)
    through_policy = [m for m in step.sas if m.method in (Method.MIGRATE, Method.SADB_X_MIGRATE)]
    if through_policy:
        leading, encap = leading_policy(step.policies), through_policy[0].after.encap
        assert leading is not None  # as the plan has seen
        if leading.like is not None:  # one of its kind has one template
            yield dialect.move_policy(leading.before, leading.after, encap)
        else:
            pairs = leading_pairs(step.policies, [(move.before, move.after) for move in through_policy])
            yield dialect.migrate_policy(leading.before.id, pairs, encap)
    for move in step.sas:
        if move.method is Method.ADDRUPDATE:
            yield dialect.update_address(move.before, move.after)
        elif move.method is Method.MIGRATE_STATE:
            yield dialect.migrate_sa(move.before, move.after)
        elif move.method is Method.REPLACE:
            yield dialect.delete_sa(move.before.id)
            yield restore(dialect, _carried(move, held), step.outbound)
        elif move.method is Method.MIGRATE and step.outbound:
            ahead = _ahead(held[move.before.handle]).replay
            assert ahead is not None  # XFRM tells it
            yield dialect.set_replay(move.after, ahead)


def _allows(dialect: Dialect, step: Step) -> Iterator[Request[None]]:
    for move in step.policies:
        yield dialect.update_policy(move.after)


def _deletes(dialect: Dialect, step: Step) -> Iterator[Request[None]]:
    for move in step.policies:
        if move.renamed:
            yield dialect.delete_policy(move.before.id)


def _read(dialect: Dialect, steps: Sequence[Step], held: Held, is_undo: bool) -> Operation[list[tuple[SA, Progress]]]:
    """Read the SAs whose state is carried, and when those that are replaced tell of their progress."""
    moves = [move for step in steps for move in step.sas if step.is_read(move)]
    replaced = [move for move in moves if move.method is Method.REPLACE]
    found: list[SA] = yield Batch(tuple(dialect.get_sa(move.before.id) for move in moves))
    for move, sa in zip(moves, found, strict=True):
        if sa.as_written() != move.before and not is_undo:
            raise InvalidRequestError(f"migrate {move.before}: somebody else has changed it meanwhile")
        if move.method is Method.REPLACE and hides_keys(sa):
            raise UnsupportedError("REPLACE", f"{move.before}: the kernel hides its keys")
        held[move.before.handle] = sa
    yield from _check_free(dialect, [move for move in replaced if move.after.handle != move.before.handle])
    progress: list[Progress] = yield Batch(tuple(dialect.get_progress(move.before.id) for move in replaced))
    return [(move.after, p) for move, p in zip(replaced, progress, strict=True)]


def _check_free(dialect: Dialect, moves: Sequence[SAMove]) -> Operation[None]:
    # A refused addition comes after its deletion: whoever is killed then has taken the keys along. So it is made sure
    # that nobody has come to the new place since the plan was made.
    for move in moves:
        try:
            yield Batch((dialect.get_sa(move.after.id),))
        except NotFoundError:
            continue
        raise AlreadyExistsError(errno.EEXIST, "migrate", move.before, f"{move.after.id} is taken meanwhile")


def _restore_thresholds(dialect: Dialect, wanted: Sequence[tuple[SA, Progress]]) -> Operation[None]:
    # They come with the namespace's defaults, and only GETAE tells them.
    if not wanted:
        return
    found: list[Progress] = yield Batch(tuple(dialect.get_progress(sa.id) for sa, _ in wanted))
    for (sa, before), now in zip(wanted, found, strict=True):
        threshold = before.replay_threshold if before.replay_threshold != now.replay_threshold else None
        timer_ms = before.timer_ms if before.timer_ms != now.timer_ms else None
        if threshold is not None or timer_ms is not None:
            yield from dialect.set_progress(sa, Progress(replay_threshold=threshold, timer_ms=timer_ms))


def _carried(move: SAMove, held: Held) -> SA:
    sa = held[move.before.handle]
    return changed(move.after, replay=sa.replay, usage=sa.usage)


def _ahead(sa: SA) -> SA:
    replay = sa.replay or Replay(0, 0, (0,))
    if not has_room(sa, replay.outbound):
        raise UnsupportedError(f"moving {sa}", "its sequence numbers are used up: rekey it")
    return changed(sa, replay=replace(replay, outbound=replay.outbound + MARGIN))
