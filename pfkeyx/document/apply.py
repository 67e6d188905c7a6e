"""Putting the databases of a document into the kernel: checked, added, or made the same; all or nothing.

What is done here holds for both kernel interfaces; the operations are run by `Engine.run`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pfkeyx.dialect import Dialect, ask_for
from pfkeyx.document.databases import Databases, is_larval, is_of_socket
from pfkeyx.document.journal import Journal, ahead, ahead_of_now, attempt, write_sa
from pfkeyx.document.places import at
from pfkeyx.errors import InvalidRequestError, NotFoundError, UnsupportedError
from pfkeyx.features import Feature
from pfkeyx.migration.methods import hides_keys
from pfkeyx.model import EVERY_SA, SA, DefaultPolicy, Policy, Replay, any_selector
from pfkeyx.operation import Operation, ask


@dataclass(frozen=True, slots=True)
class Differences:
    """What has to change so that the kernel holds what a document says; what is changed is old and new.

    `alike_sas` and `alike_policies` are how many are as they shall be already.
    """

    added_sas: tuple[SA, ...] = ()
    changed_sas: tuple[tuple[SA, SA], ...] = ()
    deleted_sas: tuple[SA, ...] = ()
    added_policies: tuple[Policy, ...] = ()
    changed_policies: tuple[tuple[Policy, Policy], ...] = ()
    deleted_policies: tuple[Policy, ...] = ()
    default_policy: tuple[DefaultPolicy, DefaultPolicy] | None = None
    alike_sas: int = 0
    alike_policies: int = 0

    def changes(self) -> Iterator[tuple[str, str, SA | Policy | DefaultPolicy]]:
        """Yield what is done, to what kind of thing, and the thing as it shall be, or was if it is deleted."""
        yield from (("add", "SA", sa) for sa in self.added_sas)
        yield from (("change", "SA", new) for _, new in self.changed_sas)
        yield from (("change", "policy", new) for _, new in self.changed_policies)
        yield from (("add", "policy", policy) for policy in self.added_policies)
        yield from (("delete", "policy", policy) for policy in self.deleted_policies)
        yield from (("delete", "SA", sa) for sa in self.deleted_sas)
        if self.default_policy is not None:
            yield "set", "default policy", self.default_policy[1]


def check(databases: Databases, dialect: Dialect) -> None:
    """Raise `InvalidRequestError` or `UnsupportedError` for what this interface could not take; nothing is sent.

    What only some kernels refuse, such as an algorithm that they were built without, is not known here.
    """
    for n, sa in enumerate(databases.sas or ()):
        with at(f"sa[{n}]"):
            write_sa(dialect, sa)
    for n, policy in enumerate(databases.policies or ()):
        with at(f"policy[{n}]"):
            dialect.add_policy(policy)
    if databases.default_policy is not None:
        dialect.set_default_policy(databases.default_policy)


def read(dialect: Dialect) -> Operation[Databases]:
    """Return what the kernel holds, in the order of its dump; the default policy where the interface tells it."""
    sas = yield from ask(dialect.dump_sas(EVERY_SA))
    policies = yield from ask(dialect.dump_policies())
    default = None
    if (yield from dialect.supports(Feature.DEFAULT_POLICY)).available:
        default = yield from ask_for(dialect, dialect.get_default_policy())
    return Databases(tuple(sas), tuple(policies), default)


def compare(wanted: Databases, found: Databases, dialect: Dialect) -> Differences:
    """Return how what is wanted differs from what was found.

    Left alone are larval SAs, policies of sockets, and what the document does not speak of. Sequence numbers and
    counters are no difference: those of the kernel are the newer ones.
    """
    found_sas = () if wanted.sas is None else found.sas or ()
    found_policies = () if wanted.policies is None else found.policies or ()
    sas = {sa.id: sa for sa in found_sas if not is_larval(sa)}
    policies = {policy.id: policy for policy in found_policies if not is_of_socket(policy)}
    wanted_sas = {sa.id: sa for sa in wanted.sas or ()}
    wanted_policies = {policy.id: policy for policy in wanted.policies or ()}
    changed_sas = [
        (sas[key], sa)
        for key, sa in wanted_sas.items()
        if key in sas and _as_compared(sas[key], dialect) != _as_compared(sa, dialect)
    ]
    changed_policies = [
        (policies[key], policy)
        for key, policy in wanted_policies.items()
        if key in policies and policies[key].as_written() != policy.as_written()
    ]
    default = None
    if wanted.default_policy is not None and found.default_policy not in (None, wanted.default_policy):
        default = (found.default_policy, wanted.default_policy)
    return Differences(
        tuple(sa for key, sa in wanted_sas.items() if key not in sas),
        tuple(changed_sas),
        tuple(sa for key, sa in sas.items() if key not in wanted_sas),
        tuple(policy for key, policy in wanted_policies.items() if key not in policies),
        tuple(changed_policies),
        tuple(policy for key, policy in policies.items() if key not in wanted_policies),
        default,
        len(wanted_sas.keys() & sas.keys()) - len(changed_sas),
        len(wanted_policies.keys() & policies.keys()) - len(changed_policies),
    )


def _as_compared(sa: SA, dialect: Dialect) -> SA:
    """Return an SA as a read would show it, without what is the same to the kernel when it is left out."""
    shown = dialect.as_shown(sa.as_written())
    return replace(shown, selector=None) if shown.selector == any_selector(shown.source.version) else shown


def apply(dialect: Dialect, databases: Databases, *, margin: int = 0) -> Operation[Differences]:
    """Add everything, or nothing: what is there already is refused. An SA with a `replay` goes on at its numbers.

    `margin` is how far outbound sequence numbers are put ahead, for SAs that have sent more since they were read. SAs
    are added before the policies that want them, the default policy is set at the end. Raises what `check` raises, and
    `KernelError` with a note that says that everything is as it was.
    """
    databases = _put_ahead(databases, margin)
    check(databases, dialect)
    default = None
    if databases.default_policy is not None:
        present = yield from ask_for(dialect, dialect.get_default_policy())
        default = (present, databases.default_policy) if present != databases.default_policy else None
    differences = Differences(databases.sas or (), added_policies=databases.policies or (), default_policy=default)
    yield from _make(dialect, differences)
    return differences


def sync(dialect: Dialect, databases: Databases, *, margin: int = 0) -> Operation[Differences]:
    """Change only what differs from a document, and delete what is not in it; all or nothing.

    SAs that are as they shall be are not touched. One of which the kernel cannot change what differs is deleted and
    added again; where its keys are the same, it goes on ahead of its sequence number, so that none comes twice. What is
    new comes first, what is deleted last. Raises what `apply` raises.
    """
    databases = _put_ahead(databases, margin)
    check(databases, dialect)
    differences = compare(databases, (yield from read(dialect)), dialect)
    yield from _make(dialect, differences)
    return differences


def _put_ahead(databases: Databases, margin: int) -> Databases:
    return (
        databases if databases.sas is None else replace(databases, sas=tuple(ahead(sa, margin) for sa in databases.sas))
    )


def _make(dialect: Dialect, differences: Differences) -> Operation[None]:
    journal = Journal(dialect)
    in_place = [(old, new) for old, new in differences.changed_sas if _is_update(old, new)]
    replaced = [(old, new) for old, new in differences.changed_sas if not _is_update(old, new)]
    steps = [
        journal.do(journal.addition(sa) for sa in differences.added_sas),
        journal.do(journal.update(old, new) for old, new in in_place),
        *(_replace(dialect, journal, old, new) for old, new in replaced),
        journal.do(journal.policy_update(old, new) for old, new in differences.changed_policies),
        journal.do(journal.policy_addition(policy) for policy in differences.added_policies),
        journal.do(journal.policy_deletion(policy) for policy in differences.deleted_policies),
        *(_delete(dialect, journal, sa) for sa in differences.deleted_sas),
    ]
    if differences.default_policy is not None:
        steps.append(journal.do([journal.default_policy(*differences.default_policy)]))
    yield from attempt(journal, steps)


def _is_update(old: SA, new: SA) -> bool:
    """Return whether the kernel changes in place all in which two SAs differ: limits, and an encapsulation's ports."""
    if type(old.encap) is not type(new.encap):
        return False
    return replace(old.as_written(), lifetime=new.lifetime, encap=new.encap) == new.as_written()


