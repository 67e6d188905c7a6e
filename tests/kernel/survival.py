"""What a move must keep: cases of SAs and policies that have each property, and which of the kernel's fields show it.

Values only: they are written into a kernel, moved and compared elsewhere.
"""

from dataclasses import dataclass

from pfkeyx import (
    AES_CTR,
    AES_GCM,
    CHACHA20_POLY1305,
    HMAC_SHA256,
    NULL,
    AddressPair,
    AddressUpdate,
    Direction,
    Engine,
    Feature,
    Lifetime,
    Limit,
    Mark,
    Method,
    PolicyFlag,
    PolicyType,
    Progress,
    Replay,
    SAExtraFlag,
    SAFlag,
    SecurityContext,
    Share,
    UdpEncap,
)
from pfkeyx.model import IPAddress, Offload, OffloadFlag
from tests.kernel import holdings
from tests.kernel.holdings import Change, Holding, policies, sas, templates, ways
from tests.kernel.values import ADDRESSES, authentication

#: Each is forced in turn.
METHODS = {
    Method.ADDRUPDATE: Feature.ADDRUPDATE,
    Method.MIGRATE_STATE: Feature.MIGRATE_STATE,
    Method.MIGRATE: Feature.MIGRATE,
    Method.REPLACE: Feature.RESTORE,
    Method.SADB_X_MIGRATE: Feature.PFKEY,
}

_LOOPBACK_INDEX = 1
_POLICY_LIMITS = Lifetime(Limit(seconds=3000, idle_seconds=3001), Limit(seconds=3600, idle_seconds=3601))


@dataclass(frozen=True, slots=True)
class Property:
    """Something that is kept or lost: its table and name in the documentation, and how the fields that show it begin.

    One without fields is that all moves together.
    """

    table: str
    title: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """SAs and policies that have some properties, and where they go.

    `feature` is what a kernel needs for them, `progress` is set of the SAs when they are there, and `replaced` begin
    the fields that a move to there has to change.
    """

    properties: tuple[Property, ...]
    changes: tuple[Change, ...] = ()
    feature: Feature | None = None
    progress: Progress | None = None
    to_other_family: bool = False
    replaced: tuple[str, ...] = ()
    families: tuple[int, ...] = (4,)

    @property
    def name(self) -> str:
        """What it is called among the tests."""
        return self.properties[0].title

    def holding(self, family: int) -> Holding:
        """Return what moves."""
        holding = holdings.plain(family)
        for change in self.changes:
            holding = change(holding)
        return holding

    def write(self, engine: Engine, xfrm: Engine, family: int) -> None:
        """Write what moves into a kernel, over XFRM what is not said of a new SA."""
        holding = self.holding(family)
        holding.write(engine, xfrm)
        if self.progress is not None:
            for sa in holding.sas:
                xfrm.set_progress(sa, self.progress)

    def update(self, family: int) -> AddressUpdate:
        """Return what is asked of the roaming host."""
        old, new = self._ends(family)
        return AddressUpdate(AddressPair(*old), AddressPair(*new))

    def update_there(self, family: int) -> AddressUpdate:
        """Return what is asked of the gateway."""
        old, new = self._ends(family)
        return AddressUpdate(AddressPair(*old[::-1]), AddressPair(*new[::-1]))

    def moved(self, family: int) -> dict[IPAddress, IPAddress]:
        """Return which address becomes which."""
        return dict(zip(*self._ends(family), strict=True))

    def _ends(self, family: int) -> tuple[tuple[IPAddress, IPAddress], tuple[IPAddress, IPAddress]]:
        old, new = ADDRESSES[family], ADDRESSES[10 - family if self.to_other_family else family]
        return (old.roaming, old.gateway), (new.roaming_later, new.gateway)


def _sa(title: str, *fields: str) -> Property:
    return Property("SAs", title, tuple(f"sa.{field}" for field in fields))


def _policy(title: str, *fields: str) -> Property:
    return Property("Policies", title, tuple(f"policy.{field}" for field in fields))


def _together(title: str, change: Change) -> Case:
    return Case((Property("What hangs together", title),), (change,))


#: What a move to the other family has to change.
_OF_FAMILY = ("sa.family", "policy.XFRMA_TMPL.0.family")


def _passing(title: str, *changes: Change, to_other_family: bool = False) -> Case:
    properties = (Property("Packets afterwards", title),)
    unused = sas(replay=Replay(0, 0, (0,)))
    replaced = _OF_FAMILY if to_other_family else ()
    return Case(properties, (unused, *changes), to_other_family=to_other_family, replaced=replaced)


