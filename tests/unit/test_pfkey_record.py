"""The committed record of what each kernel does with PF_KEY, which the documentation's tables are made from."""

from itertools import product

from lab import kernels
from tests import linux
from tests.kernel.record import FROM, PFKEY, TO, claims_by_kernel


def test_every_kernel_of_the_matrix_has_a_record() -> None:
    assert set(claims_by_kernel(PFKEY)) == set(kernels.load().kernels)


def test_every_message_and_extension_is_in_the_record_of_each_kernel_both_ways_and_in_both_ip_versions() -> None:
    subjects = [*linux.MESSAGES, *linux.EXTENSIONS]
    every = {f"{subject} {way} IPv{family}" for subject, way, family in product(subjects, (TO, FROM), (4, 6))}
    for claims in claims_by_kernel(PFKEY).values():
        assert set(claims) == every
