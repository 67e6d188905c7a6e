"""A C header: what its text declares, and what the compiler makes of that."""

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

#: A member is its name and its type, as "__be16" or "struct xfrm_id" or "char[64]"; a flexible array's is "__u32[]".
Members = tuple[tuple[str, str], ...]

_STRUCT = re.compile(r"^struct (\w+) \{(.*?)^\};", re.MULTILINE | re.DOTALL)
_MEMBER = re.compile(r"^\s*((?:struct |unsigned )?\w+)\s+(\w+)(\[\d*\])?\s*(?:__counted_by\(\w+\))?;", re.MULTILINE)
_NOISE = re.compile(r"/\*.*?\*/", re.DOTALL)
_ENUMERATOR = re.compile(r"^\s*([A-Z]\w+)\s*(?:=[^,}]*)?,?\s*$", re.MULTILINE)
_DEFINE = re.compile(r"^\s*#define\s+([A-Z]\w+)\s+\S", re.MULTILINE)


@dataclass(frozen=True)
class Header:
    """A header below one of the folders that a program includes from; no others are looked into."""

    folders: Sequence[Path]
    name: str

    @cached_property
    def structs(self) -> Mapping[str, Members]:
        """The structs and their members."""
        return {
            name: tuple((member, kind + array) for kind, member, array in _MEMBER.findall(body))
            for name, body in _STRUCT.findall(self._text)
        }

    @cached_property
    def constants(self) -> frozenset[str]:
        """The names that stand for a number, those for the compiler alone left out."""
        names = {*_ENUMERATOR.findall(self._text), *_DEFINE.findall(self._text)}
        return frozenset(name for name in names if not name.startswith("_"))

    @cached_property
    def _text(self) -> str:
        path = next(folder / self.name for folder in self.folders if (folder / self.name).exists())
        return _NOISE.sub("", path.read_text())


def evaluate(folders: Sequence[Path], headers: Iterable[str], expressions: Iterable[str], scratch: Path) -> list[int]:
    """Return what a program that includes `headers` from `folders`, and from nowhere else, computes."""
    lines = [f"#include <{header}>" for header in headers]
    lines += ["int printf(const char *, ...);", "int main(void) {"]
    lines += [f'printf("%llu\\n", (unsigned long long)({expression}));' for expression in expressions]
    source, program = scratch / "probe.c", scratch / "probe"
    source.write_text("\n".join([*lines, "return 0; }\n"]))
    places = [f"-isystem{folder}" for folder in folders]
    subprocess.run(["cc", "-nostdinc", *places, "-o", program, source], check=True)
    done = subprocess.run([program], check=True, capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]
