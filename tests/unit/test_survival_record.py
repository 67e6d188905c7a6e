"""The committed record of what survives a move on each kernel, which the documentation's tables are made from."""

from lab import kernels
from pfkeyx import Method
from tests.kernel.record import SURVIVAL, claims_by_kernel
from tests.kernel.survival import CASES, METHODS, claim
from tests.survival_page import Survey

#: What these kernels cannot have, or do not tell.
_NOT_TRIED = {"security context", "offload to hardware"}
_NOT_TOLD = {"6.1": {"time of last use"}}


def test_every_kernel_of_the_matrix_has_a_record_as_it_comes_and_with_the_module() -> None:
    stock = kernels.load().kernels
    assert set(claims_by_kernel(SURVIVAL)) == {*stock, *(name + kernels.ADDRUPDATE for name in stock)}


def test_every_property_is_in_the_record_of_each_kernel_by_each_method_that_it_has() -> None:
    for kernel, claims in claims_by_kernel(SURVIVAL).items():
        lacks = kernels.load().kernel(kernel).lacks
        assert set(claims) == {
            claim(it, method, family)
            for case in CASES
            for it in case.properties
            for method, needed in METHODS.items()
            for family in case.families
            if needed.value not in lacks and (case.feature is None or case.feature.value not in lacks)
        }


def test_everything_is_tried_but_what_these_kernels_cannot_have() -> None:
    for kernel, claims in claims_by_kernel(SURVIVAL).items():
        not_tried = {
            name.partition(": ")[2].partition(" by ")[0] for name, outcome in claims.items() if outcome == "not tried"
        }
        assert not_tried == _NOT_TRIED | _NOT_TOLD.get(kernels.load().kernel(kernel).stock, set())


def test_no_two_properties_have_one_name() -> None:
    names = [(it.table, it.title) for case in CASES for it in case.properties]
    assert len(set(names)) == len(names)


def test_what_kernels_and_ip_versions_agree_in_is_said_once() -> None:
    spi, _, keys, *_ = CASES[0].properties
    old, new = {4: "kept", 6: "refused: it is late"}, {4: "kept", 6: "kept"}
    claims = {
        kernel: {claim(it, Method.MIGRATE, family): said[family] for it, said in told.items() for family in said}
        for kernel, told in {"6.1": {spi: old, keys: old}, "7": {spi: old, keys: new}}.items()
    }
    survey = Survey(claims)
    rows = {title: list(rows) for title, rows in survey.tables()}["SAs"]
    column = rows[0].index("`MIGRATE`")
    assert rows[0][column - 1] == "`MIGRATE_STATE` (7)"
    assert rows[1][column] == "IPv4 kept, IPv6 refused [1]"
    assert rows[3][column] == "6.1: IPv4 kept, IPv6 refused [1]; 7: kept"
    assert survey.reasons == ["it is late"]
