"""Bad input and lacking rights get an error that says what to do, and the kernel's tables stay as they were."""

import errno
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import Any

import pytest

from pfkeyx import (
    AES_CBC,
    AES_GCM,
    HMAC_SHA256,
    SA,
    Algorithm,
    ClosedError,
    Engine,
    Feature,
    InvalidRequestError,
    KernelError,
    Lifetime,
    Limit,
    Mode,
    PfkeyxError,
    SAId,
    Selector,
    Template,
    by_name,
)
from pfkeyx.algorithms import Kind
from pfkeyx.model import Attribute
from pfkeyx.opening import EngineName
from tests.kernel.audit import requires
from tests.kernel.children import drop_capabilities, in_child, lose_af_key
from tests.kernel.values import ADDRESSES, authentication, encryption, make_policies, make_sa

XFRMA_TFCPAD, XFRMA_SA_DIR = 22, 33
BAD_SAS: dict[str, Callable[[int], SA]] = {
    "takes a key of 16 or 24 or 32 bytes; this one has 17": lambda family: make_sa(
        family, encryption=encryption(AES_CBC, 17)
    ),
    "of which the last 4 are the salt; this one has 16": lambda family: make_sa(
        family, encryption=encryption(AES_GCM, 16), authentication=None
    ),
    "takes a key of 20 bytes; this one has 19": lambda family: make_sa(family, authentication=authentication(size=19)),
    "has an ICV of 128 or 256 bits, not 100": lambda family: make_sa(
        family, authentication=authentication(HMAC_SHA256, 32, icv_bits=100)
    ),
    "authenticates by itself": lambda family: make_sa(family, encryption=encryption(AES_GCM, 20)),
    "ESP needs an encryption algorithm": lambda family: make_sa(family, encryption=None),
    "the two ends of an SA have the same IP version": lambda family: make_sa(family, source=_other_family(family)),
    "SPI 0x0 is not between 0x1 and 0xffffffff": lambda family: make_sa(family, 0),
    "SPI 0x100000000 is not between 0x1 and 0xffffffff": lambda family: make_sa(family, 1 << 32),
    "reqid -1 does not fit 32 bits": lambda family: make_sa(family, reqid=-1),
    "replay window 5000 is not between 0 and 4096": lambda family: make_sa(family, replay_window=5000),
    "give None for no limit": lambda family: make_sa(family, lifetime=Lifetime(hard=Limit(packets=0))),
}


def test_a_bad_sa_is_refused_before_anything_is_sent(engine_name: EngineName, family: int) -> None:
    good = make_sa(family, 0x7000)
    with Engine.open(engine_name) as engine:
        engine.add_sa(good)
        before = engine.dump_sas()
        for hint, make_bad in BAD_SAS.items():
            with pytest.raises(InvalidRequestError, match=hint):
                engine.add_sas([make_sa(family, 0x7001), make_bad(family)])
            with pytest.raises(InvalidRequestError, match=hint):
                engine.update_sa(make_bad(family))
        assert engine.dump_sas() == before
    # Over a closed socket nothing can be sent, so what is refused for its content was not.
    for hint, make_bad in BAD_SAS.items():
        with pytest.raises(InvalidRequestError, match=hint):
            engine.add_sa(make_bad(family))
    with pytest.raises(ClosedError):
        engine.add_sa(good)


def test_bad_spis_and_addresses_are_refused_before_anything_is_sent(engine_name: EngineName, family: int) -> None:
    here, there = ADDRESSES[family].roaming, ADDRESSES[family].gateway
    engine = Engine.open(engine_name)
    engine.close()
    requests: dict[str, Callable[[], Any]] = {
        r"^get SA: SPI 0x0 is not between": lambda: engine.get_sa(SAId(there, 0)),
        r"^delete SA: SPI 0x100000000 is not between": lambda: engine.delete_sa(SAId(there, 1 << 32)),
        r"^get SPI: .* is IPv. and .* is IPv.; the two ends": lambda: engine.get_spi(here, _other_family(family)),
        r"^get SPI: SPI range 0x200 to 0x100 is empty": lambda: engine.get_spi(
            here, there, minimum=0x200, maximum=0x100
        ),
        r"^get SPI: SPI 0x100000000 is not": lambda: engine.get_spi(here, there, maximum=1 << 32),
    }
    for hint, ask in requests.items():
        with pytest.raises(InvalidRequestError, match=hint):
            ask()


def test_a_bad_policy_is_refused_before_anything_is_sent(engine_name: EngineName, family: int) -> None:
    policy = make_policies(family)[0]
    (template,) = policy.templates
    inner, strange = policy.selector, make_policies({4: 6, 6: 4}[family])[0].selector
    bad = {
        "the selector mixes": replace(policy, selector=Selector(inner.source, strange.destination)),
        "the two ends of an SA have the same IP version": replace(
            policy, templates=(replace(template, source=_other_family(family)),)
        ),
        "a template has both addresses or none": replace(policy, templates=(replace(template, source=None),)),
        "a tunnel template needs source and destination": replace(policy, templates=(Template(mode=Mode.TUNNEL),)),
        "7 templates; the kernel takes 6": replace(policy, templates=(Template(mode=Mode.TRANSPORT),) * 7),
    }
    engine = Engine.open(engine_name)
    for hint, refused in bad.items():
        for ask in (engine.add_policy, engine.update_policy):
            with pytest.raises(InvalidRequestError, match=hint):
                ask(refused)
    assert engine.dump_policies() == []
    engine.close()
    with pytest.raises(InvalidRequestError):
        engine.add_policy(bad["the selector mixes"])


