"""Of tunnels that are alike one is planned, and the others are moved like it: the plan is what each would have."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from random import Random

import pytest

from pfkeyx import (
    AES_CTR,
    SA,
    Action,
    AddressUpdate,
    AlreadyExistsError,
    Encryption,
    Key,
    Lifetime,
    Limit,
    Mark,
    Method,
    MigrationPlan,
    Mode,
    PfkeyxError,
    Policy,
    Replay,
    Template,
    Tunnel,
    UdpEncap,
    Usage,
)
from pfkeyx.migration import planning
from pfkeyx.migration.alike import Likeness, find_alike
from pfkeyx.migration.methods import Supports
from pfkeyx.migration.planning import make_plan
from pfkeyx.model import IPAddress
from pfkeyx.xfrm import codec
from pfkeyx.xfrm.entry import PolicyEntry, SAEntry
from tests.unit.samples import EVERY_METHOD, GCM, NO_MIGRATE_STATE
from tests.unit.xfrm_bytes import told_policy, told_sa

LOCAL, NEW_LOCAL, ELSEWHERE = (ip_address(f"192.0.2.{number}") for number in (1, 2, 3))
REMOTES, INNERS = IPv4Address("100.64.0.0"), IPv4Address("10.0.0.0")
UPDATE = AddressUpdate(LOCAL, NEW_LOCAL)
HIDDEN = Encryption(GCM.algorithm, Key(bytes(36)))
TUNNELS = 24
GATEWAYS = 2000 if os.environ.get("SOAK") else 40

Part = tuple[list[SA], list[Policy]]


def tunnel(number: int, local: IPAddress = LOCAL) -> Part:
    """Return the SAs and policies of one tunnel of a gateway, with a key and counts of its own."""
    value = Tunnel(local, REMOTES + number, ip_network("172.16.0.0/24"), ip_network(INNERS + number), 1 + 3 * number)
    suite = Encryption(GCM.algorithm, Key(bytes((number + 1,)) * 36))
    sas = [value.outbound(0x1000 + number, suite), value.inbound(0x2000 + number, suite)]
    sas = [replace(sa, usage=Usage(number, 1, 1, 1), replay=Replay(number, 0, (0,))) for sa in sas]
    return sas, [replace(policy, index=8 * number + 1) for policy in value.policies()]


def each_sa(change: Callable[[SA], SA]) -> Callable[[Part], Part]:
    return lambda part: (list(map(change, part[0])), part[1])


def each_policy(change: Callable[[Policy], Policy]) -> Callable[[Part], Part]:
    return lambda part: (part[0], list(map(change, part[1])))


def each_template(change: Callable[[Template], Template]) -> Callable[[Part], Part]:
    return each_policy(lambda policy: replace(policy, templates=tuple(map(change, policy.templates))))


def between_hosts(part: Part) -> Part:
    sas, policies = part
    hosts = [replace(policy, templates=(Template(mode=Mode.TRANSPORT, reqid=9999),)) for policy in policies]
    return sas, [
        replace(policy, selector=replace(policy.selector, source=ip_network(LOCAL), destination=ip_network(ELSEWHERE)))
        for policy in hosts[:1]
    ] + policies


def between_new_hosts(part: Part) -> Part:
    """Return a tunnel for what goes between two hosts of which one is the gateway's new end."""
    sas, policies = part
    selector = replace(policies[0].selector, source=ip_network(NEW_LOCAL), destination=ip_network(ELSEWHERE))
    return sas, [replace(policies[0], selector=selector), *policies[1:]]


