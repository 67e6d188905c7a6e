/*
 * The dumps of XFRM: entries in heap blocks of exactly their size, and whole dumps through a socket.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "compat.h"
#include "pfkeyx.h"
#include "tests.h"

#define SEQUENCE 7u

static uint8_t message[4096];
static size_t size;

static void begin(uint16_t type, uint16_t flags, size_t fixed)
{
    struct nlmsghdr header = { .nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = SEQUENCE };

    memset(message, 0, sizeof(message));
    memcpy(message, &header, sizeof(header));
    size = sizeof(header) + fixed;
}

/* Puts an attribute of zeros, whose payload begins with these bytes. */
static void put(uint16_t type, const void *data, size_t given, size_t length)
{
    struct nlattr attribute = { .nla_type = type, .nla_len = (uint16_t)(sizeof(attribute) + length) };

    memcpy(message + size, &attribute, sizeof(attribute));
    memcpy(message + size + sizeof(attribute), data, given);
    size += (sizeof(attribute) + length + 3) & ~(size_t)3;
}

static void finish(void)
{
    uint32_t length = (uint32_t)size;

    memcpy(message, &length, sizeof(length));
}

/* An SA with every attribute that ends in an array, and one that nobody knows. */
static void put_sa(void)
{
    struct xfrm_algo_aead aead = { .alg_name = "rfc4106(gcm(aes))", .alg_key_len = 288 };
    struct xfrm_algo_auth auth = { .alg_name = "hmac(sha256)", .alg_key_len = 250 };
    struct xfrm_algo crypt = { .alg_name = "cbc(aes)", .alg_key_len = 128 };
    struct xfrm_replay_state_esn esn = { .bmp_len = 4 };
    struct xfrm_user_sec_ctx context = { .ctx_len = 3 };

    begin(XFRM_MSG_NEWSA, NLM_F_MULTI, sizeof(struct xfrm_usersa_info));
    put(XFRMA_ALG_AEAD, &aead, sizeof(aead), sizeof(aead) + 36);
    put(XFRMA_ALG_AUTH_TRUNC, &auth, sizeof(auth), sizeof(auth) + 32);
    put(XFRMA_ALG_CRYPT, &crypt, sizeof(crypt), sizeof(crypt) + 16);
    put(XFRMA_ALG_COMP, &crypt, sizeof(crypt), sizeof(crypt));
    put(XFRMA_REPLAY_ESN_VAL, &esn, sizeof(esn), sizeof(esn) + 16);
    put(XFRMA_SEC_CTX, &context, sizeof(context), sizeof(context) + 3);
    put(XFRMA_IF_ID, "", 0, 4);
    put(PFKEYX_XFRMA_MAX + 1, "", 0, 5);
    finish();
}

static int attributes_of(const uint8_t *data, size_t length, uint16_t *places)
{
    return find_in_block(pfkeyx_xfrm_attributes, data, length, places);
}

void entries_that_end_early(void)
{
    uint16_t places[PFKEYX_XFRMA_MAX + 1];
    uint32_t length;
    size_t whole, readable = 0;

    put_sa();
    whole = size;
    CHECK(attributes_of(message, whole, places) == 0);
    CHECK(places[XFRMA_ALG_AEAD] == sizeof(struct nlmsghdr) + sizeof(struct xfrm_usersa_info));
    CHECK(places[XFRMA_IF_ID] && !places[XFRMA_MARK]);
    for (size_t cut = 0; cut < whole; cut++) {
        CHECK(attributes_of(message, cut, places) == -EBADMSG);
        length = (uint32_t)cut;
        memcpy(message, &length, sizeof(length));
        readable += attributes_of(message, cut, places) == 0;
        length = (uint32_t)whole;
        memcpy(message, &length, sizeof(length));
    }
    /* Between attributes it is a whole message, and where less than an attribute's header is left. */
    CHECK(readable > 0 && readable < whole / 4);
}

