"""The `pfkeyx` command: text in, text out. What it does is done below; a module is imported when it is used."""

import os
import sys
from collections.abc import Sequence

from pfkeyx.cli.command import say
from pfkeyx.cli.parser import make_parser
from pfkeyx.cli.status import DONE, INTERRUPTED, REFUSED, UNSUPPORTED, USAGE, status_of
from pfkeyx.errors import PfkeyxError

__all__ = ["DONE", "INTERRUPTED", "REFUSED", "UNSUPPORTED", "USAGE", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit status; an error is one line on stderr."""
    options = make_parser().parse_args(argv)
    try:
        status = int(options.run(options))
        # Now, while a reader who has gone can still be caught.
        sys.stdout.flush()
    except PfkeyxError as error:
        say("; ".join((str(error), *getattr(error, "__notes__", ()))))
        return status_of(error)
    except BrokenPipeError:
        # Python flushes stdout once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        say(str(error))
        return REFUSED
    except KeyboardInterrupt as stop:
        say("; ".join(("interrupted", *map(str, stop.args))))
        return INTERRUPTED
    return status
