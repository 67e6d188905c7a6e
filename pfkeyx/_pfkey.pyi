"""Types of the compiled core: what cffi makes of `_native/pfkeyx.h` and `_native/cdef.h`."""

from typing import Any, Final, TypeAlias

# A cffi pointer, structure or array: its fields are those of the C declaration.
CData: TypeAlias = Any

class _Buffer:
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: slice) -> bytes: ...

class _FFI:
    NULL: Final[CData]
    def new(self, cdecl: str, init: object = ...) -> CData: ...
    def addressof(self, cdata: CData, *fields: str | int) -> CData: ...
    def buffer(self, cdata: CData, size: int = ...) -> _Buffer: ...
    def cast(self, cdecl: str, source: object) -> CData: ...
    def from_buffer(self, *cdecl_and_source: object) -> CData: ...
    def gc(self, cdata: CData, destructor: object, size: int = ...) -> CData: ...
    def memmove(self, destination: object, source: object, size: int) -> None: ...
    def offsetof(self, cdecl: str, *fields: str | int) -> int: ...
    def release(self, cdata: CData) -> None: ...
    def sizeof(self, cdecl: str | CData) -> int: ...
    def string(self, cdata: CData) -> bytes: ...
    def unpack(self, cdata: CData, length: int) -> list[int]: ...

