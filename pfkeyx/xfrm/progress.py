"""What can be asked over XFRM of how far an SA is: its sequence numbers, its counters, and when it tells of them."""

from functools import partial
from typing import Any

from pfkeyx.checks import check_progress, check_sa_id
from pfkeyx.errors import InvalidRequestError, MalformedReplyError
from pfkeyx.model import SA, Progress, Replay, SAId
from pfkeyx.operation import Batch, Operation, Request, ask
from pfkeyx.xfrm import codec, parts
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm.answers import Answer, Wire, nothing, only
from pfkeyx.xfrm.encoding import encode
from pfkeyx.xfrm.numbers import NLM_F_ACK, NLM_F_REPLACE, NLM_F_REQUEST

#: A timer from whose length as it is told that of a jiffy can be told. It is short, since it would stay where we are
#: killed before the old one is set again.
_SOME_JIFFIES = 20_000
#: Milliseconds; with one more, and a jiffy of one, what the kernel tells of a timer overflows.
_LONGEST_TIMER_MS = 0xFFFFFFFF // 10
#: CONFIG_HZ is somewhere here.
_PLAUSIBLE_HZ = range(12, 10_001)


class ProgressRequests:
    """The part of the dialect that reads and sets an SA's progress (XFRM's "aevents")."""

    def __init__(self) -> None:
        self._hz: int | None = None

    def get_progress(self, sa_id: SAId) -> Request[Progress]:
        """Return the request that reads how far an SA is (XFRM_MSG_GETAE)."""
        check_sa_id("get progress", sa_id)
        fields = {"sa_id": codec.sa_id_fields(sa_id), "flags": wire.XFRM_AE_RTHR | wire.XFRM_AE_ETHR}
        attributes = parts.mark_attributes(sa_id.mark)
        message = encode(wire.aevent_id_msg, wire.XFRM_MSG_GETAE, NLM_F_REQUEST, fields, attributes)
        return Request("get progress", sa_id, Wire(message, Answer.ONE), partial(only, decode=codec.decode_progress))

    def set_progress(self, sa: SA, progress: Progress) -> Operation[None]:
        """Set what of an SA's progress is not None (XFRM_MSG_NEWAE), at once.

        The kernel takes the timer in jiffies and tells it in tenths of a second. How long a jiffy is, is found out on
        this SA the first time that a timer is set; who listens is told of that too.
        """
        check_progress("set progress", sa, progress)
        _check_timer(sa, progress.timer_ms)
        attributes: list[tuple[str, Any]] = []
        if progress.replay is not None:
            attributes.append(codec.replay_attribute(sa, progress.replay))
        if progress.usage is not None:
            attributes.append(("XFRMA_LTIME_VAL", parts.usage_fields(progress.usage)))
        if progress.replay_threshold is not None:
            attributes.append(("XFRMA_REPLAY_THRESH", progress.replay_threshold))
        if progress.timer_ms is not None:
            hz = yield from self._learn_hz(sa)
            attributes.append(("XFRMA_ETIMER_THRESH", _jiffies(progress.timer_ms, hz)))
        yield from ask(self._set("set progress", sa, attributes))

    def set_replay(self, sa: SA, replay: Replay) -> Request[None]:
        """Return the request that sets the sequence numbers and the replay window of an SA (XFRM_MSG_NEWAE)."""
        return self._set("set sequence number", sa, [codec.replay_attribute(sa, replay)])

    def _learn_hz(self, sa: SA) -> Operation[int]:
        if self._hz is None:
            # In one datagram, so that nobody else's timer is read.
            before, _, told = yield Batch(
                (self.get_progress(sa.id), self._set_timer(sa, _SOME_JIFFIES), self.get_progress(sa.id)),
                one_datagram=True,
            )
            hz = round(_SOME_JIFFIES * 1000 / told.timer_ms) if told.timer_ms else 0
            if hz not in _PLAUSIBLE_HZ:
                raise MalformedReplyError(f"XFRM tells of {_SOME_JIFFIES} jiffies as {told.timer_ms} ms")
            # What is wanted may be refused.
            yield from ask(self._set_timer(sa, _jiffies(before.timer_ms, hz)))
            self._hz = hz
        return self._hz

    def _set_timer(self, sa: SA, jiffies: int) -> Request[None]:
        return self._set("set progress", sa, [("XFRMA_ETIMER_THRESH", jiffies)])

    def _set(self, operation: str, sa: SA, attributes: list[tuple[str, Any]]) -> Request[None]:
        fields = {"sa_id": codec.sa_id_fields(sa.id), "saddr": sa.source.packed, "reqid": sa.reqid}
        flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE
        attributes = [*attributes, *parts.mark_attributes(sa.id.mark)]
        message = encode(wire.aevent_id_msg, wire.XFRM_MSG_NEWAE, flags, fields, attributes)
        return Request(operation, sa, Wire(message, Answer.ACK), nothing)


def _jiffies(milliseconds: int, hz: int) -> int:
    return -(-milliseconds * hz // 1000)


def _check_timer(sa: SA, timer_ms: int | None) -> None:
    if timer_ms is not None and timer_ms > _LONGEST_TIMER_MS:
        raise InvalidRequestError(
            f"set progress {sa}: a timer of {timer_ms} ms is too long; the kernel tells of {_LONGEST_TIMER_MS}"
        )
