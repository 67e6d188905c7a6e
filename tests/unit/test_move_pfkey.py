"""The operation that moves, over PF_KEY: one message after another, without a bracket."""

import errno
from dataclasses import replace
from ipaddress import ip_address

import pytest

from pfkeyx import (
    SA,
    AddressPair,
    AddressUpdate,
    Engine,
    Loss,
    Method,
    MigrationError,
    Mode,
    Policy,
    SAId,
    UdpEncap,
    UnsupportedError,
)
from pfkeyx.model import any_selector
from pfkeyx.pfkey import PfkeyDialect
from pfkeyx.pfkey.answers import NOT_TAKEN_IN
from pfkeyx.testing import Refusal, ScriptedKernel
from tests.unit.samples import CBC, NEW_LOCAL, POLICIES, REMOTE, SHA256_96, TUNNEL, UPDATE
from tests.unit.test_move import Script, at_new

OUT, IN, FORWARD = POLICIES
OUTBOUND = TUNNEL.outbound(0xC0FFEE01, CBC, SHA256_96)
INBOUND = TUNNEL.inbound(0xC0FFEE02, CBC, SHA256_96)
SAS = [OUTBOUND, INBOUND]
NEW_OUTBOUND = replace(OUTBOUND, source=NEW_LOCAL)
NEW_INBOUND = replace(INBOUND, id=SAId(NEW_LOCAL, INBOUND.id.spi))
ACCEPT = {Loss.SEQUENCE_REPEAT}


def state(sas: list[SA], policies: list[Policy]) -> Script:
    """Return what is read: SAs to the old local address, to the new one, and to the remote one, and policies.

    Policies have the indexes that a kernel gives them.
    """
    indexed = [replace(policy, index=8 * number + policy.direction) for number, policy in enumerate(policies, 1)]
    return [("dump SAs", sas), ("dump SAs", []), ("dump SAs", []), ("dump policies", indexed)]


PROBES: Script = [("probe", Refusal(errno.EINVAL, NOT_TAKEN_IN)), ("probe", Refusal(errno.EINVAL))]
OLD_STATE = state(SAS, list(POLICIES))
NEW_STATE = state([NEW_OUTBOUND, NEW_INBOUND], [at_new(policy) for policy in POLICIES])
#: A plan looks whether each policy that moves is found without a mark.
LOOKED: Script = [("get policy", OUT)] * 3
PLANNED: Script = OLD_STATE + LOOKED
OUTWARD: Script = [("migrate policy", None), ("update policy", None)]
INWARD: Script = [("migrate policy", None), ("update policy", None), ("update policy", None)]


def engine_over(script: Script) -> tuple[ScriptedKernel, Engine]:
    kernel = ScriptedKernel(script)
    return kernel, Engine(PfkeyDialect(), kernel)


def refusing(script: Script, index: int) -> Script:
    operation, _ = script[index]
    return [*script[:index], (operation, Refusal(errno.ENODATA))]


def plan_of(sas: list[SA], update: AddressUpdate = UPDATE, policies: tuple[Policy, ...] = POLICIES) -> list[str]:
    """Return the losses of a plan, or why there is none."""
    _, engine = engine_over(PROBES + state(sas, list(policies)) + LOOKED)
    try:
        return [loss.name for loss in engine.plan_migration(update).losses]
    except UnsupportedError as error:
        return [str(error)]


def test_sas_move_with_the_policy_that_finds_them_and_nothing_is_blocked() -> None:
    kernel, engine = engine_over(PROBES + PLANNED + OUTWARD + INWARD + NEW_STATE)
    report = engine.migrate(UPDATE, accept=ACCEPT)
    assert [(operation, subject) for operation, subject, together in kernel.asked if together] == [
        ("migrate policy", OUT.id),
        ("update policy", at_new(OUT)),
        ("migrate policy", IN.id),
        ("update policy", at_new(IN)),
        ("update policy", at_new(FORWARD)),
    ]
    assert kernel.is_finished
    assert report.sas == ((OUTBOUND, NEW_OUTBOUND), (INBOUND, NEW_INBOUND))


def test_the_plan_says_what_may_be_repeated_and_why_every_other_method_cannot_do_it() -> None:
    _, engine = engine_over(PROBES + PLANNED)
    plan = engine.plan_migration(UPDATE)
    outbound, inbound = plan.sa_moves()
    assert Loss.SEQUENCE_REPEAT in outbound.losses
    assert Loss.SEQUENCE_REPEAT not in inbound.losses
    assert "block" not in str(plan)
    assert [(method, reason.split(":")[0]) for method, reason in outbound.passed_over] == [
        (Method.ADDRUPDATE, "SADB_X_ADDRUPDATE"),
        (Method.MIGRATE_STATE, "PF_KEY moves the templates of a policy, and no single SA"),
        (Method.MIGRATE, "the xfrm engine has it, which sees the same SAs"),
        (Method.REPLACE, "PF_KEY sets neither sequence numbers nor counters"),
    ]


