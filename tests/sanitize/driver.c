/*
 * Exercises the C core where AddressSanitizer and UBSan can see it. Every message is read from a heap block
 * of exactly its size, so that a read one byte beyond it is caught. Each test runs in a process of its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pfkeyx.h"
#include "tests.h"


static const struct pfkeyx_address V4 = { .family = AF_INET, .port = 4500, .bytes = { 192, 0, 2, 1 } };
static const struct pfkeyx_address V6 = { .family = AF_INET6, .bytes = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } };
static const uint8_t KEY[64] = "a key of sixty-four bytes, which no message may be longer for";

static const uint64_t WORDS[3] = { 1, 2, UINT64_MAX };
static const struct sadb_comb COMBS[2] = { { .sadb_comb_auth = 3, .sadb_comb_hard_usetime = 5 } };
static const struct sadb_alg ALGS[3] = { { .sadb_alg_id = 12, .sadb_alg_maxbits = 256 } };
static const struct pfkeyx_filter FILTER = { .family = AF_INET6, .source_prefixlen = 128, .source = { 0x20 } };

/* One of each extension. */
#define EXTENSIONS 20

static void build(struct pfkeyx_builder *builder)
{
    pfkeyx_begin(builder, SADB_ADD, SADB_SATYPE_ESP, 0, 7, 42);
    pfkeyx_put_sa(builder, 0x12345678, 32, SADB_SASTATE_MATURE, SADB_AALG_SHA1HMAC, SADB_X_EALG_AESCBC, 0);
    pfkeyx_put_lifetime(builder, SADB_EXT_LIFETIME_HARD, 1, 2, 3, 4);
    pfkeyx_put_address(builder, SADB_EXT_ADDRESS_SRC, 0, 32, &V4);
    pfkeyx_put_address(builder, SADB_EXT_ADDRESS_DST, 0, 128, &V6);
    pfkeyx_put_key(builder, SADB_EXT_KEY_AUTH, KEY, 160);
    pfkeyx_put_key(builder, SADB_EXT_KEY_ENCRYPT, KEY, 129);
    pfkeyx_put_sa2(builder, IPSEC_MODE_TUNNEL, 0, 9);
    pfkeyx_put_spirange(builder, 0x100, 0x1ff);
    pfkeyx_put_nat_t_type(builder, 2);
    pfkeyx_put_nat_t_port(builder, SADB_X_EXT_NAT_T_SPORT, 4500);
    pfkeyx_put_policy(builder, IPSEC_POLICY_IPSEC, IPSEC_DIR_OUTBOUND, 0, 100);
    pfkeyx_put_ipsecrequest(builder, IPPROTO_ESP, IPSEC_MODE_TUNNEL, IPSEC_LEVEL_UNIQUE, 9, &V4, &V4);
    pfkeyx_put_ipsecrequest(builder, IPPROTO_ESP, IPSEC_MODE_TUNNEL, IPSEC_LEVEL_UNIQUE, 9, &V6, &V6);
    pfkeyx_put_ipsecrequest(builder, IPPROTO_AH, IPSEC_MODE_TRANSPORT, IPSEC_LEVEL_REQUIRE, 0, NULL, NULL);
    pfkeyx_put_identity(builder, SADB_EXT_IDENTITY_SRC, SADB_IDENTTYPE_FQDN, 1, "gateway.example");
    pfkeyx_put_sensitivity(builder, 1, 2, 2, 3, 1, WORDS);
    pfkeyx_put_proposal(builder, 32, COMBS, 2);
    pfkeyx_put_supported(builder, SADB_EXT_SUPPORTED_AUTH, ALGS, 3);
    pfkeyx_put_kmprivate(builder, KEY, 5);
    pfkeyx_put_sec_ctx(builder, 1, 1, (const uint8_t *)"context", 8);
    pfkeyx_put_kmaddress(builder, &V6, &V6);
    pfkeyx_put_filter(builder, &FILTER);
    pfkeyx_put_extension(builder, UINT16_MAX, KEY, 12);
    CHECK(pfkeyx_finish(builder) == 0);
}

/* The linker puts this in the place of free(): it sees every block as it is given back. */
static int freed_with_key;

void __real_free(void *block);
void __wrap_free(void *block);

