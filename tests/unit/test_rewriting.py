"""SAs and policies that were read, and what they are changed to, by their bytes: the same as by their fields."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from ipaddress import IPv4Address, IPv6Address
from random import Random

import pytest

from pfkeyx import SA, Action, Direction, InvalidRequestError, Mark, Policy, Port, Template, UdpEncap
from pfkeyx.dialect import changed_templates
from pfkeyx.migration.planning import make_plan
from pfkeyx.model import ADDRESSED_MODES, IPAddress
from pfkeyx.model.deferred import changed
from pfkeyx.xfrm import XfrmDialect, codec, layout
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm import moves as xfrm_moves
from pfkeyx.xfrm.datagram import HEADER_SIZE
from pfkeyx.xfrm.entry import PolicyEntry, SAEntry
from tests.unit.random_values import random_policy, random_sa
from tests.unit.samples import EVERY_METHOD, INBOUND, NEW_LOCAL, NO_MIGRATE_STATE, OUTBOUND, POLICIES, SAS, UPDATE
from tests.unit.xfrm_bytes import told_policy, told_sa

DIALECT = XfrmDialect()
ENDS: dict[int, tuple[IPAddress, IPAddress]] = {
    4: (IPv4Address("198.51.100.77"), IPv4Address("203.0.113.77")),
    6: (IPv6Address("2001:db8::77"), IPv6Address("2001:db8:1::77")),
}
DRAWS = 300


def drawn_sas() -> Iterator[tuple[SA, SA]]:
    """Yield SAs as they were read, and the same as values that were not."""
    random = Random(11)
    for _ in range(DRAWS):
        message = told_sa(random_sa(random))
        yield codec.read_sa(message), codec.decode_sa(SAEntry(message))


def drawn_policies() -> Iterator[tuple[Policy, Policy]]:
    """Yield policies as they were read, and the same as values that were not."""
    random = Random(12)
    for _ in range(DRAWS):
        message = told_policy(random_policy(random))
        yield codec.read_policy(message), codec.decode_policy(PolicyEntry(message))


def at(template: Template, version: int) -> Template:
    """Return a template that is for an SA between other ends."""
    if template.mode not in ADDRESSED_MODES:
        return template
    source, destination = ENDS[version]
    return replace(template, source=source, destination=destination)


def assert_equal(one: SA | Policy, other: SA | Policy) -> None:
    for field in fields(other):
        assert getattr(one, field.name) == getattr(other, field.name), field.name
    assert one == other
    assert one.handle == other.handle == other.id.handle


# ---- handles ----


def test_what_was_read_has_the_handle_of_its_identity() -> None:
    for drawn in (drawn_sas, drawn_policies):
        for read, value in drawn():
            assert read.handle == value.handle == value.id.handle == read.as_written().handle


@pytest.mark.parametrize(
    "change",
    [
        lambda policy: replace(policy, selector=replace(policy.selector, source=POLICIES[1].selector.source)),
        lambda policy: replace(policy, selector=replace(policy.selector, destination=POLICIES[1].selector.destination)),
        lambda policy: replace(policy, selector=replace(policy.selector, protocol=6)),
        lambda policy: replace(policy, selector=replace(policy.selector, source_port=Port(5))),
        lambda policy: replace(policy, selector=replace(policy.selector, source_port=Port(5, 0xFF))),
        lambda policy: replace(policy, selector=replace(policy.selector, destination_port=Port(5))),
        lambda policy: replace(policy, selector=replace(policy.selector, interface_index=4)),
        lambda policy: replace(policy, selector=replace(policy.selector, user=4)),
        lambda policy: replace(policy, direction=Direction.IN),
        lambda policy: replace(policy, mark=Mark(1)),
        lambda policy: replace(policy, mark=Mark(1, 1)),
        lambda policy: replace(policy, if_id=1),
        lambda policy: replace(policy, type=1),
    ],
)
def test_policies_with_other_identities_have_other_handles(change: Callable[[Policy], Policy]) -> None:
    policy = POLICIES[0]
    other = codec.read_policy(told_policy(change(policy)))
    assert other.id != policy.id
    assert other.handle != codec.read_policy(told_policy(policy)).handle


def test_handles_put_sas_and_policies_in_one_order_however_they_are_made() -> None:
    for drawn in (drawn_sas, drawn_policies):
        pairs = list(drawn())
        read, values = ([pair[side] for pair in pairs] for side in (0, 1))
        by_handle = sorted(range(DRAWS), key=lambda number: read[number].handle)
        assert by_handle == sorted(range(DRAWS), key=lambda number: values[number].handle)


# ---- changes ----


def test_an_sa_that_is_moved_is_read_of_what_says_so() -> None:
    for read, value in drawn_sas():
        assert read.handle == value.handle
        for version, (source, destination) in ENDS.items():
            moved = read.moved(source, destination, read.encap)
            assert_equal(moved, value.moved(source, destination, value.encap))
            is_told = moved.told is not None
            assert not is_told or version == value.source.version
            if is_told:
                assert_equal(codec.read_sa(moved.told.message), moved)


def test_a_policy_with_other_ends_is_read_of_what_says_so() -> None:
    rewritten = 0
    for read, value in drawn_policies():
        for version in ENDS:
            templates = tuple(at(template, version) for template in value.templates)
            for action in Action:
                moved = changed(read, templates=templates, action=action)
                assert_equal(moved, replace(value, templates=templates, action=action))
                if moved.told is not None:
                    rewritten += 1
                    assert_equal(codec.read_policy(moved.told.message), moved)
    assert rewritten > DRAWS


@pytest.mark.parametrize(
    "change",
    [
        {"reqid": 9},
        {"spi": 9},
        {"optional": True},
        {"algorithm_masks": (1, 2, 3)},
        {"source": None, "destination": None},
        {"source": ENDS[6][0], "destination": ENDS[6][1]},
    ],
    ids=str,
)
def test_what_no_ends_say_is_not_taken_for_said(change: dict[str, object]) -> None:
    read = codec.read_policy(told_policy(POLICIES[0]))
    templates = (replace(POLICIES[0].templates[0], **change),)  # type: ignore[arg-type]
    moved = changed(read, templates=templates)
    assert moved.told is None
    assert moved.templates == templates
    assert changed(read, templates=(*read.templates, *templates)).told is None


def test_what_was_read_is_not_what_was_written_though_their_bytes_are_the_same() -> None:
    for message, read in ((told_sa(OUTBOUND), codec.read_sa), (told_policy(POLICIES[0]), codec.read_policy)):
        value: SA | Policy = read(message)
        assert value.usage is not None
        assert value != value.as_written() == read(message).as_written()
        assert value.as_written().usage is None
        assert value.as_written().as_written() == value.as_written()


# ---- what is sent ----


def test_a_policy_is_written_back_as_its_fields_would_be() -> None:
    for read, value in drawn_policies():
        templates = tuple(at(template, value.selector.source.version) for template in value.templates)
        for policy, plain in (
            (read.as_written(), value.as_written()),
            (changed(read.as_written(), templates=templates), replace(value.as_written(), templates=templates)),
        ):
            by_bytes, by_fields = DIALECT.update_policy(policy), DIALECT.update_policy(plain)
            assert bytes(by_bytes.wire.message[4:16]) == bytes(by_fields.wire.message[4:16])
            told_back, told = (
                codec.decode_policy(PolicyEntry(as_told(request.wire.message))) for request in (by_bytes, by_fields)
            )
            assert told_back == told
            assert by_bytes.needs == (() if policy.told is not None else by_fields.needs)


def test_empty_masks_are_written_back_as_all_algorithms() -> None:
    template = replace(POLICIES[0].templates[0], algorithm_masks=(0, 0, 0))
    read = codec.read_policy(told_policy(replace(POLICIES[0], templates=(template, template))))
    sent = as_told(DIALECT.update_policy(read).wire.message)
    assert [masks["aalgos"] for masks in PolicyEntry(sent).get_attr("XFRMA_TMPL")] == [0xFFFFFFFF] * 2


def test_an_index_that_is_wished_for_is_written_back() -> None:
    read = codec.read_policy(told_policy(replace(POLICIES[0], index=81)))
    sent = [as_told(DIALECT.update_policy(policy).wire.message) for policy in (read, read.as_written())]
    assert [PolicyEntry(message)["index"] for message in sent] == [81, 0]


def as_told(message: bytearray) -> bytes:
    """Return what a kernel would tell of the policy that it was asked to write."""
    return bytes(message[:4]) + wire.XFRM_MSG_NEWPOLICY.to_bytes(2, "little") + bytes(message[6:])


def test_a_move_by_spi_is_asked_for_as_the_fields_would_be() -> None:
    by_bytes = 0
    for read, value in drawn_sas():
        source, destination = ENDS[value.source.version]
        moved, plain_moved = (sa.moved(source, destination, sa.encap) for sa in (read, value))
        request = DIALECT.migrate_sa(read, moved)
        assert request.wire.message == xfrm_moves._migrate_state(value, plain_moved)
        by_bytes += moved.told is not None
    assert by_bytes > DRAWS / 4


def test_of_an_sa_that_tells_no_selector_the_usual_one_is_said_in_a_move_by_spi() -> None:
    message = bytearray(told_sa(OUTBOUND))
    family = HEADER_SIZE + layout.xfrm_selector.offset("family")
    message[family : family + 2] = bytes(2)
    read = codec.read_sa(bytes(message))
    assert read.selector is None
    moved = read.moved(NEW_LOCAL, read.destination, None)
    assert DIALECT.migrate_sa(read, moved).wire.message == xfrm_moves._migrate_state(read, moved)


def test_an_encapsulation_that_changes_is_said_in_a_move_by_spi() -> None:
    read = codec.read_sa(told_sa(OUTBOUND))
    in_udp = codec.read_sa(told_sa(replace(OUTBOUND, source=NEW_LOCAL, encap=UdpEncap())))
    message = DIALECT.migrate_sa(read, in_udp).wire.message
    assert message == DIALECT.migrate_sa(OUTBOUND, replace(OUTBOUND, source=NEW_LOCAL, encap=UdpEncap())).wire.message


# ---- plans ----


@pytest.mark.parametrize("supports", [EVERY_METHOD, NO_MIGRATE_STATE], ids=["by SPI", "by policy"])
def test_the_plan_for_what_was_read_is_the_one_for_the_same_values(supports: dict[object, object]) -> None:
    def plan(sas: Sequence[SA], policies: Sequence[Policy]) -> object:
        return make_plan(UPDATE, sas, policies, supports)  # type: ignore[arg-type]

    others = [replace(sa, id=replace(sa.id, spi=sa.id.spi + 0x10), reqid=8) for sa in (OUTBOUND, INBOUND)]
    sas, policies = [*SAS, *others], [*POLICIES, replace(POLICIES[0], if_id=3), replace(POLICIES[1], mark=Mark(7))]
    read = plan([codec.read_sa(told_sa(sa)) for sa in sas], [codec.read_policy(told_policy(p)) for p in policies])
    values = plan(
        [codec.decode_sa(SAEntry(told_sa(sa))) for sa in sas],
        [codec.decode_policy(PolicyEntry(told_policy(p))) for p in policies],
    )
    assert read == values
    assert str(read) == str(values)


def test_a_move_through_a_policy_is_written_of_what_was_read_as_of_its_fields() -> None:
    by_bytes = 0
    for read, value in drawn_policies():
        for version in ENDS:
            templates = tuple(at(template, version) for template in value.templates)
            if any(template.source is None for template in templates) or templates == value.templates or read.mark:
                continue
            moved = changed(read, templates=templates)
            expected = DIALECT.migrate_policy(
                value.id, changed_templates(value, replace(value, templates=templates)), None
            )
            request = DIALECT.move_policy(read, moved, None)
            assert request.wire.message == expected.wire.message
            assert str(request.subject) == str(expected.subject)
            by_bytes += isinstance(request.subject, Policy)
    assert by_bytes > 5


def test_a_move_through_a_policy_to_what_can_be_no_end_is_refused() -> None:
    read = codec.read_policy(told_policy(POLICIES[0]))
    template = replace(read.templates[0], source=IPv4Address("224.0.0.1"))
    with pytest.raises(InvalidRequestError, match="cannot be the end of an SA"):
        DIALECT.move_policy(read, changed(read, templates=(template,)), None)
