"""Where in a file something stands that is wrong: errors say it first."""

from collections.abc import Iterator
from contextlib import contextmanager

from pfkeyx.errors import InvalidRequestError, KernelError, PfkeyxError, UnsupportedError


@contextmanager
def at(place: str) -> Iterator[None]:
    """Have every error of pfkeyx in here begin with its place, such as "vpn.conf:7"."""
    try:
        yield
    except PfkeyxError as error:
        placed = _placed(error, place)
        for note in getattr(error, "__notes__", ()):
            placed.add_note(note)
        raise placed from error


def _placed(error: PfkeyxError, place: str) -> PfkeyxError:
    if isinstance(error, KernelError):
        placed = type(error)(
            error.errno or 0, f"{place}: {error.operation}", error.subject, error.detail, error.attribute
        )
        placed.replies = error.replies
        return placed
    if isinstance(error, UnsupportedError):
        return UnsupportedError(f"{place}: {error.feature}", error.hint)
    if isinstance(error, InvalidRequestError):
        return InvalidRequestError(f"{place}: {error}")
    return error
