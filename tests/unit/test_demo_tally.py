"""What became of every packet, from logs and a capture that are written by hand."""

from dataclasses import replace
from ipaddress import ip_address
from xml.etree import ElementTree

import pytest

from pfkeyx.demo.picture import draw
from pfkeyx.demo.tally import Allowance, Cause, Lane, Moments, Result, count_lane, recognise
from pfkeyx.demo.traffic import SIZE_STEP, SIZES, Arrival, Sent
from pfkeyx.demo.wire import EspPacket

OLD, NEW, GATEWAY = map(ip_address, ("192.0.2.2", "198.51.100.2", "203.0.113.2"))
INTERVAL = 5_000_000
COUNT = 200
MOVED = 100
MOMENTS = Moments(
    switched=MOVED * INTERVAL,
    migrating=(MOVED * INTERVAL + 1, (MOVED + 4) * INTERVAL),
    old_address_gone=(MOVED + 5) * INTERVAL,
)

SENT = [Sent(number, (number + 1) * INTERVAL) for number in range(COUNT)]


def esp(number: int, sequence: int, roaming_is_old: bool) -> EspPacket:
    """Return an inbound packet as the router sees it, 1 ms after it was sent."""
    destination = OLD if roaming_is_old else NEW
    size = 60 + SIZE_STEP * (number % SIZES)
    return EspPacket(SENT[number].time_ns + 1_000_000, GATEWAY, destination, 0xC0FFEE, sequence, size)


WIRE = [esp(number, number + 1, number < MOVED) for number in range(COUNT)]
ARRIVED = [Arrival(number, SENT[number].time_ns + 2_000_000) for number in range(COUNT)]


def count(arrived: list[Arrival], wire: list[EspPacket], allowance: Allowance = Allowance()) -> Lane:  # noqa: B008
    return count_lane("inbound", SENT, arrived, wire, OLD, NEW, MOMENTS, allowance)


def without(number: int) -> list[Arrival]:
    return [arrival for arrival in ARRIVED if arrival.number != number]


def test_a_move_without_a_loss_has_no_problem() -> None:
    lane = count(ARRIVED, WIRE)
    assert list(lane.problems) == []
    assert (lane.lost(), lane.duplicated, lane.reordered, lane.repeated) == (0, 0, 0, 0)
    assert (lane.last_old, lane.first_new, lane.spis) == (MOVED, MOVED + 1, (0xC0FFEE,))
    assert [fate.roaming_address for fate in lane.fates] == [OLD] * MOVED + [NEW] * (COUNT - MOVED)


