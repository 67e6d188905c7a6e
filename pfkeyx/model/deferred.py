"""Values that were read, or made of others, and are worked out only as far as they are looked at."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

__all__ = [
    "Deferred",
    "Handle",
    "Readers",
    "changed",
    "of_origin",
    "origin_of",
    "root_of",
    "same",
    "same_but",
    "set_handle",
]

T = TypeVar("T", bound="Deferred")

#: An identity as bytes: equal where the identities are, and sooner made, looked up and put in order.
Handle = bytes


_NO_NAMES: Set[str] = frozenset()


class Readers(Protocol):
    """How each field of a value is read of its origin."""

    #: The names of the fields that can be changed in an origin.
    rewritable: Set[str]

    @property
    def as_written(self) -> Self:
        """Readers of the same, without what the kernel counts."""

    def __getitem__(self, name: str) -> Callable[[Any], Any]:
        """Return what reads a field; raises `KeyError` where there is no such."""

    def differing(self, origin: Any, other: Any) -> Set[str]:
        """Return the names of the fields that may differ between what is read of two origins."""

    def rewritten(self, origin: Any, value: Any, fields: Mapping[str, Any]) -> tuple[Any, Set[str]]:
        """Return an origin in which as many of these fields as can be are changed, and their names.

        `value` is what was read of the one that is given.
        """


class Deferred:
    """A dataclass with slots whose fields may be worked out when they are looked at first.

    Of a hundred thousand SAs that a kernel tells of, most fields are never looked at. One that was is kept.
    """

    __slots__ = ("_changed", "_origin", "_readers", "handle")

    #: What the value was read of, or the value that it was made of by changes, and then the names of these.
    _origin: Any
    _readers: Readers
    _changed: Set[str]
    #: What the value is looked up by where there are many; it is worked out when it is looked at first, too.
    handle: Handle
    #: The names of the fields, as a dataclass has them, and of those that the identity is made of.
    __match_args__: ClassVar[tuple[str, ...]]
    identifying: ClassVar[Set[str]]
    #: What is looked at of most values.
    most_wanted: ClassVar[tuple[str, ...]]
    #: The fields that are the kernel's own, and what they are in what was not read.
    counted: ClassVar[Mapping[str, Any]]

    @classmethod
    def read(cls, origin: Any, readers: Readers) -> Self:
        """Return a value each of whose fields is what its reader makes of `origin`."""
        value = cls.__new__(cls)
        _set_origin(value, origin)
        _set_readers(value, readers)
        _set_changed(value, _NO_NAMES)
        return value

    def make_handle(self) -> Handle:
        """Return the handle by the identity."""
        raise NotImplementedError

    def as_written(self) -> Self:
        """Return the value without what the kernel counts: two that are made alike are equal in this form."""
        origin = origin_of(self)
        if origin is None:
            return changed(self, **self.counted)  # type: ignore[type-var]  # as they are dataclasses
        written = self.read(origin, _readers_of(self).as_written)
        _hand_on(self, written)
        return written

    @property
    def told(self) -> Any:
        """What all of the value but what the kernel counts is read of, if that can be written back; None if not."""
        origin = origin_of(self, but=self.counted.keys())
        return origin if origin is not None and _readers_of(root_of(self)[0]).rewritable else None

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _differing(self, other))

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__match_args__))

    if not TYPE_CHECKING:  # a type checker would believe that there is any field

        def __getattr__(self, name: str) -> Any:
            try:
                read = _readers_of(self)[name]
            except (AttributeError, KeyError):
                if name == "handle":
                    set_handle(self, self.make_handle())
                    return self.handle
                complaint = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(complaint, name=name, obj=self) from None
            field = read(_origin_of(self))
            _set(self, name, field)
            return field


if TYPE_CHECKING:
    from dataclasses import replace as changed
else:

    def changed(value: Deferred, /, **changes: Any) -> Deferred:
        """Return a value with some fields changed, as `replace` does, and the others from it when they are wanted.

        What was read of an origin in which a field can be changed is read of another one then.
        """
        root, names = root_of(value)
        fields = {name: getattr(value, name) for name in names} | changes
        made_of = _rewritten(root, names, fields)
        if not fields:
            return made_of
        made = value.__class__.__new__(value.__class__)
        _set_origin(made, made_of)
        _set_readers(made, _getters(value.__match_args__))
        _set_changed(made, fields.keys())
        for name, field in fields.items():
            _set(made, name, field)
        if not value.identifying.isdisjoint(fields):
            set_handle(made, made.make_handle())
        return made


def _rewritten(root: T, names: Set[str], fields: dict[str, Any]) -> T:
    """Return what is read of another origin, in which as many of these fields as can be are changed, and taken out.

    Those with these `names` stay as they are.
    """
    origin = origin_of(root)
    if origin is None:
        return root
    readers = _readers_of(root)
    wanted = readers.rewritable & fields.keys() - names
    if not wanted:
        return root
    origin, rewritten = readers.rewritten(origin, root, {name: fields[name] for name in wanted})
    if not rewritten:
        return root
    made = root.read(origin, readers)
    for name in rewritten:
        _set(made, name, fields.pop(name))
    _hand_on(root, made, rewritten if root.identifying.isdisjoint(rewritten) else {*rewritten, "handle"})
    return made


def _hand_on(value: Deferred, made: Deferred, but: Collection[str] = ()) -> None:
    """Let a value have what another has worked out and is looked at most, `but` for what is of its own."""
    kind: Any = value.__class__
    for name, get, put in _most_wanted(kind):
        if name not in but:
            try:
                field = get(value)
            except AttributeError:
                continue
            put(made, field)


@cache
def _most_wanted(kind: Any) -> Sequence[tuple[str, Callable[[Any], Any], Callable[[Any, Any], None]]]:
    """Return the names of these fields, and how they are read and set where they are kept."""
    kept = ((name, getattr(kind, name)) for name in kind.most_wanted)
    return [(name, slot.__get__, slot.__set__) for name, slot in kept]


def same(value: Deferred, other: Deferred, names: Iterable[str]) -> bool:
    """Return whether these fields of two values of a kind are equal."""
    differing = _differing(value, other)
    return all(getattr(value, name) == getattr(other, name) for name in names if name in differing)


def same_but(value: Deferred, other: Deferred, but: Set[str]) -> bool:
    """Return whether two values of a kind are equal but for these fields."""
    differing = [name for name in _differing(value, other) if name not in but]
    return not differing or all(getattr(value, name) == getattr(other, name) for name in differing)


def root_of(value: T) -> tuple[T, Set[str]]:
    """Return the value that another was made of by changes, and the names of these."""
    try:
        names = _changed_of(value)
    except AttributeError:
        return value, _NO_NAMES
    return (_origin_of(value), names) if names else (value, names)


def of_origin(value: T, origin: Any) -> T:
    """Return what is read of another origin as all of a value is read of its own."""
    return value.read(origin, _readers_of(root_of(value)[0]))


def origin_of(value: Deferred, but: Set[str] = _NO_NAMES) -> Any:
    """Return what all of a value is read of, `but` for these fields; None where there is no such origin."""
    try:
        names = _changed_of(value)
        if not names:
            return _origin_of(value)
        return origin_of(_origin_of(value)) if names <= but else None
    except AttributeError:
        return None


def _differing(value: Deferred, other: Deferred) -> Collection[str]:
    """Return the names of the fields that may differ between two values of a kind."""
    (root, names), (others_root, others_names) = root_of(value), root_of(other)
    if root is others_root:
        return names | others_names
    origin, others_origin = origin_of(root), origin_of(others_root)
    # What the two interfaces tell has nothing in common.
    if origin is None or origin.__class__ is not others_origin.__class__:
        return value.__match_args__
    readers, others_readers = _readers_of(root), _readers_of(others_root)
    differing: Set[str] = readers.differing(origin, others_origin)
    return names | others_names | (differing if readers is others_readers else differing | value.counted.keys())


@cache
def _getters(names: tuple[str, ...]) -> Mapping[str, Callable[[Any], Any]]:
    return {name: attrgetter(name) for name in (*names, "handle")}


# The dataclasses are frozen, and would look for what is not there by __getattr__.
_set = object.__setattr__
_set_origin, _origin_of = (getattr(Deferred.__dict__["_origin"], name) for name in ("__set__", "__get__"))
_set_readers, _readers_of = (getattr(Deferred.__dict__["_readers"], name) for name in ("__set__", "__get__"))
_set_changed, _changed_of = (getattr(Deferred.__dict__["_changed"], name) for name in ("__set__", "__get__"))
#: Lets a value have the handle that somebody else has worked out.
set_handle: Callable[[Deferred, Handle], None] = Deferred.__dict__["handle"].__set__
