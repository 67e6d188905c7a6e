"""Runs inside a container: commands of pfkeyx, one after another, in one process.

To start Python for each takes far longer than the command, where the processor is emulated. A line on standard input is
a command's words and its own standard input; a line on standard output is its exit status, and what it printed.
"""

import io
import json
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout

from pfkeyx.cli import main

questions, answers = os.fdopen(os.dup(0)), sys.stdout
for question in questions:
    words, text = json.loads(question)
    with tempfile.TemporaryFile("w+") as given:
        given.write(text)
        given.seek(0)
        os.dup2(given.fileno(), 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as error:
        try:
            status = main(words)
        except SystemExit as end:
            status = int(str(end.code))
    print(json.dumps([status, out.getvalue(), error.getvalue()]), file=answers, flush=True)
