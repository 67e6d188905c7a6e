"""The listening socket of XFRM: what the kernel says unasked, as events."""

import errno
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pfkeyx.errors import EventsLostError, KernelError, MalformedReplyError, PfkeyxError
from pfkeyx.events import (
    Acquire,
    Change,
    DefaultPolicyChange,
    Event,
    Expire,
    Migrated,
    NatMapping,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    Report,
    SAChange,
    SAFlush,
    SAMigrated,
    SAProgress,
)
from pfkeyx.model import SA, Protocol, SAId
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm import parts
from pfkeyx.xfrm.datagram import DATAGRAM, Header, walk
from pfkeyx.xfrm.events import (
    decode_acquire,
    decode_default_policy_change,
    decode_expire,
    decode_migrated,
    decode_nat_mapping,
    decode_policy_change,
    decode_policy_deletion,
    decode_policy_expire,
    decode_policy_flush,
    decode_report,
    decode_sa_change,
    decode_sa_deletion,
    decode_sa_flush,
    decode_sa_migrated,
    decode_sa_progress,
)
from pfkeyx.xfrm.transport import open_socket

if TYPE_CHECKING:
    from socket import socket

#: Octets, of which the kernel takes only what waits.
_RECEIVE_BUFFER = 32 << 20


class _Announcement(NamedTuple):
    """A message that a group of listeners gets."""

    kind: type[Event]
    group: int
    decode: Callable[[wire.xfrm_message], Event]


_ANNOUNCEMENTS: dict[int, _Announcement] = {
    wire.XFRM_MSG_ACQUIRE: _Announcement(Acquire, wire.XFRMNLGRP_ACQUIRE, decode_acquire),
    wire.XFRM_MSG_EXPIRE: _Announcement(Expire, wire.XFRMNLGRP_EXPIRE, decode_expire),
    wire.XFRM_MSG_POLEXPIRE: _Announcement(PolicyExpire, wire.XFRMNLGRP_EXPIRE, decode_policy_expire),
    wire.XFRM_MSG_NEWAE: _Announcement(SAProgress, wire.XFRMNLGRP_AEVENTS, decode_sa_progress),
    wire.XFRM_MSG_REPORT: _Announcement(Report, wire.XFRMNLGRP_REPORT, decode_report),
    wire.XFRM_MSG_MAPPING: _Announcement(NatMapping, wire.XFRMNLGRP_MAPPING, decode_nat_mapping),
    wire.XFRM_MSG_MIGRATE: _Announcement(Migrated, wire.XFRMNLGRP_MIGRATE, decode_migrated),
    wire.XFRM_MSG_MIGRATE_STATE: _Announcement(SAMigrated, wire.XFRMNLGRP_MIGRATE, decode_sa_migrated),
    wire.XFRM_MSG_NEWSA: _Announcement(SAChange, wire.XFRMNLGRP_SA, partial(decode_sa_change, change=Change.ADDED)),
    wire.XFRM_MSG_UPDSA: _Announcement(SAChange, wire.XFRMNLGRP_SA, partial(decode_sa_change, change=Change.UPDATED)),
    wire.XFRM_MSG_DELSA: _Announcement(SAChange, wire.XFRMNLGRP_SA, decode_sa_deletion),
    wire.XFRM_MSG_FLUSHSA: _Announcement(SAFlush, wire.XFRMNLGRP_SA, decode_sa_flush),
    wire.XFRM_MSG_NEWPOLICY: _Announcement(
        PolicyChange, wire.XFRMNLGRP_POLICY, partial(decode_policy_change, change=Change.ADDED)
    ),
    wire.XFRM_MSG_UPDPOLICY: _Announcement(
        PolicyChange, wire.XFRMNLGRP_POLICY, partial(decode_policy_change, change=Change.UPDATED)
    ),
    wire.XFRM_MSG_DELPOLICY: _Announcement(PolicyChange, wire.XFRMNLGRP_POLICY, decode_policy_deletion),
    wire.XFRM_MSG_FLUSHPOLICY: _Announcement(PolicyFlush, wire.XFRMNLGRP_POLICY, decode_policy_flush),
    wire.XFRM_MSG_GETDEFAULT: _Announcement(DefaultPolicyChange, wire.XFRMNLGRP_POLICY, decode_default_policy_change),
}
#: What an engine does not want to hear of itself. Progress that is no answer to anybody has no numbers of anybody's.
_CHANGES = (SAChange, SAFlush, SAProgress, PolicyChange, PolicyFlush)


