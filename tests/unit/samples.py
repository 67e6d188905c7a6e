"""One tunnel in values, for tests that need no kernel."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from pfkeyx import (
    AES_CBC,
    AES_GCM,
    HMAC_SHA256,
    AddressPair,
    AddressUpdate,
    Authentication,
    Encryption,
    Key,
    Method,
    Replay,
    Support,
    Tunnel,
    Usage,
)
from pfkeyx.algorithms import HMAC_SHA256_96

#: Recognisable wherever they might leak.
SECRET = bytes(range(0x40, 0x40 + 36))

LOCAL = ip_address("192.0.2.2")
REMOTE = ip_address("203.0.113.1")
NEW_LOCAL = ip_address("198.51.100.2")
TUNNEL = Tunnel(LOCAL, REMOTE, ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16"), reqid=7)
GCM = Encryption(AES_GCM, Key(SECRET))
CBC = Encryption(AES_CBC, Key(SECRET[:32]))
SHA256 = Authentication(HMAC_SHA256, Key(SECRET[:32]))
SHA256_96 = Authentication(HMAC_SHA256_96, Key(SECRET[:32]))

USAGE = Usage(octets=1000, packets=10, added=1, first_used=2)
OUTBOUND = replace(TUNNEL.outbound(0xC0FFEE01, GCM), usage=USAGE, replay=Replay(41, 0, (0,)))
INBOUND = replace(TUNNEL.inbound(0xC0FFEE02, GCM), usage=USAGE, replay=Replay(0, 39, (0xFFFFFFFF,)))
SAS = (OUTBOUND, INBOUND)
POLICIES = TUNNEL.policies()
UPDATE = AddressUpdate(AddressPair(LOCAL, REMOTE), AddressPair(NEW_LOCAL, REMOTE))

#: What a kernel can do over XFRM.
EVERY_METHOD = {
    Method.ADDRUPDATE: Support(False, "XFRM has no such message: it is PF_KEY's"),
    Method.MIGRATE_STATE: Support(True, "yes"),
    Method.MIGRATE: Support(True, "yes"),
    Method.REPLACE: Support(True, "yes"),
    Method.SADB_X_MIGRATE: Support(False, "the pfkey engine has it, which sees the same SAs"),
}
NO_MIGRATE_STATE = EVERY_METHOD | {Method.MIGRATE_STATE: Support(False, "the kernel has no XFRM_MSG_MIGRATE_STATE")}
