"""What `pfkeyx probe` prints of what was found."""

import pytest

from pfkeyx import NotPermittedError, Support, UnsupportedError, cli
from pfkeyx.cli import probe
from pfkeyx.engine import Engine
from pfkeyx.testing import ScriptedKernel
from pfkeyx.xfrm import XfrmDialect

ANSWERS = {
    "feature": {"aead": Support(True, "the kernel knows XFRMA_ALG_AEAD"), "iptfs": Support(None, "x" * 20 + " y" * 40)},
    "method": {"MIGRATE": Support(False, "it does not")},
    "algorithm": {
        "null": Support(True, "the kernel takes it"),
        "lzs": Support(False, "the kernel has none"),
        "aes-gcm": Support(True, "the kernel takes it"),
    },
}


def test_reasons_stand_beside_what_they_are_for_and_algorithms_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe, "_ask", lambda _engine: ANSWERS)
    monkeypatch.setattr(Engine, "open", lambda *_names, **_more: Engine(XfrmDialect(), ScriptedKernel(())))
    assert cli.main(["probe", "--engine", "xfrm"]) == cli.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "xfrm  yes: it can be opened",
        "  features",
        "    aead   yes: the kernel knows XFRMA_ALG_AEAD",
        "    iptfs  could not tell: xxxxxxxxxxxxxxxxxxxx y y y y y y y y y y y y y y y y",
        "           y y y y y y y y y y y y y y y y y y y y y y y y",
        "  methods of moving SAs",
        "    MIGRATE  no: it does not",
        "  algorithms",
        "    yes: the kernel takes it",
        "      null, aes-gcm",
        "    no: the kernel has none",
        "      lzs",
    ]


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UnsupportedError("AF_KEY", "load af_key"), cli.UNSUPPORTED, "pfkey  no: AF_KEY: load af_key"),
        (
            NotPermittedError(1, "open PF_KEY socket"),
            cli.REFUSED,
            "pfkey  could not tell: open PF_KEY socket: Operation",
        ),
    ],
)
def test_what_cannot_be_opened_is_an_answer_and_a_status(
    error: Exception, status: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_names: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr(Engine, "open", refuse)
    assert cli.main(["probe", "--engine", "pfkey"]) == status
    assert capsys.readouterr().out.startswith(line)
