"""The examples of a document, run as they stand there: Python in one namespace, and what is typed into a console."""

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.command import pfkeyx_does

ROOT = Path(__file__).resolve().parents[2]
#: Blanks and the ends of lines are all alike.
_LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
#: What a shell would make something of.
_FOR_A_SHELL = re.compile(r"[|&;<>$`*]")


#: Python may have what it prints below it.
_EXAMPLES = re.compile(
    r"^```python\n(.*?)^```(?:\n+```text\n(.*?)^```)?|^```console\n(.*?)^```", re.DOTALL | re.MULTILINE
)


def run(document: str, *, only_python: bool = False) -> None:
    """Run a document from top to bottom; what it shows has to be what is shown, `...` being anything.

    A command that fails has to be shown to complain.
    """
    path = ROOT / document
    examples = _EXAMPLES.findall(path.read_text())
    assert examples
    names = {"__name__": document}
    for python, printed, console in examples:
        if python:
            shown = io.StringIO()
            with contextlib.redirect_stdout(shown):
                exec(compile(python, str(path), "exec"), names)
            print(shown.getvalue(), end="")
            _compare(python, printed, shown.getvalue())
        elif not only_python:
            for command, expected in _commands(console):
                _type(command, expected)


def _commands(example: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console with what it is expected to show."""
    for entry in re.split(r"^[#$] ", example.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
        command, _, expected = entry.partition("\n")
        yield command, expected


def _type(command: str, expected: str) -> None:
    status, shown = _run_here(command) if _is_ours(command) else _run_in_a_shell(command)
    print(f"# {command}\n{shown}", end="")
    may_fail = re.search(r"^pfkeyx: ", expected, re.MULTILINE)
    assert status == 0 or may_fail, f"`{command}` ended with {status}: {shown}"
    _compare(command, expected, shown)


def _compare(source: str, expected: str, shown: str) -> None:
    """See that an example shows what it is expected to; what is expected to be nothing may be anything."""
    checker, example = doctest.OutputChecker(), doctest.Example(source, expected)
    if expected and not checker.check_output(expected, shown, _LOOSELY):
        pytest.fail(f"{source}\n{checker.output_difference(example, shown, _LOOSELY)}", pytrace=False)


def _is_ours(command: str) -> bool:
    return command.startswith("pfkeyx ") and not _FOR_A_SHELL.search(command)


def _run_here(command: str) -> tuple[int, str]:
    done = pfkeyx_does(*shlex.split(command)[1:])
    return done.status, done.out + done.err


def _run_in_a_shell(command: str) -> tuple[int, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        ["bash", "-c", command],
        check=False,
        env={**os.environ, "PATH": path, "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout
