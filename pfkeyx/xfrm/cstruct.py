"""C structs as tables of their fields: what takes one apart and puts it together. No struct of the kernel's is here."""

import struct
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, ClassVar


class CStruct:
    """A C struct: `fields` are names and either `struct` formats or other structs."""

    fields: ClassVar[tuple[tuple[str, Any], ...]] = ()

    _form: ClassVar["Form"]

    def __init_subclass__(cls) -> None:
        cls._form = Form(cls.fields)

    @classmethod
    def size(cls) -> int:
        """Return its octets, without a flexible end."""
        return cls._form.size

    @classmethod
    def offset(cls, name: str) -> int:
        """Return where a field begins."""
        return sum(size_of(fmt) for _, fmt in takewhile(lambda field: field[0] != name, cls.fields))

    @classmethod
    def decode_from(cls, data: Any, offset: int) -> tuple[dict[str, Any], int]:
        """Return the values of the fields at an offset, and where they end; raises `struct.error` for what is cut."""
        return cls._form.unpack_from(data, offset), offset + cls._form.size

    @classmethod
    def pack(cls, value: dict[str, Any]) -> bytes:
        """Return the bytes of fields; see `Form.pack`."""
        return cls._form.pack(value)

    @classmethod
    def decode_all(cls, data: bytes) -> list[dict[str, Any]]:
        """Return what an array of it holds; raises `struct.error` when the last one is cut."""
        return [cls.decode_from(data, at)[0] for at in range(0, len(data), cls.size())]

    @classmethod
    def encode_into(cls, data: bytearray, offset: int, value: Any) -> int:
        """Append the bytes of fields, and return where they end; `offset` is where they begin."""
        packed = cls.pack(value or {})
        data.extend(packed)
        return offset + len(packed)


class Form:
    """What takes all of a struct apart, and puts it together, at once."""

    def __init__(self, fields: tuple[tuple[str, Any], ...]) -> None:
        self._whole = struct.Struct("=" + "".join(map(_plain, fields)))
        self.size = self._whole.size
        # What stands for nothing, for each value of the whole.
        self._zeros: list[Any] = []
        # Each field's place among them: its form, if it is a struct, where it begins and where it ends.
        self._places: dict[str, tuple[Form | None, int, int]] = {}
        # The sizes of numbers in network order, which the whole has as bytes.
        self._swapped: dict[str, int] = {}
        for name, fmt in fields:
            if not is_value(fmt):
                continue
            form, start = None if isinstance(fmt, str) else fmt._form, len(self._zeros)
            if form is not None:
                self._zeros += form._zeros
            elif fmt.startswith(">"):
                self._swapped[name] = struct.calcsize(fmt)
                self._zeros.append(bytes(struct.calcsize(fmt)))
            else:
                self._zeros.append(b"" if fmt.endswith("s") else 0)
            self._places[name] = form, start, len(self._zeros)

    def unpack_from(self, data: Any, offset: int) -> dict[str, Any]:
        """Return the values of the fields."""
        return self._build(self._whole.unpack_from(data, offset))

    def pack(self, value: dict[str, Any]) -> bytes:
        """Return the bytes of fields, zeros for what `value` lacks; what is no field is passed over."""
        values = self._zeros.copy()
        self._gather(value, values, 0)
        return self._whole.pack(*values)

    def _build(self, values: Sequence[Any]) -> dict[str, Any]:
        value: dict[str, Any]
        if len(values) == len(self._places):
            value = dict(zip(self._places, values, strict=True))
        else:
            value = {
                name: values[start] if form is None else form._build(values[start:end])
                for name, (form, start, end) in self._places.items()
            }
        for name in self._swapped:
            value[name] = int.from_bytes(value[name], "big")
        return value

    def _gather(self, value: dict[str, Any], values: list[Any], base: int) -> None:
        for name, given in value.items():
            if name not in self._places:
                continue  # the tail of a flexible struct
            form, start, _ = self._places[name]
            if form is None:
                size = self._swapped.get(name)
                values[base + start] = given if size is None else given.to_bytes(size, "big")
            elif given:
                form._gather(given, values, base + start)


def _plain(field: tuple[str, Any]) -> str:
    """Return the format of a field, in which numbers in network order are their bytes."""
    _, fmt = field
    if not isinstance(fmt, str):
        return "".join(map(_plain, fmt.fields))
    return f"{struct.calcsize(fmt)}s" if fmt.startswith(">") else fmt


def is_value(fmt: Any) -> bool:
    """Return whether a field of this format is more than padding."""
    return not (isinstance(fmt, str) and fmt.endswith("x"))


def size_of(fmt: Any) -> int:
    """Return the bytes that a field of this format takes."""
    return struct.calcsize(fmt) if isinstance(fmt, str) else int(fmt.size())


class FlexibleStruct(CStruct):
    """A struct that ends in an array named `tail`, whose length the field `count` tells."""

    count: ClassVar[str]
    tail: ClassVar[str]

    @classmethod
    def tail_size(cls, count: int) -> int:
        """Return how many bytes the array has."""
        raise NotImplementedError

    @classmethod
    def decode_from(cls, data: Any, offset: int) -> tuple[dict[str, Any], int]:
        """See `CStruct.decode_from`; raises `ValueError` when the array runs past what there is."""
        value, offset = super().decode_from(data, offset)
        end = offset + cls.tail_size(value[cls.count])
        if end > len(data):
            raise ValueError(f"{cls.__name__}: {cls.tail} runs past its attribute")
        value[cls.tail] = bytes(data[offset:end])
        return value, end

    @classmethod
    def pack(cls, value: dict[str, Any]) -> bytes:
        """Return the bytes of fields, and then the array."""
        return super().pack(value) + bytes(value[cls.tail])
