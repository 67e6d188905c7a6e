"""What the matrix says of a kernel is what the probes find on it."""

import pytest

from pfkeyx import Engine, Feature

#: What a dialect, and not the kernel, decides.
_PFKEY_LACKS = {Feature.XFRM, Feature.AEAD, Feature.ESN, Feature.MARK, Feature.IF_ID, Feature.MIGRATE_STATE}


@pytest.mark.parametrize("feature", [feature for feature in Feature if feature is not Feature.PFKEY])
def test_a_kernel_has_over_xfrm_what_the_matrix_says_it_must_have(feature: Feature) -> None:
    with Engine.open("xfrm") as engine:
        before = engine.dump_sas(), engine.dump_policies()
        support = engine.supports(feature)
        assert (engine.dump_sas(), engine.dump_policies()) == before
    if support.available is False:
        # The audit fails the run where the matrix says that this kernel must have it.
        pytest.skip(f"kernel lacks {feature.value}: {support.reason}")
    assert support.available


@pytest.mark.parametrize("feature", list(Feature))
def test_over_pf_key_a_kernel_has_what_pf_key_can_express(feature: Feature) -> None:
    with Engine.open("pfkey") as engine:
        assert engine.supports(feature).available is (feature not in _PFKEY_LACKS)
