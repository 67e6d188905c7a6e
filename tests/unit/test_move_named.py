"""The operation that moves SAs and policies which are all named: what it reads, and that it reads no others."""

import errno
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from pfkeyx import (
    AES_CTR,
    SA,
    Action,
    AddressPair,
    AddressUpdate,
    AlreadyExistsError,
    Direction,
    Encryption,
    Engine,
    InvalidRequestError,
    KernelError,
    Key,
    Mark,
    Method,
    MigrationError,
    MigrationPlan,
    Mode,
    Policy,
    SAId,
    Selector,
    Template,
)
from pfkeyx.migration.reading import FEW
from pfkeyx.model import IPAddress
from pfkeyx.operation import Request
from pfkeyx.testing import Refusal, ScriptedKernel
from pfkeyx.xfrm import XfrmDialect
from tests.unit.samples import INBOUND, LOCAL, NEW_LOCAL, OUTBOUND, POLICIES, REMOTE, SAS, SECRET, UPDATE
from tests.unit.test_move import (
    BRACKET,
    FOUND,
    NEW_INBOUND,
    NEW_OUTBOUND,
    NEW_POLICIES,
    NEW_SAS,
    OLD_STATE,
    POLICIES_BACK,
    PROBES,
    WHOLE,
    Script,
    at_new,
    migrate,
    refused,
)

OUT, IN, FORWARD = POLICIES
#: An inbound SA is looked for at both of its destinations.
SA_IDS = [OUTBOUND.id, INBOUND.id, NEW_INBOUND.id]
NO_MIGRATE_STATE: Script = [("probe", Refusal(errno.EINVAL)), ("probe", Refusal(errno.EINVAL))]


def naming(sas: Sequence[SA], policies: Sequence[Policy], update: AddressUpdate = UPDATE) -> AddressUpdate:
    return replace(update, sas=tuple(sa.id for sa in sas), policies=tuple(policy.id for policy in policies))


NAMED = naming(SAS, POLICIES)


def state(sas: Sequence[SA], policies: Sequence[Policy]) -> Script:
    """Return what is read: each SA where it may be, and each policy."""
    there = {sa.id: sa for sa in sas}
    return [
        *(("get SA", there.get(it, Refusal(errno.ESRCH))) for it in SA_IDS),
        *(("get policy", policy) for policy in policies),
    ]


OLD_NAMED = state(SAS, POLICIES)


def test_what_is_named_is_read_alone_and_nothing_is_dumped() -> None:
    kernel, engine = migrate(PROBES + OLD_NAMED + WHOLE + FOUND)
    report = engine.migrate(NAMED)
    assert report.sas == ((OUTBOUND, NEW_OUTBOUND), (INBOUND, NEW_INBOUND))
    assert [after for _, after in report.policies] == NEW_POLICIES
    read_first = kernel.asked[len(PROBES) : len(PROBES + OLD_NAMED)]
    assert [subject for _, subject, _ in read_first] == [*SA_IDS, *NAMED.policies]  # type: ignore[misc]
    assert kernel.is_finished


def test_what_is_named_and_has_moved_is_not_moved_again() -> None:
    kernel, engine = migrate(PROBES + state(NEW_SAS, NEW_POLICIES))
    assert str(engine.migrate(NAMED)) == "nothing was moved: it had been moved already"
    assert kernel.is_finished


def test_a_move_of_the_named_that_stopped_between_the_steps_is_finished_by_the_same_call() -> None:
    blocked = replace(OUT, action=Action.BLOCK)
    kernel, engine = migrate(PROBES + state([NEW_OUTBOUND, INBOUND], [blocked, IN, FORWARD]))
    plan = engine.plan_migration(NAMED)
    assert {m.before: m.after for m in plan.policy_moves()}[blocked] == at_new(OUT)
    assert [m.before for m in plan.sa_moves()] == [INBOUND.as_written()]
    assert kernel.is_finished


def test_after_a_kill_named_sas_may_have_expired_and_their_policies_are_opened_all_the_same() -> None:
    blocked = replace(OUT, action=Action.BLOCK)
    kernel, engine = migrate(PROBES + state([], [blocked, IN, FORWARD]))
    assert [m.after for m in engine.plan_migration(NAMED).policy_moves()] == NEW_POLICIES
    assert kernel.is_finished


