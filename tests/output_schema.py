"""The JSON schema of what `pfkeyx --json` prints: one definition for each command, and those of documents."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, get_args

from jsonschema import Draft202012Validator

from pfkeyx.algorithms import ALGORITHMS
from pfkeyx.cli.command import JSON_VERSION
from pfkeyx.document.plain import event_name
from pfkeyx.events import Event
from pfkeyx.features import Feature
from pfkeyx.migration import Loss, Method
from pfkeyx.model import SA, DefaultPolicy, Policy
from pfkeyx.opening import EngineName
from pfkeyx.tunnels import TunnelState
from tests.document_schema import SPI, Schema, of_type

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_RATE: Schema = {"type": ["number", "null"]}
_TIME: Schema = {"type": "number", "description": "seconds since 1970"}
_YES_OR_NO: Schema = {"type": "boolean"}
_METHOD: Schema = {"enum": [method.value for method in Method]}
_STATE: Schema = {"enum": [state.value for state in TunnelState]}

#: The verbs that print the things which they are about.
_SHOWING = ("list", "get", "add", "update", "delete")


def schema_text() -> str:
    """Return the schema as the file that is published."""
    return json.dumps(schema(), indent=2) + "\n"


@cache
def schema() -> Schema:
    """Return the schema; "#/$defs/tunnel move" is of what `pfkeyx tunnel move --json` prints."""
    definitions: dict[str, Schema] = {}
    outputs = _outputs(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What pfkeyx prints with --json; $defs has the name of each command",
        "anyOf": [_refer(name) for name in outputs],
        "$defs": outputs | definitions,
    }


def check_output(arguments: Sequence[str], printed: Any) -> None:
    """Raise `ValidationError` when what a command printed is not what the schema has for it."""
    names = [name for name in schema()["$defs"] if _is_within(name.split(), arguments)]
    _validator(max(names, key=len)).validate(printed)


def _is_within(words: Sequence[str], arguments: Sequence[str]) -> bool:
    """Return whether words stand among arguments in this order."""
    left = iter(arguments)
    return all(word in left for word in words)


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema() | {"anyOf": [_refer(name)]})


def _outputs(definitions: dict[str, Schema]) -> dict[str, Schema]:
    sa, policy, default = (of_type(kind, definitions) for kind in (SA, Policy, DefaultPolicy))
    tunnel = _object(
        {
            "local": _TEXT,
            "remote": _TEXT,
            "reqid": _COUNT,
            "state": _STATE,
            "missing": _list(_TEXT),
            "outbound": _list(sa),
            "inbound": _list(sa),
            "policies": _list(policy),
        },
        {"mark": _TEXT, "if_id": _COUNT},
    )
    moved = _output({"plan": _or_null(_plan()), "report": _or_null(_report(sa, policy))})
    document = _output({}, {"sa": _list(sa), "policy": _list(policy), "default_policy": default})
    events = [_event(kind, definitions) for kind in get_args(Event)]
    result = {"anyOf": [SPI, _list({"anyOf": [sa, policy]})]}
    return {
        **{f"sa {verb}": _output({"sa": _list(sa)}) for verb in _SHOWING},
        "sa flush": _output({"deleted": _TEXT}),
        "sa get-spi": _output({"spi": SPI}),
        "sa count": _output({"count": _COUNT}),
        **{f"policy {verb}": _output({"policy": _list(policy)}) for verb in _SHOWING},
        "policy flush": _output({"deleted": _TEXT}),
        "policy count": _output({"count": _object(dict.fromkeys(("in", "out", "fwd", "of_sockets"), _COUNT))}),
        "policy default": _output({"default_policy": default}),
        **{f"tunnel {verb}": _output({"tunnel": _list(tunnel)}) for verb in ("list", "add", "delete")},
        "tunnel move": moved,
        "address-update": moved,
        "monitor": {"anyOf": events},
        "monitor --raw": _output(
            {"time": _TIME, "interface": {"enum": ["pfkey", "xfrm"]}, "message": _TEXT, "text": _list(_TEXT)}
        ),
        "top": _output({"tunnel": _list(_row())}, {"time": _TIME}),
        "probe": _output({"engine": _named(get_args(EngineName), _probed(), is_complete=False)}),
        "apply": _output(
            {
                "dry_run": _YES_OR_NO,
                "changes": _list(
                    _object(
                        {"change": {"enum": ["add", "change", "delete", "set"]}},
                        {"sa": sa, "policy": policy, "default_policy": default},
                    )
                ),
                "alike": _object({"sa": _COUNT, "policy": _COUNT}),
            }
        ),
        "apply --check": _output({}, {"sas": _COUNT, "policies": _COUNT, "statements": _COUNT}),
        "apply --format setkey": _output(
            {"statements": _COUNT, "results": _list(_object({"place": _TEXT, "result": result}))}
        ),
        "export": document,
    }


def _plan() -> Schema:
    ends = _object({"source": _TEXT, "destination": _TEXT, "encap": _or_null(_TEXT)})
    template = _object(
        {
            "protocol": _TEXT,
            "mode": _TEXT,
            "reqid": _COUNT,
            **dict.fromkeys(("source", "destination"), _or_null(_TEXT)),
        }
    )
    losses = _list({"enum": [loss.name for loss in Loss]})
    passed_over = _list(_object({"method": _METHOD, "reason": _TEXT}))
    sa_move = _object(
        {
            "spi": SPI,
            "protocol": _TEXT,
            "from": ends,
            "to": ends,
            "method": _METHOD,
            "undo": _METHOD,
            "passed_over": passed_over,
            "losses": losses,
        }
    )
    policy_move = _object({"policy": _TEXT, "from": _list(template), "to": _list(template), "selector": _TEXT})
    step = _object(
        {
            "direction": {"enum": ["outbound", "inbound"]},
            "sas": _list(sa_move),
            "policies": _list(policy_move),
        }
    )
    update = _object(
        {
            "old": _TEXT,
            "new": _TEXT,
            "since": _list(_TEXT),
            "encap": _or_null(_TEXT),
            "sas": _or_null(_list(_TEXT)),
            "policies": _YES_OR_NO,
        }
    )
    return _object(
        {
            "update": update,
            "method": _or_null(_METHOD),
            "hold": _YES_OR_NO,
            "steps": _list(step),
            "losses": losses,
            "left": _list(_object({"item": _TEXT, "reason": _TEXT})),
        }
    )


def _report(sa: Schema, policy: Schema) -> Schema:
    return _object(
        {name: _list(_object({"before": of, "after": of})) for name, of in (("sas", sa), ("policies", policy))}
    )


def _row() -> Schema:
    return _object(
        {
            "local": _TEXT,
            "remote": _TEXT,
            "reqid": _COUNT,
            "state": _STATE,
            "out_rate": _RATE,
            "in_rate": _RATE,
            **dict.fromkeys(("rekey_s", "errors"), _or_null(_COUNT)),
        }
    )


def _probed() -> Schema:
    answer = {"available": _or_null(_YES_OR_NO), "reason": _TEXT}
    kinds = {
        "feature": [feature.value for feature in Feature],
        "method": [method.value for method in Method],
        "algorithm": [row.name for row in ALGORITHMS],
    }
    return _object(answer, {kind: _named(names, _object(answer)) for kind, names in kinds.items()})


def _event(kind: type[Any], definitions: dict[str, Schema]) -> Schema:
    of_type(kind, definitions)
    # Its own fields and those of the line are one object.
    event = definitions.pop(kind.__name__)
    return _output(
        {"time": _TIME, "event": {"const": event_name(kind)}}
        | {name: of for name, of in event["properties"].items() if name in event["required"]},
        {name: of for name, of in event["properties"].items() if name not in event["required"]},
    )


def _output(needed: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return _object({"version": {"const": JSON_VERSION}, **needed}, optional)


def _object(needed: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": needed | (optional or {}),
        "required": list(needed),
        "additionalProperties": False,
    }


def _named(names: Any, of: Schema, *, is_complete: bool = True) -> Schema:
    named = dict.fromkeys(names, of)
    return _object(named) if is_complete else _object({}, named)


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _or_null(of: Schema) -> Schema:
    return {"anyOf": [of, {"type": "null"}]}


def _refer(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name.replace(' ', '%20')}"}
