"""`pfkeyx probe` on a real kernel, as a process; the kernel looks for all its algorithms then, which takes long."""

from pfkeyx import ALGORITHMS, Engine, Feature
from tests.kernel.command import works


def test_probe_says_what_the_kernel_has_and_both_interfaces_agree(own_network_namespace: None) -> None:  # noqa: ARG001
    found = works("probe", "--json").json["engine"]
    for name in ("xfrm", "pfkey"):
        with Engine.open(name) as engine:
            for feature in Feature:
                answer = found[name]["feature"][feature.value]["available"]
                assert answer == engine.supports(feature).available
            assert engine.dump_sas() == []
        assert None not in [answer["available"] for answer in found[name]["method"].values()]
    xfrm, pfkey = (
        {name: answer["available"] for name, answer in found[engine]["algorithm"].items()}
        for engine in ("xfrm", "pfkey")
    )
    assert None not in xfrm.values()
    assert xfrm["aes-gcm"] is True
    # Each is asked in its own way; what is on both is one implementation.
    on_both = [it.name for it in ALGORITHMS if it.on_pfkey and it.on_xfrm and pfkey[it.name] is not None]
    assert {name: xfrm[name] for name in on_both} == {name: pfkey[name] for name in on_both}
