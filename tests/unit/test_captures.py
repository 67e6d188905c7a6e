"""Messages that kernels sent, captured by `python -m tests.captures`: read, compared with what was asked, rebuilt."""

import errno
import sys
from pathlib import Path

import pytest

from lab import kernels
from pfkeyx.native import lib
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    Extension,
    LifetimeExtension,
    NatTPortExtension,
    PolicyExtension,
    ProposalExtension,
    SAExtension,
    SupportedAlgorithm,
    SupportedExtension,
)
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, SAType, describe, read
from tests import linux
from tests.captures import PID, REQUESTS, SEQ, read_captures
from tests.kernel.manager import LATER_PORT, PORT, REGISTERED
from tests.kernel.raw import ends, esp, host, tunnel
from tests.kernel.values import ADDRESSES
from tests.unit.pfkey_bytes import built

CAPTURES = {path.stem: read_captures(path) for path in sorted(Path(__file__).with_name("captures").glob("*.txt"))}
EVERY = [(kernel, name) for kernel, messages in CAPTURES.items() for name in messages]
FAMILIES = list(ADDRESSES)

_RESERVED = slice(6, 8)  # of struct sadb_msg: Linux leaves the count of references to a policy there
_LENGTH = slice(4, 6)  # of struct sadb_msg, in words of 64 bits
#: What does not come back as it was asked for, by name.
_UNTOLD = {
    "getspi": {ExtensionType.SPIRANGE},
    # What an SA or a policy is looked up by leaves the rest open.
    "get esp": {ExtensionType.SA},
    "delete esp": {ExtensionType.SA},
    "spddelete": {ExtensionType.X_POLICY},
    # A move is told with 0 for any protocol, and a policy with 255.
    "migrate": {ExtensionType.ADDRESS_SRC, ExtensionType.ADDRESS_DST},
}


@pytest.fixture(params=CAPTURES)
def captured(request: pytest.FixtureRequest) -> dict[str, Message]:
    """Return what each kernel sent, in turn."""
    return {name: read(data) for name, data in CAPTURES[request.param].items()}


def test_every_kernel_of_the_matrix_was_captured() -> None:
    assert set(CAPTURES) == set(kernels.load().kernels)


def test_every_message_that_linux_sends_was_captured(captured: dict[str, Message]) -> None:
    never = {MessageType.X_PCHANGE, MessageType.X_SPDACQUIRE, MessageType.X_SPDEXPIRE, MessageType.X_SPDSETIDX}
    assert {message.type for message in captured.values()} == set(linux.MESSAGES) - never


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [it for it in REQUESTS if REQUESTS[it](4).extensions and it != "refusal"])
def test_what_was_asked_for_is_read(captured: dict[str, Message], name: str, family: int) -> None:
    asked, told = REQUESTS[name](family), captured[f"IPv{family} {name}"]
    expected = {it: value for it, value in asked.extensions.items() if it not in _UNTOLD.get(name, ())}
    assert {it: _without_kernels_own(told.extensions[it]) for it in expected} == {
        it: _without_kernels_own(value) for it, value in expected.items()
    }
    if asked.type is not MessageType.X_MIGRATE:
        assert (told.satype, told.errno, told.seq, told.pid) == (asked.satype, 0, SEQ, PID)


@pytest.mark.parametrize("family", FAMILIES)
def test_refusals_are_read(captured: dict[str, Message], family: int) -> None:
    refused, empty = captured[f"IPv{family} refusal"], captured[f"IPv{family} dump of nothing"]
    assert refused == Message(MessageType.GET, SAType.ESP, errno.ESRCH, SEQ, PID)
    assert empty == Message(MessageType.DUMP, SAType.ESP, errno.ENOENT, SEQ, PID)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_sa_is_read_with_its_keys_lifetimes_and_state(captured: dict[str, Message], family: int) -> None:
    got, deleted = captured[f"IPv{family} get esp"], captured[f"IPv{family} delete esp"]
    for exttype in (ExtensionType.KEY_AUTH, ExtensionType.KEY_ENCRYPT, ExtensionType.X_SA2):
        assert got.extensions[exttype] == deleted.extensions[exttype] == esp(family)[exttype]
    assert got.need(ExtensionType.SA, SAExtension).state == lib.SADB_SASTATE_MATURE
    assert deleted.need(ExtensionType.SA, SAExtension).state == lib.SADB_SASTATE_DEAD
    current = got.need(ExtensionType.LIFETIME_CURRENT, LifetimeExtension)
    assert (current.packets, current.octets, current.usetime) == (0, 0, 0)
    larval = captured[f"IPv{family} getspi"]
    assert larval.extensions[ExtensionType.SA] == SAExtension(0x2000, state=lib.SADB_SASTATE_LARVAL)
    assert larval.extensions[ExtensionType.LIFETIME_HARD] == LifetimeExtension(addtime=30)


@pytest.mark.parametrize("family", FAMILIES)
def test_dumps_and_flushes_are_read(captured: dict[str, Message], family: int) -> None:
    sas = [captured[f"IPv{family} dump {number}"] for number in range(1, 6)]
    assert [it.seq for it in sas] == [1, 2, 3, 4, 0]
    assert sorted(it.satype for it in sas) == [SAType.AH, *[SAType.ESP] * 3, SAType.X_IPCOMP]
    policies = [captured[f"IPv{family} spddump {number}"] for number in range(1, 4)]
    assert [it.seq for it in policies] == [1, 2, 0]
    for message_type, names in (
        (MessageType.FLUSH, ("flush 1", "flush 2", "flush of nothing")),
        (MessageType.X_SPDFLUSH, ("spdflush 1", "spdflush 2")),
        (MessageType.X_PROMISC, ("promisc",)),
    ):
        for name in names:
            assert captured[f"IPv{family} {name}"] == Message(message_type, SAType.UNSPEC, 0, SEQ, PID)


