"""`ip xfrm`, which shows what the kernel holds and writes it too, as a witness. Its text is compared and never parsed.

It speaks to the kernel in code of its own, so what it and pfkeyx say alike is not said wrong by both.
"""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pfkeyx import SA, Policy

T = TypeVar("T", SA, Policy)
#: The kernel makes tunnels of IP in IP for the SAs of IPComp (RFC 3173 §2.2), and numbers them itself.
_KERNELS_OWN = re.compile(r"\tproto (4|41) ")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


@dataclass(frozen=True, slots=True)
class Case(Generic[T]):
    """An SA or a policy, and the words by which `ip xfrm` adds it."""

    words: str
    value: T


def ip_does(commands: Iterable[str]) -> None:
    """Let `ip` do all of this, in one process."""
    refusal = ip_refuses(commands)
    assert refusal == "", refusal


def ip_refuses(commands: Iterable[str]) -> str:
    """Let `ip` do this up to what the kernel refuses; return the kernel's words, and none if it refuses nothing."""
    # Keys are in the commands, so these are not arguments, which everybody could read.
    result = subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(commands), text=True, capture_output=True, check=False
    )
    if result.returncode == 0:
        return ""
    first, *_ = result.stderr.splitlines() or [f"ip ended with {result.returncode}"]
    return first.removeprefix("Error: ").removeprefix("RTNETLINK answers: ").removesuffix(".")


def ip_shows(table: str) -> list[str]:
    """Return the entries of the "state" or the "policy" table as `ip` shows them, without the times in them."""
    result = subprocess.run(["ip", "-s", "xfrm", table, "list"], text=True, capture_output=True, check=True)
    entries = re.split(r"\n(?=src )", _TIME.sub("TIME", result.stdout))
    return [entry for entry in entries if not _KERNELS_OWN.search(entry)]
