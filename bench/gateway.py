"""The gateway whose tables are written, read and moved: its tunnels, as values and in the words of `ip`."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, ip_network

from pfkeyx import (
    AES_CBC,
    AES_GCM,
    HMAC_SHA1,
    SA,
    AddressUpdate,
    Authentication,
    Encryption,
    Key,
    Policy,
    Tunnel,
)

LOCAL, NEW_LOCAL = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
REMOTES = IPv4Address("100.64.0.0")
THERE, BACK = AddressUpdate(LOCAL, NEW_LOCAL), AddressUpdate(NEW_LOCAL, LOCAL)
_INNERS = IPv4Address("10.0.0.0")
OWN_NET = ip_network("172.16.0.0/24")


def tunnels(count: int) -> list[Tunnel]:
    """Return tunnels of one gateway, each to another remote end."""
    # The kernel finds SAs by the exclusive or of addresses and reqid, in which two that count alike would cancel out.
    return [
        Tunnel(LOCAL, REMOTES + number, OWN_NET, ip_network(_INNERS + number), reqid=1 + 3 * number)
        for number in range(count)
    ]


def policies(count: int) -> list[Policy]:
    """Return the policies of so many tunnels, three each."""
    return [policy for tunnel in tunnels(count) for policy in tunnel.policies()]


def gcm_sas(count: int) -> list[SA]:
    """Return as many SAs, in pairs, with a key of its own each."""
    return list(_pairs(count, lambda key: (Encryption(AES_GCM, Key(key)), None)))


def cbc_sas(count: int) -> list[SA]:
    """Return as many SAs, in pairs, with two keys of its own each."""
    return list(_pairs(count, lambda key: (Encryption(AES_CBC, Key(key[:16])), Authentication(HMAC_SHA1, Key(key)))))


def _pairs(count: int, suite: Callable[[bytes], tuple[Encryption, Authentication | None]]) -> Iterator[SA]:
    for number, tunnel in enumerate(tunnels((count + 1) // 2)):
        key = 5 * (number + 1).to_bytes(4, "big")
        yield tunnel.outbound(0x1000_0000 + number, *suite(key))
        if 2 * number + 1 < count:
            yield tunnel.inbound(0x2000_0000 + number, *suite(key))


def add_in_words(sa: SA) -> str:
    """Return the line of `ip -batch` that adds an SA."""
    assert sa.encryption is not None
    key = sa.encryption.key.reveal().hex()
    if sa.authentication is None:
        algorithms = f"aead {sa.encryption.algorithm.xfrm_name} 0x{key} {sa.encryption.icv_bits}"
    else:
        authentication = sa.authentication
        algorithms = (
            f"auth-trunc {authentication.algorithm.xfrm_name} 0x{authentication.key.reveal().hex()}"
            f" {authentication.icv_bits} enc {sa.encryption.algorithm.xfrm_name} 0x{key}"
        )
    return f"{_state('add', sa)} mode tunnel reqid {sa.reqid} replay-window {sa.replay_window} {algorithms}"


def update_in_words(sa: SA) -> str:
    """Return the line of `ip -batch` that updates an SA with its hard limit in seconds."""
    assert sa.lifetime.hard is not None
    return f"{add_in_words(sa).replace(' add ', ' update ', 1)} limit time-hard {sa.lifetime.hard.seconds}"


def delete_in_words(sa: SA) -> str:
    """Return the line of `ip -batch` that deletes an SA."""
    return _state("delete", sa)


def policy_in_words(policy: Policy) -> str:
    """Return the line of `ip -batch` that adds a policy."""
    selector, (template,) = policy.selector, policy.templates
    ends = f"src {selector.source} dst {selector.destination} dir {policy.direction}"
    place = f"src {template.source} dst {template.destination}"
    return f"xfrm policy add {ends} tmpl {place} proto {template.protocol} reqid {template.reqid} mode {template.mode}"


def _state(verb: str, sa: SA) -> str:
    return f"xfrm state {verb} src {sa.source} dst {sa.destination} proto {sa.id.protocol} spi {sa.id.spi}"
