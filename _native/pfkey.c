/*
 * PF_KEY: answers of which only the headers are wanted, the dump of a table, and where the extensions of its entries are.
 *
 * The kernel is believed nothing: an entry that lacks what every SA or policy has, or whose extensions do not hold what
 * they say, is refused as a whole, so that whoever reads it later finds all that it claims to have.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "compat.h"
#include "dump.h"

#define WORD 8u
/* What asks has a number from here on, and the kernel's own numbers stay below. */
#define FIRST_ASKED ((uint32_t)1 << 31)

static int is_address(const struct pfkeyx_extension *extension, struct pfkeyx_address *address, unsigned *prefixlen)
{
    struct sadb_address header;

    if (pfkeyx_get_address(extension, &header, address))
        return 0;
    *prefixlen = header.sadb_address_prefixlen;
    return 1;
}

static int is_prefix(const struct pfkeyx_extension *extension)
{
    struct pfkeyx_address address;
    unsigned prefixlen;

    return is_address(extension, &address, &prefixlen) && prefixlen <= (address.family == AF_INET ? 32 : 128);
}

static int has_requests(const struct pfkeyx_extension *extension)
{
    struct pfkeyx_ipsecrequest request;
    size_t offset = 0;
    int status;

    while ((status = pfkeyx_get_ipsecrequest(extension, &offset, &request)) > 0)
        if (request.header.sadb_x_ipsecrequest_mode > IPSEC_MODE_BEET)
            return 0;
    return !status;
}

static int holds_what_it_says(const struct pfkeyx_extension *extension)
{
    struct sadb_lifetime lifetime;
    struct sadb_x_policy policy;
    struct sadb_x_nat_t_type nat_t_type;
    struct sadb_x_nat_t_port nat_t_port;
    struct sadb_x_sec_ctx context;
    struct sadb_x_sa2 sa2;
    struct sadb_sa sa;
    const uint8_t *start;
    uint16_t bits;

    switch (extension->type) {
    case SADB_EXT_SA:
        return !pfkeyx_get_sa(extension, &sa) && sa.sadb_sa_state <= SADB_SASTATE_DEAD;
    case SADB_EXT_LIFETIME_CURRENT:
    case SADB_EXT_LIFETIME_HARD:
    case SADB_EXT_LIFETIME_SOFT:
        return !pfkeyx_get_lifetime(extension, &lifetime);
    case SADB_EXT_ADDRESS_SRC:
    case SADB_EXT_ADDRESS_DST:
        return is_prefix(extension);
    case SADB_EXT_KEY_AUTH:
    case SADB_EXT_KEY_ENCRYPT:
        return !pfkeyx_get_key(extension, &bits, &start);
    case SADB_X_EXT_POLICY:
        return !pfkeyx_get_policy(extension, &policy) && has_requests(extension);
    case SADB_X_EXT_SA2:
        return !pfkeyx_get_sa2(extension, &sa2) && sa2.sadb_x_sa2_mode <= IPSEC_MODE_BEET;
    case SADB_X_EXT_NAT_T_TYPE:
        return !pfkeyx_get_nat_t_type(extension, &nat_t_type);
    case SADB_X_EXT_NAT_T_SPORT:
    case SADB_X_EXT_NAT_T_DPORT:
        return !pfkeyx_get_nat_t_port(extension, &nat_t_port);
    case SADB_X_EXT_SEC_CTX:
        return !pfkeyx_get_sec_ctx(extension, &context, &start);
    default:
        return 1;
    }
}

static int is_ipsec(uint8_t satype)
{
    return satype == SADB_SATYPE_AH || satype == SADB_SATYPE_ESP || satype == SADB_X_SATYPE_IPCOMP;
}

static int is_of_policies(uint8_t type)
{
    return type >= SADB_X_SPDUPDATE && type <= SADB_X_SPDDELETE2;
}

/* Whether the source of an SA's selector is of the same IP version as the SA: its prefix can be longer than that has. */
static int fits(const struct pfkeyx_extension *proxy, const struct pfkeyx_extension *source)
{
    struct pfkeyx_address address, own;
    unsigned prefixlen;

    return is_address(proxy, &address, &prefixlen) && is_address(source, &own, &prefixlen) &&
           address.family == own.family;
}

