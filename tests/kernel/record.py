"""The record: what a kernel does with each message and extension of PF_KEY, as the tests that saw it say.

A test makes its claims after its checks. When a whole test module has passed, they must be those in `records/`, one
file a kernel, which the table in the documentation is made from. Nothing here talks to a kernel.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pfkeyx.pfkey.message import ExtensionType, MessageType

RECORDS = Path(__file__).with_name("records")
TO, FROM = "to", "from"
_PARTIAL = pytest.StashKey[bool]()

Subject = MessageType | ExtensionType


class Record:
    """What one test module claims of this kernel: "SADB_ADD to IPv4" is what it does with it when it is sent to it."""

    def __init__(self) -> None:
        self.claims: dict[str, str] = {}

    def works(self, family: int, *subjects: Subject) -> None:
        """Claim that the kernel does what these ask for."""
        self._claim(TO, family, subjects, "works")

    def ignored(self, family: int, *subjects: Subject) -> None:
        """Claim that the kernel takes these and does nothing with them."""
        self._claim(TO, family, subjects, "ignored")

    def refused(self, family: int, error: str, *subjects: Subject) -> None:
        """Claim that the kernel refuses these with an errno, by its name."""
        self._claim(TO, family, subjects, f"refused: {error}")

    def sent(self, family: int, *subjects: Subject) -> None:
        """Claim that the kernel sends these, in an answer that is no refusal or unasked."""
        self._claim(FROM, family, subjects, "sent")

    def never_sent(self, family: int, *subjects: Subject) -> None:
        """Claim that the kernel did not send these where it should have."""
        self._claim(FROM, family, subjects, "never sent")

    def _claim(self, direction: str, family: int, subjects: Sequence[Subject], outcome: str) -> None:
        for subject in subjects:
            claim = f"{subject} {direction} IPv{family}"
            assert self.claims.setdefault(claim, outcome) == outcome, f"{claim}: {self.claims[claim]}, and {outcome}"


def claims_by_kernel() -> dict[str, dict[str, str]]:
    """Return the committed claims of all test modules, by kernel in the order of their versions."""
    kernels = sorted(_committed_by_kernel().items(), key=lambda item: [int(part) for part in item[0].split(".")])
    return {kernel: {k: v for claims in modules.values() for k, v in claims.items()} for kernel, modules in kernels}


def _committed_by_kernel() -> dict[str, dict[str, dict[str, str]]]:
    return {path.stem: json.loads(path.read_text()) for path in RECORDS.glob("*.json")}


@pytest.fixture(scope="module")
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    """Take down a module's claims, and compare them with the committed ones when all of it has passed."""
    record = Record()
    yield record
    kernel, module = os.environ.get("LAB_KERNEL", ""), request.path.stem
    is_partial = request.config.stash.get(_PARTIAL, False) or any("::" in name for name in request.config.args)
    if is_partial or request.session.testsfailed:
        return
    if request.config.getoption("renew_record", default=False):
        _renew(kernel, module, record.claims)
    committed = _committed_by_kernel().get(kernel, {}).get(module, {})
    changed = sorted(
        f"{claim}: {record.claims.get(claim, 'no claim')}, recorded: {committed.get(claim, 'no claim')}"
        for claim in record.claims.keys() | committed.keys()
        if record.claims.get(claim) != committed.get(claim)
    )
    if changed:
        pytest.fail(
            "\n".join([f"kernel {kernel} is not as it was recorded:", *changed, f"To renew: {_renewal(kernel)}"]),
            pytrace=False,
        )


def _renew(kernel: str, module: str, claims: dict[str, str]) -> None:
    everything = _committed_by_kernel().get(kernel, {}) | {module: claims}
    (RECORDS / f"{kernel}.json").write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")


def _renewal(kernel: str) -> str:
    return (
        f"lab/run --kernel {kernel} --rwdir tests/kernel/records -- .venv/bin/python -m pytest -q --renew-record "
        "tests/kernel/test_pfkey_messages.py tests/kernel/test_pfkey_policies.py tests/kernel/test_pfkey_unasked.py"
        ", and then python -m tests.pages"
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--renew-record", action="store_true", help="write what this kernel does into tests/kernel/records"
    )


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        item.config.stash[_PARTIAL] = True