def test_the_algorithms_are_read(captured: dict[str, Message]) -> None:
    told = captured["register"]
    assert (told.type, told.satype, told.seq, told.pid) == (MessageType.REGISTER, SAType.ESP, REGISTERED, REGISTERED)
    sha1 = SupportedAlgorithm(lib.SADB_AALG_SHA1HMAC, 0, 160, 160)
    assert sha1 in told.need(ExtensionType.SUPPORTED_AUTH, SupportedExtension).algorithms
    aes = SupportedAlgorithm(lib.SADB_X_EALG_AESCBC, 8, 128, 256)
    assert aes in told.need(ExtensionType.SUPPORTED_ENCRYPT, SupportedExtension).algorithms


@pytest.mark.parametrize("family", FAMILIES)
def test_policies_that_are_found_by_their_index_are_read(captured: dict[str, Message], family: int) -> None:
    for name, message_type in (("spdget", MessageType.X_SPDGET), ("spddelete2", MessageType.X_SPDDELETE2)):
        told = captured[f"IPv{family} {name}"]
        assert told.type is message_type
        assert told.need(ExtensionType.X_POLICY, PolicyExtension).requests == (tunnel(family),)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_told_unasked_is_read(captured: dict[str, Message], family: int) -> None:
    at = ADDRESSES[family]
    plain, proposing = captured[f"IPv{family} acquire"], captured[f"IPv{family} acquire with proposals"]
    for acquire in (plain, proposing):
        assert (acquire.type, acquire.satype, acquire.pid) == (MessageType.ACQUIRE, SAType.ESP, 0)
        assert {it: acquire.extensions[it] for it in ends(family)} == ends(family)
        assert acquire.need(ExtensionType.X_POLICY, PolicyExtension).id & 7 == lib.IPSEC_DIR_OUTBOUND - 1
    assert plain.extensions[ExtensionType.PROPOSAL] == ProposalExtension(32)
    suites = proposing.need(ExtensionType.PROPOSAL, ProposalExtension).combinations
    assert (lib.SADB_AALG_SHA1HMAC, lib.SADB_X_EALG_AESCBC) in {(suite.auth, suite.encrypt) for suite in suites}
    assert {(suite.hard.addtime, suite.soft.addtime) for suite in suites} == {(86400, 72000)}
    for kind, state, seconds in (("soft", lib.SADB_SASTATE_DYING, 1), ("hard", lib.SADB_SASTATE_DEAD, 4)):
        told = captured[f"IPv{family} expire {kind}"]
        assert (told.type, told.seq, told.pid) == (MessageType.EXPIRE, 0, 0)
        assert told.need(ExtensionType.SA, SAExtension).state == state
        limit = ExtensionType.LIFETIME_SOFT if kind == "soft" else ExtensionType.LIFETIME_HARD
        assert told.extensions[limit] == LifetimeExtension(addtime=seconds)
    mapping = captured[f"IPv{family} new mapping"]
    assert mapping.extensions == {
        ExtensionType.SA: SAExtension(0x3000),
        ExtensionType.ADDRESS_SRC: host(at.roaming_later),
        ExtensionType.X_NAT_T_SPORT: NatTPortExtension(PORT),
        ExtensionType.ADDRESS_DST: host(at.roaming_later),
        ExtensionType.X_NAT_T_DPORT: NatTPortExtension(LATER_PORT),
    }


@pytest.mark.parametrize(("kernel", "name"), EVERY)
def test_what_was_read_is_built_again(kernel: str, name: str) -> None:
    data = CAPTURES[kernel][name]
    message = read(data)
    expected = bytearray(data)
    if message.type.name.startswith("X_SPD"):
        expected[_RESERVED] = bytes(2)
    if _has_a_tunnel_of_the_other_ip_version(message):
        assert expected[_LENGTH] != (len(data) // 8).to_bytes(2, sys.byteorder)
        expected[_LENGTH] = (len(data) // 8).to_bytes(2, sys.byteorder)
    assert built(message) == bytes(expected)


@pytest.mark.parametrize(("kernel", "name"), EVERY)
def test_a_captured_message_is_described_to_its_end(kernel: str, name: str) -> None:
    data = CAPTURES[kernel][name]
    text = describe(data)
    assert text.startswith(str(read(data).type))
    assert "makes no sense" not in text


def _has_a_tunnel_of_the_other_ip_version(message: Message) -> bool:
    """Return whether Linux miscounts the length of a policy: it has a tunnel of the other IP version."""
    policy, source = (message.extensions.get(it) for it in (ExtensionType.X_POLICY, ExtensionType.ADDRESS_SRC))
    if not isinstance(policy, PolicyExtension) or not isinstance(source, AddressExtension):
        return False
    return any(it.source is not None and it.source.version != source.address.version for it in policy.requests)


def _without_kernels_own(value: Extension) -> Extension:
    """Return a value without what the kernel chooses: the index of a policy, the state of an SA."""
    match value:
        case PolicyExtension():
            return value._replace(id=0)
        case SAExtension():
            return value._replace(state=0)
        case _:
            return value
