"""How long traffic stands still while its tunnel moves, by the times at which packets were on the wire.

A host sends through its tunnel without a pause, before everybody else, so that it stands still only where the kernel
makes it. At the other end of the wire a packet socket sees when each packet came.
"""

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address
from itertools import pairwise
from multiprocessing import get_context
from typing import NoReturn, TypeVar

from bench import gateway
from bench.contest import FLOOR, Contest, Contestant
from bench.gateway import BACK, LOCAL, NEW_LOCAL, THERE
from bench.ground import Ground
from bench.moves import replacement
from pfkeyx import Feature, Method
from pfkeyx.demo.traffic import SO_TIMESTAMPNS, stamped_packets
from pfkeyx.model import IPAddress, prefix_address
from pfkeyx.testing import Namespace
from pfkeyx.testing.wire import enlarge

T = TypeVar("T")

_INTERVAL_S = 0.0002
_PAUSE_S = 0.002
_PATIENCE_S = 10
_ETH_P_IP = 0x0800
_PORT = 7000
_DEVICE = "uplink"
_INNER = IPv4Address("172.16.0.1")
_MAC = "02:00:00:00:00:0"
_METHODS = (Method.MIGRATE_STATE, Method.MIGRATE, Method.REPLACE)


def interruption(ground: Ground, size: int) -> Contest:
    """Move one tunnel under traffic, by each method and by get, delete and add; the floor is that nothing moves."""
    del size
    sas, policies, (tunnel,) = gateway.gcm_sas(2), gateway.policies(1), gateway.tunnels(1)
    ground.xfrm.add_sas(sas)
    ground.xfrm.add_policies(policies)
    there = replacement(ground, sas, policies, LOCAL, NEW_LOCAL)
    moved_sas, moved_policies = list(ground.xfrm.dump_sas()), list(ground.xfrm.dump_policies())
    back = replacement(ground, moved_sas, moved_policies, NEW_LOCAL, LOCAL)
    wire = _Wire(ground, tunnel.remote, prefix_address(tunnel.remote_net))
    place = _Place()
    has_state = ground.xfrm.supports(Feature.MIGRATE_STATE).available
    methods = _METHODS if has_state else _METHODS[1:]

    def migrate(method: Method) -> None:
        ground.xfrm.migrate(ground.xfrm.plan_migration(place.change(THERE, BACK), method))

    works: dict[str, Callable[[], object]] = {
        **{method.value: partial(migrate, method) for method in methods},
        "get, delete, add": lambda: ground.replay(place.change(there, back)),
        FLOOR: lambda: time.sleep(_PAUSE_S),
    }
    return Contest([Contestant(name, partial(wire.longest_pause, work)) for name, work in works.items()])


class _Place:
    """Where the tunnel is."""

    def __init__(self) -> None:
        self._is_away = False

    def change(self, there: T, back: T) -> T:
        """Return what brings it to the other place, where it is then."""
        self._is_away = not self._is_away
        return there if self._is_away else back


class _Wire:
    """The wire between the host and its remote end, and who sends on it."""

    def __init__(self, ground: Ground, remote: IPAddress, inner: IPAddress) -> None:
        here, there = (ground.stack.enter_context(space) for space in (Namespace.own(), Namespace.new()))
        _ip(
            here,
            f"link add {_DEVICE} address {_MAC}1 type veth peer name {_DEVICE} address {_MAC}2 netns {there.path}\n"
            f"link set {_DEVICE} up\n"
            f"addr add {LOCAL}/32 dev {_DEVICE}\n"
            f"addr add {NEW_LOCAL}/32 dev {_DEVICE}\n"
            f"addr add {_INNER}/32 dev {_DEVICE}\n"
            f"neigh add {remote} lladdr {_MAC}2 dev {_DEVICE}\n"
            f"route add {remote} dev {_DEVICE}\n"
            f"route add {inner} via {remote} dev {_DEVICE} onlink src {_INNER}\n",
        )
        ground.stack.callback(_ip, here, f"link delete {_DEVICE}\n")
        _ip(there, f"link set {_DEVICE} up\n")
        self._socket = ground.stack.enter_context(there.call(_listen))
        sender = get_context("fork").Process(target=_send_for_ever, args=(inner,))
        sender.start()
        ground.stack.callback(sender.join)
        ground.stack.callback(sender.kill)

    def longest_pause(self, work: Callable[[], object]) -> float:
        """Return the longest time in seconds between two packets, from before some work until after it."""
        self._times_until(time.time_ns())
        begun = time.time_ns()
        times = self._times_until(begun)
        work()
        times += self._times_until(time.time_ns())
        return max(later - earlier for earlier, later in pairwise(times)) / 1e9

    def _times_until(self, moment: int) -> list[int]:
        """Return when packets came, until one that came after a moment."""
        times: list[int] = []
        patience = time.monotonic() + _PATIENCE_S
        while not times or times[-1] < moment:
            assert time.monotonic() < patience, "no packet comes through the tunnel"
            time.sleep(_INTERVAL_S)
            times += [time_ns for _, time_ns in stamped_packets(self._socket)]
        return times


def _ip(space: Namespace, commands: str) -> None:
    space.run("ip", "-batch", "-", input=commands)


def _listen() -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    enlarge(sock)
    sock.bind((_DEVICE, _ETH_P_IP))
    sock.setblocking(False)
    return sock


def _send_for_ever(inner: IPAddress) -> NoReturn:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        while True:
            begun = time.monotonic()
            with suppress(OSError):
                sock.sendto(b"", (str(inner), _PORT))
            # On a slow machine too, the others have half of the time.
            time.sleep(max(_INTERVAL_S, time.monotonic() - begun))
