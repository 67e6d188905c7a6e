/*
 * The fuzz target of XFRM's dumps: any bytes come as a datagram of one. What is kept must be whole entries, each of
 * whose attributes lies within it and has what it claims; they are looked at in a heap block of exactly the entry's
 * size, so that AddressSanitizer sees a read one byte beyond it.
 */
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "compat.h"
#include "pfkeyx.h"

#define CHECK(condition)                                                                            \
    do {                                                                                            \
        if (!(condition)) {                                                                         \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);               \
            abort();                                                                                \
        }                                                                                           \
    } while (0)

static unsigned sum;

static uint32_t word(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return value;
}

static void look_at(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum += data[i];
}

static void attribute(size_t number, const uint8_t *data, size_t size)
{
    size_t key_bits = offsetof(struct xfrm_algo, alg_key_len);

    look_at(data, size);
    if (number == XFRMA_ALG_AEAD)
        look_at(data + sizeof(struct xfrm_algo_aead), (word(data + key_bits) + 7ul) / 8);
    if (number == XFRMA_ALG_AUTH_TRUNC)
        look_at(data + sizeof(struct xfrm_algo_auth), (word(data + key_bits) + 7ul) / 8);
    if (number == XFRMA_ALG_CRYPT)
        look_at(data + sizeof(struct xfrm_algo), (word(data + key_bits) + 7ul) / 8);
    if (number == XFRMA_REPLAY_ESN_VAL)
        look_at(data + sizeof(struct xfrm_replay_state_esn), word(data) * sizeof(uint32_t));
    if (number == XFRMA_TMPL)
        CHECK(size % sizeof(struct xfrm_user_tmpl) == 0);
}

static void entry(const uint8_t *message, size_t size)
{
    uint16_t places[PFKEYX_XFRMA_MAX + 1], length;
    uint8_t *block = malloc(size);

    CHECK(block);
    memcpy(block, message, size);
    CHECK(pfkeyx_xfrm_attributes(block, size, places) == 0);
    for (size_t i = 0; i <= PFKEYX_XFRMA_MAX; i++) {
        if (!places[i])
            continue;
        CHECK(places[i] + sizeof(struct nlattr) <= size);
        memcpy(&length, block + places[i], sizeof(length));
        CHECK(length >= sizeof(struct nlattr) && places[i] + (size_t)length <= size);
        attribute(i, block + places[i] + sizeof(struct nlattr), length - sizeof(struct nlattr));
    }
    free(block);
}

/* Looks for those at a place among the entries, which are policies or have no templates. */
static void places_of(const uint8_t *entries, size_t count)
{
    const struct pfkeyx_place place = { .size = 4, .count = 2, .ends = { { 192, 0, 2, 1 }, { 192, 0, 2, 2 } } };
    uint32_t *found = malloc((count + 1) * sizeof(*found));
    size_t number;

    CHECK(found);
    number = pfkeyx_policies_at(entries, count, &place, 1, found);
    CHECK(number <= count);
    for (size_t i = 0; i < number; i++)
        CHECK(found[i] < count && (!i || found[i - 1] < found[i]));
    free(found);
}

/* What all are found by, and in what neighbours differ: in nothing from themselves. */
static void identities_of(const struct pfkeyx_entries *got)
{
    uint8_t *found = malloc(got->count * PFKEYX_POLICY_HANDLE + 1);
    uint8_t link[PFKEYX_LINK];
    uint32_t start, end = 0, before = 0;

    CHECK(found);
    pfkeyx_xfrm_handles(got->data, got->count, found);
    free(found);
    for (size_t i = 0; i < got->count; i++, before = start) {
        start = end;
        end = word(got->ends + i * sizeof(end));
        CHECK(pfkeyx_xfrm_compare(got->data + start, end - start, got->data + start, end - start) == PFKEYX_SAME);
        pfkeyx_xfrm_compare(got->data + before, start - before, got->data + start, end - start);
        pfkeyx_xfrm_compare_alike(got->data + before, start - before, got->data + start, end - start);
        pfkeyx_xfrm_link(got->data + start, end - start, link);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int pair[2];
    struct pfkeyx_entries got = { 0 };
    struct pfkeyx_dump dump = { 0 };
    uint32_t start, end = 0;
    uint16_t type;
    int status;

    if (size < sizeof(struct nlmsghdr))
        return 0;
    if (!pair[1])
        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
    memcpy(&type, data + offsetof(struct nlmsghdr, nlmsg_type), sizeof(type));
    dump.sequence = word(data + offsetof(struct nlmsghdr, nlmsg_seq));
    dump.type = type == XFRM_MSG_NEWPOLICY ? XFRM_MSG_NEWPOLICY : XFRM_MSG_NEWSA;
    CHECK(send(pair[0], data, size, 0) == (ssize_t)size);
    status = pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 1);
    CHECK(status <= 1 && got.last <= size);
    /* What came before something that makes no sense is not asked for, and whole all the same. */
    for (size_t i = 0; i < got.count; i++) {
        start = end;
        end = word(got.ends + i * sizeof(end));
        entry(got.data + start, end - start);
    }
    CHECK(end == got.size);
    look_at(got.data + got.size, got.last);
    places_of(got.data, got.count);
    identities_of(&got);
    pfkeyx_entries_release(&got);
    return 0;
}
