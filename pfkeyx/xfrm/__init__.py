"""The XFRM dialect: the same operations as PF_KEY over netlink, with all that only netlink can say.

Importing this package imports pyroute2; nothing else in pfkeyx does.
"""

from pfkeyx.xfrm.listening import XfrmEvents
from pfkeyx.xfrm.requests import XfrmDialect
from pfkeyx.xfrm.transport import XfrmTransport

__all__ = ["XfrmDialect", "XfrmEvents", "XfrmTransport"]
