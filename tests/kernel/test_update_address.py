"""One SA gets other addresses: by SADB_X_ADDRUPDATE where the kernel has it, and else with the same result."""

import errno
import os
import random
import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from pfkeyx import (
    AES_CTR,
    AES_GCM,
    HMAC_SHA256,
    SA,
    AlreadyExistsError,
    AsyncEngine,
    Authentication,
    Encryption,
    Engine,
    Feature,
    InvalidRequestError,
    Method,
    NotFoundError,
    Policy,
    SAId,
    SAMigrated,
    UdpEncap,
)
from pfkeyx.model import IPAddress
from pfkeyx.native import ffi, lib
from pfkeyx.pfkey.extensions import Extension, NatTPortExtension, NatTTypeExtension, SAExtension
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, SAType, build
from pfkeyx.pfkey.sockets import PfkeySocket
from pfkeyx.testing import Traffic
from tests.kernel.audit import requires
from tests.kernel.moves import check_wire, move, places, updates
from tests.kernel.raw import Extensions, ask, ends, esp, host, refusal
from tests.kernel.topology import INWARD_SPI, OUTWARD_SPI, Road
from tests.kernel.values import ADDRESSES, authentication, encryption

_PATIENCE_S = 60
_BASE_HEADER = 16
#: In the long form of the tests more.
MUTANTS, MOVES = (10_000, 1_000) if os.environ.get("SOAK") else (500, 4)
UPDATES = 1_000
BYSTANDER = 0x7000_0000
OTHER = 0x4242
SUITES: dict[str, tuple[Encryption, Authentication | None]] = {
    "AES-GCM": (encryption(AES_GCM, 20), None),
    "AES-CBC": (encryption(), authentication(HMAC_SHA256, 32)),
    "AES-CTR": (encryption(AES_CTR, 20), authentication(HMAC_SHA256, 32)),
}


@pytest.fixture(params=list(SUITES.values()), ids=list(SUITES))
def tunnel(request: pytest.FixtureRequest, road: Road) -> Road:
    """Set up a tunnel of each kind of cipher."""
    road.set_up_tunnel(*request.param)
    return road


@pytest.fixture
def road_with_a_tunnel(road: Road) -> Road:
    """Set up a tunnel."""
    road.set_up_tunnel(*SUITES["AES-GCM"])
    return road


def test_one_sa_gets_other_ends_and_all_else_stays(tunnel: Road) -> None:
    engine, (_, later) = tunnel.roaming.engine, places(tunnel.family)
    policies = _written(engine.dump_policies())
    outbound, inbound = _sas(engine)
    for sa, source, destination in ((outbound, later.roaming, later.gateway), (inbound, later.gateway, later.roaming)):
        report = engine.update_address(sa.id, source, destination)
        ((before, after),) = report.sas
        assert before == sa
        assert after.as_written() == sa.as_written().moved(source, destination, None)
        assert (report.policies, _written(engine.dump_policies())) == ((), policies)
    assert {sa.id.spi for sa in engine.dump_sas()} == {OUTWARD_SPI, INWARD_SPI}


def test_one_sa_goes_to_the_other_family_and_gets_an_encapsulation(road_with_a_tunnel: Road) -> None:
    engine = road_with_a_tunnel.roaming.engine
    abroad = ADDRESSES[10 - road_with_a_tunnel.family]
    inbound = _sas(engine)[1]
    encap = UdpEncap(4500, 61234)
    report = engine.update_address(inbound.id, abroad.gateway, abroad.roaming, encap=encap)
    ((_, after),) = report.sas
    assert (after.source, after.destination, after.encap) == (abroad.gateway, abroad.roaming, encap)
    back = engine.update_address(after.id, inbound.source, inbound.destination, encap=None)
    assert back.sas[0][1].as_written() == inbound.as_written()


@requires(Feature.ADDRUPDATE)
def test_it_is_the_message_of_the_draft_that_does_it(tunnel: Road) -> None:
    _, later = places(tunnel.family)
    with tunnel.roaming.open("pfkey") as pfkey:
        for engine in (tunnel.roaming.engine, pfkey):
            outbound, _ = _sas(engine)
            report = engine.update_address(outbound.id, later.roaming, outbound.destination)
            assert [move.method for move in report.plan.sa_moves()] == [Method.ADDRUPDATE]
            engine.update_address(outbound.id, outbound.source, outbound.destination)


async def test_it_is_awaited_too(road_with_a_tunnel: Road) -> None:
    _, later = places(road_with_a_tunnel.family)
    async with AsyncEngine.open("xfrm") as engine:
        outbound, _ = _in_order(await engine.dump_sas())
        report = await engine.update_address(outbound.id, later.roaming, outbound.destination)
    assert [after.source for _, after in report.sas] == [later.roaming]