void entries_of_any_bytes(void)
{
    uint16_t places[PFKEYX_XFRMA_MAX + 1];
    uint8_t was;

    put_sa();
    for (size_t at = 4; at < size; at++) {
        was = message[at];
        for (unsigned value = 0; value <= UINT8_MAX; value++) {
            message[at] = (uint8_t)value;
            attributes_of(message, size, places);
            for (size_t i = 0; i <= PFKEYX_XFRMA_MAX; i++)
                CHECK(places[i] < size);
        }
        message[at] = was;
    }
}

static void send_message(int fd)
{
    CHECK(send(fd, message, size, 0) == (ssize_t)size);
}

static void send_end(int fd, uint16_t type, uint32_t sequence)
{
    begin(type, NLM_F_MULTI, sizeof(int));
    finish();
    memcpy(message + 8, &sequence, sizeof(sequence));
    send_message(fd);
}

static uint32_t end_of(const struct pfkeyx_entries *entries, size_t number)
{
    uint32_t end;

    memcpy(&end, entries->ends + number * sizeof(end), sizeof(end));
    return end;
}

void xfrm_dumps(void)
{
    struct pfkeyx_entries got = { 0 };
    struct pfkeyx_dump dump = { .sequence = SEQUENCE, .type = XFRM_MSG_NEWSA };
    uint32_t torn = NLM_F_MULTI | NLM_F_DUMP_INTR;
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
    CHECK(pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 1) == -EAGAIN && got.count == 0);
    put_sa();
    for (int i = 0; i < 3; i++)
        send_message(pair[0]);
    send_end(pair[0], NLMSG_DONE, SEQUENCE + 1);
    CHECK(pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 1) == 1 && got.count == 1);
    CHECK(pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 1 << 16) == -EAGAIN && got.count == 2 && !dump.torn);
    CHECK(end_of(&got, 1) == got.size && end_of(&got, 0) == got.size / 2 && !got.last);
    put_sa();
    memcpy(message + 6, &torn, sizeof(uint16_t));
    send_message(pair[0]);
    send_end(pair[0], NLMSG_DONE, SEQUENCE);
    CHECK(pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 1 << 16) == 0 && got.count == 1 && dump.torn);
    CHECK(got.last == size && !memcmp(got.data + got.size, message, size));
    send_end(pair[0], XFRM_MSG_NEWPOLICY, SEQUENCE);
    CHECK(pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 1) == -EPROTO);
    send_end(pair[0], XFRM_MSG_NEWSA, SEQUENCE);
    CHECK(pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 1) == -EBADMSG);
    size = 15;
    send_message(pair[0]);
    CHECK(pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 1) == -EBADMSG);
    close(pair[0]);
    CHECK(pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 1) == -EPIPE);
    close(pair[1]);
    CHECK(pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 1) == -EBADF);
    pfkeyx_entries_release(&got);
}

/* Entries that are padded take more than came, and the largest datagram has room behind them all the same. */
void padded_entries(void)
{
    static uint8_t largest[128 << 10];
    struct pfkeyx_entries got = { 0 };
    struct pfkeyx_dump dump = { .sequence = SEQUENCE, .type = XFRM_MSG_NEWSA };
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
    begin(XFRM_MSG_NEWSA, NLM_F_MULTI, sizeof(struct xfrm_usersa_info));
    put(XFRMA_MAX + 1, "", 1, 1);
    size -= 3;
    finish();
    for (int i = 0; i < 4; i++)
        send_message(pair[0]);
    CHECK(send(pair[0], largest, sizeof(largest), 0) == (ssize_t)sizeof(largest));
    CHECK(pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 4 * size + 4) == 1 && got.count == 4);
    CHECK(got.size == 4 * (size + 3));
    CHECK(pfkeyx_receive_xfrm_dump(pair[1], &got, &dump, 1) == -EBADMSG);
    close(pair[0]);
    close(pair[1]);
    pfkeyx_entries_release(&got);
}

