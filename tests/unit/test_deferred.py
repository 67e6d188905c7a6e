"""Values that are worked out as far as they are looked at: changed, and compared without being made."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from random import Random
from typing import Any

import pytest

from pfkeyx import SA, MalformedReplyError, Policy
from pfkeyx.model.deferred import changed, same
from pfkeyx.xfrm import codec
from pfkeyx.xfrm.datagram import HEADER_SIZE
from pfkeyx.xfrm.entry import Entry, PolicyEntry, SAEntry
from pfkeyx.xfrm.fields import POLICY_FIELDS, SA_FIELDS, Fields
from tests.unit.random_values import random_policy, random_sa
from tests.unit.samples import OUTBOUND, POLICIES
from tests.unit.xfrm_bytes import told_policy, told_sa

TABLES: pytest.MarkDecorator = pytest.mark.parametrize(
    ("table", "entry", "tell", "draw"),
    [(SA_FIELDS, SAEntry, told_sa, random_sa), (POLICY_FIELDS, PolicyEntry, told_policy, random_policy)],
    ids=["SA", "policy"],
)


class Recorder:
    """An entry that notes what of it is looked at."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self.seen: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.seen.add(name)
        return self._entry[name]

    def get_attr(self, name: str) -> Any:
        self.seen.add(name)
        return self._entry.get_attr(name)

    def attributes(self) -> Iterator[tuple[int, bytes]]:
        return self._entry.attributes()


@TABLES
def test_a_field_is_made_of_nothing_but_what_its_row_names(
    table: Fields, entry: type[Entry], tell: Callable[[Any], bytes], draw: Callable[[Random], Any]
) -> None:
    random = Random(5)
    for _ in range(300):
        message = entry(tell(draw(random)))
        for name, read in table.items():
            recorder = Recorder(message)
            read(recorder)
            assert all(name in table.made_of(told) for told in recorder.seen), (name, recorder.seen)


@TABLES
def test_values_that_were_read_are_equal_where_all_their_fields_are(
    table: Fields, entry: type[Entry], tell: Callable[[Any], bytes], draw: Callable[[Random], Any]
) -> None:
    del table, entry
    random = Random(6)
    read: Callable[[bytes], SA | Policy] = codec.read_sa if draw is random_sa else codec.read_policy
    for _ in range(300):
        data = bytearray(tell(draw(random)))
        one = bytes(data)
        data[random.randrange(HEADER_SIZE, len(data))] ^= 1 << random.randrange(8)
        try:
            ours, others = read(one), read(bytes(data))
        except MalformedReplyError:
            continue
        names = [field.name for field in fields(ours)]
        differing = [name for name in names if getattr(read(one), name) != getattr(read(bytes(data)), name)]
        assert (ours == others) is not bool(differing), differing
        assert [name for name in names if not same(ours, others, [name])] == differing


@pytest.mark.parametrize("value", [OUTBOUND, codec.read_sa(told_sa(OUTBOUND))], ids=["made", "read"])
def test_a_changed_value_is_like_one_that_was_replaced(value: SA) -> None:
    once = changed(value, reqid=9)
    assert once == replace(value, reqid=9) != value
    assert hash(once) == hash(replace(value, reqid=9))
    twice = changed(once, tfc_padding=64)
    assert (twice.reqid, twice.tfc_padding, twice.id) == (9, 64, value.id)
    assert changed(twice, reqid=value.reqid, tfc_padding=value.tfc_padding) == value
    with pytest.raises(AttributeError):
        changed(value, spy=1)  # type: ignore[call-arg]


def test_a_change_of_either_of_two_that_were_read_makes_them_differ() -> None:
    one, other = (codec.read_sa(told_sa(OUTBOUND)) for _ in range(2))
    assert one == other
    assert changed(one, if_id=5) != other
    assert one != changed(other, if_id=5)
    assert changed(one, if_id=5) == changed(other, if_id=5)


def test_a_changed_value_makes_no_field_that_is_not_looked_at() -> None:
    looked_at = []

    class Noting(SAEntry):
        def __getitem__(self, name: str) -> Any:
            looked_at.append(name)
            return super().__getitem__(name)

        def get_attr(self, name: str) -> Any:
            looked_at.append(name)
            return super().get_attr(name)

    sa = SA.read(Noting(told_sa(OUTBOUND)), SA_FIELDS)
    assert changed(sa, reqid=OUTBOUND.reqid + 1).as_written() != sa.as_written()
    assert looked_at == ["reqid"]


def test_a_policys_identity_is_that_of_what_it_is_now() -> None:
    (policy, other, *_) = POLICIES
    read = codec.read_policy(told_policy(policy))
    assert read.id == policy.id == read.as_written().id
    assert changed(read, selector=other.selector).id.selector == other.selector