def test_every_packet_is_recognised_by_its_size_also_where_some_never_left() -> None:
    wire = [packet for number, packet in enumerate(WIRE) if not 50 <= number < 50 + SIZES // 2]
    found = recognise(SENT, wire)
    assert sorted(found) == [number for number in range(COUNT) if not 50 <= number < 50 + SIZES // 2]
    assert all(packet == WIRE[number] for number, packet in found.items())


def test_a_packet_that_reaches_the_wire_late_is_recognised_by_its_size() -> None:
    wire = [replace(packet, time_ns=packet.time_ns + (SIZES - 1) * INTERVAL) for packet in WIRE]
    assert recognise(SENT, wire) == dict(enumerate(wire))


def test_a_packet_to_the_old_address_after_the_move_began_is_explained() -> None:
    wire = [*WIRE[:MOVED], esp(MOVED, MOVED + 1, roaming_is_old=True), *WIRE[MOVED + 1 :]]
    lane = count(without(MOVED), wire, Allowance(in_flight=1))
    assert lane.fates[MOVED].cause is Cause.OLD_ADDRESS
    assert list(lane.problems) == []


def test_a_packet_to_the_old_address_before_the_move_is_not_explained() -> None:
    lane = count(without(20), WIRE, Allowance(in_flight=1))
    assert lane.fates[20].cause is Cause.UNEXPLAINED


def test_a_packet_that_never_was_on_the_wire_met_the_bracket() -> None:
    wire = [packet for number, packet in enumerate(WIRE) if number != MOVED]
    lane = count(without(MOVED), wire, Allowance(bracket=1))
    assert lane.fates[MOVED].cause is Cause.BRACKET
    assert lane.fates[MOVED].roaming_address is None


@pytest.mark.parametrize("lost", [MOVED - 1, MOVED])
def test_a_loss_that_the_kernel_did_not_count_is_not_explained(lost: int) -> None:
    wire = [packet for number, packet in enumerate(WIRE) if number != lost]
    lane = count(without(lost), wire)
    assert [lane.lost(), lane.lost(Cause.UNEXPLAINED)] == [1, 1]
    assert "1 of the inbound packets were lost" in next(lane.problems)


def test_a_packet_lost_behind_the_move_is_not_explained() -> None:
    assert count(without(150), WIRE, Allowance(9, 9, 9)).lost(Cause.UNEXPLAINED) == 1


def test_a_repeated_sequence_number_is_a_problem() -> None:
    wire = [*WIRE[:MOVED], *(replace(packet, sequence=packet.sequence - 1) for packet in WIRE[MOVED:])]
    lane = count(ARRIVED, wire)
    assert lane.repeated == 1
    assert [problem for problem in lane.problems if "twice" in problem or "went back" in problem] == [
        "1 inbound ESP sequence numbers were used twice",
        "the inbound ESP sequence numbers went back",
    ]


def test_another_spi_after_the_move_is_a_problem() -> None:
    lane = count(ARRIVED, [*WIRE[:MOVED], *(replace(packet, spi=0xBAD) for packet in WIRE[MOVED:])])
    assert list(lane.problems) == ["the inbound SPI changed"]


def test_an_sa_that_stays_at_the_old_address_is_a_problem() -> None:
    wire = [esp(number, number + 1, roaming_is_old=True) for number in range(COUNT)]
    assert list(count(ARRIVED, wire).problems) == ["the inbound SA was not seen at both addresses"]


def test_duplicated_and_reordered_packets_are_counted() -> None:
    lane = count([*ARRIVED[:10], ARRIVED[11], ARRIVED[10], *ARRIVED[12:], ARRIVED[-1]], WIRE)
    assert (lane.duplicated, lane.reordered) == (1, 1)


def result(inbound: Lane, in_clear: int = 0, missed: int = 0) -> Result:
    return Result(replace(count(ARRIVED, WIRE), name="outbound"), inbound, MOMENTS, in_clear, missed, {})


def test_a_packet_lost_while_its_sa_and_policies_differ_is_explained_when_the_kernel_counted_it() -> None:
    assert count(without(MOVED + 1), WIRE, Allowance(between=1)).fates[MOVED + 1].cause is Cause.BETWEEN
    assert count(without(MOVED + 1), WIRE, Allowance()).fates[MOVED + 1].cause is Cause.UNEXPLAINED
    assert count(without(150), WIRE, Allowance(between=1)).fates[150].cause is Cause.UNEXPLAINED


def test_a_packet_in_clear_is_a_problem() -> None:
    assert result(count(ARRIVED, WIRE), in_clear=1).problems == ("1 packets were on the wire in clear",)


def test_a_sniffer_that_missed_packets_proves_nothing() -> None:
    assert result(count(ARRIVED, WIRE), missed=1).problems == (
        "the sniffer missed 1 packets, so the wire is not proven",
    )


def test_the_picture_is_well_formed_and_small() -> None:
    lane = count(without(MOVED), WIRE)
    picture = draw(result(lane), OLD, NEW, "AES & <GCM>")
    root = ElementTree.fromstring(picture)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "AES & <GCM>" in texts
    assert "uplink 2, 198.51.100.2" in texts
    assert len(picture) < 50_000
