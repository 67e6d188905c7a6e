"""A roaming host, which is the test's own namespace, a gateway in another, and the wire between them."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self, TypeVar

from pfkeyx import Authentication, Encryption, Engine, Tunnel, UdpEncap
from pfkeyx.model import IPAddress
from pfkeyx.opening import EngineName
from tests.kernel.namespace import CLONE_NEWNET, empty_sad
from tests.kernel.values import ADDRESSES, roaming_tunnel
from tests.kernel.wire import Wire

T = TypeVar("T")

DEVICE = "uplink"
OUTWARD_SPI, INWARD_SPI = 0x1001, 0x2001
UDP_ENCAP, UDP_ENCAP_ESPINUDP = 100, 2
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace that is kept by a file descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def own(cls) -> Self:
        """Return the calling thread's."""
        return cls(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def new(cls) -> Self:
        """Make one; the caller stays where it is."""

        def make() -> int:
            _check(_libc.unshare(CLONE_NEWNET))
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        return cls(_in_thread(make))

    @property
    def path(self) -> str:
        """Where other processes find it."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def call(self, function: Callable[[], T]) -> T:
        """Return what `function` returns when it runs in there."""

        def enter_and_call() -> T:
            _check(_libc.setns(self._fd, CLONE_NEWNET))
            return function()

        return _in_thread(enter_and_call)

    def ip(self, commands: str) -> None:
        """Run commands of ip in there, one a line."""

        def run() -> None:
            subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)

        self.call(run)

    def dropped(self) -> dict[str, int]:
        """Return what the kernel counts of the packets that IPsec dropped in there, by its names (xfrm_proc.rst)."""
        lines = self.call(Path("/proc/thread-self/net/xfrm_stat").read_text).splitlines()
        return {name: int(count) for name, count in (line.split() for line in lines)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.call(empty_sad)
        os.close(self._fd)


def _in_thread(function: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Host:
    """One end of the wire: its namespace, an XFRM engine in it, and what it sends."""

    def __init__(self, namespace: Namespace, stack: ExitStack) -> None:
        self.namespace = namespace
        self.engine = stack.enter_context(self.open("xfrm"))
        self.wire = stack.enter_context(namespace.call(lambda: Wire(DEVICE)))

    def open(self, name: EngineName) -> Engine:
        """Open another engine in this host."""
        return self.namespace.call(lambda: Engine.open(name))


class Road:
    """A roaming host with two addresses of each family, a gateway, and the tunnel between them.

    Inside the tunnel and out of it are the addresses of `family`; a move may go to the other family.
    """

    def __init__(self, family: int, stack: ExitStack) -> None:
        self.family = family
        self.addresses = ADDRESSES[family]
        gateway = stack.enter_context(Namespace.new())
        roaming = stack.enter_context(Namespace.own())
        roaming.ip(f"link add {DEVICE} type veth peer name {DEVICE} netns {gateway.path}\n" + _roaming_commands())
        gateway.ip(_gateway_commands())
        self.roaming = Host(roaming, stack)
        self.gateway = Host(gateway, stack)
        self._stack = stack

    def set_up_tunnel(
        self,
        encryption: Encryption,
        authentication: Authentication | None = None,
        encap: UdpEncap | None = None,
        engine_name: EngineName = "xfrm",
    ) -> tuple[Tunnel, Tunnel]:
        """Write the SAs and policies of both ends over one interface; return the tunnel as each end sees it."""
        here = replace(roaming_tunnel(self.family), encap=encap)
        there = Tunnel(here.remote, here.local, here.remote_net, here.local_net, here.reqid, _reversed(encap))
        suite = encryption, authentication
        for host, tunnel, outbound, inbound in (
            (self.roaming, here, OUTWARD_SPI, INWARD_SPI),
            (self.gateway, there, INWARD_SPI, OUTWARD_SPI),
        ):
            with host.open(engine_name) as engine:
                engine.add_sas([tunnel.outbound(outbound, *suite), tunnel.inbound(inbound, *suite)])
                engine.add_policies(tunnel.policies())
        return here, there

    def decapsulate(self, *ports: int) -> None:
        """Let both hosts take ESP in UDP on these ports, for both families."""
        for host in (self.roaming, self.gateway):
            for port in ports:
                for family in (socket.AF_INET, socket.AF_INET6):
                    self._stack.enter_context(host.namespace.call(partial(encap_socket, family, port)))


def encap_socket(family: int, port: int, address: str = "") -> socket.socket:
    """Open a socket of the calling thread's namespace that takes ESP in UDP (RFC 3948)."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
    sock.bind((address, port))
    return sock


def _reversed(encap: UdpEncap | None) -> UdpEncap | None:
    return encap.reversed() if encap else None


def _roaming_commands() -> str:
    lines = [f"link set {DEVICE} up"]
    for at in ADDRESSES.values():
        lines += [_add(at.roaming), _add(at.roaming_later), _add(at.roaming_inner, alone=True)]
        lines.append(f"route add {at.gateway_inner} via {at.gateway} dev {DEVICE} src {at.roaming_inner}")
    return "\n".join(lines)


def _gateway_commands() -> str:
    lines = [f"link set {DEVICE} up"]
    for at in ADDRESSES.values():
        lines += [_add(at.gateway), _add(at.gateway_inner, alone=True)]
        lines.append(f"route add {at.roaming_inner} via {at.roaming} dev {DEVICE} src {at.gateway_inner}")
    return "\n".join(lines)


def _add(address: IPAddress, *, alone: bool = False) -> str:
    """Return the ip(8) command; an address is used at once, without a search for duplicates."""
    length = address.max_prefixlen if alone else {4: 24, 6: 64}[address.version]
    return f"addr add {address}/{length} dev {DEVICE}" + (" nodad" if address.version == 6 else "")
