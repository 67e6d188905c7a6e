"""Messages about values that are alike: the first of a kind is checked and written, of the others only what differs.

A gateway's SAs have the same algorithms, limits and flags, and each its own addresses, SPI, reqid and keys. Where these
stand in a message is found out by writing an SA of marks: no layout is known here. Nor is any check: what is not
plainly right goes the ordinary way. What differs, `columns` knows.
"""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from operator import ne
from typing import Any, Generic, TypeVar

from pfkeyx.entries import Outgoing
from pfkeyx.features import Feature
from pfkeyx.native import ffi, lib

V = TypeVar("V")
Needs = tuple[Feature, ...]
#: Writes a value as a message of some kind, and tells what it needs; raises what is wrong with the value.
Write = Callable[..., tuple[bytearray, Needs]]

#: So many kinds are remembered, and looked for among many: a gateway's SAs come in pairs, one in each direction.
_KINDS = 4


class Written(Outgoing):
    """Messages, and what each needs."""

    def __init__(self, data: bytearray, ends: Sequence[int], needs: Sequence[Needs]) -> None:
        super().__init__(data, ends)
        self.needs = needs


class Values(ABC, Generic[V]):
    """What a message is written of, in columns: a field of many at a time, so that little is executed for each."""

    @abstractmethod
    def kinds(self, values: Sequence[V]) -> list[Any]:
        """Return of each what it has in common with those whose messages differ in the `columns` alone.

        None is no kind: what is of it is written alone.
        """

    @abstractmethod
    def columns(self, values: Sequence[V]) -> list[bytes] | None:
        """Return the bytes of what differs, of all of a kind behind each other; None unless all is plainly right."""

    def kind(self, value: V) -> Any:
        """Return what `kinds` does of one; it is sooner made where it is not in columns."""
        return self.kinds((value,))[0]

    def pieces(self, value: V) -> list[bytes] | None:
        """Return what `columns` does of one."""
        return self.columns((value,))

    @abstractmethod
    def can_be_marked(self, value: V) -> bool:
        """Return whether whatever is right of a value is right with other columns, too."""

    @abstractmethod
    def marked(self, value: V) -> V:
        """Return a value of the same kind whose columns stand nowhere else in its message."""


class Molds(Generic[V]):
    """The kinds of values that were written last, each with what casts messages of more of them."""

    def __init__(self, values: Values[V], write: Write) -> None:
        self._values = values
        self._write = write
        # A mold is made for a kind that comes a second time.
        self._molds: list[tuple[Any, _Mold | None]] = []

    def write(self, values: Sequence[V], what: tuple[object, ...] = ()) -> Written:
        """Return what is written of values, and `what` else the writing takes."""
        kinds = self._values.kinds(values)
        parts: list[_Cast | _One] = []
        rest: Sequence[int] = range(len(values))
        for _ in range(_KINDS):
            if rest:
                places, others = _parted(kinds, rest)
                alike = values if len(places) == len(values) else [values[place] for place in places]
                mold = self._mold((what, kinds[rest[0]]), alike)
                columns = None if mold is None else self._values.columns(alike)
                if mold is not None and columns is not None:
                    parts.append(_Cast(places, mold, columns))
                else:
                    parts += (_One(place, self._write(values[place], *what)) for place in places)
                rest = others
        # Of more kinds each goes the ordinary way.
        parts += (_One(place, self._write(values[place], *what)) for place in rest)
        return _assembled(len(values), parts)

    def write_one(self, value: V, *what: object) -> tuple[bytearray, Needs]:
        """Return what is written of one value."""
        mold = self._mold((what, self._values.kind(value)), (value,))
        pieces = None if mold is None else self._values.pieces(value)
        return self._write(value, *what) if mold is None or pieces is None else (mold.cast_one(pieces), mold.needs)

    def _mold(self, kind: tuple[tuple[object, ...], Any], alike: Sequence[V]) -> "_Mold | None":
        """Return what casts a kind, None where there is no such or it is not worth it."""
        if kind[1] is None:
            return None
        number = next((number for number, (other, _) in enumerate(self._molds) if other == kind), None)
        mold = None if number is None else self._molds[number][1]
        if mold is None and (number is not None or len(alike) > 1):
            mold = self._made(alike[0], kind[0])
        if number is None:
            self._molds = [(kind, mold), *self._molds[: _KINDS - 1]]
        else:
            self._molds[number] = kind, mold
        return mold if mold is not None and mold.is_fit else None

    def _made(self, value: V, what: tuple[object, ...]) -> "_Mold | None":
        if not self._values.can_be_marked(value):
            return None
        written, needs = self._write(value, *what)
        marked = self._values.marked(value)
        columns, marks = map(self._values.pieces, (value, marked))
        if columns is None or marks is None:
            return None
        return _Mold(self._write(marked, *what)[0], needs, marks, written, columns)


