"""The README's example, run as it stands there."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_readmes_example_works(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 14
    exec(compile(example, str(README), "exec"), {})
    assert "moved 2 SAs and 3 policies" in capsys.readouterr().out
