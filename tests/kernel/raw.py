"""PF_KEY at its raw level: the extensions that the tests write, and a question with its one answer."""

from collections.abc import Mapping

from pfkeyx import Engine, KernelError
from pfkeyx.model import IPAddress, Protocol
from pfkeyx.native import lib
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    Extension,
    IPsecRequest,
    KeyExtension,
    LifetimeExtension,
    PolicyExtension,
    SA2Extension,
    SAExtension,
)
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, SAType
from pfkeyx.pfkey.sockets import PfkeySocket
from tests.kernel.values import ADDRESSES, key

Extensions = dict[int, Extension]

REQID = 7
HARD = LifetimeExtension(packets=2 * 10**6, octets=2 * 10**12, addtime=3600, usetime=600)
SOFT = LifetimeExtension(packets=10**6, octets=10**12, addtime=3000, usetime=300)


def host(address: IPAddress, protocol: int = 0, port: int = 0) -> AddressExtension:
    """Return the extension of one address, as the kernel writes it."""
    return AddressExtension(address, address.max_prefixlen, protocol, port)


def ends(family: int) -> Extensions:
    """Return the two ends of an SA."""
    at = ADDRESSES[family]
    return {ExtensionType.ADDRESS_SRC: host(at.roaming), ExtensionType.ADDRESS_DST: host(at.gateway)}


def esp(family: int, spi: int = 0x1000) -> Extensions:
    """Return an ESP tunnel SA of AES-CBC and HMAC-SHA-1."""
    return _sa(family, spi, lib.IPSEC_MODE_TUNNEL, lib.SADB_AALG_SHA1HMAC, lib.SADB_X_EALG_AESCBC) | {
        ExtensionType.KEY_AUTH: KeyExtension.of(key(20)),
        ExtensionType.KEY_ENCRYPT: KeyExtension.of(key(16)),
    }


def ah(family: int, spi: int = 0x1000) -> Extensions:
    """Return an AH transport SA of HMAC-SHA-1."""
    return _sa(family, spi, lib.IPSEC_MODE_TRANSPORT, lib.SADB_AALG_SHA1HMAC, lib.SADB_EALG_NONE) | {
        ExtensionType.KEY_AUTH: KeyExtension.of(key(20))
    }


def ipcomp(family: int, cpi: int = 0x1000) -> Extensions:
    """Return an IPComp transport SA of DEFLATE."""
    return _sa(family, cpi, lib.IPSEC_MODE_TRANSPORT, lib.SADB_AALG_NONE, lib.SADB_X_CALG_DEFLATE)


def _sa(family: int, spi: int, mode: int, auth: int, encrypt: int) -> Extensions:
    return {
        ExtensionType.SA: SAExtension(spi, 32, lib.SADB_SASTATE_MATURE, auth, encrypt),
        **ends(family),
        ExtensionType.X_SA2: SA2Extension(mode, REQID),
    }


def found_by(extensions: Mapping[int, Extension]) -> Extensions:
    """Return the part of an SA that it is looked up by."""
    return {it: extensions[it] for it in (ExtensionType.SA, ExtensionType.ADDRESS_SRC, ExtensionType.ADDRESS_DST)}


def types(extensions: Mapping[int, Extension]) -> list[ExtensionType]:
    """Return which extensions these are."""
    return list(map(ExtensionType, extensions))


def selector(family: int, protocol: int = lib.IPSEC_PROTO_ANY, port: int = 0) -> Extensions:
    """Return the traffic of a policy, from the roaming host's inner address to the gateway's."""
    at = ADDRESSES[family]
    return {
        ExtensionType.ADDRESS_SRC: host(at.roaming_inner, protocol),
        ExtensionType.ADDRESS_DST: host(at.gateway_inner, protocol, port),
    }


def tunnel(family: int, reqid: int = REQID) -> IPsecRequest:
    """Return a request for ESP in tunnel mode between the roaming host and the gateway."""
    at = ADDRESSES[family]
    return IPsecRequest(Protocol.ESP, lib.IPSEC_MODE_TUNNEL, lib.IPSEC_LEVEL_UNIQUE, reqid, at.roaming, at.gateway)


def transport(level: int, reqid: int = 0, protocol: int = Protocol.ESP) -> IPsecRequest:
    """Return a request for transport mode, by default of ESP."""
    return IPsecRequest(protocol, lib.IPSEC_MODE_TRANSPORT, level, reqid, None, None)


def outbound(*requests: IPsecRequest, priority: int = 0, kind: int = lib.IPSEC_POLICY_IPSEC) -> Extensions:
    """Return what an outbound policy asks for."""
    return {ExtensionType.X_POLICY: PolicyExtension(kind, lib.IPSEC_DIR_OUTBOUND, 0, priority, requests)}


def by_index(index: int) -> Extensions:
    """Return what a policy is looked up by when its index is known."""
    return {ExtensionType.X_POLICY: PolicyExtension(lib.IPSEC_POLICY_NONE, 0, index)}


def ask(
    engine: Engine,
    message_type: MessageType,
    extensions: Mapping[int, Extension],
    satype: SAType = SAType.ESP,
    seq: int = 0,
) -> Message:
    """Return the one message that the kernel answers with."""
    (answer,) = engine.exchange(Message(message_type, satype, seq=seq, extensions=extensions))
    return answer


def refusal(
    engine: Engine,
    message_type: MessageType,
    extensions: Mapping[int, Extension],
    satype: SAType = SAType.ESP,
) -> int | None:
    """Return the errno with which the kernel refuses; None when it does not."""
    try:
        engine.exchange(Message(message_type, satype, extensions=extensions))
    except KernelError as error:
        return error.errno
    return None


def all_waiting(sock: PfkeySocket) -> list[Message]:
    """Return the messages that wait in a socket; the kernel queues its answer before a request's send returns."""
    return list(iter(sock.receive, None))