def test_what_cannot_be_is_refused_and_changes_nothing(road_with_a_tunnel: Road) -> None:
    engine, (_, later) = road_with_a_tunnel.roaming.engine, places(road_with_a_tunnel.family)
    outbound, inbound = _sas(engine)
    engine.add_sa(replace(inbound.as_written(), id=replace(inbound.id, destination=later.roaming), reqid=OTHER))
    before = engine.dump_sas()
    nobody = SAId(outbound.destination, OTHER)
    with pytest.raises(NotFoundError):
        engine.update_address(nobody, later.roaming, outbound.destination)
    with pytest.raises(AlreadyExistsError):
        engine.update_address(inbound.id, inbound.source, later.roaming)
    with pytest.raises(InvalidRequestError, match="nothing would change"):
        engine.update_address(outbound.id, outbound.source, outbound.destination)
    with pytest.raises(InvalidRequestError, match="mixes IPv4 and IPv6"):
        engine.update_address(outbound.id, ADDRESSES[10 - road_with_a_tunnel.family].roaming, outbound.destination)
    assert engine.dump_sas() == before


@requires(Feature.ADDRUPDATE)
def test_a_tunnel_that_goes_to_and_fro_under_traffic_repeats_nothing(
    road_with_a_tunnel: Road, traffic: Traffic
) -> None:
    stops = places(road_with_a_tunnel.family)
    path = [stops[number % 2] for number in range(MOVES + 1)]
    with traffic.flood():
        for old, new in pairwise(path):
            move(road_with_a_tunnel, old, new, Method.ADDRUPDATE)
            traffic.wait_until_it_flows()
    check_wire(road_with_a_tunnel, path)


@requires(Feature.ADDRUPDATE)
def test_over_pf_key_alone_a_whole_tunnel_moves_by_it_and_loses_nothing(tunnel: Road, traffic: Traffic) -> None:
    first, second = places(tunnel.family)
    traffic.send()
    for end, update in zip((tunnel.roaming, tunnel.gateway), updates(first, second), strict=True):
        with end.open("pfkey") as engine:
            report = engine.migrate(update)
        assert {move.method for move in report.plan.sa_moves()} == {Method.ADDRUPDATE}
    traffic.send()
    check_wire(tunnel, [first, second])


# ---- the message itself ----


@requires(Feature.ADDRUPDATE)
def test_the_answer_is_the_request_and_all_hear_it(family: int, own_network_namespace: None) -> None:  # noqa: ARG001
    with Engine.open("pfkey") as engine, PfkeySocket() as listener:
        _add(engine, family)
        extensions = _move(family)
        answer = ask(engine, MessageType.X_ADDRUPDATE, extensions)
        assert (answer.type, answer.satype, answer.errno) == (MessageType.X_ADDRUPDATE, SAType.ESP, 0)
        assert answer.extensions == extensions
        heard = [message for message in iter(listener.receive, None) if message.type is MessageType.X_ADDRUPDATE]
        assert [message.extensions for message in heard] == [extensions]


@requires(Feature.ADDRUPDATE)
@pytest.mark.parametrize("change", ["nothing", "add", "other ports", "remove"])
def test_the_encapsulation_is_kept_or_as_the_message_says(
    change: str,
    family: int,
    own_network_namespace: None,  # noqa: ARG001
) -> None:
    with Engine.open("pfkey") as engine:
        _add(engine, family, {} if change == "add" else _nat_t(4500, 4500))
        by_change: dict[str, Extensions] = {
            "nothing": {},
            "add": _nat_t(4500, 61234),
            "other ports": _nat_t(4501, 61234),
            "remove": {ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(0)},
        }
        said = by_change[change]
        answer = ask(engine, MessageType.X_ADDRUPDATE, _move(family) | said)
        assert answer.extensions == _move(family) | said
        (sa,) = engine.dump_sas()
    expected = {
        "nothing": UdpEncap(4500, 4500),
        "add": UdpEncap(4500, 61234),
        "other ports": UdpEncap(4501, 61234),
        "remove": None,
    }
    assert sa.encap == expected[change]


