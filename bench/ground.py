"""What the cases share: open engines, the floor's program, and files of what it sends."""

import asyncio
import subprocess
from collections.abc import Callable, Coroutine, Iterable
from contextlib import ExitStack, suppress
from functools import cached_property
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from bench.contest import Contest
from bench.recording import record
from pfkeyx import AsyncEngine, Engine, HashThreshold, NotFoundError, SAId
from pfkeyx.opening import EngineName
from pfkeyx.testing import Namespace

T = TypeVar("T")


class Ground:
    """Engines in a namespace, whose tables are emptied at the end, an event loop, and a folder."""

    def __init__(self, floor: Path, folder: Path) -> None:
        self._floor = floor
        self._folder = folder
        self._numbers = count()
        self.stack = ExitStack()
        self.xfrm = self.stack.enter_context(Engine.open("xfrm"))
        self.stack.callback(self.flush)
        self._runner = self.stack.enter_context(asyncio.Runner())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stack.close()

    @cached_property
    def pfkey(self) -> Engine:
        """An engine of PF_KEY, opened by whoever wants one: the kernel does more while there is a socket of it."""
        return self.stack.enter_context(Engine.open("pfkey"))

    def open_for_asyncio(self, name: EngineName = "xfrm") -> AsyncEngine:
        """Open another engine, for `await_`."""

        async def opened() -> AsyncEngine:
            return AsyncEngine.open(name)

        engine = self.await_(opened())
        self.stack.callback(engine.close)
        return engine

    def await_(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what is awaited, in the one event loop."""
        return self._runner.run(work)

    def open_elsewhere(self) -> Engine:
        """Open an engine of XFRM in another namespace, which has nothing in it."""
        namespace = self.stack.enter_context(Namespace.new())
        return self.stack.enter_context(namespace.call(lambda: Engine.open("xfrm")))

    def engine(self, name: EngineName) -> Engine:
        """Return the engine of an interface."""
        return self.xfrm if name == "xfrm" else self.pfkey

    def hear(self) -> None:
        """Have the engine of PF_KEY take in what others' turns have told its socket, which is no work of its own."""
        with suppress(NotFoundError):
            self.pfkey.get_sa(SAId(IPv4Address("192.0.2.255"), 1))

    def find_by_hash(self, bits: int) -> None:
        """Have the kernel find policies by hash whose prefixes have so many bits, until the end."""
        usual = self.xfrm.get_spd_info().ipv4
        self.stack.callback(self.xfrm.set_spd_thresholds, ipv4=usual)
        self.xfrm.set_spd_thresholds(ipv4=HashThreshold(bits, bits))

    def flush(self) -> None:
        """Empty both tables."""
        self.xfrm.flush_sas()
        self.xfrm.flush_policies()

    def recorded(
        self, name: EngineName, work: Callable[[Engine], object], before: Callable[[Engine], object] = lambda _: None
    ) -> Path:
        """Return a file of what an engine sends for some work, after what it does before."""
        path = self._file()
        record(name, path, work, before)
        return path

    def replay(self, path: Path, name: EngineName = "xfrm", refused: int = 0) -> float:
        """Have the floor send what was recorded, and return the seconds that it took; so many are to be refused."""
        done = subprocess.run([self._floor, name, path], capture_output=True, text=True, check=True)
        nanoseconds, were_refused = map(int, done.stdout.split())
        assert were_refused == refused, f"{were_refused} of the floor's messages were refused"
        return nanoseconds / 1e9

    def ip(self, *arguments: str | Path) -> None:
        """Run `ip`, writing to nowhere."""
        subprocess.run(["ip", *arguments], stdout=subprocess.DEVNULL, check=True)

    def batch(self, lines: Iterable[str]) -> Callable[[], None]:
        """Return what runs lines of `ip -batch`, which are in a file."""
        path = self._file()
        path.write_text("".join(f"{line}\n" for line in lines))
        return lambda: self.ip("-batch", path)

    def _file(self) -> Path:
        return self._folder / str(next(self._numbers))


#: Makes a contest for a number of objects, in an empty namespace.
Case = Callable[[Ground, int], Contest]
