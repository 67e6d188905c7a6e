/*
 * The builder: one message, extension by extension, in zeroed memory of 64-bit words.
 */
#define _DEFAULT_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>

#include "memory.h"
#include "pfkeyx.h"

#define WORD 8u
#define MESSAGE_MAX (UINT16_MAX * (size_t)WORD)

union socket_address {
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

static void fail(struct pfkeyx_builder *builder, int error)
{
    if (!builder->error)
        builder->error = error;
}

/* Appends size bytes rounded up to words, all zero; NULL after an error. Closes an open policy. */
static uint8_t *append(struct pfkeyx_builder *builder, size_t size)
{
    size_t padded = (size + WORD - 1) / WORD * WORD;
    uint8_t *start;

    if (builder->size + padded > MESSAGE_MAX)
        fail(builder, -EMSGSIZE);
    if (!builder->error)
        fail(builder, pfkeyx_grow(&builder->data, &builder->capacity, builder->size, builder->size + padded));
    if (builder->error)
        return NULL;
    start = builder->data + builder->size;
    memset(start, 0, padded);
    builder->size += padded;
    builder->policy = 0;
    return start;
}

/* Writes the header that all extensions share (RFC 2367 2.3): start up to the end of what was appended. */
static void write_header(struct pfkeyx_builder *builder, uint8_t *start, uint16_t exttype)
{
    struct sadb_ext header = {
        .sadb_ext_len = (uint16_t)((size_t)(builder->data + builder->size - start) / WORD),
        .sadb_ext_type = exttype,
    };

    memcpy(start, &header, sizeof(header));
}

/* Appends an extension: its fixed part, whose header is filled in here, and what follows it. */
static void put(struct pfkeyx_builder *builder, uint16_t exttype, const void *fixed, size_t fixed_size,
                const void *rest, size_t rest_size)
{
    uint8_t *start;

    if (builder->size < sizeof(struct sadb_msg) || (rest_size && !rest))
        fail(builder, -EINVAL);
    if (rest_size > MESSAGE_MAX)
        fail(builder, -EMSGSIZE);
    start = append(builder, fixed_size + rest_size);
    if (!start)
        return;
    memcpy(start, fixed, fixed_size);
    write_header(builder, start, exttype);
    if (rest_size)
        memcpy(start + fixed_size, rest, rest_size);
}

/* Beyond MESSAGE_MAX for whatever is too much, and never wrapped around. */
static size_t array_size(size_t count, size_t each)
{
    return count > MESSAGE_MAX ? count : count * each;
}

/* Returns the size of the sockaddr written; 0 for a family that is not IP. */
static size_t to_sockaddr(const struct pfkeyx_address *address, union socket_address *out)
{
    memset(out, 0, sizeof(*out));
    switch (address->family) {
    case AF_INET:
        out->in.sin_family = AF_INET;
        out->in.sin_port = htons(address->port);
        memcpy(&out->in.sin_addr, address->bytes, sizeof(out->in.sin_addr));
        return sizeof(out->in);
    case AF_INET6:
        out->in6.sin6_family = AF_INET6;
        out->in6.sin6_port = htons(address->port);
        memcpy(&out->in6.sin6_addr, address->bytes, sizeof(out->in6.sin6_addr));
        return sizeof(out->in6);
    default:
        return 0;
    }
}

/* Two sockaddrs of one family, back to back with nothing between them. */
struct sockaddr_pair {
    size_t size;
    uint8_t bytes[2 * sizeof(struct sockaddr_in6)];
};

/* Returns whether the two could be written: both IP, and of one family. */
static int to_pair(const struct pfkeyx_address *first, const struct pfkeyx_address *second,
                   struct sockaddr_pair *pair)
{
    union socket_address from, to;
    size_t size = to_sockaddr(first, &from);

