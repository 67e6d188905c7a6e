"""A tunnel as both of its ends see it."""

from dataclasses import replace

from pfkeyx import UdpEncap
from tests.unit.samples import GCM, TUNNEL


def test_what_one_end_sends_the_other_expects() -> None:
    here = replace(TUNNEL, encap=UdpEncap(4500, 40000))
    there = here.reversed()
    assert there.reversed() == here
    assert there.inbound(0x100, GCM) == here.outbound(0x100, GCM)
    assert there.outbound(0x200, GCM) == here.inbound(0x200, GCM)
    out, into, _ = here.policies()
    assert [(policy.selector, policy.templates) for policy in there.policies()[:2]] == [
        (policy.selector, policy.templates) for policy in (into, out)
    ]
