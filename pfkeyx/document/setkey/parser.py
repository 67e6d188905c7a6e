"""Scripts of setkey, read into statements (setkey(8) of ipsec-tools 0.8.2 and 0.9.1)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pfkeyx.algorithms import Algorithm
from pfkeyx.document.setkey import statements as does
from pfkeyx.document.setkey.policies import PolicySpec, read_context, read_policy
from pfkeyx.document.setkey.reader import Reader, pairs
from pfkeyx.document.setkey.statements import Script, Statement
from pfkeyx.document.setkey.words import (
    ALWAYS,
    AUTHENTICATION,
    COMPRESSION,
    ENCRYPTION,
    KEYLESS,
    MODES,
    NEVER,
    PROTOCOLS,
    REFUSED,
    SHA256_NAMES,
)
from pfkeyx.model import (
    SA,
    Authentication,
    Direction,
    Encryption,
    IPAddress,
    Key,
    Lifetime,
    Limit,
    Mode,
    Protocol,
    SAId,
    SecurityContext,
    SPIRequest,
    UdpEncap,
)

_NATT_PORT = 4500
_EXITS = ("exit", "quit", "bye")


def parse(text: str, name: str, *, with_forward: bool = True) -> Script:
    """Return the statements of a script up to `exit`.

    With `with_forward`, a policy for what comes in has another beside it for what is forwarded, as with setkey -r,
    which is its default; with setkey -k there is none. Raises `InvalidRequestError` with the file and the line.
    """
    reader = Reader(text, name)
    found: list[tuple[str, Statement]] = []
    while not reader.is_at_end():
        word = reader.take("command")
        place = reader.place
        if word in _EXITS:
            reader.expect(";")
            break
        if word not in _COMMANDS:
            reader.refuse(REFUSED.get(word, f"{word!r} is no command; take one of {', '.join((*_COMMANDS, *_EXITS))}"))
        statement = _COMMANDS[word](reader, with_forward)
        reader.expect(";")
        found.append((place, statement))
    return Script(tuple(found), tuple(reader.warnings))


@dataclass(slots=True)
class _Subject:
    """What most commands begin with: two ends, a protocol, an SPI; the ports are those of esp-udp."""

    ends: list[tuple[IPAddress, IPAddress]]
    protocol: Protocol
    encap: UdpEncap | None = None
    spi: int = 0


@dataclass(slots=True)
class _Options:
    """What stands behind the SPI."""

    mode: Mode = Mode.TRANSPORT
    reqid: int = 0
    replay_window: int = 0
    limits: dict[str, int] = field(default_factory=dict)
    context: SecurityContext | None = None
    encryption: Encryption | None = None
    authentication: Authentication | None = None
    compression: Algorithm | None = None

    @property
    def lifetime(self) -> Lifetime:
        soft, hard = (
            Limit(octets=self.limits.get(f"-b{end}") or None, seconds=self.limits.get(f"-l{end}") or None)
            for end in "sh"
        )
        return Lifetime(soft, hard)


def _subject(reader: Reader, *, has_ports: bool = True, has_spi: bool = True) -> _Subject:
    flags = reader.flags()
    sources = reader.addresses(flags)
    source_port = reader.port() if has_ports else 0
    destinations = reader.addresses(flags)
    destination_port = reader.port() if has_ports else 0
    ends = list(pairs(sources, destinations))
    if not ends:
        reader.refuse("the two ends are of different IP versions")
    name = reader.peek()
    subject = _Subject(ends, reader.one_of(PROTOCOLS, "protocol"))
    if name == "esp-udp":
        if not reader.peek().isdecimal() and reader.peek()[:2] not in ("0x", "0X"):
            reader.addresses("n")
            reader.warn("Linux ignores the original address of esp-udp")
        subject.encap = UdpEncap(source_port or _NATT_PORT, destination_port or _NATT_PORT)
    elif source_port or destination_port:
        reader.refuse("only esp-udp has ports")
    if has_spi:
        subject.spi = reader.spi()
    return subject


def _options(reader: Reader, *, with_algorithms: bool = False) -> _Options:
    options = _Options()
    while reader.peek() != ";":
        word = reader.take("option or ;")
        if word in _OPTIONS:
            _OPTIONS[word](reader, options)
        elif word in _LIMITS:
            options.limits[word] = reader.number("limit")
        elif word in _ALGORITHMS and with_algorithms:
            _ALGORITHMS[word](reader, options)
        else:
            reader.refuse(f"{word!r} is no option here")
    return options


def _read_mode(reader: Reader, options: _Options) -> None:
    options.mode = reader.one_of({**MODES, "any": Mode.TRANSPORT}, "mode")


def _read_reqid(reader: Reader, options: _Options) -> None:
    options.reqid = reader.number("reqid", 0xFFFFFFFF)


def _read_replay(reader: Reader, options: _Options) -> None:
    size = reader.number("replay window", 255)
    if size > 32:
        reader.warn(f"PF_KEY on Linux makes a replay window of 32 packets of one of {size}")
    options.replay_window = min(size, 32)


def _read_flag(reader: Reader, options: _Options) -> None:
    del options  # Linux has none of these flags
    word = reader.take("flag")
    if word in NEVER:
        reader.warn(f"Linux pads as RFC 4303 says, and ignores {word}")
    elif word not in ALWAYS:
        reader.refuse(f"{word!r} is no flag; take one of {', '.join((*ALWAYS, *NEVER))}")


def _read_context(reader: Reader, options: _Options) -> None:
    options.context = read_context(reader)


def _read_encryption(reader: Reader, options: _Options) -> None:
    name = reader.peek()
    algorithm = reader.one_of(ENCRYPTION, "encryption algorithm")
    options.encryption = Encryption(algorithm, Key(b"" if name in KEYLESS else reader.key()))


def _read_authentication(reader: Reader, options: _Options) -> None:
    name = reader.peek()
    algorithm = reader.one_of(AUTHENTICATION, "authentication algorithm")
    if name in SHA256_NAMES:
        reader.warn(f"{name} is sent with 96 bits, as PF_KEY on Linux does; peers that follow RFC 4868 send 128")
    options.authentication = Authentication(algorithm, Key(b"" if name in KEYLESS else reader.key()))


def _read_compression(reader: Reader, options: _Options) -> None:
    options.compression = reader.one_of(COMPRESSION, "compression algorithm")
    reader.takes("-R")  # Linux takes the SPI for the CPI in any case


_Reading = Mapping[str, Callable[[Reader, _Options], None]]
_OPTIONS: _Reading = {
    "-m": _read_mode,
    "-u": _read_reqid,
    "-r": _read_replay,
    "-f": _read_flag,
    "-ctx": _read_context,
}
_ALGORITHMS: _Reading = {"-E": _read_encryption, "-A": _read_authentication, "-C": _read_compression}
_LIMITS = ("-lh", "-ls", "-bh", "-bs")
#: What each protocol needs of the algorithms, and does not take.
_WANTED = {Protocol.ESP: ("-E", "-C"), Protocol.AH: ("-A", "-E and -C"), Protocol.IPCOMP: ("-C", "-E and -A")}


def _add(reader: Reader, _: bool) -> Statement:
    subject = _subject(reader)
    options = _options(reader, with_algorithms=True)
    given = {"-E": options.encryption, "-A": options.authentication, "-C": options.compression}
    needed, excluded = _WANTED[subject.protocol]
    if given[needed] is None:
        reader.refuse(f"{subject.protocol} needs {needed} and an algorithm")
    if any(given[option] is not None for option in given if option in excluded):
        reader.refuse(f"{subject.protocol} does not take {excluded}")
    sas = [
        SA(
            SAId(destination, subject.spi, subject.protocol),
            source,
            mode=options.mode,
            reqid=options.reqid,
            encryption=options.encryption,
            authentication=options.authentication,
            compression=options.compression,
            encap=subject.encap,
            lifetime=options.lifetime,
            replay_window=options.replay_window,
            security_context=options.context,
        )
        for source, destination in subject.ends
    ]
    return does.AddSAs(tuple(sas))


def _one_id(reader: Reader) -> SAId:
    subject = _subject(reader)
    _options(reader)
    if len(subject.ends) > 1:
        reader.refuse("the names stand for several addresses; give one, or -4 or -6")
    return SAId(subject.ends[0][1], subject.spi, subject.protocol)


def _get(reader: Reader, _: bool) -> Statement:
    return does.GetSA(_one_id(reader))


def _delete(reader: Reader, _: bool) -> Statement:
    return does.DeleteSA(_one_id(reader))


def _delete_all(reader: Reader, _: bool) -> Statement:
    subject = _subject(reader, has_ports=False, has_spi=False)
    return does.DeleteSAs(subject.protocol, tuple(subject.ends))


def _get_spi(reader: Reader, _: bool) -> Statement:
    subject = _subject(reader)
    options = _options(reader)
    wanted = SPIRequest(*subject.ends[0], subject.protocol, options.mode, options.reqid)
    return does.GetSPI(replace(wanted, minimum=subject.spi, maximum=subject.spi) if subject.spi else wanted)


def _optional_protocol(reader: Reader) -> Protocol | None:
    return None if reader.peek() == ";" else reader.one_of(PROTOCOLS, "protocol")


def _flush(reader: Reader, _: bool) -> Statement:
    return does.FlushSAs(_optional_protocol(reader))


def _dump(reader: Reader, _: bool) -> Statement:
    return does.DumpSAs(_optional_protocol(reader))


def _policies(reader: Reader, with_forward: bool) -> tuple[PolicySpec, ...]:
    spec = read_policy(reader)
    return (spec, spec.forwarded()) if with_forward and spec.policy.direction is Direction.IN else (spec,)


_COMMANDS: Mapping[str, Callable[[Reader, bool], Statement]] = {
    "add": _add,
    "get": _get,
    "delete": _delete,
    "deleteall": _delete_all,
    "getspi": _get_spi,
    "flush": _flush,
    "dump": _dump,
    "spdadd": lambda reader, with_forward: does.AddPolicies(_policies(reader, with_forward)),
    "spdupdate": lambda reader, with_forward: does.UpdatePolicies(_policies(reader, with_forward)),
    "spddelete": lambda reader, with_forward: does.DeletePolicies(_policies(reader, with_forward)),
    "spddump": lambda _reader, _forward: does.DumpPolicies(),
    "spdflush": lambda _reader, _forward: does.FlushPolicies(),
}