class _Mold:
    """The message of a kind, and where in it stands what differs."""

    def __init__(
        self, message: bytearray, needs: Needs, marks: list[bytes], written: bytearray, columns: list[bytes]
    ) -> None:
        self._message = bytes(message)
        self.size = len(message)
        self.needs = needs
        self._places = [list(_found(self._message, mark)) for mark in marks]
        # It is not where a mark stands beside the same bytes, or what it marks is written as something else.
        self.is_fit = False
        if len(written) == self.size and all(self._places) and all(map(ne, marks, columns)):
            trial = self.cast_one(columns)
            self.is_fit = trial == written
            trial[:] = bytes(self.size)  # it has keys

    def cast_one(self, columns: Sequence[bytes]) -> bytearray:
        """Return the message that has these of what differs."""
        message = bytearray(self._message)
        for places, piece in zip(self._places, columns, strict=True):
            for place in places:
                message[place : place + len(piece)] = piece
        return message

    def cast(self, data: bytearray, starts: "array[int]", columns: list[bytes]) -> None:
        """Put messages where they start, each with its own of what differs."""
        out, where, count = ffi.from_buffer(data), ffi.from_buffer("uint32_t[]", starts), len(starts)
        lib.pfkeyx_scatter(out, where, count, 0, self._message * count, self.size)
        for places, column in zip(self._places, columns, strict=True):
            for place in places:
                lib.pfkeyx_scatter(out, where, count, place, column, len(column) // count)


class _Cast:
    """Some of many messages, which a mold casts; their bytes are in no `repr`."""

    def __init__(self, places: Sequence[int], mold: _Mold, columns: list[bytes]) -> None:
        self.places = places
        self.size = mold.size
        self.needs = mold.needs
        self._mold = mold
        self._columns = columns

    def put(self, data: bytearray, starts: "array[int]") -> None:
        """Put the messages to where they start."""
        mine = starts if len(self.places) == len(starts) else array("I", map(starts.__getitem__, self.places))
        self._mold.cast(data, mine, self._columns)


class _One:
    """One of many messages, which was written alone; its bytes are in no `repr`."""

    def __init__(self, place: int, written: tuple[bytearray, Needs]) -> None:
        self.places = (place,)
        self._message, self.needs = written
        self.size = len(self._message)

    def put(self, data: bytearray, starts: "array[int]") -> None:
        """Put the message to where it starts."""
        start = starts[self.places[0]]
        data[start : start + self.size] = self._message


def write_each(values: Sequence[V], write: Write) -> Written:
    """Return what is written of values that have no kinds."""
    return _assembled(len(values), [_One(place, write(value)) for place, value in enumerate(values)])


def _assembled(count: int, parts: Sequence[_Cast | _One]) -> Written:
    sizes = [0] * count
    needs: list[Needs] = [()] * count
    for part in parts:
        if len(part.places) == count:
            sizes, needs = [part.size] * count, [part.needs] * count
        else:
            for place in part.places:
                sizes[place], needs[place] = part.size, part.needs
    ends = list(accumulate(sizes, initial=0))
    data = bytearray(ends[-1])
    starts = array("I", ends[:-1])
    for part in parts:
        part.put(data, starts)
    return Written(data, ends[1:], needs)


def _parted(kinds: list[Any], rest: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Return the places of those that are like the first one, and of the others."""
    kind = kinds[rest[0]]
    if len(rest) == len(kinds) and kinds.count(kind) == len(kinds):
        return rest, ()
    alike: list[int] = []
    others: list[int] = []
    for place in rest:
        (alike if kinds[place] == kind else others).append(place)
    return alike, others


def _found(message: bytes, mark: bytes) -> Iterator[int]:
    place = message.find(mark)
    while place >= 0:
        yield place
        place = message.find(mark, place + len(mark))
