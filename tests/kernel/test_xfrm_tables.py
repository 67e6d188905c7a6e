"""The SAD and the SPD as a whole, over XFRM: how full they are, their types and defaults, and messages as they are."""

import socket
from dataclasses import replace
from typing import Any

import pytest

from pfkeyx import (
    Action,
    DefaultPolicy,
    Engine,
    Feature,
    HashThreshold,
    InvalidRequestError,
    NotFoundError,
    PolicyType,
)
from pfkeyx.xfrm import messages
from tests.kernel.audit import requires
from tests.kernel.topology import Road
from tests.kernel.values import make_policies, make_sa

_PATIENCE_S = 120
_PORT = 5000


@pytest.fixture
def engine_name() -> str:
    """Only one of the two interfaces has these messages."""
    return "xfrm"


def test_the_tables_say_how_full_they_are(engine: Engine) -> None:
    empty = engine.get_sad_info()
    assert empty.count == 0
    assert 0 < empty.buckets <= empty.buckets_maximum
    engine.add_sas([make_sa(4), make_sa(6)])
    assert engine.get_sad_info() == replace(empty, count=2)

    empty_spd = engine.get_spd_info()
    out, inward, forward = make_policies(4)
    engine.add_policies([out, inward, forward, make_policies(6)[0]])
    assert engine.get_spd_info() == replace(empty_spd, outbound=2, inbound=1, forward=1)


def test_the_thresholds_of_the_policies_hash_are_set_for_each_ip_version(engine: Engine) -> None:
    before = engine.get_spd_info()
    assert (before.ipv4, before.ipv6) == (HashThreshold(32, 32), HashThreshold(128, 128))
    engine.set_spd_thresholds(ipv4=HashThreshold(16, 24))
    assert engine.get_spd_info() == replace(before, ipv4=HashThreshold(16, 24))
    engine.set_spd_thresholds(ipv6=HashThreshold(0, 128))
    assert engine.get_spd_info() == replace(before, ipv4=HashThreshold(16, 24), ipv6=HashThreshold(0, 128))


@requires(Feature.SUB_POLICY)
def test_the_policies_of_each_type_are_flushed_alone(engine: Engine) -> None:
    main = make_policies(4)[0]
    sub = replace(main, type=PolicyType.SUB)
    engine.add_policies([main, sub])
    assert {policy.type for policy in engine.dump_policies()} == {PolicyType.MAIN, PolicyType.SUB}
    with pytest.raises(NotFoundError):
        engine.get_policy(engine.get_policy(sub.id).index)
    engine.flush_policies(PolicyType.SUB)
    assert [policy.as_written() for policy in engine.dump_policies()] == [main]
    engine.add_policy(sub)
    engine.flush_policies()
    assert [policy.as_written() for policy in engine.dump_policies()] == [sub]


def test_a_default_policy_that_blocks_keeps_packets_from_leaving_and_from_arriving(road: Road) -> None:
    engine, at = road.roaming.engine, road.addresses
    assert engine.get_default_policy() == DefaultPolicy()
    kind = socket.AF_INET if road.family == 4 else socket.AF_INET6

    def open_socket(address: Any) -> socket.socket:
        sock = socket.socket(kind, socket.SOCK_DGRAM)
        sock.bind((str(address), _PORT))
        sock.settimeout(_PATIENCE_S)
        return sock

    here, there = (str(at.roaming), _PORT), (str(at.gateway), _PORT)
    with open_socket(at.roaming) as roaming, road.gateway.namespace.call(lambda: open_socket(at.gateway)) as gateway:
        roaming.sendto(b"before", there)
        assert gateway.recv(100) == b"before"

        blocked = DefaultPolicy(inbound=Action.BLOCK, forward=Action.BLOCK, outbound=Action.BLOCK)
        engine.set_default_policy(blocked)
        assert engine.get_default_policy() == blocked
        with pytest.raises(PermissionError):
            roaming.sendto(b"blocked", there)

        only_inbound = DefaultPolicy(inbound=Action.BLOCK)
        engine.set_default_policy(only_inbound)
        assert engine.get_default_policy() == only_inbound
        roaming.sendto(b"outward", there)
        assert gateway.recv(100) == b"outward"
        gateway.sendto(b"dropped", here)

        engine.set_default_policy(DefaultPolicy())
        gateway.sendto(b"inward", here)
        assert roaming.recv(100) == b"inward"


def test_any_message_can_be_sent_as_it_is(engine: Engine) -> None:
    sa = make_sa(4)
    engine.add_sa(sa)
    wanted: dict[str, Any] = {"daddr": sa.destination.packed, "spi": sa.id.spi, "family": 2, "proto": 50}
    message = messages.usersa_id_msg()
    message.update(wanted)
    message["header"]["type"] = messages.XFRM_MSG_GETSA
    for _ in range(2):
        (answer,) = engine.exchange(message)
        assert (answer["id"]["spi"], answer["reqid"]) == (sa.id.spi, sa.reqid)

    message["header"]["flags"] = 0x300  # NLM_F_DUMP
    engine.add_sa(make_sa(6))
    assert {answer["family"] for answer in engine.exchange(message)} == {2, 10}

    message["header"] = {"type": messages.XFRM_MSG_DELSA}
    assert engine.exchange(message) == ()
    with pytest.raises(NotFoundError, match=r"^send XFRM message 17: "):
        engine.exchange(message)
    message["header"] = {"type": messages.XFRM_MSG_NEWSA}
    with pytest.raises(InvalidRequestError, match="cannot be a usersa_id_msg"):
        engine.exchange(message)