_WRONG: dict[str, tuple[dict[int, Extension | None], int]] = {
    "no SA": ({ExtensionType.SA: None}, errno.EINVAL),
    "no source": ({ExtensionType.ADDRESS_SRC: None}, errno.EINVAL),
    "no destination": ({ExtensionType.ADDRESS_DST: None}, errno.EINVAL),
    "no new source": ({ExtensionType.X_NEW_ADDRESS_SRC: None}, errno.EINVAL),
    "no new destination": ({ExtensionType.X_NEW_ADDRESS_DST: None}, errno.EINVAL),
    "another SPI": ({ExtensionType.SA: SAExtension(OTHER)}, errno.ESRCH),
    "ports of no encapsulation": ({ExtensionType.X_NAT_T_SPORT: NatTPortExtension(4500)}, errno.EINVAL),
    "an encapsulation without ports": ({ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(2)}, errno.EINVAL),
    "an encapsulation with one port": (
        {ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(2), ExtensionType.X_NAT_T_SPORT: NatTPortExtension(4500)},
        errno.EINVAL,
    ),
    "an encapsulation with the other port": (
        {ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(2), ExtensionType.X_NAT_T_DPORT: NatTPortExtension(4500)},
        errno.EINVAL,
    ),
    "an unknown encapsulation": (
        {
            ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(77),
            ExtensionType.X_NAT_T_SPORT: NatTPortExtension(1),
            ExtensionType.X_NAT_T_DPORT: NatTPortExtension(1),
        },
        errno.EINVAL,
    ),
}


@requires(Feature.ADDRUPDATE)
@pytest.mark.parametrize(("changes", "code"), _WRONG.values(), ids=_WRONG)
def test_a_message_that_is_not_right_is_refused_and_moves_nothing(
    changes: dict[int, Extension | None],
    code: int,
    family: int,
    own_network_namespace: None,  # noqa: ARG001
) -> None:
    with Engine.open("pfkey") as engine:
        _add(engine, family)
        before = engine.dump_sas()
        whole: dict[int, Extension | None] = {**_move(family), **changes}
        wanted = {it: value for it, value in whole.items() if value is not None}
        assert refusal(engine, MessageType.X_ADDRUPDATE, wanted) == code
        assert engine.dump_sas() == before


@requires(Feature.ADDRUPDATE)
def test_addresses_that_no_sa_can_have_are_refused(family: int, own_network_namespace: None) -> None:  # noqa: ARG001
    at, other = ADDRESSES[family], ADDRESSES[10 - family]
    zero, multicast = type(at.roaming)(0), type(at.roaming)({4: "224.0.0.1", 6: "ff02::1"}[family])
    with Engine.open("pfkey") as engine:
        _add(engine, family)
        before = engine.dump_sas()
        for source, destination in (
            (zero, at.gateway),
            (at.roaming, zero),
            (multicast, at.gateway),
            (at.roaming, multicast),
            (at.roaming, other.gateway),
        ):
            wanted = _move(family) | _new_ends(source, destination)
            assert refusal(engine, MessageType.X_ADDRUPDATE, wanted) == errno.EINVAL
        assert (
            refusal(
                engine, MessageType.X_ADDRUPDATE, _move(family) | {ExtensionType.ADDRESS_SRC: host(at.roaming_later)}
            )
            == errno.ESRCH
        )
        assert engine.dump_sas() == before


@requires(Feature.ADDRUPDATE)
def test_a_larval_sa_and_a_taken_place_are_refused(family: int, own_network_namespace: None) -> None:  # noqa: ARG001
    at = ADDRESSES[family]
    with Engine.open("pfkey") as engine:
        spi = engine.get_spi(at.roaming, at.gateway)
        larval = _move(family) | {ExtensionType.SA: SAExtension(spi)}
        assert refusal(engine, MessageType.X_ADDRUPDATE, larval) == errno.EINVAL
        engine.flush_sas()
        _add(engine, family)
        (sa,) = engine.dump_sas()
        engine.add_sa(replace(sa.as_written(), id=replace(sa.id, destination=at.roaming_later), reqid=OTHER))
        before = engine.dump_sas()
        taken = _move(family) | _new_ends(at.roaming, at.roaming_later)
        assert refusal(engine, MessageType.X_ADDRUPDATE, taken) == errno.EEXIST
        assert engine.dump_sas() == before


@requires(Feature.ADDRUPDATE)
def test_mutated_messages_change_no_sa_that_they_do_not_name(family: int) -> None:
    chance = random.Random(family)
    with Engine.open("pfkey") as engine, socket.socket(socket.AF_KEY, socket.SOCK_RAW, lib.PF_KEY_V2) as sock:
        for number in range(3):
            ask(engine, MessageType.ADD, esp(family, spi=BYSTANDER + number))
        before = engine.dump_sas()
        outgoing = build(Message(MessageType.X_ADDRUPDATE, SAType.ESP, extensions=_move(family) | _nat_t(4500, 4500)))
        whole = ffi.buffer(outgoing.data, outgoing.size)[:]
        for _ in range(MUTANTS):
            mutant = bytearray(whole)
            for _ in range(chance.randint(1, 8)):
                mutant[chance.randrange(_BASE_HEADER, len(mutant))] = chance.randrange(256)
            with suppress(OSError):
                sock.send(mutant)
        assert engine.dump_sas() == before


