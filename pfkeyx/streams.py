"""Events as they come, for those who wait and for asyncio. How a kernel tells them is not known here."""

import select
from collections import deque
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pfkeyx.dialect import EventSource
from pfkeyx.errors import ClosedError, PfkeyxError
from pfkeyx.events import Event
from pfkeyx.operation import Readiness

if TYPE_CHECKING:
    from asyncio import Future


class EventStream:
    """Events as they come: an iterator that waits.

    Raises `EventsLostError` where events were dropped, and `MalformedReplyError` in the place of one that makes no
    sense; both can be caught, and the stream goes on.
    """

    def __init__(self, source: EventSource) -> None:
        self._source = source
        self._waiting: deque[Event | PfkeyxError] = deque()
        try:
            source.start()
        except PfkeyxError:
            source.close()
            raise

    def fileno(self) -> int:
        """Return the socket's file descriptor, for a poll of one's own."""
        return self._source.fileno()

    def next(self, timeout_s: float | None = None) -> Event | None:
        """Return the next event, or None when `timeout_s` seconds passed without one; None waits for ever."""
        deadline = None if timeout_s is None else monotonic() + timeout_s
        while not self._waiting:
            if self.fileno() < 0:
                raise ClosedError()
            left = None if deadline is None else max(0.0, deadline - monotonic())
            poll = select.poll()
            poll.register(self.fileno(), select.POLLIN)
            if not poll.poll(None if left is None else left * 1000):
                return None
            self._waiting.extend(self._source.receive())
            if left == 0 and not self._waiting:
                return None
        event = self._waiting.popleft()
        if isinstance(event, PfkeyxError):
            raise event
        return event

    def close(self) -> None:
        """Stop listening."""
        self._source.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self.next()
        assert event is not None  # it has no deadline
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncEventStream:
    """Events as they come, for `async for`; see `EventStream`."""

    def __init__(self, source: EventSource) -> None:
        import asyncio

        self._source = source
        self._waiting: deque[Event | PfkeyxError] = deque()
        self._turn = asyncio.Lock()
        self._started: Future[None] | None = None
        self._readiness: Readiness | None = None

    async def next(self) -> Event:
        """Return the next event; raises `ClosedError` when the stream is closed meanwhile."""
        async with self._turn:
            await self._start()
            while not self._waiting:
                if self._source.fileno() < 0:
                    raise ClosedError()
                self._readiness = Readiness(self._source.fileno())
                await self._readiness.future
                self._waiting.extend(self._source.receive())
            event = self._waiting.popleft()
        if isinstance(event, PfkeyxError):
            raise event
        return event

    def close(self) -> None:
        """Stop listening."""
        if self._readiness is not None:
            self._readiness.give_up()
        if self._started is None or self._started.done():
            self._source.close()
        else:
            # A thread has the descriptor in its hands.
            self._started.add_done_callback(lambda _: self._source.close())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self.next()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _start(self) -> None:
        """Let the kernel know that this listens, once."""
        import asyncio

        if self._started is None:
            if self._source.fileno() < 0:
                raise ClosedError()
            # PF_KEY's registration makes the kernel look for all its algorithms, and the loop has other work.
            self._started = asyncio.ensure_future(asyncio.to_thread(self._source.start))
        await asyncio.shield(self._started)
