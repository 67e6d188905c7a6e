"""Each kernel interface is the other's witness: what one writes, the other reads back equal."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from pfkeyx import (
    AES_CBC,
    AES_CTR,
    AES_GCM,
    AES_XCBC_MAC,
    CHACHA20_POLY1305,
    DEFLATE,
    HMAC_SHA1,
    HMAC_SHA256,
    HMAC_SHA384,
    HMAC_SHA512,
    NULL,
    SA,
    Action,
    Direction,
    Engine,
    Lifetime,
    Limit,
    Mark,
    Mode,
    NotFoundError,
    Policy,
    Port,
    Protocol,
    SAFilter,
    SAFlag,
    Selector,
    Template,
    UdpEncap,
    UnsupportedError,
)
from pfkeyx.algorithms import AUTH_NULL, HMAC_SHA256_96, TRIPLE_DES_CBC
from pfkeyx.model import any_selector
from pfkeyx.opening import EngineName
from tests.kernel.values import ADDRESSES, authentication, by_identity, encryption, make_policies, make_sa

LIMITS = Lifetime(
    soft=Limit(octets=10**9, packets=10**6, seconds=3000, idle_seconds=300),
    hard=Limit(octets=2 * 10**9, packets=2 * 10**6, seconds=3600, idle_seconds=600),
)


@pytest.fixture(params=[("xfrm", "pfkey"), ("pfkey", "xfrm")], ids=["xfrm-to-pfkey", "pfkey-to-xfrm"])
def interfaces(request: pytest.FixtureRequest) -> Iterator[tuple[Engine, Engine]]:
    """Open one engine to write with and another to read with, both ways round."""
    names: tuple[EngineName, EngineName] = request.param
    with Engine.open(names[0]) as writer, Engine.open(names[1]) as reader:
        yield writer, reader


def test_every_algorithm_of_both_interfaces_is_read_back(interfaces: tuple[Engine, Engine], family: int) -> None:
    suites = [
        (encryption(AES_CBC, 16), authentication(HMAC_SHA1, 20)),
        (encryption(AES_CBC, 24), authentication(HMAC_SHA384, 48)),
        (encryption(AES_CBC, 32), authentication(HMAC_SHA512, 64)),
        (encryption(AES_CBC, 16), authentication(HMAC_SHA256_96, 32)),
        (encryption(AES_CBC, 16), authentication(AES_XCBC_MAC, 16)),
        (encryption(AES_CBC, 16), authentication(AUTH_NULL, 0)),
        (encryption(AES_CBC, 16), None),
        (encryption(TRIPLE_DES_CBC, 24), authentication()),
        (encryption(NULL, 0), authentication()),
        (encryption(AES_CTR, 20), authentication()),
        (encryption(AES_CTR, 36), authentication()),
    ]
    _check_sas(
        interfaces,
        [
            make_sa(family, 0x1000 + number, encryption=cipher, authentication=integrity)
            for number, (cipher, integrity) in enumerate(suites)
        ],
    )


def test_authentication_headers_are_read_back(interfaces: tuple[Engine, Engine], family: int) -> None:
    sa = make_sa(family, encryption=None)
    _check_sas(interfaces, [replace(sa, id=replace(sa.id, protocol=Protocol.AH))])


def test_every_field_of_both_interfaces_is_read_back(interfaces: tuple[Engine, Engine], family: int) -> None:
    variations: list[dict[str, object]] = [
        {"lifetime": LIMITS},
        {"lifetime": Lifetime(soft=Limit(seconds=5))},
        {"lifetime": Lifetime(hard=Limit(packets=2**32 - 1, octets=2**40))},
        {"flags": SAFlag.NO_ECN},
        {"flags": SAFlag.DECAP_DSCP},
        {"flags": SAFlag.NO_PMTU_DISCOVERY},
        {"flags": SAFlag.NO_ECN | SAFlag.DECAP_DSCP | SAFlag.NO_PMTU_DISCOVERY},
        {"reqid": 0},
        {"reqid": 0xFFFFFFFF},
        {"replay_window": 0},
        {"replay_window": 1},
        {"replay_window": 32},
        {"encap": UdpEncap()},
        {"encap": UdpEncap(4500, 61234)},
        {"mode": Mode.TRANSPORT},
        {"mode": Mode.BEET},
    ]
    _check_sas(interfaces, [make_sa(family, 0x1000 + n, **fields) for n, fields in enumerate(variations)])


def test_compressing_sas_are_read_back(interfaces: tuple[Engine, Engine], family: int) -> None:
    # In tunnel mode the kernel adds an SA of its own, for packets that were not worth compressing.
    modes = enumerate((Mode.TUNNEL, Mode.TUNNEL, Mode.TRANSPORT), start=0x1000)
    _check_sas(interfaces, [_make_ipcomp(family, cpi, mode) for cpi, mode in modes])


def test_an_sa_may_carry_packets_of_the_other_ip_version(interfaces: tuple[Engine, Engine], family: int) -> None:
    sa = make_sa(family, selector=any_selector({4: 6, 6: 4}[family]))
    # PF_KEY shows the prefixes of a selector without their IP version.
    shown = {"xfrm": sa, "pfkey": replace(sa, selector=None)}
    interfaces[0].add_sa(sa)
    for engine in interfaces:
        assert engine.get_sa(sa.id).as_written() == shown[engine.name]


def test_the_kernel_chooses_the_sas_of_a_dump(interfaces: tuple[Engine, Engine], family: int) -> None:
    writer, reader = interfaces
    at = ADDRESSES[family]
    esp = make_sa(family)
    ah = replace(esp, id=replace(esp.id, protocol=Protocol.AH), encryption=None)
    twin = replace(esp, id=replace(esp.id, destination=at.roaming), source=at.gateway)
    foreign = make_sa({4: 6, 6: 4}[family])
    writer.add_sas([esp, ah, _make_ipcomp(family, 0x2000), twin, foreign])
    prefix = {4: "192.0.2.2/31", 6: "2001:db8::2/127"}[family]
    everywhere = any_selector(family)
    for matching, expected in (
        (SAFilter(Protocol.AH), {ah.id}),
        (SAFilter(Protocol.IPCOMP), {_make_ipcomp(family, 0x2000).id}),
        (SAFilter(source=ip_network(at.gateway)), {twin.id}),
        (SAFilter(Protocol.ESP, source=ip_network(prefix)), {esp.id}),
        (SAFilter(Protocol.ESP, destination=ip_network(prefix)), {twin.id}),
        (SAFilter(Protocol.ESP, ip_network(prefix), ip_network(at.gateway)), {esp.id}),
        (SAFilter(Protocol.ESP, destination=everywhere.destination), {esp.id, twin.id}),
        (SAFilter(source=ip_network(at.roaming_inner)), set()),
    ):
        assert {sa.id for sa in reader.dump_sas(matching)} == expected, matching
        assert {sa.id for sa in reader.iter_sas(matching)} == expected, matching


def test_the_sas_of_one_protocol_are_deleted(interfaces: tuple[Engine, Engine], family: int) -> None:
    writer, reader = interfaces
    esp = make_sa(family)
    ah = replace(esp, id=replace(esp.id, protocol=Protocol.AH), encryption=None)
    writer.add_sas([esp, ah])
    reader.flush_sas(Protocol.ESP)
    assert by_identity(writer.dump_sas()) == [ah]


def test_spis_at_both_ends_of_their_range_are_read_back(interfaces: tuple[Engine, Engine], family: int) -> None:
    _check_sas(interfaces, [make_sa(family, spi) for spi in (0x1, 0x100, 0x80000001, 0xFFFFFFFF)])


def test_a_deletion_is_seen_by_the_other(interfaces: tuple[Engine, Engine], family: int) -> None:
    one, other = interfaces
    sas = [make_sa(family, 0x1000), make_sa(family, 0x1001)]
    one.add_sas(sas)
    other.delete_sa(sas[0].id)
    assert by_identity(one.dump_sas()) == [sas[1]]
    one.flush_sas()
    assert other.dump_sas() == []


def test_the_policies_of_a_tunnel_are_read_back(
    interfaces: tuple[Engine, Engine], family: int, outer_family: int
) -> None:
    _check_policies(interfaces, make_policies(family, outer_family))


@pytest.fixture(params=[4, 6], ids=["inside-IPv4", "inside-IPv6"])
def outer_family(request: pytest.FixtureRequest) -> int:
    """Each IP version in turn, for the packets of the tunnel itself."""
    version: int = request.param
    return version


def test_every_field_of_a_policy_is_read_back(interfaces: tuple[Engine, Engine], family: int) -> None:
    out = make_policies(family)[0]
    selector = out.selector
    wide = "10.0.0.0/8" if family == 4 else "fd00::/16"
    transport = Template(mode=Mode.TRANSPORT)
    variations = [
        replace(out, selector=replace(selector, protocol=17)),
        replace(out, selector=replace(selector, protocol=6, destination_port=Port(443))),
        replace(out, selector=replace(selector, protocol=17, source_port=Port(500), destination_port=Port(4500))),
        replace(out, selector=Selector(ip_network(wide), ip_network(wide)), priority=0x80000001),
        Policy(replace(selector, protocol=58), Direction.OUT),
        Policy(replace(selector, protocol=58), Direction.IN, action=Action.BLOCK, priority=3),
        Policy(selector, Direction.IN, (replace(transport, optional=True),)),
        Policy(replace(selector, protocol=1), Direction.OUT, (replace(transport, reqid=9),)),
        Policy(replace(selector, protocol=132), Direction.OUT, (transport, replace(transport, protocol=Protocol.AH))),
        replace(out, selector=replace(selector, protocol=33), lifetime=LIMITS),
    ]
    _check_policies(interfaces, tuple(variations))


def test_an_aead_sa_goes_round_over_xfrm(family: int) -> None:
    sa = make_sa(family, encryption=encryption(AES_GCM, 20), authentication=None)
    _check_over_xfrm(
        [
            sa,
            make_sa(family, 0x1001, encryption=encryption(CHACHA20_POLY1305, 36), authentication=None),
            make_sa(family, 0x1002, encryption=replace(encryption(AES_GCM, 36), icv_bits=96), authentication=None),
            make_sa(family, 0x1003, authentication=authentication(HMAC_SHA256, 32)),
            make_sa(family, 0x1004, flags=SAFlag.ESN, replay_window=64),
            make_sa(family, 0x1005, replay_window=2048),
            make_sa(family, 0x1006, if_id=42),
            make_sa(family, 0x1007, reqid=8, selector=make_policies(family)[0].selector),
        ]
    )


def test_a_marked_sa_goes_round_over_xfrm(family: int) -> None:
    sa = make_sa(family)
    _check_over_xfrm([replace(sa, id=replace(sa.id, mark=Mark(5, 0xFF)))])


def test_policies_that_only_xfrm_can_express_go_round(family: int) -> None:
    out = make_policies(family)[0]
    policies = (
        replace(out, mark=Mark(5, 0xFF)),
        replace(out, if_id=42),
        replace(out, selector=replace(out.selector, protocol=17, destination_port=Port(0x1000, 0xF000))),
    )
    with Engine.open("xfrm") as engine:
        engine.add_policies(policies)
        assert {policy.as_written() for policy in engine.dump_policies()} == set(policies)
        for policy in policies:
            engine.delete_policy(policy.id)
        assert engine.dump_policies() == []


def test_what_pfkey_cannot_express_is_refused_and_not_cut_down(family: int) -> None:
    with Engine.open("pfkey") as engine:
        for fields, word in (
            ({"encryption": encryption(AES_GCM, 20), "authentication": None}, "aes-gcm"),
            ({"authentication": authentication(HMAC_SHA256, 32)}, "96"),
            ({"flags": SAFlag.ESN}, "esn"),
            ({"replay_window": 33}, "replay_window"),
            ({"if_id": 42}, "if_id"),
        ):
            with pytest.raises(UnsupportedError, match=word) as refusal:
                engine.add_sa(make_sa(family, **fields))
            assert "xfrm engine" in refusal.value.hint
        assert engine.dump_sas() == []


def test_an_index_and_an_update_are_seen_by_the_other(interfaces: tuple[Engine, Engine], family: int) -> None:
    one, other = interfaces
    out = make_policies(family)[0]
    one.add_policy(out)
    (before,) = other.dump_policies()
    other.update_policy(replace(out, priority=77))
    (after,) = one.dump_policies()
    assert after.index == before.index
    assert after.as_written() == replace(out, priority=77)


def test_a_policy_is_found_and_deleted_by_its_index(interfaces: tuple[Engine, Engine], family: int) -> None:
    writer, reader = interfaces
    policies = make_policies(family)
    writer.add_policies(policies)
    indexes = {policy.id: policy.index for policy in writer.dump_policies()}
    for policy in policies:
        assert reader.get_policy(policy.id).as_written() == policy
        found = reader.get_policy(indexes[policy.id])
        assert (found.index, found.as_written()) == (indexes[policy.id], policy)
        reader.delete_policy(found.index)
        for missing in (found.index, policy.id):
            with pytest.raises(NotFoundError):
                writer.get_policy(missing)
            with pytest.raises(NotFoundError):
                writer.delete_policy(missing)
    assert writer.dump_policies() == []


def _make_ipcomp(family: int, cpi: int, mode: Mode = Mode.TUNNEL) -> SA:
    sa = make_sa(family, encryption=None, authentication=None, compression=DEFLATE, mode=mode, replay_window=0)
    return replace(sa, id=replace(sa.id, spi=cpi, protocol=Protocol.IPCOMP))


def _check_sas(interfaces: tuple[Engine, Engine], sas: list[SA]) -> None:
    writer, reader = interfaces
    writer.add_sas(sas)
    written = sorted(sas, key=lambda sa: sa.id.spi)
    assert by_identity(reader.dump_sas()) == written
    assert [reader.get_sa(sa.id).as_written() for sa in written] == written
    assert by_identity(writer.dump_sas()) == written


def _check_policies(interfaces: tuple[Engine, Engine], policies: tuple[Policy, ...]) -> None:
    writer, reader = interfaces
    writer.add_policies(policies)
    assert {policy.id: policy.as_written() for policy in reader.dump_policies()} == {p.id: p for p in policies}
    for policy in policies:
        reader.delete_policy(policy.id)
    assert writer.dump_policies() == []


def _check_over_xfrm(sas: list[SA]) -> None:
    with Engine.open("xfrm") as engine:
        engine.add_sas(sas)
        assert by_identity(engine.dump_sas()) == sas
        assert [engine.get_sa(sa.id).as_written() for sa in sas] == sas
        for sa in sas:
            engine.delete_sa(sa.id)
        assert engine.dump_sas() == []


def test_the_addresses_of_sas_are_told_apart(family: int) -> None:
    addresses = ADDRESSES[family]
    sa = make_sa(family)
    twin = replace(sa, id=replace(sa.id, destination=addresses.roaming), source=addresses.gateway)
    with Engine.open("xfrm") as engine, Engine.open("pfkey") as witness:
        engine.add_sas([sa, twin])
        assert witness.get_sa(sa.id).source == addresses.roaming
        assert witness.get_sa(twin.id).source == addresses.gateway
