"""A tunnel moves back and forth under a flood of its gateways' own and of forwarded packets: each is accounted for."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from pfkeyx import AES_CTR, AES_GCM, HMAC_SHA256, Direction, Method, Progress
from tests.kernel.flood.account import account_for
from tests.kernel.flood.flood import flood, happens
from tests.kernel.flood.programs import build
from tests.kernel.flood.topology import Sites, Suite
from tests.kernel.moves import places, updates
from tests.kernel.topology import INWARD_SPI, OUTWARD_SPI
from tests.kernel.values import authentication, encryption

IS_SOAK = bool(os.environ.get("SOAK"))
#: Each way; in the long form of the tests more, and more often.
PACKETS_PER_S = 2000 if IS_SOAK else 200
MOVES = 50 if IS_SOAK else 4

GCM_ESN = Suite(encryption(AES_GCM, 20), esn=True)
CBC_SHA256 = Suite(encryption(), authentication(HMAC_SHA256, 32))
CTR_SHA256 = Suite(encryption(AES_CTR, 20), authentication(HMAC_SHA256, 32))

TUNNELS = [
    pytest.param(GCM_ESN, 4, id="AES-GCM, ESN, IPv4"),
    *([pytest.param(CBC_SHA256, 6, id="AES-CBC, HMAC, IPv6")] if IS_SOAK else []),
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the programs once."""
    return build(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def stack(own_network_namespace: None) -> Iterator[ExitStack]:  # noqa: ARG001
    """Give the test a stack that ends before its namespace."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(("suite", "family"), TUNNELS)
def test_each_packet_of_a_flood_is_accounted_for_while_its_tunnel_moves(
    suite: Suite, family: int, method: Method, stack: ExitStack, programs: Path, tmp_path: Path
) -> None:
    _move_under_flood(Sites(family, stack), suite, method, programs, tmp_path)


def test_each_packet_is_accounted_for_where_only_a_replacement_keeps_the_iv_generator(
    stack: ExitStack, programs: Path, tmp_path: Path
) -> None:
    _move_under_flood(Sites(4, stack), CTR_SHA256, Method.REPLACE, programs, tmp_path)


def test_what_must_not_be_is_seen_where_it_is(stack: ExitStack, programs: Path, tmp_path: Path) -> None:
    sites = Sites(4, stack)
    sites.set_up_tunnel(GCM_ESN)
    here, there = sites.roaming.engine, sites.gateway.engine
    outbound, inbound = (next(sa for sa in here.dump_sas() if sa.id.spi == spi) for spi in (OUTWARD_SPI, INWARD_SPI))
    policy = next(policy for policy in here.dump_policies() if policy.direction is Direction.OUT)
    with flood(sites, programs, tmp_path, PACKETS_PER_S) as running:
        here.delete_policy(policy.id)
        assert happens(lambda: any(frame.is_clear for frame in running.ends[0].sniffer.frames()))
        here.add_policy(policy)
        running.wait_until_it_flows()
        state = here.get_sa(outbound.id)
        assert state.replay is not None
        here.set_progress(state, Progress(replace(state.replay, outbound=state.replay.outbound - 20)))
        running.wait_until_it_flows()
        here.delete_sa(inbound.id)
        assert happens(lambda: "XfrmInNoStates" in running.ends[0].counters("XfrmIn"))
        there.delete_sa(inbound.id)
        assert happens(lambda: "XfrmOutNoStates" in running.ends[1].counters("XfrmOut"))
        running.stop()
    outward, inward = (account_for(way).faults() for way in running.ways)
    assert {"left in clear", "sequence numbers that left twice", "IVs that left twice"} <= set(outward)
    assert {"lost where no gateway was on the move", "found no SA"} <= set(inward)
    assert outward["sequence numbers that left twice"] == outward["XfrmInStateSeqError"]
    assert "neither left, nor were refused or dropped in the bracket" not in inward


def _move_under_flood(sites: Sites, suite: Suite, method: Method, programs: Path, folder: Path) -> None:
    sites.set_up_tunnel(suite)
    stops = places(sites.family)
    with flood(sites, programs, folder, PACKETS_PER_S) as running:
        for old, new in pairwise(stops[number % 2] for number in range(MOVES + 1)):
            for end, update in zip(running.ends, updates(old, new), strict=True):
                engine = end.site.engine
                with end.moving(update):
                    engine.migrate(engine.plan_migration(update, method))
            running.wait_until_it_flows()
        running.stop()
    outward, inward = (account_for(way) for way in running.ways)
    print(f"{method.value}: {MOVES} moves\n outward: {outward}\n inward: {inward}")
    assert (outward.faults(), inward.faults()) == ({}, {})
    assert outward.left.outsides == {(stop.roaming, stop.gateway) for stop in stops}
    assert inward.left.outsides == {(stop.gateway, stop.roaming) for stop in stops}
