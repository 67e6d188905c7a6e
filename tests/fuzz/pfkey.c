/*
 * The fuzz target: any bytes are read as a message, each extension by every getter, whatever its type. What a getter
 * gives is put again and must then read back equal. Every extension lies in a heap block of exactly its size, so that
 * AddressSanitizer sees a read one byte beyond it.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compat.h"
#include "pfkeyx.h"

#define CHECK(condition)                                                                            \
    do {                                                                                            \
        if (!(condition)) {                                                                         \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);               \
            abort();                                                                                \
        }                                                                                           \
    } while (0)

/* Every struct begins with a header, whose length may be another one; what is reserved is not put again. */
#define SAME(first, second) CHECK(!memcmp((char *)&(first) + 4, (char *)&(second) + 4, sizeof(first) - 4))
#define WHOLLY_SAME(first, second) CHECK(!memcmp(&(first), &(second), sizeof(first)))
#define UNRESERVED(first, field) memset(&(first).field, 0, sizeof((first).field))

static struct pfkeyx_builder builder;

static void begin(void)
{
    pfkeyx_begin(&builder, SADB_X_PROMISC, 0, 0, 0, 0);
}

/* Finds the one extension that was put. */
static struct pfkeyx_extension again(void)
{
    struct pfkeyx_reader reader;
    struct pfkeyx_extension extension = { 0 }, none;
    struct sadb_msg header;

    CHECK(pfkeyx_finish(&builder) == 0);
    CHECK(pfkeyx_read_message(&reader, builder.data, builder.size, &header) == 0);
    CHECK(header.sadb_msg_len * 8u == builder.size);
    CHECK(pfkeyx_read_extension(&reader, &extension) == 1);
    CHECK(pfkeyx_read_extension(&reader, &none) == 0);
    return extension;
}

static void sa(const struct pfkeyx_extension *extension)
{
    struct sadb_sa first, second;
    struct pfkeyx_extension put;

    if (pfkeyx_get_sa(extension, &first))
        return;
    begin();
    pfkeyx_put_sa(&builder, pfkeyx_spi(&first), first.sadb_sa_replay, first.sadb_sa_state, first.sadb_sa_auth,
                  first.sadb_sa_encrypt, first.sadb_sa_flags);
    put = again();
    CHECK(pfkeyx_get_sa(&put, &second) == 0);
    SAME(first, second);
}

static void lifetime(const struct pfkeyx_extension *extension)
{
    struct sadb_lifetime first, second;
    struct pfkeyx_extension put;

    if (pfkeyx_get_lifetime(extension, &first))
        return;
    begin();
    pfkeyx_put_lifetime(&builder, extension->type, first.sadb_lifetime_allocations, first.sadb_lifetime_bytes,
                        first.sadb_lifetime_addtime, first.sadb_lifetime_usetime);
    put = again();
    CHECK(pfkeyx_get_lifetime(&put, &second) == 0);
    SAME(first, second);
}

static void address(const struct pfkeyx_extension *extension)
{
    struct sadb_address first, second;
    struct pfkeyx_address host, other;
    struct pfkeyx_extension put;

    if (pfkeyx_get_address(extension, &first, &host))
        return;
    begin();
    pfkeyx_put_address(&builder, extension->type, first.sadb_address_proto, first.sadb_address_prefixlen, &host);
    if (first.sadb_address_prefixlen > (host.family == AF_INET ? 32 : 128)) {
        CHECK(pfkeyx_finish(&builder) == -EINVAL);
        return;
    }
    put = again();
    CHECK(pfkeyx_get_address(&put, &second, &other) == 0);
    UNRESERVED(first, sadb_address_reserved);
    SAME(first, second);
    WHOLLY_SAME(host, other);
}

static void key(const struct pfkeyx_extension *extension)
{
    struct pfkeyx_extension put;
    const uint8_t *first, *second;
    uint16_t bits, other_bits;

    if (pfkeyx_get_key(extension, &bits, &first))
        return;
    begin();
    pfkeyx_put_key(&builder, extension->type, first, bits);
    put = again();
    CHECK(pfkeyx_get_key(&put, &other_bits, &second) == 0);
    CHECK(bits == other_bits && !memcmp(first, second, (bits + 7u) / 8));
}

