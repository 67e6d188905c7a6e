"""What a kernel wants of a key manager, and how it is given, over each kernel interface where there is no other."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest

from pfkeyx import SA, Acquire, Direction, Engine, EventStream, SAId, SAState
from pfkeyx.opening import EngineName
from tests.kernel.manager import Host
from tests.kernel.values import ADDRESSES, authentication, encryption, make_policies

_PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Manager:
    """A host, and a key manager on it that listens for what is wanted."""

    host: Host
    engine: Engine
    acquires: EventStream

    def next(self) -> Acquire:
        """Return what is wanted next."""
        event = self.acquires.next(_PATIENCE_S)
        assert isinstance(event, Acquire), f"nothing was wanted in {_PATIENCE_S} s"
        return event


@pytest.fixture(scope="module", params=["xfrm", "pfkey"])
def only_manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    """Set up a key manager for all tests: to register with PF_KEY takes an emulated kernel long."""
    name: EngineName = request.param
    with ExitStack() as stack:
        host = Host(stack)
        engine = stack.enter_context(host.open(name))
        acquires = stack.enter_context(host.namespace.call(lambda: engine.watch(Acquire)))
        yield Manager(host, engine, acquires)


@pytest.fixture
def manager(only_manager: Manager) -> Manager:
    """Return the key manager, its host without SAs and policies."""
    only_manager.engine.flush_sas()
    only_manager.engine.flush_policies()
    return only_manager


def test_a_packet_that_wants_an_sa_is_told_once_with_the_index_of_its_policy(manager: Manager, family: int) -> None:
    policies, at = make_policies(family), ADDRESSES[family]
    manager.engine.add_policies(policies)
    manager.host.send_packet(family)
    acquire = manager.next()
    assert (acquire.source, acquire.destination) == (at.roaming, at.gateway)
    assert manager.engine.get_policy(acquire.policy_id).as_written() == policies[0]
    manager.host.send_packet(family)
    assert manager.acquires.next(timeout_s=0) is None


def test_a_tunnel_is_set_up_from_its_policy_as_the_draft_has_it(manager: Manager, family: int) -> None:
    """draft-schilcher-mobike-pfkey-extension-01 §4: the id of the SPD entry leads from an acquire to its selectors."""
    engine, (out, into, _) = manager.engine, make_policies(family)
    engine.add_policies([out, into])
    manager.host.send_packet(family)
    acquire = manager.next()
    policy = engine.get_policy(acquire.policy_id)
    assert (policy.selector, policy.direction) == (out.selector, Direction.OUT)
    (template,) = policy.templates

    spi = engine.get_spi(acquire.source, acquire.destination, reqid=template.reqid, sequence=acquire.sequence)
    sa_out = SA(
        SAId(acquire.destination, spi),
        acquire.source,
        reqid=template.reqid,
        encryption=encryption(),
        authentication=authentication(),
    )
    engine.update_sa(sa_out)
    sa_in = replace(sa_out, id=SAId(acquire.source, 0x2001), source=acquire.destination)
    engine.add_sa(sa_in)

    manager.host.send_packet(family)
    assert manager.acquires.next(timeout_s=0) is None
    found = engine.get_sa(sa_out.id)
    assert (found.as_written(), found.state) == (sa_out, SAState.MATURE if engine.name == "pfkey" else None)
    assert found.usage is not None
    assert found.usage.packets == 1
    assert {sa.id for sa in engine.dump_sas()} == {sa_out.id, sa_in.id}