def test_a_policy_that_is_named_and_missing_is_refused_before_anything_is_sent() -> None:
    there: Script = [("get policy", OUT), ("get policy", Refusal(errno.ENOENT)), ("get policy", FORWARD)]
    kernel, engine = migrate(PROBES + OLD_NAMED[:3] + there)
    with pytest.raises(InvalidRequestError, match=f"there is no policy {IN.id}; name only"):
        engine.migrate(NAMED)
    assert kernel.is_finished


def test_a_refused_move_of_the_named_is_undone_by_what_is_read_of_them() -> None:
    halfway = state([NEW_OUTBOUND, INBOUND], NEW_POLICIES)
    undo: Script = [("update policy", None)] * 2 + BRACKET
    kernel, engine = migrate(PROBES + OLD_NAMED + refused(WHOLE, 3) + halfway + undo + OLD_NAMED)
    with pytest.raises(MigrationError, match="everything is back") as caught:
        engine.migrate(NAMED)
    assert caught.value.rolled_back
    assert kernel.is_finished


def test_a_named_policy_that_goes_while_its_sas_move_is_put_back() -> None:
    gone = [*OLD_NAMED[:3], ("get policy", Refusal(errno.ENOENT)), *OLD_NAMED[4:]]
    undo = [("update policy", None), *OLD_NAMED, *POLICIES_BACK, *OLD_NAMED]
    kernel, engine = migrate(PROBES + OLD_NAMED + refused(WHOLE, 0) + gone + undo)
    with pytest.raises(MigrationError, match="everything is back"):
        engine.migrate(NAMED)
    assert kernel.is_finished


def test_where_another_sa_stands_in_the_new_place_of_a_named_one_nothing_is_done() -> None:
    occupant = replace(NEW_INBOUND, source=ip_address("203.0.113.200"))
    kernel, engine = migrate(PROBES + state([*SAS, occupant], POLICIES))
    with pytest.raises(AlreadyExistsError, match="has the same SPI at the new address"):
        engine.migrate(NAMED)
    assert kernel.is_finished


def test_where_a_name_finds_another_sa_those_at_the_places_are_looked_at() -> None:
    # The kernel finds an SA without a mark by any.
    marked = [replace(sa, id=replace(sa.id, mark=Mark(5))) for sa in SAS]
    hidden: Script = [("get SA", OUTBOUND), ("get SA", marked[1]), ("get SA", Refusal(errno.ESRCH))]
    dumps: Script = [("dump SAs", [OUTBOUND, *marked]), *([("dump SAs", [])] * 3), ("get SA", Refusal(errno.ESRCH))]
    kernel, engine = migrate(PROBES + hidden + dumps + OLD_NAMED[3:])
    plan = engine.plan_migration(naming(marked, POLICIES))
    assert {m.before.id.mark for m in plan.sa_moves()} == {Mark(5)}
    assert kernel.is_finished


def test_of_many_names_none_is_asked_for_alone() -> None:
    many = [replace(INBOUND, id=replace(INBOUND.id, spi=0x1000 + number)) for number in range(FEW)]
    policies = [
        replace(IN, selector=replace(IN.selector, source=ip_network(f"10.2.{number}.0/24")))
        for number in range(FEW + 1)
    ]
    dumps: Script = [("dump SAs", many), *([("dump SAs", [])] * 3)]
    occupants: Script = [("get SA", Refusal(errno.ESRCH))] * FEW
    kernel, engine = migrate(PROBES + dumps + occupants + [("dump policies", policies)])
    plan = engine.plan_migration(naming(many, policies))
    assert [m.before for m in plan.policy_moves()] == sorted(policies, key=lambda policy: policy.handle)
    assert kernel.is_finished