static void identity(const struct pfkeyx_extension *extension)
{
    struct sadb_ident first, second;
    struct pfkeyx_extension put;
    const char *name, *other;

    if (pfkeyx_get_identity(extension, &first, &name))
        return;
    begin();
    pfkeyx_put_identity(&builder, extension->type, first.sadb_ident_type, first.sadb_ident_id, name);
    put = again();
    CHECK(pfkeyx_get_identity(&put, &second, &other) == 0);
    UNRESERVED(first, sadb_ident_reserved);
    SAME(first, second);
    CHECK(!strcmp(name, other));
}

static size_t words_of(const struct pfkeyx_extension *extension, uint64_t *words)
{
    size_t count = 0;
    int status;

    while ((status = pfkeyx_get_bitmap_word(extension, count, &words[count])) == 1)
        count++;
    CHECK(status == 0);
    return count;
}

static void sensitivity(const struct pfkeyx_extension *extension)
{
    struct sadb_sens first, second;
    struct pfkeyx_extension put;
    uint64_t words[2 * UINT8_MAX + 1], others[2 * UINT8_MAX + 1];
    size_t count;

    if (pfkeyx_get_sensitivity(extension, &first)) {
        CHECK(pfkeyx_get_bitmap_word(extension, 0, words) == -EBADMSG);
        return;
    }
    count = words_of(extension, words);
    begin();
    pfkeyx_put_sensitivity(&builder, first.sadb_sens_dpd, first.sadb_sens_sens_level, first.sadb_sens_sens_len,
                           first.sadb_sens_integ_level, first.sadb_sens_integ_len, words);
    put = again();
    CHECK(pfkeyx_get_sensitivity(&put, &second) == 0);
    UNRESERVED(first, sadb_sens_reserved);
    SAME(first, second);
    CHECK(words_of(&put, others) == count && !memcmp(words, others, count * sizeof(*words)));
}

static void proposal(const struct pfkeyx_extension *extension)
{
    struct sadb_prop first, second;
    struct sadb_comb *combs = malloc(extension->size + sizeof(*combs)), comb;
    struct pfkeyx_extension put;
    size_t count = 0;
    int status;

    CHECK(combs);
    while ((status = pfkeyx_get_combination(extension, count, &combs[count])) == 1) {
        UNRESERVED(combs[count], sadb_comb_reserved);
        count++;
    }
    if (status == 0 && pfkeyx_get_proposal(extension, &first) == 0) {
        begin();
        pfkeyx_put_proposal(&builder, first.sadb_prop_replay, combs, count);
        put = again();
        CHECK(pfkeyx_get_proposal(&put, &second) == 0);
        UNRESERVED(first, sadb_prop_reserved);
        SAME(first, second);
        for (size_t i = 0; i < count; i++) {
            CHECK(pfkeyx_get_combination(&put, i, &comb) == 1);
            WHOLLY_SAME(combs[i], comb);
        }
        CHECK(pfkeyx_get_combination(&put, count, &comb) == 0);
    }
    free(combs);
}

static void supported(const struct pfkeyx_extension *extension)
{
    struct sadb_alg *algs = malloc(extension->size + sizeof(*algs)), alg;
    struct pfkeyx_extension put;
    size_t count = 0;
    int status;

    CHECK(algs);
    while ((status = pfkeyx_get_algorithm(extension, count, &algs[count])) == 1) {
        UNRESERVED(algs[count], sadb_alg_reserved);
        count++;
    }
    CHECK(status == 0); /* every extension is made of words, as the array is */
    begin();
    pfkeyx_put_supported(&builder, extension->type, algs, count);
    put = again();
    for (size_t i = 0; i < count; i++) {
        CHECK(pfkeyx_get_algorithm(&put, i, &alg) == 1);
        WHOLLY_SAME(algs[i], alg);
    }
    CHECK(pfkeyx_get_algorithm(&put, count, &alg) == 0);
    free(algs);
}

static void spirange(const struct pfkeyx_extension *extension)
{
    struct sadb_spirange first, second;
    struct pfkeyx_extension put;

    if (pfkeyx_get_spirange(extension, &first))
        return;
    begin();
    pfkeyx_put_spirange(&builder, first.sadb_spirange_min, first.sadb_spirange_max);
    put = again();
    CHECK(pfkeyx_get_spirange(&put, &second) == 0);
    UNRESERVED(first, sadb_spirange_reserved);
    SAME(first, second);
}

static void kmprivate(const struct pfkeyx_extension *extension)
{
    struct pfkeyx_extension put;
    const uint8_t *first, *second;
    size_t size, other_size;

    CHECK(pfkeyx_get_kmprivate(extension, &first, &size) == 0);
    begin();
    pfkeyx_put_kmprivate(&builder, first, size);
    put = again();
    CHECK(pfkeyx_get_kmprivate(&put, &second, &other_size) == 0);
    CHECK(size == other_size && !memcmp(first, second, size));
}