#: What a gateway may have beside plain tunnels.
ODDITIES: Sequence[Callable[[Part], Part]] = (
    each_sa(lambda sa: replace(sa, reqid=0)),
    each_sa(lambda sa: replace(sa, encap=UdpEncap())),
    each_sa(lambda sa: replace(sa, encryption=HIDDEN)),
    each_sa(lambda sa: replace(sa, encryption=Encryption(AES_CTR, Key(bytes(range(36)))))),
    each_sa(lambda sa: replace(sa, id=replace(sa.id, mark=Mark(7)))),
    each_sa(lambda sa: replace(sa, lifetime=Lifetime(soft=Limit(octets=5)))),
    each_sa(lambda sa: replace(sa, mode=Mode.TRANSPORT)),
    each_sa(lambda sa: replace(sa, replay=Replay((1 << 32) - 2, 0, (0,)))),
    each_sa(lambda sa: replace(sa, id=replace(sa.id, spi=0))),
    each_policy(lambda policy: replace(policy, if_id=7)),
    each_policy(lambda policy: replace(policy, mark=Mark(7))),
    each_policy(lambda policy: replace(policy, action=Action.BLOCK)),
    each_policy(lambda policy: replace(policy, priority=7)),
    each_template(lambda template: replace(template, optional=True)),
    each_template(lambda template: replace(template, reqid=0)),
    each_template(lambda template: replace(template, spi=0x1000)),
    each_policy(lambda policy: replace(policy, templates=())),
    each_policy(lambda policy: replace(policy, templates=(*policy.templates, Template(mode=Mode.TRANSPORT, reqid=5)))),
    lambda part: ([*part[0], *(replace(sa, id=replace(sa.id, spi=sa.id.spi + 0x9000)) for sa in part[0])], part[1]),
    lambda part: (part[0][:1], part[1]),
    lambda part: (part[0], part[1][:2]),
    lambda part: (part[0], []),
    lambda part: ([], part[1]),
    between_hosts,
    between_new_hosts,
)


def gateway(random: Random) -> Part:
    """Return what a gateway has, some of its tunnels with something that others do not have."""
    sas: list[SA] = []
    policies: list[Policy] = []
    for number in range(TUNNELS):
        local = random.choice((LOCAL,) * 9 + (NEW_LOCAL, ELSEWHERE))
        part = tunnel(number, local)
        if random.random() < 0.2:
            part = random.choice(ODDITIES)(part)
        sas += part[0]
        policies += part[1]
    if random.random() < 0.3:  # a policy that may use others' SAs
        first = tunnel(0)[1][0]
        template = replace(first.templates[0], reqid=random.choice((0, 1 + 3 * random.randrange(TUNNELS))))
        template = replace(template, source=ip_address("0.0.0.0"), destination=ip_address("0.0.0.0"))
        selector = replace(first.selector, destination=ip_network("10.9.0.0/16"))
        policies.append(replace(first, selector=selector, templates=(template,)))
    return sas, policies


def told(part: Part) -> Part:
    """Return what a kernel has told."""
    sas, policies = part
    return (
        [codec.read_sa(told_sa(replace(sa, usage=None))) for sa in sas],
        [codec.read_policy(told_policy(policy)) for policy in policies],
    )


def untold(part: Part) -> Part:
    """Return the same as values that were read, but of nothing that could be compared or written back."""
    sas, policies = part
    return (
        [codec.decode_sa(SAEntry(told_sa(replace(sa, usage=None)))) for sa in sas],
        [codec.decode_policy(PolicyEntry(told_policy(policy))) for policy in policies],
    )


def outcome(part: Part, supports: Supports, method: Method | None = None) -> MigrationPlan | type[PfkeyxError]:
    try:
        return make_plan(UPDATE, *part, supports, method)
    except PfkeyxError as error:
        return type(error)


def assert_alike(plan: MigrationPlan, other: MigrationPlan) -> None:
    assert plan == other
    assert str(plan) == str(other)
    for mine, others in zip(plan.policy_moves(), other.policy_moves(), strict=True):
        assert (mine.opened, mine.blocked, mine.reversed()) == (others.opened, others.blocked, others.reversed())
        assert (mine.has_optional, mine.renamed, mine.changes) == (others.has_optional, others.renamed, others.changes)
        assert (mine.before.handle, mine.after.handle) == (mine.before.id.handle, mine.after.id.handle)
    for move in plan.sa_moves():
        assert (move.before.handle, move.after.handle) == (move.before.id.handle, move.after.id.handle)


@pytest.mark.parametrize("supports", [EVERY_METHOD, NO_MIGRATE_STATE], ids=["MIGRATE_STATE", "MIGRATE"])
@pytest.mark.parametrize("method", [None, Method.REPLACE])
def test_any_gateway_has_the_plan_that_it_would_have_tunnel_by_tunnel(
    supports: Supports, method: Method | None
) -> None:
    random, plans = Random(5), 0
    for _ in range(GATEWAYS):
        part = gateway(random)
        here, there = outcome(told(part), supports, method), outcome(untold(part), supports, method)
        if isinstance(here, MigrationPlan) and isinstance(there, MigrationPlan):
            assert_alike(here, there)
            plans += 1
        else:
            assert here is there
    assert plans > 5


