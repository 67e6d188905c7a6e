"""What each feature is, for `docs/reference/features.md`; which kernel has it says `lab/kernels.toml`."""

from collections.abc import Iterator

from lab import kernels
from pfkeyx import Feature
from pfkeyx.pfkey.probes import _ONLY_XFRM
from pfkeyx.xfrm.probes import ONLY_PFKEY

MEANINGS = {
    Feature.XFRM: "XFRM netlink",
    Feature.PFKEY: "PF_KEYv2 sockets",
    Feature.AEAD: "combined-mode algorithms, such as AES-GCM (`SA.encryption`)",
    Feature.ESN: "64-bit sequence numbers, windows above 32 packets (`SAFlag.ESN`)",
    Feature.MARK: "SAs and policies of marked packets (`SAId.mark`, `Policy.mark`)",
    Feature.IF_ID: "SAs and policies of XFRM interfaces (`SA.if_id`, `Policy.if_id`)",
    Feature.ADDRUPDATE: "`SADB_X_ADDRUPDATE`, of the module of [kernel/](../../kernel/README.md)",
    Feature.MIGRATE: "moves by policy: `XFRM_MSG_MIGRATE`, `SADB_X_MIGRATE`",
    Feature.MIGRATE_STATE: "moves by SA: `XFRM_MSG_MIGRATE_STATE`",
    Feature.SUB_POLICY: "a second table of policies (`PolicyType.SUB`)",
    Feature.DEFAULT_POLICY: "what is done with packets that no policy is for (`DefaultPolicy`)",
    Feature.OUTPUT_MARK: "a mark for what an SA has wrapped (`SA.output_mark`)",
    Feature.OFFLOAD: "work for an interface's hardware (`SA.offload`)",
    Feature.MAPPING_THRESHOLD: "how often a NAT's new mapping is told (`SA.mapping_threshold_s`)",
    Feature.SA_DIRECTION: "SAs that say their direction (`SA.direction`)",
    Feature.NAT_KEEPALIVE: "keepalives for a NAT by the kernel (`SA.nat_keepalive_s`)",
    Feature.SA_CPU: "SAs of one CPU (`SA.cpu`, RFC 9611)",
    Feature.IPTFS: "packets gathered and cut (`Mode.IPTFS`, RFC 9347)",
    Feature.PROGRESS: "sequence numbers told and set (`Engine.get_progress`)",
    Feature.RESTORE: "SAs added with their counters (`Engine.restore_sa`)",
    Feature.EXPIRE_REQUEST: "expiry on request (`Engine.expire_sa`)",
    Feature.TABLE_INFO: "how full the tables are (`Engine.get_sad_info`)",
    Feature.REGISTER: "the list of the kernel's algorithms (`Engine.register`)",
    Feature.ACQUIRE_ANSWER: "the answer that no SA will come (`Engine.answer_acquire`)",
    Feature.SADB_EXPIRE: "`SADB_EXPIRE` taken from a program",
    Feature.SADB_X_PCHANGE: "`SADB_X_PCHANGE` taken from a program",
    Feature.SADB_X_SPDACQUIRE: "`SADB_X_SPDACQUIRE` taken from a program",
    Feature.SADB_X_SPDEXPIRE: "`SADB_X_SPDEXPIRE` taken from a program",
    Feature.SADB_X_NAT_T_NEW_MAPPING: "`SADB_X_NAT_T_NEW_MAPPING` taken from a program",
}


def feature_rows() -> Iterator[tuple[str, ...]]:
    """Yield name, meaning and interfaces of each feature, and which kernels have it."""
    matrix = [kernels.load().kernel(name) for name in kernels.load().kernels]
    yield "Feature", "What it is", "Interface", *(kernel.name for kernel in matrix)
    for feature in Feature:
        has = ("no" if feature.value in kernel.lacks else "yes" for kernel in matrix)
        yield f"`{feature.value}`", MEANINGS[feature], _interface(feature), *has


def _interface(feature: Feature) -> str:
    if feature in ONLY_PFKEY:
        return "PF_KEY"
    return "XFRM" if feature in _ONLY_XFRM else "both"
