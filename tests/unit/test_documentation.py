"""The documentation names what there is."""

import dataclasses
import re
from typing import Any

import pytest

import pfkeyx
from pfkeyx.cli.parser import make_parser
from pfkeyx.document.databases import from_text
from tests.names_page import FIELDS, METHODS, NO_REQUESTS, SEVERAL, field_names
from tests.pages import DOCS

FILE = (DOCS / "reference/file.md").read_text()
#: What a file has tables of.
IN_FILES = (
    *(pfkeyx.SA, pfkeyx.SAId, pfkeyx.Encryption, pfkeyx.Authentication, pfkeyx.UdpEncap, pfkeyx.TcpEncap),
    *(pfkeyx.Lifetime, pfkeyx.Limit, pfkeyx.Offload, pfkeyx.Iptfs, pfkeyx.SecurityContext, pfkeyx.Attribute),
    *(pfkeyx.Usage, pfkeyx.Replay, pfkeyx.Failures),
    *(pfkeyx.Policy, pfkeyx.Template, pfkeyx.Selector, pfkeyx.DefaultPolicy),
)
API = "\n".join(page.read_text() for page in sorted((DOCS / "reference/api").glob("*.md")))


@pytest.mark.parametrize("name", sorted(set(pfkeyx.__all__) - {"__version__"}))
def test_every_public_name_is_in_the_reference(name: str) -> None:
    if isinstance(getattr(pfkeyx, name), (pfkeyx.Algorithm, tuple)):
        assert "the table](../algorithms.md) has them all" in API
    else:
        assert re.search(rf"^\.\. auto\w+:: {name}(\(\))?$", API, re.MULTILINE)


@pytest.mark.parametrize("kind", FIELDS)
def test_every_field_has_a_row_in_the_table_of_names(kind: type[Any]) -> None:
    assert set(FIELDS[kind]) == set(field_names(kind))


def test_every_method_of_the_engine_has_a_row_in_the_table_of_names() -> None:
    public = {name for name in vars(pfkeyx.Engine) if not name.startswith("_")}
    assert set(METHODS) == public - NO_REQUESTS - SEVERAL


@pytest.mark.parametrize("command", re.findall(r"`(pfkeyx [^`]+)`", (DOCS.parent / "README.md").read_text()))
def test_every_command_that_readme_names_is_one(command: str) -> None:
    assert callable(make_parser().parse_args(command.split()[1:]).run)


@pytest.mark.parametrize("kind", IN_FILES)
def test_every_field_is_in_the_description_of_files(kind: type[Any]) -> None:
    described = set(re.findall(r"`(\w+)`", FILE))
    assert {field.name for field in dataclasses.fields(kind)} - {"id"} <= described


def test_the_example_of_a_file_is_one() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", FILE, re.DOTALL)
    databases = from_text(example, "example")
    assert [str(value) for value in (*(databases.sas or ()), *(databases.policies or ()))] == [
        "esp 0xc0ffee01 192.0.2.1 -> 198.51.100.1",
        "out 10.1.0.0/16 -> 10.2.0.0/16",
    ]
