"""What an engine sends, written down, so that the floor sends the same."""

import socket
import struct
from array import array
from collections.abc import Callable
from pathlib import Path

from pfkeyx import Engine
from pfkeyx.entries import Messages
from pfkeyx.native import RECEIVE_BUFFER, ffi, lib, open_raw
from pfkeyx.opening import EngineName
from pfkeyx.pfkey import PfkeyDialect, PfkeySocket, PfkeyTransport
from pfkeyx.pfkey.cdata import CData
from pfkeyx.pfkey.message import Outgoing
from pfkeyx.xfrm import XfrmDialect, XfrmTransport
from pfkeyx.xfrm.transport import open_socket


class _XfrmRecorder(socket.socket):
    """A socket that remembers its datagrams."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        self.sent: list[bytes] = []

    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override]
        self.sent.append(bytes(data))
        return super().send(data, flags)


class _PfkeyRecorder(PfkeySocket):
    """The same of PF_KEY, whose messages are in C memory."""

    sent: list[bytes]

    def send_bytes(self, message: Outgoing) -> int:
        self.sent.append(bytes(ffi.buffer(message.data, message.size)))
        return super().send_bytes(message)

    def send_asked(self, messages: Messages, answers: "array[int]", asked: CData) -> None:
        super().send_asked(messages, answers, asked)
        self.sent += map(bytes, messages)


class _PfkeyRecordingTransport(PfkeyTransport):
    sent: list[bytes]

    def _begin(self, sock: PfkeySocket, netns: str | None) -> None:
        recorder = _PfkeyRecorder.over(sock._socket)
        recorder.sent = self.sent = []
        super()._begin(recorder, netns)


def record(name: EngineName, path: Path, work: Callable[[Engine], object], before: Callable[[Engine], object]) -> None:
    """Let an engine work, and write what it sent, but for what it did `before`, to a file that the floor reads."""
    if name == "xfrm":
        sock = _XfrmRecorder(open_socket(None))
        sent, engine = sock.sent, Engine(XfrmDialect(), XfrmTransport.over(sock, sock.getsockname()[0]))
    else:
        descriptor = open_raw(socket.AF_KEY, lib.PF_KEY_V2, None, RECEIVE_BUFFER)
        raw = socket.socket(socket.AF_KEY, socket.SOCK_RAW, lib.PF_KEY_V2, fileno=descriptor)
        transport = _PfkeyRecordingTransport.over(raw)
        sent, engine = transport.sent, Engine(PfkeyDialect(), transport)
    with engine:
        before(engine)
        sent.clear()
        work(engine)
    path.write_bytes(b"".join(struct.pack("=I", len(datagram)) + datagram for datagram in sent))
