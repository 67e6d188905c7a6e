"""The record: what a kernel does, as the tests that saw it say; with each message of PF_KEY, and with what is moved.

A test makes its claims after its checks. When a whole test module has passed, they must be those in `records/`, one
file a kernel, which the tables in the documentation are made from. Nothing here talks to a kernel.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pfkeyx.pfkey.message import ExtensionType, MessageType

RECORDS = Path(__file__).with_name("records")
#: What the modules begin with whose claims go together.
PFKEY, SURVIVAL = "test_pfkey_", "test_migrate_survival"
TO, FROM = "to", "from"
_PARTIAL = pytest.StashKey[bool]()

Subject = MessageType | ExtensionType


class Record:
    """What one test module claims of this kernel: "SADB_ADD to IPv4" is what it does with it when it is sent to it."""

    def __init__(self) -> None:
        self.claims: dict[str, str] = {}

    def claim(self, claim: str, outcome: str) -> None:
        """Claim one thing, in words; it cannot be claimed otherwise again."""
        assert self.claims.setdefault(claim, outcome) == outcome, f"{claim}: {self.claims[claim]}, and {outcome}"

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
            self.claim(f"{subject} {direction} IPv{family}", outcome)


def claims_by_kernel(prefix: str) -> dict[str, dict[str, str]]:
    """Return the committed claims of the test modules that begin with `prefix`, by kernel in order of their versions.

    A kernel that has none is left out.
    """
    claims_of = {kernel: _merged(modules, prefix) for kernel, modules in _committed_by_kernel().items()}
    in_order = sorted(claims_of, key=lambda kernel: [int(part) for part in re.findall(r"\d+", kernel)])
    return {kernel: claims_of[kernel] for kernel in in_order if claims_of[kernel]}


def _merged(modules: dict[str, dict[str, str]], prefix: str) -> dict[str, str]:
    wanted = (claims for module, claims in modules.items() if module.startswith(prefix))
    return {claim: outcome for claims in wanted for claim, outcome in claims.items()}


def _committed_by_kernel() -> dict[str, dict[str, dict[str, str]]]:
    return {path.stem: json.loads(path.read_text()) for path in RECORDS.glob("*.json")}


@pytest.fixture(scope="module")
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    """Take down a module's claims, and compare them with the committed ones when all of it has passed."""
    record = Record()
    yield record
    kernel, module = os.environ.get("LAB_KERNEL", ""), request.path.stem
    if module.startswith(PFKEY):
        # The module of kernel/ adds a message, and leaves all others as they are.
        kernel = kernel.removesuffix("+addrupdate")
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
            "\n".join(
                [f"kernel {kernel} is not as it was recorded:", *changed, f"To renew: {_renewal(kernel, module)}"]
            ),
            pytrace=False,
        )


def _renew(kernel: str, module: str, claims: dict[str, str]) -> None:
    everything = _committed_by_kernel().get(kernel, {}) | {module: claims}
    (RECORDS / f"{kernel}.json").write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")


def _renewal(kernel: str, module: str) -> str:
    return (
        f"lab/run --kernel {kernel} --rwdir tests/kernel/records -- .venv/bin/python -m pytest -q --renew-record "
        f"tests/kernel/{module}.py, and then python -m tests.pages"
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--renew-record", action="store_true", help="write what this kernel does into tests/kernel/records"
    )


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        item.config.stash[_PARTIAL] = True
