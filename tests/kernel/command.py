"""The command as a process of its own: forked from the test's, since a Python takes seconds to start in a guest."""

import contextlib
import gc
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# An ordinary user may not be able to read them where the tests run.
import pfkeyx.cli.raw
import pfkeyx.document.plain
import pfkeyx.engine
import pfkeyx.pfkey.describe
import pfkeyx.probing
import pfkeyx.xfrm.describe
import pfkeyx.xfrm.listening  # noqa: F401
from pfkeyx.cli import INTERRUPTED, main
from tests.output_schema import check_output

NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left."""

    arguments: tuple[str, ...]
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object that it printed, which is as the published schema says."""
        printed = json.loads(self.out)
        check_output(self.arguments, printed)
        return printed


def pfkeyx_does(*arguments: str, given: str = "", user: int = 0) -> Done:
    """Run the command to its end in the namespace of the calling thread."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)]
        files[0].write(given)
        files[0].seek(0)
        child = start(arguments, [file.fileno() for file in files], user)
        _, status = os.waitpid(child, 0)
        for file in files[1:]:
            file.seek(0)
        return Done(arguments, os.waitstatus_to_exitcode(status), files[1].read(), files[2].read())


def works(*arguments: str, given: str = "") -> Done:
    """Run the command, which has to succeed and complain of nothing."""
    done = pfkeyx_does(*arguments, given=given)
    assert (done.status, done.err) == (0, ""), done
    return done


def start(arguments: Sequence[str], descriptors: Sequence[int], user: int = 0) -> int:
    """Start the command with these descriptors, and return the process's id."""
    child = os.fork()
    if child:
        return child
    status = 70
    gc.disable()  # it would touch, and so copy, all of the parent's memory
    try:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        if user:
            os.setuid(user)
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Any]:
    """Run a command that goes on until it is interrupted; yields the lines of its stdout, once it listens."""
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    child = start(arguments, [os.open(os.devnull, os.O_RDONLY), out_write, err_write])
    os.close(out_write)
    os.close(err_write)
    with os.fdopen(out_read) as lines, os.fdopen(err_read) as complaints:
        assert "listening" in complaints.readline()
        yield lines
        os.kill(child, signal.SIGINT)
        rest = complaints.read()
    _, status = os.waitpid(child, 0)
    assert (os.waitstatus_to_exitcode(status), rest) == (INTERRUPTED, "pfkeyx: interrupted\n")
