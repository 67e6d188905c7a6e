"""A host, the packets that give a key manager on it something to do, and one that has registered over PF_KEY.

The host is a network namespace of its own. Registering takes a kernel long, since it looks for the module of every
algorithm: one manager serves many tests.
"""

import socket
import struct
from contextlib import ExitStack
from functools import partial

from pfkeyx import Engine, Key
from pfkeyx.native import lib
from pfkeyx.opening import EngineName
from pfkeyx.pfkey.extensions import KeyExtension, NatTPortExtension, NatTTypeExtension, SAExtension
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, SAType
from pfkeyx.pfkey.sockets import PfkeySocket
from tests.kernel.raw import Extensions, all_waiting, host
from tests.kernel.topology import UDP_ENCAP, UDP_ENCAP_ESPINUDP, Namespace
from tests.kernel.values import ADDRESSES

PORT, LATER_PORT = 4500, 61234
REGISTERED = 7
_DEVICE = "uplink"


class Host:
    """A network namespace with the roaming host's addresses, and a socket for ESP in UDP at each.

    Behind the device there is nobody: what is sent there asks for its SA all the same.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.namespace = stack.enter_context(Namespace.new())
        self.namespace.ip("\n".join(_commands()))
        for family in ADDRESSES:
            stack.enter_context(self.namespace.call(partial(_encap_socket, family)))

    def open(self, name: EngineName) -> Engine:
        """Open another engine on this host."""
        return self.namespace.call(lambda: Engine.open(name))

    def send_packet(self, family: int, port: int = 9000) -> None:
        """Send a packet from the roaming host's inner address to a port of the gateway's."""
        at = ADDRESSES[family]
        self._send(family, b"a packet", (str(at.roaming_inner), 9000), (str(at.gateway_inner), port))

    def send_encapsulated(self, family: int, spi: int) -> None:
        """Send ESP in UDP to this host from the peer of `encapsulated`, which is at another port now."""
        at = ADDRESSES[family]
        # Over IPv6 Linux drops a datagram of less than 48 bytes.
        inner = struct.pack(">HHHH32x", 9, 9, 40, 0)
        # RFC 4303 §2, without encryption and ICV: padding, its length, the next header.
        packet = struct.pack(">II", spi, 1) + inner + bytes((1, 2, 2, socket.IPPROTO_UDP))
        self._send(family, packet, (str(at.roaming_later), LATER_PORT), (str(at.roaming), PORT))

    def _send(self, family: int, data: bytes, source: tuple[str, int], destination: tuple[str, int]) -> None:
        with self.namespace.call(lambda: socket.socket(_af(family), socket.SOCK_DGRAM)) as sock:
            sock.bind(source)
            sock.sendto(data, destination)


class KeyManager(Host):
    """A host with a socket that has registered, the bytes that answered to it, and an engine."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        self.engine = stack.enter_context(self.open("pfkey"))
        self.socket = stack.enter_context(self.listen())
        self.socket.send(Message(MessageType.REGISTER, SAType.ESP, seq=REGISTERED, pid=REGISTERED))
        self.registration = bytes(self.socket.receive_bytes() or b"")

    def listen(self) -> PfkeySocket:
        """Open a socket on this host that has not registered."""
        return self.namespace.call(PfkeySocket)

    def begin(self) -> None:
        """Leave nothing of what was before."""
        self.engine.flush_sas()
        self.engine.flush_policies()
        all_waiting(self.socket)


def encapsulated(family: int, spi: int) -> Extensions:
    """Return an SA without encryption, by which a peer sends ESP in UDP to this host."""
    at = ADDRESSES[family]
    return {
        ExtensionType.SA: SAExtension(spi, 0, lib.SADB_SASTATE_MATURE, lib.SADB_AALG_NONE, lib.SADB_EALG_NULL),
        ExtensionType.ADDRESS_SRC: host(at.roaming_later),
        ExtensionType.ADDRESS_DST: host(at.roaming),
        ExtensionType.KEY_ENCRYPT: KeyExtension.of(Key(b"")),
        ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(UDP_ENCAP_ESPINUDP),
        ExtensionType.X_NAT_T_SPORT: NatTPortExtension(PORT),
        ExtensionType.X_NAT_T_DPORT: NatTPortExtension(PORT),
    }


def _commands() -> list[str]:
    lines = [
        "link set lo up",
        f"link add {_DEVICE} type veth peer name nobody",
        f"link set {_DEVICE} up",
        "link set nobody up",
    ]
    for family, at in ADDRESSES.items():
        nodad = " nodad" if family == 6 else ""
        length = {4: 24, 6: 64}[family]
        lines += [f"addr add {address}/{length} dev {_DEVICE}{nodad}" for address in (at.roaming, at.roaming_later)]
        lines.append(f"addr add {at.roaming_inner} dev {_DEVICE}{nodad}")
        lines.append(f"route add {at.gateway_inner} via {at.gateway} dev {_DEVICE} src {at.roaming_inner}")
    return lines


def _encap_socket(family: int) -> socket.socket:
    sock = socket.socket(_af(family), socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
    sock.bind((str(ADDRESSES[family].roaming), PORT))
    return sock


def _af(family: int) -> socket.AddressFamily:
    return socket.AF_INET if family == 4 else socket.AF_INET6
