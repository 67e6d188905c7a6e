"""`pfkeyx apply` and `export`, as far as they go without a kernel."""

import json
from pathlib import Path

import pytest

from pfkeyx.cli import DONE, UNSUPPORTED, USAGE, main
from pfkeyx.document.databases import Databases, to_text
from tests.unit.samples import INBOUND, OUTBOUND, POLICIES
from tests.unit.test_keys_are_hidden import assert_hidden

EVERYTHING = Databases((INBOUND.as_written(), OUTBOUND.as_written()), POLICIES)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "vpn.toml"
    file.write_text(to_text(EVERYTHING, "toml", show_keys=True))
    return file


def test_a_good_document_is_said_to_be_good(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", "--check", str(file)]) == DONE
    assert capsys.readouterr().out == f"{file} is good: 2 SAs, 3 policies\n"
    assert main(["apply", "--check", "--json", str(file)]) == DONE
    assert json.loads(capsys.readouterr().out) == {"version": 1, "sas": 2, "policies": 3}


def test_what_the_interface_cannot_express_is_refused_by_its_place(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--engine", "pfkey", "apply", "--check", str(file)]) == UNSUPPORTED
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"pfkeyx: {file}: sa[0]: encryption.algorithm: add SA esp 0xc0ffee02")
    assert_hidden(complaint)


def test_a_document_without_keys_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hidden.json"
    file.write_text(to_text(EVERYTHING, "json"))
    assert main(["apply", str(file)]) == USAGE
    assert capsys.readouterr().err == (
        f"pfkeyx: {file}: sa[0].encryption.key: it was left out of the document; write that with --show-keys\n"
    )


def test_a_script_is_checked_with_its_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ipsec.conf"
    file.write_text("flush;\nadd 192.0.2.1 192.0.2.2 esp 5 -r 64 -E null;\n")
    assert main(["apply", "--check", "--format", "setkey", str(file)]) == DONE
    said = capsys.readouterr()
    assert said.out == f"{file} is good: 2 statements\n"
    assert said.err == f"pfkeyx: {file}:2: PF_KEY on Linux makes a replay window of 32 packets of one of 64\n"
    file.write_text("flush;\n\nadd;\n")
    assert main(["apply", "--format", "setkey", str(file)]) == USAGE
    assert capsys.readouterr().err == f"pfkeyx: {file}:3: address is missing before ;\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["apply", "/no/such/file"], "apply: /no/such/file cannot be read: No such file or directory"),
        (["apply", "--dry-run", "/dev/null"], "apply: --dry-run goes with --sync"),
        (["apply", "/dev/null"], "/dev/null: version: is missing; begin with version = 1"),
        (
            ["apply", "--sync", "--format", "setkey", "/dev/null"],
            "apply: --sync and --ahead are not for setkey",
        ),
        (["export", "wireshark"], "export wireshark: the table is made of keys; give --show-keys"),
        (["export", "--json", "toml"], "export: --json and toml contradict each other"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_said_on_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == USAGE
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith(f"pfkeyx: {complaint}")
