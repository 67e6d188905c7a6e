"""Messages that kernels sent, captured by `python -m tests.xfrm_captures`: read, compared with what was written."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import kernels
from pfkeyx import (
    SA,
    Acquire,
    Action,
    Change,
    DefaultPolicy,
    DefaultPolicyChange,
    Expire,
    MalformedReplyError,
    Migrated,
    NatMapping,
    Policy,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    PolicyType,
    Protocol,
    SAChange,
    SAFlush,
    SAMigrated,
    SAProgress,
    UdpEncap,
)
from pfkeyx.events import Event, ProgressCause
from pfkeyx.operation import Request
from pfkeyx.xfrm import XfrmDialect, codec, parts
from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.datagram import HEADER_SIZE
from pfkeyx.xfrm.listening import decode_event
from pfkeyx.xfrm.messages import parse
from tests.captures import read_captures
from tests.kernel.manager import LATER_PORT, PORT
from tests.kernel.values import ADDRESSES, make_policies
from tests.xfrm_captures import MOVED, POLICIES, PROGRESS, SAS, YOUNG_SAS, peer

CAPTURES = {path.stem: read_captures(path) for path in sorted(Path(__file__).with_name("captures").glob("xfrm/*.txt"))}
EVERY = [(kernel, name) for kernel, messages in CAPTURES.items() for name in messages]
ALL_SAS = {**SAS, **{name: sa for name, (_, sa) in YOUNG_SAS.items()}}
SA_NAMES = [(kernel, name) for kernel in CAPTURES for name in ALL_SAS if f"add sa {name}" in CAPTURES[kernel]]
POLICY_NAMES = [(kernel, name) for kernel in CAPTURES for name in POLICIES]
DIALECT = XfrmDialect()


def message(data: bytes) -> Any:
    return parse(wire.RECEIVED[struct.unpack_from("=IH", data)[1]], data)


def event(data: bytes) -> Event:
    return decode_event(struct.unpack_from("=IH", data)[1], data)


def answer(request: Request[Any], data: bytes) -> Any:
    return request.decode([data])


@pytest.fixture(params=CAPTURES)
def captured(request: pytest.FixtureRequest) -> dict[str, bytes]:
    """Return what each kernel sent, in turn."""
    return CAPTURES[request.param]


def test_every_kernel_of_the_matrix_was_captured() -> None:
    missing = set(kernels.load().kernels) - set(CAPTURES)
    assert not missing, f"CONTRIBUTING.md says how to capture {missing}"


def test_every_message_that_linux_sends_was_captured() -> None:
    never_seen = {wire.XFRM_MSG_REPORT}
    sent = {struct.unpack_from("=IH", data)[1] for messages in CAPTURES.values() for data in messages.values()}
    assert sent == set(wire.RECEIVED) - never_seen


@pytest.mark.parametrize(("kernel", "name"), SA_NAMES)
def test_an_sa_is_read_as_it_was_written(kernel: str, name: str) -> None:
    sa, told = ALL_SAS[name], CAPTURES[kernel]
    assert answer(DIALECT.get_sa(sa.id), told[f"get sa {name}"]).as_written() == sa
    assert event(told[f"expire sa {name} soft"]) == Expire(sa.id, sa.source, sa.reqid, hard=False)
    for title, change in (("add", Change.ADDED), ("delete", Change.DELETED)):
        match event(told[f"{title} sa {name}"]):
            case SAChange(how, SA() as changed):
                assert (how, changed.as_written()) == (change, sa)
            case other:
                pytest.fail(f"told {other}")


@pytest.mark.parametrize(("kernel", "name"), POLICY_NAMES)
def test_a_policy_is_read_as_it_was_written(kernel: str, name: str) -> None:
    policy, told = POLICIES[name], CAPTURES[kernel]
    assert answer(DIALECT.get_policy(policy.id), told[f"get policy {name}"]).as_written() == policy
    for title, change in (("add", Change.ADDED), ("delete", Change.DELETED)):
        match event(told[f"{title} policy {name}"]):
            case PolicyChange(how, Policy() as changed):
                assert (how, changed.as_written()) == (change, policy)
            case other:
                pytest.fail(f"told {other}")
    match event(told[f"expire policy {name} soft"]):
        case PolicyExpire(expired, hard):
            assert (expired.as_written(), hard) == (policy, False)
        case other:
            pytest.fail(f"told {other}")


def test_how_far_an_sa_is_is_read(captured: dict[str, bytes]) -> None:
    progress = answer(DIALECT.get_progress(SAS["esn"].id), captured["progress of sa esn"])
    assert (progress.replay.bitmap, progress.timer_ms) == ((0, 0, 0, 0), 1000)
    match event(captured["progress"]):
        case SAProgress(sa_id, source, 7, told, ProgressCause.SET):
            assert (sa_id, source, told.replay) == (SAS["aead"].id, SAS["aead"].source, PROGRESS.replay)
        case other:
            pytest.fail(f"told {other}")


def test_the_tables_are_read(captured: dict[str, bytes]) -> None:
    assert answer(DIALECT.get_sad_info(), captured["sad info"]).count == 0
    spd = answer(DIALECT.get_spd_info(), captured["spd info"])
    assert (spd.inbound, spd.ipv4.local, spd.ipv6.remote) == (0, 32, 128)
    assert answer(DIALECT.get_default_policy(), captured["default policy"]) == DefaultPolicy()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("set default policy", DefaultPolicyChange(DefaultPolicy(forward=Action.BLOCK))),
        ("flush sub policies", PolicyFlush(PolicyType.SUB)),
        ("flush policies", PolicyFlush()),
        ("flush sas", SAFlush(None)),
        ("migrate policy", Migrated(POLICIES["out"].id, (MOVED,))),
        ("expire sa hard", Expire(SAS["aead"].id, SAS["aead"].source, 7, hard=True)),
    ],
)
def test_what_is_told_is_read(captured: dict[str, bytes], name: str, expected: Event) -> None:
    assert event(captured[name]) == expected


def test_updates_are_told_as_they_were_asked_for(captured: dict[str, bytes]) -> None:
    match event(captured["update sa"]), event(captured["update policy"]):
        case SAChange(Change.UPDATED, sa), PolicyChange(Change.UPDATED, policy):
            assert sa.as_written() == replace(SAS["encap"], encap=UdpEncap(4500, 4501))
            assert policy.as_written() == replace(POLICIES["out"], priority=5)
        case other:
            pytest.fail(f"told {other}")


def test_a_moved_sa_is_told_by_its_old_place_and_its_new() -> None:
    moves = [event(data) for told in CAPTURES.values() for name, data in told.items() if name == "migrate sa"]
    assert moves
    for move in moves:
        assert isinstance(move, SAMigrated)
        assert (move.new_source, move.new_destination) == (ADDRESSES[4].roaming_later, ADDRESSES[4].gateway)
        assert (move.sa_id.destination, move.reqid, move.mark) == (ADDRESSES[4].gateway, 7, None)


@pytest.mark.parametrize("family", ADDRESSES)
def test_what_packets_cause_is_read(captured: dict[str, bytes], family: int) -> None:
    at, policy, sa = ADDRESSES[family], make_policies(family)[0], peer(family)
    match event(captured[f"IPv{family} acquire"]):
        case Acquire(policy=Policy() as wanting) as acquire:
            assert wanting.as_written() == policy
            assert acquire.policy_id == wanting.index
            assert (acquire.source, acquire.destination) == (at.roaming, at.gateway)
            assert (acquire.protocol, acquire.reqid) == (Protocol.ESP, 7)
        case other:
            pytest.fail(f"told {other}")
    match event(captured[f"IPv{family} new mapping"]):
        case NatMapping() as mapping:
            assert (mapping.sa_id, mapping.old_address, mapping.old_port) == (sa.id, sa.source, PORT)
            assert (mapping.new_address, mapping.new_port) == (at.roaming_later, LATER_PORT)
        case other:
            pytest.fail(f"told {other}")
    match event(captured[f"IPv{family} expire policy hard"]):
        case PolicyExpire(expired, hard):
            assert (expired.as_written(), hard) == (policy, True)
        case other:
            pytest.fail(f"told {other}")


def test_the_spi_that_was_reserved_is_read(captured: dict[str, bytes]) -> None:
    larval = parts.decoding(codec.decode_sa, message(captured["get spi"]))
    assert (larval.id.spi, larval.encryption, larval.selector) == (0x2000, None, None)


@pytest.mark.parametrize(("kernel", "name"), EVERY)
def test_a_message_that_is_cut_short_is_refused_or_read(kernel: str, name: str) -> None:
    data = CAPTURES[kernel][name]
    for length in range(HEADER_SIZE, len(data), 4):
        cut = struct.pack("=I", length) + data[4:length]
        # Cut between two attributes it is a whole message; nothing else than that and a refusal may come of it.
        try:
            message(cut)
        except MalformedReplyError:
            continue
