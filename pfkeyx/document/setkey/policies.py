"""What a setkey script says of policies: their selectors, and what stands behind -P."""

from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from pfkeyx.document.setkey.reader import Reader, whole_number
from pfkeyx.document.setkey.words import (
    ACTIONS,
    DEFAULT_PRIORITY,
    DIRECTIONS,
    LEVELS,
    MODES,
    PRIORITIES,
    PROTOCOLS,
    REFUSED,
)
from pfkeyx.model import (
    Action,
    Direction,
    IPAddress,
    Mode,
    Policy,
    Port,
    Prefix,
    SecurityContext,
    Selector,
    Template,
    make_prefix,
    same_family,
)

_ICMP, _GRE, _ICMPV6, _MH = 1, 47, 58, 135


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy of a script; the kernel chooses the reqids of the templates at `unique`."""

    policy: Policy
    unique: tuple[int, ...] = ()

    def forwarded(self) -> "PolicySpec":
        """Return the policy for what is forwarded, which setkey adds beside one for what comes in.

        Its first template asks for an SA of any reqid.
        """
        templates = self.policy.templates
        if templates:
            templates = (replace(templates[0], reqid=0), *templates[1:])
        policy = replace(self.policy, direction=Direction.FORWARD, templates=templates)
        return PolicySpec(policy, tuple(n for n in self.unique if n > 0))


def read_policy(reader: Reader) -> PolicySpec:
    """Return the policy that stands behind spdadd, spdupdate and spddelete."""
    if reader.peek() == "tagged":
        reader.take("range")
        reader.refuse(REFUSED["tagged"])
    flags = reader.flags()
    source, source_port = _range(reader, flags)
    destination, destination_port = _range(reader, flags)
    if not same_family((source, destination)):
        reader.refuse(f"{source} and {destination} are of different IP versions")
    protocol = reader.upper_protocol()
    if reader.peek() not in ("-P", "-ctx"):
        source_port, destination_port = _upper_details(reader, protocol)
    context = read_context(reader) if reader.takes("-ctx") else None
    if not reader.takes("-P"):
        reader.take("-P and the policy")
        reader.refuse("-P and the policy are missing")
    selector = Selector(source, destination, protocol, _port(source_port), _port(destination_port))
    return _policy_spec(reader, selector, context)


def read_context(reader: Reader) -> SecurityContext:
    """Return the label that stands behind -ctx; setkey ends it with a zero."""
    doi, algorithm = reader.number("doi", 255), reader.number("algorithm of a label", 255)
    return SecurityContext(reader.string("label") + b"\0", algorithm, doi)


def _range(reader: Reader, flags: str) -> tuple[Prefix, int]:
    addresses = reader.addresses(flags)
    if len(addresses) > 1:
        reader.refuse("the name stands for several addresses; give one, or -4 or -6")
    longest: int = addresses[0].max_prefixlen
    length = reader.number("prefix length", longest) if reader.takes("/") else longest
    return make_prefix(addresses[0], length), reader.port()


def _upper_details(reader: Reader, protocol: int) -> tuple[int, int]:
    """Return what stands behind an upper layer protocol in the place of its ports."""
    word = reader.take("-P")
    if protocol not in (_ICMP, _ICMPV6, _MH, _GRE):
        reader.refuse(f"{word!r} stands where -P is expected; only icmp, icmp6, mh and gre have more to say")
    try:
        if protocol == _GRE:
            key = int(IPv4Address(word if "." in word else int(word)))
            return key >> 16, key & 0xFFFF
        kind, code, *_ = (int(part) for part in f"{word},0".split(","))
    except ValueError:
        kind, code = -1, -1
    if not (0 <= kind <= 255 and 0 <= code <= 255):
        reader.refuse(f"{word!r} is no type, no type,code, and no key of GRE")
    return kind, code


def _port(number: int) -> Port | None:
    # To PF_KEY, 0 is any.
    return Port(number) if number else None


def _policy_spec(reader: Reader, selector: Selector, context: SecurityContext | None) -> PolicySpec:
    direction = reader.one_of(DIRECTIONS, "direction")
    if reader.peek() == ";":
        return PolicySpec(Policy(selector, direction, action=Action.BLOCK, security_context=context))
    priority = _priority(reader) if reader.peek() in ("prio", "priority") else DEFAULT_PRIORITY
    word = reader.peek()
    action = reader.one_of(ACTIONS, "policy")
    templates: list[Template] = []
    unique: list[int] = []
    while reader.peek() != ";":
        template, is_unique = _template(reader)
        if is_unique:
            unique.append(len(templates))
        templates.append(template)
    if direction is Direction.OUT and any(it.optional and it.mode is Mode.TUNNEL for it in templates):
        reader.refuse("Linux refuses the level use for a tunnel in a policy for what goes out; write require")
    if templates and word != "ipsec":
        reader.refuse(f"{word} has no requests; only ipsec has")
    policy = Policy(selector, direction, tuple(templates), action=action, priority=priority, security_context=context)
    return PolicySpec(policy, tuple(unique))


def _priority(reader: Reader) -> int:
    """Return the kernel's priority: setkey counts the other way round, from the middle."""
    reader.take("prio")
    base = PRIORITIES["def"]
    if reader.peek() in PRIORITIES:
        base = reader.one_of(PRIORITIES, "priority")
        if reader.peek() not in ("+", "-"):
            return base
        sign = -1 if reader.take("sign") == "+" else 1
        priority = base + sign * reader.number("offset", 0x40000000)
    else:
        sign = 1 if reader.takes("-") else -1
        priority = base + sign * reader.number("priority", 0x80000000)
    return min(priority, 0xFFFFFFFF)


