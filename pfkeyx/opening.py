"""The opening of a kernel interface, for requests and for events. What is done with it then is not known here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pfkeyx.dialect import Dialect, EventSource
from pfkeyx.errors import ClosedError, InvalidRequestError, UnsupportedError
from pfkeyx.events import Event, SAProgress
from pfkeyx.operation import Transport

if TYPE_CHECKING:
    from pfkeyx.pfkey import PfkeyEvents
    from pfkeyx.xfrm.listening import XfrmEvents

EngineName = Literal["xfrm", "pfkey"]

#: Is there where af_key is loaded.
_PFKEY_TABLE = Path("/proc/net/pfkey")


def open_events(dialect: Dialect, transport: Transport, kinds: Sequence[type[Event]], netns: str | None) -> EventSource:
    """Open a listening socket of a dialect, which passes over what was asked for on `transport`."""
    if transport.fileno() < 0:
        raise ClosedError()
    source = _event_source(dialect.name)
    for kind in kinds:
        if kind not in source.KINDS:
            raise UnsupportedError(kind.__name__, f"{dialect.name} does not tell of it; open the xfrm engine")
    return source(kinds or tuple(source.KINDS - {SAProgress}), netns, transport.has_sent)


def is_pfkey_loaded() -> bool:
    """Return whether the kernel has loaded af_key, which opening a socket of it would do."""
    return _PFKEY_TABLE.exists()


def kinds_told(name: str) -> frozenset[type[Event]]:
    """Return the kinds of events that an interface tells of."""
    return _event_source(name).KINDS


def open_dialect(name: EngineName | None, netns: str | None) -> tuple[Dialect, Transport]:
    """Open a kernel interface and return its dialect and transport; see `Engine.open`."""
    if name not in (*get_args(EngineName), None):
        raise InvalidRequestError(f"open {name}: there is no such engine; take {' or '.join(get_args(EngineName))}")
    if name == "pfkey":
        return _open_pfkey(netns)
    try:
        return _open_xfrm(netns)
    except UnsupportedError:
        if name == "xfrm":
            raise
        return _open_pfkey(netns)


# The dialects are imported where they are opened, and pyroute2, which takes 0.1 s, with what listens.
def _event_source(name: str) -> "type[XfrmEvents | PfkeyEvents]":
    if name == "xfrm":
        from pfkeyx.xfrm.listening import XfrmEvents

        return XfrmEvents
    from pfkeyx.pfkey import PfkeyEvents

    return PfkeyEvents


def _open_xfrm(netns: str | None) -> tuple[Dialect, Transport]:
    from pfkeyx.xfrm import XfrmDialect, XfrmTransport

    return XfrmDialect(_pfkey_dialect), XfrmTransport(netns, _open_pfkey_aside)


def _pfkey_dialect() -> Dialect:
    from pfkeyx.pfkey import PfkeyDialect

    return PfkeyDialect()


def _open_pfkey_aside(netns: str | None) -> Transport:
    # A socket would have the kernel load af_key, which is no business of somebody who speaks XFRM.
    if not is_pfkey_loaded():
        raise UnsupportedError("SADB_X_ADDRUPDATE", "af_key is not loaded")
    return _open_pfkey(netns)[1]


def _open_pfkey(netns: str | None) -> tuple[Dialect, Transport]:
    from pfkeyx.pfkey import PfkeyDialect, PfkeyTransport

    return PfkeyDialect(), PfkeyTransport(netns)