def test_where_sas_are_found_through_policies_all_at_the_places_are_looked_at() -> None:
    rekeyed = replace(OUTBOUND, id=SAId(REMOTE, 0xC0FFEE05))
    dumps: Script = [("dump SAs", [OUTBOUND, rekeyed]), ("dump SAs", [INBOUND]), *([("dump SAs", [])] * 2)]
    policies = OLD_NAMED[3:]
    kernel, engine = migrate(NO_MIGRATE_STATE + dumps + [("get SA", Refusal(errno.ESRCH))] + policies)
    plan = engine.plan_migration(NAMED)
    assert [m.method for m in plan.sa_moves()] == [Method.REPLACE, Method.MIGRATE]
    assert [left.item for left in plan.left] == [rekeyed.as_written()]
    assert kernel.is_finished


def test_a_method_that_takes_others_along_is_looked_at_with_the_others_when_it_is_forced() -> None:
    kernel, engine = migrate(PROBES + OLD_STATE[:-1] + OLD_NAMED[3:])
    assert {m.method for m in engine.plan_migration(NAMED, Method.MIGRATE).sa_moves()} == {Method.MIGRATE}
    assert kernel.is_finished


def test_where_others_are_not_looked_at_the_plan_says_which_method_that_rules_out() -> None:
    ctr = [replace(sa, encryption=Encryption(AES_CTR, Key(SECRET[:20]))) for sa in SAS]
    _, engine = migrate(PROBES + state(ctr, POLICIES))
    first = next(engine.plan_migration(NAMED).sa_moves())
    assert first.method is Method.REPLACE
    assert "only the named are read" in dict(first.passed_over)[Method.MIGRATE]


# ---- policies between hosts ----


class Holding(ScriptedKernel):
    """A kernel that is asked for single SAs and policies alone."""

    def __init__(self, there: Iterable[SA | Policy]) -> None:
        super().__init__(PROBES)
        self._there: dict[object, SA | Policy] = {value.id: value for value in there}

    def _answer(self, request: Request[Any], one_datagram: bool) -> Any:
        if request.operation not in ("get SA", "get policy"):
            return super()._answer(request, one_datagram)
        missing = KernelError.of(errno.ESRCH, request.operation, request.subject)
        return self._there.get(request.subject, missing)


def hosts_at(local: IPAddress) -> tuple[list[SA], list[Policy]]:
    """Return what is in transport mode between two hosts, ours at an address."""
    sas = [replace(sa, mode=Mode.TRANSPORT).moved(*ends, None) for sa, ends in zip(SAS, _ways(local), strict=True)]
    template = Template(mode=Mode.TRANSPORT, reqid=7)
    selectors = [Selector(ip_network(source), ip_network(destination)) for source, destination in _ways(local)]
    return sas, [Policy(selectors[0], Direction.OUT, (template,)), Policy(selectors[1], Direction.IN, (template,))]


def _ways(local: IPAddress) -> tuple[tuple[IPAddress, IPAddress], tuple[IPAddress, IPAddress]]:
    return (local, REMOTE), (REMOTE, local)


ABROAD = ip_address("198.51.100.77")
(HOSTS, HOST_POLICIES), (NEW_HOSTS, NEW_HOST_POLICIES) = hosts_at(LOCAL), hosts_at(NEW_LOCAL)
HOSTS_ABROAD, HOST_POLICIES_ABROAD = hosts_at(ABROAD)


def plan_of(update: AddressUpdate, *there: SA | Policy) -> MigrationPlan:
    return Engine(XfrmDialect(), Holding(there)).plan_migration(update)


def policy_moves(plan: MigrationPlan) -> list[tuple[Policy, Policy]]:
    return [(move.before, move.after) for move in plan.policy_moves()]


ALL_HOST_POLICIES_MOVE = [*zip(HOST_POLICIES, NEW_HOST_POLICIES, strict=True)]


@pytest.mark.parametrize(
    "update", [naming(HOSTS, HOST_POLICIES), naming(NEW_HOSTS, NEW_HOST_POLICIES)], ids=["as before", "as after"]
)
def test_policies_between_hosts_are_found_by_either_name_before_a_move_amid_and_after(update: AddressUpdate) -> None:
    assert policy_moves(plan_of(update, *HOSTS, *HOST_POLICIES)) == ALL_HOST_POLICIES_MOVE
    amid = plan_of(update, *NEW_HOSTS, *HOST_POLICIES, *NEW_HOST_POLICIES)
    assert policy_moves(amid) == ALL_HOST_POLICIES_MOVE
    assert [*amid.sa_moves()] == []
    assert plan_of(update, *NEW_HOSTS, *NEW_HOST_POLICIES).steps == ()


