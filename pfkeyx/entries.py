"""What comes of a dump: the bytes of its entries, and values that are made of them when they are looked at.

How an entry is read is a dialect's to know.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from pfkeyx.model.deferred import Handle, set_handle
from pfkeyx.native import ffi, lib

T = TypeVar("T")


class Messages(Sequence[bytes]):
    """Whole messages that came together, back to back, which the C core has looked through."""

    def __init__(self, data: Any, ends: Sequence[int]) -> None:
        #: The bytes of all, back to back.
        self.data = data
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return self.data[self._ends[number - 1] if number else 0 : self._ends[number]]

    def __iter__(self) -> Iterator[bytes]:
        data, start = self.data, 0
        for end in self._ends:
            yield data[start:end]
            start = end


class Received(Messages):
    """Messages in memory of the C core, which is wiped when nothing refers to them any more."""

    def __init__(self, receive: Callable[[Any], int]) -> None:
        native = ffi.gc(ffi.new("struct pfkeyx_entries *"), lib.pfkeyx_entries_release)
        #: What the C core said.
        self.status = receive(native)
        self._native = native
        ends = memoryview(ffi.buffer(native.ends, 4 * native.count)).cast("I") if native.count else ()
        super().__init__(ffi.buffer(native.data, native.size), ends)

    @property
    def last(self) -> bytes:
        """The message that ended the dump, empty where none did."""
        native = self._native
        return bytes(ffi.buffer(native.data + native.size, native.last)) if native.last else b""


class Entries(Sequence[T], Generic[T]):
    """Entries that came together, as values, each of which is made when it is looked at."""

    def __init__(
        self,
        messages: Messages,
        read: Callable[[bytes], T],
        handles: Callable[[Messages], Sequence[Handle]] | None = None,
    ) -> None:
        self._messages = messages
        self._read = read
        self._handles = handles

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, index: Any) -> Any:
        found = self._messages[index]
        return self._read(found) if isinstance(found, bytes) else [self._read(message) for message in found]

    def __iter__(self) -> Iterator[T]:
        return map(self._read, self._messages)

    def with_handles(self) -> Iterable[T]:
        """Return the values, whose handles have been found together, where that can be."""
        return self if self._handles is None else give_handles(self, self._handles(self._messages))


def give_handles(values: Iterable[T], handles: Iterable[Handle]) -> Sequence[T]:
    """Return values that have these handles; an empty one is worked out when it is looked at."""
    given = [*values]
    for value, handle in zip(given, handles, strict=True):
        if handle:
            set_handle(value, handle)  # type: ignore[arg-type]  # what is read of entries is deferred
    return given