static void same_address(const struct pfkeyx_address *first, const struct pfkeyx_address *second)
{
    CHECK(first->family == second->family && !memcmp(first->bytes, second->bytes, sizeof(first->bytes)));
}

static void policy(const struct pfkeyx_extension *extension)
{
    struct sadb_x_policy first, second;
    struct pfkeyx_ipsecrequest request, other;
    struct pfkeyx_extension put;
    size_t offset = 0, other_offset = 0;
    int status;

    if (pfkeyx_get_policy(extension, &first))
        return;
    begin();
    pfkeyx_put_policy(&builder, first.sadb_x_policy_type, first.sadb_x_policy_dir, first.sadb_x_policy_id,
                      first.sadb_x_policy_priority);
    while ((status = pfkeyx_get_ipsecrequest(extension, &offset, &request)) == 1)
        pfkeyx_put_ipsecrequest(&builder, request.header.sadb_x_ipsecrequest_proto,
                                request.header.sadb_x_ipsecrequest_mode, request.header.sadb_x_ipsecrequest_level,
                                request.header.sadb_x_ipsecrequest_reqid,
                                request.has_addresses ? &request.source : NULL,
                                request.has_addresses ? &request.destination : NULL);
    if (status < 0)
        return;
    put = again();
    CHECK(pfkeyx_get_policy(&put, &second) == 0);
    UNRESERVED(first, sadb_x_policy_reserved);
    SAME(first, second);
    offset = 0;
    while (pfkeyx_get_ipsecrequest(extension, &offset, &request) == 1) {
        CHECK(pfkeyx_get_ipsecrequest(&put, &other_offset, &other) == 1);
        request.header.sadb_x_ipsecrequest_len = other.header.sadb_x_ipsecrequest_len;
        UNRESERVED(request.header, sadb_x_ipsecrequest_reserved1);
        UNRESERVED(request.header, sadb_x_ipsecrequest_reserved2);
        WHOLLY_SAME(request.header, other.header);
        CHECK(request.has_addresses == other.has_addresses);
        same_address(&request.source, &other.source);
        same_address(&request.destination, &other.destination);
    }
    CHECK(pfkeyx_get_ipsecrequest(&put, &other_offset, &other) == 0);
}

static void sa2(const struct pfkeyx_extension *extension)
{
    struct sadb_x_sa2 first, second;
    struct pfkeyx_extension put;

    if (pfkeyx_get_sa2(extension, &first))
        return;
    begin();
    pfkeyx_put_sa2(&builder, first.sadb_x_sa2_mode, first.sadb_x_sa2_sequence, first.sadb_x_sa2_reqid);
    put = again();
    CHECK(pfkeyx_get_sa2(&put, &second) == 0);
    UNRESERVED(first, sadb_x_sa2_reserved1);
    UNRESERVED(first, sadb_x_sa2_reserved2);
    SAME(first, second);
}

static void nat_t(const struct pfkeyx_extension *extension)
{
    struct sadb_x_nat_t_type type, other_type;
    struct sadb_x_nat_t_port port, other_port;
    struct pfkeyx_extension put;

    CHECK(pfkeyx_get_nat_t_type(extension, &type) == 0 && pfkeyx_get_nat_t_port(extension, &port) == 0);
    begin();
    pfkeyx_put_nat_t_type(&builder, type.sadb_x_nat_t_type_type);
    put = again();
    CHECK(pfkeyx_get_nat_t_type(&put, &other_type) == 0);
    UNRESERVED(type, sadb_x_nat_t_type_reserved);
    SAME(type, other_type);
    begin();
    pfkeyx_put_nat_t_port(&builder, extension->type, pfkeyx_nat_t_port(&port));
    put = again();
    CHECK(pfkeyx_get_nat_t_port(&put, &other_port) == 0);
    UNRESERVED(port, sadb_x_nat_t_port_reserved);
    SAME(port, other_port);
}

static void sec_ctx(const struct pfkeyx_extension *extension)
{
    struct sadb_x_sec_ctx first, second;
    struct pfkeyx_extension put;
    const uint8_t *context, *other;

    if (pfkeyx_get_sec_ctx(extension, &first, &context))
        return;
    begin();
    pfkeyx_put_sec_ctx(&builder, first.sadb_x_ctx_alg, first.sadb_x_ctx_doi, context, first.sadb_x_ctx_len);
    put = again();
    CHECK(pfkeyx_get_sec_ctx(&put, &second, &other) == 0);
    SAME(first, second);
    CHECK(!memcmp(context, other, first.sadb_x_ctx_len));
}

