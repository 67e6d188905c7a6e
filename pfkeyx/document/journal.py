"""Changes to the SAD and SPD that can all be undone: each is a request, and the request that takes it back."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pfkeyx.dialect import Dialect, require
from pfkeyx.errors import (
    AnswerLostError,
    InvalidRequestError,
    KernelError,
    NotFoundError,
    PfkeyxError,
    UnsupportedError,
)
from pfkeyx.migration.methods import MARGIN, hides_keys
from pfkeyx.model import SA, DefaultPolicy, Direction, Policy
from pfkeyx.operation import Batch, Operation, Request


@dataclass(frozen=True, slots=True)
class Change:
    """One change: how it is asked for, and how it is undone; None cannot be.

    An undoing that `begins_anew` puts an SA back that had sent something, and not its sequence numbers.
    """

    request: Request[Any]
    undoing: Request[None] | None
    begins_anew: bool = False


class Journal:
    """What was changed over one interface, so that it can be undone, the newest first."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._changes: list[Change] = []

    def addition(self, sa: SA) -> Change:
        """Return the change that adds an SA, with the sequence numbers that it comes with."""
        return Change(write_sa(self._dialect, sa), self._dialect.delete_sa(sa.id))

    def deletion(self, sa: SA) -> Change:
        """Return the change that deletes an SA which was read; it would be put back ahead of its sequence number."""
        undoing = None if hides_keys(sa) else _if_possible(partial(write_sa, self._dialect, ahead_of_now(sa)))
        was_used = sa.usage is not None and sa.usage.packets > 0
        return Change(self._dialect.delete_sa(sa.id), undoing, begins_anew=was_used and sa.replay is None)

    def update(self, old: SA, new: SA) -> Change:
        """Return the change of what the kernel changes of an SA in place."""
        undoing = _if_possible(partial(self._dialect.update_sa, old.as_written()))
        return Change(self._dialect.update_sa(new), undoing)

    def policy_addition(self, policy: Policy) -> Change:
        """Return the change that adds a policy."""
        return Change(self._dialect.add_policy(policy), self._dialect.delete_policy(policy.id))

    def policy_update(self, old: Policy, new: Policy) -> Change:
        """Return the change that replaces a policy, which was read, in place."""
        undoing = _if_possible(partial(self._dialect.update_policy, old.as_written()))
        return Change(self._dialect.update_policy(new), undoing)

    def policy_deletion(self, policy: Policy) -> Change:
        """Return the change that deletes a policy which was read."""
        undoing = _if_possible(partial(self._dialect.add_policy, policy.as_written()))
        return Change(self._dialect.delete_policy(policy.id), undoing)

    def default_policy(self, old: DefaultPolicy, new: DefaultPolicy) -> Change:
        """Return the change of what happens to packets that no policy is for."""
        return Change(self._dialect.set_default_policy(new), self._dialect.set_default_policy(old))

    def do(self, changes: Iterable[Change], *, one_datagram: bool = False) -> Operation[None]:
        """Make changes, and remember those that were made; raises the first refusal."""
        changes = tuple(changes)
        requests = tuple(change.request for change in changes)
        yield from require(self._dialect, requests)
        try:
            yield Batch(requests, one_datagram=one_datagram and self._dialect.sends_together)
        except KernelError as refusal:
            for change, reply in zip(changes, refusal.replies, strict=False):
                if isinstance(reply, AnswerLostError):
                    refusal.add_note(f"{reply.operation} {reply.subject} may have been done: look")
                elif not isinstance(reply, KernelError):
                    self._changes.append(change)
            raise
        self._changes += changes

    def remember(self, change: Change) -> None:
        """Remember a change that was made beside this journal."""
        self._changes.append(change)

    def undo(self, cause: PfkeyxError) -> Operation[None]:
        """Undo everything, and add to the error that made it necessary what is not as it was."""
        notes = []
        for change in reversed(self._changes):
            if change.undoing is None:
                notes.append(f"{change.request.operation} {change.request.subject} cannot be undone")
                continue
            try:
                yield Batch((change.undoing,))
            except NotFoundError:
                # Somebody else has deleted what would be deleted.
                continue
            except PfkeyxError as error:
                notes.append(f"could not be undone: {error}")
        if any(change.begins_anew for change in self._changes):
            notes.append("PF_KEY cannot set sequence numbers: SAs that were put back begin anew, so rekey them")
        for note in notes or ["everything is as it was before" if self._changes else "nothing was changed"]:
            cause.add_note(note)
        self._changes.clear()


def _if_possible(make: Callable[[], Request[None]]) -> Request[None] | None:
    """Return a request about what others have written, None where it is beyond what we or the interface can write."""
    try:
        return make()
    except (InvalidRequestError, UnsupportedError):
        return None


def write_sa(dialect: Dialect, sa: SA) -> Request[None]:
    """Return the request that adds an SA, and has it go on where it was when its sequence numbers are given."""
    return dialect.restore_sa(sa) if sa.replay is not None else dialect.add_sa(sa)


def ahead(sa: SA, margin: int) -> SA:
    """Return an SA with its outbound sequence number so far ahead, if it comes with one.

    Raises `UnsupportedError` where there are no such numbers left.
    """
    if sa.replay is None:
        return sa
    if margin > numbers_left(sa):
        raise UnsupportedError("sequence numbers", f"{sa} has none left that are {margin} ahead; rekey it")
    return replace(sa, replay=replace(sa.replay, outbound=sa.replay.outbound + margin))


def ahead_of_now(sa: SA) -> SA:
    """Return an SA that was just read, ahead of what it can have sent since, if it is not known to be inbound."""
    has_only_received = sa.replay is not None and sa.replay.inbound > 0 == sa.replay.outbound
    is_inbound = sa.direction is Direction.IN or has_only_received
    return sa if is_inbound else ahead(sa, min(MARGIN, numbers_left(sa)))


def numbers_left(sa: SA) -> int:
    """Return how many sequence numbers an SA has not used yet."""
    return (1 << (64 if sa.esn else 32)) - 1 - (sa.replay.outbound if sa.replay is not None else 0)


def attempt(journal: Journal, steps: Sequence[Operation[None]]) -> Operation[None]:
    """Do steps in order, all or none: when one fails, everything in the journal is undone."""
    try:
        for step in steps:
            yield from step
    except PfkeyxError as error:
        yield from journal.undo(error)
        raise