def _replace(dialect: Dialect, journal: Journal, old: SA, new: SA) -> Operation[None]:
    """Delete an SA and add it as it shall be, in one datagram where that can be."""
    old = yield from ask(dialect.get_sa(old.id))
    if hides_keys(old):
        raise InvalidRequestError(f"replace {old}: the kernel hides its keys, so that it could not be put back")
    if (old.encryption, old.authentication) == (new.encryption, new.authentication):
        if old.replay is None:
            raise UnsupportedError(
                "sequence numbers",
                f"replace {old}: under the same key none may come twice, and PF_KEY can neither read nor set them; "
                "open the xfrm engine, or give other keys",
            )
        new = ahead_of_now(replace(new, replay=_fitted(old.replay, old, new), usage=old.usage))
    yield from journal.do((journal.deletion(old), journal.addition(new)), one_datagram=True)


def _fitted(replay: Replay, old: SA, new: SA) -> Replay:
    """Return how far an SA is, for one whose window may be another: there every number up to the highest is taken."""
    if (old.replay_window, old.esn) == (new.replay_window, new.esn):
        return replay
    return Replay(replay.outbound, replay.inbound, (0xFFFFFFFF,) * ((new.replay_window + 31) // 32))


def _delete(dialect: Dialect, journal: Journal, sa: SA) -> Operation[None]:
    """Delete an SA that may be gone already; it is read again, since its sequence numbers go on."""
    try:
        sa = yield from ask(dialect.get_sa(sa.id))
        yield from journal.do((journal.deletion(sa),))
    except NotFoundError:
        return
