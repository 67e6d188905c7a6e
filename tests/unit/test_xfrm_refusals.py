"""What the XFRM transport makes of a refusal: the kernel's words, what it took offence at, and what we know of it."""

import errno
import pickle
import socket
from dataclasses import replace
from typing import Any, cast

import pytest

from pfkeyx import KernelError, NotPermittedError
from pfkeyx.model import EVERY_SA, Attribute, HashThreshold
from pfkeyx.operation import Batch, Request
from pfkeyx.xfrm import XfrmDialect, XfrmTransport
from tests.unit.samples import OUTBOUND
from tests.unit.xfrm_bytes import ack, sequences

DIALECT = XfrmDialect()


BEHIND_THE_SA = 16 + 224
TRUNCATED = replace(OUTBOUND, other=(Attribute(99, bytes(2)), Attribute(22, b"\x01")))


def refusal_of(ends: tuple[XfrmTransport, socket.socket], request: Request[None], **said: Any) -> KernelError:
    """Return what becomes of a request that the kernel refuses in these words."""
    transport, kernels = ends
    generator = transport.exchange(Batch((request,)))
    next(generator)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(ack(sequence, **said))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    (refusal,) = stop.value.value
    assert isinstance(refusal, KernelError)
    return refusal


@pytest.mark.parametrize(
    ("offset", "attribute"),
    [
        (None, None),
        (8, None),
        (16, "sel.daddr"),
        (16 + 40, "sel.family"),
        (16 + 212, "family"),
        (16 + 160 + 8, "curlft.packets"),
        (BEHIND_THE_SA, "XFRMA_ALG_AEAD"),
        (-16, "XFRMA 99"),
        (-8, "XFRMA_TFCPAD"),
        (-4, "XFRMA_TFCPAD"),
        (4096, None),
    ],
)
def test_what_the_kernel_took_offence_at_is_named(
    ends: tuple[XfrmTransport, socket.socket], offset: int | None, attribute: str | None
) -> None:
    request = DIALECT.add_sa(TRUNCATED)
    if offset is not None and offset < 0:
        offset += len(request.wire.message)
    refusal = refusal_of(ends, request, error=errno.ERANGE, text="too short", offset=offset)
    assert (refusal.errno, refusal.attribute, refusal.detail) == (errno.ERANGE, attribute, "too short")
    assert str(refusal).endswith(f"({attribute}: too short)" if attribute else "(too short)")


def test_a_missing_attribute_is_named(ends: tuple[XfrmTransport, socket.socket]) -> None:
    refusal = refusal_of(ends, DIALECT.add_sa(OUTBOUND), error=errno.EINVAL, missing=17)
    assert refusal.attribute == "XFRMA_MIGRATE"
    assert str(refusal).endswith("Invalid argument (XFRMA_MIGRATE: it is missing)")


def test_an_attribute_has_the_name_that_it_has_in_its_message(ends: tuple[XfrmTransport, socket.socket]) -> None:
    request = DIALECT.set_spd_thresholds(HashThreshold(32, 0), None)
    refusal = refusal_of(ends, request, error=errno.EINVAL, offset=20)
    assert refusal.attribute == "XFRMA_SPD_IPV4_HTHRESH"


def test_an_attribute_of_a_dump_which_has_no_struct_is_named(ends: tuple[XfrmTransport, socket.socket]) -> None:
    request = DIALECT.dump_sas(EVERY_SA)
    refusal = refusal_of(ends, cast(Any, request), error=errno.EINVAL, offset=16)
    assert refusal.attribute == "XFRMA_PROTO"


def test_a_refusal_shows_what_the_kernel_says_and_what_is_known_of_it(
    ends: tuple[XfrmTransport, socket.socket],
) -> None:
    refusal = refusal_of(ends, DIALECT.add_sa(OUTBOUND), error=errno.EEXIST, text="it is there")
    assert refusal.detail == "it is there; an SPI that was reserved is completed by an update"
    copied = pickle.loads(pickle.dumps(refusal_of(ends, DIALECT.add_sa(OUTBOUND), error=errno.EINVAL, missing=2)))
    assert copied.attribute == "XFRMA_ALG_CRYPT"


def test_text_in_no_known_encoding_is_shown_as_far_as_it_can_be(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.delete_sa(OUTBOUND.id),)))
    next(generator)
    (sequence,) = sequences(kernels.recv(1 << 16))
    kernels.send(ack(sequence, 3, "text").replace(b"text", b"te\xfft"))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value[0].detail == "te\ufffdt"


def test_no_permission_says_what_to_do(ends: tuple[XfrmTransport, socket.socket]) -> None:
    transport, kernels = ends
    generator = transport.exchange(Batch((DIALECT.flush_sas(None),)))
    next(generator)
    kernels.send(ack(sequences(kernels.recv(1 << 16))[0], 1))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    (refusal,) = stop.value.value
    assert isinstance(refusal, NotPermittedError)
    assert "needs CAP_NET_ADMIN" in str(refusal)
