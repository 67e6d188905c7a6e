"""Events in a line for people."""

from collections.abc import Iterator

from pfkeyx.cli.lists import selector_words, template_words
from pfkeyx.cli.text import traffic_text
from pfkeyx.events import (
    Acquire,
    DefaultPolicyChange,
    Event,
    Expire,
    Migrated,
    NatMapping,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    Report,
    SAChange,
    SAFlush,
    SAMigrated,
    SAProgress,
)
from pfkeyx.model import SAId


def event_line(event: Event) -> str:
    """Return an event as one line: the word to listen for it by, what happened, and to what."""
    return "  ".join(_words(event))


def _words(event: Event) -> Iterator[str]:
    match event:
        case Acquire():
            yield f"acquire  {event.protocol} {event.source} -> {event.destination}"
            if event.reqid is not None:
                yield f"reqid {event.reqid}"
            if event.selector is not None:
                yield f"for {' '.join(selector_words(event.selector))}"
            yield f"policy {event.policy_id}"
        case Expire():
            yield f"expire  {_limit(event.hard)}"
            yield from _sa(event.sa_id, event.source)
            yield f"reqid {event.reqid}"
        case PolicyExpire():
            yield f"expire  {_limit(event.hard)}  policy {event.policy}"
        case NatMapping():
            yield f"mapping  {event.spi:#010x}"
            yield f"{event.old_address} port {event.old_port} -> {event.new_address} port {event.new_port}"
        case Migrated():
            yield f"migrate  policy {event.policy_id}"
            for old, new in event.templates:
                yield f"{' '.join(template_words(old))} to {new.source} -> {new.destination}"
        case SAMigrated():
            yield f"migrate  {event.sa_id} to {event.new_source} -> {event.new_destination}"
            if event.encap is not None:
                yield str(event.encap)
            if event.removes_encap:
                yield "no encapsulation"
        case SAProgress():
            yield "progress"
            yield from _sa(event.sa_id, event.source)
            if event.progress.replay is not None:
                yield f"sequence out {event.progress.replay.outbound} in {event.progress.replay.inbound}"
            if event.progress.usage is not None:
                yield traffic_text(event.progress.usage)
        case Report():
            yield f"report  protocol {event.protocol}  {' '.join(selector_words(event.selector))}"
        case SAChange():
            yield f"sa  {event.change.value}  {event.sa}"
            yield f"reqid {event.sa.reqid}"
        case SAFlush():
            yield f"sa  flushed  {event.protocol or 'all'}"
        case PolicyChange():
            yield f"policy  {event.change.value}  {event.policy}"
            yield from (" ".join(template_words(template)) for template in event.policy.templates)
        case PolicyFlush():
            yield f"policy  flushed  {event.type}"
        case DefaultPolicyChange():
            default = event.policy
            yield f"policy  default  in {default.inbound} fwd {default.forward} out {default.outbound}"


def _limit(hard: bool) -> str:
    return "hard" if hard else "soft"


def _sa(sa_id: SAId, source: object) -> Iterator[str]:
    yield f"{sa_id.protocol} {sa_id.spi:#010x} {source} -> {sa_id.destination}"
