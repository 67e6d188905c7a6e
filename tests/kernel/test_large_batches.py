"""More in one batch than a netlink socket sends at once, on a kernel."""

from pfkeyx import Engine
from pfkeyx.operation import Batch, Operation, run
from pfkeyx.xfrm import XfrmDialect, XfrmTransport
from tests.kernel.load import MANY, owned_policy

AMOUNT = 3 * MANY // 2


def test_a_batch_of_one_datagram_may_be_larger_than_the_kernel_takes_at_once() -> None:
    transport = XfrmTransport()
    try:
        assert run(_update_policies(), transport) == [None] * AMOUNT
    finally:
        transport.close()
    with Engine.open("xfrm") as engine:
        assert engine.get_spd_info().outbound == AMOUNT


def _update_policies() -> Operation[list[None]]:
    dialect = XfrmDialect()
    requests = tuple(dialect.update_policy(owned_policy(1, number)) for number in range(AMOUNT))
    assert sum(len(request.wire.message) for request in requests) > 212_992
    replies: list[None] = yield Batch(requests, one_datagram=True)
    return replies
