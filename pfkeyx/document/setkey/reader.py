"""The tokens of a script, taken one after another; and names, which are looked up as setkey does."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from socket import gaierror, getaddrinfo, getprotobyname, getservbyname
from typing import NoReturn, TypeVar

from pfkeyx.document.setkey.tokens import Token, tokens_of
from pfkeyx.document.setkey.words import REFUSED
from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import IPAddress

T = TypeVar("T")

#: Names that setkey knows whether or not /etc/protocols does.
_UPPER_PROTOCOLS = {"icmp6": 58, "ip4": 4}


class Reader:
    """A script as it is read: what comes next, what is wrong, and what is worth a warning."""

    def __init__(self, text: str, name: str) -> None:
        self._tokens: Sequence[Token] = tuple(tokens_of(text, name))
        self._name = name
        self._next = 0
        self.warnings: list[str] = []

    @property
    def place(self) -> str:
        """The file and the line of the token that was taken last, or of the first."""
        token = self._tokens[max(self._next - 1, 0)] if self._tokens else None
        return f"{self._name}:{token.line if token else 1}"

    def is_at_end(self) -> bool:
        """Return whether nothing is left."""
        return self._next == len(self._tokens)

    def refuse(self, complaint: str) -> NoReturn:
        """Raise `InvalidRequestError` about what was taken last."""
        raise InvalidRequestError(f"{self.place}: {complaint}")

    def warn(self, text: str) -> None:
        """Remember a warning about what was taken last."""
        self.warnings.append(f"{self.place}: {text}")

    def peek(self) -> str:
        """Return the next word without taking it; a string, and the end, are none."""
        if self.is_at_end() or self._tokens[self._next].is_quoted:
            return ""
        return self._tokens[self._next].text

    def take(self, wanted: str) -> str:
        """Return the next word, which is no string; `wanted` says for errors what it should be."""
        word = self.peek()
        self._step(wanted)
        if not word:
            self.refuse(f'{wanted} is missing where "..." stands')
        if word == ";":
            self.refuse(f"{wanted} is missing before ;")
        return word

    def takes(self, word: str) -> bool:
        """Take the next word if it is this one, and return whether it was."""
        is_it = self.peek() == word
        self._next += is_it
        return is_it

    def expect(self, mark: str) -> None:
        """Take a mark that has to come."""
        if self.peek() != mark:
            found = self.peek() or "a string"
            self._step(mark)
            self.refuse(f"{mark} is missing before {found}")
        self._next += 1

    def one_of(self, values: Mapping[str, T], wanted: str) -> T:
        """Return the value of the next word."""
        word = self.take(wanted)
        if word not in values:
            self.refuse(REFUSED.get(word, f"{word!r} is no {wanted}; take one of {', '.join(values)}"))
        return values[word]

    def number(self, wanted: str, maximum: int = 0xFFFFFFFFFFFFFFFF) -> int:
        """Return the next word as a decimal number."""
        word = self.take(wanted)
        number = whole_number(word)
        if number is None or number > maximum:
            self.refuse(f"{word!r} is no {wanted}, which is a number up to {maximum}")
        return number

    def spi(self) -> int:
        """Return an SPI, which is decimal or begins with 0x."""
        word = self.take("SPI")
        try:
            spi = int(word, 16 if word.lower().startswith("0x") else 10)
        except ValueError:
            spi = -1
        if not 0 <= spi <= 0xFFFFFFFF:
            self.refuse(f"{word!r} is no SPI of 32 bits")
        return spi

    def string(self, wanted: str) -> bytes:
        """Return the bytes of a string in quotes."""
        if self.is_at_end() or not self._tokens[self._next].is_quoted:
            self.take(wanted)
            self.refuse(f'{wanted} stands in "quotes"')
        self._next += 1
        return self._tokens[self._next - 1].text.encode(errors="surrogateescape")

    def key(self) -> bytes:
        """Return the bytes of a key: a string, or hex, where the first of an odd number of digits stands alone."""
        if not self.is_at_end() and self._tokens[self._next].is_quoted:
            return self.string("key")
        word = self.take("key")
        digits = word[2:]
        try:
            if word[:2] not in ("0x", "0X"):
                raise ValueError
            return bytes.fromhex(digits if len(digits) % 2 == 0 else f"0{digits}")
        except ValueError:
            # Without the word: it may be most of a key.
            raise InvalidRequestError(f'{self.place}: a key is 0x and hex digits, or a "string"') from None

    def flags(self) -> str:
        """Return the letters of the options -4, -6 and -n."""
        letters = ""
        while self.peek()[:1] == "-" and self.peek()[1:] and set(self.peek()[1:]) <= set("46n"):
            letters += self.take("option")[1:]
        return letters

    def addresses(self, flags: str) -> list[IPAddress]:
        """Return what an address or a host's name stands for."""
        word = self.take("address")
        try:
            found = [ip_address(word)]
        except ValueError:
            found = self._look_up(word, flags)
        versions = [int(flag) for flag in flags if flag in "46"]
        if versions:
            found = [address for address in found if address.version == versions[-1]]
        if not found:
            self.refuse(f"{word} is no IPv{versions[-1]} address")
        return found

    def port(self) -> int:
        """Return the port that may stand in brackets; 0 is any."""
        if not self.takes("["):
            return 0
        word = self.take("port")
        self.expect("]")
        if word == "any":
            return 0
        port = whole_number(word)
        if port is None:
            with suppress(OSError, ValueError):
                port = getservbyname(word)
        if port is None or port > 0xFFFF:
            self.refuse(f"{word!r} is no port; give a number up to 65535, a service, or any")
        return port

    def upper_protocol(self) -> int:
        """Return an upper layer's protocol; 0 is any."""
        word = self.take("upper layer protocol")
        if word == "any":
            return 0
        number = whole_number(word)
        if number is not None and number <= 255:
            return number % 255  # 255 is PF_KEY's word for any
        try:
            return _UPPER_PROTOCOLS[word] if word in _UPPER_PROTOCOLS else getprotobyname(word)
        except (OSError, ValueError):
            self.refuse(f"{word!r} is no upper layer protocol; give its number, a name of /etc/protocols, or any")

    def _look_up(self, name: str, flags: str) -> list[IPAddress]:
        if "n" in flags:
            self.refuse(f"{name} is no address, and -n looks no names up")
        try:
            found = getaddrinfo(name, None)
        except (gaierror, ValueError) as error:
            self.refuse(f"{name} is no address, and no name of a host: {getattr(error, 'strerror', error)}")
        return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))

    def _step(self, wanted: str) -> None:
        if self.is_at_end():
            self.refuse(f"{wanted} is missing at the end")
        self._next += 1


def whole_number(word: str) -> int | None:
    """Return a decimal number of some size, None for anything else."""
    return int(word) if word.isdecimal() and len(word) <= 20 else None


def pairs(sources: Sequence[IPAddress], destinations: Sequence[IPAddress]) -> Iterator[tuple[IPAddress, IPAddress]]:
    """Yield every source with every destination of its IP version."""
    for source in sources:
        for destination in destinations:
            if source.version == destination.version:
                yield source, destination
