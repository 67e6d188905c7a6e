"""An SA's life, over both kernel interfaces and both families."""

from dataclasses import replace

import pytest

from pfkeyx import (
    AlreadyExistsError,
    Engine,
    Lifetime,
    Limit,
    NotFoundError,
    SAState,
    UdpEncap,
)
from tests.kernel.values import ADDRESSES, by_identity, make_sa


def test_a_reserved_spi_becomes_an_sa_and_goes_again(engine: Engine, family: int) -> None:
    addresses = ADDRESSES[family]
    spi = engine.get_spi(addresses.roaming, addresses.gateway, reqid=7, minimum=0x2000, maximum=0x2FFF)
    assert 0x2000 <= spi <= 0x2FFF
    sa = make_sa(family, spi)
    larval = engine.get_sa(sa.id)
    assert larval.encryption is None
    assert larval.state in (SAState.LARVAL, None)

    engine.update_sa(sa)
    found = engine.get_sa(sa.id)
    assert found.as_written() == sa
    assert found.state in (SAState.MATURE, None)
    assert engine.dump_sas() == [found]

    engine.delete_sa(sa.id)
    assert engine.dump_sas() == []


def test_an_spi_that_is_taken_is_not_given_again(engine: Engine, family: int) -> None:
    addresses = ADDRESSES[family]
    ends = addresses.roaming, addresses.gateway
    engine.add_sa(make_sa(family, 0x2000))
    with pytest.raises(NotFoundError, match="get SPI esp"):
        engine.get_spi(*ends, minimum=0x2000, maximum=0x2000)


def test_an_sa_is_not_added_twice(engine: Engine, family: int) -> None:
    sa = make_sa(family)
    engine.add_sa(sa)
    with pytest.raises(AlreadyExistsError, match="add SA esp 0x00001000"):
        engine.add_sa(sa)
    assert by_identity(engine.dump_sas()) == [sa]


def test_what_is_asked_of_an_absent_sa_is_refused_by_name(engine: Engine, family: int) -> None:
    absent = make_sa(family)
    with pytest.raises(NotFoundError, match=f"^get SA {absent.id}: "):
        engine.get_sa(absent.id)
    with pytest.raises(NotFoundError, match=f"^delete SA {absent.id}: "):
        engine.delete_sa(absent.id)
    with pytest.raises(NotFoundError, match=f"^update SA {absent}: "):
        engine.update_sa(absent)


def test_an_sa_is_found_by_its_spi_and_destination(engine: Engine, family: int) -> None:
    sa = make_sa(family)
    engine.add_sa(sa)
    with pytest.raises(NotFoundError):
        engine.get_sa(replace(sa.id, spi=0x1001))
    with pytest.raises(NotFoundError):
        engine.get_sa(replace(sa.id, destination=ADDRESSES[family].roaming))


def test_a_flush_leaves_nothing(engine: Engine, family: int) -> None:
    engine.flush_sas()
    engine.add_sas([make_sa(family, 0x1000), make_sa(family, 0x1001)])
    engine.flush_sas()
    assert engine.dump_sas() == []


def test_many_are_updated_and_deleted_whether_or_not_one_is_refused(engine: Engine, family: int) -> None:
    first, absent, last = (make_sa(family, spi) for spi in (0x1000, 0x1001, 0x1002))
    engine.add_sas([first, last])
    prolonged = [replace(sa, lifetime=Lifetime(hard=Limit(seconds=3600))) for sa in (first, absent, last)]
    with pytest.raises(NotFoundError) as refusal:
        engine.update_sas(prolonged)
    assert [isinstance(reply, NotFoundError) for reply in refusal.value.replies] == [False, True, False]
    assert by_identity(engine.dump_sas()) == [prolonged[0], prolonged[2]]
    with pytest.raises(NotFoundError, match=f"^delete SA {absent.id}: "):
        engine.delete_sas(sa.id for sa in (first, absent, last))
    assert engine.dump_sas() == []


def test_the_limits_of_a_living_sa_can_be_changed(engine: Engine, family: int) -> None:
    sa = make_sa(family, lifetime=Lifetime(hard=Limit(packets=1000)))
    engine.add_sa(sa)
    prolonged = replace(sa, lifetime=Lifetime(soft=Limit(seconds=3000), hard=Limit(packets=5000, seconds=3600)))
    engine.update_sa(prolonged)
    assert engine.get_sa(sa.id).as_written() == prolonged


def test_the_ports_of_an_encapsulated_sa_can_be_changed(engine: Engine, family: int) -> None:
    sa = make_sa(family, encap=UdpEncap(4500, 40001))
    engine.add_sa(sa)
    assert engine.get_sa(sa.id).as_written() == sa
    rebound = replace(sa, encap=UdpEncap(4500, 40002))
    engine.update_sa(rebound)
    assert engine.get_sa(sa.id).as_written() == rebound


def test_hundreds_of_sas_are_added_as_one_batch_and_dumped(engine: Engine, family: int) -> None:
    sas = [make_sa(family, spi) for spi in range(0x1000, 0x1000 + 300)]
    engine.add_sas(sas)
    assert by_identity(engine.dump_sas()) == sas


def test_a_batch_that_is_refused_in_the_middle_leaves_nothing_behind(engine: Engine, family: int) -> None:
    first = make_sa(family, 0x1010)
    engine.add_sa(first)
    with pytest.raises(AlreadyExistsError, match="add SA esp 0x00001010"):
        engine.add_sas([make_sa(family, spi) for spi in range(0x1000, 0x1020)])
    assert by_identity(engine.dump_sas()) == [first]


def test_a_dump_of_nothing_is_empty(engine: Engine) -> None:
    assert engine.dump_sas() == []
    assert engine.dump_policies() == []
