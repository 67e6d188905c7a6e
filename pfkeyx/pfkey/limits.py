"""What the model can say and PF_KEY on Linux cannot: refused before anything is sent, one row a field.

A row names the field, says when its value is beyond PF_KEY, and why; `it` in the reason is what is checked.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from pfkeyx.algorithms import HMAC_SHA256, Kind
from pfkeyx.errors import UnsupportedError
from pfkeyx.model import (
    SA,
    Action,
    Direction,
    Encap,
    Lifetime,
    Mode,
    Policy,
    PolicyId,
    PolicyType,
    Port,
    Protocol,
    SAFlag,
    SAId,
    Selector,
    Share,
    SPIRequest,
    TcpEncap,
    Template,
    any_selector,
    prefix_address,
    prefix_length,
)
from pfkeyx.native import lib
from pfkeyx.pfkey.parts import FLAGS, MODES, SATYPES

T = TypeVar("T")
Rows = Sequence[tuple[str, Callable[[T], bool], str]]


def check_sa_id(operation: str, sa_id: SAId) -> None:
    """Raise `UnsupportedError` for a mark, or a protocol other than ESP, AH and IPComp."""
    check_protocol(operation, sa_id.protocol)
    _refuse(operation, sa_id, sa_id, _SA_ID)


def check_policy_type(operation: str, policy_type: PolicyType) -> None:
    """Raise `UnsupportedError` for a type other than main."""
    _refuse(operation, policy_type, policy_type, _POLICY_TYPE)


def check_protocol(operation: str, protocol: Protocol) -> None:
    """Raise `UnsupportedError` for a protocol other than ESP, AH and IPComp."""
    _refuse(operation, protocol, protocol, _PROTOCOL)


def check_spi_request(operation: str, wanted: SPIRequest) -> None:
    """Raise `UnsupportedError`, which names the field, for what PF_KEY cannot say of an SPI that is asked for.

    That is: a protocol or a mode without a number; a mark, an if_id, a direction, a CPU.
    """
    check_protocol(operation, wanted.protocol)
    _refuse(operation, wanted, wanted.mode, _MODE)
    _refuse(operation, wanted, wanted, _SPI_REQUEST)


def check_sa(operation: str, sa: SA) -> None:
    """Raise `UnsupportedError`, which names the field, for what an SA cannot have over PF_KEY.

    That is: a mark; AEAD and other algorithms without a number; an ICV other than the algorithm's one on PF_KEY;
    64-bit sequence numbers; a replay window above 32; flags other than NO_ECN, DECAP_DSCP and NO_PMTU_DISCOVERY;
    modes other than transport, tunnel and BEET; encapsulation in TCP, or an original address; packet limits beyond
    32 bits; a selector with more in it than a source prefix, or whose source begins at the SA's own source without
    being that host, or that has only a part of the addresses of another IP version than the SA's; and whatever only
    XFRM has attributes for.
    """
    check_sa_id(operation, sa.id)
    _refuse(operation, sa, sa, _SA)
    _refuse(operation, sa, sa.mode, _MODE)


def check_policy_id(operation: str, policy_id: PolicyId) -> None:
    """Raise `UnsupportedError`, which names the field, for a policy that cannot be looked up over PF_KEY.

    That is: a mark, an if_id, a type other than main, a policy of a single socket; a selector with an interface,
    a user, protocol 255, port 0 or a range of ports.
    """
    _refuse(operation, policy_id, policy_id, _POLICY_ID)
    _refuse(operation, policy_id, policy_id.selector, _SELECTOR)


def check_policy(operation: str, policy: Policy) -> None:
    """Raise `UnsupportedError`, which names the field, for what a policy cannot have over PF_KEY.

    That is: what `check_policy_id` refuses; flags, share, offload and other attributes; templates beside BLOCK;
    packet limits beyond 32 bits. In a template: an SPI, share or algorithm masks; a reqid above 0x3fff, or one that is
    optional; a mode other than transport and tunnel; addresses in transport mode; an optional outbound tunnel.
    """
    check_policy_id(operation, policy.id)
    _refuse(operation, policy, policy, _POLICY)
    for template in policy.templates:
        _refuse(operation, policy, template, _TEMPLATE)
        if template.optional and template.mode is Mode.TUNNEL and policy.direction is Direction.OUT:
            _refuse(operation, policy, template, _OPTIONAL_OUTBOUND)


def check_new_policy(operation: str, policy: Policy) -> None:
    """Raise `UnsupportedError` for what `check_policy` refuses, and for the wish for an index."""
    check_policy(operation, policy)
    _refuse(operation, policy, policy, _NEW_POLICY)


def check_moves(
    operation: str, policy_id: PolicyId, moves: Sequence[tuple[Template, Template]], encap: Encap | None
) -> None:
    """Raise `UnsupportedError` for an encapsulation, and for modes other than transport, tunnel and BEET."""
    _refuse(operation, policy_id, encap, _MOVE)
    for old, _ in moves:
        _refuse(operation, policy_id, old.mode, _MODE)


def _refuse(operation: str, subject: object, it: T, rows: Rows[T]) -> None:
    for field, is_beyond, reason in rows:
        if is_beyond(it):
            raise UnsupportedError(field, f"{operation} {subject}: {reason.format(it=it)}; open the xfrm engine")


def _has_long_limits(lifetime: Lifetime) -> bool:
    return any((limit.packets or 0) > 0xFFFFFFFF for limit in (lifetime.soft, lifetime.hard))


def _is_beyond_proxy(sa: SA) -> bool:
    if sa.selector is None:
        return False
    source = sa.selector.source
    everything = any_selector(source.version)
    # Linux shows what an SA carries of the other IP version as if it were of the SA's: 0 bits look alike.
    if source.version != sa.source.version:
        return sa.selector != everything
    if sa.selector != Selector(source, everything.destination):
        return True
    return prefix_address(source) == sa.source and prefix_length(source) not in (
        (0,) if sa.source.is_unspecified else (source.max_prefixlen,)
    )


def _is_beyond_port(port: Port | None) -> bool:
    return port is not None and (port.value == 0 or port.mask != 0xFFFF)


_MARK = "PF_KEY shows no marks, and finds only what has none"
_IF_ID = "PF_KEY has no interface ids"
_DIRECTION = "PF_KEY's SAs have no direction"
_OFFLOAD = "PF_KEY gives no work to interfaces"
_CPU = "PF_KEY has no SAs of single CPUs"
_TYPE = "PF_KEY has main policies only"
_SHARE = "PF_KEY has no sharing"
_OTHER = "PF_KEY has no such attributes"
_LIMITS = "PF_KEY counts packets in 32 bits"

_PROTOCOL: Rows[Protocol] = (("protocol", lambda it: it not in SATYPES, "PF_KEY has no SA type for protocol {it}"),)

_SA_ID: Rows[SAId] = (("mark", lambda it: it.mark is not None, _MARK),)

_MODE: Rows[Mode] = (("mode", lambda it: it not in MODES, "PF_KEY has no number for mode {it}"),)

_SA: Rows[SA] = (
    (
        "encryption.algorithm",
        lambda it: it.encryption is not None and it.encryption.algorithm.kind is Kind.AEAD,
        "PF_KEY on Linux has no combined-mode algorithms like {it.encryption.algorithm}",
    ),
    (
        "encryption.algorithm",
        lambda it: it.encryption is not None and it.encryption.algorithm.pfkey_number is None,
        "PF_KEY has no number for {it.encryption.algorithm}",
    ),
    (
        "authentication.algorithm",
        lambda it: it.authentication is not None and it.authentication.algorithm == HMAC_SHA256,
        "PF_KEY cuts hmac-sha256 to 96 bits, where peers expect the 128 of RFC 4868; what it does has the name "
        "hmac-sha256-96",
    ),
    (
        "authentication.algorithm",
        lambda it: it.authentication is not None and it.authentication.algorithm.pfkey_number is None,
        "PF_KEY has no number for {it.authentication.algorithm}",
    ),
    (
        "authentication.icv_bits",
        lambda it: (
            it.authentication is not None and it.authentication.icv_bits != it.authentication.algorithm.pfkey_icv_bits
        ),
        "PF_KEY sends {it.authentication.algorithm.pfkey_icv_bits} bits of {it.authentication.algorithm} and no "
        "other number",
    ),
    (
        "compression",
        lambda it: it.compression is not None and it.compression.pfkey_number is None,
        "PF_KEY has no number for {it.compression}",
    ),
    ("esn", lambda it: it.esn, "PF_KEY has no 64-bit sequence numbers"),
    ("flags", lambda it: bool(it.flags & ~SAFlag(sum(FLAGS))), "PF_KEY has no flags for {it.flags!r}"),
    ("replay_window", lambda it: it.replay_window > 32, "PF_KEY has windows of at most 32 packets"),
    ("extra_flags", lambda it: it.extra_flags != 0, "PF_KEY has no flags for {it.extra_flags!r}"),
    ("if_id", lambda it: it.if_id != 0, _IF_ID),
    ("encap", lambda it: isinstance(it.encap, TcpEncap), "PF_KEY on Linux encapsulates in UDP only"),
    (
        "encap.original_address",
        lambda it: it.encap is not None and it.encap.original_address is not None,
        "PF_KEY on Linux ignores original addresses (SADB_X_EXT_NAT_T_OA)",
    ),
    ("output_mark", lambda it: it.output_mark is not None, "PF_KEY marks no packets"),
    ("offload", lambda it: it.offload is not None, _OFFLOAD),
    ("tfc_padding", lambda it: it.tfc_padding != 0, "PF_KEY pads no packets"),
    ("nat_keepalive_s", lambda it: it.nat_keepalive_s != 0, "PF_KEY keeps no NAT's mapping alive"),
    ("mapping_threshold_s", lambda it: it.mapping_threshold_s != 0, "PF_KEY tells of every new mapping"),
    ("cpu", lambda it: it.cpu is not None, _CPU),
    ("iptfs", lambda it: it.iptfs is not None, "PF_KEY has no IPTFS"),
    # After those that need one.
    ("direction", lambda it: it.direction is not None, _DIRECTION),
    ("care_of", lambda it: it.care_of is not None, "PF_KEY has no care-of addresses"),
    ("other", lambda it: bool(it.other), _OTHER),
    ("lifetime", lambda it: _has_long_limits(it.lifetime), _LIMITS),
    (
        "selector",
        _is_beyond_proxy,
        "of an SA's selector PF_KEY keeps a source prefix, and cannot show one that begins at the SA's source, nor a "
        "part of the other IP version's addresses",
    ),
)

_SPI_REQUEST: Rows[SPIRequest] = (
    ("mark", lambda it: it.mark is not None, _MARK),
    ("if_id", lambda it: it.if_id != 0, _IF_ID),
    ("direction", lambda it: it.direction is not None, _DIRECTION),
    ("cpu", lambda it: it.cpu is not None, _CPU),
)

_MOVE: Rows[Encap | None] = (("encap", lambda it: it is not None, "SADB_X_MIGRATE has no encapsulation"),)

_POLICY_TYPE: Rows[PolicyType] = (("type", lambda it: it is not PolicyType.MAIN, _TYPE),)

_POLICY_ID: Rows[PolicyId] = (
    ("mark", lambda it: it.mark is not None, _MARK),
    ("if_id", lambda it: it.if_id != 0, _IF_ID),
    ("type", lambda it: it.type is not PolicyType.MAIN, _TYPE),
    (
        "direction",
        lambda it: it.direction not in (Direction.IN, Direction.OUT, Direction.FORWARD),
        "a policy of a single socket belongs to that socket",
    ),
)

_SELECTOR: Rows[Selector] = (
    ("selector.interface_index", lambda it: it.interface_index != 0, "PF_KEY selects by no interface"),
    ("selector.user", lambda it: it.user != 0, "PF_KEY selects by no user"),
    (
        "selector.protocol",
        lambda it: it.protocol == lib.IPSEC_PROTO_ANY,
        "255 is PF_KEY's word for any protocol",
    ),
    (
        "selector.source_port",
        lambda it: _is_beyond_port(it.source_port),
        "PF_KEY has neither masks nor port 0",
    ),
    (
        "selector.destination_port",
        lambda it: _is_beyond_port(it.destination_port),
        "PF_KEY has neither masks nor port 0",
    ),
)

_POLICY: Rows[Policy] = (
    ("flags", lambda it: it.flags != 0, "PF_KEY has no policy flags"),
    ("share", lambda it: it.share is not Share.ANY, _SHARE),
    ("offload", lambda it: it.offload is not None, _OFFLOAD),
    ("other", lambda it: bool(it.other), _OTHER),
    ("lifetime", lambda it: _has_long_limits(it.lifetime), _LIMITS),
    (
        "templates",
        lambda it: it.action is Action.BLOCK and bool(it.templates),
        "PF_KEY drops the templates of a policy that blocks",
    ),
)

_NEW_POLICY: Rows[Policy] = (
    ("index", lambda it: it.index != 0, "PF_KEY numbers policies itself (policy.as_written() has no index)"),
)

_TEMPLATE: Rows[Template] = (
    (
        "template.protocol",
        lambda it: it.protocol not in SATYPES,
        "PF_KEY has no request for protocol {it.protocol}",
    ),
    (
        "template.mode",
        lambda it: it.mode not in (Mode.TRANSPORT, Mode.TUNNEL),
        "PF_KEY drops the addresses of mode {it.mode}",
    ),
    (
        "template.source",
        lambda it: it.mode is Mode.TRANSPORT and it.source is not None,
        "PF_KEY drops the addresses of a transport template",
    ),
    (
        "template.reqid",
        lambda it: it.reqid > lib.IPSEC_MANUAL_REQID_MAX,
        "PF_KEY replaces reqids above 0x3fff in policies",
    ),
    (
        "template.reqid",
        lambda it: it.optional and it.reqid != 0,
        "PF_KEY drops the reqid of an optional template",
    ),
    ("template.spi", lambda it: it.spi != 0, "PF_KEY has no SPI in policies"),
    ("template.share", lambda it: it.share is not Share.ANY, _SHARE),
    (
        "template.algorithm_masks",
        lambda it: it.algorithm_masks != Template().algorithm_masks,
        "PF_KEY has no choice of algorithms in policies",
    ),
)

_OPTIONAL_OUTBOUND: Rows[Template] = (
    ("template.optional", lambda it: it.optional, "PF_KEY has no optional outbound tunnels"),
)