@requires(Feature.ADDRUPDATE)
@pytest.mark.parametrize("family", [4])
def test_many_updates_leave_nothing_behind(family: int) -> None:
    there, back = _move(family), _move(family)
    at = ADDRESSES[family]
    back.update({ExtensionType.ADDRESS_SRC: host(at.roaming_later), **_new_ends(at.roaming, at.gateway)})
    with Engine.open("pfkey") as engine:
        _add(engine, family)
        engine.flush_sas()
    before = _references()
    with Engine.open("pfkey") as engine:
        _add(engine, family)
        assert _references() != before
        for number in range(UPDATES):
            ask(engine, MessageType.X_ADDRUPDATE, back if number % 2 else there)
        engine.flush_sas()
    deadline = time.monotonic() + _PATIENCE_S
    while any(number > before.get(name, 0) for name, number in _references().items()):
        assert time.monotonic() < deadline, "SAs are still there"
        time.sleep(0.1)


@requires(Feature.ADDRUPDATE)
def test_events_tell_of_it(road_with_a_tunnel: Road) -> None:
    road = road_with_a_tunnel
    _, later = places(road.family)
    outbound, _ = _sas(road.roaming.engine)
    with road.roaming.open("pfkey") as engine, engine.watch(SAMigrated) as events:
        road.roaming.engine.update_address(outbound.id, later.roaming, outbound.destination)
        event = events.next(_PATIENCE_S)
    assert event == SAMigrated(outbound.id, later.roaming, outbound.destination)


@requires(Feature.ADDRUPDATE, Feature.MIGRATE_STATE)
def test_xfrm_tells_of_it_as_of_its_own_moves(road_with_a_tunnel: Road) -> None:
    road = road_with_a_tunnel
    _, later = places(road.family)
    outbound, _ = _sas(road.roaming.engine)
    heard = []
    with road.roaming.engine.watch(SAMigrated) as events:
        road.roaming.engine.update_address(outbound.id, later.roaming, outbound.destination)
        heard.append(events.next(_PATIENCE_S))
        road.roaming.engine.migrate_sa(_sas(road.roaming.engine)[0], outbound.source, outbound.destination, encap=None)
        heard.append(events.next(_PATIENCE_S))
    there, back = heard
    assert isinstance(there, SAMigrated)
    assert isinstance(back, SAMigrated)
    assert there == replace(back, new_source=later.roaming)


def _references() -> dict[str, int]:
    """Return how often each algorithm is in use, which it is by every SA that is not yet freed, and the module too."""
    drivers = re.findall(r"^driver +: (.*)\n(?:.+\n)*?refcnt +: (\d+)", Path("/proc/crypto").read_text(), re.MULTILINE)
    return {
        "af_key": int(Path("/sys/module/af_key/refcnt").read_text()),
        **{driver: int(number) for driver, number in drivers},
    }


def _written(policies: Sequence[Policy]) -> list[Policy]:
    return sorted((policy.as_written() for policy in policies), key=lambda policy: policy.direction)


def _sas(engine: Engine) -> tuple[SA, SA]:
    return _in_order(engine.dump_sas())


def _in_order(sas: Sequence[SA]) -> tuple[SA, SA]:
    outbound, inbound = sorted(sas, key=lambda sa: sa.id.spi)
    return outbound, inbound


def _add(engine: Engine, family: int, more: Extensions | None = None) -> None:
    ask(engine, MessageType.ADD, esp(family) | (more or {}))


def _nat_t(source_port: int, destination_port: int) -> Extensions:
    return {
        ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(2),
        ExtensionType.X_NAT_T_SPORT: NatTPortExtension(source_port),
        ExtensionType.X_NAT_T_DPORT: NatTPortExtension(destination_port),
    }


def _new_ends(source: IPAddress, destination: IPAddress) -> Extensions:
    return {ExtensionType.X_NEW_ADDRESS_SRC: host(source), ExtensionType.X_NEW_ADDRESS_DST: host(destination)}


def _move(family: int) -> Extensions:
    """Return the request for the SA of `_add`, as the kernel repeats it."""
    at = ADDRESSES[family]
    return {ExtensionType.SA: SAExtension(0x1000), **ends(family), **_new_ends(at.roaming_later, at.gateway)}
