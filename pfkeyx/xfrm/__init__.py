"""The XFRM dialect: the same operations as PF_KEY over netlink, with all that only netlink can say.

pyroute2 is imported by `messages` and by what listens, and neither before it is wanted.
"""

from pfkeyx.xfrm.requests import XfrmDialect
from pfkeyx.xfrm.transport import XfrmTransport

__all__ = ["XfrmDialect", "XfrmTransport"]
