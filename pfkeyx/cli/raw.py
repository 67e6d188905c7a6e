"""Every message of both interfaces, as it passes, for `pfkeyx monitor --raw`. Nothing of it is understood here."""

import select
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple, Protocol

from pfkeyx.errors import EventsLostError, MalformedReplyError, UnsupportedError
from pfkeyx.opening import EngineName, is_pfkey_loaded

#: Octets; AF_KEY drops without a word what does not fit.
_RECEIVE_BUFFER = 32 << 20


class RawMessage(NamedTuple):
    """A message: which interface it is of, its kernel name, and all of it in lines, keys hidden."""

    interface: str
    name: str
    text: str


class Tap(Protocol):
    """A socket that hears messages which are not for it."""

    interface: str

    def fileno(self) -> int:
        """Return the socket's file descriptor."""

    def receive(self) -> list[RawMessage]:
        """Return the messages that wait."""

    def close(self) -> None:
        """Close the socket."""


class PfkeyTap:
    """A promiscuous PF_KEY socket (RFC 2367 §3.1.11)."""

    interface = "pfkey"

    def __init__(self, netns: str | None) -> None:
        from pfkeyx.pfkey import PfkeySocket
        from pfkeyx.pfkey.message import Message, MessageType, SAType

        self._socket = PfkeySocket(netns, _RECEIVE_BUFFER)
        self._last = b""
        # In this message the type of SA is a switch.
        self._socket.send(Message(MessageType.X_PROMISC, SAType(1)))

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._socket.fileno()

    def receive(self) -> list[RawMessage]:
        """Return the messages that wait; what is told to everybody Linux tells to a promiscuous socket twice."""
        from pfkeyx.pfkey.describe import describe

        messages = []
        while (data := self._socket.receive_bytes()) is not None:
            is_repeated = data == self._last
            self._last = b"" if is_repeated else data
            if not is_repeated:
                text = describe(data)
                messages.append(RawMessage(self.interface, text.partition(":")[0], text))
        return messages

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class XfrmTap:
    """A netlink socket in every group of XFRM."""

    interface = "xfrm"

    def __init__(self, netns: str | None) -> None:
        from pfkeyx.xfrm.listening import XfrmMessages

        self._socket = XfrmMessages(netns)

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._socket.fileno()

    def receive(self) -> list[RawMessage]:
        """Return the messages that wait."""
        from pfkeyx.xfrm.describe import describe, message_name

        return [
            RawMessage(self.interface, message_name(header.type), describe(header, message))
            for header, message in self._socket.receive()
        ]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def open_taps(stack: ExitStack, engine: EngineName | None, netns: str | None) -> tuple[list[Tap], list[str]]:
    """Open a tap on the interface that is named, or on each that there is; say why one is missing.

    Raises `UnsupportedError` where there is none.
    """
    taps: list[Tap] = []
    missing = []
    for name, tap in (("xfrm", XfrmTap), ("pfkey", PfkeyTap)):
        if engine is None and name == "pfkey" and not is_pfkey_loaded():
            missing.append("pfkey: af_key is not loaded; --engine pfkey loads it")
        elif engine in (None, name):
            try:
                taps.append(tap(netns))
            except UnsupportedError as error:
                if engine is not None:
                    raise
                missing.append(f"{name}: {error}")
            else:
                stack.callback(taps[-1].close)
    if not taps:
        raise UnsupportedError("monitor --raw", "; ".join(missing))
    return taps, missing


def read_taps(taps: list[Tap]) -> Iterator[RawMessage | EventsLostError | MalformedReplyError]:
    """Yield the messages of all taps as they come, and an error in the place of what is none."""
    poll = select.poll()
    by_fileno = {tap.fileno(): tap for tap in taps}
    for fileno in by_fileno:
        poll.register(fileno, select.POLLIN)
    while True:
        for fileno, _ in poll.poll():
            try:
                yield from by_fileno[fileno].receive()
            except (EventsLostError, MalformedReplyError) as error:
                yield error
