"""The engine for asyncio does the same, inside a loop that runs already."""

import asyncio

import pytest

from pfkeyx import AES_GCM, AsyncEngine, ClosedError, NotFoundError
from pfkeyx.opening import EngineName
from pfkeyx.testing import Traffic
from tests.kernel.moves import check_wire, places, updates
from tests.kernel.topology import Road
from tests.kernel.values import ADDRESSES, by_identity, encryption, make_policies, make_sa


async def test_an_sa_lives_and_goes(engine_name: EngineName, family: int) -> None:
    addresses = ADDRESSES[family]
    async with AsyncEngine.open(engine_name) as engine:
        assert await engine.dump_sas() == []
        spi = await engine.get_spi(addresses.roaming, addresses.gateway, reqid=7)
        sa = make_sa(family, spi)
        await engine.update_sa(sa)
        assert (await engine.get_sa(sa.id)).as_written() == sa
        await engine.delete_sa(sa.id)
        with pytest.raises(NotFoundError, match=r"^get SA esp"):
            await engine.get_sa(sa.id)


async def test_policies_and_batches_work_too(engine_name: EngineName, family: int) -> None:
    sas = [make_sa(family, spi) for spi in range(0x1000, 0x1080)]
    policies = make_policies(family)
    async with AsyncEngine.open(engine_name) as engine:
        await engine.add_sas(sas)
        await engine.add_policies(policies)
        assert by_identity(await engine.dump_sas()) == sas
        assert {policy.as_written() for policy in await engine.dump_policies()} == set(policies)
        await engine.flush_sas()
        await engine.flush_policies()
        assert await engine.dump_sas() == []
        assert await engine.dump_policies() == []


async def test_tasks_share_an_engine(engine_name: EngineName) -> None:
    async with AsyncEngine.open(engine_name) as engine:
        sas = [make_sa(4, spi) for spi in range(0x1000, 0x1010)]

        async def add_and_get(half: int) -> None:
            for sa in sas[half::2]:
                await engine.add_sa(sa)
                assert (await engine.get_sa(sa.id)).as_written() == sa

        await asyncio.gather(add_and_get(0), add_and_get(1), engine.dump_sas())
        assert by_identity(await engine.dump_sas()) == sas


async def test_a_closed_engine_says_so(engine_name: EngineName) -> None:
    engine = AsyncEngine.open(engine_name)
    engine.close()
    with pytest.raises(ClosedError, match=r"Engine\.open"):
        await engine.dump_sas()


async def test_a_move_whose_caller_is_cancelled_is_finished(road: Road, traffic: Traffic) -> None:
    road.set_up_tunnel(encryption(AES_GCM, 20))
    first, second = places(road.family)
    here, there = updates(first, second)
    async with AsyncEngine.open("xfrm") as engine:
        mover = asyncio.create_task(engine.migrate(here))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        mover.cancel()
        with pytest.raises(asyncio.CancelledError):
            await mover
    assert {second.roaming} == {a for sa in road.roaming.engine.dump_sas() for a in (sa.source, sa.destination)} - {
        second.gateway
    }
    road.gateway.engine.migrate(there)
    traffic.send()
    check_wire(road, [second])