/* Puts a policy with templates in a mode, each from and to an address of IPv4, behind what is in a block. */
static size_t put_policy(uint8_t *block, uint8_t mode, size_t templates, uint8_t from, uint8_t to)
{
    struct xfrm_user_tmpl template[2];

    /* Behind an address of IPv4 there may be anything. */
    memset(template, 0xff, sizeof(template));
    for (size_t i = 0; i < templates; i++) {
        template[i].family = AF_INET;
        template[i].mode = mode;
        memset(&template[i].saddr, 0, 4);
        memset(&template[i].id.daddr, 0, 4);
        memcpy(&template[i].saddr, (uint8_t[]){ 192, 0, 2, from }, from ? 4 : 0);
        memcpy(&template[i].id.daddr, (uint8_t[]){ 192, 0, 2, to }, to ? 4 : 0);
    }
    begin(XFRM_MSG_NEWPOLICY, NLM_F_MULTI, sizeof(struct xfrm_userpolicy_info));
    put(XFRMA_TMPL, template, templates * sizeof(*template), templates * sizeof(*template));
    finish();
    memcpy(block, message, size);
    return size;
}

void policies_at(void)
{
    struct pfkeyx_place places[] = { { 4, 2, { { 192, 0, 2, 1 }, { 192, 0, 2, 2 } } }, { 4, 1, { { 192, 0, 2, 9 } } } };
    uint32_t found[9];
    uint8_t room[4096], *block;
    size_t used = 0;

    used += put_policy(room + used, XFRM_MODE_TUNNEL, 2, 1, 2);
    used += put_policy(room + used, XFRM_MODE_TUNNEL, 1, 2, 1);
    used += put_policy(room + used, XFRM_MODE_TUNNEL, 1, 1, 3); /* 2: one end is elsewhere */
    used += put_policy(room + used, XFRM_MODE_BEET, 2, 3, 9);
    used += put_policy(room + used, XFRM_MODE_TRANSPORT, 1, 5, 6);
    used += put_policy(room + used, PFKEYX_MODE_IPTFS, 1, 5, 6); /* 5: both are */
    used += put_policy(room + used, XFRM_MODE_TUNNEL, 1, 0, 6);
    used += put_policy(room + used, XFRM_MODE_TUNNEL, 1, 6, 0);
    used += put_policy(room + used, XFRM_MODE_TUNNEL, 0, 0, 0); /* 8: there is none */
    block = malloc(used);
    CHECK(block);
    memcpy(block, room, used);
    CHECK(pfkeyx_policies_at(block, 9, places, 2, found) == 6);
    CHECK(found[0] == 0 && found[1] == 1 && found[2] == 3 && found[3] == 4 && found[4] == 6 && found[5] == 7);
    CHECK(pfkeyx_policies_at(block, 9, places, 0, found) == 3);
    CHECK(pfkeyx_policies_at(block, 0, places, 2, found) == 0);
    free(block);
}

typedef int comparison(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size);

/* Compares what is put before and after a change, each in a block of its own, and whatever is left of it when cut. */
static int changed(comparison *compare, void (*change)(void))
{
    uint8_t *one = malloc(size), *other;
    size_t one_size = size;
    int result;

    CHECK(one);
    memcpy(one, message, size);
    change();
    other = malloc(size);
    CHECK(other);
    memcpy(other, message, size);
    result = compare(one, one_size, other, size);
    CHECK(compare(other, size, one, one_size) == result);
    for (size_t end = 1; end < size; end++) {
        uint8_t *cut = malloc(end);

        CHECK(cut);
        memcpy(cut, other, end);
        compare(cut, end, one, one_size);
        free(cut);
    }
    free(one);
    free(other);
    return result;
}

static int compare_with(void (*change)(void))
{
    return changed(pfkeyx_xfrm_compare, change);
}

static int alike_with(void (*change)(void))
{
    return changed(pfkeyx_xfrm_compare_alike, change);
}

static size_t at;

static void flip(void)
{
    message[at] ^= 1;
}

static void use(void)
{
    put(XFRMA_LASTUSED, "now", 3, 8);
    finish();
}

