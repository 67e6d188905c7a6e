"""Key material of the command line: from a file, from standard input, or generated; never from an argument."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pfkeyx.algorithms import Algorithm, Kind
from pfkeyx.cli.arguments import AlgorithmChoice, algorithm
from pfkeyx.errors import InvalidRequestError
from pfkeyx.model import Authentication, Encryption, Key

#: An encryption and an authentication, either of which may be missing.
Suite = tuple[Encryption | None, Authentication | None]

KEY_FILE_HELP = """\
A key file has one key a line, in hex; 0x before it, blank lines and comments behind # are allowed. The order is: the
encryption key (with the salt of a combined mode at its end), then the authentication key."""


def add_key_options(parser: argparse.ArgumentParser, *, is_needed: bool) -> None:
    """Add the options that name algorithms and say where their keys are."""
    group = parser.add_argument_group("algorithms and keys")
    group.add_argument(
        "--encryption",
        type=algorithm(Kind.ENCRYPTION, Kind.AEAD),
        metavar="NAME[/ICV-BITS]",
        required=is_needed,
        help="such as aes-gcm, chacha20-poly1305, aes-cbc, null",
    )
    group.add_argument(
        "--authentication",
        type=algorithm(Kind.AUTHENTICATION),
        metavar="NAME[/ICV-BITS]",
        help="such as hmac-sha256; a combined mode such as aes-gcm has none",
    )
    source = group.add_mutually_exclusive_group()
    source.add_argument("--key-file", metavar="FILE|-", help="read the keys from a file, or from standard input")
    source.add_argument(
        "--generate-keys",
        action="store_true",
        help="take fresh random keys; read them with pfkeyx sa get --show-keys",
    )


def make_suites(options: argparse.Namespace, *names: str) -> list[Suite]:
    """Return, for each named SA, its algorithms with their keys, of which a file has those of the first one first."""
    chosen = [choice.algorithm for choice in (options.encryption, options.authentication) if choice is not None]
    keyed = [algorithm for algorithm in chosen if _octets(algorithm)]
    labels = [f"{name}{algorithm}" for name in names for algorithm in keyed]
    if options.generate_keys:
        keys = [Key.generate(_octets(algorithm)) for _ in names for algorithm in keyed]
    elif options.key_file is not None:
        keys = _read(options.key_file, labels)
    elif not labels:
        keys = []
    else:
        raise InvalidRequestError(f"keys for {', '.join(labels)}: give --key-file FILE|- or --generate-keys")
    in_order = iter(keys)
    return [
        (_encryption(options.encryption, in_order), _authentication(options.authentication, in_order)) for _ in names
    ]


def _encryption(choice: AlgorithmChoice | None, keys: Iterator[Key]) -> Encryption | None:
    return Encryption(choice.algorithm, _next_key(choice.algorithm, keys), choice.icv_bits) if choice else None


def _authentication(choice: AlgorithmChoice | None, keys: Iterator[Key]) -> Authentication | None:
    return Authentication(choice.algorithm, _next_key(choice.algorithm, keys), choice.icv_bits) if choice else None


def _next_key(algorithm: Algorithm, keys: Iterator[Key]) -> Key:
    return next(keys) if _octets(algorithm) else Key(b"")


def _octets(algorithm: Algorithm) -> int:
    """Return the length of an algorithm's longest key, with its salt; 0 for one that has none."""
    return (max(algorithm.key_bits) + algorithm.salt_bits) // 8


def _read(name: str, labels: Sequence[str]) -> list[Key]:
    where = "standard input" if name == "-" else name
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidRequestError(f"keys from {where}: {reason}") from error
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    keys = [_key(where, number, line) for number, line in enumerate(lines, 1) if line]
    if len(keys) != len(labels):
        raise InvalidRequestError(
            f"keys from {where}: {len(labels)} are needed, one a line in this order: {', '.join(labels)};"
            f" there are {len(keys)}"
        )
    return keys


def _key(where: str, number: int, line: str) -> Key:
    try:
        return Key(bytes.fromhex(line.removeprefix("0x")))
    except ValueError:
        # The line may be a key, and is not repeated.
        raise InvalidRequestError(f"keys from {where}, line {number}: take an even number of hex digits") from None