_DIRECTED = ways({"direction": Direction.OUT, "replay_window": 0}, {"direction": Direction.IN})

#: What is written, moved and read again.
WRITTEN = (
    Case(
        (
            _sa("SPI", "id.spi"),
            _sa("protocol, mode and reqid", "id.proto", "mode", "reqid"),
            _sa("algorithms and keys", "XFRMA_ALG_"),
            _sa("sequence number of the last packet sent", "XFRMA_REPLAY_VAL.oseq"),
            _sa("highest sequence number received", "XFRMA_REPLAY_VAL.seq"),
            _sa("replay window and its bitmap", "replay_window", "XFRMA_REPLAY_VAL.bitmap"),
            _sa("limits in octets", "lft.soft_byte", "lft.hard_byte"),
            _sa("limits in packets", "lft.soft_packet", "lft.hard_packet"),
            _sa("limits in seconds since its making", "lft.soft_add", "lft.hard_add"),
            _sa("limits in seconds since its first use", "lft.soft_use", "lft.hard_use"),
            _sa("octets and packets counted", "curlft.bytes", "curlft.packets"),
            _sa("time of its making", "curlft.add_time"),
            _sa("time of its first use", "curlft.use_time"),
            _policy("selector", "sel."),
            _policy("index", "index"),
            _policy("priority and action", "priority", "action"),
            _policy("templates, but for their addresses", "XFRMA_TMPL."),
            _policy("limits in seconds", "lft."),
        ),
        (policies(lifetime=_POLICY_LIMITS),),
        families=(4, 6),
    ),
    Case(
        (
            _sa("ICV length of HMAC", "XFRMA_ALG_AUTH_TRUNC.alg_trunc_len"),
            _sa("output mark", "XFRMA_SET_MARK"),
            _sa("flags", "flags"),
            _sa("extra flags", "XFRMA_SA_EXTRA_FLAGS"),
            _sa("TFC padding", "XFRMA_TFCPAD"),
            _sa("selector", "sel."),
            _sa("care-of address", "XFRMA_COADDR"),
            _sa("threshold in packets for telling progress", "replay_threshold"),
            _sa("threshold in time for telling progress", "timer_ms"),
            _policy("flags", "flags"),
            _policy("share of a template", "XFRMA_TMPL.0.share"),
            _policy("algorithm masks of a template", "XFRMA_TMPL.0.ealgos"),
        ),
        (
            sas(
                authentication=authentication(HMAC_SHA256, 32, 128),
                output_mark=Mark(0x10, 0xFF),
                flags=SAFlag.NO_ECN | SAFlag.DECAP_DSCP | SAFlag.NO_PMTU_DISCOVERY,
                extra_flags=SAExtraFlag.DONT_ENCAP_DSCP,
                tfc_padding=1400,
            ),
            holdings.with_third_address(lambda address: {"care_of": address}),
            holdings.selective,
            policies(flags=PolicyFlag.LOCAL_OVERRIDE | PolicyFlag.ICMP),
            templates(share=Share.UNIQUE, algorithm_masks=(0xFFFFFFFF, 1 << 12, 0xFFFFFFFF)),
        ),
        progress=Progress(replay_threshold=5, timer_ms=2500),
    ),
    Case(
        (_sa("security context", "XFRMA_SEC_CTX."), _sa("offload to hardware", "XFRMA_OFFLOAD_DEV.")),
        (
            sas(security_context=SecurityContext(b"system_u:object_r:ipsec_spd_t:s0\0")),
            ways({"offload": Offload(_LOOPBACK_INDEX)}, {"offload": Offload(_LOOPBACK_INDEX, OffloadFlag.INBOUND)}),
        ),
    ),
    Case(
        (_sa("AEAD: key, salt and ICV length", "XFRMA_ALG_AEAD."),),
        (holdings.suite(AES_GCM, 20, 64),),
    ),
    Case(
        (
            _sa("ESN", "flags"),
            _sa("ESN: sequence number of the last packet sent", "XFRMA_REPLAY_ESN_VAL.oseq"),
            _sa("ESN: highest sequence number received", "XFRMA_REPLAY_ESN_VAL.seq"),
            _sa("replay window of 64 packets", "XFRMA_REPLAY_ESN_VAL.replay_window", "XFRMA_REPLAY_ESN_VAL.bmp"),
        ),
        (
            sas(flags=SAFlag.ESN, replay_window=64),
            ways(
                {"replay": Replay(1 << 32 | 41, 0, (0, 0))},
                {"replay": Replay(0, 1 << 33 | 39, (0xF0F0, 0x0F0F))},
            ),
        ),
    ),
    Case(
        (
            _sa("encapsulation in UDP and its ports", "XFRMA_ENCAP."),
            _sa("address from before the NAT", "XFRMA_ENCAP.encap_oa"),
        ),
        (holdings.with_third_address(lambda address: {"encap": UdpEncap(4500, 4501, address)}),),
    ),
    Case(
        (_sa("NAT keepalive", "XFRMA_NAT_KEEPALIVE_INTERVAL"),),
        (_DIRECTED, ways({"encap": UdpEncap(), "nat_keepalive_s": 20}, {"encap": UdpEncap()})),
        Feature.NAT_KEEPALIVE,
    ),
    Case(
        (_sa("mapping threshold", "XFRMA_MTIMER_THRESH"),),
        (ways({"encap": UdpEncap()}, {"encap": UdpEncap(), "mapping_threshold_s": 30}),),
        Feature.MAPPING_THRESHOLD,
    ),
    Case((_sa("mark", "XFRMA_MARK."), _policy("mark", "XFRMA_MARK.")), (holdings.marked,)),
    Case((_sa("if_id", "XFRMA_IF_ID"), _policy("if_id", "XFRMA_IF_ID")), (sas(if_id=9), policies(if_id=9))),
    Case((_sa("direction", "XFRMA_SA_DIR"),), (_DIRECTED,), Feature.SA_DIRECTION),
    Case((_sa("CPU", "XFRMA_SA_PCPU"),), (_DIRECTED, sas(cpu=0)), Feature.SA_CPU),
    Case((_policy("optional template", "XFRMA_TMPL.0.optional"),), (holdings.optional_inbound,)),
    Case((_policy("type sub", "XFRMA_POLICY_TYPE."),), (policies(type=PolicyType.SUB),), Feature.SUB_POLICY),
    Case(
        (Property("What hangs together", "tunnel of IPv4 to IPv6, or of IPv6 to IPv4"),),
        to_other_family=True,
        replaced=_OF_FAMILY,
        families=(4, 6),
    ),
    Case(
        (
            Property("What hangs together", "transport mode between two hosts, with its selectors"),
            _policy("index, where the selector follows", "index"),
        ),
        (holdings.between_hosts,),
        families=(4, 6),
    ),
    _together("several selectors of one SA", holdings.of_several_selectors),
    _together("several SAs of one reqid", holdings.rekeyed),
    _together("bundle: ESP in AH", holdings.in_ah),
    _together("bundle: IPComp in ESP", holdings.compressed),
)

