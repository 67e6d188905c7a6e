"""The published schema of documents fits what is written, and refuses what is not."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from pfkeyx import SA, Policy
from pfkeyx.document.databases import from_text
from pfkeyx.document.plain import document
from pfkeyx.model import DefaultPolicy
from tests.document_schema import schema
from tests.unit.model_values import values_of
from tests.unit.samples import POLICIES, SAS

VALIDATOR = Draft202012Validator(schema())


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema())


@settings(max_examples=50)
@given(st.lists(values_of(SA), max_size=2), st.lists(values_of(Policy), max_size=2), st.booleans())
def test_whatever_is_written_fits_the_schema(sas: list[SA], policies: list[Policy], show_keys: bool) -> None:
    plain = document(sas, policies, default_policy=DefaultPolicy(), show_keys=show_keys)
    VALIDATOR.validate(json.loads(json.dumps(plain)))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"sas": []},
        {"default_policy": {"inbound": "perhaps"}},
        {"sa": [{"source": "192.0.2.1", "destination": "192.0.2.2"}]},
        {"sa": [{"source": "192.0.2.1", "destination": "192.0.2.2", "spi": "7", "speed": 9}]},
        {"policy": [{"direction": "out"}]},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_what_cannot_be_read_does_not_fit_the_schema(change: dict[str, Any]) -> None:
    plain = json.loads(json.dumps(document(SAS, POLICIES, show_keys=True)))
    from_text(json.dumps(plain), "good")
    with pytest.raises(ValidationError):
        VALIDATOR.validate(plain | change)
    with pytest.raises(ValueError, match=r"^bad: "):
        from_text(json.dumps(plain | change), "bad")
