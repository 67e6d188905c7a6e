"""Between values and C memory, for all layouts: copies of structs, their fields, arrays, addresses.

No extension is known here.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from operator import attrgetter
from socket import AF_INET, AF_INET6
from typing import Any, TypeAlias

from pfkeyx.model import IPAddress
from pfkeyx.native import ffi

# A cffi pointer: its fields are those of the C declaration.
CData: TypeAlias = Any
Getter: TypeAlias = Callable[[CData, CData], int]


class NonsenseError(Exception):
    """An extension is shorter than what it should hold, or contradicts itself."""


def copy(getter: Getter, struct: str, native: CData) -> CData:
    """Return what a getter of the C core fills in; raises `NonsenseError` where it refuses."""
    copied = ffi.new(struct)
    if getter(native, copied):
        raise NonsenseError
    return copied


def fields(struct: str, *names: str) -> Callable[[CData], Any]:
    """Return what takes these fields out of a struct, each of whose names begins with the struct's."""
    return attrgetter(*(f"{struct}_{name}" for name in names))


def reader(value: type[Any], getter: Getter, struct: str, *names: str) -> Callable[[CData], Any]:
    """Return what reads a value whose fields are those of a C struct, in this order."""
    take, pointer = fields(struct, *names), f"struct {struct} *"

    def get(native: CData) -> Any:
        return value._make(take(copy(getter, pointer, native)))

    return get


def items(getter: Callable[[CData, int, CData], int], item: str, native: CData) -> Iterator[CData]:
    """Yield one item of an array after the other, in memory that the next one takes over."""
    copied, index = ffi.new(item), 0
    while status := getter(native, index, copied):
        if status < 0:
            raise NonsenseError
        yield copied
        index += 1


def native_address(address: IPAddress, port: int = 0) -> CData:
    """Return an address and a port, in host order, for the C core."""
    family = AF_INET if address.version == 4 else AF_INET6
    return ffi.new("struct pfkeyx_address *", {"family": family, "port": port, "bytes": address.packed})


def ip_address(family: int, raw: bytes) -> IPAddress:
    """Return the address at the start of 16 bytes."""
    return IPv4Address(raw[:4]) if family == AF_INET else IPv6Address(raw)


def from_native(address: CData) -> IPAddress:
    """Return the address that the C core found."""
    return ip_address(address.family, bytes(address.bytes))
