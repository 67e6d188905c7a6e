"""Operations are generators: they yield batches of requests, or work, receive the replies, and do no I/O.

A kernel's refusal is thrown into the operation, so that undo is ordinary `try` and `except`. Two drivers run
the same operation: `run` waits for the socket by polling it, `arun` by asyncio. Nothing else is written twice.
"""

import select
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from operator import eq
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from pfkeyx.errors import ClosedError, KernelError, NotFoundError, PfkeyxError
from pfkeyx.features import Feature

if TYPE_CHECKING:
    from asyncio import Future

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One question to the kernel, in one dialect.

    `operation` and `subject` are for errors ("add SA", the SA); `wire` is what the dialect's transport sends and
    is never shown, since it may hold keys; `decode` turns the messages of the answer into the reply. `hints` say, by
    errno, what a refusal means here or what to do. `needs` are features without which the kernel would take the request
    and leave out a part of it: whoever asks has to `require` them first. What is `aside` is not in the dialect of the
    operation's transport, but in the other one.
    """

    operation: str
    subject: object
    wire: Any = field(repr=False)
    decode: Callable[[Sequence[Any]], T] = field(repr=False)
    hints: Mapping[int, str] = field(repr=False, default_factory=dict)
    needs: tuple[Feature, ...] = ()
    aside: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that are all sent before the first reply is read.

    With `one_datagram` they travel in one netlink datagram, which the kernel processes to its end whatever
    happens to the sender, and whether or not one of them is refused. More than the kernel takes at once (SO_SNDBUF,
    212,992 octets by default) or has room to answer (SO_RCVBUF) travels in as few as there have to be, in order; all of
    one is answered before the next is sent. All or none of them are aside.
    """

    requests: Sequence[Request[Any]]
    one_datagram: bool = False

    @property
    def aside(self) -> bool:
        """Whether the requests are for the other interface."""
        return bool(self.requests) and self.requests[0].aside


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """What takes long and asks the kernel nothing: under asyncio it is done in a thread, beside other tasks.

    It must share nothing with them but values.
    """

    do: Callable[[], T]


#: Receives a list of replies for a batch, and for work what came of it.
Operation = Generator[Batch | Work[Any], Any, T]

#: Yields, whenever it has to wait for its socket, how many messages of the answer it has taken so far.
Exchange = Generator[int, None, list[Any]]

#: Yields what has come of a dump, and an empty list whenever it has to wait for its socket.
Stream = Generator[Sequence[Any], None, None]


class Joined(Sequence[T]):
    """What came part by part, one after the other; it is equal to a list of the same.

    An entry of a dump is made each time that it is looked at, from what the kernel told.
    """

    def __init__(self, parts: Sequence[Sequence[T]]) -> None:
        #: What it is made of.
        self.parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        part = bisect_right(self._ends, number)
        return self.parts[part][number - self._ends[part]]

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self.parts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Joined, list)):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __repr__(self) -> str:
        return f"<{len(self)} entries>"


class Transport(Protocol):
    """A socket for requests, in one dialect. Synchronization: one operation at a time, from one thread."""

    def fileno(self) -> int:
        """Return the socket's file descriptor."""

    def exchange(self, batch: Batch) -> Exchange:
        """Send a batch and collect, in order, each one's reply or `KernelError`.

        It is resumed when the socket can be read, or has a `TimeoutError` thrown into it.
        """

    def stream(self, request: Request[Sequence[Any]]) -> Stream:
        """Send a dump and hand out its entries as they come; raises `KernelError`.

        It is resumed like an exchange.
        """

    def another(self) -> "Transport":
        """Open a further socket of the same kind in the same namespace."""

    def aside(self) -> "Transport":
        """Return a transport of the other interface in the same namespace, which is closed with this one.

        Raises `UnsupportedError` where there is none.
        """

    def has_sent(self, sender: int, sequence: int) -> bool:
        """Return whether a change that the kernel announces with these two numbers was asked for on this socket."""

    def close(self) -> None:
        """Close the socket."""


def ask(request: Request[T]) -> Operation[T]:
    """Send one request and return its reply."""
    (reply,) = yield Batch((request,))
    return cast(T, reply)


def put_aside(operation: Operation[T]) -> Operation[T]:
    """Run an operation of the other dialect: all that it asks is aside."""
    try:
        asked = next(operation)
        while True:
            if isinstance(asked, Batch):
                asked = replace(asked, requests=tuple(replace(request, aside=True) for request in asked.requests))
            try:
                came = yield asked
            except PfkeyxError as error:
                asked = operation.throw(error)
            else:
                asked = operation.send(came)
    except StopIteration as stop:
        return cast(T, stop.value)


def work(do: Callable[[], T]) -> Operation[T]:
    """Have something done that takes long, and return what came of it."""
    return cast(T, (yield Work(do)))


def ask_each(requests: Sequence[Request[T]]) -> Operation[list[T | None]]:
    """Send requests together, and return their replies, None for what is not there."""
    try:
        return (yield Batch(tuple(requests))) if requests else []
    except NotFoundError as error:
        refusal = next(
            (it for it in error.replies if isinstance(it, KernelError) and not isinstance(it, NotFoundError)), None
        )
        if refusal is not None:
            raise refusal from None
        return [None if isinstance(reply, NotFoundError) else reply for reply in error.replies]


def keep(request: Request[Sequence[T]], predicate: Callable[[T], bool]) -> Request[Sequence[T]]:
    """Return a dump's request whose reply holds only entries that `predicate` is true of.

    The others are dropped as they come. It is asked again of the entries of a dump that has to be repeated.
    """

    def kept(messages: Sequence[Any]) -> list[T]:
        return [entry for entry in request.decode(messages) if predicate(entry)]

    return replace(request, decode=kept)


