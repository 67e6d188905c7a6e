"""Values that were read, or made of others, and are worked out only as far as they are looked at."""

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

__all__ = ["Deferred", "Readers", "changed", "root_of", "same"]

T = TypeVar("T", bound="Deferred")


class Readers(Protocol):
    """How each field of a value is read of its origin."""

    def __getitem__(self, name: str) -> Callable[[Any], Any]:
        """Return what reads a field, and never fails."""

    def differing(self, origin: Any, other: Any) -> Set[str]:
        """Return the names of the fields that may differ between what is read of two origins."""


class Deferred:
    """A dataclass with slots whose fields may be worked out when they are looked at first.

    Of a hundred thousand SAs that a kernel tells of, most fields are never looked at. One that was is kept.
    """

    __slots__ = ("_changed", "_origin", "_readers")

    #: What the value was read of, or the value that it was made of by changes, and then the names of these.
    _origin: Any
    _readers: Readers
    _changed: Set[str]
    #: The names of the fields, as a dataclass has them.
    __match_args__: ClassVar[tuple[str, ...]]

    @classmethod
    def read(cls, origin: Any, readers: Readers) -> Self:
        """Return a value each of whose fields is what its reader makes of `origin`."""
        value = cls.__new__(cls)
        _set_origin(value, origin)
        _set_readers(value, readers)
        return value

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
                complaint = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(complaint, name=name, obj=self) from None
            field = read(_origin_of(self))
            _set(self, name, field)
            return field


if TYPE_CHECKING:
    from dataclasses import replace as changed
else:

    def changed(value: Deferred, /, **changes: Any) -> Deferred:
        """Return a value with some fields changed, as `replace` does, and the others from it when they are wanted."""
        root, names = root_of(value)
        made = value.__class__.__new__(value.__class__)
        _set_origin(made, root)
        _set_readers(made, _getters(value.__match_args__))
        _set_changed(made, names | changes.keys())
        for name in names:
            _set(made, name, getattr(value, name))
        for name, field in changes.items():
            _set(made, name, field)
        return made


def same(value: Deferred, other: Deferred, names: Iterable[str]) -> bool:
    """Return whether these fields of two values of a kind are equal."""
    differing = _differing(value, other)
    return all(getattr(value, name) == getattr(other, name) for name in names if name in differing)


def root_of(value: T) -> tuple[T, Set[str]]:
    """Return the value that another was made of by changes, and the names of these."""
    try:
        return _origin_of(value), _changed_of(value)
    except AttributeError:
        return value, frozenset()


def _differing(value: Deferred, other: Deferred) -> Collection[str]:
    """Return the names of the fields that may differ between two values of a kind."""
    (root, names), (others_root, others_names) = root_of(value), root_of(other)
    if root is others_root:
        return names | others_names
    try:
        readers, origin, others_origin = _readers_of(root), _origin_of(root), _origin_of(others_root)
    except AttributeError:
        return value.__match_args__
    differing: Set[str] = readers.differing(origin, others_origin)
    return names | others_names | differing


@cache
def _getters(names: tuple[str, ...]) -> Mapping[str, Callable[[Any], Any]]:
    return {name: attrgetter(name) for name in names}


# The dataclasses are frozen, and would look for what is not there by __getattr__.
_set = object.__setattr__
_set_origin, _origin_of = (getattr(Deferred.__dict__["_origin"], name) for name in ("__set__", "__get__"))
_set_readers, _readers_of = (getattr(Deferred.__dict__["_readers"], name) for name in ("__set__", "__get__"))
_set_changed, _changed_of = (getattr(Deferred.__dict__["_changed"], name) for name in ("__set__", "__get__"))