void __wrap_free(void *block)
{
    if (block && memmem(block, malloc_usable_size(block), KEY, 16))
        freed_with_key++;
    __real_free(block);
}

static uint8_t *copy_of(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    CHECK(copy);
    memcpy(copy, data, size);
    return copy;
}

static unsigned sum(const uint8_t *data, size_t size)
{
    unsigned total = 0;

    while (size--)
        total += *data++;
    return total;
}

/* Applies every getter to one extension, whatever its type: none may trust it. The extension is read from
 * a heap block of its own, so that reading on into the next one is caught too. Returns how many requests
 * there were. */
static int get_everything(const struct pfkeyx_extension *inside)
{
    uint8_t *alone = copy_of(inside->data, inside->size);
    const struct pfkeyx_extension *extension =
        &(struct pfkeyx_extension){ .type = inside->type, .data = alone, .size = inside->size };
    struct sadb_sa sa;
    struct sadb_lifetime lifetime;
    struct sadb_x_sa2 sa2;
    struct sadb_spirange spirange;
    struct sadb_x_nat_t_type nat_t_type;
    struct sadb_x_nat_t_port nat_t_port;
    struct sadb_x_policy policy;
    struct sadb_address header;
    struct pfkeyx_address address;
    struct pfkeyx_ipsecrequest request;
    struct sadb_ident ident;
    struct sadb_sens sens;
    struct sadb_prop proposal;
    struct sadb_comb comb;
    struct sadb_alg alg;
    struct sadb_x_sec_ctx sec_ctx;
    struct pfkeyx_address remote;
    struct pfkeyx_filter filter;
    const uint8_t *key, *data;
    const char *name;
    uint64_t word;
    uint16_t bits;
    size_t offset = 0, size;
    volatile unsigned used = sum(extension->data, extension->size);
    int requests = 0;

    if (pfkeyx_get_sa(extension, &sa) == 0)
        used += pfkeyx_spi(&sa);
    if (pfkeyx_get_nat_t_port(extension, &nat_t_port) == 0)
        used += pfkeyx_nat_t_port(&nat_t_port);
    if (pfkeyx_get_key(extension, &bits, &key) == 0)
        used += sum(key, (bits + 7u) / 8);
    pfkeyx_get_lifetime(extension, &lifetime);
    pfkeyx_get_sa2(extension, &sa2);
    pfkeyx_get_spirange(extension, &spirange);
    pfkeyx_get_nat_t_type(extension, &nat_t_type);
    pfkeyx_get_policy(extension, &policy);
    pfkeyx_get_address(extension, &header, &address);
    pfkeyx_get_proposal(extension, &proposal);
    pfkeyx_get_filter(extension, &filter);
    pfkeyx_get_kmaddress(extension, &address, &remote);
    if (pfkeyx_get_identity(extension, &ident, &name) == 0)
        used += (unsigned)strlen(name);
    if (pfkeyx_get_sensitivity(extension, &sens) == 0) {
        size = (size_t)sens.sadb_sens_sens_len + sens.sadb_sens_integ_len;
        CHECK(pfkeyx_get_bitmap_word(extension, size, &word) == 0);
    }
    if (pfkeyx_get_kmprivate(extension, &data, &size) == 0)
        used += sum(data, size);
    if (pfkeyx_get_sec_ctx(extension, &sec_ctx, &data) == 0)
        used += sum(data, sec_ctx.sadb_x_ctx_len);
    for (size_t i = 0; pfkeyx_get_bitmap_word(extension, i, &word) == 1; i++)
        used += (unsigned)word;
    for (size_t i = 0; pfkeyx_get_combination(extension, i, &comb) == 1; i++)
        used += comb.sadb_comb_auth;
    for (size_t i = 0; pfkeyx_get_algorithm(extension, i, &alg) == 1; i++)
        used += alg.sadb_alg_id;
    CHECK(pfkeyx_get_combination(extension, SIZE_MAX, &comb) <= 0);
    CHECK(pfkeyx_get_algorithm(extension, SIZE_MAX, &alg) <= 0);
    CHECK(pfkeyx_get_bitmap_word(extension, SIZE_MAX, &word) <= 0);
    while (pfkeyx_get_ipsecrequest(extension, &offset, &request) == 1)
        requests++;
    free(alone);
    return requests;
}

