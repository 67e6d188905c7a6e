"""The pages of the documentation that follow from the code; `python -m tests.pages` writes them anew."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pfkeyx import SA, Policy, Template
from pfkeyx.algorithms import ALGORITHMS, Algorithm, Kind
from pfkeyx.cli.parser import make_parser
from tests import linux, output_schema
from tests.command_page import command_page
from tests.document_schema import schema_text
from tests.features_page import feature_rows
from tests.kernel.record import FROM, PFKEY, SURVIVAL, TO, Subject, claims_by_kernel
from tests.names_page import FIELDS, field_rows, method_rows
from tests.survival_page import Survey, loss_rows
from tests.xfrm_page import TABLES, attribute_rows, message_rows

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

_PFKEY = """\
# PF_KEY on Linux

Every message and extension of PF_KEYv2, and what each kernel of `lab/kernels.toml` does with it. The tables are written
by `python -m tests.pages` from what the kernel tests have seen (`tests/kernel/records`); a kernel that does otherwise
fails them.

- First stands what becomes of it when a program sends it. *works*: the kernel does what it asks for. *ignored*: it is
  taken, and nothing comes of it. *refused*: the answer is this errno.
- Then, whether it comes from the kernel. *sent*: in an answer that is no refusal, or unasked. *never sent*: not even
  where it belongs.
- Both hold for IPv4 and for IPv6, unless a cell tells them apart.
- `SADB_X_EXT_SEC_CTX` is ignored where no security module has labels; these kernels run without SELinux.
- What Linux has no number for: a message beyond the last is refused by send(2) itself, with `EINVAL`; an extension
  beyond the last is ignored.

`Engine` speaks all that works. `Engine.exchange` sends any message and returns its answer, and
`pfkeyx.pfkey.sockets.PfkeySocket` hears what is told unasked.

## Where Linux leaves RFC 2367

What a user of pfkeyx notices:

- **Answers that everybody hears.** Each addition, update and deletion is told to every PF_KEY socket of the network
  namespace, with the keys (§3.1.2 to §3.1.4 keep them back). An update of a mature SA is told as it was asked for, not
  as it is.
- **Registration.** Whoever has registered for one type of SA hears the acquires, expiries and NAT mappings of all, and
  is told all algorithms. To register twice is refused with `EEXIST`.
- **Acquires** come with the index of their policy instead of a proxy and identities. An answer with an errno is not
  answered: until the larval SA expires, packets of that flow are dropped without another acquire.
- **An acquire's number** names its larval SA only where the module `af_key` was loaded after `xfrm_user`: each
  interface numbers an acquire anew, and the last one's number stays. Elsewhere `Engine.answer_acquire` finds nothing,
  and `Engine.get_spi` finds the larval SA by its addresses, mode and reqid.
- **Lifetimes** of an SA come in pairs: one without the other is refused, so pfkeyx sends the missing one without
  limits. Allocations count packets. What has been used already cannot be set.
- **Updates** complete a larval SA. Of a mature one they change the limits, and the ports of its encapsulation; the
  rest of what they ask for is ignored.
- **Lookups** compare destination, SPI and protocol; the source has to be given and may be any.
- **What is ignored**: the state of an SA that is added, identities, sensitivity, original addresses of NAT-T. A proxy
  address is the source of the SA's selector, not the end of a tunnel.
- **Flushes** are answered twice where there was something to delete. A **dump** of nothing is `ENOENT`, which pfkeyx
  reads as no entries; its entries are numbered from 1, and the last one is 0.
- **Promiscuous** sockets are handed bare copies; what they would have heard anyway they hear again.
- **Loss** is silent: what does not fit a receive buffer is dropped. pfkeyx notices a lost answer and a buffer that was
  full, and says so; a socket of your own asks `PfkeySocket.may_have_lost`.
- **Malformed** base headers are refused by send(2), without an answer.

## Where Linux leaves draft-schilcher-mobike-pfkey-extension-01

