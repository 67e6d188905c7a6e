"""What the statements of a setkey script do, over either interface: as operations, all or none."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol as Interface

from pfkeyx.dialect import Dialect, ask_for
from pfkeyx.document.databases import is_larval, is_of_socket
from pfkeyx.document.journal import Change, Journal
from pfkeyx.document.places import at
from pfkeyx.document.setkey.policies import PolicySpec
from pfkeyx.errors import NotFoundError, PfkeyxError
from pfkeyx.model import EVERY_SA, SA, IPAddress, Policy, PolicyType, Protocol, SAFilter, SAId, SPIRequest
from pfkeyx.operation import Operation, ask

#: What a statement shows: SAs, policies, or an SPI.
Shown = tuple[SA, ...] | tuple[Policy, ...] | int | None

#: The first reqid that the kernel gives by itself, and the last one that a script may (IPSEC_MANUAL_REQID_MAX).
_FIRST_CHOSEN = 0x4000
_LAST_MANUAL = 0x3FFF


class Statement(Interface):
    """One statement."""

    def check(self, dialect: Dialect) -> None:
        """Raise `InvalidRequestError` or `UnsupportedError` for what the interface could not take; nothing is sent."""

    def do(self, dialect: Dialect, journal: Journal) -> Operation[Shown]:
        """Do it, remember how it is undone, and return what it shows."""


@dataclass(frozen=True, slots=True)
class Script:
    """The statements of a script, each with its place, such as "vpn.conf:7", and what is worth a warning."""

    statements: tuple[tuple[str, Statement], ...]
    warnings: tuple[str, ...] = ()

    def check(self, dialect: Dialect) -> None:
        """Raise `InvalidRequestError` or `UnsupportedError`, with the place, for what the interface could not take."""
        for place, statement in self.statements:
            with at(place):
                statement.check(dialect)


def run_script(dialect: Dialect, script: Script) -> Operation[list[tuple[str, Shown]]]:
    """Do every statement, or none: when one fails, those before it are undone. Return what they show, with its place.

    Raises what the statements raise, beginning with the place, and with a note that says what was undone.
    """
    script.check(dialect)
    journal = Journal(dialect)
    shown: list[tuple[str, Shown]] = []
    try:
        for place, statement in script.statements:
            with at(place):
                shown.append((place, (yield from statement.do(dialect, journal))))
    except PfkeyxError as error:
        yield from journal.undo(error)
        raise
    return shown


class _Unchecked:
    """A statement that every interface takes."""

    __slots__ = ()

    def check(self, dialect: Dialect) -> None:
        """Find nothing wrong."""


@dataclass(frozen=True, slots=True)
class AddSAs:
    """`add`: one SA for each pair of addresses that two names stand for."""

    sas: tuple[SA, ...]

    def check(self, dialect: Dialect) -> None:
        """Raise an error for an SA that the interface cannot express."""
        for sa in self.sas:
            dialect.add_sa(sa)

    def do(self, dialect: Dialect, journal: Journal) -> Operation[None]:
        """Add them."""
        del dialect
        yield from journal.do(journal.addition(sa) for sa in self.sas)


@dataclass(frozen=True, slots=True)
class GetSA(_Unchecked):
    """`get`."""

    sa_id: SAId

    def do(self, dialect: Dialect, journal: Journal) -> Operation[tuple[SA, ...]]:
        """Show it."""
        del journal
        return ((yield from ask(dialect.get_sa(self.sa_id))),)


@dataclass(frozen=True, slots=True)
class DeleteSA(_Unchecked):
    """`delete`."""

    sa_id: SAId

    def do(self, dialect: Dialect, journal: Journal) -> Operation[None]:
        """Delete it; raises `NotFoundError` when there is none."""
        sa = yield from ask(dialect.get_sa(self.sa_id))
        yield from journal.do((journal.deletion(sa),))


@dataclass(frozen=True, slots=True)
class DeleteSAs(_Unchecked):
    """`deleteall`: every SA of a protocol between two addresses, of which there may be none."""

    protocol: Protocol
    ends: tuple[tuple[IPAddress, IPAddress], ...]

    def do(self, dialect: Dialect, journal: Journal) -> Operation[None]:
        """Delete them."""
        for sa in (yield from ask(dialect.dump_sas(SAFilter(protocol=self.protocol)))):
            if (sa.source, sa.destination) in self.ends and not is_larval(sa):
                yield from journal.do((journal.deletion(sa),))


@dataclass(frozen=True, slots=True)
class GetSPI(_Unchecked):
    """`getspi`."""

    wanted: SPIRequest

    def do(self, dialect: Dialect, journal: Journal) -> Operation[int]:
        """Reserve an SPI."""
        request = dialect.get_spi(self.wanted)
        spi = yield from ask_for(dialect, request)
        deletion = dialect.delete_sa(SAId(self.wanted.destination, spi, self.wanted.protocol))
        journal.remember(Change(request, deletion))
        return spi


@dataclass(frozen=True, slots=True)
class FlushSAs(_Unchecked):
    """`flush`."""

    protocol: Protocol | None

    def do(self, dialect: Dialect, journal: Journal) -> Operation[None]:
        """Delete every SA, or those of a protocol."""
        deleted = yield from ask(dialect.dump_sas(SAFilter(protocol=self.protocol)))
        yield from ask(dialect.flush_sas(self.protocol))
        for sa in deleted:
            if not is_larval(sa):
                journal.remember(journal.deletion(sa))


@dataclass(frozen=True, slots=True)
class DumpSAs(_Unchecked):
    """`dump`."""

    protocol: Protocol | None

    def do(self, dialect: Dialect, journal: Journal) -> Operation[tuple[SA, ...]]:
        """Show every SA, or those of a protocol."""
        del journal
        return tuple((yield from ask(dialect.dump_sas(SAFilter(protocol=self.protocol)))))


@dataclass(frozen=True, slots=True)
class AddPolicies:
    """`spdadd`."""

    specs: tuple[PolicySpec, ...]

    def check(self, dialect: Dialect) -> None:
        """Raise an error for a policy that the interface cannot express."""
        for spec in self.specs:
            dialect.add_policy(spec.policy)

    def do(self, dialect: Dialect, journal: Journal) -> Operation[None]:
        """Add them; raises `AlreadyExistsError` when there is such a policy."""
        for spec in self.specs:
            policy = yield from _numbered(dialect, spec)
            yield from journal.do((journal.policy_addition(policy),))


@dataclass(frozen=True, slots=True)
class UpdatePolicies(AddPolicies):
    """`spdupdate`."""

    def do(self, dialect: Dialect, journal: Journal) -> Operation[None]:
        """Replace them in place, or add them when there are none."""
        for spec in self.specs:
            policy = yield from _numbered(dialect, spec)
            try:
                old = yield from ask(dialect.get_policy(policy.id))
            except NotFoundError:
                yield from journal.do((journal.policy_addition(policy),))
            else:
                yield from journal.do((journal.policy_update(old, policy),))


@dataclass(frozen=True, slots=True)
class DeletePolicies(_Unchecked):
    """`spddelete`."""

    specs: tuple[PolicySpec, ...]

    def do(self, dialect: Dialect, journal: Journal) -> Operation[None]:
        """Delete them; raises `NotFoundError` when there is no such policy."""
        for spec in self.specs:
            old = yield from ask(dialect.get_policy(spec.policy.id))
            yield from journal.do((journal.policy_deletion(old),))


@dataclass(frozen=True, slots=True)
class DumpPolicies(_Unchecked):
    """`spddump`."""

    def do(self, dialect: Dialect, journal: Journal) -> Operation[tuple[Policy, ...]]:
        """Show every policy."""
        del journal
        return tuple((yield from ask(dialect.dump_policies())))


@dataclass(frozen=True, slots=True)
class FlushPolicies(_Unchecked):
    """`spdflush`."""

    def do(self, dialect: Dialect, journal: Journal) -> Operation[None]:
        """Delete every policy of the main type, which is all that PF_KEY has."""
        deleted = yield from ask(dialect.dump_policies())
        yield from ask(dialect.flush_policies(PolicyType.MAIN))
        for policy in deleted:
            if policy.type is PolicyType.MAIN and not is_of_socket(policy):
                journal.remember(journal.policy_deletion(policy))


def _numbered(dialect: Dialect, spec: PolicySpec) -> Operation[Policy]:
    """Return the policy with the reqids that the script leaves to the kernel: ones that nothing has."""
    if not spec.unique:
        return spec.policy
    sas = yield from ask(dialect.dump_sas(EVERY_SA))
    policies = yield from ask(dialect.dump_policies())
    taken = {sa.reqid for sa in sas} | {template.reqid for policy in policies for template in policy.templates}
    free = (reqid for reqid in _choices(dialect) if reqid not in taken)
    templates = list(spec.policy.templates)
    for n in spec.unique:
        templates[n] = replace(templates[n], reqid=next(free))
    return replace(spec.policy, templates=tuple(templates))


def _choices(dialect: Dialect) -> Iterable[int]:
    # What PF_KEY itself would choose, it does not take from a script.
    return range(_LAST_MANUAL, 0, -1) if dialect.name == "pfkey" else range(_FIRST_CHOSEN, 1 << 32)
