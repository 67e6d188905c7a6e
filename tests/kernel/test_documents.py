"""The examples of README, the tutorial and the how-tos, run as they stand there."""

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfkeyx import Feature
from pfkeyx.testing import Traffic
from tests.kernel.audit import is_lacking
from tests.kernel.console import ROOT, run
from tests.kernel.topology import Road

#: Those that need no other host than they make themselves.
ALONE = ["tutorial", "howto/asyncio", "howto/containers", "howto/engine", "howto/errors", "howto/gateway"]
if os.environ.get("SOAK"):
    # tshark takes long to start, and the tests of `export` run it too.
    ALONE.append("howto/decrypt")

#: An example's SA is there for some ten milliseconds on a quick kernel.
_INTERVAL_S = 0.001


@contextlib.contextmanager
def packets(traffic: Traffic) -> Iterator[None]:
    """Send packets through the tunnel's policies until the block ends, whatever becomes of them."""
    is_over = threading.Event()

    def send() -> None:
        while not is_over.wait(_INTERVAL_S):
            with contextlib.suppress(OSError):
                traffic.outward.sender.sendto(b"a packet", socket.MSG_DONTWAIT, traffic.outward.destination)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        is_over.set()
        sender.join()


def test_the_readmes_example_works(capsys: pytest.CaptureFixture[str]) -> None:
    run("README.md", only_python=True)
    assert "moved 2 SAs and 3 policies" in capsys.readouterr().out


def test_the_readmes_example_is_short() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 14


@pytest.mark.parametrize("document", ALONE)
def test_the_examples_of_a_document_show_what_it_says(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(f"docs/{document}.md")


@pytest.mark.parametrize("family", [4], indirect=True)
def test_the_examples_of_speaking_pf_key_work(road: Road, traffic: Traffic, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(road.addresses.roaming) == "192.0.2.2"
    with packets(traffic):
        run("docs/howto/pfkey.md")
    shown = capsys.readouterr().out
    assert "wanted: 10.1.0.1/32 -> 10.2.0.1/32 by tunnel" in shown
    assert "somebody deleted esp 0xc0ffee01" in shown
    assert "esp 0x" in shown
    assert "SADB_X_SPDGET" in shown
    assert "SADB_FLUSH: version 2" in shown
    assert shown.rstrip().endswith("192.0.2.3")


@pytest.mark.parametrize("family", [4], indirect=True)
def test_the_examples_of_speaking_xfrm_work(road: Road, traffic: Traffic, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(road.addresses.gateway) == "192.0.2.1"
    with packets(traffic):
        run("docs/howto/xfrm.md")
    shown = capsys.readouterr().out
    assert "now: block" in shown
    assert "over: esp 0xc0ffee01" in shown
    assert "wanted: out 10.1.0.1/32 -> 10.2.0.1/32" in shown
    assert "goes on at True" in shown
    assert "refused: add SA esp 0xc0ffee06" in shown
    assert "AEAD algorithm not found" in shown
    assert "somebody: deleted esp 0xc0ffee01" in shown
    assert re.search(r"^policy \d+ 7$", shown, re.MULTILINE)
    assert 0xC0FFEE01 in {frame.spi for frame in road.roaming.wire.frames()}


@pytest.mark.parametrize("family", [4], indirect=True)
def test_the_examples_of_moving_work(road: Road, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(road.addresses.roaming_later) == "192.0.2.3"
    run("docs/howto/migrate.md")
    shown = capsys.readouterr().out
    assert "outbound: block its policies" in shown
    assert "moved 2 SAs and 3 policies" in shown
    # With SADB_X_ADDRUPDATE PF_KEY moves SAs whole.
    assert ("Loss.SEQUENCE_REPEAT" in shown) is is_lacking(Feature.ADDRUPDATE)
    assert "2 of 2 SAs" in shown
    assert {sa.encap for sa in road.roaming.engine.dump_sas()} == {None}
    assert {str(sa.source) for sa in road.roaming.engine.dump_sas()} == {"192.0.2.1", "192.0.2.2"}
