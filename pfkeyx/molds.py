"""Messages about SAs that are alike: the first of a kind is checked and written, of the others only what differs.

A gateway's SAs have the same algorithms, limits and flags, and each its own addresses, SPI, reqid and keys. Where these
stand in a message is found out by writing an SA of marks: no layout is known here. Nor is any check: what is not
plainly right goes the ordinary way.
"""

import sys
from collections.abc import Callable
from dataclasses import fields, replace
from ipaddress import IPv4Address, IPv6Address
from operator import attrgetter
from typing import Any, Generic, TypeVar

from pfkeyx.model import SA, IPAddress, Key, Protocol
from pfkeyx.model.deferred import changed

T = TypeVar("T")
#: Writes an SA as a message of some kind, and tells what else belongs to it; raises what is wrong with the SA.
Write = Callable[..., tuple[bytearray, T]]

#: So many kinds are remembered: a gateway's SAs come in pairs, one in each direction.
_KINDS = 4
_DIFFERING = ("id", "source", "reqid", "encryption", "authentication")
#: What no message has, since the kernel counts it.
_UNWRITTEN = ("state", "usage", "failures")
_fixed = attrgetter(
    *(field.name for field in fields(SA) if field.name not in (*_DIFFERING, *_UNWRITTEN)), "id.protocol", "id.mark"
)
#: Values that stand nowhere else in a message. An SPI of IPComp has 16 bits.
_MARKED_SPI, _MARKED_REQID = 0x9A5B, 0xD34C8E17
_MARKED_ENDS: dict[int, tuple[IPAddress, IPAddress]] = {
    4: (IPv4Address("203.165.113.171"), IPv4Address("203.198.113.172")),
    6: (IPv6Address("2001:db8:5a:3c::abcd"), IPv6Address("2001:db8:c3:a5::cdef")),
}


class Molds(Generic[T]):
    """The kinds of SAs that were written last, each with what casts messages of more of them."""

    def __init__(self, write: Write[T]) -> None:
        self._write = write
        # A mold is made for a kind that comes a second time.
        self._molds: list[tuple[Any, _Mold[T] | None]] = []

    def write(self, sa: SA, *what: object) -> tuple[bytearray, T]:
        """Return what is written of an SA, and `what` else the writing takes."""
        # A selector can be right or wrong beside the SA's own ends; and some SAs may have no SPI, and so no marked one.
        if sa.selector is not None or not sa.id.spi:
            return self._write(sa, *what)
        kind = what, _kind(sa)
        for number, (other, mold) in enumerate(self._molds):
            if other == kind:
                cast = mold.cast(sa) if mold is not None else None
                if cast is not None:
                    return cast
                written = self._write(sa, *what)
                if mold is None:
                    marked = _marked(sa)
                    self._molds[number] = kind, _Mold(sa, written, marked, self._write(marked, *what)[0])
                return written
        written = self._write(sa, *what)
        self._molds = [(kind, None), *self._molds[: _KINDS - 1]]
        return written


class _Mold(Generic[T]):
    """The message of a kind of SA, and where in it stands what differs."""

    def __init__(self, sa: SA, written: tuple[bytearray, T], marked: SA, message: bytearray) -> None:
        self._message, self._beside = message, written[1]
        self._greatest_spi = 0xFFFF if sa.id.protocol is Protocol.IPCOMP else 0xFFFFFFFF
        self._is_ipv6 = sa.source.version == 6
        starts = ((message.find(mark), len(mark)) for mark in _pieces(marked))
        self._places = [slice(start, start + size) for start, size in starts]
        # It is not where a mark stands several times, nowhere, or beside the same bytes.
        trial = self._cast(sa)
        self._is_fit = trial == written[0]
        if trial is not None:
            trial[:] = bytes(len(trial))  # it has keys

    def cast(self, sa: SA) -> tuple[bytearray, T] | None:
        """Return the message of another SA of the kind, None where that has to be looked at closer."""
        message = self._cast(sa) if self._is_fit and self._is_plain(sa) else None
        return None if message is None else (message, self._beside)

    def _is_plain(self, sa: SA) -> bool:
        spi, reqid = sa.id.spi, sa.reqid
        if not (spi.__class__ is int and 0 < spi <= self._greatest_spi):
            return False
        if not (reqid.__class__ is int and 0 <= reqid <= 0xFFFFFFFF):
            return False
        return not self._is_ipv6 or not (_has_zone(sa.source) or _has_zone(sa.id.destination))

    def _cast(self, sa: SA) -> bytearray | None:
        message, pieces = self._message.copy(), _pieces(sa)
        if not all(map(any, pieces[_KEYS:])):  # a key that a locked-down kernel has hidden
            return None
        for place, piece in zip(self._places, pieces, strict=True):
            message[place] = piece
        return message


def _kind(sa: SA) -> tuple[object, ...]:
    """Return what two SAs have in common whose messages differ in `_pieces` alone."""
    encryption, authentication = sa.encryption, sa.authentication
    return (
        _fixed(sa),
        # What compares as equal and is written otherwise: the form of a window, and a mode that is but a number.
        sa.replay is not None and sa.replay.extended,
        sa.mode.__class__,
        sa.source.__class__,
        sa.id.destination.__class__,
        encryption and (encryption.algorithm, encryption.icv_bits, len(encryption.key)),
        authentication and (authentication.algorithm, authentication.icv_bits, len(authentication.key)),
    )


def _pieces(sa: SA) -> list[bytes]:
    """Return the bytes of what differs from SA to SA: keys, where there are any, from `_KEYS` on."""
    sa_id = sa.id
    pieces = [
        sa_id.spi.to_bytes(4, "big"),
        sa.reqid.to_bytes(4, sys.byteorder),
        sa.source.packed,
        sa_id.destination.packed,
    ]
    pieces += [key for keyed in (sa.encryption, sa.authentication) if keyed and (key := keyed.key.reveal())]
    return pieces


_KEYS = 4


def _has_zone(address: IPAddress) -> bool:
    return isinstance(address, IPv6Address) and address.scope_id is not None


def _marked(sa: SA) -> SA:
    """Return an SA of the same kind, whose pieces stand nowhere else."""
    source, destination = _MARKED_ENDS[sa.source.version]
    return changed(
        sa,
        id=replace(sa.id, spi=_MARKED_SPI, destination=destination),
        source=source,
        reqid=_MARKED_REQID,
        encryption=sa.encryption and replace(sa.encryption, key=_marked_key(sa.encryption.key, 11)),
        authentication=sa.authentication and replace(sa.authentication, key=_marked_key(sa.authentication.key, 92)),
    )


def _marked_key(key: Key, first: int) -> Key:
    return Key(bytes((first + 37 * number) % 255 + 1 for number in range(len(key))))
