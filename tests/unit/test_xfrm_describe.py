"""Any announced XFRM message for people, without a key, whatever is wrong with it."""

import sys

import pytest

from pfkeyx.xfrm import messages as wire
from pfkeyx.xfrm.datagram import HEADER_SIZE, Header, walk
from pfkeyx.xfrm.describe import describe
from tests.kernel.values import key
from tests.unit.test_xfrm_captures import CAPTURES, EVERY

#: What keys of the captures begin with, in hex.
_SECRET = key(4).reveal().hex()


def described(data: bytes) -> str:
    return "\n".join(describe(header, message) for header, message in walk(data))


@pytest.mark.parametrize(("kernel", "name"), EVERY)
def test_a_message_is_shown_by_its_names_and_without_its_keys(kernel: str, name: str) -> None:
    text = described(CAPTURES[kernel][name])
    assert text.startswith("XFRM_MSG_")
    assert "not shown" not in text
    assert _SECRET not in text


def test_fields_and_attributes_have_the_kernels_names() -> None:
    lines = described(CAPTURES["7"]["add sa aead"]).splitlines()
    assert lines[0].startswith("XFRM_MSG_NEWSA: length 352, ")
    assert "  XFRMA_ALG_AEAD" in lines
    assert "    alg_name rfc4106(gcm(aes)), alg_key_len 160, alg_icv_len 128, alg_key **" in lines
    assert any("spi 0x00001001, proto 50" in line for line in lines)


def test_a_message_that_is_cut_short_is_told_and_no_key_of_it_is_shown() -> None:
    data = CAPTURES["7"]["add sa aead"]
    for size in range(HEADER_SIZE, len(data)):
        cut = len(data[:size]).to_bytes(4, sys.byteorder) + data[4:size]
        text = describe(Header(size, wire.XFRM_MSG_NEWSA, 0, 1, 2), cut)
        assert text.startswith("XFRM_MSG_NEWSA")
        assert _SECRET not in text


def test_a_message_that_nobody_knows_is_named_by_its_number() -> None:
    text = describe(Header(20, 99, 0, 1, 2), bytes(20))
    assert text.splitlines()[0] == "message 99: length 20, flags 0x0, seq 1, pid 2"
    assert "not shown" in text
