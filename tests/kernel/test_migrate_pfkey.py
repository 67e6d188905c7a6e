"""The move over PF_KEY, for kernels without XFRM: SADB_X_MIGRATE, without a bracket, and what it says of that."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import pairwise

import pytest

from pfkeyx import (
    AES_CTR,
    AES_GCM,
    SA,
    Action,
    AddressUpdate,
    Direction,
    Encryption,
    Engine,
    KernelError,
    Lifetime,
    Limit,
    Loss,
    Method,
    MigrationError,
    MigrationReport,
    Mode,
    NotPermittedError,
    Policy,
    SAId,
    Template,
    UdpEncap,
    UnsupportedError,
)
from pfkeyx.migration.move import migrate
from pfkeyx.operation import Batch, Exchange, run
from pfkeyx.pfkey import PfkeyDialect, PfkeyTransport
from pfkeyx.testing import Traffic
from tests.kernel.children import drop_capabilities, in_child, lose_xfrm
from tests.kernel.moves import Place, check_wire, places, updates
from tests.kernel.topology import INWARD_SPI, OUTWARD_SPI, Host, Road
from tests.kernel.values import ADDRESSES, authentication, encryption

CBC_SHA1 = (encryption(), authentication())
ACCEPT = {Loss.SEQUENCE_REPEAT}
#: Out: its SA and policy, the policy again. In: its SA and policy, both policies.
MESSAGES = 5


#: Both in the long form of the tests.
pytestmark = pytest.mark.parametrize("family", [4, 6] if os.environ.get("SOAK") else [4], indirect=True)


@pytest.fixture
def pfkey(road: Road) -> Iterator[Engine]:
    """Open the roaming host's engine."""
    with road.roaming.open("pfkey") as engine:
        yield engine


@pytest.fixture
def tunnel(road: Road) -> None:
    """Write the tunnel over PF_KEY."""
    road.set_up_tunnel(*CBC_SHA1, engine_name="pfkey")


@pytest.mark.usefixtures("tunnel")
def test_the_method_is_sadb_x_migrate_and_the_plan_says_what_may_be_repeated(road: Road, pfkey: Engine) -> None:
    update, _ = updates(*places(road.family))
    plan = pfkey.plan_migration(update)
    assert {move.method for move in plan.sa_moves()} == {Method.SADB_X_MIGRATE}
    assert {move.undo for move in plan.sa_moves()} == {Method.SADB_X_MIGRATE}
    for move in plan.sa_moves():
        methods = [method for method, _ in move.passed_over]
        assert methods == [Method.ADDRUPDATE, Method.MIGRATE_STATE, Method.MIGRATE, Method.REPLACE]
        assert (Loss.SEQUENCE_REPEAT in move.losses) is (move.before.id.spi == OUTWARD_SPI)
    assert Loss.SEQUENCE_REPEAT.value in str(plan)


@pytest.mark.usefixtures("tunnel")
def test_nothing_moves_until_the_loss_is_accepted(road: Road, pfkey: Engine) -> None:
    before = _everything(road.roaming.engine)
    update, _ = updates(*places(road.family))
    for what in (update, pfkey.plan_migration(update)):
        with pytest.raises(UnsupportedError, match=r"accept it.*Loss\.SEQUENCE_REPEAT"):
            pfkey.migrate(what)
    assert _everything(road.roaming.engine) == before
    pfkey.migrate(update, accept=ACCEPT)
    assert _everything(road.roaming.engine) != before


@pytest.mark.usefixtures("tunnel")
def test_a_tunnel_goes_back_and_forth_and_to_the_other_family(road: Road, traffic: Traffic) -> None:
    home, later = places(road.family)
    abroad = ADDRESSES[10 - road.family]
    path = [home, later, Place(abroad.roaming_later, abroad.gateway), home]
    for old, new in pairwise(path):
        traffic.send()
        _move(road, old, new)
    traffic.send()
    check_wire(road, path)


@pytest.mark.usefixtures("tunnel")
def test_a_move_keeps_keys_limits_counters_and_sequence_numbers(road: Road, traffic: Traffic, pfkey: Engine) -> None:
    witness = road.roaming.engine
    limits = Lifetime(soft=Limit(octets=10**9, packets=10**6, seconds=3000), hard=Limit(2 * 10**9, 2 * 10**6, 3600))
    for sa in pfkey.dump_sas():
        pfkey.update_sa(replace(sa, lifetime=limits))
    traffic.send()
    before, policies_before = _everything(witness)
    old, new = places(road.family)
    report, _ = _move(road, old, new)
    after, policies = _everything(witness)
    assert after == [_moved(sa, old, new) for sa in before]
    assert all(sa.lifetime == limits and sa.replay is not None and sa.usage is not None for sa in after)
    assert [(p.id, p.index, p.priority) for p in policies] == [(p.id, p.index, p.priority) for p in policies_before]
    assert {end for p in policies for t in p.templates for end in (t.source, t.destination)} == {
        new.roaming,
        new.gateway,
    }
    assert {pair[0].id.spi for pair in report.sas} == {OUTWARD_SPI, INWARD_SPI}