/* Reads a copy of exactly this size. Returns how many extensions there were, or -errno. */
static int read_everything(const uint8_t *data, size_t size)
{
    uint8_t *copy = copy_of(data, size);
    struct pfkeyx_reader reader;
    struct pfkeyx_extension extension;
    struct sadb_msg header;
    int result, count = 0;

    result = pfkeyx_read_message(&reader, copy, size, &header);
    if (result == 0) {
        while ((result = pfkeyx_read_extension(&reader, &extension)) == 1) {
            get_everything(&extension);
            count++;
        }
    }
    free(copy);
    return result < 0 ? result : count;
}

static void round_trip(void)
{
    struct pfkeyx_builder builder = { 0 };
    struct pfkeyx_reader reader;
    struct pfkeyx_extension extension;
    struct sadb_msg header;
    uint16_t bits = 0;
    const uint8_t *key;

    build(&builder);
    build(&builder); /* in the memory of the first */
    CHECK(read_everything(builder.data, builder.size) == EXTENSIONS);
    CHECK(pfkeyx_read_message(&reader, builder.data, builder.size, &header) == 0);
    CHECK(header.sadb_msg_len * 8u == builder.size && header.sadb_msg_seq == 7 && header.sadb_msg_pid == 42);
    while (pfkeyx_read_extension(&reader, &extension) == 1) {
        CHECK(extension.size % 8 == 0);
        if (extension.type == SADB_EXT_KEY_ENCRYPT)
            CHECK(!pfkeyx_get_key(&extension, &bits, &key) && bits == 129 && !memcmp(key, KEY, 17));
        if (extension.type == SADB_X_EXT_POLICY)
            CHECK(get_everything(&extension) == 3);
    }
    CHECK(bits == 129);
    pfkeyx_builder_release(&builder);
    CHECK(!builder.data && !builder.size && !builder.capacity);
}

/* The header's length is set back, so that the extensions themselves are what is cut. */
static void every_truncation(void)
{
    struct pfkeyx_builder builder = { 0 };

    build(&builder);
    for (size_t size = 0; size < builder.size; size++)
        CHECK(read_everything(builder.data, size) == -EBADMSG);
    memset(builder.data + offsetof(struct sadb_msg, sadb_msg_len), 0, sizeof(uint16_t));
    for (size_t size = 0; size < builder.size; size++) {
        int result = read_everything(builder.data, size);

        CHECK(size % 8 == 0 && size >= 16 ? result < EXTENSIONS : result == -EBADMSG);
    }
    pfkeyx_builder_release(&builder);
}

static void mutated_bytes(void)
{
    struct pfkeyx_builder builder = { 0 };
    uint32_t random = 2367;
    uint8_t *mutant;

    build(&builder);
    mutant = malloc(builder.size);
    CHECK(mutant);
    for (int round = 0; round < 20000; round++) {
        memcpy(mutant, builder.data, builder.size);
        for (int change = 0; change <= round % 8; change++) {
            random = random * 1664525u + 1013904223u;
            mutant[(random >> 8) % builder.size] = (uint8_t)(random >> 24);
        }
        read_everything(mutant, builder.size);
    }
    free(mutant);
    pfkeyx_builder_release(&builder);
}

static void every_value_of_every_byte(void)
{
    struct pfkeyx_builder builder = { 0 };

    build(&builder);
    for (size_t at = 0; at < builder.size; at++) {
        uint8_t kept = builder.data[at];

        for (unsigned value = 0; value <= UINT8_MAX; value++) {
            builder.data[at] = (uint8_t)value;
            read_everything(builder.data, builder.size);
        }
        builder.data[at] = kept;
    }
    pfkeyx_builder_release(&builder);
}

static void a_message_of_the_greatest_length(void)
{
    struct pfkeyx_builder builder = { 0 };

    pfkeyx_begin(&builder, SADB_ADD, SADB_SATYPE_ESP, 0, 1, 1);
    for (int i = 0; i < 32766; i++)
        pfkeyx_put_spirange(&builder, 0, 1);
    pfkeyx_put_nat_t_type(&builder, 2);
    CHECK(builder.size == 65535u * 8 && pfkeyx_finish(&builder) == 0);
    CHECK(read_everything(builder.data, builder.size) == 32767);
    pfkeyx_put_nat_t_type(&builder, 2);
    CHECK(builder.size == 65535u * 8 && pfkeyx_finish(&builder) == -EMSGSIZE);
    pfkeyx_builder_release(&builder);
}