int pfkeyx_pfkey_extensions(const uint8_t *message, size_t size, uint16_t places[])
{
    struct pfkeyx_extension extension, proxy = { 0 }, source = { 0 };
    struct pfkeyx_reader reader;
    struct sadb_msg header;
    int status, is_policy;

    memset(places, 0, (PFKEYX_EXT_MAX + 1) * sizeof(*places));
    if (size > UINT16_MAX * (size_t)WORD || pfkeyx_read_message(&reader, message, size, &header))
        return -EBADMSG;
    while ((status = pfkeyx_read_extension(&reader, &extension)) > 0) {
        if (extension.type > PFKEYX_EXT_MAX)
            continue;
        if (places[extension.type] || !holds_what_it_says(&extension))
            return -EBADMSG;
        places[extension.type] = (uint16_t)((size_t)(extension.data - message) / WORD);
        if (extension.type == SADB_EXT_ADDRESS_PROXY)
            proxy = extension;
        if (extension.type == SADB_EXT_ADDRESS_SRC)
            source = extension;
    }
    is_policy = is_of_policies(header.sadb_msg_type);
    if (status || !places[SADB_EXT_ADDRESS_SRC] || !places[SADB_EXT_ADDRESS_DST] ||
        !places[is_policy ? SADB_X_EXT_POLICY : SADB_EXT_SA] || (!is_policy && !is_ipsec(header.sadb_msg_satype)))
        return -EBADMSG;
    return proxy.data && !fits(&proxy, &source) ? -EBADMSG : 0;
}

void pfkeyx_send_asked(int fd, uint8_t *messages, const uint32_t ends[], uint16_t answers[], struct pfkeyx_asked *asked)
{
    struct sadb_msg header;
    size_t start = 0;
    int status;

    asked->left = asked->count;
    for (uint32_t number = 0; number < asked->count; start = ends[number++]) {
        memcpy(&header, messages + start, sizeof(header));
        header.sadb_msg_seq = FIRST_ASKED | (asked->first + number);
        header.sadb_msg_pid = asked->pid;
        memcpy(messages + start, &header, sizeof(header));
        status = pfkeyx_send(fd, messages + start, ends[number] - start);
        answers[number] = (uint16_t)(status ? PFKEYX_NOT_TAKEN_IN - status : PFKEYX_UNANSWERED);
        asked->left -= status != 0;
    }
}

int pfkeyx_receive_answers(int fd, struct pfkeyx_buffer *buffer, uint16_t answers[], struct pfkeyx_asked *asked,
                           size_t most)
{
    struct pfkeyx_reader reader;
    struct sadb_msg header;
    uint32_t number;
    int count = 0, status;

    for (; (size_t)count < most && asked->left; count++) {
        status = pfkeyx_receive(fd, buffer);
        if (status)
            return count && status == -EAGAIN ? count : status;
        if (pfkeyx_read_message(&reader, buffer->data, buffer->size, &header))
            return -EBADMSG;
        number = (header.sadb_msg_seq - asked->first) & (FIRST_ASKED - 1);
        if (header.sadb_msg_pid != asked->pid || header.sadb_msg_type != asked->type ||
            header.sadb_msg_seq < FIRST_ASKED || number >= asked->count || answers[number] != PFKEYX_UNANSWERED)
            continue;
        answers[number] = header.sadb_msg_errno;
        asked->left--;
    }
    return count;
}

int pfkeyx_pass_over(int fd, size_t most)
{
    ssize_t size = 0;
    int count = 0;

    while ((size_t)count < most && (size = recv(fd, NULL, 0, MSG_TRUNC)) > 0)
        count++;
    return count;
}

/* Takes in one message, which lies behind the entries. */
static int take(struct pfkeyx_entries *entries, struct pfkeyx_dump *dump, size_t received)
{
    const uint8_t *data = entries->data + entries->size;
    uint16_t places[PFKEYX_EXT_MAX + 1];
    struct pfkeyx_reader reader;
    struct sadb_msg header;
    int error;

    if (pfkeyx_read_message(&reader, data, received, &header))
        return -EBADMSG;
    if (header.sadb_msg_pid != dump->pid || header.sadb_msg_type != dump->type ||
        (header.sadb_msg_seq >= FIRST_ASKED && header.sadb_msg_seq != dump->sequence))
        return 1;
    if (header.sadb_msg_errno || (header.sadb_msg_seq && header.sadb_msg_seq != dump->number + 1)) {
        pfkeyx_end_entries(entries, data, received);
        return 0;
    }
    dump->number = header.sadb_msg_seq;
    /* What a failed SADB_GETSPI of no type has left behind is no SA. */
    if (is_of_policies(header.sadb_msg_type) || header.sadb_msg_satype != SADB_SATYPE_UNSPEC) {
        if (pfkeyx_pfkey_extensions(data, received, places))
            return -EBADMSG;
        error = pfkeyx_keep_entry(entries, data, received);
        if (error)
            return error;
    }
    return header.sadb_msg_seq != 0;
}

int pfkeyx_receive_pfkey_dump(int fd, struct pfkeyx_entries *entries, struct pfkeyx_dump *dump, size_t most)
{
    return pfkeyx_receive_entries(fd, entries, dump, most, take);
}