- `SADB_X_ADDRUPDATE` is not there, but with the module of [kernel/](../../kernel/README.md). `SADB_X_MIGRATE` moves
  policies and their SAs, found by the policy's selector and templates; `Engine.migrate` does the rest.
- The id of the SPD entry behind an acquire is in its policy extension, and not in the sequence of an
  `SADB_X_EXT_SA2`: `Acquire.policy_id`, from which `Engine.get_policy` leads to the traffic selectors.
- Without `SADB_X_EXT_SA2` an SA is in transport mode, not in tunnel mode. pfkeyx always sends one.
- `SADB_X_SPDUPDATE` adds the policy when there is none. `SADB_X_SPDSETIDX` is an addition, and is told as one.
- The ports in an `SADB_X_EXT_KMADDRESS` are not told on.
- `SADB_X_SPDEXPIRE` is never sent: a policy whose hard limit is reached is gone without a word over PF_KEY.
- Of the levels, only *unique* keeps its reqid, up to 16383; beyond, and for 0, the kernel chooses one. *use* is refused
  for a tunnel outward.
- AES-XCBC-MAC has another number; see [the algorithms](algorithms.md).
"""

_XFRM = """\
# XFRM on Linux

Every message and attribute of NETLINK_XFRM, as of the newest kernel in `lab/kernels.toml`, and what it is in pfkeyx.
The tables are written by `python -m tests.pages` from `pfkeyx/xfrm/declarations.py`, which a test compares with
that kernel's own `<linux/xfrm.h>`.

- A **feature** is what a kernel may lack: `Engine.supports` asks it. A kernel passes over an attribute that is younger
  than itself, so pfkeyx asks before it sends one, and raises `UnsupportedError` where it would be lost; only
  `Policy.offload`, which kernels before 6.2 pass over, cannot be asked for. Without a feature, every kernel has it.
- An attribute that an SA or a policy has and the model does not name is kept in `SA.other` or `Policy.other`, and given
  back when it is written. A malformed one is a `MalformedReplyError`.
- **Byte order** is the host's but for addresses, SPIs and ports, which are in network order.
- `Engine.exchange` sends any message of `pfkeyx.xfrm.messages` as it is and returns its answer.
- The declarations are pyroute2's `nlmsg` and `nla`: a socket of its own reads all that the kernel sends after
  `socket.register_policy(pfkeyx.xfrm.messages.RECEIVED)`.
"""

_MIGRATION = """\
# What survives a move

What becomes of all that an SA and its policies have when `Engine.migrate` moves them, by each method and on each kernel
of `lab/kernels.toml`. The tables are written by `python -m tests.pages` from what the kernel tests have seen
(`tests/kernel/records`); a kernel that does otherwise fails them.

The tests force each method in turn, where a plan of its own takes the first that loses nothing. Before and after the
move they read all that the kernel shows over XFRM, what has no name in pfkeyx too, and compare it field by field: what
is not kept has to be among the losses that the plan announces.

- *kept*: it is as it was. *moves*, of what hangs together: all of it moves, and the rest is kept. Of packets: they pass
  both ways after both ends have moved.
- *4096 ahead*: the outbound sequence number goes on there, so that none is used twice.
- *lost*: it is not as it was, and the plan says so beforehand.
- *refused*: `plan_migration` raises `UnsupportedError`, for the reason below the tables, and nothing is changed.
- *not tried*: the kernel does not show that it has it. Labels need a security module and offload needs hardware, and
  these kernels run without either; kernels before 6.2 do not tell when an SA was used last.
- All is tried over IPv4, and the first rows, moves to the other version and transport mode over IPv6 too, which is the
  same unless a cell tells them apart. A method or a property that some kernels lack has the others in parentheses.
- `SADB_X_MIGRATE` is asked for by the PF_KEY engine, of SAs and policies that were made by it: it is for kernels
  without XFRM. *PF_KEY cannot say it*: there is nothing to be lost.
"""

_FEATURES = """\
# Features by kernel