def test_an_unknown_algorithm_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match=r"unknown algorithm 'aes-gcmx': did you mean aes-gcm"):
        by_name("aes-gcmx")


def test_a_refusal_of_the_kernel_names_operation_object_reason_and_detail(family: int) -> None:
    unheard_of = Algorithm("unheard-of", Kind.ENCRYPTION, "cbc(unheard-of)", (128,))
    sa = make_sa(family, encryption=encryption(unheard_of))
    with Engine.open("xfrm") as engine:
        with pytest.raises(KernelError) as refusal:
            engine.add_sa(sa)
        assert engine.dump_sas() == []
    error = refusal.value
    assert (error.errno, error.operation, error.subject) == (errno.ENOSYS, "add SA", sa)
    assert (error.detail, error.attribute) == ("Requested CRYPT algorithm not found", None)
    assert str(error) == f"add SA {sa}: {error.strerror} ({error.detail})"


def test_an_attribute_that_the_kernel_takes_offence_at_is_named(family: int) -> None:
    sa = make_sa(family, other=(Attribute(99, bytes(4)), Attribute(XFRMA_TFCPAD, b"\1")))
    with Engine.open("xfrm") as engine, pytest.raises(KernelError) as refusal:
        engine.add_sa(sa)
    assert (refusal.value.errno, refusal.value.attribute) == (errno.ERANGE, "XFRMA_TFCPAD")
    assert str(refusal.value) == f"add SA {sa}: {refusal.value.strerror} (XFRMA_TFCPAD: {refusal.value.detail})"
    assert refusal.value.detail


@requires(Feature.SA_DIRECTION)
def test_an_attribute_with_a_value_that_cannot_be_is_named(family: int) -> None:
    sa = make_sa(family, other=(Attribute(XFRMA_SA_DIR, b"\7"),))
    with Engine.open("xfrm") as engine, pytest.raises(KernelError) as refusal:
        engine.add_sa(sa)
    assert (refusal.value.errno, refusal.value.attribute) == (errno.ERANGE, "XFRMA_SA_DIR")


def test_an_absent_policy_is_refused_by_name(engine: Engine, family: int) -> None:
    policy = make_policies(family)[0]
    with pytest.raises(KernelError, match=f"^delete policy {policy.id}: No such file") as refusal:
        engine.delete_policy(policy.id)
    assert refusal.value.errno == errno.ENOENT


def test_a_closed_engine_says_how_to_open_another(engine: Engine, family: int) -> None:
    engine.close()
    for ask in (engine.dump_sas, engine.flush_sas, engine.dump_policies, partial(engine.add_sa, make_sa(family))):
        with pytest.raises(ClosedError, match=r"Engine\.open"):
            ask()
    engine.close()


def test_without_privilege_an_engine_says_what_it_needs(engine_name: EngineName) -> None:
    def ask() -> str:
        try:
            with Engine.open(engine_name) as engine:
                engine.dump_sas()
                return "it was allowed"
        except PfkeyxError as error:
            return f"{type(error).__name__} {error}"

    _warm_up()
    answer = in_child(drop_capabilities, ask)
    assert answer.startswith("NotPermittedError ")
    assert answer.endswith("(needs CAP_NET_ADMIN in the namespace: run as root, or with sudo)")


def test_on_a_kernel_without_af_key_the_pfkey_engine_says_what_to_do() -> None:
    def ask() -> str:
        try:
            with Engine.open("pfkey"):
                return "it was opened"
        except PfkeyxError as error:
            return f"{type(error).__name__} {error}"

    _warm_up()
    answer = in_child(lose_af_key, ask)
    assert answer == "UnsupportedError AF_KEY: this kernel has no PF_KEY: load af_key, or open the xfrm engine"


def test_on_a_kernel_without_af_key_xfrm_is_opened() -> None:
    def ask() -> str:
        with Engine.open() as engine:
            engine.add_sa(make_sa(4))
            return f"{engine.name} {len(engine.dump_sas())}"

    _warm_up()
    assert in_child(lose_af_key, ask) == "xfrm 1"


def test_xfrm_is_what_is_opened_where_both_are_there() -> None:
    with Engine.open() as engine:
        assert engine.name == "xfrm"


def test_a_namespace_that_is_not_there_is_refused_by_name(engine_name: EngineName) -> None:
    with pytest.raises(KernelError, match="no-such-namespace"):
        Engine.open(engine_name, netns="no-such-namespace")


def _other_family(family: int) -> Any:
    return ip_address({4: "2001:db8::9", 6: "192.0.2.9"}[family])


def _warm_up() -> None:
    """Import here what is imported late, so that a child needs no file."""
    for name in ("xfrm", "pfkey"):
        Engine.open(name).close()
