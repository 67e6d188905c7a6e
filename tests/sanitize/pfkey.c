/*
 * The dumps of PF_KEY: entries in heap blocks of exactly their size, and whole dumps through a socket.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "compat.h"
#include "pfkeyx.h"
#include "tests.h"

#define PID 42u
#define SEQUENCE 0x80000007u
#define FIRST 0x80000000u

static const struct pfkeyx_address V4 = { .family = AF_INET, .bytes = { 192, 0, 2, 1 } };
static const struct pfkeyx_address V6 = { .family = AF_INET6, .bytes = { 0x20, 1, 0xd, 0xb8 } };
static struct pfkeyx_builder builder;

/* An SA with every extension that an SA is made of, and one that nobody knows. */
static void put_sa(uint32_t number, uint8_t errno_value, uint8_t satype)
{
    static const uint8_t key[20] = { 1 };

    pfkeyx_begin(&builder, SADB_DUMP, satype, errno_value, number, PID);
    pfkeyx_put_sa(&builder, 0x1000, 32, SADB_SASTATE_MATURE, SADB_AALG_SHA1HMAC, SADB_X_EALG_AESCBC, 0);
    pfkeyx_put_lifetime(&builder, SADB_EXT_LIFETIME_CURRENT, 1, 2, 3, 4);
    pfkeyx_put_address(&builder, SADB_EXT_ADDRESS_SRC, 0, 32, &V4);
    pfkeyx_put_address(&builder, SADB_EXT_ADDRESS_DST, 0, 32, &V4);
    pfkeyx_put_address(&builder, SADB_EXT_ADDRESS_PROXY, 0, 0, &V4);
    pfkeyx_put_key(&builder, SADB_EXT_KEY_AUTH, key, 160);
    pfkeyx_put_key(&builder, SADB_EXT_KEY_ENCRYPT, key, 128);
    pfkeyx_put_sa2(&builder, IPSEC_MODE_TUNNEL, 0, 9);
    pfkeyx_put_nat_t_type(&builder, 2);
    pfkeyx_put_nat_t_port(&builder, SADB_X_EXT_NAT_T_SPORT, 4500);
    pfkeyx_put_sec_ctx(&builder, 1, 1, key, 3);
    pfkeyx_put_extension(&builder, PFKEYX_EXT_MAX + 1, key, 4);
    CHECK(pfkeyx_finish(&builder) == 0);
}

static void put_policy(void)
{
    pfkeyx_begin(&builder, SADB_X_SPDDUMP, 0, 0, 0, PID);
    pfkeyx_put_address(&builder, SADB_EXT_ADDRESS_SRC, 0, 64, &V6);
    pfkeyx_put_address(&builder, SADB_EXT_ADDRESS_DST, 0, 64, &V6);
    pfkeyx_put_policy(&builder, IPSEC_POLICY_IPSEC, IPSEC_DIR_OUTBOUND, 9, 0);
    pfkeyx_put_ipsecrequest(&builder, 50, IPSEC_MODE_TUNNEL, IPSEC_LEVEL_UNIQUE, 9, &V6, &V6);
    pfkeyx_put_ipsecrequest(&builder, 51, IPSEC_MODE_TRANSPORT, IPSEC_LEVEL_REQUIRE, 0, NULL, NULL);
    CHECK(pfkeyx_finish(&builder) == 0);
}

static int extensions_of(const uint8_t *data, size_t size, uint16_t *places)
{
    return find_in_block(pfkeyx_pfkey_extensions, data, size, places);
}

static void cut(void)
{
    uint16_t places[PFKEYX_EXT_MAX + 1], words;

    for (size_t size = 0; size < builder.size; size++) {
        words = (uint16_t)(size / 8);
        memcpy(builder.data + offsetof(struct sadb_msg, sadb_msg_len), &words, sizeof(words));
        if (extensions_of(builder.data, size, places) == 0)
            CHECK(places[SADB_EXT_ADDRESS_SRC] && places[SADB_EXT_ADDRESS_DST]);
    }
}

static void change(void)
{
    uint16_t places[PFKEYX_EXT_MAX + 1];
    uint8_t was;

    CHECK(extensions_of(builder.data, builder.size, places) == 0);
    for (size_t at = 0; at < builder.size; at++) {
        was = builder.data[at];
        for (unsigned value = 0; value <= UINT8_MAX; value++) {
            builder.data[at] = (uint8_t)value;
            extensions_of(builder.data, builder.size, places);
            for (size_t i = 0; i <= PFKEYX_EXT_MAX; i++)
                CHECK(places[i] * 8u < builder.size);
        }
        builder.data[at] = was;
    }
}

void pfkey_entries(void)
{
    put_sa(1, 0, SADB_SATYPE_ESP);
    change();
    cut();
    put_policy();
    change();
    cut();
    pfkeyx_builder_release(&builder);
}

static void send_sa(int fd, uint32_t number, uint8_t errno_value, uint8_t satype)
{
    put_sa(number, errno_value, satype);
    CHECK(pfkeyx_send(fd, builder.data, builder.size) == 0);
}

