"""The exit status of the command, and which error ends in which."""

from pfkeyx.errors import InvalidRequestError, PfkeyxError, UnsupportedError

DONE, REFUSED, USAGE, UNSUPPORTED, INTERRUPTED = 0, 1, 2, 3, 130

#: What `--help` says of them.
STATUS_HELP = f"""\
exit status:
  {DONE} done; {REFUSED} the kernel refused, or the result is not as it should be;
  {USAGE} wrong usage; {UNSUPPORTED} this kernel cannot; {INTERRUPTED} interrupted"""


def status_of(error: PfkeyxError) -> int:
    """Return the exit status that an error ends in."""
    if isinstance(error, UnsupportedError):
        return UNSUPPORTED
    return USAGE if isinstance(error, InvalidRequestError) else REFUSED
