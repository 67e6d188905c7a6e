"""PF_KEY messages: values to bytes and back, what is refused, and bytes that make no sense."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from socket import AF_INET, AF_INET6
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfkeyx import algorithms
from pfkeyx.algorithms import (
    AES_CBC,
    DEFLATE,
    HMAC_SHA1,
    NULL,
    Algorithm,
    Kind,
)
from pfkeyx.errors import InvalidRequestError, MalformedReplyError, NotFoundError, UnsupportedError
from pfkeyx.events import Acquire
from pfkeyx.model import (
    EVERY_SA,
    SA,
    Action,
    AddressPair,
    Authentication,
    Direction,
    Encryption,
    IPAddress,
    Key,
    Lifetime,
    Limit,
    Mode,
    Policy,
    Port,
    Prefix,
    Protocol,
    SAFilter,
    SAFlag,
    SAId,
    SAState,
    SecurityContext,
    Selector,
    Template,
    UdpEncap,
    Usage,
    any_selector,
    make_prefix,
    prefix_address,
)
from pfkeyx.native import ffi, lib
from pfkeyx.pfkey import PfkeyDialect, codec, parts
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    FilterExtension,
    KeyExtension,
    KMAddressExtension,
    LifetimeExtension,
    PolicyExtension,
    SA2Extension,
    SAExtension,
    SupportedAlgorithm,
    SupportedExtension,
    Unknown,
)
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, SAType, build, read

PFKEY = PfkeyDialect()
A, B = ip_address("192.0.2.1"), ip_address("192.0.2.2")
A6, B6 = ip_address("2001:db8::1"), ip_address("2001:db8::2")
SA_ = SA(
    SAId(B, 0x1000),
    A,
    reqid=7,
    encryption=Encryption(AES_CBC, Key(bytes(range(16)))),
    authentication=Authentication(HMAC_SHA1, Key(bytes(range(20)))),
)
IPCOMP = SA(SAId(B, 5, Protocol.IPCOMP), A, compression=DEFLATE, replay_window=0)
ANY4 = ip_network("0.0.0.0/0")
SELECTOR = Selector(ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16"))
TEMPLATE = Template(source=A, destination=B, reqid=7)
POLICY = Policy(SELECTOR, Direction.OUT, (TEMPLATE,))


def sent(request: Any) -> bytes:
    message = request.wire.message
    return bytes(ffi.buffer(message.data, message.size))


def sent_and_read(request: Any) -> Message:
    return read(sent(request))


def message(message_type: MessageType, satype: int, extensions: dict[int, Any]) -> Message:
    built = build(Message(message_type, SAType(satype), extensions=extensions))
    return read(bytes(ffi.buffer(built.data, built.size)))


# ---- values that PF_KEY can express ----

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
versions = st.sampled_from((4, 6))


def addresses(version: int) -> st.SearchStrategy[IPAddress]:
    return st.ip_addresses(v=4) if version == 4 else st.ip_addresses(v=6)


@st.composite
def prefixes(draw: st.DrawFn, version: int) -> Prefix:
    return make_prefix(draw(addresses(version)), draw(st.integers(0, 32 if version == 4 else 128)))


def limits() -> st.SearchStrategy[Limit]:
    octets, time = st.none() | st.integers(1, 0xFFFFFFFFFFFFFFFE), st.none() | st.integers(1, (1 << 62) - 1)
    return st.builds(Limit, octets, st.none() | st.integers(1, 0xFFFFFFFF), time, time)


contexts = st.builds(SecurityContext, st.binary(min_size=1, max_size=64), st.integers(0, 255), st.integers(0, 255))
lifetimes = st.builds(Lifetime, limits(), limits())


def is_a_key(raw: bytes) -> bool:
    """Return whether a key may be installed: one of zeros is what a locked-down kernel shows."""
    return not raw or any(raw)


def keys(algorithm: Algorithm) -> st.SearchStrategy[Key]:
    sizes = [size for size in range(73) if 8 * size - algorithm.salt_bits in algorithm.key_bits]
    return (
        st.sampled_from(sizes).flatmap(lambda size: st.binary(min_size=size, max_size=size)).filter(is_a_key).map(Key)
    )


def expressible(kind: Kind) -> list[Algorithm]:
    return [row for row in algorithms.ALGORITHMS if row.kind is kind and row.pfkey_number is not None]


@st.composite
def sas(draw: st.DrawFn) -> SA:
    version = draw(versions)
    source = draw(addresses(version))
    cipher = draw(st.sampled_from(expressible(Kind.ENCRYPTION)))
    mac = draw(st.sampled_from(expressible(Kind.AUTHENTICATION)))
    # A prefix that begins at the SA's own source cannot be shown.
    proxied = draw(st.none() | prefixes(version).filter(lambda prefix: prefix_address(prefix) != source))
    selector = Selector(proxied, any_selector(version).destination) if proxied is not None else None
    sa = SA(
        SAId(draw(addresses(version)), draw(st.integers(1, 0xFFFFFFFF))),
        source,
        mode=draw(st.sampled_from((Mode.TRANSPORT, Mode.TUNNEL, Mode.BEET))),
        reqid=draw(u32),
        encryption=Encryption(cipher, draw(keys(cipher))),
        authentication=draw(st.none() | keys(mac).map(lambda key: Authentication(mac, key, mac.pfkey_icv_bits))),
        encap=draw(st.none() | st.builds(UdpEncap, u16, u16)),
        selector=None if selector == any_selector(version) else selector,
        lifetime=draw(lifetimes),
        replay_window=draw(st.integers(0, 32)),
        flags=SAFlag(draw(st.integers(0, 7))),
        security_context=draw(st.none() | contexts),
    )
    match draw(st.sampled_from((Protocol.ESP, Protocol.AH, Protocol.IPCOMP))):
        case Protocol.AH:
            key = draw(keys(mac))
            return replace(
                sa,
                id=replace(sa.id, protocol=Protocol.AH),
                encryption=None,
                authentication=Authentication(mac, key, mac.pfkey_icv_bits),
                encap=None,
            )
        case Protocol.IPCOMP:
            return replace(
                sa,
                id=replace(sa.id, protocol=Protocol.IPCOMP, spi=draw(st.integers(1, 0xFFFF))),
                encryption=None,
                authentication=None,
                compression=draw(st.sampled_from(expressible(Kind.COMPRESSION))),
                encap=None,
                replay_window=0,
            )
    return sa


def templates(direction: Direction) -> st.SearchStrategy[Template]:
    reqids = st.integers(0, 0x3FFF)
    protocols = st.sampled_from((Protocol.ESP, Protocol.AH, Protocol.IPCOMP))
    pairs = versions.flatmap(lambda version: st.tuples(addresses(version), addresses(version)))
    tunnels = st.builds(
        lambda pair, reqid, protocol: Template(protocol, Mode.TUNNEL, pair[0], pair[1], reqid),
        pairs,
        reqids,
        protocols,
    )
    transports = st.builds(lambda reqid, protocol: Template(protocol, Mode.TRANSPORT, reqid=reqid), reqids, protocols)
    optional = (transports if direction is Direction.OUT else tunnels | transports).map(
        lambda template: replace(template, reqid=0, optional=True)
    )
    return tunnels | transports | optional


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    version = draw(versions)
    direction = draw(st.sampled_from((Direction.IN, Direction.OUT, Direction.FORWARD)))
    action = draw(st.sampled_from(Action))
    wanted = draw(st.lists(templates(direction), max_size=6)) if action is Action.ALLOW else []
    ports = st.none() | st.integers(1, 0xFFFF).map(Port)
    return Policy(
        Selector(
            draw(prefixes(version)),
            draw(prefixes(version)),
            draw(st.integers(0, 254)),
            draw(ports),
            draw(ports),
        ),
        direction,
        tuple(wanted),
        action,
        priority=draw(u32),
        lifetime=draw(lifetimes),
        security_context=draw(st.none() | contexts),
    )


@given(sas())
def test_an_sa_is_read_as_it_was_written(sa: SA) -> None:
    assert codec.decode_sa(sent_and_read(PFKEY.add_sa(sa))).as_written() == sa


@given(policies())
def test_a_policy_is_read_as_it_was_written(policy: Policy) -> None:
    assert codec.decode_policy(sent_and_read(PFKEY.add_policy(policy))).as_written() == policy


def test_an_ipcomp_sa_has_its_algorithm_where_ciphers_stand_and_no_key() -> None:
    found = sent_and_read(PFKEY.add_sa(IPCOMP))
    assert found.satype is SAType.X_IPCOMP
    assert found.need(ExtensionType.SA, SAExtension).encrypt == lib.SADB_X_CALG_DEFLATE
    assert not {ExtensionType.KEY_AUTH, ExtensionType.KEY_ENCRYPT} & found.extensions.keys()


@pytest.mark.parametrize(("outer", "inner"), [(A, 6), (A6, 4)])
def test_an_sa_says_that_it_carries_the_other_ip_version(outer: IPAddress, inner: int) -> None:
    sa = replace(SA_, id=replace(SA_.id, destination=outer), source=outer, selector=any_selector(inner))
    proxy = sent_and_read(PFKEY.add_sa(sa)).need(ExtensionType.ADDRESS_PROXY, AddressExtension)
    assert (proxy.address.version, proxy.prefix_length) == (inner, 0)


def test_a_dump_of_some_says_which() -> None:
    assert sent_and_read(PFKEY.dump_sas(EVERY_SA)).extensions == {}
    some = SAFilter(Protocol.AH, source=ip_network("192.0.2.0/24"))
    found = sent_and_read(PFKEY.dump_sas(some))
    assert found.satype is SAType.AH
    assert found.extensions == {
        ExtensionType.X_FILTER: FilterExtension(AF_INET, ip_address("192.0.2.0"), 24, ip_address("0.0.0.0"), 0)
    }
    found = sent_and_read(PFKEY.dump_sas(SAFilter(destination=ip_network("2001:db8::/32"))))
    assert found.extensions == {
        ExtensionType.X_FILTER: FilterExtension(AF_INET6, ip_address("::"), 0, ip_address("2001:db8::"), 32)
    }


@pytest.mark.parametrize("ask", [PFKEY.dump_sas, PFKEY.flush_sas])
def test_sas_of_a_protocol_that_pf_key_has_no_type_for_are_not_asked_for(ask: Callable[[Any], object]) -> None:
    with pytest.raises(UnsupportedError, match="protocol 43"):
        ask(Protocol(43) if ask == PFKEY.flush_sas else SAFilter(Protocol(43)))


def test_a_policy_is_looked_up_by_its_index_or_found_by_its_selector() -> None:
    by_index = sent_and_read(PFKEY.get_policy(17))
    assert (by_index.type, by_index.need(ExtensionType.X_POLICY, PolicyExtension).id) == (MessageType.X_SPDGET, 17)
    by_index = sent_and_read(PFKEY.delete_policy(17))
    assert (by_index.type, by_index.need(ExtensionType.X_POLICY, PolicyExtension).id) == (MessageType.X_SPDDELETE2, 17)
    found = PFKEY.get_policy(POLICY.id)
    shown = [sent_and_read(PFKEY.add_policy(policy)) for policy in (replace(POLICY, direction=Direction.IN), POLICY)]
    assert found.decode(shown) == POLICY
    with pytest.raises(NotFoundError, match="get policy out"):
        found.decode(shown[:1])
    with pytest.raises(UnsupportedError, match="there are several"):
        found.decode([*shown, shown[1]])


def test_a_policy_is_found_by_its_label_where_the_kernel_keeps_labels() -> None:
    labelled, other = (replace(POLICY, security_context=SecurityContext(label)) for label in (b"a", b"another"))
    shown = [sent_and_read(PFKEY.add_policy(policy)) for policy in (labelled, other, POLICY)]
    for policy in (labelled, other, POLICY):
        assert PFKEY.get_policy(policy.id).decode(shown) == policy
    with pytest.raises(NotFoundError):
        PFKEY.get_policy(POLICY.id).decode(shown[:2])
    with pytest.raises(NotFoundError):
        PFKEY.get_policy(labelled.id).decode(shown[1:2])
    # Where no security module wants labels, the kernel forgets them.
    assert PFKEY.get_policy(labelled.id).decode(shown[2:]) == POLICY


def test_a_move_is_sent_as_pairs_with_the_key_managers_addresses() -> None:
    new = replace(TEMPLATE, source=A6, destination=B6)
    found = sent_and_read(PFKEY.migrate_policy(POLICY.id, [(TEMPLATE, new)], kmaddress=AddressPair(A, B)))
    policy = found.need(ExtensionType.X_POLICY, PolicyExtension)
    assert [parts.decode_template(request) for request in policy.requests] == [TEMPLATE, new]
    assert (policy.type, policy.direction) == (lib.IPSEC_POLICY_IPSEC, lib.IPSEC_DIR_OUTBOUND)
    assert found.need(ExtensionType.X_KMADDRESS, KMAddressExtension) == KMAddressExtension(A, B)


@pytest.mark.parametrize(
    ("moves", "reason"),
    [
        ([], "0 moves"),
        ([(TEMPLATE, TEMPLATE)] * 7, "7 moves"),
        ([(TEMPLATE, replace(TEMPLATE, reqid=8))], "a move changes a template's addresses alone"),
        ([(TEMPLATE, replace(TEMPLATE, protocol=Protocol.AH))], "a move changes a template's addresses alone"),
        ([(replace(TEMPLATE, source=None, destination=None), TEMPLATE)], "old and new addresses"),
    ],
)
def test_a_move_that_the_kernel_would_not_take_is_refused(moves: list[tuple[Template, Template]], reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"migrate policy out .*{reason}"):
        PFKEY.migrate_policy(POLICY.id, moves)


def test_algorithms_that_the_kernel_lists_are_named_or_numbered() -> None:
    lists: dict[int, Any] = {
        ExtensionType.SUPPORTED_AUTH: SupportedExtension((SupportedAlgorithm(3, 0, 160, 160),)),
        ExtensionType.SUPPORTED_ENCRYPT: SupportedExtension(
            (SupportedAlgorithm(12, 8, 128, 256), SupportedAlgorithm(99, 8, 64, 64))
        ),
    }
    supported = codec.decode_supported(message(MessageType.REGISTER, 0, lists))
    assert [it.algorithm for it in supported.authentication] == [HMAC_SHA1]
    assert [str(it.algorithm) for it in supported.encryption] == ["aes-cbc", "pfkey-99"]
    assert (supported.encryption[0].minimum_bits, supported.encryption[0].maximum_bits) == (128, 256)
    assert codec.decode_supported(message(MessageType.REGISTER, 0, {})).encryption == ()


def test_an_acquire_is_not_answered_with_no_error() -> None:
    acquire = Acquire(A, B, Protocol.ESP, policy_id=9, sequence=7)
    with pytest.raises(InvalidRequestError, match=r"answer acquire .*errno of why not"):
        PFKEY.answer_acquire(acquire, 0)


def test_null_encryption_is_sent_with_an_empty_key() -> None:
    sa = replace(SA_, encryption=Encryption(NULL, Key(b"")))
    assert sent_and_read(PFKEY.add_sa(sa)).extensions[lib.SADB_EXT_KEY_ENCRYPT] == KeyExtension(Key(b""), 0)


def test_lifetimes_travel_as_a_pair_or_not_at_all() -> None:
    pair = {lib.SADB_EXT_LIFETIME_HARD, lib.SADB_EXT_LIFETIME_SOFT}
    limited = replace(SA_, lifetime=Lifetime(soft=Limit(seconds=10)))
    assert not pair & sent_and_read(PFKEY.add_sa(SA_)).extensions.keys()
    assert pair <= sent_and_read(PFKEY.add_sa(limited)).extensions.keys()


@pytest.mark.parametrize(("direction", "number"), [(Direction.IN, 1), (Direction.OUT, 2), (Direction.FORWARD, 3)])
def test_directions_have_the_numbers_of_ipsec_h(direction: Direction, number: int) -> None:
    request = PFKEY.delete_policy(replace(POLICY, direction=direction).id)
    assert sent_and_read(request).need(lib.SADB_X_EXT_POLICY, PolicyExtension).direction == number


def test_any_protocol_is_255_in_the_extension_that_linux_reads() -> None:
    found = sent_and_read(PFKEY.add_policy(POLICY))
    assert found.need(lib.SADB_EXT_ADDRESS_DST, AddressExtension).protocol == 255


@pytest.mark.parametrize(
    ("policy", "policy_type"),
    [
        (replace(POLICY, templates=(), action=Action.BLOCK), lib.IPSEC_POLICY_DISCARD),
        (replace(POLICY, templates=()), lib.IPSEC_POLICY_NONE),
        (POLICY, lib.IPSEC_POLICY_IPSEC),
    ],
)
def test_a_policy_type_says_action_and_whether_there_are_templates(policy: Policy, policy_type: int) -> None:
    extension = sent_and_read(PFKEY.add_policy(policy)).need(lib.SADB_X_EXT_POLICY, PolicyExtension)
    assert extension.type == policy_type


@pytest.mark.parametrize(
    ("template", "level"),
    [
        (TEMPLATE, lib.IPSEC_LEVEL_UNIQUE),
        (replace(TEMPLATE, reqid=0), lib.IPSEC_LEVEL_REQUIRE),
        (replace(TEMPLATE, reqid=0, optional=True), lib.IPSEC_LEVEL_USE),
    ],
)
def test_a_level_says_reqid_and_whether_the_template_is_optional(template: Template, level: int) -> None:
    policy = Policy(SELECTOR, Direction.IN, (template,))
    extension = sent_and_read(PFKEY.add_policy(policy)).need(lib.SADB_X_EXT_POLICY, PolicyExtension)
    assert extension.requests[0].level == level


# ---- what kernels show that we do not write ----

HOSTS = {
    lib.SADB_EXT_ADDRESS_SRC: AddressExtension(A, 32),
    lib.SADB_EXT_ADDRESS_DST: AddressExtension(B, 32),
}


def shown_sa(fixed: SAExtension, extensions: dict[int, Any] | None = None, satype: int = 3) -> SA:
    return codec.decode_sa(message(MessageType.GET, satype, {lib.SADB_EXT_SA: fixed} | HOSTS | (extensions or {})))


def test_state_and_usage_are_read() -> None:
    current = {lib.SADB_EXT_LIFETIME_CURRENT: LifetimeExtension(3, 300, 1000, 0)}
    sa = shown_sa(SAExtension(5, state=lib.SADB_SASTATE_DYING), current)
    assert (sa.state, sa.usage, sa.replay) == (SAState.DYING, Usage(300, 3, 1000, 0), None)


def test_without_sa2_an_sa_is_in_transport_mode() -> None:
    assert shown_sa(SAExtension(5)).mode is Mode.TRANSPORT


def test_a_proxy_of_everything_is_no_selector() -> None:
    proxy = {lib.SADB_EXT_ADDRESS_PROXY: AddressExtension(ip_address("0.0.0.0"), 0, lib.IPSEC_PROTO_ANY)}
    assert shown_sa(SAExtension(5, state=1), proxy).selector is None


def test_a_proxy_is_the_selectors_source() -> None:
    proxy = {lib.SADB_EXT_ADDRESS_PROXY: AddressExtension(ip_address("10.1.0.0"), 16, 6, 80)}
    assert shown_sa(SAExtension(5, state=1), proxy).selector == Selector(
        ip_network("10.1.0.0/16"), ip_network("0.0.0.0/0"), 6, Port(80)
    )


def test_a_proxy_that_only_the_other_ip_version_can_have_is_no_selector() -> None:
    # The first bytes of 2001:db8::/64, as Linux shows them of an SA between IPv4 addresses.
    proxy = bytearray(sent(PFKEY.add_sa(replace(SA_, selector=Selector(ip_network("32.1.13.184/32"), ANY4)))))
    start = proxy.index(ip_address("32.1.13.184").packed) - 12
    assert proxy[start + 5] == 32
    proxy[start + 5] = 64
    assert codec.decode_sa(read(bytes(proxy))).selector is None


def test_a_mature_sa_without_proxy_selects_its_own_source() -> None:
    selector = Selector(ip_network(f"{A}/32"), ip_network("0.0.0.0/0"))
    assert shown_sa(SAExtension(5, state=1)).selector == selector


def test_a_larval_sa_without_proxy_has_no_selector() -> None:
    assert shown_sa(SAExtension(5, state=0)).selector is None


def test_a_combined_mode_sa_shows_neither_algorithm_nor_key() -> None:
    sa = shown_sa(SAExtension(5))
    assert (sa.encryption, sa.authentication) == (None, None)


def test_an_algorithm_without_a_number_is_shown_by_its_key() -> None:
    sa = shown_sa(SAExtension(5), {lib.SADB_EXT_KEY_AUTH: KeyExtension.of(Key(bytes([7]) * 16))})
    assert sa.authentication is not None
    assert (sa.authentication.algorithm.name, sa.authentication.key) == ("pfkey-0", Key(bytes([7]) * 16))


def test_ipcomp_has_no_cipher_of_the_same_number() -> None:
    assert shown_sa(SAExtension(5, encrypt=2), satype=lib.SADB_X_SATYPE_IPCOMP).encryption is None


def test_a_policy_of_a_single_socket_keeps_its_direction() -> None:
    policy = codec.decode_policy(
        message(MessageType.X_SPDDUMP, 0, HOSTS | {lib.SADB_X_EXT_POLICY: PolicyExtension(2, 5, id=12)})
    )
    assert (policy.direction, policy.index) == (4, 12)


def test_an_unknown_extension_is_kept_as_bytes() -> None:
    extension = bytes([2, 0, 77, 0]) + b"mysterious!!"
    found = read(sent(PFKEY.flush_sas(None)) + extension)
    assert found.extensions == {77: Unknown(77, extension[4:])}
    assert "myst" not in repr(found)


def test_host_bits_of_a_prefix_are_kept() -> None:
    policy = replace(POLICY, selector=replace(SELECTOR, source=ip_interface("10.1.2.3/16")))
    assert codec.decode_policy(sent_and_read(PFKEY.add_policy(policy))).selector == policy.selector


def test_no_repr_shows_a_key() -> None:
    secret = Key(b"an open secret!!")
    request = PFKEY.add_sa(replace(SA_, encryption=Encryption(AES_CBC, secret)))
    shown = repr(request) + repr(request.wire) + repr(sent_and_read(request))
    assert "secret" not in shown
    assert secret.reveal().hex() not in shown


# ---- bytes that make no sense ----


def test_a_message_shorter_than_its_base_header_is_malformed() -> None:
    with pytest.raises(MalformedReplyError, match="15 bytes are no PF_KEY message"):
        read(bytes(15))


def test_a_truncated_extension_is_malformed() -> None:
    whole = sent(PFKEY.get_sa(SA_.id))
    header = bytearray(whole[:-8])
    header[4] -= 1
    with pytest.raises(MalformedReplyError, match="goes beyond the end"):
        read(bytes(header))


def test_an_extension_that_is_too_short_is_malformed_and_named() -> None:
    short = bytes([1, 0, lib.SADB_EXT_SA, 0]) + bytes(4)
    with pytest.raises(MalformedReplyError, match="SADB_EXT_SA of 8 bytes"):
        read(sent(PFKEY.flush_sas(None)) + short)


@given(st.binary(max_size=200))
def test_whatever_arrives_is_read_or_malformed(tail: bytes) -> None:
    try:
        found = read(sent(PFKEY.flush_sas(None)) + tail)
        codec.decode_sa(found)
    except MalformedReplyError:
        pass


@pytest.mark.parametrize("missing", [lib.SADB_EXT_SA, lib.SADB_EXT_ADDRESS_SRC, lib.SADB_EXT_ADDRESS_DST])
def test_an_sa_without_what_every_sa_has_is_malformed(missing: int) -> None:
    extensions = {lib.SADB_EXT_SA: SAExtension(5)} | HOSTS
    del extensions[missing]
    with pytest.raises(MalformedReplyError, match="came without SADB_EXT"):
        codec.decode_sa(message(MessageType.GET, 3, extensions))


@pytest.mark.parametrize(
    ("fixed", "extensions", "satype"),
    [
        (SAExtension(5, state=9), {}, 3),
        (SAExtension(5), {lib.SADB_X_EXT_SA2: SA2Extension(77, 0)}, 3),
        (SAExtension(5), {}, 200),
    ],
)
def test_an_sa_of_unknown_state_mode_or_type_is_malformed(
    fixed: SAExtension, extensions: dict[int, Any], satype: int
) -> None:
    with pytest.raises(MalformedReplyError, match="no such value in an SA"):
        shown_sa(fixed, extensions, satype)