#: What packets have left behind.
USED = Case(
    tuple(
        Property("What was used", title, fields)
        for title, fields in {
            "octets and packets counted": ("sa.curlft.bytes", "sa.curlft.packets"),
            "time of last use": ("sa.XFRMA_LASTUSED",),
            "counts of failures": ("sa.stats.",),
            "that a soft limit was reached": ("sa.state",),
            "time of a policy's making": ("policy.curlft.add_time",),
            "time of a policy's last use": ("policy.curlft.use_time",),
        }.items()
    ),
    (sas(replay=Replay(0, 0, (0,)), lifetime=Lifetime(soft=Limit(packets=11))),),
)

#: What packets pass through.
PASSING = (
    _passing("AES-CBC with HMAC"),
    _passing("AES-CTR with HMAC", holdings.suite(AES_CTR, 20, authenticated=True)),
    _passing("AES-GCM", holdings.suite(AES_GCM, 20)),
    _passing("ChaCha20-Poly1305", holdings.suite(CHACHA20_POLY1305, 36)),
    _passing("NULL with HMAC", holdings.suite(NULL, 0, authenticated=True)),
    _passing("AH", holdings.with_ah_alone),
    _passing("ESN", sas(flags=SAFlag.ESN)),
    _passing("ESP in UDP", sas(encap=UdpEncap())),
    _passing("tunnel of IPv4 to IPv6", to_other_family=True),
    _passing("bundle: ESP in AH", holdings.in_ah),
    _passing("bundle: IPComp in ESP", holdings.compressed),
)

CASES = (*WRITTEN, USED, *PASSING)


def claim(it: Property, method: Method, family: int) -> str:
    """Return what the record calls what becomes of a property."""
    return f"{it.table}: {it.title} by {method.value} IPv{family}"
