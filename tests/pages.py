"""The pages of the documentation that follow from the code; `python -m tests.pages` writes them anew."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pfkeyx.algorithms import ALGORITHMS, Algorithm, Kind

DOCS = Path(__file__).resolve().parents[1] / "docs"

_ALGORITHMS = """\
# Algorithms

What `pfkeyx.by_name` knows, and what each standard and each kernel interface calls it. This page is written from
`pfkeyx/algorithms.py` by `python -m tests.pages`.

- **XFRM** is the name in `XFRMA_ALG_*`.
- **PF_KEY** is Linux's number in `sadb_sa_auth` or `sadb_sa_encrypt`; compression stands in `sadb_sa_encrypt` too. A
  refused number is in `<linux/pfkeyv2.h>`, but the kernel answers it with `ENOSYS`; there is one for each ICV.
- **Draft** is the name and number of draft-schilcher-mobike-pfkey-extension-01 §6. Where it differs from Linux's,
  Linux's is spoken.
- **IKEv2** is IANA's transform id, one for each ICV in their order, as far as there are any: transform type 1 for
  encryption, 3 for authentication (RFC 7296 §3.3.2); for compression the id in `IPCOMP_SUPPORTED` (§3.10.1).
- **Key**, **salt** and **ICV** are in bits. The salt is the end of the key and not counted in it. The first ICV is the
  usual one, and PF_KEY has no other.
- **Interfaces** are those that can ask for it. Whether a kernel was built with it, only the kernel knows: it answers
  `ENOSYS` if not.
"""

_COLUMNS: dict[str, Callable[[Algorithm], str]] = {
    "Name": lambda row: _code(row.name),
    "XFRM": lambda row: _code(row.xfrm_name),
    "PF_KEY": lambda row: (
        str(row.pfkey_number)
        if row.pfkey_number is not None
        else _listed(row.pfkey_refused_numbers) and f"refused: {_listed(row.pfkey_refused_numbers)}"
    ),
    "Draft": lambda row: f"{_code(row.draft[0])} = {row.draft[1]}" if row.draft else "",
    "IKEv2": lambda row: _listed(row.ikev2_ids),
    "Key": lambda row: _sizes(row.key_bits),
    "Salt": lambda row: str(row.salt_bits or ""),
    "ICV": lambda row: _listed(row.icv_bits),
    "Interfaces": lambda row: ", ".join(["XFRM"] * row.on_xfrm + ["PF_KEY"] * row.on_pfkey),
    "Note": lambda row: row.note,
}


def algorithms() -> str:
    """Return the page of the algorithms, a table a kind, without the columns that are empty in it."""
    page = _ALGORITHMS
    for kind in Kind:
        rows = [row for row in ALGORITHMS if row.kind is kind]
        columns = {title: cell for title, cell in _COLUMNS.items() if any(map(cell, rows))}
        page += f"\n## {kind.value.capitalize()}\n\n"
        page += _line(columns) + _line("---" for _ in columns)
        page += "".join(_line(cell(row) for cell in columns.values()) for row in rows)
    return page


#: Below `docs/`.
PAGES: dict[str, Callable[[], str]] = {"reference/algorithms.md": algorithms}


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _code(text: str) -> str:
    return f"`{text}`"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _sizes(bits: Sequence[int]) -> str:
    return f"{bits[0]} to {bits[-1]}" if isinstance(bits, range) else _listed(bits)


if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
