"""The registry of algorithms: its numbers are the standards' and the header's, and every name leads back to its row."""

import doctest
from itertools import product

import pytest

from pfkeyx import algorithms
from pfkeyx.algorithms import (
    AES_CBC,
    AES_CCM,
    AES_CMAC,
    AES_CTR,
    AES_GCM,
    AES_GMAC,
    AES_XCBC_MAC,
    ALGORITHMS,
    AUTH_NULL,
    BLOWFISH_CBC,
    CAMELLIA_CBC,
    CAST_CBC,
    CHACHA20_POLY1305,
    DEFLATE,
    DES_CBC,
    HMAC_MD5,
    HMAC_RIPEMD160,
    HMAC_SHA1,
    HMAC_SHA256,
    HMAC_SHA256_96,
    HMAC_SHA384,
    HMAC_SHA512,
    HMAC_SM3,
    LZJH,
    LZS,
    NULL,
    SERPENT_CBC,
    SM4_CBC,
    TRIPLE_DES_CBC,
    TWOFISH_CBC,
    Algorithm,
    Kind,
    by_ikev2_id,
    by_name,
    by_pfkey_number,
    by_xfrm_name,
)
from pfkeyx.errors import InvalidRequestError
from pfkeyx.native import lib
from tests.pages import DOCS, PAGES

#: What `<linux/pfkeyv2.h>` calls the number of a row.
IN_THE_HEADER = {
    NULL: "SADB_EALG_NULL",
    DES_CBC: "SADB_EALG_DESCBC",
    TRIPLE_DES_CBC: "SADB_EALG_3DESCBC",
    CAST_CBC: "SADB_X_EALG_CASTCBC",
    BLOWFISH_CBC: "SADB_X_EALG_BLOWFISHCBC",
    AES_CBC: "SADB_X_EALG_AESCBC",
    AES_CTR: "SADB_X_EALG_AESCTR",
    CAMELLIA_CBC: "SADB_X_EALG_CAMELLIACBC",
    SM4_CBC: "SADB_X_EALG_SM4CBC",
    SERPENT_CBC: "SADB_X_EALG_SERPENTCBC",
    TWOFISH_CBC: "SADB_X_EALG_TWOFISHCBC",
    AUTH_NULL: "SADB_X_AALG_NULL",
    HMAC_MD5: "SADB_AALG_MD5HMAC",
    HMAC_SHA1: "SADB_AALG_SHA1HMAC",
    HMAC_SHA256_96: "SADB_X_AALG_SHA2_256HMAC",
    HMAC_SHA384: "SADB_X_AALG_SHA2_384HMAC",
    HMAC_SHA512: "SADB_X_AALG_SHA2_512HMAC",
    HMAC_RIPEMD160: "SADB_X_AALG_RIPEMD160HMAC",
    HMAC_SM3: "SADB_X_AALG_SM3_256HMAC",
    AES_XCBC_MAC: "SADB_X_AALG_AES_XCBC_MAC",
    DEFLATE: "SADB_X_CALG_DEFLATE",
    LZS: "SADB_X_CALG_LZS",
    LZJH: "SADB_X_CALG_LZJH",
}
#: And one for each ICV of a combined mode, the longest first.
REFUSED_IN_THE_HEADER = {
    AES_GCM: ("SADB_X_EALG_AES_GCM_ICV16", "SADB_X_EALG_AES_GCM_ICV12", "SADB_X_EALG_AES_GCM_ICV8"),
    AES_CCM: ("SADB_X_EALG_AES_CCM_ICV16", "SADB_X_EALG_AES_CCM_ICV12", "SADB_X_EALG_AES_CCM_ICV8"),
    AES_GMAC: ("SADB_X_EALG_NULL_AES_GMAC",),
}
ICVS = [(row, bits) for row in ALGORITHMS for bits in row.icv_bits or (0,)]


@pytest.mark.parametrize("row", ALGORITHMS, ids=str)
def test_a_pfkey_number_is_the_header_s(row: Algorithm) -> None:
    number = getattr(lib, IN_THE_HEADER[row]) if row in IN_THE_HEADER else None
    assert row.pfkey_number == number
    assert row.pfkey_refused_numbers == tuple(getattr(lib, name) for name in REFUSED_IN_THE_HEADER.get(row, ()))


@pytest.mark.parametrize("row", ALGORITHMS, ids=str)
def test_the_draft_s_number_is_linux_s_but_for_xcbc(row: Algorithm) -> None:
    if row.draft is not None:
        assert (row.draft[1] == row.pfkey_number) is (row is not AES_XCBC_MAC)


def test_xcbc_has_the_draft_s_number_and_speaks_linux_s() -> None:
    assert AES_XCBC_MAC.draft == ("SADB_AALG_AESXCBCMAC", 4)
    assert AES_XCBC_MAC.pfkey_number == 9
    assert by_pfkey_number(4, Kind.AUTHENTICATION) not in ALGORITHMS


def test_the_draft_s_registry_is_whole() -> None:
    """draft-schilcher §6, without the two that mean none, and AES-CBC once."""
    named = {row.draft for row in ALGORITHMS if row.draft}
    assert named == {
        ("SADB_AALG_MD5HMAC", 2),
        ("SADB_AALG_SHA1HMAC", 3),
        ("SADB_AALG_AESXCBCMAC", 4),
        ("SADB_X_AALG_SHA2_256HMAC", 5),
        ("SADB_X_AALG_SHA2_384HMAC", 6),
        ("SADB_X_AALG_SHA2_512HMAC", 7),
        ("SADB_X_AALG_RIPEMD160HMAC", 8),
        ("SADB_EALG_DESCBC", 2),
        ("SADB_EALG_3DESCBC", 3),
        ("SADB_X_EALG_CASTCBC", 6),
        ("SADB_X_EALG_BLOWFISHCBC", 7),
        ("SADB_EALG_NULL", 11),
        ("SADB_X_EALG_AESCBC", 12),
        ("SADB_X_EALG_AESCTR", 13),
    }


