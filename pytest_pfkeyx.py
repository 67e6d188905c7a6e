"""The fixtures that pfkeyx gives to pytest; what they are made of is in `pfkeyx.testing`.

pytest imports every plugin that is installed, at every start: so this stands beside the package and not in it, and
imports it where it is used.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from pfkeyx import Engine, Feature, Tunnel
    from pfkeyx.opening import EngineName
    from pfkeyx.testing import Namespace, Network


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.getgroup("pfkeyx").addoption(
        "--pfkeyx-require",
        action="store_true",
        help="fail tests that would be skipped because the kernel, or a capability, is not there",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", "pfkeyx_requires(*features): members of pfkeyx.Feature without which the test is skipped"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test when the kernel lacks a feature that it is marked with."""
    for mark in item.iter_markers("pfkeyx_requires"):
        for feature in mark.args:
            with _skipping_what_is_lacking(item.config):
                reason = _lack(feature)
            if reason is not None:
                _skip(item.config, f"this kernel lacks {feature.value}: {reason}")


@pytest.fixture
def pfkeyx_namespace(request: pytest.FixtureRequest) -> "Iterator[Namespace]":
    """Run the test in a network namespace made for it, with lo up; it ends with the test."""
    from pfkeyx.testing import fresh_namespace

    with ExitStack() as stack:
        with _skipping_what_is_lacking(request.config):
            namespace = stack.enter_context(fresh_namespace())
        yield namespace


@pytest.fixture
def pfkeyx_engine_name() -> "EngineName":
    """Return the interface that is spoken; parametrize it, or override it, with "xfrm" and "pfkey"."""
    return "xfrm"


@pytest.fixture
def pfkeyx_engine(
    request: pytest.FixtureRequest,
    pfkeyx_namespace: "Namespace",
    pfkeyx_engine_name: "EngineName",
) -> "Iterator[Engine]":
    """Open an engine in the test's namespace."""
    from pfkeyx import Engine

    with ExitStack() as stack:
        with _skipping_what_is_lacking(request.config):
            engine = stack.enter_context(Engine.open(pfkeyx_engine_name, netns=pfkeyx_namespace.path))
        yield engine


@pytest.fixture
def pfkeyx_ip_version() -> int:
    """Return the IP version of the network; parametrize it, or override it, with 4 and 6."""
    return 4


@pytest.fixture
def pfkeyx_network(
    request: pytest.FixtureRequest,
    pfkeyx_namespace: "Namespace",
    pfkeyx_ip_version: int,
    pfkeyx_engine_name: "EngineName",
) -> "Iterator[Network]":
    """Build two gateways with a host behind each; the test runs in the local one."""
    from pfkeyx.testing import Network

    with ExitStack() as stack:
        with _skipping_what_is_lacking(request.config):
            network = stack.enter_context(Network(pfkeyx_namespace, pfkeyx_ip_version, pfkeyx_engine_name))
        yield network


@pytest.fixture
def pfkeyx_tunnel(request: pytest.FixtureRequest, pfkeyx_network: "Network") -> "Tunnel":
    """Lay an ESP tunnel between the gateways of the network; it is as the local one sees it."""
    with _skipping_what_is_lacking(request.config):
        return pfkeyx_network.lay_tunnel()


@contextmanager
def _skipping_what_is_lacking(config: pytest.Config) -> Iterator[None]:
    from pfkeyx import NotPermittedError, UnsupportedError

    try:
        yield
    except UnsupportedError as error:
        _skip(config, f"this kernel lacks {error}")
    except NotPermittedError as error:
        _skip(config, str(error))


def _skip(config: pytest.Config, reason: str) -> NoReturn:
    if config.getoption("--pfkeyx-require"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _lack(feature: "Feature") -> str | None:
    """Return why the kernel lacks a feature, over either interface; None where it has it, or cannot tell."""
    from pfkeyx import Engine, UnsupportedError
    from pfkeyx.testing import Namespace

    names: tuple[EngineName, EngineName] = "xfrm", "pfkey"
    reasons = []
    with Namespace.new() as namespace:
        for name in names:
            try:
                with Engine.open(name, netns=namespace.path) as engine:
                    support = engine.supports(feature)
            except UnsupportedError as error:
                reasons.append(str(error))
                continue
            if support.available is not False:
                return None
            reasons.append(support.reason)
    return "; ".join(reasons)
