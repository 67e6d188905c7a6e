"""What the C core finds in SAs and policies over PF_KEY, beside what is read of the whole message."""

import copy
import pickle
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given

from pfkeyx import SA, MalformedReplyError, Policy
from pfkeyx.entries import Messages
from pfkeyx.model.deferred import same
from pfkeyx.pfkey import PfkeyDialect, codec
from pfkeyx.pfkey.entry import Entry
from pfkeyx.pfkey.message import ExtensionType, MessageType, read
from pfkeyx.xfrm import codec as xfrm_codec
from tests.captures import read_captures
from tests.unit.test_pfkey_codec import POLICY, SA_, policies, sas, sent
from tests.unit.xfrm_bytes import told_policy, told_sa

PFKEY = PfkeyDialect()
SA_MESSAGE, POLICY_MESSAGE = sent(PFKEY.add_sa(SA_)), sent(PFKEY.add_policy(POLICY))
CAPTURED = [
    data for path in sorted(Path(__file__).with_name("captures").glob("*.txt")) for data in read_captures(path).values()
]
_POLICIES = (MessageType.X_SPDADD, MessageType.X_SPDUPDATE, MessageType.X_SPDDUMP, MessageType.X_SPDGET)
_SAS = (MessageType.ADD, MessageType.UPDATE, MessageType.GET, MessageType.DUMP)


@given(sas())
def test_an_sa_is_read_like_the_whole_message(sa: SA) -> None:
    data = sent(PFKEY.add_sa(sa))
    assert codec.read_sa(data) == codec.decode_sa(read(data))


@given(policies())
def test_a_policy_is_read_like_the_whole_message(policy: Policy) -> None:
    data = sent(PFKEY.add_policy(policy))
    assert codec.read_policy(data) == codec.decode_policy(read(data))


def test_what_both_interfaces_tell_of_the_same_is_equal_field_by_field() -> None:
    for pfkey, xfrm in (
        (codec.read_sa(SA_MESSAGE), xfrm_codec.read_sa(told_sa(SA_))),
        (codec.read_policy(POLICY_MESSAGE), xfrm_codec.read_policy(told_policy(POLICY))),
    ):
        names = [field.name for field in fields(pfkey)]
        differing = [name for name in names if getattr(pfkey, name) != getattr(xfrm, name)]
        assert (pfkey == xfrm, xfrm == pfkey) == (not differing, not differing)
        assert [name for name in names if not same(xfrm, pfkey, [name])] == differing


def test_what_kernels_told_of_sas_and_policies_is_read_like_the_whole_messages() -> None:
    read_of = {_SAS: 0, _POLICIES: 0}
    for data in CAPTURED:
        message = read(data)
        if not message.extensions:
            continue
        if message.type in _SAS:
            assert codec.read_sa(data) == codec.decode_sa(message)
            read_of[_SAS] += 1
        if message.type in _POLICIES:
            assert codec.read_policy(data) == codec.decode_policy(message)
            read_of[_POLICIES] += 1
    assert min(read_of.values()) > 20


@pytest.mark.parametrize(
    ("data", "read_one", "decode", "kind"),
    [
        (SA_MESSAGE, codec.read_sa, codec.decode_sa, SA),
        (POLICY_MESSAGE, codec.read_policy, codec.decode_policy, Policy),
    ],
    ids=["SA", "policy"],
)
def test_no_byte_of_an_entry_makes_it_fail_later_than_when_it_is_looked_through(
    data: bytes, read_one: Callable[[bytes], SA], decode: Callable[..., object], kind: type[SA]
) -> None:
    generator = random.Random(8)
    accepted = 0
    for _ in range(5000):
        changed = bytearray(data)
        for _ in range(generator.randrange(1, 4)):
            changed[generator.randrange(1, len(data))] = generator.choice((0, 1, 2, 10, 255, generator.randrange(256)))
        del changed[generator.choice((len(data), len(data), generator.randrange(len(data)))) :]
        entry = read_one(bytes(changed))
        try:
            len(Entry(bytes(changed)))
        except MalformedReplyError:
            continue
        for field in fields(kind):
            getattr(entry, field.name)
        accepted += 1
        with suppress(MalformedReplyError):  # in what an SA or a policy is not made of
            assert entry == decode(read(bytes(changed)))
    assert accepted > 500


def test_an_entry_is_a_mapping_of_what_is_there() -> None:
    whole = read(SA_MESSAGE)
    assert dict(Entry(SA_MESSAGE)) == dict(whole.extensions)
    assert (Entry(SA_MESSAGE).type, Entry(SA_MESSAGE).satype) == (whole.type, whole.satype)
    with pytest.raises(KeyError):
        Entry(SA_MESSAGE)[ExtensionType.X_POLICY]


def test_an_entry_that_comes_to_no_sa_says_so_when_it_is_looked_at() -> None:
    with pytest.raises(MalformedReplyError, match="an entry of 20 bytes is cut short"):
        codec.read_sa(SA_MESSAGE[:20]).reqid  # noqa: B018


def test_a_value_that_was_read_can_be_copied_and_sent_to_another_process() -> None:
    sa = codec.read_sa(SA_MESSAGE)
    assert copy.copy(sa) == copy.deepcopy(sa) == pickle.loads(pickle.dumps(sa)) == sa
    assert repr(sa) == repr(codec.decode_sa(read(SA_MESSAGE)))


def test_of_two_that_were_read_fields_are_compared_where_bytes_differ() -> None:
    sa, other = codec.read_sa(SA_MESSAGE), codec.read_sa(sent(PFKEY.add_sa(replace(SA_, reqid=77))))
    assert sa == codec.read_sa(SA_MESSAGE)
    assert sa != other
    assert same(sa, other, ("id", "source"))


def test_what_pfkey_does_not_tell_is_what_it_is_where_nothing_is_said() -> None:
    sa = codec.read_sa(SA_MESSAGE)
    assert (sa.if_id, sa.other, sa.replay, sa.failures) == (0, (), None, None)


def test_messages_are_a_sequence() -> None:
    parts: Sequence[bytes] = (b"one.", b"second..", b"last")
    messages = Messages(b"".join(parts), [4, 12, 16])
    assert list(messages) == list(parts)
    assert (messages[0], messages[1], messages[-1], messages[1:]) == (*parts, list(parts[1:]))
    with pytest.raises(IndexError):
        messages[3]
