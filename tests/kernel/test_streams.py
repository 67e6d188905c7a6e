"""A stream of SAs or policies is a dump that is handed out as it comes, over a socket of its own."""

from collections.abc import Iterable
from contextlib import aclosing, closing
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from pfkeyx import SA, AsyncEngine, ClosedError, Engine, InvalidRequestError, Policy, Protocol, SAFilter
from pfkeyx.opening import EngineName
from tests.kernel.values import ADDRESSES, by_identity, make_policies, make_sa

#: More than are handed out at once.
COUNT = 70


def _sas() -> list[SA]:
    sas = [make_sa((4, 6)[number % 2], 0x1000 + number) for number in range(COUNT)]
    return [_as_ah(sa) if sa.id.spi % 3 == 0 else sa for sa in sas]


def _as_ah(sa: SA) -> SA:
    return replace(sa, id=replace(sa.id, protocol=Protocol.AH), encryption=None)


def _policies() -> list[Policy]:
    policies = []
    for number in range(COUNT):
        out, *_ = make_policies((4, 6)[number % 2])
        selector = replace(out.selector, protocol=1 + number // 2)
        policies.append(replace(out, selector=selector, priority=number))
    return policies


SAS, POLICIES = _sas(), _policies()


@pytest.fixture(autouse=True)
def _are_written(own_network_namespace: None) -> None:  # noqa: ARG001
    """Write the SAs and policies that are to be streamed."""
    with Engine.open("pfkey") as engine:
        engine.add_sas(SAS)
        engine.add_policies(POLICIES)


def test_a_stream_is_the_dump(engine: Engine) -> None:
    assert _written(engine.iter_sas()) == _written(engine.dump_sas()) == set(SAS)
    assert list(engine.iter_policies()) == engine.dump_policies()
    assert _written(engine.iter_policies()) == set(POLICIES)


async def test_a_stream_is_the_dump_in_asyncio(engine_name: EngineName) -> None:
    async with AsyncEngine.open(engine_name) as engine:
        assert by_identity([sa async for sa in engine.iter_sas()]) == by_identity(await engine.dump_sas())
        assert [policy async for policy in engine.iter_policies()] == await engine.dump_policies()


FILTERS = [
    SAFilter(Protocol.ESP),
    SAFilter(Protocol.AH),
    SAFilter(destination=ip_network(ADDRESSES[4].gateway)),
    SAFilter(source=ip_network("2001:db8::/32")),
    SAFilter(Protocol.AH, ip_network(ADDRESSES[6].roaming), ip_network("2001:db8::/64")),
]


async def test_a_stream_has_only_what_matches(engine_name: EngineName) -> None:
    with Engine.open(engine_name) as engine:
        async with AsyncEngine.open(engine_name) as awaited:
            for matching in FILTERS:
                expected = {sa for sa in SAS if _does_match(sa, matching)}
                assert 0 < len(expected) < COUNT
                assert _written(engine.iter_sas(matching)) == _written(engine.dump_sas(matching)) == expected
                assert {sa.as_written() async for sa in awaited.iter_sas(matching)} == expected


async def test_a_stream_of_nothing_is_empty(engine_name: EngineName) -> None:
    nothing = SAFilter(source=ip_network("198.51.100.0/24"))
    async with AsyncEngine.open(engine_name) as engine:
        assert [sa async for sa in engine.iter_sas(nothing)] == []
        await engine.flush_policies()
        assert [policy async for policy in engine.iter_policies()] == []
    with Engine.open(engine_name) as engine:
        assert list(engine.iter_sas(nothing)) == []
        assert list(engine.iter_policies()) == []


def test_each_sa_may_be_deleted_as_it_comes(engine: Engine) -> None:
    for sa in engine.iter_sas():
        assert engine.get_sa(sa.id).as_written() == sa.as_written()
        engine.delete_sa(sa.id)
    assert engine.dump_sas() == []


def test_each_policy_may_be_deleted_as_it_comes(engine: Engine) -> None:
    for policy in engine.iter_policies():
        assert engine.get_policy(policy.index) == policy
        engine.delete_policy(policy.id)
    assert engine.dump_policies() == []


async def test_each_may_be_deleted_as_it_comes_in_asyncio(engine_name: EngineName) -> None:
    async with AsyncEngine.open(engine_name) as engine:
        async for sa in engine.iter_sas():
            await engine.delete_sa(sa.id)
        async for policy in engine.iter_policies():
            await engine.delete_policy(policy.index)
        assert (await engine.dump_sas(), await engine.dump_policies()) == ([], [])


def test_a_stream_that_is_left_early_leaves_nothing_open(engine: Engine) -> None:
    before = _sockets()
    for sa in engine.iter_sas():
        assert sa.as_written() in SAS
        assert len(_sockets()) == len(before) + 1
        break
    assert _sockets() == before
    with closing(engine.iter_policies()) as policies:
        assert next(policies).as_written() in POLICIES
    assert _sockets() == before
    assert _written(engine.dump_sas()) == set(SAS)
    assert _written(engine.iter_policies()) == set(POLICIES)


async def test_a_stream_that_is_left_early_leaves_nothing_open_in_asyncio(engine_name: EngineName) -> None:
    async with AsyncEngine.open(engine_name) as engine:
        before = _sockets()
        async with aclosing(engine.iter_sas()) as sas:
            async for sa in sas:
                assert sa.as_written() in SAS
                break
        assert _sockets() == before
        assert _written(await engine.dump_sas()) == set(SAS)


def test_streams_do_not_disturb_each_other_nor_what_is_asked_meanwhile(engine: Engine) -> None:
    both = zip(engine.iter_sas(), engine.iter_sas(), engine.iter_policies(), strict=True)
    for number, (one, other, _) in enumerate(both):
        assert one.id == other.id
        if number % 30 == 0:
            assert len(engine.dump_sas()) == len(engine.dump_policies()) == COUNT


def test_a_stream_that_cannot_be_is_refused_before_it_begins(engine: Engine) -> None:
    mixed = SAFilter(source=ip_network("192.0.2.0/24"), destination=ip_network("2001:db8::/32"))
    with pytest.raises(InvalidRequestError, match=r"^dump SAs"):
        engine.iter_sas(mixed)


async def test_a_closed_engine_streams_nothing(engine_name: EngineName) -> None:
    engine, awaited = Engine.open(engine_name), AsyncEngine.open(engine_name)
    engine.close()
    awaited.close()
    with pytest.raises(ClosedError, match=r"Engine\.open"):
        next(engine.iter_sas())
    with pytest.raises(ClosedError, match=r"Engine\.open"):
        await anext(awaited.iter_policies())


def _does_match(sa: SA, matching: SAFilter) -> bool:
    pairs = (sa.source, matching.source), (sa.destination, matching.destination)
    return matching.protocol in (None, sa.id.protocol) and all(
        prefix is None or (prefix.version == address.version and address in ip_network(prefix))
        for address, prefix in pairs
    )


def _written(items: Iterable[SA] | Iterable[Policy]) -> set[SA | Policy]:
    """Return what was written; none may come twice."""
    written = [item.as_written() for item in items]
    assert len(set(written)) == len(written)
    return set(written)


def _sockets() -> set[str]:
    """Return the sockets that this process has open."""
    links = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return {target for link in links if (target := str(link.readlink())).startswith("socket:")}
