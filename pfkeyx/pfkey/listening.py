"""The listening socket of PF_KEY: what the kernel says unasked, as events."""

import os
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Self

from pfkeyx.errors import EventsLostError, KernelError, MalformedReplyError, PfkeyxError
from pfkeyx.events import (
    Acquire,
    Event,
    Expire,
    Migrated,
    NatMapping,
    PolicyChange,
    PolicyFlush,
    SAChange,
    SAFlush,
    SAMigrated,
)
from pfkeyx.pfkey import parts
from pfkeyx.pfkey.events import (
    decode_acquire,
    decode_expire,
    decode_migrated,
    decode_nat_mapping,
    decode_policy_change,
    decode_sa_change,
    decode_sa_flush,
    decode_sa_migrated,
)
from pfkeyx.pfkey.message import Message, MessageType, SAType, read, read_header
from pfkeyx.pfkey.sockets import PfkeySocket

#: Octets, of which the kernel takes only what waits. AF_KEY has no filter, so that others' changes take room too.
_RECEIVE_BUFFER = 32 << 20
#: So many messages are read before the events among them are handed on.
_AT_ONCE = 1024

_DECODERS: dict[int, tuple[type[Event], Callable[[Message], Event]]] = {
    MessageType.ACQUIRE: (Acquire, decode_acquire),
    MessageType.EXPIRE: (Expire, decode_expire),
    MessageType.X_NAT_T_NEW_MAPPING: (NatMapping, decode_nat_mapping),
    MessageType.X_MIGRATE: (Migrated, decode_migrated),
    MessageType.X_ADDRUPDATE: (SAMigrated, decode_sa_migrated),
    MessageType.ADD: (SAChange, decode_sa_change),
    MessageType.UPDATE: (SAChange, decode_sa_change),
    MessageType.DELETE: (SAChange, decode_sa_change),
    MessageType.FLUSH: (SAFlush, decode_sa_flush),
    MessageType.X_SPDADD: (PolicyChange, decode_policy_change),
    MessageType.X_SPDUPDATE: (PolicyChange, decode_policy_change),
    MessageType.X_SPDDELETE: (PolicyChange, decode_policy_change),
    MessageType.X_SPDDELETE2: (PolicyChange, decode_policy_change),
    MessageType.X_SPDFLUSH: (PolicyFlush, lambda _: PolicyFlush()),
}
#: Told to those only who have registered; all else is told to every socket.
_FOR_REGISTERED = {Acquire, Expire, NatMapping}
_OF_ONE_SA = {Acquire, Expire, SAChange}
_CHANGES = (SAChange, SAFlush, PolicyChange, PolicyFlush)


class PfkeyEvents:
    """A socket that only listens. Synchronization: one thread.

    AF_KEY drops without a word what a full receive buffer cannot hold. Where it was full, an `EventsLostError` stands
    among the events: it may stand there though nothing more came, but no loss goes without one.
    """

    #: What PF_KEY tells of.
    KINDS = frozenset(kind for kind, _ in _DECODERS.values())

    def __init__(self, kinds: Sequence[type[Event]], netns: str | None, is_own: Callable[[int, int], bool]) -> None:
        self._begin(PfkeySocket(netns, _RECEIVE_BUFFER), kinds, is_own)

    @classmethod
    def over(cls, sock: PfkeySocket, kinds: Sequence[type[Event]], is_own: Callable[[int, int], bool]) -> Self:
        """Listen on a socket that is open already, and is closed with this."""
        events = cls.__new__(cls)
        events._begin(sock, kinds, is_own)
        return events

    def _begin(self, sock: PfkeySocket, kinds: Sequence[type[Event]], is_own: Callable[[int, int], bool]) -> None:
        self._kinds = frozenset(kinds)
        self._is_own = is_own
        self._socket = sock

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket, and wipe what was received last: others' broadcasts carry keys."""
        self._socket.close()

    def start(self) -> None:
        """Register, if any of the kinds is told to the registered only; the kernel looks for its algorithms then."""
        if self._kinds & _FOR_REGISTERED:
            # Whoever has registered for any type of SA hears of all (RFC 2367 §3.1.7 has it per type).
            self._socket.send(Message(MessageType.REGISTER, SAType.ESP, pid=os.getpid()))

    def receive(self) -> list[Event | PfkeyxError]:
        """Return the events that wait; see `EventSource.receive`.

        Raises `KernelError` when the kernel does not let this socket listen, or the socket is broken.
        """
        events: list[Event | PfkeyxError] = []
        has_lost = False
        for _ in repeat(None, _AT_ONCE):
            data = self._socket.receive_view()
            if data is None:
                break
            has_lost = has_lost or self._socket.may_have_lost()
            try:
                event = self._event(data)
            except MalformedReplyError as error:
                events.append(error)
            else:
                events += [] if event is None else [event]
        if has_lost:
            events.append(EventsLostError("PF_KEY events came faster than they were read: dump again"))
        return events

    def _event(self, data: memoryview) -> Event | None:
        header = read_header(data)
        if header.type == MessageType.REGISTER and header.pid == os.getpid() and header.errno:
            raise KernelError.of(header.errno, "listen for PF_KEY events")
        kind, decode = _DECODERS.get(header.type, (None, None))
        if kind not in self._kinds or decode is None or header.errno:
            return None
        # An SA of no IPsec protocol: what a request for an SPI of no type has left behind.
        if kind in _OF_ONE_SA and header.satype not in parts.PROTOCOLS:
            return None
        if kind in _CHANGES and self._is_own(header.pid, header.seq):
            return None
        return decode(read(data))
