"""Each kind of event is one line for people."""

from ipaddress import ip_address
from typing import get_args

import pytest

from pfkeyx import (
    Acquire,
    AddressPair,
    Change,
    DefaultPolicy,
    DefaultPolicyChange,
    Event,
    Expire,
    Migrated,
    NatMapping,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    Progress,
    ProgressCause,
    Protocol,
    Replay,
    Report,
    SAChange,
    SAFlush,
    SAId,
    SAMigrated,
    SAProgress,
    UdpEncap,
    Usage,
)
from pfkeyx.cli import monitor
from pfkeyx.cli.event_text import event_line
from tests.unit.samples import LOCAL, NEW_LOCAL, OUTBOUND, POLICIES, REMOTE

SA_ID = SAId(REMOTE, 0xC0FFEE01)
(TEMPLATE,) = POLICIES[0].templates
LINES: list[tuple[Event, str]] = [
    (
        Acquire(LOCAL, REMOTE, Protocol.ESP, 9, 1, POLICIES[0].selector, 7),
        "acquire  esp 192.0.2.2 -> 203.0.113.1  reqid 7  for 10.1.0.0/16 -> 10.2.0.0/16  policy 9",
    ),
    (Expire(SA_ID, LOCAL, 7, True), "expire  hard  esp 0xc0ffee01 192.0.2.2 -> 203.0.113.1  reqid 7"),
    (PolicyExpire(POLICIES[0], False), "expire  soft  policy out 10.1.0.0/16 -> 10.2.0.0/16"),
    (
        NatMapping(0x99, REMOTE, 4500, ip_address("203.0.113.9"), 1024),
        "mapping  0x00000099  203.0.113.1 port 4500 -> 203.0.113.9 port 1024",
    ),
    (
        Migrated(POLICIES[0].id, ((TEMPLATE, TEMPLATE),), AddressPair(LOCAL, REMOTE)),
        "migrate  policy out 10.1.0.0/16 -> 10.2.0.0/16  esp tunnel 192.0.2.2 -> 203.0.113.1 reqid 7"
        " to 192.0.2.2 -> 203.0.113.1",
    ),
    (
        SAMigrated(SA_ID, NEW_LOCAL, REMOTE, encap=UdpEncap()),
        "migrate  esp 0xc0ffee01 to 203.0.113.1 to 198.51.100.2 -> 203.0.113.1  udp 4500 -> 4500",
    ),
    (
        SAProgress(SA_ID, LOCAL, 7, Progress(Replay(3, 0), Usage(300, 3, 1, 2)), ProgressCause.TIMER),
        "progress  esp 0xc0ffee01 192.0.2.2 -> 203.0.113.1  sequence out 3 in 0  300 B in 3 packets",
    ),
    (Report(60, POLICIES[0].selector), "report  protocol 60  10.1.0.0/16 -> 10.2.0.0/16"),
    (SAChange(Change.ADDED, OUTBOUND), "sa  added  esp 0xc0ffee01 192.0.2.2 -> 203.0.113.1  reqid 7"),
    (SAFlush(None), "sa  flushed  all"),
    (
        PolicyChange(Change.DELETED, POLICIES[0]),
        "policy  deleted  out 10.1.0.0/16 -> 10.2.0.0/16  esp tunnel 192.0.2.2 -> 203.0.113.1 reqid 7",
    ),
    (PolicyFlush(), "policy  flushed  main"),
    (DefaultPolicyChange(DefaultPolicy()), "policy  default  in allow fwd allow out allow"),
]


@pytest.mark.parametrize(("event", "line"), LINES, ids=lambda value: type(value).__name__)
def test_an_event_is_one_line(event: Event, line: str) -> None:
    assert event_line(event) == line


def test_no_kind_of_event_is_without_a_line_and_a_word_to_listen_for_it_by() -> None:
    kinds = set(get_args(Event))
    assert {type(event) for event, _ in LINES} == kinds
    assert {kind for listed in monitor._KINDS.values() for kind in listed} == kinds