static void refuses(void (*put)(struct pfkeyx_builder *builder), int error)
{
    struct pfkeyx_builder builder = { 0 };

    pfkeyx_begin(&builder, SADB_ADD, 0, 0, 0, 0);
    put(&builder);
    CHECK(pfkeyx_finish(&builder) == error && builder.size == 16);
    pfkeyx_builder_release(&builder);
}

static void two_families(struct pfkeyx_builder *builder)
{
    pfkeyx_put_kmaddress(builder, &V4, &V6);
}

static void too_long_a_prefix(struct pfkeyx_builder *builder)
{
    pfkeyx_put_filter(builder, &(struct pfkeyx_filter){ .family = AF_INET, .source_prefixlen = 33 });
}

static void more_combinations_than_there_is_memory(struct pfkeyx_builder *builder)
{
    pfkeyx_put_proposal(builder, 0, COMBS, SIZE_MAX / sizeof(*COMBS) + 2);
}

static void more_algorithms_than_there_is_memory(struct pfkeyx_builder *builder)
{
    pfkeyx_put_supported(builder, SADB_EXT_SUPPORTED_AUTH, ALGS, SIZE_MAX / sizeof(*ALGS) + 1);
}

static void more_bytes_than_there_is_memory(struct pfkeyx_builder *builder)
{
    pfkeyx_put_extension(builder, UINT16_MAX, KEY, SIZE_MAX);
}

static void words_without_an_array(struct pfkeyx_builder *builder)
{
    pfkeyx_put_sensitivity(builder, 0, 0, 1, 0, 0, NULL);
}

static void refusals_of_arrays(void)
{
    refuses(two_families, -EINVAL);
    refuses(too_long_a_prefix, -EINVAL);
    refuses(more_combinations_than_there_is_memory, -EMSGSIZE);
    refuses(more_algorithms_than_there_is_memory, -EMSGSIZE);
    refuses(more_bytes_than_there_is_memory, -EMSGSIZE);
    refuses(words_without_an_array, -EINVAL);
}

static void refusals_leave_nothing_behind(void)
{
    struct pfkeyx_address foreign = { .family = AF_UNIX };
    struct pfkeyx_builder builder = { 0 };

    pfkeyx_put_sa2(&builder, 0, 0, 0);
    CHECK(pfkeyx_finish(&builder) == -EINVAL);
    pfkeyx_begin(&builder, SADB_ADD, 0, 0, 0, 0);
    pfkeyx_put_address(&builder, SADB_EXT_ADDRESS_SRC, 0, 0, &foreign);
    CHECK(pfkeyx_finish(&builder) == -EINVAL && builder.size == 16);
    pfkeyx_begin(&builder, SADB_ADD, 0, 0, 0, 0);
    pfkeyx_put_key(&builder, SADB_EXT_KEY_AUTH, NULL, 1);
    CHECK(pfkeyx_finish(&builder) == -EINVAL && builder.size == 16);
    pfkeyx_begin(&builder, SADB_X_SPDADD, 0, 0, 0, 0);
    pfkeyx_put_policy(&builder, IPSEC_POLICY_IPSEC, IPSEC_DIR_FWD, 0, 0);
    pfkeyx_put_ipsecrequest(&builder, IPPROTO_ESP, IPSEC_MODE_TUNNEL, 0, 0, &V4, &V6);
    CHECK(pfkeyx_finish(&builder) == -EINVAL && builder.size == 32);
    pfkeyx_builder_release(&builder);
    pfkeyx_builder_release(&builder);
}