@pytest.mark.usefixtures("tunnel")
def test_under_a_flood_nothing_leaves_in_clear(road: Road, traffic: Traffic) -> None:
    first, second = places(road.family)
    with traffic.flood():
        for old, new in ((first, second), (second, first)):
            _move(road, old, new)
            traffic.wait_until_it_flows()
    _check_nothing_in_clear(road)


def test_an_encapsulated_tunnel_is_refused(road: Road) -> None:
    road.set_up_tunnel(*CBC_SHA1, encap=UdpEncap(), engine_name="pfkey")
    _check_refused(road, "PF_KEY cannot say the encapsulation")


@pytest.mark.usefixtures("tunnel")
def test_an_encapsulation_is_not_added(road: Road) -> None:
    old, new = places(road.family)
    _check_refused(road, "PF_KEY cannot say the encapsulation", updates(old, replace(new, encap=UdpEncap()))[0])


@pytest.mark.usefixtures("tunnel")
def test_several_sas_that_one_template_finds_are_refused(road: Road, pfkey: Engine) -> None:
    outbound = next(sa for sa in pfkey.dump_sas() if sa.id.spi == OUTWARD_SPI)
    pfkey.add_sa(replace(outbound.as_written(), id=replace(outbound.id, spi=OUTWARD_SPI + 1)))
    _check_refused(road, "it moves only the newest of several SAs")


def test_aes_ctr_is_refused(road: Road) -> None:
    road.set_up_tunnel(Encryption(AES_CTR, encryption(size=20).key), authentication(), engine_name="pfkey")
    _check_refused(road, "forgets the IV generator of aes-ctr")


def test_transport_mode_is_refused(road: Road, pfkey: Engine) -> None:
    here, _ = road.set_up_tunnel(*CBC_SHA1, engine_name="pfkey")
    pfkey.flush_sas()
    for sa in (here.outbound(OUTWARD_SPI, *CBC_SHA1), here.inbound(INWARD_SPI, *CBC_SHA1)):
        pfkey.add_sa(replace(sa, mode=Mode.TRANSPORT))
    for policy in pfkey.dump_policies():
        (template,) = policy.templates
        bare = Template(mode=Mode.TRANSPORT, reqid=template.reqid)
        pfkey.update_policy(replace(policy, templates=(bare,)))
    _check_refused(road, "in transport mode")


def test_a_tunnel_whose_algorithm_pf_key_does_not_show_moves_all_the_same(road: Road, traffic: Traffic) -> None:
    road.set_up_tunnel(encryption(AES_GCM, 20))
    traffic.send()
    old, new = places(road.family)
    before, _ = _everything(road.roaming.engine)
    _move(road, old, new)
    assert _everything(road.roaming.engine)[0] == [_moved(sa, old, new) for sa in before]
    traffic.send()
    check_wire(road, [old, new])


@pytest.mark.usefixtures("tunnel")
def test_a_move_that_is_refused_midway_is_undone(road: Road, traffic: Traffic) -> None:
    engine = road.roaming.engine
    first, second = places(road.family)
    traffic.send()
    before = _everything(engine)
    inbound = next(sa for sa in before[0] if sa.id.spi == INWARD_SPI)
    occupant = replace(inbound.as_written(), id=replace(inbound.id, destination=second.roaming), reqid=99)
    with pytest.raises(MigrationError, match="everything is back at the old addresses") as refusal:
        _migrate_interrupted(updates(first, second)[0], 3, lambda: engine.add_sa(occupant))
    assert refusal.value.rolled_back
    assert isinstance(refusal.value.__cause__, KernelError)
    engine.delete_sa(occupant.id)
    assert _everything(engine) == before
    traffic.send()
    check_wire(road, [first])


def test_a_move_that_is_killed_before_any_message_is_finished_by_the_same_call(road: Road, traffic: Traffic) -> None:
    old, new = places(road.family)
    for message in range(1, MESSAGES + 1):
        for host in (road.roaming, road.gateway):
            host.engine.flush_sas()
            host.engine.flush_policies()
        road.set_up_tunnel(*CBC_SHA1, engine_name="pfkey")
        traffic.send(1)
        with pytest.raises(Killed):
            _migrate_interrupted(updates(old, new)[0], message, _kill)
        sas, policies = _everything(road.roaming.engine)
        assert {sa.id.spi for sa in sas} == {OUTWARD_SPI, INWARD_SPI}
        assert [(policy.action, len(policy.templates)) for policy in policies] == [(Action.ALLOW, 1)] * 3
        # It may find no SA, and is dropped then.
        with suppress(OSError):
            traffic.outward.send_one(0)
        _move(road, old, new)
        traffic.send(1)
    _check_nothing_in_clear(road)


@pytest.mark.usefixtures("tunnel")
def test_a_move_is_as_many_messages_as_the_test_before_thinks(road: Road) -> None:
    assert _migrate_interrupted(updates(*places(road.family))[0], MESSAGES + 1, _kill) == MESSAGES


