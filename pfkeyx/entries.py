"""Messages back to back: what comes of a dump, values that are made of it when they are looked at, and what is sent.

How an entry is read is a dialect's to know.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from pfkeyx.model.deferred import Handle
from pfkeyx.native import ffi, lib

T = TypeVar("T")


class Messages(Sequence[bytes]):
    """Whole messages that came together, back to back, which the C core has looked through."""

    def __init__(self, data: Any, ends: Sequence[int]) -> None:
        #: The bytes of all, back to back.
        self.data = data
        #: Where each ends.
        self.ends = ends

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return self.data[self.ends[number - 1] if number else 0 : self.ends[number]]

    def __iter__(self) -> Iterator[bytes]:
        data, start = self.data, 0
        for end in self.ends:
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


class Outgoing(Messages):
    """Messages that are sent, which are wiped when nothing refers to them any more."""

    def __init__(self, data: bytearray, ends: Sequence[int]) -> None:
        super().__init__(memoryview(data), ends)

    def __del__(self) -> None:
        self.data[:] = bytes(len(self.data))

    def cut(self, octets: int, most: int) -> Iterator[Messages]:
        """Cut them into parts of so many octets and messages at most, but for a message that is larger alone."""
        first = start = 0
        while first < len(self):
            after = max(first + 1, min(first + most, bisect_right(self.ends, start + octets)))
            end = self.ends[after - 1]
            yield Messages(self.data[start:end], [each - start for each in self.ends[first:after]])
            first, start = after, end


class Entries(Sequence[T], Generic[T]):
    """Entries that came together, as values, each of which is made when it is looked at.

    `find_handles` tells what each is found by, with nothing for one that has to be read for that.
    """

    def __init__(
        self,
        messages: Messages,
        read: Callable[[bytes], T],
        find_handles: Callable[[Messages], Sequence[Handle]] | None = None,
    ) -> None:
        self.messages = messages
        self.read = read
        self.find_handles = find_handles

    def __len__(self) -> int:
        return len(self.messages)

    def __getitem__(self, index: Any) -> Any:
        found = self.messages[index]
        return self.read(found) if isinstance(found, bytes) else [self.read(message) for message in found]

    def __iter__(self) -> Iterator[T]:
        return map(self.read, self.messages)
