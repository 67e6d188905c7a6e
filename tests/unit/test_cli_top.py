"""What `pfkeyx top` shows, from two readings."""

from dataclasses import replace

from pfkeyx import SA, Failures, Lifetime, Limit, SAId, Usage
from pfkeyx.cli.top import Reading, Row, rows
from pfkeyx.tunnels import find_tunnels
from tests.unit.samples import INBOUND, NEW_LOCAL, OUTBOUND, POLICIES, REMOTE, TUNNEL

NOW = 10_000


def used(sa: SA, octets: int) -> SA:
    return replace(sa, usage=Usage(octets, octets // 100, added=NOW - 100, first_used=NOW - 50))


def reading(clock_s: float, *sas: SA) -> Reading:
    return Reading(clock_s, NOW, find_tunnels(sas, POLICIES).tunnels)


def test_rates_are_what_went_through_between_two_readings() -> None:
    out = replace(OUTBOUND, lifetime=Lifetime(soft=Limit(seconds=700), hard=Limit(seconds=900)))
    inward = replace(INBOUND, failures=Failures(1, 2, 3))
    before = reading(5.0, used(out, 1000), used(inward, 2000))
    after = reading(7.0, used(out, 5000), used(inward, 2100))
    (row,) = rows(before, after)
    assert row == Row("192.0.2.2", "203.0.113.1", 7, "up", 2000.0, 50.0, 600, 6)
    (first,) = rows(None, before)
    assert (first.out_rate, first.in_rate) == (None, None)


def test_a_new_sa_counts_from_its_beginning_and_a_moved_one_goes_on() -> None:
    before = reading(0.0, used(OUTBOUND, 1000), used(INBOUND, 1000))
    newer = replace(OUTBOUND, id=SAId(REMOTE, 0x99))
    (row,) = rows(before, reading(1.0, used(OUTBOUND, 1500), used(newer, 300), used(INBOUND, 1000)))
    assert (row.out_rate, row.in_rate, row.state) == (800.0, 0.0, "rekeying")
    later = replace(TUNNEL, local=NEW_LOCAL)
    sas = OUTBOUND.moved(NEW_LOCAL, REMOTE, None), INBOUND.moved(REMOTE, NEW_LOCAL, None)
    moved = find_tunnels([used(sa, 1600) for sa in sas], later.policies())
    (row,) = rows(before, Reading(1.0, NOW, moved.tunnels))
    assert (row.local, row.out_rate, row.in_rate) == ("198.51.100.2", 600.0, 600.0)


def test_counters_that_went_back_are_no_negative_rate() -> None:
    before = reading(0.0, used(OUTBOUND, 1000), used(INBOUND, 1000))
    (row,) = rows(before, reading(1.0, used(OUTBOUND, 0), used(INBOUND, 0)))
    assert (row.out_rate, row.in_rate) == (0.0, 0.0)


def test_what_is_not_told_is_not_guessed() -> None:
    (row,) = rows(None, reading(0.0, OUTBOUND, replace(INBOUND, failures=None)))
    assert (row.rekey_s, row.errors) == (None, None)