What `Engine.supports` and `pfkeyx probe` are asked for, and which kernel of `lab/kernels.toml` has it. The table is
written by `python -m tests.pages`; the kernel tests fail where a probe finds something else.

- The **interface** is the one that can say it; on the other it is always *no*.
- A kernel with the module of [kernel/](../../kernel/README.md) has `addrupdate` besides.
- 7 knows `iptfs` by number; Debian's has no module for it.

"""

_NAMES = """\
# Names here and elsewhere

What the fields and methods of pfkeyx are called by XFRM, by PF_KEY and by `ip xfrm`. The tables are written by
`python -m tests.pages`, the columns of XFRM from [its table](xfrm.md). [The algorithms](algorithms.md) have a table of
their own.

- An empty cell: there is no word for it. Over PF_KEY such a field is refused by its name, before anything is sent.
- The words of `ip xfrm` are those of Debian 12's, which the kernel tests compare with what pfkeyx writes. Later ones
  have more.
- Files and `--json` have the names of the first column.
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


def pfkey() -> str:
    """Return the page of PF_KEY's messages and extensions, a row each and a column a kernel."""
    page, kernels = _PFKEY, claims_by_kernel(PFKEY)
    for title, subjects in (("Message", linux.MESSAGES), ("Extension", linux.EXTENSIONS)):
        page += f"\n## {title}s\n\n"
        page += _line([title, *kernels]) + _line("---" for _ in [title, *kernels])
        for subject in subjects:
            cells = (f"{_both(claims, subject, TO)}; {_both(claims, subject, FROM)}" for claims in kernels.values())
            page += _line([_code(str(subject)), *cells])
    return page


def xfrm() -> str:
    """Return the page of XFRM's messages and attributes."""
    tables = {"Messages": message_rows(), **{title: attribute_rows(message) for title, message in TABLES.items()}}
    return _XFRM + "".join(_table(title, rows) for title, rows in tables.items())


def command() -> str:
    """Return the page of the command."""
    return command_page(make_parser())


def features() -> str:
    """Return the page of the features, a row each and a column a kernel."""
    head, *rows = feature_rows()
    return _FEATURES + _line(head) + _line("---" for _ in head) + "".join(map(_line, rows))


def names() -> str:
    """Return the page of what others call what is here."""
    titles = {SA: "Fields of an SA", Policy: "Fields of a policy", Template: "Fields of a policy's template"}
    tables = {titles[kind]: field_rows(kind) for kind in FIELDS} | {"Methods": method_rows()}
    return _NAMES + "".join(_table(title, rows) for title, rows in tables.items())


def migration() -> str:
    """Return the page of what survives a move, a row a property and a column a method."""
    survey = Survey(claims_by_kernel(SURVIVAL))
    page = _MIGRATION + "".join(_table(title, rows) for title, rows in survey.tables())
    page += "\n## Why it is refused\n\n"
    page += "".join(f"{number}. {reason}\n" for number, reason in enumerate(survey.reasons, 1))
    return page + _table("What a plan announces", loss_rows())


#: Below `docs/`.
PAGES: dict[str, Callable[[], str]] = {
    "reference/algorithms.md": algorithms,
    "reference/command.md": command,
    "reference/features.md": features,
    "reference/document.schema.json": schema_text,
    "reference/migration.md": migration,
    "reference/output.schema.json": output_schema.schema_text,
    "reference/names.md": names,
    "reference/pfkey.md": pfkey,
    "reference/xfrm.md": xfrm,
}


def _both(claims: Mapping[str, str], subject: Subject, direction: str) -> str:
    """Return a claim of both IP versions, or of each where they differ."""
    v4, v6 = (claims[f"{subject} {direction} IPv{family}"] for family in (4, 6))
    return v4 if v4 == v6 else f"IPv4 {v4}, IPv6 {v6}"


def _table(title: str, rows: Iterator[Iterable[str]]) -> str:
    """Return a section that is a table, whose first row is its head."""
    head = tuple(next(rows))
    return f"\n## {title}\n\n" + _line(head) + _line("---" for _ in head) + "".join(map(_line, rows))


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
