"""The words of a setkey script, and the line that each stands on."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pfkeyx.errors import InvalidRequestError

#: Of strings, marks, and words; a policy, which begins with -P, is divided at hyphens too.
_TOKEN = re.compile(r'"(?P<quoted>[^"]*)"|(?P<mark>[;/\[\]])|(?P<word>[^\s;/\[\]"#]+)')
_POLICY_TOKEN = re.compile(r'"(?P<quoted>[^"]*)"|(?P<mark>[;/\[\]+-])|(?P<word>[^\s;/\[\]"#+-]+)')
_NOTHING = re.compile(r"(?:\s+|#[^\n]*)*")


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a mark or a string, and its line."""

    text: str
    line: int
    is_quoted: bool = False

    def __repr__(self) -> str:
        # It may be a key.
        return f"Token(line {self.line})"


def tokens_of(text: str, name: str) -> Iterator[Token]:
    """Yield the tokens of a script; raises `InvalidRequestError` for a string that has no end."""
    line, at = 1, 0
    is_policy = False
    while True:
        skipped = _NOTHING.match(text, at)
        assert skipped is not None  # it matches nothing, too
        line, at = line + skipped[0].count("\n"), skipped.end()
        if at == len(text):
            return
        found = (_POLICY_TOKEN if is_policy else _TOKEN).match(text, at)
        if found is None:
            raise InvalidRequestError(f'{name}:{line}: a string begins here that has no end; close it with "')
        is_quoted = found["quoted"] is not None
        token = Token(found["quoted"] if is_quoted else found[0], line, is_quoted)
        yield token
        line, at = line + found[0].count("\n"), found.end()
        if not is_quoted and token.text in ("-P", ";"):
            is_policy = token.text == "-P"