static void put_more(void)
{
    put(XFRMA_TFCPAD, "", 0, 4);
    finish();
}

void compared(void)
{
    put_sa();
    at = offsetof(struct nlmsghdr, nlmsg_seq);
    CHECK(compare_with(flip) == PFKEYX_SAME);
    at = sizeof(struct nlmsghdr) + offsetof(struct xfrm_usersa_info, stats);
    CHECK(compare_with(flip) == PFKEYX_COUNTS_DIFFER);
    at = sizeof(struct nlmsghdr) + offsetof(struct xfrm_usersa_info, reqid);
    CHECK(compare_with(flip) == PFKEYX_DIFFERS);
    put_sa();
    CHECK(compare_with(use) == PFKEYX_COUNTS_DIFFER);
    CHECK(compare_with(use) == PFKEYX_SAME); /* the first is read */
    put_sa();
    CHECK(compare_with(put_more) == PFKEYX_DIFFERS);
    at = size - 1;
    CHECK(compare_with(flip) == PFKEYX_DIFFERS);
    size = 0;
    put_policy(message, XFRM_MODE_TUNNEL, 1, 1, 2);
    at = sizeof(struct nlmsghdr) + offsetof(struct xfrm_userpolicy_info, index);
    CHECK(compare_with(flip) == PFKEYX_COUNTS_DIFFER);
    at = sizeof(struct nlmsghdr) + offsetof(struct xfrm_userpolicy_info, priority);
    CHECK(compare_with(flip) == PFKEYX_DIFFERS);
}

/* Where the payload of an attribute of what was put is. */
static size_t payload_of(uint16_t number)
{
    uint16_t places[PFKEYX_XFRMA_MAX + 1];

    CHECK(!pfkeyx_xfrm_attributes(message, size, places) && places[number]);
    return places[number] + sizeof(struct nlattr);
}

void alike(void)
{
    size_t info = sizeof(struct nlmsghdr), key;

    put_sa();
    key = payload_of(XFRMA_ALG_AEAD) + sizeof(struct xfrm_algo_aead);
    for (at = info + offsetof(struct xfrm_usersa_info, id.daddr); at < info + 72; at++)
        CHECK(alike_with(flip) == PFKEYX_SAME);
    at = info + offsetof(struct xfrm_usersa_info, id.spi);
    CHECK(alike_with(flip) == PFKEYX_DIFFERS); /* one has none */
    CHECK(alike_with(flip) == PFKEYX_DIFFERS);
    message[at + 1] = 1;
    CHECK(alike_with(flip) == PFKEYX_SAME);
    at = info + offsetof(struct xfrm_usersa_info, flags);
    CHECK(alike_with(flip) == PFKEYX_DIFFERS);
    at = info + offsetof(struct xfrm_usersa_info, curlft);
    CHECK(alike_with(flip) == PFKEYX_COUNTS_DIFFER);
    at = key;
    CHECK(alike_with(flip) == PFKEYX_DIFFERS); /* one is hidden */
    message[key + 1] = 1;
    CHECK(alike_with(flip) == PFKEYX_SAME);
    at = payload_of(XFRMA_IF_ID);
    CHECK(alike_with(flip) == PFKEYX_DIFFERS);
    size = 0;
    put_policy(message, XFRM_MODE_TUNNEL, 2, 1, 2);
    at = payload_of(XFRMA_TMPL) + sizeof(struct xfrm_user_tmpl) + offsetof(struct xfrm_user_tmpl, saddr);
    CHECK(alike_with(flip) == PFKEYX_SAME);
    at = payload_of(XFRMA_TMPL) + sizeof(struct xfrm_user_tmpl) + offsetof(struct xfrm_user_tmpl, optional);
    CHECK(alike_with(flip) == PFKEYX_DIFFERS);
}

/* Whether what was put has a link, in a block of its own. */
static int has_link(uint8_t *link)
{
    uint8_t *block = malloc(size);
    int found;

    CHECK(block);
    memcpy(block, message, size);
    found = pfkeyx_xfrm_link(block, size, link);
    free(block);
    return found;
}