def test_policies_between_hosts_are_found_where_a_move_that_was_superseded_left_them() -> None:
    earlier = AddressUpdate(UPDATE.old, AddressPair(ABROAD, REMOTE))
    update = naming(HOSTS, HOST_POLICIES).superseding(earlier)
    plan = plan_of(update, *HOSTS_ABROAD, *HOST_POLICIES_ABROAD)
    assert policy_moves(plan) == [*zip(HOST_POLICIES_ABROAD, NEW_HOST_POLICIES, strict=True)]
    assert {move.before.id for move in plan.sa_moves()} == {sa.id for sa in HOSTS_ABROAD}


def test_the_policies_of_a_whole_gateway_are_found_by_their_own_remote_ends() -> None:
    update = naming(HOSTS, HOST_POLICIES, AddressUpdate(LOCAL, NEW_LOCAL))
    assert policy_moves(plan_of(update, *HOSTS, *HOST_POLICIES)) == ALL_HOST_POLICIES_MOVE
    assert plan_of(update, *NEW_HOSTS, *NEW_HOST_POLICIES).steps == ()


def test_what_stands_where_a_policy_between_hosts_would_go_is_not_overwritten() -> None:
    occupant = replace(NEW_HOST_POLICIES[0], templates=OUT.templates)
    with pytest.raises(AlreadyExistsError, match="another policy has the new selector"):
        plan_of(naming(HOSTS, HOST_POLICIES), *HOSTS, *HOST_POLICIES, occupant)


def test_the_policy_of_a_tunnel_between_hosts_keeps_its_name_and_a_stranger_is_left_alone() -> None:
    tunnel = replace(HOST_POLICIES[0], templates=OUT.templates)
    stranger = replace(NEW_HOST_POLICIES[0], action=Action.BLOCK)
    plan = plan_of(naming([OUTBOUND], [tunnel]), OUTBOUND, tunnel, stranger)
    assert policy_moves(plan) == [(tunnel, replace(tunnel, templates=at_new(OUT).templates))]


def test_a_tunnels_policy_that_has_the_new_name_of_one_that_is_missing_is_not_taken_for_it() -> None:
    stranger = replace(NEW_HOST_POLICIES[0], templates=OUT.templates)
    with pytest.raises(InvalidRequestError, match="there is no policy out"):
        plan_of(naming(HOSTS, HOST_POLICIES), *HOSTS, stranger, HOST_POLICIES[1])


# ---- the update as a value ----


def test_policies_are_named_together_with_sas() -> None:
    with pytest.raises(InvalidRequestError, match="it names policies and no SAs"):
        replace(NAMED, sas=None)


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        ({"sas": (replace(OUTBOUND.id, spi=1 << 32),)}, "SPI 0x100000000"),
        ({"policies": (replace(IN.id, if_id=1 << 32),)}, "if_id"),
    ],
)
def test_what_cannot_be_found_by_its_name_is_refused(names: dict[str, Any], wrong: str) -> None:
    with pytest.raises(InvalidRequestError, match=wrong):
        replace(NAMED, **names)


def test_the_names_are_in_the_plan_as_json() -> None:
    _, engine = migrate(PROBES + OLD_NAMED)
    told = json.loads(json.dumps(engine.plan_migration(NAMED).as_json()))["update"]
    assert told["policies"] == ["out 10.1.0.0/16 -> 10.2.0.0/16", *(str(policy.id) for policy in (IN, FORWARD))]
    assert len(told["sas"]) == 2


def test_sas_move_alone_where_no_policy_is_named() -> None:
    kernel, engine = migrate(PROBES + OLD_NAMED[:3])
    plan = engine.plan_migration(naming(SAS, []))
    assert len(list(plan.sa_moves())) == 2
    assert policy_moves(plan) == []
    assert kernel.is_finished
