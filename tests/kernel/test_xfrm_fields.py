"""What only XFRM can say of an SA or a policy, written and read back by it; and how far an SA is."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pfkeyx import (
    AES_GCM,
    AlreadyExistsError,
    Direction,
    Encryption,
    Engine,
    Expire,
    Feature,
    InvalidRequestError,
    KernelError,
    Lifetime,
    Limit,
    Mark,
    Mode,
    NotFoundError,
    PolicyExpire,
    PolicyFlag,
    PolicyType,
    Progress,
    Replay,
    SAExtraFlag,
    SAFlag,
    Share,
    Template,
    UdpEncap,
    Usage,
)
from pfkeyx.model import IPAddress
from tests.kernel.audit import requires
from tests.kernel.values import ADDRESSES, by_identity, key, make_policies, make_sa

_PATIENCE_S = 120
OUTBOUND: dict[str, Any] = {"direction": Direction.OUT, "replay_window": 0}
GCM: dict[str, Any] = {"encryption": Encryption(AES_GCM, key(20)), "authentication": None}


@pytest.fixture
def engine_name() -> str:
    """Only one of the two interfaces can say all this."""
    return "xfrm"


def elsewhere(family: int) -> IPAddress:
    """Return a third address."""
    return ip_address("198.51.100.7" if family == 4 else "2001:db8:7::7")


WINDOWS = (0, 1, 32, 33, 64, 4095, 4096)
SA_FIELDS: list[Any] = [
    pytest.param(lambda _: {"output_mark": Mark(0x10, 0xFF)}, id="output mark"),
    pytest.param(lambda _: {"output_mark": Mark(0x10)}, id="whole output mark"),
    pytest.param(lambda _: {"tfc_padding": 1400}, id="TFC padding"),
    pytest.param(lambda _: {"extra_flags": SAExtraFlag.DONT_ENCAP_DSCP}, id="inner DSCP"),
    pytest.param(lambda _: {"extra_flags": SAExtraFlag.SEQUENCE_MAY_WRAP, "replay_window": 0}, id="wrapping"),
    pytest.param(lambda _: {"if_id": 0xFFFFFFFF}, id="interface"),
    pytest.param(lambda f: {"encap": UdpEncap(4500, 4501, elsewhere(f))}, id="original address"),
    pytest.param(lambda f: {"care_of": elsewhere(f)}, id="care-of address"),
    pytest.param(
        lambda _: {"encap": UdpEncap(), "mapping_threshold_s": 30},
        id="mapping threshold",
        marks=requires(Feature.MAPPING_THRESHOLD),
    ),
    pytest.param(lambda _: {"direction": Direction.IN}, id="inbound", marks=requires(Feature.SA_DIRECTION)),
    pytest.param(lambda _: OUTBOUND, id="outbound", marks=requires(Feature.SA_DIRECTION)),
    pytest.param(
        lambda _: {**OUTBOUND, "flags": SAFlag.ESN, **GCM},
        id="outbound with 64-bit numbers",
        marks=requires(Feature.SA_DIRECTION),
    ),
    pytest.param(
        lambda _: {**OUTBOUND, "encap": UdpEncap(), "nat_keepalive_s": 20},
        id="NAT keepalive",
        marks=requires(Feature.NAT_KEEPALIVE),
    ),
    pytest.param(lambda _: {"direction": Direction.IN, "cpu": 0}, id="CPU", marks=requires(Feature.SA_CPU)),
]
POLICY_FIELDS: list[Any] = [
    pytest.param({"flags": PolicyFlag.LOCAL_OVERRIDE | PolicyFlag.ICMP}, id="flags"),
    # A template's share is kept; a policy's own is forgotten.
    pytest.param({"templates": (Template(mode=Mode.TRANSPORT, share=Share.UNIQUE),)}, id="share"),
    pytest.param({"mark": Mark(0x10, 0xFF), "if_id": 7}, id="mark and interface"),
    pytest.param({"lifetime": Lifetime(Limit(seconds=100), Limit(idle_seconds=200))}, id="lifetime"),
    pytest.param({"type": PolicyType.SUB}, id="sub policy", marks=requires(Feature.SUB_POLICY)),
]


@pytest.mark.parametrize("fields", SA_FIELDS)
def test_a_field_of_an_sa_is_read_as_it_was_written(engine: Engine, fields: Callable[[int], dict[str, Any]]) -> None:
    for family in (4, 6):
        sa = make_sa(family, **fields(family))
        engine.add_sa(sa)
        found = engine.get_sa(sa.id)
        assert found.as_written() == sa
        engine.delete_sa(sa.id)
        engine.add_sa(found)
        assert engine.dump_sas() == [engine.get_sa(sa.id)]
        assert engine.get_sa(sa.id).as_written() == sa
        engine.flush_sas()


@pytest.mark.parametrize("flags", [SAFlag(0), SAFlag.ESN], ids=["32-bit numbers", "64-bit numbers"])
def test_a_replay_window_of_any_size_is_read_as_it_was_written(engine: Engine, flags: SAFlag) -> None:
    # Without a direction, 64-bit numbers take a window.
    windows = WINDOWS[1:] if flags else WINDOWS
    sas = [make_sa(4, 0x1000 + window, replay_window=window, flags=flags, **GCM) for window in windows]
    engine.add_sas(sas)
    assert by_identity(engine.dump_sas()) == sas
    for sa in sas:
        replay = engine.get_sa(sa.id).replay
        assert replay is not None
        assert len(replay.bitmap) == max(1, (sa.replay_window + 31) // 32)


@pytest.mark.parametrize("fields", POLICY_FIELDS)
def test_a_field_of_a_policy_is_read_as_it_was_written(engine: Engine, fields: dict[str, Any]) -> None:
    policies = [replace(policy, **fields) for family in (4, 6) for policy in make_policies(family)]
    engine.add_policies(policies)
    found = engine.dump_policies()
    assert {str(policy): policy.as_written() for policy in found} == {str(policy): policy for policy in policies}
    for policy in policies:
        assert engine.get_policy(policy.id).as_written() == policy
        engine.delete_policy(policy.id)
    assert engine.dump_policies() == []


def test_a_policy_gets_the_index_that_it_wishes_for_if_that_is_free(engine: Engine, family: int) -> None:
    out, inward, _ = make_policies(family)
    wished = replace(out, index=8 * 1000 + Direction.OUT)
    engine.add_policy(wished)
    assert engine.get_policy(wished.index).as_written() == out
    other = replace(out, selector=replace(out.selector, protocol=17), index=wished.index)
    engine.add_policy(other)
    assert engine.get_policy(other.id).index not in (0, wished.index)
    engine.add_policy(inward)
    engine.update_policy(replace(out, priority=7))
    assert engine.get_policy(wished.index).priority == 7


def test_by_its_index_alone_a_policy_is_found_only_without_mark_and_interface(engine: Engine, family: int) -> None:
    out = make_policies(family)[0]
    for policy in (replace(out, if_id=7), replace(out, mark=Mark(5))):
        engine.add_policy(policy)
        index = engine.get_policy(policy.id).index
        with pytest.raises(NotFoundError):
            engine.get_policy(index)
        with pytest.raises(NotFoundError):
            engine.delete_policy(index)
        engine.delete_policy(policy.id)


def test_a_reserved_spi_with_mark_and_interface_becomes_an_sa(engine: Engine, family: int) -> None:
    at, mark = ADDRESSES[family], Mark(5)
    spi = engine.get_spi(at.roaming, at.gateway, reqid=7, mark=mark, if_id=9)
    sa = make_sa(family, spi, if_id=9)
    sa = replace(sa, id=replace(sa.id, mark=mark))
    larval = engine.get_sa(sa.id)
    assert (larval.id, larval.if_id, larval.encryption) == (sa.id, 9, None)
    with pytest.raises(AlreadyExistsError, match="completed by an update"):
        engine.add_sa(sa)
    engine.update_sa(sa)
    assert [found.as_written() for found in engine.dump_sas()] == [sa]


def test_a_restored_sa_goes_on_where_it_was(engine: Engine) -> None:
    for fields, replay in (
        ({}, Replay(41, 39, (0xFF,))),
        (GCM | {"flags": SAFlag.ESN, "replay_window": 100}, Replay(1 << 32 | 41, 1 << 33 | 39, (1, 2, 3, 4))),
    ):
        usage = Usage(octets=1000, packets=10, added=1_700_000_000, first_used=1_700_000_001)
        sa = make_sa(4, replay=replay, usage=usage, **fields)
        engine.restore_sa(sa)
        found = engine.get_sa(sa.id)
        assert (found.as_written(), found.replay, found.usage) == (sa.as_written(), replay, usage)
        engine.delete_sa(sa.id)
        with pytest.raises(InvalidRequestError, match="no replay or no usage"):
            engine.restore_sa(sa.as_written())


def test_progress_is_set_and_read(engine: Engine) -> None:
    for fields, replay in (
        ({}, Replay(7, 8, (3,))),
        (GCM | {"flags": SAFlag.ESN, "replay_window": 64}, Replay(1 << 32, 1 << 33, (1, 2))),
    ):
        sa = make_sa(6, **fields)
        engine.add_sa(sa)
        before = engine.get_progress(sa.id)
        assert (before.replay_threshold, before.timer_ms) == (2, 1000)
        usage = Usage(octets=1, packets=2, added=3, first_used=4)
        engine.set_progress(sa, Progress(replay=replay, usage=usage))
        assert engine.get_progress(sa.id) == replace(before, replay=replay, usage=usage)
        engine.set_progress(sa, Progress(replay_threshold=5))
        engine.set_progress(sa, Progress(timer_ms=2500))
        assert engine.get_progress(sa.id) == Progress(replay, usage, replay_threshold=5, timer_ms=2500)
        engine.delete_sa(sa.id)


def test_a_refused_progress_leaves_all_as_it_was(engine: Engine) -> None:
    sa = make_sa(4, replay_window=64)
    engine.add_sa(sa)
    before = engine.get_progress(sa.id)
    with pytest.raises(KernelError, match="set progress"):
        engine.set_progress(sa, Progress(replay=Replay(1, 2, (0,) * 9), timer_ms=7000))
    assert engine.get_progress(sa.id) == before


def test_an_sa_is_told_to_expire(engine: Engine, family: int) -> None:
    sa = make_sa(family)
    sa = replace(sa, id=replace(sa.id, mark=Mark(5)))
    engine.add_sa(sa)
    with engine.watch(Expire) as events:
        engine.expire_sa(sa.id)
        assert events.next(_PATIENCE_S) == Expire(sa.id, sa.source, sa.reqid, hard=False)
        assert engine.get_sa(sa.id).as_written() == sa
        engine.expire_sa(sa.id, hard=True)
        assert events.next(_PATIENCE_S) == Expire(sa.id, sa.source, sa.reqid, hard=True)
    with pytest.raises(NotFoundError, match=f"^expire SA {sa.id}: "):
        engine.expire_sa(sa.id, hard=True)
    assert engine.dump_sas() == []


def test_a_policy_is_told_to_expire_by_what_it_is_about_or_by_its_index(engine: Engine, family: int) -> None:
    out, inward, _ = make_policies(family)
    out = replace(out, mark=Mark(5), if_id=7)
    engine.add_policies([out, inward])
    with engine.watch(PolicyExpire) as events:
        for policy, key in ((out, out.id), (inward, engine.get_policy(inward.id).index)):
            for hard in (False, True):
                engine.expire_policy(key, hard=hard)
                event = events.next(_PATIENCE_S)
                assert isinstance(event, PolicyExpire)
                assert (event.policy.as_written(), event.hard) == (policy, hard)
            with pytest.raises(NotFoundError, match=r"^expire policy"):
                engine.expire_policy(key)
    assert engine.dump_policies() == []