void pfkey_dumps(void)
{
    struct pfkeyx_dump dump = { .sequence = SEQUENCE, .pid = PID, .type = SADB_DUMP };
    struct pfkeyx_entries got = { 0 };
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1) == -EAGAIN && got.count == 0);
    for (uint32_t number = 1; number <= 3; number++)
        send_sa(pair[0], number, 0, SADB_SATYPE_ESP);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1) == 1 && got.count == 1 && dump.number == 1);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1 << 16) == -EAGAIN && got.count == 2 && dump.number == 3);
    CHECK(got.size == 2 * builder.size && !got.last);
    /* Others' messages, and what is no SA. */
    dump.pid++;
    send_sa(pair[0], 4, 0, SADB_SATYPE_ESP);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1 << 16) == -EAGAIN && got.count == 0);
    dump.pid--;
    send_sa(pair[0], SEQUENCE + 1, 0, SADB_SATYPE_ESP);
    send_sa(pair[0], 4, 0, SADB_SATYPE_UNSPEC);
    send_sa(pair[0], 0, 0, SADB_SATYPE_ESP);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1 << 16) == 0 && got.count == 1 && !got.last);
    /* A gap, a dump that broke off, a refusal. */
    send_sa(pair[0], 6, 0, SADB_SATYPE_ESP);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1 << 16) == 0 && got.last == builder.size && !got.count);
    send_sa(pair[0], 0, 22, SADB_SATYPE_ESP);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1 << 16) == 0 && got.last == builder.size);
    send_sa(pair[0], SEQUENCE, 2, SADB_SATYPE_ESP);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1 << 16) == 0 && got.last == builder.size);
    send_sa(pair[0], 0, 0, SADB_SATYPE_MIP);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1) == -EBADMSG);
    CHECK(send(pair[0], builder.data, 15, 0) == 15);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1) == -EBADMSG);
    close(pair[0]);
    close(pair[1]);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1) == -EBADF);
    pfkeyx_entries_release(&got);
    pfkeyx_builder_release(&builder);
}

/* Messages that are only acknowledged: what of all that comes is their answer. */
void acknowledgements(void)
{
    struct pfkeyx_asked asked = { .first = UINT32_MAX - 1, .pid = PID, .count = 4, .type = SADB_DUMP };
    struct sadb_msg heads[4] = { 0 };
    const uint32_t ends[] = { 16, 32, 48, 64 }, numbers[] = { FIRST - 2, FIRST - 1, 0, 1 };
    struct pfkeyx_buffer buffer = { 0 };
    uint16_t answers[4];
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
    pfkeyx_send_asked(pair[1], (uint8_t *)heads, ends, answers, &asked);
    for (size_t number = 0; number < 4; number++) {
        CHECK(recv(pair[0], &heads[number], sizeof(*heads), 0) == sizeof(*heads));
        CHECK(heads[number].sadb_msg_seq == (FIRST | numbers[number]) && heads[number].sadb_msg_pid == PID);
    }
    CHECK(asked.left == 4 && pfkeyx_receive_answers(pair[1], &buffer, answers, &asked, 9) == -EAGAIN);
    /* Of others, and twice. */
    send_sa(pair[0], FIRST | numbers[0], 0, SADB_SATYPE_ESP);
    for (uint32_t number = 0; number < 4; number++)
        send_sa(pair[0], numbers[number], 0, SADB_SATYPE_ESP);
    send_sa(pair[0], FIRST | 2, 0, SADB_SATYPE_ESP);
    send_sa(pair[0], FIRST | numbers[0], 3, SADB_SATYPE_ESP);
    send_sa(pair[0], FIRST | numbers[2], 17, SADB_SATYPE_ESP);
    CHECK(pfkeyx_receive_answers(pair[1], &buffer, answers, &asked, 2) == 2 && asked.left == 3);
    CHECK(pfkeyx_receive_answers(pair[1], &buffer, answers, &asked, 9) == 6 && asked.left == 2);
    CHECK(answers[0] == 0 && answers[1] == PFKEYX_UNANSWERED && answers[2] == 17);
    CHECK(send(pair[0], heads, 15, 0) == 15);
    CHECK(pfkeyx_receive_answers(pair[1], &buffer, answers, &asked, 9) == -EBADMSG);
    for (size_t number = 0; number < 3; number++)
        CHECK(send(pair[0], heads, 16, 0) == 16);
    CHECK(pfkeyx_pass_over(pair[1], 2) == 2 && pfkeyx_pass_over(pair[1], 2) == 1 && pfkeyx_pass_over(pair[1], 2) == 0);
    close(pair[0]);
    CHECK(pfkeyx_pass_over(pair[1], 2) == 0);
    pfkeyx_send_asked(pair[1], (uint8_t *)heads, ends, answers, &asked);
    CHECK(asked.left == 0 && answers[3] == PFKEYX_NOT_TAKEN_IN + EPIPE);
    close(pair[1]);
    pfkeyx_buffer_release(&buffer);
    pfkeyx_builder_release(&builder);
}

void dumps_of_keys(const uint8_t *key, uint16_t bits)
{
    struct pfkeyx_dump dump = { .sequence = SEQUENCE, .pid = PID, .type = SADB_DUMP };
    struct pfkeyx_entries got = { 0 };
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
    put_sa(5, 0, SADB_SATYPE_ESP);
    pfkeyx_put_key(&builder, PFKEYX_EXT_MAX + 2, key, bits);
    CHECK(pfkeyx_finish(&builder) == 0);
    /* A gap is not kept, and wiped all the same. */
    CHECK(pfkeyx_send(pair[0], builder.data, builder.size) == 0);
    CHECK(pfkeyx_receive_pfkey_dump(pair[1], &got, &dump, 1) == 0);
    pfkeyx_entries_release(&got);
    pfkeyx_builder_release(&builder);
    close(pair[0]);
    close(pair[1]);
}
