"""The PF_KEYv2 dialect (RFC 2367, with Linux's extensions): the same operations as XFRM, where PF_KEY can say them.

`message` and `extensions` are its raw level, and `PfkeySocket` is the socket to go with it.
"""

from pfkeyx.pfkey.listening import PfkeyEvents
from pfkeyx.pfkey.requests import PfkeyDialect
from pfkeyx.pfkey.sockets import PfkeySocket
from pfkeyx.pfkey.transport import PfkeyTransport

__all__ = ["PfkeyDialect", "PfkeyEvents", "PfkeySocket", "PfkeyTransport"]