def run(operation: Operation[T], transport: Transport) -> T:
    """Run an operation to its end, blocking."""
    try:
        asked = next(operation)
        while True:
            try:
                if isinstance(asked, Work):
                    came = asked.do()
                else:
                    through = transport.aside() if asked.aside else transport
                    came = _accepted(_finish(through.exchange(asked), through))
            except PfkeyxError as error:
                asked = operation.throw(error)
            else:
                asked = operation.send(came)
    except StopIteration as stop:
        return cast(T, stop.value)


async def arun(operation: Operation[T], transport: Transport) -> T:
    """Run an operation to its end in the running event loop."""
    import asyncio

    try:
        asked = next(operation)
        while True:
            try:
                if isinstance(asked, Work):
                    came = await asyncio.to_thread(asked.do)
                else:
                    through = transport.aside() if asked.aside else transport
                    came = _accepted(await _finish_async(through.exchange(asked), through))
            except PfkeyxError as error:
                asked = operation.throw(error)
            else:
                asked = operation.send(came)
            # The kernel has usually answered already, and other tasks have a turn between two batches.
            await asyncio.sleep(0)
    except StopIteration as stop:
        return cast(T, stop.value)


def run_stream(request: Request[Sequence[T]], asked: Transport) -> Generator[T, None, None]:
    """Hand out the entries of a dump as they come, blocking, over another socket like the one that is asked."""
    transport = _another(asked)
    try:
        stream = transport.stream(request)
        entries = next(stream, None)
        patience = _Patience(0)
        while entries is not None:
            if entries:
                yield from entries
                patience = _Patience(0)
                entries = next(stream, None)
            elif _is_readable(transport, patience):
                entries = next(stream, None)
            else:
                entries = stream.throw(TimeoutError())
    finally:
        transport.close()


async def arun_stream(request: Request[Sequence[T]], asked: Transport) -> AsyncGenerator[T, None]:
    """Hand out the entries of a dump as they come, in the running event loop; see `run_stream`."""
    import asyncio

    transport = _another(asked)
    try:
        stream = transport.stream(request)
        entries = next(stream, None)
        patience = _Patience(0)
        while entries is not None:
            if entries:
                for entry in entries:
                    yield entry
                await asyncio.sleep(0)
                patience = _Patience(0)
                entries = next(stream, None)
            elif await _becomes_readable(transport, patience):
                entries = next(stream, None)
            else:
                entries = stream.throw(TimeoutError())
    finally:
        transport.close()


def _another(transport: Transport) -> Transport:
    if transport.fileno() < 0:
        raise ClosedError()
    return transport.another()


#: A kernel answers while it takes the request, so an answer that is not there after this long is lost.
REPLY_TIMEOUT_S = 5.0


def _accepted(replies: list[Any]) -> list[Any]:
    """Return the replies to a batch, or raise the first refusal among them."""
    refusal = next((reply for reply in replies if isinstance(reply, KernelError)), None)
    if refusal is not None:
        refusal.replies = tuple(replies)
        try:
            raise refusal
        finally:
            # This frame is in the error's traceback; it must not keep the error.
            del refusal, replies
    return replies


def _finish(exchange: Exchange, transport: Transport) -> list[Any]:
    if transport.fileno() < 0:
        raise ClosedError()
    try:
        patience = _Patience(next(exchange))
        while True:
            if _is_readable(transport, patience):
                patience.renew(next(exchange))
            else:
                patience.renew(exchange.throw(TimeoutError()))
    except StopIteration as stop:
        return cast(list[Any], stop.value)


async def _finish_async(exchange: Exchange, transport: Transport) -> list[Any]:
    if transport.fileno() < 0:
        raise ClosedError()
    try:
        patience = _Patience(next(exchange))
        while True:
            if await _becomes_readable(transport, patience):
                patience.renew(next(exchange))
            else:
                patience.renew(exchange.throw(TimeoutError()))
    except StopIteration as stop:
        return cast(list[Any], stop.value)


class _Patience:
    """How long an answer is still waited for: renewed by the answer's own messages, not by what others cause."""

    def __init__(self, taken: int) -> None:
        self._taken = taken
        self._deadline = monotonic() + REPLY_TIMEOUT_S

    @property
    def left_s(self) -> float:
        return self._deadline - monotonic()

    def renew(self, taken: int) -> None:
        if taken != self._taken:
            self._taken = taken
            self._deadline = monotonic() + REPLY_TIMEOUT_S


def _is_readable(transport: Transport, patience: _Patience) -> bool:
    poll = select.poll()
    poll.register(transport.fileno(), select.POLLIN)
    return patience.left_s > 0 and bool(poll.poll(patience.left_s * 1000))


async def _becomes_readable(transport: Transport, patience: _Patience) -> bool:
    import asyncio

    try:
        async with asyncio.timeout(max(0, patience.left_s)):
            await Readiness(transport.fileno()).future
    except TimeoutError:
        return False
    return True


class Readiness:
    """A future of the running event loop, done when a descriptor can be read; give it up before closing that."""

    def __init__(self, fd: int) -> None:
        import asyncio

        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self.future: Future[None] = self._loop.create_future()
        self._loop.add_reader(fd, self._is_ready)
        self.future.add_done_callback(lambda _: self._let_go())

    def give_up(self) -> None:
        """Let the loop go of the descriptor, and whoever waits have a `ClosedError`."""
        self._let_go()
        if not self.future.done():
            self.future.set_exception(ClosedError())

    def _is_ready(self) -> None:
        self._let_go()
        if not self.future.done():
            self.future.set_result(None)

    def _let_go(self) -> None:
        # Once and no more: the number may be another descriptor's by the time that a callback runs.
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1
