"""Many requests that differ in their subject, their message and what they need alone."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeVar

from pfkeyx.molds import Needs, Written
from pfkeyx.operation import Joined, Request

V = TypeVar("V")

#: So many messages are written together: their columns stay in a processor's cache.
_TOGETHER = 1024


class Alike(Sequence[Request[None]]):
    """Requests whose messages are back to back; each becomes a `Request` when it is looked at, as one refused is."""

    def __init__(
        self,
        subjects: Sequence[V],
        write: Callable[[Sequence[V]], Written],
        make: Callable[[Any, bytearray, Needs], Request[None]],
    ) -> None:
        self._subjects = subjects
        self._make = make
        #: The messages, part by part.
        self.parts = [write(subjects[start : start + _TOGETHER]) for start in range(0, len(subjects), _TOGETHER)]
        self._messages = Joined(self.parts)
        #: What each needs.
        self.needs: Sequence[Needs] = list(chain.from_iterable(part.needs for part in self.parts))

    def __len__(self) -> int:
        return len(self._subjects)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self._make(self._subjects[index], bytearray(self._messages[index]), self.needs[index])
