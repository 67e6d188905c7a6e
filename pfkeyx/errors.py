"""The errors of pfkeyx: one root, and each class says whose fault it is.

Nothing here talks to a kernel or knows a dialect.

    PfkeyxError
    ├── InvalidRequestError (ValueError)   you asked for something that cannot be; nothing was sent
    ├── UnsupportedError                   this kernel or this engine cannot; nothing was sent
    ├── KernelError (OSError)              the kernel refused
    │   ├── NotPermittedError              EPERM, EACCES
    │   ├── NotFoundError                  ESRCH, ENOENT
    │   ├── AlreadyExistsError             EEXIST
    │   └── AnswerLostError                its answer did not come: it may have done what was asked
    ├── MalformedReplyError                the kernel's bytes make no sense
    ├── EventsLostError                    events were dropped: dump again
    ├── MigrationError                     a move stopped; says what is where
    │   └── SupersededError                a newer one for the same SAs came, and goes on from there
    └── ClosedError                        the engine was closed
"""

import errno as _errno
import os
from collections.abc import Sequence
from typing import Any, Final


class PfkeyxError(Exception):
    """The root of every error that pfkeyx raises."""


class InvalidRequestError(PfkeyxError, ValueError):
    """The caller asked for something that cannot be; nothing was sent."""


class UnsupportedError(PfkeyxError):
    """This kernel, or this engine, cannot do what was asked; nothing was changed.

    `feature` names what is missing, `hint` says what to do instead.
    """

    def __init__(self, feature: str, hint: str = "") -> None:
        self.feature = feature
        self.hint = hint
        super().__init__(f"{feature}: {hint}" if hint else feature)


#: Stands for an error among its own replies.
_ITSELF: Final = object()


class KernelError(PfkeyxError, OSError):
    """The kernel refused a request.

    `errno` is the kernel's, `operation` what was asked ("add SA"), `subject` the object it was asked of
    (never with key bytes), `detail` the text of the kernel's extended acknowledgement and our own hint, `attribute`
    what of the request the kernel took offence at, by its name in `<linux/xfrm.h>`, where it says so, and `replies`,
    when the request was one of a batch, what became of each: a reply or a `KernelError`, in order.
    """

    def __init__(
        self, errno: int, operation: str, subject: object = "", detail: str = "", attribute: str | None = None
    ) -> None:
        self.operation = operation
        self.subject = subject
        self.detail = detail
        self.attribute = attribute
        self._replies: Sequence[Any] = ()
        super().__init__(errno, os.strerror(errno))

    @property
    def replies(self) -> Sequence[Any]:
        """What became of each request of the batch, in order."""
        return tuple(self if reply is _ITSELF else reply for reply in self._replies)

    @replies.setter
    def replies(self, replies: Sequence[Any]) -> None:
        # An error that referred to itself would stay, and keep what its traceback refers to: whole tables.
        self._replies = [_ITSELF if reply is self else reply for reply in replies]

    @staticmethod
    def of(
        errno: int, operation: str, subject: object = "", detail: str = "", attribute: str | None = None
    ) -> "KernelError":
        """Return the child of `KernelError` that fits `errno`; a refusal for lack of rights says what it takes."""
        child = _CHILDREN.get(errno, KernelError)
        if child is NotPermittedError:
            detail = detail or "needs CAP_NET_ADMIN in the namespace: run as root, or with sudo"
        return child(errno, operation, subject, detail, attribute)

    def __str__(self) -> str:
        subject = f" {self.subject}" if str(self.subject) else ""
        reason = ": ".join(filter(None, (self.attribute, self.detail)))
        return f"{self.operation}{subject}: {self.strerror}" + (f" ({reason})" if reason else "")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.errno, self.operation, str(self.subject), self.detail, self.attribute))


class NotPermittedError(KernelError):
    """The caller lacks CAP_NET_ADMIN in the user namespace that owns the network namespace."""


class NotFoundError(KernelError):
    """No such SA or policy."""


class AlreadyExistsError(KernelError):
    """Such an SA or policy is there already."""


class AnswerLostError(KernelError):
    """The kernel's answer did not come: it may have done what was asked, or not. Look before asking again."""


_CHILDREN: dict[int, type[KernelError]] = {
    _errno.EPERM: NotPermittedError,
    _errno.EACCES: NotPermittedError,
    _errno.ESRCH: NotFoundError,
    _errno.ENOENT: NotFoundError,
    _errno.EEXIST: AlreadyExistsError,
}


class MalformedReplyError(PfkeyxError):
    """What arrived from the kernel is truncated, oversized or contradicts itself."""


class EventsLostError(PfkeyxError):
    """The kernel dropped events because nobody read them in time; dump the SAD and SPD again."""


class MigrationError(PfkeyxError):
    """A move stopped before its end.

    `moved` and `not_moved` name the objects at the new and at the old addresses now; `rolled_back` is true
    when every step that had been done was undone, so that everything is as it was before. Both are empty when
    the kernel could not be read any more. The cause is its refusal (`__cause__`) or what was read back.
    """

    def __init__(self, reason: str, *, moved: Sequence[object], not_moved: Sequence[object], rolled_back: bool) -> None:
        self.moved = tuple(moved)
        self.not_moved = tuple(not_moved)
        self.rolled_back = rolled_back
        if rolled_back:
            reason += "; everything is back at the old addresses"
        elif moved or not_moved:
            reason += f"; at the new addresses: {_listed(self.moved)}; at the old: {_listed(self.not_moved)}"
        super().__init__(reason)


class SupersededError(MigrationError):
    """A move was stopped between two steps: a newer one for the same SAs came, and finds them where they are."""

    def __init__(self, reason: str, *, moved: Sequence[object], not_moved: Sequence[object]) -> None:
        super().__init__(f"{reason}: a newer update superseded it", moved=moved, not_moved=not_moved, rolled_back=False)


class ClosedError(PfkeyxError):
    """An engine, a stream of events or a socket was used after it was closed."""

    def __init__(self, reason: str = "the engine is closed: open another with Engine.open()") -> None:
        super().__init__(reason)


#: So many objects an error names in its text; all are in its fields.
_NAMED = 8


def _listed(objects: Sequence[object]) -> str:
    more = f" and {len(objects) - _NAMED} more" if len(objects) > _NAMED else ""
    return (", ".join(str(item) for item in objects[:_NAMED]) or "nothing") + more
