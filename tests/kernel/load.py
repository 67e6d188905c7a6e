"""What the tests of load have in common: what fills the kernel's tables, what others do meanwhile, how many do it."""

import os
import socket
import struct
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, ip_address, ip_network
from itertools import count
from typing import Any

import pytest
from pyroute2.netlink import NLM_F_ACK

from pfkeyx import (
    HMAC_SHA1,
    NULL,
    SA,
    AlreadyExistsError,
    Authentication,
    Change,
    Direction,
    Encryption,
    Engine,
    Event,
    Key,
    NotFoundError,
    Policy,
    SAChange,
    SAFilter,
    SAId,
    Selector,
)
from pfkeyx.native import lib
from pfkeyx.opening import EngineName
from pfkeyx.xfrm import XfrmDialect
from pfkeyx.xfrm.transport import open_socket
from tests.kernel.children import Work, working
from tests.kernel.values import by_identity

IS_SOAK = bool(os.environ.get("SOAK"))
#: In the long form of the tests more, and longer.
MANY = 20_000 if IS_SOAK else 1_000
WORK_S = 60 if IS_SOAK else 2
WORKERS = 8 if IS_SOAK else 4
SOURCE = ip_address("203.0.113.1")
#: Whose SAs and policies come and go.
OTHERS = 99
_BATCH = 64


def owned_sa(owner: int, number: int) -> SA:
    """Return an SA that costs the kernel little, and whose SPI and key no other has."""
    return SA(
        SAId(ip_address(f"198.51.100.{owner}"), owner << 24 | number),
        SOURCE,
        reqid=owner,
        encryption=Encryption(NULL, Key(b"")),
        authentication=Authentication(HMAC_SHA1, Key(b"%020d" % (owner << 32 | number))),
    )


def owned_sas(owner: int, amount: int) -> list[SA]:
    """Return SAs of one owner."""
    return [owned_sa(owner, number) for number in range(amount)]


def owned_policy(owner: int, number: int) -> Policy:
    """Return a policy whose selector no other has."""
    destination = ip_network(IPv4Address(owner << 24 | number))
    return Policy(Selector(ip_network(SOURCE), destination), Direction.OUT, priority=owner)


def change_sas(engine_name: EngineName, owner: int = OTHERS) -> Generator[None, None, None]:
    """Add and delete SAs of somebody else."""
    sas = owned_sas(owner, 32)
    with Engine.open(engine_name) as engine:
        while True:
            engine.add_sas(sas)
            for sa in sas:
                engine.delete_sa(sa.id)
            yield


def change_policies(engine_name: EngineName, owner: int = OTHERS) -> Generator[None, None, None]:
    """Add and delete policies of somebody else."""
    policies = [owned_policy(owner, number) for number in range(32)]
    with Engine.open(engine_name) as engine:
        while True:
            engine.add_policies(policies)
            for policy in policies:
                engine.delete_policy(policy.id)
            yield


@dataclass(frozen=True, slots=True)
class Table:
    """One of the kernel's two tables, and the entries of owner 1 in it, which have numbers."""

    #: Adds entries with these numbers.
    fill: Callable[[range], None]
    #: Adds and deletes entries of `OTHERS`.
    change: Callable[[EngineName], Generator[None, None, None]]
    dump: Callable[[Engine], Iterable[Any]]
    stream: Callable[[Engine], Iterable[Any]]
    #: Returns the owner and the number of an entry.
    identify: Callable[[Any], tuple[int, int]]

    def numbers(self, entries: Iterable[Any]) -> list[int]:
        """Return the numbers of owner 1's entries, in order; there may be others', and nobody else's."""
        identities = [self.identify(entry) for entry in entries]
        assert {owner for owner, _ in identities} <= {1, OTHERS}
        return sorted(number for owner, number in identities if owner == 1)


_MARKER = 0xABCDEF


def fill_sas(numbers: range) -> None:
    """Add SAs of owner 1 that differ in their SPI alone."""
    sa = owned_sa(1, _MARKER)
    _send_many(XfrmDialect().add_sa(sa).wire.message, sa.id.spi, (1 << 24 | number for number in numbers))