class XfrmEvents:
    """A socket that only listens. Synchronization: one thread."""

    #: What XFRM tells of.
    KINDS = frozenset(item.kind for item in _ANNOUNCEMENTS.values())

    def __init__(self, kinds: Sequence[type[Event]], netns: str | None, is_own: Callable[[int, int], bool]) -> None:
        self._announcements = {number: item for number, item in _ANNOUNCEMENTS.items() if item.kind in kinds}
        self._is_own = is_own
        self._socket = open_socket(netns, sorted({it.group for it in self._announcements.values()}), _RECEIVE_BUFFER)

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def start(self) -> None:
        """Do nothing: a socket in its groups is told at once."""

    def receive(self) -> list[Event | PfkeyxError]:
        """Return the events of one datagram, none when nothing waits; see `EventSource.receive`.

        Raises `MalformedReplyError` for a datagram that is none, `KernelError` when the socket is broken.
        """
        try:
            data = _receive(self._socket)
        except EventsLostError as error:
            return [error]
        events = (self._event(header, message) for header, message in walk(data or b""))
        return [event for event in events if event is not None]

    def _event(self, header: Header, message: bytes) -> Event | PfkeyxError | None:
        announced = self._announcements.get(header.type)
        if announced is None or (announced.kind in _CHANGES and self._is_own(header.sender, header.sequence)):
            return None
        try:
            event = decode_event(header.type, message)
        except MalformedReplyError as error:
            return error
        return event if _is_ipsec(event) else None


class XfrmMessages:
    """A socket that hears every message which the kernel tells to listeners, as it came. Synchronization: one thread.

    Requests and their answers go between a program and the kernel alone: nobody else hears them.
    """

    def __init__(self, netns: str | None) -> None:
        groups = sorted({item.group for item in _ANNOUNCEMENTS.values()})
        self._socket = open_socket(netns, groups, _RECEIVE_BUFFER)

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def receive(self) -> list[tuple[Header, bytes]]:
        """Return the messages of one datagram, none when nothing waits.

        Raises `EventsLostError` when some were dropped, `MalformedReplyError` for a datagram that is none,
        `KernelError` when the socket is broken.
        """
        data = _receive(self._socket)
        return [] if data is None else list(walk(data))


def _receive(sock: "socket") -> bytes | None:
    try:
        return sock.recv(DATAGRAM)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.ENOBUFS:
            raise EventsLostError("XFRM events came faster than they were read: dump again") from error
        raise KernelError.of(error.errno or errno.EIO, "receive XFRM events") from error


def decode_event(message_type: int, message: bytes) -> Event:
    """Return the event that an announced message tells of; raises `MalformedReplyError`."""
    return parts.decoding(_ANNOUNCEMENTS[message_type].decode, wire.parse(wire.RECEIVED[message_type], message))


def _is_ipsec(event: Event) -> bool:
    """Return whether an event is about IPsec: Mobile IPv6 has SAs too, which no dump shows."""
    match event:
        case (
            Acquire(protocol=protocol)
            | Expire(sa_id=SAId(protocol=protocol))
            | SAMigrated(sa_id=SAId(protocol=protocol))
            | SAProgress(sa_id=SAId(protocol=protocol))
            | SAChange(sa=SA(id=SAId(protocol=protocol)))
            | SAFlush(protocol=Protocol() as protocol)
        ):
            return protocol in (*Protocol,)
        case _:
            return True
