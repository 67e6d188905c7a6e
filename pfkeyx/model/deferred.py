"""Values that were read, and are worked out only as far as they are looked at."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self


class Deferred:
    """A dataclass with slots whose fields may be worked out when they are looked at first.

    Of a hundred thousand SAs that a kernel tells of, most fields are never looked at. One that was is kept.
    """

    __slots__ = ("_origin", "_readers")

    _origin: Any
    _readers: Mapping[str, Callable[[Any], Any]]

    @classmethod
    def read(cls, origin: Any, readers: Mapping[str, Callable[[Any], Any]]) -> Self:
        """Return a value each of whose fields is what its reader makes of `origin`; no reader may fail."""
        value = cls.__new__(cls)
        _set_origin(value, origin)
        _set_readers(value, readers)
        return value

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


# The dataclasses are frozen, and would look for what is not there by __getattr__.
_set = object.__setattr__
_set_origin, _origin_of = (getattr(Deferred.__dict__["_origin"], name) for name in ("__set__", "__get__"))
_set_readers, _readers_of = (getattr(Deferred.__dict__["_readers"], name) for name in ("__set__", "__get__"))