def fill_policies(numbers: range) -> None:
    """Add policies of owner 1 that differ in their destination alone."""
    policy = owned_policy(1, _MARKER)
    message = XfrmDialect().add_policy(policy).wire.message
    _send_many(message, 1 << 24 | _MARKER, (1 << 24 | number for number in numbers))


def _send_many(message: bytearray, placeholder: int, wanted: Iterable[int]) -> None:
    """Send a message many times, with one number in the place of another.

    It is built once: to build each takes most of the time that there is.
    """
    place = placeholder.to_bytes(4, "big")
    assert message.count(place) == 1
    (flags,) = struct.unpack_from("=H", message, 6)
    struct.pack_into("=H", message, 6, flags & ~NLM_F_ACK)
    messages = [bytes(message.replace(place, number.to_bytes(4, "big"))) for number in wanted]
    with open_socket(None) as sock:
        for first in range(0, len(messages), _BATCH):
            sock.send(b"".join(messages[first : first + _BATCH]))
        try:
            refusal = sock.recv(4096)
        except BlockingIOError:
            refusal = b""
    assert not refusal


SAS = Table(
    fill_sas,
    change_sas,
    dump=lambda engine: engine.dump_sas(),
    stream=lambda engine: engine.iter_sas(),
    identify=lambda sa: (sa.reqid, sa.id.spi & 0xFFFFFF),
)
POLICIES = Table(
    fill_policies,
    change_policies,
    dump=lambda engine: engine.dump_policies(),
    stream=lambda engine: engine.iter_policies(),
    identify=lambda policy: (policy.priority, int(policy.selector.destination.network_address) & 0xFFFFFF),
)


def shrink(fd: int, octets: int) -> None:
    """Leave a socket so little room for what arrives, or what the kernel insists on."""
    # Python asks the kernel what family a socket is of unless it is told, and AF_KEY gives no answer.
    with socket.socket(socket.AF_KEY, socket.SOCK_RAW, lib.PF_KEY_V2, fileno=os.dup(fd)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, octets // 2)


def check_that_replies_are_ones_own(engine_name: EngineName, *noise: Work) -> None:
    """Let many work side by side, and assert that each of them gets what it asked for, whatever others do."""
    workers = [partial(_see_nothing_but_ones_own, engine_name, owner) for owner in range(1, 1 + WORKERS)]
    with working(*workers, *noise) as rounds:
        until = time.monotonic() + WORK_S
        while time.monotonic() < until and all(rounds()):
            time.sleep(0.1)
        assert all(rounds())
    with Engine.open(engine_name) as engine:
        assert [sa for sa in engine.dump_sas() if sa.reqid != OTHERS] == []


def _see_nothing_but_ones_own(engine_name: EngineName, owner: int) -> Generator[None, None, None]:
    """Add, read and delete SAs that nobody else has, and see what comes back."""
    source, destination = SOURCE, ip_address(f"198.51.100.{owner}")
    mine = SAFilter(destination=ip_network(destination))
    with Engine.open(engine_name) as engine:
        for turn in count():
            sas = [owned_sa(owner, 4 * turn + number) for number in range(4)]
            engine.add_sa(sas[0])
            engine.add_sas(sas[1:])
            assert [engine.get_sa(sa.id).as_written() for sa in sas] == sas
            with pytest.raises(AlreadyExistsError):
                engine.add_sa(sas[-1])
            assert by_identity(engine.dump_sas(mine)) == sas
            low = owner << 24 | 0xFF0000
            spi = engine.get_spi(source, destination, reqid=owner, minimum=low, maximum=low + 0xFF)
            assert low <= spi <= low + 0xFF
            for sa_id in (SAId(destination, spi), *(sa.id for sa in sas)):
                engine.delete_sa(sa_id)
            with pytest.raises(NotFoundError):
                engine.get_sa(sas[0].id)
            assert engine.dump_sas(mine) == []
            yield


def told_by(event: Event | None) -> tuple[Change, SA]:
    """Return what an event says of an SA."""
    assert isinstance(event, SAChange)
    return event.change, event.sa.as_written()
