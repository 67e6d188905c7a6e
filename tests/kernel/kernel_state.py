"""All that a kernel shows of its SAs and policies, taken from its own messages and compared field by field.

What has no name in pfkeyx's model is compared too. What a difference means is not known here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink import NLM_F_DUMP

from pfkeyx import SA, Direction, Engine, Protocol
from pfkeyx.model import IPAddress
from pfkeyx.xfrm import messages as wire

#: By object and field: "esp 0x1001" and "sa.curlft.bytes", "out 1000" and "policy.XFRMA_TMPL.0.reqid".
State = dict[tuple[str, str], Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as it was; None was not there."""

    item: str
    field: str
    before: Any
    after: Any


def read_state(engine: Engine) -> State:
    """Return all that XFRM shows; a policy is named by its direction and priority, an SA by its protocol and SPI."""
    state: State = {}
    for message in _dump(engine, wire.XFRM_MSG_GETSA, [("XFRMA_PROTO", wire.IPSEC_PROTO_ANY)]):
        item = f"{Protocol(message['id']['proto'])} {message['id']['spi']:#x}"
        state |= {(item, field): value for field, value in _fields("sa", message)}
    for sa in engine.dump_sas():
        progress = engine.get_progress(sa.id)
        state[name_of(sa), "sa.replay_threshold"] = progress.replay_threshold
        state[name_of(sa), "sa.timer_ms"] = progress.timer_ms
    for message in _dump(engine, wire.XFRM_MSG_GETPOLICY, []):
        item = f"{Direction(message['dir'])} {message['priority']}"
        state |= {(item, field): value for field, value in _fields("policy", message)}
    return state


def name_of(sa: SA) -> str:
    """Return what an SA is called in a `State`."""
    return f"{sa.id.protocol} {sa.id.spi:#x}"


def moved_back(state: State, moves: Mapping[IPAddress, IPAddress]) -> State:
    """Return a state with the old address in the place of each new one, after asserting that no old one is left."""
    old_of = {_padded(new): _padded(old) for old, new in moves.items()}
    left = [key for key, value in state.items() if value in old_of.values() and value not in old_of]
    assert not left, f"still at the old addresses: {left}"
    return {key: old_of.get(value, value) if isinstance(value, bytes) else value for key, value in state.items()}


def differences(before: State, after: State) -> list[Difference]:
    """Return in what two states differ."""
    keys = sorted(before.keys() | after.keys())
    pairs = ((key, before.get(key), after.get(key)) for key in keys)
    return [Difference(*key, old, new) for key, old, new in pairs if old != new]


def _dump(engine: Engine, message_type: int, attributes: list[tuple[str, Any]]) -> tuple[Any, ...]:
    message = wire.empty_msg()
    message["header"]["type"] = message_type
    message["header"]["flags"] = NLM_F_DUMP
    message["attrs"] = attributes
    return engine.exchange(message)


def _fields(kind: str, message: Any) -> Iterator[tuple[str, Any]]:
    for name, _ in message.fields:
        yield from _flat(f"{kind}.{name}", message[name])
    for name, value in message["attrs"]:
        yield from _flat(f"{kind}.{name}", value)


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = dict(enumerate(value)).items()
    else:
        yield path, value
        return
    for name, part in items:
        yield from _flat(f"{path}.{name}", part)


def _padded(address: IPAddress) -> bytes:
    """Return an address as `xfrm_address_t` holds it."""
    return address.packed.ljust(16, b"\0")