@pytest.mark.parametrize("accept", [set(), {Loss.OFFLOAD}])
def test_nothing_is_sent_until_the_loss_is_accepted(accept: set[Loss]) -> None:
    kernel, engine = engine_over(PROBES + PLANNED)
    with pytest.raises(UnsupportedError, match=r"Loss\.SEQUENCE_REPEAT"):
        engine.migrate(UPDATE, accept=accept)
    assert kernel.is_finished


@pytest.mark.parametrize("index", [0, 1])
def test_a_refusal_on_the_way_out_is_undone(index: int) -> None:
    now = OLD_STATE if index == 0 else state([NEW_OUTBOUND, INBOUND], [at_new(OUT), IN, FORWARD])
    back: Script = [("update policy", None)] * 2 + ([("migrate policy", None)] if index else []) + OUTWARD[1:]
    kernel, engine = engine_over(PROBES + PLANNED + refusing(OUTWARD, index) + now + back + OLD_STATE)
    with pytest.raises(MigrationError) as caught:
        engine.migrate(UPDATE, accept=ACCEPT)
    assert caught.value.rolled_back
    assert kernel.is_finished


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_refusal_on_the_way_in_is_undone(index: int) -> None:
    sas = [NEW_OUTBOUND, NEW_INBOUND if index else INBOUND]
    now = state(sas, [at_new(OUT), at_new(IN) if index else IN, FORWARD])
    back: Script = ([("migrate policy", None)] if index else []) + [("update policy", None)] * 2 + OUTWARD
    kernel, engine = engine_over(PROBES + PLANNED + OUTWARD + refusing(INWARD, index) + now + back + OLD_STATE)
    with pytest.raises(MigrationError) as caught:
        engine.migrate(UPDATE, accept=ACCEPT)
    assert caught.value.rolled_back
    assert kernel.is_finished


def test_a_move_that_stopped_after_its_sa_is_finished_by_the_same_call() -> None:
    found = state([NEW_OUTBOUND, INBOUND], [at_new(OUT), IN, FORWARD])
    kernel, engine = engine_over(PROBES + found + LOOKED[1:] + INWARD + NEW_STATE)
    # The number that could be repeated has been sent.
    engine.migrate(UPDATE)
    assert kernel.is_finished


def test_what_pf_key_cannot_move_is_refused_with_the_reason() -> None:
    (encapsulated,) = plan_of([replace(sa, encap=UdpEncap()) for sa in SAS])
    assert "PF_KEY cannot say the encapsulation" in encapsulated
    (several,) = plan_of([*SAS, replace(OUTBOUND, id=SAId(REMOTE, 0xC0FFEE03))])
    assert "newest of several" in several
    optional = replace(OUT, templates=(replace(OUT.templates[0], optional=True),))
    (unsafe,) = plan_of(SAS, policies=(optional, IN, FORWARD))
    assert "would leave in clear" in unsafe
    (in_transport_mode,) = plan_of([replace(sa, mode=Mode.TRANSPORT) for sa in SAS])
    assert "in transport mode" in in_transport_mode


def test_an_sa_that_goes_to_ipv6_is_compared_with_what_pf_key_can_show_of_it() -> None:
    new = AddressPair(ip_address("2001:db8::2"), ip_address("2001:db8::1"))
    sas = [OUTBOUND.moved(new.local, new.remote, None), INBOUND.moved(new.remote, new.local, None)]
    shown = [replace(sa, selector=None) for sa in sas]
    policies = [
        replace(
            policy,
            templates=tuple(replace(t, source=sa.source, destination=sa.destination) for t in policy.templates),
        )
        for policy, sa in zip(POLICIES, (sas[0], sas[1], sas[1]), strict=True)
    ]
    # The remote end changes too, so that its new place is read as well.
    place: Script = [("dump SAs", [])]
    script = PROBES + place + PLANNED + OUTWARD + INWARD + place + state(shown, policies)
    kernel, engine = engine_over(script)
    engine.migrate(AddressUpdate(UPDATE.old, new), accept=ACCEPT)
    assert kernel.is_finished


def test_a_selector_of_everything_is_not_shown_with_its_ip_version() -> None:
    dialect = PfkeyDialect()
    for version in (4, 6):
        assert dialect.as_shown(replace(OUTBOUND, selector=any_selector(version))) == OUTBOUND
    narrow = replace(OUTBOUND, selector=POLICIES[0].selector)
    assert dialect.as_shown(narrow) == narrow