static void receive_any_size(void)
{
    static const size_t sizes[] = { 1, 15, 16, 511, 512, 513, 4096, 65535, 65536, 163840, 200000, 16 };
    struct pfkeyx_buffer buffer = { 0 };
    uint8_t *message = malloc(200000);
    int pair[2];

    CHECK(message && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
    for (size_t i = 0; i < 200000; i++)
        message[i] = (uint8_t)(i * 31);
    CHECK(pfkeyx_receive(pair[1], &buffer) == -EAGAIN && buffer.size == 0);
    CHECK(pfkeyx_has_room(pair[1], 0) == 1 && pfkeyx_has_room(pair[1], SIZE_MAX / 2) == 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        CHECK(pfkeyx_send(pair[0], message, sizes[i]) == 0);
        CHECK(pfkeyx_receive(pair[1], &buffer) == 0);
        CHECK(buffer.size == sizes[i] && !memcmp(buffer.data, message, sizes[i]));
    }
    CHECK(pfkeyx_send(pair[0], message, 0) == 0 && pfkeyx_send(pair[0], message, 24) == 0);
    CHECK(pfkeyx_receive(pair[1], &buffer) == -EPIPE && buffer.size == 0);
    CHECK(pfkeyx_receive(pair[1], &buffer) == 0 && buffer.size == 24);
    close(pair[0]);
    CHECK(pfkeyx_receive(pair[1], &buffer) == -EPIPE);
    CHECK(pfkeyx_send(pair[1], message, 16) == -EPIPE);
    close(pair[1]);
    CHECK(pfkeyx_receive(pair[1], &buffer) == -EBADF && pfkeyx_has_room(pair[1], 0) == -EBADF);
    pfkeyx_buffer_release(&buffer);
    free(message);
}

static void no_freed_block_holds_a_key(void)
{
    struct pfkeyx_builder builder = { 0 };
    struct pfkeyx_buffer buffer = { 0 };
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    pfkeyx_begin(&builder, SADB_ADD, SADB_SATYPE_ESP, 0, 0, 0);
    while (builder.capacity < 100000) {
        for (size_t capacity = builder.capacity; builder.capacity == capacity;)
            pfkeyx_put_key(&builder, SADB_EXT_KEY_ENCRYPT, KEY, 512);
        CHECK(pfkeyx_send(pair[0], builder.data, builder.size) == 0);
        CHECK(pfkeyx_receive(pair[1], &buffer) == 0);
        CHECK(memmem(buffer.data, buffer.size, KEY, sizeof(KEY)));
    }
    pfkeyx_builder_release(&builder);
    pfkeyx_buffer_release(&buffer);
    dumps_of_keys(KEY, 512);
    CHECK(freed_with_key == 0);
    close(pair[0]);
    close(pair[1]);
}

static void open_refuses_what_is_no_namespace(void)
{
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(pfkeyx_open(AF_KEY, PF_KEY_V2, pair[0], 0) == -EINVAL);
    close(pair[0]);
    CHECK(pfkeyx_open(AF_KEY, PF_KEY_V2, pair[0], 0) == -EBADF);
    close(pair[1]);
}

int find_in_block(int (*find)(const uint8_t *, size_t, uint16_t *), const uint8_t *data, size_t size, uint16_t *places)
{
    uint8_t *block = malloc(size ? size : 1);
    int status;

    CHECK(block);
    memcpy(block, data, size);
    status = find(block, size, places);
    free(block);
    return status;
}

static const struct {
    const char *name;
    void (*run)(void);
} TESTS[] = {
    { "round trip", round_trip },
    { "every truncation", every_truncation },
    { "mutated bytes", mutated_bytes },
    { "every value of every byte", every_value_of_every_byte },
    { "a message of the greatest length", a_message_of_the_greatest_length },
    { "refusals leave nothing behind", refusals_leave_nothing_behind },
    { "refusals of arrays", refusals_of_arrays },
    { "receive any size", receive_any_size },
    { "no freed block holds a key", no_freed_block_holds_a_key },
    { "open refuses what is no namespace", open_refuses_what_is_no_namespace },
    { "entries that end early", entries_that_end_early },
    { "entries of any bytes", entries_of_any_bytes },
    { "dumps of XFRM", xfrm_dumps },
    { "padded entries", padded_entries },
    { "entries of PF_KEY", pfkey_entries },
    { "dumps of PF_KEY", pfkey_dumps },
    { "acknowledgements of PF_KEY", acknowledgements },
    { "policies at places", policies_at },
    { "compared", compared },
    { "alike", alike },
    { "links", links },
    { "handles", handles },
    { "many messages", many_messages },
};

static bool passes(void (*run)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        run();
        exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(void)
{
    int passed = 0, failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof(TESTS) / sizeof(*TESTS); i++) {
        bool ok = passes(TESTS[i].run);

        printf("%s: %s\n", ok ? "ok" : "FAILED", TESTS[i].name);
        *(ok ? &passed : &failed) += 1;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