static void kmaddress(const struct pfkeyx_extension *extension)
{
    struct pfkeyx_address local, remote, other_local, other_remote;
    struct pfkeyx_extension put;

    if (pfkeyx_get_kmaddress(extension, &local, &remote))
        return;
    begin();
    pfkeyx_put_kmaddress(&builder, &local, &remote);
    put = again();
    CHECK(pfkeyx_get_kmaddress(&put, &other_local, &other_remote) == 0);
    WHOLLY_SAME(local, other_local);
    WHOLLY_SAME(remote, other_remote);
}

static void filter(const struct pfkeyx_extension *extension)
{
    struct pfkeyx_filter first, second;
    struct pfkeyx_extension put;
    uint8_t longest;

    if (pfkeyx_get_filter(extension, &first))
        return;
    longest = first.family == AF_INET ? 32 : 128;
    begin();
    pfkeyx_put_filter(&builder, &first);
    if (first.source_prefixlen > longest || first.destination_prefixlen > longest) {
        CHECK(pfkeyx_finish(&builder) == -EINVAL);
        return;
    }
    put = again();
    CHECK(pfkeyx_get_filter(&put, &second) == 0);
    WHOLLY_SAME(first, second);
}

static void whole(const struct pfkeyx_extension *extension)
{
    struct pfkeyx_extension put;

    begin();
    pfkeyx_put_extension(&builder, extension->type, extension->data + 4, extension->size - 4);
    put = again();
    CHECK(put.type == extension->type && put.size == extension->size);
    CHECK(!memcmp(put.data, extension->data, put.size));
}

static void (*const READERS[])(const struct pfkeyx_extension *) = {
    sa,     lifetime, address, key,   identity, sensitivity, proposal, supported, spirange, kmprivate,
    policy, sa2,      nat_t,   sec_ctx, kmaddress, filter, whole,
};

/* What is taken for an entry has all that it claims: nothing of it can fail later. */
static void entry(const uint8_t *data, size_t size)
{
    uint16_t places[PFKEYX_EXT_MAX + 1];
    uint8_t *block = malloc(size);
    struct pfkeyx_extension extension;
    struct pfkeyx_ipsecrequest request;
    struct pfkeyx_address address;
    struct sadb_address header;
    struct pfkeyx_reader reader;
    const uint8_t *key;
    size_t offset = 0;
    uint16_t bits;

    CHECK(block);
    memcpy(block, data, size);
    reader = (struct pfkeyx_reader){ .data = block, .size = size };
    if (pfkeyx_pfkey_extensions(block, size, places) == 0)
        for (size_t type = 0; type <= PFKEYX_EXT_MAX; type++) {
            reader.offset = places[type] * 8u;
            if (!reader.offset)
                continue;
            CHECK(pfkeyx_read_extension(&reader, &extension) == 1 && extension.type == type);
            if (type == SADB_EXT_ADDRESS_SRC || type == SADB_EXT_ADDRESS_DST || type == SADB_EXT_ADDRESS_PROXY)
                CHECK(pfkeyx_get_address(&extension, &header, &address) == 0);
            if (type == SADB_EXT_KEY_AUTH || type == SADB_EXT_KEY_ENCRYPT)
                CHECK(pfkeyx_get_key(&extension, &bits, &key) == 0);
            if (type == SADB_X_EXT_POLICY)
                while (pfkeyx_get_ipsecrequest(&extension, &offset, &request))
                    CHECK(request.header.sadb_x_ipsecrequest_mode <= IPSEC_MODE_BEET);
        }
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pfkeyx_reader reader;
    struct pfkeyx_extension inside, alone;
    struct sadb_msg header;
    uint8_t *block;

    if (pfkeyx_read_message(&reader, data, size, &header))
        return 0;
    entry(data, size);
    while (pfkeyx_read_extension(&reader, &inside) == 1) {
        CHECK(inside.size >= 8 && inside.size % 8 == 0 && inside.data + inside.size <= data + size);
        block = malloc(inside.size);
        CHECK(block);
        memcpy(block, inside.data, inside.size);
        alone = (struct pfkeyx_extension){ .type = inside.type, .data = block, .size = inside.size };
        for (size_t i = 0; i < sizeof(READERS) / sizeof(*READERS); i++)
            READERS[i](&alone);
        free(block);
    }
    return 0;
}
