"""What is refused, cancelled or closed leaves no file descriptor open."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pfkeyx import (
    AlreadyExistsError,
    AsyncEngine,
    ClosedError,
    Engine,
    Feature,
    KernelError,
    NotFoundError,
    NotPermittedError,
    SAChange,
    UnsupportedError,
)
from pfkeyx.opening import EngineName
from pfkeyx.xfrm.transport import open_socket
from tests.kernel.children import drop_capabilities, in_child, lose_af_key
from tests.kernel.values import make_sa


def test_what_is_refused_leaves_no_descriptor_open(engine_name: EngineName) -> None:
    sa = make_sa(4)
    with Engine.open(engine_name):
        pass  # what is imported and kept for good is there from now on
    before = _descriptors()
    for _ in range(3):
        with pytest.raises(NotFoundError):
            Engine.open(engine_name, netns="there-is-none")
        with Engine.open(engine_name) as engine:
            engine.add_sa(sa)
            with pytest.raises(AlreadyExistsError):
                engine.add_sas([make_sa(4, 0x1001), sa])
            left = engine.iter_sas()
            next(left)
            left.close()
            engine.delete_sa(sa.id)
            with pytest.raises(NotFoundError):
                engine.get_sa(sa.id)
        with pytest.raises(ClosedError):
            engine.watch()
    assert _descriptors() == before


def test_of_what_is_asked_over_pfkey_beside_xfrm_no_socket_stays_that_the_kernel_would_tell_of_every_change(
    own_network_namespace: None,  # noqa: ARG001
) -> None:
    with Engine.open("xfrm") as engine:
        before = _descriptors()
        engine.supports(Feature.ADDRUPDATE)
        engine.get_sad_info()
        assert _descriptors() == before


async def test_what_is_refused_or_cancelled_in_asyncio_leaves_no_descriptor_open(engine_name: EngineName) -> None:
    sa = make_sa(4)
    before = _descriptors()
    for _ in range(3):
        async with AsyncEngine.open(engine_name) as engine:
            with pytest.raises(NotFoundError):
                await engine.get_sa(sa.id)
            async with engine.watch(SAChange) as events:
                with suppress(TimeoutError):
                    await asyncio.wait_for(events.next(), 0.01)
    assert _descriptors() == before


@pytest.mark.parametrize(
    ("prepare", "outcomes"),
    [
        (drop_capabilities, {"xfrm": "NotPermittedError", "pfkey": "NotPermittedError"}),
        (lose_af_key, {"xfrm": "all is well", "pfkey": "UnsupportedError"}),
    ],
    ids=["without privileges", "without AF_KEY"],
)
def test_an_engine_that_cannot_be_opened_or_used_leaves_no_descriptor_open(
    engine_name: EngineName, prepare: Callable[[], None], outcomes: dict[EngineName, str]
) -> None:
    def use() -> str:
        try:
            with Engine.open(engine_name) as engine:
                engine.flush_sas()
        except (NotPermittedError, UnsupportedError) as error:
            return type(error).__name__
        return "all is well"

    def use_twice() -> str:
        use()  # what is imported and kept for good is there from now on
        before = _descriptors()
        outcome = use()
        return f"{outcome}, {_descriptors() - before} more"

    assert in_child(prepare, use_twice) == f"{outcomes[engine_name]}, 0 more"


def test_a_socket_that_may_not_listen_is_closed() -> None:
    no_group = 999
    before = _descriptors()
    with pytest.raises(KernelError, match="open XFRM socket"):
        open_socket(None, [no_group])
    assert _descriptors() == before


def _descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