def _template(reader: Reader) -> tuple[Template, bool]:
    """Return a request such as esp/tunnel/192.0.2.1-192.0.2.2/unique:7, and whether the kernel chooses its reqid."""
    protocol = PROTOCOLS[reader.one_of({name: name for name in ("esp", "ah", "ipcomp")}, "protocol of a request")]
    reader.expect("/")
    mode = reader.one_of(MODES, "mode")
    ends: tuple[IPAddress, IPAddress] | None = None
    level, reqid = "default", 0
    if reader.takes("/"):
        if reader.peek() not in ("/", ";") and reader.peek() not in PROTOCOLS:
            ends = _ends(reader)
        if reader.takes("/") and reader.peek() != ";" and reader.peek() not in PROTOCOLS:
            level, reqid = _level(reader)
    if mode is Mode.TUNNEL and ends is None:
        reader.refuse("a tunnel has two addresses: write esp/tunnel/192.0.2.1-192.0.2.2/require")
    template = Template(protocol, mode, reqid=reqid, optional=level == "use")
    if mode is Mode.TUNNEL and ends is not None:
        template = replace(template, source=ends[0], destination=ends[1])
    return template, level == "unique" and reqid == 0


def _level(reader: Reader) -> tuple[str, int]:
    word = reader.take("level")
    level, _, identity = word.partition(":")
    if level not in LEVELS or (identity and level != "unique"):
        reader.refuse(f"{word!r} is no level; take one of {', '.join(LEVELS)}, unique:ID")
    if not identity:
        return level, 0
    reqid = whole_number(identity)
    if reqid is None:
        reader.refuse(f"{identity!r} is no id of unique, which is a number")
    # PF_KEY gives larger ones a number of its own.
    return level, reqid if reqid <= 0x3FFF else 0


def _ends(reader: Reader) -> tuple[IPAddress, IPAddress] | None:
    if reader.peek() in ("me", "any"):
        first = reader.take("address")
        reader.expect("-")
        if {first, reader.take("address")} != {"me", "any"}:
            reader.refuse("write me-any or any-me, or two addresses")
        return None
    source = _end(reader)
    reader.expect("-")
    destination = _end(reader)
    if source.version != destination.version:
        reader.refuse(f"{source} and {destination} are of different IP versions")
    return source, destination


def _end(reader: Reader) -> IPAddress:
    (address,) = reader.addresses("n")
    if reader.port():
        reader.warn("Linux ignores the port of a tunnel's end; add esp-udp has ports")
    return address
