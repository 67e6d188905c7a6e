"""PF_KEY sockets: whole messages out, whole messages in. Which answers which is not decided here."""

import errno
import select
import socket
from array import array
from types import TracebackType
from typing import Self

from pfkeyx.entries import Messages, Received
from pfkeyx.errors import ClosedError, KernelError, MalformedReplyError, UnsupportedError
from pfkeyx.native import RECEIVE_BUFFER, ffi, lib, open_raw
from pfkeyx.operation import Readiness
from pfkeyx.pfkey.cdata import CData
from pfkeyx.pfkey.message import Message, Outgoing, build, read

_PAGE = 4096


class PfkeySocket:
    """A PF_KEY socket for those who speak the protocol themselves: it sends and receives any message.

    It hears what every PF_KEY socket of the namespace hears: the answers to its own messages, and all changes that
    anyone makes, with their keys; once it has sent SADB_REGISTER also acquires, expiries and NAT mappings, and after
    SADB_X_PROMISC everything. Matching answers to requests is left to you: `Engine.exchange` does it.
    `netns` is a name under /run/netns or a path, None the caller's; `receive_buffer` is in octets.
    Synchronization: one thread.

    Raises `UnsupportedError` when the kernel has no PF_KEY, `NotPermittedError` without the right to open or enter,
    `NotFoundError` when there is no such namespace.
    """

    def __init__(self, netns: str | None = None, receive_buffer: int = RECEIVE_BUFFER) -> None:
        try:
            descriptor = open_raw(socket.AF_KEY, lib.PF_KEY_V2, netns, receive_buffer)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                hint = "this kernel has no PF_KEY: load af_key, or open the xfrm engine"
                raise UnsupportedError("AF_KEY", hint) from error
            subject = f"in namespace {netns}" if netns else ""
            raise KernelError.of(error.errno or errno.EIO, "open PF_KEY socket", subject) from error
        self._begin(socket.socket(socket.AF_KEY, socket.SOCK_RAW, lib.PF_KEY_V2, fileno=descriptor))

    @classmethod
    def over(cls, sock: socket.socket) -> Self:
        """Return one over a non-blocking PF_KEY socket that is open already, and is closed with it."""
        wrapped = cls.__new__(cls)
        wrapped._begin(sock)
        return wrapped

    def _begin(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = ffi.gc(ffi.new("struct pfkeyx_buffer *"), lib.pfkeyx_buffer_release)

    def fileno(self) -> int:
        """Return the file descriptor, -1 when closed; it can be polled, or watched by an event loop."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket, and wipe what was received last."""
        self._socket.close()
        lib.pfkeyx_buffer_release(self._buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def send(self, message: Message) -> None:
        """Send a message as it is, with its own seq and pid.

        Raises `InvalidRequestError` for one that cannot be built, `KernelError` when the kernel does not take it in;
        that it took it in says nothing yet: the answer does.
        """
        if error := self.send_bytes(build(message)):
            raise KernelError.of(error, f"send {message.type}")

    def receive(self, timeout_s: float | None = 0) -> Message | None:
        """Return the next message, None when none came in `timeout_s` seconds; a timeout of None waits for ever.

        Raises `MalformedReplyError` for one that makes no sense, and has taken it from the socket.
        """
        while (data := self.receive_view()) is None:
            poll = select.poll()
            poll.register(self._open_fd(), select.POLLIN)
            if not poll.poll(None if timeout_s is None else timeout_s * 1000):
                return None
        return read(data)

    async def receive_async(self) -> Message:
        """Return the next message, waiting for it in the running event loop; see `receive`."""
        while (data := self.receive_view()) is None:
            await Readiness(self._open_fd()).future
        return read(data)

    def may_have_lost(self) -> bool:
        """Return whether the kernel may have dropped messages without a word before the last one was received.

        It does when the receive buffer is full. Only reading makes room, so one that has room for the message that was
        just read from it was not full before: asked after each message, this misses no loss.
        """
        # A message takes its size rounded up to a power of two, and the kernel's own notes on it.
        status = lib.pfkeyx_has_room(self._open_fd(), 2 * self._buffer.size + _PAGE)
        if status < 0:
            raise KernelError.of(-status, "look into the PF_KEY socket")
        return not status

    def send_bytes(self, message: Outgoing) -> int:
        """Send a message that is built already, and return 0 or the errno with which the kernel did not take it in."""
        return -lib.pfkeyx_send(self._open_fd(), message.data, message.size)

    def receive_bytes(self) -> bytes | None:
        """Return the bytes of the next message, None when none waits; others' messages have keys in them.

        Raises `KernelError` when the socket is broken.
        """
        view = self.receive_view()
        return None if view is None else bytes(view)

    def receive_view(self) -> memoryview | None:
        """Return the next message where the C core has it, wiped when it is done with; None when none waits.

        It must not be looked at after another message was received or the socket was closed: it lies elsewhere then.
        Raises `KernelError` when the socket is broken.
        """
        status = lib.pfkeyx_receive(self._open_fd(), self._buffer)
        if status == -errno.EAGAIN:
            return None
        if status < 0:
            raise KernelError.of(-status, "receive from PF_KEY")
        return memoryview(ffi.buffer(self._buffer.data, self._buffer.size))

    def send_asked(self, messages: Messages, answers: "array[int]", asked: CData) -> None:
        """Send messages that are only acknowledged under numbers of their own; `answers` says what was not taken in."""
        data, ends = ffi.from_buffer(messages.data), array("I", messages.ends)
        lib.pfkeyx_send_asked(
            self._open_fd(), data, ffi.from_buffer("uint32_t[]", ends), ffi.from_buffer("uint16_t[]", answers), asked
        )

    def receive_answers(self, answers: "array[int]", asked: CData, most: int) -> int:
        """Note in `answers` those among the next messages, up to so many; return how many came, 0 when none waits.

        Raises `KernelError` when the socket is broken, `MalformedReplyError` for a message that is none.
        """
        noted = ffi.from_buffer("uint16_t[]", answers)
        count = lib.pfkeyx_receive_answers(self._open_fd(), self._buffer, noted, asked, most)
        match -count:
            case errno.EAGAIN:
                return 0
            case errno.EBADMSG:
                raise MalformedReplyError("PF_KEY: what came is no message: too short, or of another version")
            case code if code > 0:
                raise KernelError.of(code, "receive from PF_KEY")
        return count

    def pass_over(self, most: int) -> int:
        """Take up to so many messages away without looking at them, as long as any wait, and return how many."""
        return lib.pfkeyx_pass_over(self._open_fd(), most)

    def receive_entries(self, dump: CData, most: int) -> Received:
        """Return the entries of a dump that wait, or so many octets of them, in `dump` where that has come to."""
        fd = self._open_fd()
        return Received(lambda entries: lib.pfkeyx_receive_pfkey_dump(fd, entries, dump, most))

    def _open_fd(self) -> int:
        fd = self._socket.fileno()
        if fd < 0:
            raise ClosedError("the PF_KEY socket is closed: open another PfkeySocket()")
        return fd