class _Lib:
    def pfkeyx_version(self) -> CData: ...
    def pfkeyx_open(self, family: int, protocol: int, netns_fd: int, receive_buffer: int, /) -> int: ...
    def pfkeyx_send(self, fd: int, message: bytes | CData, size: int, /) -> int: ...
    def pfkeyx_receive(self, fd: int, buffer: CData, /) -> int: ...
    def pfkeyx_has_room(self, fd: int, size: int, /) -> int: ...
    def pfkeyx_buffer_release(self, buffer: CData, /) -> None: ...
    def pfkeyx_xfrm_attributes(self, message: CData, size: int, places: CData, /) -> int: ...
    def pfkeyx_pfkey_extensions(self, message: CData, size: int, places: CData, /) -> int: ...
    def pfkeyx_receive_xfrm_dump(self, fd: int, entries: CData, dump: CData, most: int, /) -> int: ...
    def pfkeyx_receive_pfkey_dump(self, fd: int, entries: CData, dump: CData, most: int, /) -> int: ...
    def pfkeyx_entries_release(self, entries: CData, /) -> None: ...
    PFKEYX_XFRMA_MAX: int
    PFKEYX_EXT_MAX: int
    def pfkeyx_begin(self, builder: CData, type: int, satype: int, errno_value: int, seq: int, pid: int, /) -> None: ...
    def pfkeyx_put_sa(
        self, builder: CData, spi: int, replay: int, state: int, auth: int, encrypt: int, flags: int, /
    ) -> None: ...
    def pfkeyx_put_lifetime(
        self, builder: CData, exttype: int, allocations: int, bytes: int, addtime: int, usetime: int, /
    ) -> None: ...
    def pfkeyx_put_address(
        self, builder: CData, exttype: int, proto: int, prefixlen: int, address: CData, /
    ) -> None: ...
    def pfkeyx_put_key(self, builder: CData, exttype: int, key: bytes | CData, bits: int, /) -> None: ...
    def pfkeyx_put_sa2(self, builder: CData, mode: int, sequence: int, reqid: int, /) -> None: ...
    def pfkeyx_put_spirange(self, builder: CData, min: int, max: int, /) -> None: ...
    def pfkeyx_put_nat_t_type(self, builder: CData, type: int, /) -> None: ...
    def pfkeyx_put_nat_t_port(self, builder: CData, exttype: int, port: int, /) -> None: ...
    def pfkeyx_put_policy(self, builder: CData, type: int, dir: int, id: int, priority: int, /) -> None: ...
    def pfkeyx_put_identity(self, builder: CData, exttype: int, type: int, id: int, name: bytes | CData, /) -> None: ...
    def pfkeyx_put_sensitivity(
        self,
        builder: CData,
        dpd: int,
        sens_level: int,
        sens_len: int,
        integ_level: int,
        integ_len: int,
        bitmaps: CData,
        /,
    ) -> None: ...
    def pfkeyx_put_proposal(self, builder: CData, replay: int, combs: CData, count: int, /) -> None: ...
    def pfkeyx_put_supported(self, builder: CData, exttype: int, algs: CData, count: int, /) -> None: ...
    def pfkeyx_put_kmprivate(self, builder: CData, data: bytes | CData, size: int, /) -> None: ...
    def pfkeyx_put_sec_ctx(self, builder: CData, alg: int, doi: int, context: bytes | CData, size: int, /) -> None: ...
    def pfkeyx_put_kmaddress(self, builder: CData, local: CData, remote: CData, /) -> None: ...
    def pfkeyx_put_filter(self, builder: CData, filter: CData, /) -> None: ...
    def pfkeyx_put_ipsecrequest(
        self,
        builder: CData,
        proto: int,
        mode: int,
        level: int,
        reqid: int,
        source: CData,
        destination: CData,
        /,
    ) -> None: ...
    def pfkeyx_put_extension(self, builder: CData, exttype: int, body: bytes | CData, size: int, /) -> None: ...
    def pfkeyx_finish(self, builder: CData, /) -> int: ...
    def pfkeyx_builder_release(self, builder: CData, /) -> None: ...
    def pfkeyx_read_message(self, reader: CData, data: bytes | CData, size: int, header: CData, /) -> int: ...
    def pfkeyx_read_extension(self, reader: CData, extension: CData, /) -> int: ...
    def pfkeyx_get_sa(self, extension: CData, sa: CData, /) -> int: ...
    def pfkeyx_get_lifetime(self, extension: CData, lifetime: CData, /) -> int: ...
    def pfkeyx_get_sa2(self, extension: CData, sa2: CData, /) -> int: ...
    def pfkeyx_get_spirange(self, extension: CData, spirange: CData, /) -> int: ...
    def pfkeyx_get_nat_t_type(self, extension: CData, type: CData, /) -> int: ...
    def pfkeyx_get_nat_t_port(self, extension: CData, port: CData, /) -> int: ...
    def pfkeyx_get_policy(self, extension: CData, policy: CData, /) -> int: ...
    def pfkeyx_get_address(self, extension: CData, header: CData, address: CData, /) -> int: ...
    def pfkeyx_get_key(self, extension: CData, bits: CData, key: CData, /) -> int: ...
    def pfkeyx_get_proposal(self, extension: CData, proposal: CData, /) -> int: ...
    def pfkeyx_get_filter(self, extension: CData, filter: CData, /) -> int: ...
    def pfkeyx_get_identity(self, extension: CData, header: CData, name: CData, /) -> int: ...
    def pfkeyx_get_sensitivity(self, extension: CData, header: CData, /) -> int: ...
    def pfkeyx_get_kmprivate(self, extension: CData, data: CData, size: CData, /) -> int: ...
    def pfkeyx_get_sec_ctx(self, extension: CData, header: CData, context: CData, /) -> int: ...
    def pfkeyx_get_kmaddress(self, extension: CData, local: CData, remote: CData, /) -> int: ...
    def pfkeyx_get_bitmap_word(self, sensitivity: CData, index: int, word: CData, /) -> int: ...
    def pfkeyx_get_combination(self, proposal: CData, index: int, comb: CData, /) -> int: ...
    def pfkeyx_get_algorithm(self, supported: CData, index: int, alg: CData, /) -> int: ...
    def pfkeyx_get_ipsecrequest(self, policy: CData, offset: CData, request: CData, /) -> int: ...
    def pfkeyx_spi(self, sa: CData, /) -> int: ...
    def pfkeyx_nat_t_port(self, port: CData, /) -> int: ...

    PF_KEY_V2: Final[int]
    SADB_GETSPI: Final[int]
    SADB_UPDATE: Final[int]
    SADB_ADD: Final[int]
    SADB_DELETE: Final[int]
    SADB_GET: Final[int]
    SADB_ACQUIRE: Final[int]
    SADB_REGISTER: Final[int]
    SADB_EXPIRE: Final[int]
    SADB_FLUSH: Final[int]
    SADB_DUMP: Final[int]
    SADB_X_PROMISC: Final[int]
    SADB_X_PCHANGE: Final[int]
    SADB_X_SPDUPDATE: Final[int]
    SADB_X_SPDADD: Final[int]
    SADB_X_SPDDELETE: Final[int]
    SADB_X_SPDGET: Final[int]
    SADB_X_SPDACQUIRE: Final[int]
    SADB_X_SPDDUMP: Final[int]
    SADB_X_SPDFLUSH: Final[int]
    SADB_X_SPDSETIDX: Final[int]
    SADB_X_SPDEXPIRE: Final[int]
    SADB_X_SPDDELETE2: Final[int]
    SADB_X_NAT_T_NEW_MAPPING: Final[int]
    SADB_X_MIGRATE: Final[int]
    SADB_X_ADDRUPDATE: Final[int]
    SADB_SAFLAGS_PFS: Final[int]
    SADB_SAFLAGS_NOPMTUDISC: Final[int]
    SADB_SAFLAGS_DECAP_DSCP: Final[int]
    SADB_SAFLAGS_NOECN: Final[int]
    SADB_SASTATE_LARVAL: Final[int]
    SADB_SASTATE_MATURE: Final[int]
    SADB_SASTATE_DYING: Final[int]
    SADB_SASTATE_DEAD: Final[int]
    SADB_SATYPE_UNSPEC: Final[int]
    SADB_SATYPE_AH: Final[int]
    SADB_SATYPE_ESP: Final[int]
    SADB_SATYPE_RSVP: Final[int]
    SADB_SATYPE_OSPFV2: Final[int]
    SADB_SATYPE_RIPV2: Final[int]
    SADB_SATYPE_MIP: Final[int]
    SADB_X_SATYPE_IPCOMP: Final[int]
    SADB_AALG_NONE: Final[int]
    SADB_AALG_MD5HMAC: Final[int]
    SADB_AALG_SHA1HMAC: Final[int]
    SADB_X_AALG_SHA2_256HMAC: Final[int]
    SADB_X_AALG_SHA2_384HMAC: Final[int]
    SADB_X_AALG_SHA2_512HMAC: Final[int]
    SADB_X_AALG_RIPEMD160HMAC: Final[int]
    SADB_X_AALG_AES_XCBC_MAC: Final[int]
    SADB_X_AALG_SM3_256HMAC: Final[int]
    SADB_X_AALG_NULL: Final[int]
    SADB_EALG_NONE: Final[int]
    SADB_EALG_DESCBC: Final[int]
    SADB_EALG_3DESCBC: Final[int]
    SADB_X_EALG_CASTCBC: Final[int]
    SADB_X_EALG_BLOWFISHCBC: Final[int]
    SADB_EALG_NULL: Final[int]
    SADB_X_EALG_AESCBC: Final[int]
    SADB_X_EALG_AESCTR: Final[int]
    SADB_X_EALG_AES_CCM_ICV8: Final[int]
    SADB_X_EALG_AES_CCM_ICV12: Final[int]
    SADB_X_EALG_AES_CCM_ICV16: Final[int]
    SADB_X_EALG_AES_GCM_ICV8: Final[int]
    SADB_X_EALG_AES_GCM_ICV12: Final[int]
    SADB_X_EALG_AES_GCM_ICV16: Final[int]
    SADB_X_EALG_CAMELLIACBC: Final[int]
    SADB_X_EALG_NULL_AES_GMAC: Final[int]
    SADB_X_EALG_SM4CBC: Final[int]
    SADB_X_EALG_SERPENTCBC: Final[int]
    SADB_X_EALG_TWOFISHCBC: Final[int]
    SADB_X_CALG_NONE: Final[int]
    SADB_X_CALG_OUI: Final[int]
    SADB_X_CALG_DEFLATE: Final[int]
    SADB_X_CALG_LZS: Final[int]
    SADB_X_CALG_LZJH: Final[int]
    SADB_EXT_SA: Final[int]
    SADB_EXT_LIFETIME_CURRENT: Final[int]
    SADB_EXT_LIFETIME_HARD: Final[int]
    SADB_EXT_LIFETIME_SOFT: Final[int]
    SADB_EXT_ADDRESS_SRC: Final[int]
    SADB_EXT_ADDRESS_DST: Final[int]
    SADB_EXT_ADDRESS_PROXY: Final[int]
    SADB_EXT_KEY_AUTH: Final[int]
    SADB_EXT_KEY_ENCRYPT: Final[int]
    SADB_EXT_IDENTITY_SRC: Final[int]
    SADB_EXT_IDENTITY_DST: Final[int]
    SADB_EXT_SENSITIVITY: Final[int]
    SADB_EXT_PROPOSAL: Final[int]
    SADB_EXT_SUPPORTED_AUTH: Final[int]
    SADB_EXT_SUPPORTED_ENCRYPT: Final[int]
    SADB_EXT_SPIRANGE: Final[int]
    SADB_X_EXT_KMPRIVATE: Final[int]
    SADB_X_EXT_POLICY: Final[int]
    SADB_X_EXT_SA2: Final[int]
    SADB_X_EXT_NAT_T_TYPE: Final[int]
    SADB_X_EXT_NAT_T_SPORT: Final[int]
    SADB_X_EXT_NAT_T_DPORT: Final[int]
    SADB_X_EXT_NAT_T_OA: Final[int]
    SADB_X_EXT_SEC_CTX: Final[int]
    SADB_X_EXT_KMADDRESS: Final[int]
    SADB_X_EXT_FILTER: Final[int]
    SADB_X_EXT_NEW_ADDRESS_SRC: Final[int]
    SADB_X_EXT_NEW_ADDRESS_DST: Final[int]
    IPSEC_MODE_ANY: Final[int]
    IPSEC_MODE_TRANSPORT: Final[int]
    IPSEC_MODE_TUNNEL: Final[int]
    IPSEC_MODE_BEET: Final[int]
    IPSEC_DIR_ANY: Final[int]
    IPSEC_DIR_INBOUND: Final[int]
    IPSEC_DIR_OUTBOUND: Final[int]
    IPSEC_DIR_FWD: Final[int]
    IPSEC_POLICY_DISCARD: Final[int]
    IPSEC_POLICY_NONE: Final[int]
    IPSEC_POLICY_IPSEC: Final[int]
    IPSEC_POLICY_ENTRUST: Final[int]
    IPSEC_POLICY_BYPASS: Final[int]
    IPSEC_LEVEL_DEFAULT: Final[int]
    IPSEC_LEVEL_USE: Final[int]
    IPSEC_LEVEL_REQUIRE: Final[int]
    IPSEC_LEVEL_UNIQUE: Final[int]
    IPSEC_PROTO_ANY: Final[int]
    IPSEC_ULPROTO_ANY: Final[int]
    IPSEC_MANUAL_REQID_MAX: Final[int]

ffi: Final[_FFI]
lib: Final[_Lib]
