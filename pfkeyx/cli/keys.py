"""Key material of the command line: from a file, from standard input, or generated; never from an argument."""

import argparse
import sys
from collections.abc import Sequence
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
    wanted = [choice for choice in (options.encryption, options.authentication) if choice is not None]
    labels = [f"{name}{choice.algorithm}" for name in names for choice in wanted]
    if options.generate_keys:
        keys = [_generate(choice.algorithm) for _ in names for choice in wanted]
    elif options.key_file is not None:
        keys = _read(options.key_file, labels)
    elif all(0 in choice.algorithm.key_bits for choice in wanted):
        keys = [Key(b"") for _ in labels]
    else:
        raise InvalidRequestError(f"keys for {', '.join(labels)}: give --key-file FILE|- or --generate-keys")
    starts = range(0, len(keys), len(wanted) or 1)
    pairs = [keys[start : start + len(wanted)] for start in starts] or [[] for _ in names]
    return [_suite(options.encryption, options.authentication, pair) for pair in pairs]


def _suite(encryption: AlgorithmChoice | None, authentication: AlgorithmChoice | None, keys: Sequence[Key]) -> Suite:
    return (
        Encryption(encryption.algorithm, keys[0], encryption.icv_bits) if encryption else None,
        Authentication(authentication.algorithm, keys[-1], authentication.icv_bits) if authentication else None,
    )


def _generate(chosen: Algorithm) -> Key:
    # The longest of IKE's usual lengths that the algorithm takes.
    bits = max(length for length in chosen.key_bits)
    return Key.generate((bits + chosen.salt_bits) // 8)


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
