/*
 * XFRM: the dump of a table, and where the attributes of its entries are.
 *
 * The kernel is believed nothing: an entry whose attributes run past it, or are shorter than what <linux/xfrm.h> says
 * they hold, is refused as a whole, so that whoever reads it later finds all that it claims to have.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <string.h>
#include <sys/socket.h>

#include "compat.h"
#include "dump.h"
#include "pfkeyx.h"
#include "xfrm.h"

/* What an attribute has at least. */
static const uint16_t LEAST[PFKEYX_XFRMA_MAX + 1] = {
    [XFRMA_ALG_AUTH] = sizeof(struct xfrm_algo),
    [XFRMA_ALG_CRYPT] = sizeof(struct xfrm_algo),
    [XFRMA_ALG_COMP] = sizeof(struct xfrm_algo),
    [XFRMA_ENCAP] = sizeof(struct xfrm_encap_tmpl),
    [XFRMA_SEC_CTX] = sizeof(struct xfrm_user_sec_ctx),
    [XFRMA_LTIME_VAL] = sizeof(struct xfrm_lifetime_cur),
    [XFRMA_REPLAY_VAL] = sizeof(struct xfrm_replay_state),
    [XFRMA_REPLAY_THRESH] = sizeof(uint32_t),
    [XFRMA_ETIMER_THRESH] = sizeof(uint32_t),
    [XFRMA_SRCADDR] = sizeof(xfrm_address_t),
    [XFRMA_COADDR] = sizeof(xfrm_address_t),
    [XFRMA_LASTUSED] = sizeof(uint64_t),
    [XFRMA_POLICY_TYPE] = sizeof(struct xfrm_userpolicy_type),
    [XFRMA_ALG_AEAD] = sizeof(struct xfrm_algo_aead),
    [XFRMA_ALG_AUTH_TRUNC] = sizeof(struct xfrm_algo_auth),
    [XFRMA_MARK] = sizeof(struct xfrm_mark),
    [XFRMA_TFCPAD] = sizeof(uint32_t),
    [XFRMA_REPLAY_ESN_VAL] = sizeof(struct xfrm_replay_state_esn),
    [XFRMA_SA_EXTRA_FLAGS] = sizeof(uint32_t),
    [XFRMA_PROTO] = sizeof(uint8_t),
    [XFRMA_OFFLOAD_DEV] = sizeof(struct xfrm_user_offload),
    [XFRMA_SET_MARK] = sizeof(uint32_t),
    [XFRMA_SET_MARK_MASK] = sizeof(uint32_t),
    [XFRMA_IF_ID] = sizeof(uint32_t),
    [PFKEYX_XFRMA_MTIMER_THRESH] = sizeof(uint32_t),
    [PFKEYX_XFRMA_SA_DIR] = sizeof(uint8_t),
    [PFKEYX_XFRMA_NAT_KEEPALIVE_INTERVAL] = sizeof(uint32_t),
    [PFKEYX_XFRMA_SA_PCPU] = sizeof(uint32_t),
    [PFKEYX_XFRMA_IPTFS_DROP_TIME] = sizeof(uint32_t),
    [PFKEYX_XFRMA_IPTFS_REORDER_WINDOW] = sizeof(uint16_t),
    [PFKEYX_XFRMA_IPTFS_INIT_DELAY] = sizeof(uint32_t),
    [PFKEYX_XFRMA_IPTFS_MAX_QSIZE] = sizeof(uint32_t),
    [PFKEYX_XFRMA_IPTFS_PKT_SIZE] = sizeof(uint32_t),
};

/* Whether a name is ASCII up to its end, and a tail of so many units of some bits fits behind the fixed part. */
static int holds_algorithm(const uint8_t *data, size_t size, size_t fixed)
{
    size_t bits = number_at(data + offsetof(struct xfrm_algo, alg_key_len));

    for (size_t i = 0; i < sizeof(((struct xfrm_algo *)0)->alg_name) && data[i]; i++)
        if (data[i] > 0x7f)
            return 0;
    return (bits + 7) / 8 <= size - fixed;
}

static int holds_what_it_says(uint16_t number, const uint8_t *data, size_t size)
{
    uint16_t length;

    if (size < LEAST[number])
        return 0;
    switch (number) {
    case XFRMA_ALG_AUTH:
    case XFRMA_ALG_CRYPT:
        return holds_algorithm(data, size, sizeof(struct xfrm_algo));
    case XFRMA_ALG_AEAD:
        return holds_algorithm(data, size, sizeof(struct xfrm_algo_aead));
    case XFRMA_ALG_AUTH_TRUNC:
        return holds_algorithm(data, size, sizeof(struct xfrm_algo_auth));
    case XFRMA_ALG_COMP: /* the kernel does not always set its key's length */
        return holds_algorithm(data, SIZE_MAX, 0);
    case XFRMA_REPLAY_ESN_VAL:
        return number_at(data) <= (size - sizeof(struct xfrm_replay_state_esn)) / sizeof(uint32_t);
    case XFRMA_SEC_CTX:
        memcpy(&length, data + offsetof(struct xfrm_user_sec_ctx, ctx_len), sizeof(length));
        return length <= size - sizeof(struct xfrm_user_sec_ctx);
    case XFRMA_TMPL:
        return size % sizeof(struct xfrm_user_tmpl) == 0;
    default:
        return 1;
    }
}

