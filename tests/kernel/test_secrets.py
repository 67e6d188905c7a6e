"""Key bytes reach the kernel and nothing else: no repr, no error, no traceback, no log."""

import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pfkeyx import (
    AES_CBC,
    AES_GCM,
    HMAC_SHA1,
    SA,
    Algorithm,
    Authentication,
    Encryption,
    Engine,
    Key,
    PfkeyxError,
)
from pfkeyx.algorithms import Kind
from pfkeyx.opening import EngineName
from pfkeyx.operation import Batch
from tests.kernel.moves import places, updates
from tests.kernel.topology import Road
from tests.kernel.values import make_sa

#: 64 printable bytes, so that a key shows in whatever way bytes are written.
PATTERN = b"ThisIsKeyMaterialThatNobodyMaySee" * 2
_START = PATTERN[:6]
NEEDLES = (_START.decode(), _START.hex(), _START.hex(" "), str(list(_START))[1:-1])


def secret(size: int) -> Key:
    return Key(PATTERN[:size])


def secret_sa(family: int, **fields: Any) -> SA:
    suite: dict[str, Any] = {
        "encryption": Encryption(AES_CBC, secret(16)),
        "authentication": Authentication(HMAC_SHA1, secret(20)),
    }
    return make_sa(family, **(suite | fields))


def test_the_needles_are_found_where_a_key_shows() -> None:
    for shown in (repr(PATTERN), PATTERN.hex(), PATTERN.hex(" "), repr(list(PATTERN)), repr(bytearray(PATTERN))):
        with pytest.raises(AssertionError):
            assert_no_key(shown)


def test_values_and_requests_do_not_show_keys(engine: Engine, family: int) -> None:
    sa = secret_sa(family)
    engine.add_sa(sa)
    request = engine._dialect.add_sa(sa)
    for value in (sa, engine.get_sa(sa.id), engine.dump_sas(), sa.encryption, request, Batch((request,)), request.wire):
        assert_no_key(repr(value))
        assert_no_key(str(value))
        assert_no_key(f"{value}")


def test_errors_and_their_tracebacks_do_not_show_keys(
    engine_name: EngineName, family: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    engine = Engine.open(engine_name)
    sa = secret_sa(family)
    engine.add_sa(sa)
    unheard_of = Algorithm("unheard-of", Kind.ENCRYPTION, "cbc(unheard-of)", (128,), pfkey_number=200)
    asks: list[Callable[[], object]] = [
        lambda: engine.add_sa(sa),
        lambda: engine.add_sas([replace(sa, reqid=2), sa]),
        lambda: engine.add_sa(secret_sa(family, encryption=Encryption(AES_CBC, secret(17)))),
        lambda: engine.add_sa(secret_sa(family, encryption=Encryption(AES_GCM, secret(21)), authentication=None)),
        lambda: engine.add_sa(secret_sa(family, encryption=Encryption(unheard_of, secret(16)), spi=2)),
        lambda: engine.update_sa(replace(sa, id=replace(sa.id, spi=0x9999))),
        lambda: engine.update_sa(replace(sa, reqid=1 << 32)),
    ]
    for ask in asks:
        assert_error_without_key(ask)
    engine.close()
    assert_error_without_key(lambda: engine.add_sa(sa))
    assert_no_key(caplog.text)


def test_plans_reports_and_refused_moves_do_not_show_keys(road: Road) -> None:
    road.set_up_tunnel(Encryption(AES_GCM, secret(20)))
    engine = road.roaming.engine
    first, second = places(road.family)
    update, _ = updates(first, second)
    plan = engine.plan_migration(update)
    report = engine.migrate(update)
    for value in (update, plan, plan.steps, report, report.sas):
        assert_no_key(repr(value))
        assert_no_key(str(value))
    moved = engine.dump_sas()[0].as_written()
    back, _ = updates(second, first)
    outrun = engine.plan_migration(back)
    destination = first.roaming if moved.destination == second.roaming else first.gateway
    engine.add_sa(replace(moved, id=replace(moved.id, destination=destination), source=road.addresses.gateway_inner))
    assert_error_without_key(lambda: engine.migrate(back))
    engine.delete_sa(moved.id)
    assert_error_without_key(lambda: engine.migrate(outrun))


def assert_error_without_key(ask: Callable[[], object]) -> None:
    """Assert that `ask` fails with an error of ours that shows no key, even with all variables of its frames."""
    try:
        ask()
    except PfkeyxError as error:
        shown = [str(error), repr(error), repr(error.args), repr(vars(error)), *_chain(error)]
    else:
        pytest.fail("it was not refused")
    for text in shown:
        assert_no_key(text)


def _chain(error: BaseException) -> Iterator[str]:
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    yield from report.format(chain=True)


def assert_no_key(text: str) -> None:
    assert [needle for needle in NEEDLES if needle.lower() in text.lower()] == []