@pytest.mark.parametrize("row", ALGORITHMS, ids=str)
def test_a_name_leads_to_its_row(row: Algorithm) -> None:
    assert by_name(row.name) is row
    assert str(row) == row.name


@pytest.mark.parametrize(("row", "icv_bits"), ICVS, ids=str)
def test_an_xfrm_name_and_an_icv_lead_to_their_row(row: Algorithm, icv_bits: int) -> None:
    assert by_xfrm_name(row.xfrm_name, row.kind, icv_bits) is row
    if row.xfrm_alias is not None:
        assert by_xfrm_name(row.xfrm_alias, row.kind, icv_bits) is row


@pytest.mark.parametrize("row", ALGORITHMS, ids=str)
def test_a_pfkey_number_leads_to_its_row(row: Algorithm) -> None:
    numbers = row.pfkey_refused_numbers if row.pfkey_number is None else (row.pfkey_number,)
    for number in numbers:
        assert by_pfkey_number(number, row.kind) is row


def test_every_ikev2_transform_leads_to_its_row_and_icv() -> None:
    found = {
        (kind, number): answer
        for kind, number in product((1, 3, None), range(64))
        if (answer := _by_ikev2_id(kind, number)) is not None
    }
    # IANA's "Transform Type 1" and "Transform Type 3", and RFC 7296 §3.10.1.
    assert found == {
        (1, 2): (DES_CBC, 0),
        (1, 3): (TRIPLE_DES_CBC, 0),
        (1, 6): (CAST_CBC, 0),
        (1, 7): (BLOWFISH_CBC, 0),
        (1, 11): (NULL, 0),
        (1, 12): (AES_CBC, 0),
        (1, 13): (AES_CTR, 0),
        (1, 14): (AES_CCM, 64),
        (1, 15): (AES_CCM, 96),
        (1, 16): (AES_CCM, 128),
        (1, 18): (AES_GCM, 64),
        (1, 19): (AES_GCM, 96),
        (1, 20): (AES_GCM, 128),
        (1, 21): (AES_GMAC, 128),
        (1, 23): (CAMELLIA_CBC, 0),
        (1, 28): (CHACHA20_POLY1305, 128),
        (3, 1): (HMAC_MD5, 96),
        (3, 2): (HMAC_SHA1, 96),
        (3, 5): (AES_XCBC_MAC, 96),
        (3, 6): (HMAC_MD5, 128),
        (3, 7): (HMAC_SHA1, 160),
        (3, 8): (AES_CMAC, 96),
        (3, 12): (HMAC_SHA256, 128),
        (3, 13): (HMAC_SHA384, 192),
        (3, 14): (HMAC_SHA512, 256),
        (None, 2): (DEFLATE, 0),
        (None, 3): (LZS, 0),
        (None, 4): (LZJH, 0),
    }


@pytest.mark.parametrize(
    ("transform_type", "complaint"),
    [(3, "IKEv2 transform type 3, id 1023"), (None, "IKEv2 IPComp transform id 1023")],
)
def test_an_ikev2_transform_without_an_algorithm_is_refused(transform_type: int | None, complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=complaint):
        by_ikev2_id(transform_type, 1023)


def test_sha_256_cut_to_96_bits_is_an_algorithm_of_its_own() -> None:
    assert by_xfrm_name("hmac(sha256)", Kind.AUTHENTICATION, 96) is HMAC_SHA256_96
    assert by_xfrm_name("hmac(sha256)", Kind.AUTHENTICATION) is HMAC_SHA256
    assert not HMAC_SHA256.on_pfkey
    assert HMAC_SHA256_96.on_pfkey
    assert HMAC_SHA256_96.pfkey_icv_bits == 96


def test_an_icv_without_a_row_gets_one_that_only_xfrm_has() -> None:
    cut = by_xfrm_name("hmac(sha1)", Kind.AUTHENTICATION, 80)
    assert cut not in ALGORITHMS
    assert (cut.name, cut.xfrm_name, cut.icv_bits) == ("hmac-sha1-80", "hmac(sha1)", (80,))
    assert cut.on_xfrm
    assert not cut.on_pfkey
    assert cut.pfkey_icv_bits == 0


def test_a_name_without_a_row_is_kept() -> None:
    unheard_of = by_xfrm_name("cbc(unheard-of)", Kind.ENCRYPTION)
    assert (unheard_of.name, unheard_of.xfrm_name) == ("cbc(unheard-of)", "cbc(unheard-of)")
    assert not unheard_of.on_pfkey
    numbered = by_pfkey_number(200, Kind.ENCRYPTION)
    assert (numbered.name, numbered.pfkey_number) == ("pfkey-200", 200)
    assert not numbered.on_xfrm


def test_rows_can_be_keys_of_a_mapping() -> None:
    assert len(set(ALGORITHMS)) == len(ALGORITHMS)


def test_the_examples_are_true() -> None:
    assert doctest.testmod(algorithms).failed == 0


@pytest.mark.parametrize("name", PAGES)
def test_a_page_written_from_the_code_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), f"docs/{name} is old: run python -m tests.pages"


def _by_ikev2_id(transform_type: int | None, number: int) -> tuple[Algorithm, int] | None:
    try:
        return by_ikev2_id(transform_type, number)
    except InvalidRequestError:
        return None
