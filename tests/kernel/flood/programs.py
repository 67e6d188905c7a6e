"""The flood's C programs: built, started in a namespace, ended; and the records that flood.h declares."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.kernel.topology import Namespace

_FLAGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror")

SENT = Struct("=Ii")
ARRIVED = Struct("=I")
FRAME = Struct("=QII8sHH5B7x16s16s")


class Frame(NamedTuple):
    """A frame as a sniffer has it."""

    time_ns: int
    spi: int
    sequence: int
    iv: bytes
    source_port: int
    destination_port: int
    is_outgoing: int
    is_clear: int
    family: int
    protocol: int
    traffic_class: int
    source: bytes
    destination: bytes


def build(folder: Path) -> Path:
    """Compile the programs, as one, into `folder`."""
    binary = folder / "flood"
    sources = sorted(Path(__file__).parent.glob("*.c"))
    subprocess.run([os.environ.get("CC") or "cc", *_FLAGS, "-o", binary, *sources], check=True)
    return binary


class Program:
    """One that runs in a namespace, and is at work when this returns; what it writes can be read meanwhile."""

    def __init__(self, namespace: Namespace, record: Struct, log: Path, *command: object) -> None:
        self._record, self._log = record, log

        def start() -> subprocess.Popen[bytes]:
            with log.open("wb") as output:
                return subprocess.Popen([str(word) for word in command], stdout=output, stderr=subprocess.PIPE)

        self._process = namespace.call(start)
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        if said != b"ready\n":
            self._process.kill()
            said += self._process.communicate()[1]
            raise RuntimeError(f"{command}: {said.decode()}")

    def stop(self) -> None:
        """End it; an error when it has to say anything, as that it lost something."""
        self._process.terminate()
        _, said = self._process.communicate()
        assert (self._process.returncode, said) == (0, b""), said.decode()

    def records(self) -> Iterator[tuple[Any, ...]]:
        """Return what was written so far."""
        return self._record.iter_unpack(self._log.read_bytes()[: len(self) * self._record.size])

    def frames(self) -> Iterator[Frame]:
        """Return what a sniffer has written so far."""
        return map(Frame._make, self.records())

    def newest(self) -> int:
        """Return the number in the newest record, -1 while there is none."""
        with self._log.open("rb") as log:
            log.seek(max(0, len(self) - 1) * self._record.size)
            record = log.read(self._record.size)
        return int(self._record.unpack(record)[0]) if record else -1

    def __len__(self) -> int:
        return self._log.stat().st_size // self._record.size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()
