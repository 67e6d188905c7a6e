"""The published schema of what `--json` prints fits what is printed, and knows every command."""

import json
from dataclasses import asdict
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from pfkeyx import AddressPair, AddressUpdate, DefaultPolicy, UdpEncap
from pfkeyx.cli.parser import make_parser
from pfkeyx.cli.top import Row
from pfkeyx.cli.tunnel_text import tunnel_to_plain
from pfkeyx.document.plain import event_to_plain, to_plain
from pfkeyx.events import Event
from pfkeyx.migration.planning import make_plan
from pfkeyx.tunnels import find_tunnels
from tests.command_page import commands
from tests.output_schema import check_output, schema
from tests.unit.model_values import values_of
from tests.unit.samples import LOCAL, NEW_LOCAL, NO_MIGRATE_STATE, POLICIES, REMOTE, SAS

UPDATE = AddressUpdate(AddressPair(LOCAL, REMOTE), AddressPair(NEW_LOCAL, REMOTE), UdpEncap())


def check(command: str, **printed: Any) -> None:
    check_output(command.split(), json.loads(json.dumps({"version": 1, **printed})))


def test_the_schema_is_one_and_has_every_command() -> None:
    Draft202012Validator.check_schema(schema())
    names = {command.prog.removeprefix("pfkeyx ") for command in commands(make_parser())}
    # It draws a picture, and prints no JSON.
    assert names - set(schema()["$defs"]) == {"demo"}


@settings(max_examples=50)
@given(st.one_of([values_of(kind) for kind in get_args(Event)]), st.booleans())
def test_whatever_event_is_told_fits_it(event: Event, show_keys: bool) -> None:
    check("monitor --json", time=1.5, **event_to_plain(event, show_keys))


def test_what_is_planned_and_shown_of_tunnels_fits_it() -> None:
    plan = make_plan(UPDATE, SAS, POLICIES, NO_MIGRATE_STATE)
    check("tunnel move --dry-run", plan=plan.as_json(), report=None)
    check("tunnel move", plan=None, report=None)
    (tunnel,) = find_tunnels(SAS, POLICIES).tunnels
    check("--json tunnel list", tunnel=[tunnel_to_plain(tunnel, show_keys=True)])
    check("top --json", time=1.5, tunnel=[asdict(Row("192.0.2.1", "192.0.2.2", 7, "up", None, 1.5, None, 0))])
    check("policy default", default_policy=to_plain(DefaultPolicy()))


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("sa count", {"count": -1}),
        ("sa list", {"policy": []}),
        ("tunnel move", {"plan": {}, "report": None}),
        ("monitor", {"time": 1, "event": "surprise"}),
        ("probe", {"engine": {"ip": {"available": True, "reason": ""}}}),
    ],
)
def test_what_no_command_prints_does_not_fit_it(command: str, printed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        check(command, **printed)
