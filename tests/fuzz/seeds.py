"""Messages to start from, one for each extension and a few whole ones, built by the package itself."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from random import Random

from pfkeyx import AES_CBC, Encryption, Key
from pfkeyx.native import ffi
from pfkeyx.pfkey import PfkeyDialect
from pfkeyx.pfkey.extensions import (
    AddressExtension,
    Combination,
    Extension,
    FilterExtension,
    IdentityExtension,
    IPsecRequest,
    KeyExtension,
    KMAddressExtension,
    KMPrivateExtension,
    LifetimeExtension,
    NatTPortExtension,
    NatTTypeExtension,
    PolicyExtension,
    ProposalExtension,
    SA2Extension,
    SAExtension,
    SecurityContextExtension,
    SensitivityExtension,
    SPIRangeExtension,
    SupportedAlgorithm,
    SupportedExtension,
    Unknown,
)
from pfkeyx.pfkey.message import ExtensionType, Message, MessageType, SAType, build
from tests.unit.random_values import random_policy, random_sa
from tests.unit.samples import OUTBOUND, POLICIES
from tests.unit.xfrm_bytes import ack, done, sa_entry, told_policy, told_sa

V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
LIFETIME = LifetimeExtension(1, 2, 3, 4)
ADDRESS_4, ADDRESS_6 = AddressExtension(V4, 32, 17, 500), AddressExtension(V6, 128)
TUNNELS = (IPsecRequest(50, 2, 3, 9, V4, V4), IPsecRequest(50, 2, 3, 9, V6, V6), IPsecRequest(51, 1, 2, 0, None, None))
ALGORITHMS = SupportedExtension((SupportedAlgorithm(3, 0, 160, 160), SupportedAlgorithm(12, 8, 128, 256)))

EXTENSIONS: dict[int, Extension] = {
    ExtensionType.SA: SAExtension(0x12345678, 32, 1, 3, 12, 0x80000000),
    ExtensionType.LIFETIME_CURRENT: LIFETIME,
    ExtensionType.LIFETIME_HARD: LIFETIME,
    ExtensionType.LIFETIME_SOFT: LIFETIME,
    ExtensionType.ADDRESS_SRC: ADDRESS_4,
    ExtensionType.ADDRESS_DST: ADDRESS_6,
    ExtensionType.ADDRESS_PROXY: ADDRESS_4,
    ExtensionType.KEY_AUTH: KeyExtension.of(Key(bytes(range(20)))),
    ExtensionType.KEY_ENCRYPT: KeyExtension(Key(bytes(range(17))), 129),
    ExtensionType.IDENTITY_SRC: IdentityExtension(2, 1, "gateway.example"),
    ExtensionType.IDENTITY_DST: IdentityExtension(3, 1),
    ExtensionType.SENSITIVITY: SensitivityExtension(1, 2, (3, 4), 5, (6,)),
    ExtensionType.PROPOSAL: ProposalExtension(32, (Combination(3, 12, 0, 160, 160, 128, 256, LIFETIME, LIFETIME),) * 2),
    ExtensionType.SUPPORTED_AUTH: ALGORITHMS,
    ExtensionType.SUPPORTED_ENCRYPT: ALGORITHMS,
    ExtensionType.SPIRANGE: SPIRangeExtension(0x100, 0x1FF),
    ExtensionType.X_KMPRIVATE: KMPrivateExtension(bytes(16)),
    ExtensionType.X_POLICY: PolicyExtension(2, 2, 8, 100, TUNNELS),
    ExtensionType.X_SA2: SA2Extension(2, 9),
    ExtensionType.X_NAT_T_TYPE: NatTTypeExtension(2),
    ExtensionType.X_NAT_T_SPORT: NatTPortExtension(4500),
    ExtensionType.X_NAT_T_DPORT: NatTPortExtension(4500),
    ExtensionType.X_NAT_T_OA: ADDRESS_4,
    ExtensionType.X_SEC_CTX: SecurityContextExtension(1, 1, b"system_u:object_r:ipsec_spd_t:s0\0"),
    ExtensionType.X_KMADDRESS: KMAddressExtension(V6, V6, 500, 4500),
    ExtensionType.X_FILTER: FilterExtension(2, V4, 24, V4, 32),
    ExtensionType.X_NEW_ADDRESS_SRC: ADDRESS_4,
    ExtensionType.X_NEW_ADDRESS_DST: ADDRESS_6,
    99: Unknown(99, bytes(12)),
}


def _pfkey_seeds() -> Iterator[bytes]:
    """Yield whole messages: each extension alone, and all of them together."""
    for exttype, extension in EXTENSIONS.items():
        yield _bytes({exttype: extension})
    yield _bytes(EXTENSIONS)
    sa = replace(OUTBOUND, encryption=Encryption(AES_CBC, Key(bytes(range(16)))))
    for request in (PfkeyDialect().add_sa(sa), PfkeyDialect().add_policy(POLICIES[0])):
        yield ffi.buffer(request.wire.message.data, request.wire.message.size)[:]


def _xfrm_seeds() -> Iterator[bytes]:
    """Yield datagrams of one entry, and of several."""
    random = Random(0)
    for _ in range(16):
        yield told_sa(random_sa(random))
        yield told_policy(random_policy(random))
    yield sa_entry(7) + sa_entry(7) + done(7)
    yield sa_entry(7) + ack(7, 1, "a refusal")


def _bytes(extensions: dict[int, Extension]) -> bytes:
    message = build(Message(MessageType.ADD, SAType.ESP, seq=7, pid=42, extensions=extensions))
    return ffi.buffer(message.data, message.size)[:]


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {"pfkey": _pfkey_seeds, "xfrm": _xfrm_seeds}
