"""A whole tunnel, from which its SAs and policies are made."""

from dataclasses import dataclass, replace

from pfkeyx.model.addresses import IPAddress, Prefix, Selector, any_selector
from pfkeyx.model.numbers import Direction
from pfkeyx.model.parts import Authentication, Encap, Encryption, Mark
from pfkeyx.model.policy import Policy, Template
from pfkeyx.model.sa import SA, SAId


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One tunnel as its owner sees it: `local` and `remote` ends (RFC 4555), and the networks behind them.

    It builds the SAs and policies of an ESP tunnel, so that the two sides of each agree. With an `if_id` it is the
    tunnel of the XFRM interface that has it, with a `mark` that of packets so marked.
    """

    local: IPAddress
    remote: IPAddress
    local_net: Prefix
    remote_net: Prefix
    reqid: int
    encap: Encap | None = None
    if_id: int = 0
    mark: Mark | None = None

    def reversed(self) -> "Tunnel":
        """Return the tunnel as its remote end sees it; `if_id` and `mark` stay as they are."""
        return replace(
            self,
            local=self.remote,
            remote=self.local,
            local_net=self.remote_net,
            remote_net=self.local_net,
            encap=self.encap.reversed() if self.encap else None,
        )

    def outbound(self, spi: int, encryption: Encryption, authentication: Authentication | None = None) -> SA:
        """Return the SA that the peer named with `spi`, from local to remote."""
        return SA(
            SAId(self.remote, spi, mark=self.mark),
            self.local,
            reqid=self.reqid,
            encryption=encryption,
            authentication=authentication,
            encap=self.encap,
            selector=self._selector,
            if_id=self.if_id,
        )

    def inbound(self, spi: int, encryption: Encryption, authentication: Authentication | None = None) -> SA:
        """Return the SA that we named with `spi`, from remote to local."""
        return SA(
            SAId(self.local, spi, mark=self.mark),
            self.remote,
            reqid=self.reqid,
            encryption=encryption,
            authentication=authentication,
            encap=self.encap.reversed() if self.encap else None,
            selector=self._selector,
            if_id=self.if_id,
        )

    def policies(self) -> tuple[Policy, Policy, Policy]:
        """Return the out, in and forward policies."""
        outward = Selector(self.local_net, self.remote_net)
        inward = Selector(self.remote_net, self.local_net)
        to_remote = (Template(source=self.local, destination=self.remote, reqid=self.reqid),)
        to_local = (Template(source=self.remote, destination=self.local, reqid=self.reqid),)
        return (
            Policy(outward, Direction.OUT, to_remote, mark=self.mark, if_id=self.if_id),
            Policy(inward, Direction.IN, to_local, mark=self.mark, if_id=self.if_id),
            Policy(inward, Direction.FORWARD, to_local, mark=self.mark, if_id=self.if_id),
        )

    @property
    def _selector(self) -> Selector | None:
        # An SA takes packets of its own IP version unless it says otherwise.
        inner = self.local_net.version
        return None if inner == self.local.version else any_selector(inner)