def planned_singly(monkeypatch: pytest.MonkeyPatch, part: Part) -> tuple[MigrationPlan, int]:
    """Return a plan, and how many SAs were planned one by one."""
    counts: list[int] = []
    plan_each = planning._plan_each

    def counting(update: AddressUpdate, sas: Sequence[SA], *rest: object) -> object:
        counts.append(len(sas))
        return plan_each(update, sas, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(planning, "_plan_each", counting)
    plan = make_plan(UPDATE, *told(part), EVERY_METHOD)
    return plan, sum(counts)


def joined(parts: Iterable[Part]) -> Part:
    parts = list(parts)
    return [sa for sas, _ in parts for sa in sas], [policy for _, policies in parts for policy in policies]


def test_of_a_plain_gateway_one_tunnel_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, singly = planned_singly(monkeypatch, joined(map(tunnel, range(TUNNELS))))
    assert (len(plan.steps), singly) == (2 * TUNNELS, 2)


def test_what_has_other_limits_is_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    sas, policies = joined(map(tunnel, range(TUNNELS)))
    sas[:4] = [replace(sa, lifetime=Lifetime(hard=Limit(seconds=9))) for sa in sas[:4]]
    plan, singly = planned_singly(monkeypatch, (sas, policies))
    assert (len(plan.steps), singly) == (2 * TUNNELS, 4)


def test_one_tunnel_is_alike_to_nothing() -> None:
    assert find_alike(UPDATE, *told(tunnel(0))) is None


def test_an_sa_that_another_policy_may_use_is_planned_with_that() -> None:
    sas, policies = joined(map(tunnel, range(TUNNELS)))
    template = replace(policies[0].templates[0], source=ip_address("0.0.0.0"), reqid=1 + 3 * 5)
    selector = replace(policies[0].selector, destination=ip_network("10.9.0.0/16"))
    wide = replace(policies[0], selector=selector, templates=(replace(template, destination=REMOTES + 5),))
    found = find_alike(UPDATE, *told((sas, [*policies, wide])))
    assert isinstance(found, Likeness)
    assert 0x1005 in {sa.id.spi for sa in found.sas}
    assert 0x1006 not in {sa.id.spi for sa in found.sas}


def test_a_name_that_is_taken_is_found_among_all() -> None:
    own = ip_network("172.16.0.1")
    narrowed = each_policy(lambda it: replace(it, selector=replace(it.selector, source=own)))
    sas, policies = joined((*(narrowed(tunnel(number)) for number in range(TUNNELS)), between_new_hosts(tunnel(50))))
    outbound = replace(tunnel(60)[0][0], mode=Mode.TRANSPORT, id=replace(sas[0].id, destination=ELSEWHERE, spi=0x777))
    (template,) = policies[0].templates
    template = replace(template, mode=Mode.TRANSPORT, source=None, destination=None, reqid=outbound.reqid)
    selector = replace(policies[0].selector, source=ip_network(LOCAL), destination=ip_network(ELSEWHERE))
    hosts = replace(policies[0], selector=selector, templates=(template,))
    for part in (told, untold):
        with pytest.raises(AlreadyExistsError, match="another policy has the new selector"):
            make_plan(UPDATE, *part(([*sas, outbound], [*policies, hosts])), EVERY_METHOD)


def test_an_sa_is_not_alone_though_what_is_beside_it_is_alike_to_others() -> None:
    sas, policies = joined(map(tunnel, range(TUNNELS)))
    beside = replace(sas[6], reqid=999, id=replace(sas[6].id, spi=0x888))
    (template,) = policies[9].templates
    elsewhere = replace(template, destination=ip_address("198.51.100.9"), reqid=0)
    selector = replace(policies[9].selector, destination=ip_network("10.9.9.9"))
    its = replace(policies[9], selector=selector, templates=(elsewhere, replace(template, reqid=999)))
    for order in (1, -1):
        part = [*sas, beside][::order], [*policies, its]
        assert outcome(told(part), NO_MIGRATE_STATE) == outcome(untold(part), NO_MIGRATE_STATE)


def test_a_place_that_is_taken_is_found_among_all() -> None:
    sas, policies = joined(map(tunnel, range(TUNNELS)))
    occupant = replace(tunnel(99, NEW_LOCAL)[0][1], id=replace(sas[-1].id, destination=NEW_LOCAL))
    with pytest.raises(AlreadyExistsError, match="has the same SPI at the new address"):
        make_plan(UPDATE, *told(([*sas, occupant], policies)), EVERY_METHOD)