    *pair = (struct sockaddr_pair){ .size = 2 * size };
    if (!size || to_sockaddr(second, &to) != size)
        return 0;
    memcpy(pair->bytes, &from, size);
    memcpy(pair->bytes + size, &to, size);
    return 1;
}

void pfkeyx_begin(struct pfkeyx_builder *builder, uint8_t type, uint8_t satype, uint8_t errno_value,
                  uint32_t seq, uint32_t pid)
{
    struct sadb_msg header = {
        .sadb_msg_version = PF_KEY_V2,
        .sadb_msg_type = type,
        .sadb_msg_errno = errno_value,
        .sadb_msg_satype = satype,
        .sadb_msg_seq = seq,
        .sadb_msg_pid = pid,
    };
    uint8_t *start;

    builder->size = 0;
    builder->error = 0;
    start = append(builder, sizeof(header));
    if (start)
        memcpy(start, &header, sizeof(header));
}

void pfkeyx_put_sa(struct pfkeyx_builder *builder, uint32_t spi, uint8_t replay, uint8_t state, uint8_t auth,
                   uint8_t encrypt, uint32_t flags)
{
    struct sadb_sa sa = {
        .sadb_sa_spi = htonl(spi),
        .sadb_sa_replay = replay,
        .sadb_sa_state = state,
        .sadb_sa_auth = auth,
        .sadb_sa_encrypt = encrypt,
        .sadb_sa_flags = flags,
    };

    put(builder, SADB_EXT_SA, &sa, sizeof(sa), NULL, 0);
}

void pfkeyx_put_lifetime(struct pfkeyx_builder *builder, uint16_t exttype, uint32_t allocations,
                         uint64_t bytes, uint64_t addtime, uint64_t usetime)
{
    struct sadb_lifetime lifetime = {
        .sadb_lifetime_allocations = allocations,
        .sadb_lifetime_bytes = bytes,
        .sadb_lifetime_addtime = addtime,
        .sadb_lifetime_usetime = usetime,
    };

    put(builder, exttype, &lifetime, sizeof(lifetime), NULL, 0);
}

void pfkeyx_put_address(struct pfkeyx_builder *builder, uint16_t exttype, uint8_t proto, uint8_t prefixlen,
                        const struct pfkeyx_address *address)
{
    struct sadb_address header = { .sadb_address_proto = proto, .sadb_address_prefixlen = prefixlen };
    union socket_address sockaddr;
    size_t size = to_sockaddr(address, &sockaddr);

    if (!size || prefixlen > (address->family == AF_INET ? 32 : 128))
        fail(builder, -EINVAL);
    put(builder, exttype, &header, sizeof(header), &sockaddr, size);
}

void pfkeyx_put_key(struct pfkeyx_builder *builder, uint16_t exttype, const uint8_t *key, uint16_t bits)
{
    struct sadb_key header = { .sadb_key_bits = bits };

    put(builder, exttype, &header, sizeof(header), key, (bits + 7u) / 8);
}

void pfkeyx_put_sa2(struct pfkeyx_builder *builder, uint8_t mode, uint32_t sequence, uint32_t reqid)
{
    struct sadb_x_sa2 sa2 = {
        .sadb_x_sa2_mode = mode,
        .sadb_x_sa2_sequence = sequence,
        .sadb_x_sa2_reqid = reqid,
    };

    put(builder, SADB_X_EXT_SA2, &sa2, sizeof(sa2), NULL, 0);
}

void pfkeyx_put_spirange(struct pfkeyx_builder *builder, uint32_t min, uint32_t max)
{
    struct sadb_spirange spirange = { .sadb_spirange_min = min, .sadb_spirange_max = max };

    put(builder, SADB_EXT_SPIRANGE, &spirange, sizeof(spirange), NULL, 0);
}

void pfkeyx_put_nat_t_type(struct pfkeyx_builder *builder, uint8_t type)
{
    struct sadb_x_nat_t_type nat_t_type = { .sadb_x_nat_t_type_type = type };

    put(builder, SADB_X_EXT_NAT_T_TYPE, &nat_t_type, sizeof(nat_t_type), NULL, 0);
}

void pfkeyx_put_nat_t_port(struct pfkeyx_builder *builder, uint16_t exttype, uint16_t port)
{
    struct sadb_x_nat_t_port nat_t_port = { .sadb_x_nat_t_port_port = htons(port) };

    put(builder, exttype, &nat_t_port, sizeof(nat_t_port), NULL, 0);
}

void pfkeyx_put_policy(struct pfkeyx_builder *builder, uint16_t type, uint8_t dir, uint32_t id,
                       uint32_t priority)
{
    struct sadb_x_policy policy = {
        .sadb_x_policy_type = type,
        .sadb_x_policy_dir = dir,
        .sadb_x_policy_id = id,
        .sadb_x_policy_priority = priority,
    };
    size_t start = builder->size;

    put(builder, SADB_X_EXT_POLICY, &policy, sizeof(policy), NULL, 0);
    builder->policy = start;
}

void pfkeyx_put_identity(struct pfkeyx_builder *builder, uint16_t exttype, uint16_t type, uint64_t id,
                         const char *name)
{
    struct sadb_ident header = { .sadb_ident_type = type, .sadb_ident_id = id };

    put(builder, exttype, &header, sizeof(header), name, name && *name ? strlen(name) + 1 : 0);
}

void pfkeyx_put_sensitivity(struct pfkeyx_builder *builder, uint32_t dpd, uint8_t sens_level, uint8_t sens_len,
                            uint8_t integ_level, uint8_t integ_len, const uint64_t *bitmaps)
{
    struct sadb_sens header = {
        .sadb_sens_dpd = dpd,
        .sadb_sens_sens_level = sens_level,
        .sadb_sens_sens_len = sens_len,
        .sadb_sens_integ_level = integ_level,
        .sadb_sens_integ_len = integ_len,
    };

    put(builder, SADB_EXT_SENSITIVITY, &header, sizeof(header), bitmaps, ((size_t)sens_len + integ_len) * WORD);
}

void pfkeyx_put_proposal(struct pfkeyx_builder *builder, uint8_t replay, const struct sadb_comb *combs,
                         size_t count)
{
    struct sadb_prop header = { .sadb_prop_replay = replay };

    put(builder, SADB_EXT_PROPOSAL, &header, sizeof(header), combs, array_size(count, sizeof(*combs)));
}

void pfkeyx_put_supported(struct pfkeyx_builder *builder, uint16_t exttype, const struct sadb_alg *algs,
                          size_t count)
{
    struct sadb_supported header = { 0 };

    put(builder, exttype, &header, sizeof(header), algs, array_size(count, sizeof(*algs)));
}

void pfkeyx_put_kmprivate(struct pfkeyx_builder *builder, const uint8_t *data, size_t size)
{
    struct sadb_x_kmprivate header = { 0 };

    put(builder, SADB_X_EXT_KMPRIVATE, &header, sizeof(header), data, size);
}

void pfkeyx_put_sec_ctx(struct pfkeyx_builder *builder, uint8_t alg, uint8_t doi, const uint8_t *context,
                        uint16_t size)
{
    struct sadb_x_sec_ctx header = { .sadb_x_ctx_alg = alg, .sadb_x_ctx_doi = doi, .sadb_x_ctx_len = size };

    put(builder, SADB_X_EXT_SEC_CTX, &header, sizeof(header), context, size);
}

void pfkeyx_put_kmaddress(struct pfkeyx_builder *builder, const struct pfkeyx_address *local,
                          const struct pfkeyx_address *remote)
{
    struct sadb_x_kmaddress header = { 0 };
    struct sockaddr_pair pair;

    if (!to_pair(local, remote, &pair))
        fail(builder, -EINVAL);
    put(builder, SADB_X_EXT_KMADDRESS, &header, sizeof(header), pair.bytes, pair.size);
}

void pfkeyx_put_filter(struct pfkeyx_builder *builder, const struct pfkeyx_filter *filter)
{
    struct sadb_x_filter out = {
        .sadb_x_filter_family = filter->family,
        .sadb_x_filter_splen = filter->source_prefixlen,
        .sadb_x_filter_dplen = filter->destination_prefixlen,
    };
    uint8_t longest = filter->family == AF_INET ? 32 : 128;

    if (filter->source_prefixlen > longest || filter->destination_prefixlen > longest)
        fail(builder, -EINVAL);
    memcpy(out.sadb_x_filter_saddr, filter->source, sizeof(filter->source));
    memcpy(out.sadb_x_filter_daddr, filter->destination, sizeof(filter->destination));
    put(builder, SADB_X_EXT_FILTER, &out, sizeof(out), NULL, 0);
}

void pfkeyx_put_ipsecrequest(struct pfkeyx_builder *builder, uint16_t proto, uint8_t mode, uint8_t level,
                             uint32_t reqid, const struct pfkeyx_address *source,
                             const struct pfkeyx_address *destination)
{
    struct sadb_x_ipsecrequest request = {
        .sadb_x_ipsecrequest_proto = proto,
        .sadb_x_ipsecrequest_mode = mode,
        .sadb_x_ipsecrequest_level = level,
        .sadb_x_ipsecrequest_reqid = reqid,
    };
    struct sockaddr_pair pair = { 0 };
    size_t policy = builder->policy;
    size_t size;
    uint8_t *start;

    if (!policy || !source != !destination || (source && destination && !to_pair(source, destination, &pair)))
        fail(builder, -EINVAL);
    size = sizeof(request) + pair.size;
    start = append(builder, size);
    if (!start)
        return;
    request.sadb_x_ipsecrequest_len = (uint16_t)size; /* in bytes, the one length that is not in words */
    memcpy(start, &request, sizeof(request));
    memcpy(start + sizeof(request), pair.bytes, pair.size);
    write_header(builder, builder->data + policy, SADB_X_EXT_POLICY);
    builder->policy = policy;
}

void pfkeyx_put_extension(struct pfkeyx_builder *builder, uint16_t exttype, const uint8_t *body, size_t size)
{
    struct sadb_ext header = { 0 };

    put(builder, exttype, &header, sizeof(header), body, size);
}

int pfkeyx_finish(struct pfkeyx_builder *builder)
{
    uint16_t words = (uint16_t)(builder->size / WORD);

    if (builder->size < sizeof(struct sadb_msg))
        fail(builder, -EINVAL);
    if (!builder->error)
        memcpy(builder->data + offsetof(struct sadb_msg, sadb_msg_len), &words, sizeof(words));
    return builder->error;
}

void pfkeyx_builder_release(struct pfkeyx_builder *builder)
{
    pfkeyx_wipe(builder->data, builder->capacity);
    *builder = (struct pfkeyx_builder){ 0 };
}
