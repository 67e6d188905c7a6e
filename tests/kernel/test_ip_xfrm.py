"""What pfkeyx writes, `ip xfrm` shows as meant, and what `ip xfrm` writes, pfkeyx reads."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pfkeyx import SA, Algorithm, Engine, KernelError, Policy
from pfkeyx.algorithms import ALGORITHMS
from tests.kernel import ip_xfrm_policies, ip_xfrm_sas
from tests.kernel.ip_xfrm import Case, ip_does, ip_refuses, ip_shows


@pytest.fixture
def engine(own_network_namespace: None) -> Iterator[Engine]:  # noqa: ARG001
    """Open the engine that is witnessed."""
    with Engine.open("xfrm") as engine:
        yield engine


_of_each_kind_of_sa = pytest.mark.parametrize("cases", ip_xfrm_sas.KINDS.values(), ids=ip_xfrm_sas.KINDS)


@_of_each_kind_of_sa
def test_an_sa_that_is_added_is_shown_like_one_that_ip_adds(engine: Engine, cases: list[Case[SA]]) -> None:
    ip_does(case.words for case in cases)
    expected = ip_shows("state")
    ip_does(["xfrm state flush"])
    engine.add_sas(case.value for case in cases)
    assert ip_shows("state") == expected


@_of_each_kind_of_sa
def test_an_sa_that_ip_adds_is_read_as_meant(engine: Engine, cases: list[Case[SA]]) -> None:
    ip_does(case.words for case in cases)
    assert [engine.get_sa(case.value.id).as_written() for case in cases] == [case.value for case in cases]


@pytest.mark.parametrize("case", ip_xfrm_sas.RARE.values(), ids=ip_xfrm_sas.RARE)
def test_what_some_kernels_do_not_have_is_shown_or_refused_alike(engine: Engine, case: Case[SA]) -> None:
    refusal = ip_refuses([case.words])
    expected = ip_shows("state")
    ip_does(["xfrm state flush"])
    assert refusal in _refusal(engine, case.value)
    assert ip_shows("state") == expected


def test_what_no_kernel_has_is_refused_alike(engine: Engine) -> None:
    refusal = ip_refuses([ip_xfrm_sas.INVENTED.words])
    assert refusal
    assert refusal in _refusal(engine, ip_xfrm_sas.INVENTED.value)


def test_every_algorithm_is_tried() -> None:
    cases = [case for kind in (*ip_xfrm_sas.KINDS.values(), ip_xfrm_sas.RARE.values()) for case in kind]
    assert {algorithm for case in cases for algorithm in _algorithms(case.value)} >= set(ALGORITHMS)


def _algorithms(sa: SA) -> Iterator[Algorithm]:
    for keyed in (sa.encryption, sa.authentication):
        if keyed is not None:
            yield keyed.algorithm
    if sa.compression is not None:
        yield sa.compression


def test_sequence_numbers_are_restored_and_read_like_those_that_ip_sets(engine: Engine) -> None:
    cases = ip_xfrm_sas.RESTORED
    ip_does(case.words for case in cases)
    expected = ip_shows("state")
    found = [engine.get_sa(case.value.id) for case in cases]
    assert [sa.replay for sa in found] == [case.value.replay for case in cases]
    ip_does(["xfrm state flush"])
    for sa in found:
        engine.restore_sa(sa)
    assert ip_shows("state") == expected


_of_each_kind_of_policy = pytest.mark.parametrize("cases", ip_xfrm_policies.KINDS.values(), ids=ip_xfrm_policies.KINDS)


@_of_each_kind_of_policy
def test_a_policy_that_is_added_is_shown_like_one_that_ip_adds(engine: Engine, cases: list[Case[Policy]]) -> None:
    ip_does(case.words for case in cases)
    expected = ip_shows("policy")
    ip_does(["xfrm policy flush", "xfrm policy flush ptype sub"])
    engine.add_policies(case.value for case in cases)
    assert ip_shows("policy") == expected


@_of_each_kind_of_policy
def test_a_policy_that_ip_adds_is_read_as_meant(engine: Engine, cases: list[Case[Policy]]) -> None:
    ip_does(case.words for case in cases)
    found = [replace(engine.get_policy(case.value.id), usage=None) for case in cases]
    assert found == [case.value for case in cases]


def _refusal(engine: Engine, sa: SA) -> str:
    try:
        engine.add_sa(sa)
    except KernelError as error:
        return str(error)
    return ""
