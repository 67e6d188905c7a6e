"""How each extension is put into C memory and read from it: one row for each type.

The layouts are the C core's, which has them from the kernel's header; the values are those of `extensions.py`.
"""

from collections.abc import Callable
from socket import AF_INET
from typing import Any, NamedTuple

from pfkeyx.model import Key
from pfkeyx.native import ffi, lib
from pfkeyx.pfkey.cdata import CData, copy, fields, from_native, ip_address, items, native_address, reader
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


def put(builder: CData, exttype: int, extension: Extension) -> None:
    """Append an extension to the message in `builder`.

    Raises `ValueError` for a value that is not of this type or contradicts itself, `OverflowError` for a number that
    its field cannot hold; what else does not fit, the builder's error tells.
    """
    layout = _LAYOUTS.get(exttype, _UNKNOWN)
    if isinstance(extension, Unknown):
        if extension.type != exttype:
            raise ValueError(f"{extension!r} is of another type")
        layout = _UNKNOWN
    elif not isinstance(extension, layout.value):
        raise ValueError(f"takes {layout.value.__name__}, not {type(extension).__name__}")
    layout.put(builder, exttype, extension)


def get(native: CData) -> Extension:
    """Return the value of an extension that the C core found; raises `NonsenseError`."""
    value: Extension = _LAYOUTS.get(native.type, _UNKNOWN).get(native)
    return value


class _Layout(NamedTuple):
    """One layout: the value it is of, and how that is written and read."""

    value: type[Any]
    put: Callable[[CData, int, Any], None]
    get: Callable[[CData], Any]


def _put_sa(builder: CData, _exttype: int, sa: SAExtension) -> None:
    lib.pfkeyx_put_sa(builder, *sa)


_SA_FIELDS = fields("sadb_sa", "replay", "state", "auth", "encrypt", "flags")


def _get_sa(native: CData) -> SAExtension:
    sa = copy(lib.pfkeyx_get_sa, "struct sadb_sa *", native)
    return SAExtension(lib.pfkeyx_spi(sa), *_SA_FIELDS(sa))


def _put_lifetime(builder: CData, exttype: int, lifetime: LifetimeExtension) -> None:
    lib.pfkeyx_put_lifetime(builder, exttype, *lifetime)


_get_lifetime = reader(
    LifetimeExtension, lib.pfkeyx_get_lifetime, "sadb_lifetime", "allocations", "bytes", "addtime", "usetime"
)


def _put_address(builder: CData, exttype: int, address: AddressExtension) -> None:
    native = native_address(address.address, address.port)
    lib.pfkeyx_put_address(builder, exttype, address.protocol, address.prefix_length, native)


def _get_address(native: CData) -> AddressExtension:
    address = ffi.new("struct pfkeyx_address *")
    header = copy(lambda e, h: lib.pfkeyx_get_address(e, h, address), "struct sadb_address *", native)
    return AddressExtension(
        from_native(address), header.sadb_address_prefixlen, header.sadb_address_proto, address.port
    )


def _put_key(builder: CData, exttype: int, key: KeyExtension) -> None:
    lib.pfkeyx_put_key(builder, exttype, key.key.reveal(), key.bits)