@pytest.mark.usefixtures("tunnel")
def test_what_an_interrupted_move_over_xfrm_left_blocked_is_moved_and_allowed(road: Road, traffic: Traffic) -> None:
    engine = road.roaming.engine
    outward = next(p for p in engine.dump_policies() if p.direction is Direction.OUT)
    engine.update_policy(replace(outward.as_written(), action=Action.BLOCK))
    with pytest.raises(PermissionError):
        traffic.outward.send_one(0)
    old, new = places(road.family)
    _move(road, old, new)
    assert {policy.action for policy in engine.dump_policies()} == {Action.ALLOW}
    traffic.send()
    check_wire(road, [new])


@pytest.mark.usefixtures("tunnel")
def test_a_second_move_of_the_same_update_does_nothing(road: Road, pfkey: Engine) -> None:
    update, _ = updates(*places(road.family))
    assert len(pfkey.migrate(update, accept=ACCEPT).sas) == 2
    moved = _everything(road.roaming.engine)
    report = pfkey.migrate(update)
    assert (report.sas, report.policies, report.plan.steps) == ((), (), ())
    assert _everything(road.roaming.engine) == moved


@pytest.mark.usefixtures("tunnel")
def test_where_there_is_no_xfrm_the_engine_that_one_gets_moves_over_pf_key(road: Road) -> None:
    update, _ = updates(*places(road.family))

    def move() -> str:
        with Engine.open() as engine:
            try:
                engine.migrate(update)
            except UnsupportedError as error:
                refusal = str(error)
            return f"{engine.migrate(update, accept=ACCEPT)}\n{refusal}"

    answer = in_child(lose_xfrm, move)
    assert "moved 2 SAs and 3 policies" in answer
    assert "Loss.SEQUENCE_REPEAT" in answer


@pytest.mark.usefixtures("tunnel")
def test_who_has_no_rights_is_told_which_it_takes(road: Road) -> None:
    update, _ = updates(*places(road.family))

    def move() -> str:
        with pytest.raises(NotPermittedError) as refusal, Engine.open("pfkey") as engine:
            engine.migrate(update, accept=ACCEPT)
        return str(refusal.value)

    assert "needs CAP_NET_ADMIN" in in_child(drop_capabilities, move)


class InterruptedTransport(PfkeyTransport):
    """A transport in which something happens before the nth message of a move."""

    def __init__(self, before: int, happening: Callable[[], None]) -> None:
        super().__init__()
        self._before = before
        self._happening = happening
        self.count = 0

    def exchange(self, batch: Batch) -> Exchange:
        if batch.one_datagram:
            self.count += 1
            if self.count == self._before:
                self._happening()
        return (yield from super().exchange(batch))


class Killed(BaseException):
    """The end of a process, as far as a kernel can tell."""


def _kill() -> None:
    raise Killed


def _migrate_interrupted(update: AddressUpdate, before: int, happening: Callable[[], None]) -> int:
    """Move the roaming host's tunnel, and return in how many messages."""
    with closing(InterruptedTransport(before, happening)) as transport:
        run(migrate(PfkeyDialect(), update, ACCEPT), transport)
        return transport.count


def _move(road: Road, old: Place, new: Place) -> tuple[MigrationReport, MigrationReport]:
    """Move both ends over PF_KEY, the roaming host first."""
    here, there = updates(old, new)
    return _migrate(road.roaming, here), _migrate(road.gateway, there)


def _migrate(host: Host, update: AddressUpdate) -> MigrationReport:
    with host.open("pfkey") as engine:
        return engine.migrate(update, accept=ACCEPT)


def _check_refused(road: Road, reason: str, update: AddressUpdate | None = None) -> None:
    before = _everything(road.roaming.engine)
    with road.roaming.open("pfkey") as engine, pytest.raises(UnsupportedError, match=reason):
        engine.migrate(update or updates(*places(road.family))[0], accept=ACCEPT)
    assert _everything(road.roaming.engine) == before


def _check_nothing_in_clear(road: Road) -> None:
    inner = {road.addresses.roaming_inner, road.addresses.gateway_inner}
    for host in (road.roaming, road.gateway):
        assert not [frame for frame in host.wire.frames() if {frame.source, frame.destination} & inner]


def _moved(sa: SA, old: Place, new: Place) -> SA:
    if sa.source == old.roaming:
        return replace(sa, source=new.roaming)
    return replace(sa, id=SAId(new.roaming, sa.id.spi))


def _everything(witness: Engine) -> tuple[list[SA], list[Policy]]:
    """Return the whole SAD and SPD in an order of their own, counters of SAs included.

    A policy that is written again counts from zero, and a packet that found no SA left one without an SPI behind.
    """
    sas = sorted((sa for sa in witness.dump_sas() if sa.id.spi), key=lambda sa: sa.id.spi)
    policies = sorted((replace(p, usage=None) for p in witness.dump_policies()), key=lambda policy: policy.direction)
    return sas, policies
