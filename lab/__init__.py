"""The lab runs a command on a real Linux kernel that has AF_KEY, ESP and XFRM.

`lab/run` is its command, `kernels.toml` its matrix. Nothing here knows what pfkeyx does: the lab starts
kernels, the tests and the demo use them.
"""


class LabError(Exception):
    """The lab cannot do what was asked; the text is one sentence that says what to install or do."""
