"""The PF_KEYv2 dialect (RFC 2367, with Linux's extensions): the same operations as XFRM, where PF_KEY can say them."""

from pfkeyx.pfkey.requests import PfkeyDialect
from pfkeyx.pfkey.transport import PfkeyEvents, PfkeyTransport

__all__ = ["PfkeyDialect", "PfkeyEvents", "PfkeyTransport"]
