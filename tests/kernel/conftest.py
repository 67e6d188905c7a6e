"""What every kernel test gets: a network namespace of its own, and the audit of skips; and what it may ask for."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pfkeyx import Engine, Feature, Method
from pfkeyx.opening import EngineName
from pfkeyx.testing import Traffic
from tests.kernel.audit import (
    pytest_configure,
    pytest_make_collect_report,
    pytest_runtest_makereport,
    required_features,
    requires,
)
from tests.kernel.namespace import own_network_namespace
from tests.kernel.record import pytest_addoption, pytest_deselected, record
from tests.kernel.topology import Road
from tests.kernel.traffic import traffic_over

__all__ = [
    "engine",
    "engine_name",
    "family",
    "method",
    "own_network_namespace",
    "pytest_addoption",
    "pytest_configure",
    "pytest_deselected",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "record",
    "required_features",
    "road",
    "traffic",
]


# What takes minutes and is the same elsewhere is left out every day: 6.12 moves by the same methods as 6.1, and what
# survives them is tried on it all the same; how pfkeyx itself stands many at once, what its command prints, and whether
# the examples and the benchmarks do their work, is the same on every kernel; and with the module of kernel/ nothing
# changes but PF_KEY and moves.
_KERNEL = os.environ.get("LAB_KERNEL", "")
_COMMANDS = [f"command_{name}" for name in ("apply", "export", "monitor", "policy", "probe")]
_MANY = ["load", "pfkey_load", "streams"]
_WITH_MODULE = ["bench", "command_*", "documents", "ip_xfrm", "large_batches", *_MANY, "testing", "threads", "xfrm_*"]
_LEFT_OUT = {
    "6.1": ["bench", *_COMMANDS, "documents", *_MANY],
    "6.12": [
        "bench",
        "command_*",
        *_MANY,
        "documents",
        "migrate",
        "testing",
        *(f"migrate_{name}" for name in ("async", "bulk", "flood", "killed", "named", "nat", "pfkey", "scope")),
    ],
    **dict.fromkeys(("6.1+addrupdate", "6.12+addrupdate", "7+addrupdate"), _WITH_MODULE),
}
_NAMES = [] if os.environ.get("SOAK") else _LEFT_OUT.get(_KERNEL, [])
if _KERNEL.endswith("+addrupdate"):
    # SADB_X_MIGRATE is for kernels that have no SADB_X_ADDRUPDATE.
    _NAMES = [*_NAMES, "migrate_pfkey"]
collect_ignore_glob = [f"test_{name}.py" for name in _NAMES]


@pytest.fixture(params=["xfrm", "pfkey"])
def engine_name(request: pytest.FixtureRequest) -> EngineName:
    """Each kernel interface in turn."""
    name: EngineName = request.param
    return name


@pytest.fixture
def engine(engine_name: EngineName, own_network_namespace: None) -> Iterator[Engine]:  # noqa: ARG001
    """Open an engine of each kernel interface in turn, in the test's namespace."""
    with Engine.open(engine_name) as engine:
        yield engine


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    """Each IP version in turn."""
    version: int = request.param
    return version


@pytest.fixture
def road(family: int, own_network_namespace: None) -> Iterator[Road]:  # noqa: ARG001
    """Lay a wire between the test's namespace and a gateway's; see `Road`."""
    with ExitStack() as stack:
        yield Road(family, stack)


@pytest.fixture
def traffic(road: Road) -> Iterator[Traffic]:
    """Open sockets at both ends of the tunnel."""
    with traffic_over(road) as traffic:
        yield traffic


@pytest.fixture(
    params=[
        pytest.param(Method.ADDRUPDATE, marks=requires(Feature.ADDRUPDATE)),
        pytest.param(Method.MIGRATE_STATE, marks=requires(Feature.MIGRATE_STATE)),
        Method.MIGRATE,
        Method.REPLACE,
    ],
    ids=lambda method: str(method.value),
)
def method(request: pytest.FixtureRequest) -> Method:
    """Each method that the kernel has."""
    chosen: Method = request.param
    return chosen
