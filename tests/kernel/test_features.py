"""What the matrix says of a kernel is what the probes find on it."""

import pytest

from pfkeyx import Engine, Feature
from pfkeyx.opening import EngineName

#: What a dialect, and not the kernel, decides.
_PFKEY_HAS = {Feature.PFKEY, Feature.REGISTER, Feature.ACQUIRE_ANSWER, Feature.MIGRATE}
_XFRM_LACKS = {Feature.PFKEY, Feature.REGISTER, Feature.ACQUIRE_ANSWER}
#: Messages that every Linux so far has a number for, and no more.
_REFUSED = {feature for feature in Feature if feature.name.startswith("SADB_")}


@pytest.mark.parametrize("feature", [feature for feature in Feature if feature not in _XFRM_LACKS | _REFUSED])
def test_a_kernel_has_over_xfrm_what_the_matrix_says_it_must_have(feature: Feature) -> None:
    with Engine.open("xfrm") as engine:
        before = engine.dump_sas(), engine.dump_policies()
        support = engine.supports(feature)
        assert (engine.dump_sas(), engine.dump_policies()) == before
    if support.available is False:
        # The audit fails the run where the matrix says that this kernel must have it.
        pytest.skip(f"kernel lacks {feature.value}: {support.reason}")
    assert support.available


@pytest.mark.parametrize("feature", sorted(_XFRM_LACKS, key=str))
def test_over_xfrm_pf_keys_own_features_are_not_there(feature: Feature) -> None:
    with Engine.open("xfrm") as engine:
        assert engine.supports(feature).available is False


@pytest.mark.parametrize("feature", [feature for feature in Feature if feature not in _REFUSED | {Feature.ADDRUPDATE}])
def test_over_pf_key_a_kernel_has_what_pf_key_can_express(feature: Feature) -> None:
    with Engine.open("pfkey") as engine:
        assert engine.supports(feature).available is (feature in _PFKEY_HAS)


def test_a_kernel_has_addrupdate_where_the_matrix_says_so() -> None:
    with Engine.open("pfkey") as engine:
        before = engine.dump_sas(), engine.dump_policies()
        support = engine.supports(Feature.ADDRUPDATE)
        assert (engine.dump_sas(), engine.dump_policies()) == before
    if support.available is False:
        # The audit fails the run where the matrix says that this kernel must have it.
        pytest.skip(f"kernel lacks addrupdate: {support.reason}")
    assert support.available


@pytest.mark.parametrize("feature", sorted(_REFUSED, key=str))
@pytest.mark.parametrize("name", ["xfrm", "pfkey"])
def test_what_linux_refuses_is_known_with_its_reason(name: EngineName, feature: Feature) -> None:
    with Engine.open(name) as engine:
        before = engine.dump_sas(), engine.dump_policies()
        support = engine.supports(feature)
        assert (engine.dump_sas(), engine.dump_policies()) == before
    assert support.available is False
    assert name == "xfrm" or support.reason.startswith(f"{feature.name}: Linux ")