/* Whether the prefixes of a selector, if it has any, are no longer than addresses are. */
static int has_prefixes(const uint8_t *data)
{
    struct xfrm_selector selector;
    unsigned longest;

    memcpy(&selector, data, sizeof(selector));
    longest = selector.family == AF_INET ? 32 : 128;
    return !selector.family || (selector.prefixlen_s <= longest && selector.prefixlen_d <= longest);
}

int pfkeyx_xfrm_attributes(const uint8_t *message, size_t size, uint16_t places[])
{
    struct nlmsghdr header;
    struct nlattr attribute;
    size_t at, fixed;
    uint16_t number;

    memset(places, 0, (PFKEYX_XFRMA_MAX + 1) * sizeof(*places));
    if (size < sizeof(header))
        return -EBADMSG;
    memcpy(&header, message, sizeof(header));
    fixed = fixed_size(header.nlmsg_type);
    at = sizeof(header) + fixed;
    if (!fixed || header.nlmsg_len < at || header.nlmsg_len > size || size > UINT16_MAX ||
        !has_prefixes(message + sizeof(header)))
        return -EBADMSG;
    for (; header.nlmsg_len - at >= sizeof(attribute); at += padded(attribute.nla_len)) {
        memcpy(&attribute, message + at, sizeof(attribute));
        if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > header.nlmsg_len - at)
            return -EBADMSG;
        number = attribute.nla_type & (uint16_t)NLA_TYPE_MASK;
        if (number <= PFKEYX_XFRMA_MAX) {
            if (!holds_what_it_says(number, message + at + sizeof(attribute), attribute.nla_len - sizeof(attribute)))
                return -EBADMSG;
            if (!places[number])
                places[number] = (uint16_t)at;
        }
        if (padded(attribute.nla_len) > header.nlmsg_len - at)
            break; /* the last one's padding is left out */
    }
    return 0;
}

/* Takes in one datagram, which lies behind the entries. */
static int take(struct pfkeyx_entries *entries, struct pfkeyx_dump *dump, size_t received)
{
    const uint8_t *data = entries->data + entries->size;
    uint16_t places[PFKEYX_XFRMA_MAX + 1];
    struct nlmsghdr header;
    size_t at, left;
    int error;

    for (at = 0; at < received; at += padded(header.nlmsg_len)) {
        left = received - at;
        if (left < sizeof(header))
            return -EBADMSG;
        memcpy(&header, data + at, sizeof(header));
        if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > left)
            return -EBADMSG;
        if (header.nlmsg_seq != dump->sequence)
            continue;
        dump->torn |= header.nlmsg_flags & NLM_F_DUMP_INTR;
        if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
            pfkeyx_end_entries(entries, data + at, header.nlmsg_len);
            return 0;
        }
        if (header.nlmsg_type != dump->type)
            return -EPROTO;
        if (pfkeyx_xfrm_attributes(data + at, header.nlmsg_len, places))
            return -EBADMSG;
        error = pfkeyx_keep_entry(entries, data + at, header.nlmsg_len);
        if (error)
            return error;
    }
    return 1;
}

int pfkeyx_receive_xfrm_dump(int fd, struct pfkeyx_entries *entries, struct pfkeyx_dump *dump, size_t most)
{
    return pfkeyx_receive_entries(fd, entries, dump, most, take);
}

static int is_at(const struct xfrm_user_tmpl *template, const struct pfkeyx_place *place)
{
    for (size_t i = 0; i < place->count; i++)
        if (memcmp(&template->saddr, place->ends[i], place->size) &&
            memcmp(&template->id.daddr, place->ends[i], place->size))
            return 0;
    return 1;
}

static int may_be_at(const struct xfrm_user_tmpl *template, const struct pfkeyx_place *places, size_t number)
{
    static const xfrm_address_t any;
    size_t length = template->family == AF_INET ? sizeof(any.a4) : sizeof(any);

    if (!is_addressed(template->mode))
        return 1; /* the SA is looked for where the hosts are, or the tunnel around it */
    if (!memcmp(&template->saddr, &any, length) || !memcmp(&template->id.daddr, &any, length))
        return 1;
    for (size_t i = 0; i < number; i++)
        if (is_at(template, &places[i]))
            return 1;
    return 0;
}

size_t pfkeyx_policies_at(const uint8_t *entries, size_t count, const struct pfkeyx_place *places, size_t number,
                          uint32_t found[])
{
    uint16_t attributes[PFKEYX_XFRMA_MAX + 1], length;
    struct xfrm_user_tmpl template;
    size_t chosen = 0, at, end;
    uint32_t start = 0;

    for (size_t i = 0; i < count; i++, start += (uint32_t)padded(number_at(entries + start))) {
        if (pfkeyx_xfrm_attributes(entries + start, number_at(entries + start), attributes) || !attributes[XFRMA_TMPL])
            continue;
        at = start + attributes[XFRMA_TMPL];
        memcpy(&length, entries + at, sizeof(length));
        for (end = at + length, at += sizeof(struct nlattr); at < end; at += sizeof(template)) {
            memcpy(&template, entries + at, sizeof(template));
            if (may_be_at(&template, places, number)) {
                found[chosen++] = (uint32_t)i;
                break;
            }
        }
    }
    return chosen;
}
