"""What was read for a move, as bytes, and values that are made of them when they are looked at.

A large gateway has a million of them, and is read three times: values would be most of the memory and of the garbage
collector's work.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from itertools import chain
from operator import eq
from typing import Any, Generic, TypeVar

from pfkeyx.entries import Entries
from pfkeyx.model import SA, Policy
from pfkeyx.model.deferred import Handle, same_but, set_handle
from pfkeyx.operation import Joined

T = TypeVar("T", SA, Policy)

#: What came of a dump, or is kept of several by handle.
Dumped = Mapping[Handle, T] | Sequence[T]

#: Octets of a message's header, over both interfaces: numbers of its own, and what it is about, which is one thing.
_HEADER = 16


class Table(Mapping[Handle, T]):
    """SAs or policies by handle, each made when it is looked at, and not kept."""

    def __init__(self, parts: Iterable[Entries[T]]) -> None:
        self._told: dict[Handle, bytes] = {}
        self.read: Callable[[bytes], T]
        for part in parts:
            self.read = part.read
            assert part.find_handles is not None
            for handle, message in zip(part.find_handles(part.messages), part.messages, strict=True):
                self._told[handle or part.read(message).handle] = message

    def __len__(self) -> int:
        return len(self._told)

    def __iter__(self) -> Iterator[Handle]:
        return iter(self._told)

    def __contains__(self, handle: object) -> bool:
        return handle in self._told

    def __getitem__(self, handle: Handle) -> T:
        value: T = self.read(self._told[handle])
        set_handle(value, handle)
        return value

    def only(self, handles: Iterable[Handle]) -> "Table[T]":
        """Return a table of these alone."""
        table: Table[T] = Table(())
        table.read, table._told = self.read, {handle: self._told[handle] for handle in handles}
        return table

    @property
    def messages(self) -> Collection[bytes]:
        """What all are read of."""
        return self._told.values()


def tabled(dumps: Iterable[Sequence[T]]) -> Mapping[Handle, T]:
    """Return what came of dumps by handle."""
    parts = [part for dump in dumps for part in _parts(dump)]
    entries = [part for part in parts if isinstance(part, Entries) and part.find_handles is not None]
    if entries and len(entries) == len(parts):
        return Table(entries)
    return {value.handle: value for value in chain.from_iterable(parts)}


def made(values: Sequence[T]) -> Sequence[T]:
    """Return what came of a dump as values that are kept, with their handles where these are found together."""
    kept: list[T] = []
    for part in _parts(values):
        its = list[T](part)
        if isinstance(part, Entries) and part.find_handles is not None:
            for value, handle in zip(its, part.find_handles(part.messages), strict=True):
                if handle:
                    set_handle(value, handle)
        kept += its
    return kept


def are_like(values: Dumped[T], others: Dumped[T], but: Set[str]) -> bool:
    """Return whether there is the same in the same order, but for these fields."""
    if len(values) != len(others):
        return False
    told, others_told = _told(values), _told(others)
    if told is None or others_told is None:
        return all(map(partial(same_but, but=but), _values(values), _values(others)))
    return all(
        mine[_HEADER:] == theirs[_HEADER:] or same_but(read(mine), read_theirs(theirs), but)
        for (mine, read), (theirs, read_theirs) in zip(told, others_told, strict=True)
    )


def _values(values: Dumped[T]) -> Iterable[T]:
    return values.values() if isinstance(values, Mapping) else values


def _told(values: Dumped[T]) -> Iterator[tuple[bytes, Callable[[bytes], T]]] | None:
    """Return what all are read of, and how, None where some are not."""
    parts = _parts(values)
    entries = [part for part in parts if isinstance(part, (Entries, Table))]
    if len(entries) < len(parts):
        return None
    return ((message, part.read) for part in entries for message in part.messages)


def _parts(values: Any) -> Sequence[Any]:
    return values.parts if isinstance(values, Joined) else (values,)


class Pairs(Sequence[tuple[T, T]], Generic[T]):
    """SAs or policies before and after; it is equal to a tuple or list of the same, and keeps nothing else."""

    def __init__(self, before: Mapping[Handle, T], after: Mapping[Handle, T], moves: Sequence[tuple[Handle, Handle]]):
        self._before: Mapping[Handle, T] = _only(before, (old for old, _ in moves))
        self._after: Mapping[Handle, T] = _only(after, (new for _, new in moves))
        self._moves = moves

    def __len__(self) -> int:
        return len(self._moves)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        old, new = self._moves[index]
        return self._before[old], self._after[new]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Pairs, tuple, list)):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def _only(values: Mapping[Handle, T], handles: Iterable[Handle]) -> Mapping[Handle, T]:
    return values.only(handles) if isinstance(values, Table) else {handle: values[handle] for handle in handles}
