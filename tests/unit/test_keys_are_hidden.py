"""Key bytes reach no repr, no error and no traceback."""

import json
import pickle
import traceback
from dataclasses import replace

import pytest

from pfkeyx import Encryption, Engine, KernelError, Key, MigrationError
from pfkeyx.algorithms import AES_CBC, AES_GCM
from pfkeyx.operation import Batch
from pfkeyx.pfkey import PfkeyDialect
from pfkeyx.testing import Refusal, ScriptedKernel
from pfkeyx.xfrm import XfrmDialect
from tests.unit.samples import CBC, OUTBOUND, POLICIES, SAS, SECRET, SHA256_96, TUNNEL, UPDATE

CBC_SA = TUNNEL.outbound(0xC0FFEE01, CBC, SHA256_96)


def assert_hidden(text: str) -> None:
    # Any eight bytes of the key in a row, raw, in hex, as Python shows bytes, or as numbers.
    for start in range(len(SECRET) - 8):
        part = SECRET[start : start + 8]
        for form in (part.decode("latin-1"), part.hex(), part.hex().upper(), repr(part)[2:-1], str(list(part))[1:-1]):
            assert form not in text


def test_the_test_would_see_a_key() -> None:
    for leak in (repr(SECRET), SECRET.hex(), str(list(SECRET))):
        with pytest.raises(AssertionError):
            assert_hidden(leak)


@pytest.mark.parametrize(
    "value",
    [
        Key(SECRET),
        OUTBOUND,
        CBC_SA,
        XfrmDialect().add_sa(OUTBOUND),
        XfrmDialect().add_sa(OUTBOUND).wire,
        XfrmDialect().restore_sa(OUTBOUND),
        XfrmDialect().restore_sa(OUTBOUND).wire,
        PfkeyDialect().add_sa(CBC_SA),
        PfkeyDialect().add_sa(CBC_SA).wire,
        Batch((XfrmDialect().add_sa(OUTBOUND),), one_datagram=True),
        KernelError.of(17, "add SA", OUTBOUND),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_key_is_shown(value: object) -> None:
    for text in (repr(value), str(value), f"{value}", repr([value])):
        assert_hidden(text)


def test_no_key_is_in_the_traceback_of_a_refusal_even_with_local_variables() -> None:
    engine = Engine(XfrmDialect(), ScriptedKernel([("add SA", Refusal(17))]))
    try:
        engine.add_sa(OUTBOUND)
    except KernelError as error:
        assert_hidden("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))
    else:
        pytest.fail("the kernel refused")


def test_no_key_is_in_a_plan_nor_in_the_error_of_a_move() -> None:
    dumps = [("dump SAs", list(SAS)), *([("dump SAs", [])] * 3)]
    state = [*dumps, ("get SA", Refusal(3)), ("dump policies", list(POLICIES))]
    probes = [("probe", Refusal(3)), ("probe", Refusal(22))]
    update = ("update policy", None)
    tunnel = [update, ("migrate SA", Refusal(17)), update, ("migrate SA", None), update, update]
    engine = Engine(
        XfrmDialect(),
        ScriptedKernel(probes + state + state + tunnel + state + [update] * 3 + state),
    )
    plan = engine.plan_migration(UPDATE)
    assert_hidden(repr(plan) + str(plan) + json.dumps(plan.as_json()))
    with pytest.raises(MigrationError) as caught:
        engine.migrate(UPDATE)
    assert_hidden(repr(caught.value) + str(caught.value) + repr(caught.value.not_moved))


def test_no_key_is_in_the_error_about_a_bad_one() -> None:
    engine = Engine(XfrmDialect(), ScriptedKernel([]))
    bad = replace(OUTBOUND, encryption=Encryption(AES_GCM, Key(SECRET[:30])))
    with pytest.raises(ValueError, match="this one has 30") as caught:
        engine.add_sa(bad)
    assert_hidden("".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()))


def test_a_kernel_error_survives_pickling_without_its_subjects_key() -> None:
    data = pickle.dumps(KernelError.of(17, "add SA", OUTBOUND, "detail"))
    assert SECRET[:8] not in data
    assert str(pickle.loads(data)) == str(KernelError.of(17, "add SA", OUTBOUND, "detail"))


def test_a_key_of_zeros_is_known_for_hidden() -> None:
    assert Key(bytes(16)).is_hidden
    assert not Key(SECRET).is_hidden
    assert not Encryption(AES_CBC, Key(b"")).key.is_hidden