def _get_key(native: CData) -> KeyExtension:
    start = ffi.new("const uint8_t **")
    bits = copy(lambda e, b: lib.pfkeyx_get_key(e, b, start), "uint16_t *", native)[0]
    return KeyExtension(Key(ffi.buffer(start[0], (bits + 7) // 8)[:]), bits)


def _put_identity(builder: CData, exttype: int, identity: IdentityExtension) -> None:
    name = identity.name.encode("utf-8", "surrogateescape")
    if b"\0" in name:
        raise ValueError("a name ends before its first NUL")
    lib.pfkeyx_put_identity(builder, exttype, identity.type, identity.id, name)


def _get_identity(native: CData) -> IdentityExtension:
    name = ffi.new("const char **")
    header = copy(lambda e, h: lib.pfkeyx_get_identity(e, h, name), "struct sadb_ident *", native)
    return IdentityExtension(
        header.sadb_ident_type, header.sadb_ident_id, ffi.string(name[0]).decode("utf-8", "surrogateescape")
    )


def _put_sensitivity(builder: CData, _exttype: int, sensitivity: SensitivityExtension) -> None:
    lib.pfkeyx_put_sensitivity(
        builder,
        sensitivity.dpd,
        sensitivity.sensitivity_level,
        len(sensitivity.sensitivity_bitmap),
        sensitivity.integrity_level,
        len(sensitivity.integrity_bitmap),
        ffi.new("uint64_t[]", sensitivity.sensitivity_bitmap + sensitivity.integrity_bitmap),
    )


def _get_sensitivity(native: CData) -> SensitivityExtension:
    header = copy(lib.pfkeyx_get_sensitivity, "struct sadb_sens *", native)
    words = tuple(word[0] for word in items(lib.pfkeyx_get_bitmap_word, "uint64_t *", native))
    split = header.sadb_sens_sens_len
    return SensitivityExtension(
        header.sadb_sens_dpd,
        header.sadb_sens_sens_level,
        words[:split],
        header.sadb_sens_integ_level,
        words[split:],
    )


_COMBINATION = ("auth", "encrypt", "flags", "auth_minbits", "auth_maxbits", "encrypt_minbits", "encrypt_maxbits")
_LIMITS = ("allocations", "bytes", "addtime", "usetime")
_SOFT, _HARD = (tuple(f"{kind}_{limit}" for limit in _LIMITS) for kind in ("soft", "hard"))
_COMBINATION_FIELDS = fields("sadb_comb", *_COMBINATION)
_SOFT_FIELDS, _HARD_FIELDS = fields("sadb_comb", *_SOFT), fields("sadb_comb", *_HARD)


def _put_proposal(builder: CData, _exttype: int, proposal: ProposalExtension) -> None:
    names = [f"sadb_comb_{name}" for name in _COMBINATION + _SOFT + _HARD]
    combs = ffi.new(
        "struct sadb_comb[]",
        [dict(zip(names, (*fixed, *soft, *hard), strict=True)) for *fixed, soft, hard in proposal.combinations],
    )
    lib.pfkeyx_put_proposal(builder, proposal.replay, combs, len(combs))


def _get_proposal(native: CData) -> ProposalExtension:
    proposal = copy(lib.pfkeyx_get_proposal, "struct sadb_prop *", native)
    combinations = tuple(
        Combination._make(
            (
                *_COMBINATION_FIELDS(comb),
                LifetimeExtension(*_SOFT_FIELDS(comb)),
                LifetimeExtension(*_HARD_FIELDS(comb)),
            )
        )
        for comb in items(lib.pfkeyx_get_combination, "struct sadb_comb *", native)
    )
    return ProposalExtension(proposal.sadb_prop_replay, combinations)


_ALGORITHM = ("id", "ivlen", "minbits", "maxbits")
_ALGORITHM_FIELDS = fields("sadb_alg", *_ALGORITHM)


def _put_supported(builder: CData, exttype: int, supported: SupportedExtension) -> None:
    names = [f"sadb_alg_{name}" for name in _ALGORITHM]
    algs = ffi.new("struct sadb_alg[]", [dict(zip(names, one, strict=True)) for one in supported.algorithms])
    lib.pfkeyx_put_supported(builder, exttype, algs, len(algs))


def _get_supported(native: CData) -> SupportedExtension:
    algs = items(lib.pfkeyx_get_algorithm, "struct sadb_alg *", native)
    return SupportedExtension(tuple(SupportedAlgorithm(*_ALGORITHM_FIELDS(alg)) for alg in algs))


def _put_spirange(builder: CData, _exttype: int, spirange: SPIRangeExtension) -> None:
    lib.pfkeyx_put_spirange(builder, *spirange)


_get_spirange = reader(SPIRangeExtension, lib.pfkeyx_get_spirange, "sadb_spirange", "min", "max")


def _put_kmprivate(builder: CData, _exttype: int, private: KMPrivateExtension) -> None:
    lib.pfkeyx_put_kmprivate(builder, private.data, len(private.data))


def _get_kmprivate(native: CData) -> KMPrivateExtension:
    start = ffi.new("const uint8_t **")
    size = copy(lambda e, s: lib.pfkeyx_get_kmprivate(e, start, s), "size_t *", native)[0]
    return KMPrivateExtension(ffi.buffer(start[0], size)[:])


def _put_policy(builder: CData, _exttype: int, policy: PolicyExtension) -> None:
    lib.pfkeyx_put_policy(builder, policy.type, policy.direction, policy.id, policy.priority)
    for *numbers, source, destination in policy.requests:
        ends = (ffi.NULL if end is None else native_address(end) for end in (source, destination))
        lib.pfkeyx_put_ipsecrequest(builder, *numbers, *ends)


_POLICY_FIELDS = fields("sadb_x_policy", "type", "dir", "id", "priority")
_REQUEST_FIELDS = fields("sadb_x_ipsecrequest", "proto", "mode", "level", "reqid")


def _get_policy(native: CData) -> PolicyExtension:
    policy = copy(lib.pfkeyx_get_policy, "struct sadb_x_policy *", native)
    offset = ffi.new("size_t *")
    requests = []
    for request in items(
        lambda e, _index, r: lib.pfkeyx_get_ipsecrequest(e, offset, r), "struct pfkeyx_ipsecrequest *", native
    ):
        ends = (from_native(end) if request.has_addresses else None for end in (request.source, request.destination))
        requests.append(IPsecRequest(*_REQUEST_FIELDS(request.header), *ends))
    return PolicyExtension._make((*_POLICY_FIELDS(policy), tuple(requests)))


def _put_sa2(builder: CData, _exttype: int, sa2: SA2Extension) -> None:
    lib.pfkeyx_put_sa2(builder, sa2.mode, sa2.sequence, sa2.reqid)


_get_sa2 = reader(SA2Extension, lib.pfkeyx_get_sa2, "sadb_x_sa2", "mode", "reqid", "sequence")


def _put_nat_t_type(builder: CData, _exttype: int, nat_t_type: NatTTypeExtension) -> None:
    lib.pfkeyx_put_nat_t_type(builder, nat_t_type.type)


def _get_nat_t_type(native: CData) -> NatTTypeExtension:
    nat_t_type = copy(lib.pfkeyx_get_nat_t_type, "struct sadb_x_nat_t_type *", native)
    return NatTTypeExtension(nat_t_type.sadb_x_nat_t_type_type)


def _put_nat_t_port(builder: CData, exttype: int, nat_t_port: NatTPortExtension) -> None:
    lib.pfkeyx_put_nat_t_port(builder, exttype, nat_t_port.port)


def _get_nat_t_port(native: CData) -> NatTPortExtension:
    nat_t_port = copy(lib.pfkeyx_get_nat_t_port, "struct sadb_x_nat_t_port *", native)
    return NatTPortExtension(lib.pfkeyx_nat_t_port(nat_t_port))


def _put_sec_ctx(builder: CData, _exttype: int, context: SecurityContextExtension) -> None:
    lib.pfkeyx_put_sec_ctx(builder, *context, len(context.context))


def _get_sec_ctx(native: CData) -> SecurityContextExtension:
    start = ffi.new("const uint8_t **")
    header = copy(lambda e, h: lib.pfkeyx_get_sec_ctx(e, h, start), "struct sadb_x_sec_ctx *", native)
    context = ffi.buffer(start[0], header.sadb_x_ctx_len)[:]
    return SecurityContextExtension(header.sadb_x_ctx_alg, header.sadb_x_ctx_doi, context)


def _put_kmaddress(builder: CData, _exttype: int, kmaddress: KMAddressExtension) -> None:
    local = native_address(kmaddress.local, kmaddress.local_port)
    remote = native_address(kmaddress.remote, kmaddress.remote_port)
    lib.pfkeyx_put_kmaddress(builder, local, remote)


def _get_kmaddress(native: CData) -> KMAddressExtension:
    remote = ffi.new("struct pfkeyx_address *")
    local = copy(lambda e, a: lib.pfkeyx_get_kmaddress(e, a, remote), "struct pfkeyx_address *", native)
    return KMAddressExtension(from_native(local), from_native(remote), local.port, remote.port)


def _put_filter(builder: CData, _exttype: int, wanted: FilterExtension) -> None:
    version = 4 if wanted.family == AF_INET else 6
    if {wanted.source.version, wanted.destination.version} != {version}:
        raise ValueError(f"with family {wanted.family} both addresses are of IPv{version}")
    native = {
        "family": wanted.family,
        "source": wanted.source.packed,
        "source_prefixlen": wanted.source_prefix_length,
        "destination": wanted.destination.packed,
        "destination_prefixlen": wanted.destination_prefix_length,
    }
    lib.pfkeyx_put_filter(builder, ffi.new("struct pfkeyx_filter *", native))


def _get_filter(native: CData) -> FilterExtension:
    found = copy(lib.pfkeyx_get_filter, "struct pfkeyx_filter *", native)
    return FilterExtension(
        found.family,
        ip_address(found.family, bytes(found.source)),
        found.source_prefixlen,
        ip_address(found.family, bytes(found.destination)),
        found.destination_prefixlen,
    )


def _put_unknown(builder: CData, exttype: int, unknown: Unknown) -> None:
    lib.pfkeyx_put_extension(builder, exttype, unknown.data, len(unknown.data))


def _get_unknown(native: CData) -> Unknown:
    return Unknown(native.type, ffi.buffer(native.data, native.size)[4:])


_UNKNOWN = _Layout(Unknown, _put_unknown, _get_unknown)
_LIFETIME = _Layout(LifetimeExtension, _put_lifetime, _get_lifetime)
_ADDRESS = _Layout(AddressExtension, _put_address, _get_address)
_KEY = _Layout(KeyExtension, _put_key, _get_key)
_IDENTITY = _Layout(IdentityExtension, _put_identity, _get_identity)
_SUPPORTED = _Layout(SupportedExtension, _put_supported, _get_supported)
_NAT_T_PORT = _Layout(NatTPortExtension, _put_nat_t_port, _get_nat_t_port)

_LAYOUTS: dict[int, _Layout] = {
    lib.SADB_EXT_SA: _Layout(SAExtension, _put_sa, _get_sa),
    lib.SADB_EXT_LIFETIME_CURRENT: _LIFETIME,
    lib.SADB_EXT_LIFETIME_HARD: _LIFETIME,
    lib.SADB_EXT_LIFETIME_SOFT: _LIFETIME,
    lib.SADB_EXT_ADDRESS_SRC: _ADDRESS,
    lib.SADB_EXT_ADDRESS_DST: _ADDRESS,
    lib.SADB_EXT_ADDRESS_PROXY: _ADDRESS,
    lib.SADB_EXT_KEY_AUTH: _KEY,
    lib.SADB_EXT_KEY_ENCRYPT: _KEY,
    lib.SADB_EXT_IDENTITY_SRC: _IDENTITY,
    lib.SADB_EXT_IDENTITY_DST: _IDENTITY,
    lib.SADB_EXT_SENSITIVITY: _Layout(SensitivityExtension, _put_sensitivity, _get_sensitivity),
    lib.SADB_EXT_PROPOSAL: _Layout(ProposalExtension, _put_proposal, _get_proposal),
    lib.SADB_EXT_SUPPORTED_AUTH: _SUPPORTED,
    lib.SADB_EXT_SUPPORTED_ENCRYPT: _SUPPORTED,
    lib.SADB_EXT_SPIRANGE: _Layout(SPIRangeExtension, _put_spirange, _get_spirange),
    lib.SADB_X_EXT_KMPRIVATE: _Layout(KMPrivateExtension, _put_kmprivate, _get_kmprivate),
    lib.SADB_X_EXT_POLICY: _Layout(PolicyExtension, _put_policy, _get_policy),
    lib.SADB_X_EXT_SA2: _Layout(SA2Extension, _put_sa2, _get_sa2),
    lib.SADB_X_EXT_NAT_T_TYPE: _Layout(NatTTypeExtension, _put_nat_t_type, _get_nat_t_type),
    lib.SADB_X_EXT_NAT_T_SPORT: _NAT_T_PORT,
    lib.SADB_X_EXT_NAT_T_DPORT: _NAT_T_PORT,
    lib.SADB_X_EXT_NAT_T_OA: _ADDRESS,
    lib.SADB_X_EXT_SEC_CTX: _Layout(SecurityContextExtension, _put_sec_ctx, _get_sec_ctx),
    lib.SADB_X_EXT_KMADDRESS: _Layout(KMAddressExtension, _put_kmaddress, _get_kmaddress),
    lib.SADB_X_EXT_FILTER: _Layout(FilterExtension, _put_filter, _get_filter),
    lib.SADB_X_EXT_NEW_ADDRESS_SRC: _ADDRESS,
    lib.SADB_X_EXT_NEW_ADDRESS_DST: _ADDRESS,
}
