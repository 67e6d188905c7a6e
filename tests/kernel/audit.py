"""Which features a kernel test requires, and the audit of skips.

A skip whose reason names no feature that is lacking on this kernel is turned into a failure, so a test cannot
vanish from the run without anyone having decided that.
"""

import os
import re
from collections.abc import Generator
from typing import TypeVar

import pytest

from lab import kernels
from pfkeyx.features import Feature

_HOST = "host"
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def requires(*features: Feature) -> pytest.MarkDecorator:
    """Mark a test that runs only where the kernel has these features; elsewhere it is skipped by name."""
    return pytest.mark.requires(*features)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requires(*features): kernel features without which the test is skipped")


@pytest.fixture(autouse=True)
def required_features(request: pytest.FixtureRequest) -> None:
    """Skip the test when this kernel lacks a feature that it requires."""
    request.getfixturevalue("own_network_namespace")  # on the host's kernel the answer comes from a probe
    for mark in request.node.iter_markers("requires"):
        for feature in mark.args:
            if is_lacking(feature):
                pytest.skip(f"kernel {_kernel_name()} lacks {feature.value}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _audited(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _audited(report)


def _audited(report: Report) -> Report:
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not _names_a_lacking_feature(reason):
            report.outcome = "failed"
            report.longrepr = f"skipped, but not for a feature that kernel {_kernel_name()} lacks: {reason}"
    return report


def _names_a_lacking_feature(reason: str) -> bool:
    words = set(re.findall(r"\w+", reason.lower()))
    return any(feature.value in words and is_lacking(feature) for feature in Feature)


def is_lacking(feature: Feature) -> bool:
    """Return what the lab's matrix says of this kernel; a probe is asked only where the matrix does not know it."""
    name = _kernel_name()
    if name != _HOST:
        return feature.value in kernels.load().kernel(name).lacks
    from pfkeyx import Engine

    with Engine.open() as engine:
        return engine.supports(feature).available is False


def _kernel_name() -> str:
    return os.environ.get("LAB_KERNEL", _HOST)
