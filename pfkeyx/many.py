"""Adding, updating and deleting many SAs or policies in one pipelined batch; additions are all or none."""

from collections.abc import Callable, Sequence
from typing import Any

from pfkeyx.dialect import Dialect, require
from pfkeyx.errors import AnswerLostError, KernelError, PfkeyxError
from pfkeyx.model import SA, Policy
from pfkeyx.operation import Batch, Operation, Request


def add_sas(dialect: Dialect, sas: tuple[SA, ...]) -> Operation[None]:
    """Add SAs, all or none."""
    return _add_all(dialect, dialect.add_sas(sas), lambda added: dialect.delete_sas([sa.id for sa in added]))


def add_policies(dialect: Dialect, policies: tuple[Policy, ...]) -> Operation[None]:
    """Add policies, all or none."""
    return _add_all(
        dialect, dialect.add_policies(policies), lambda added: dialect.delete_policies([it.id for it in added])
    )


def ask_all(dialect: Dialect, requests: Sequence[Request[None]]) -> Operation[None]:
    """Send many requests, each whether or not another is refused; what was done stays done."""
    yield from require(dialect, requests)
    yield Batch(requests)


def _add_all(
    dialect: Dialect, additions: Sequence[Request[None]], delete: Callable[[Sequence[Any]], Sequence[Request[None]]]
) -> Operation[None]:
    yield from require(dialect, additions)
    try:
        yield Batch(additions)
    except KernelError as refusal:
        # What may not have been added may have been there before, so it is not deleted.
        for lost in (reply for reply in refusal.replies if isinstance(reply, AnswerLostError)):
            refusal.add_note(f"{lost.subject} may have been added: look, and delete it if it was not there before")
        outcomes = zip(additions, refusal.replies, strict=True)
        added = [addition.subject for addition, reply in outcomes if not isinstance(reply, KernelError)]
        try:
            yield Batch(delete(added))
        except PfkeyxError as error:
            refusal.add_note(f"not all that had been added could be deleted again: {error}")
        raise