void links(void)
{
    size_t info = sizeof(struct nlmsghdr), template;
    uint8_t *link = malloc(PFKEYX_LINK);

    CHECK(link);
    put_sa();
    CHECK(!has_link(link)); /* it has no reqid, and no mode in which it is found by addresses */
    message[info + offsetof(struct xfrm_usersa_info, reqid)] = 7;
    CHECK(!has_link(link));
    message[info + offsetof(struct xfrm_usersa_info, mode)] = XFRM_MODE_TUNNEL;
    CHECK(has_link(link) && link[1] == XFRM_MODE_TUNNEL);
    put_policy(message, XFRM_MODE_TUNNEL, 1, 1, 2);
    CHECK(!has_link(link)); /* it is for one SPI */
    template = payload_of(XFRMA_TMPL);
    memset(message + template + offsetof(struct xfrm_user_tmpl, id.spi), 0, 4);
    CHECK(has_link(link) && link[6] == 4 && link[10] == 1 && link[26] == 2);
    memset(message + template + offsetof(struct xfrm_user_tmpl, reqid), 0, 4);
    CHECK(!has_link(link));
    put_policy(message, XFRM_MODE_TUNNEL, 2, 1, 2);
    CHECK(!has_link(link));
    put_policy(message, XFRM_MODE_TUNNEL, 1, 0, 2);
    CHECK(!has_link(link));
    put_policy(message, XFRM_MODE_TUNNEL, 0, 0, 0);
    CHECK(!has_link(link));
    free(link);
}

void handles(void)
{
    uint8_t *found = malloc(2 * PFKEYX_SA_HANDLE), *block, none[PFKEYX_SA_HANDLE] = { 0 };

    put_sa();
    block = malloc(2 * size);
    CHECK(found && block);
    memcpy(block, message, size);
    memcpy(block + size, message, size);
    block[size + sizeof(struct nlmsghdr) + offsetof(struct xfrm_usersa_info, id.proto)] = 50;
    pfkeyx_xfrm_handles(block, 2, found);
    CHECK(found[0] == 0 && found[PFKEYX_SA_HANDLE] == 50);
    CHECK(!memcmp(found + 1, found + PFKEYX_SA_HANDLE + 1, PFKEYX_SA_HANDLE - 1) && memcmp(found, none, sizeof(none)));
    free(block);
    free(found);
}

/* What is put into messages and how they are numbered, in heap blocks of exactly their size. */
void many_messages(void)
{
    struct nlmsghdr header = { .nlmsg_len = 18, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK };
    const uint32_t starts[] = { 0, 20, 40 };
    uint8_t *data = calloc(1, 60);

    CHECK(data);
    for (size_t number = 0; number < 3; number++)
        memcpy(data + starts[number], &header, sizeof(header));
    pfkeyx_scatter(data, starts, 3, 16, (const uint8_t *)"abcdefghijkl", 4);
    CHECK(!memcmp(data + 16, "abcd", 4) && !memcmp(data + 36, "efgh", 4) && !memcmp(data + 56, "ijkl", 4));
    pfkeyx_number_xfrm(data, 60, UINT32_MAX, SEQUENCE);
    for (size_t number = 0; number < 3; number++) {
        memcpy(&header, data + starts[number], sizeof(header));
        CHECK(header.nlmsg_seq == (uint32_t)number - 1 && header.nlmsg_pid == SEQUENCE);
        CHECK(header.nlmsg_flags == (number < 2 ? NLM_F_REQUEST : NLM_F_REQUEST | NLM_F_ACK));
    }
    /* What is no message ends it: too short a length, one beyond the end, and no whole header. */
    for (uint32_t length = 0; length < 60; length += 15) {
        memcpy(data + 20, &length, sizeof(length));
        for (size_t size = 0; size <= 60; size++)
            pfkeyx_number_xfrm(data, size, 0, 0);
    }
    free(data);
}
