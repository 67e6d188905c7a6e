/*
 * XFRM: the dump of a table, and where the attributes of its entries are.
 *
 * The kernel is believed nothing: an entry whose attributes run past it, or are shorter than what <linux/xfrm.h> says
 * they hold, is refused as a whole, so that whoever reads it later finds all that it claims to have.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <string.h>
#include <sys/socket.h>

#include "compat.h"
#include "dump.h"
#include "pfkeyx.h"

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

/* Messages and attributes are followed by padding. */
static size_t padded(size_t size)
{
    return (size + 3) & ~(size_t)3;
}

static uint32_t number_at(const uint8_t *data)
{
    uint32_t number;

    memcpy(&number, data, sizeof(number));
    return number;
}

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

static uint16_t type_of(const uint8_t *message)
{
    struct nlmsghdr header;

    memcpy(&header, message, sizeof(header));
    return header.nlmsg_type;
}

/* Returns the size of the struct that a message about a whole SA or policy begins with; 0 for any other message. Both
 * structs begin with a selector. */
static size_t fixed_size(uint16_t type)
{
    switch (type) {
    case XFRM_MSG_NEWSA:
    case XFRM_MSG_UPDSA:
        return sizeof(struct xfrm_usersa_info);
    case XFRM_MSG_NEWPOLICY:
    case XFRM_MSG_UPDPOLICY:
        return sizeof(struct xfrm_userpolicy_info);
    default:
        return 0;
    }
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

    if (template->mode != XFRM_MODE_TUNNEL && template->mode != XFRM_MODE_BEET && template->mode != PFKEYX_MODE_IPTFS)
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

/* What of a struct the kernel counts: the bytes from start to end. */
struct counted {
    size_t start;
    size_t end;
};

static const struct counted SA_COUNTED[] = {
    { offsetof(struct xfrm_usersa_info, curlft), offsetof(struct xfrm_usersa_info, reqid) },
    { sizeof(struct xfrm_usersa_info), sizeof(struct xfrm_usersa_info) },
};
static const struct counted POLICY_COUNTED[] = {
    { offsetof(struct xfrm_userpolicy_info, curlft), offsetof(struct xfrm_userpolicy_info, priority) },
    { offsetof(struct xfrm_userpolicy_info, index), offsetof(struct xfrm_userpolicy_info, dir) },
};

static int compare_structs(const uint8_t *one, const uint8_t *other, size_t size, const struct counted counted[2])
{
    size_t at = 0;
    int counts = 0;

    for (size_t i = 0; i < 2; at = counted[i++].end) {
        if (memcmp(one + at, other + at, counted[i].start - at))
            return PFKEYX_DIFFERS;
        counts |= memcmp(one + counted[i].start, other + counted[i].start, counted[i].end - counted[i].start);
    }
    if (memcmp(one + at, other + at, size - at))
        return PFKEYX_DIFFERS;
    return counts ? PFKEYX_COUNTS_DIFFER : PFKEYX_SAME;
}

/* The attributes of a message, one after the other. */
struct walk {
    const uint8_t *at;
    size_t left;
    const uint8_t *used; /* XFRMA_LASTUSED, which an SA has from its first packet on, is passed over */
};

/* Returns the next attribute, NULL behind the last one. */
static const uint8_t *next(struct walk *walk, struct nlattr *attribute)
{
    const uint8_t *at = walk->at;
    size_t whole;

    while (walk->left >= sizeof(*attribute)) {
        memcpy(attribute, at, sizeof(*attribute));
        if (attribute->nla_len < sizeof(*attribute) || attribute->nla_len > walk->left)
            return NULL;
        whole = padded(attribute->nla_len) < walk->left ? padded(attribute->nla_len) : walk->left;
        walk->at += whole;
        walk->left -= whole;
        if (attribute->nla_type != XFRMA_LASTUSED || attribute->nla_len < sizeof(*attribute) + sizeof(uint64_t))
            return at;
        walk->used = at;
        at = walk->at;
    }
    return NULL;
}

/* Compares two attributes of a number and a length. */
static int compare_attributes(const uint8_t *one, const uint8_t *other, const struct nlattr *attribute)
{
    const size_t head = sizeof(*attribute), length = offsetof(struct xfrm_replay_state_esn, oseq),
                 window = offsetof(struct xfrm_replay_state_esn, replay_window);

    if (!memcmp(one, other, attribute->nla_len))
        return PFKEYX_SAME;
    if (attribute->nla_type == XFRMA_REPLAY_VAL)
        return PFKEYX_COUNTS_DIFFER;
    if (attribute->nla_type == XFRMA_REPLAY_ESN_VAL &&
        attribute->nla_len >= head + sizeof(struct xfrm_replay_state_esn) &&
        !memcmp(one + head, other + head, length) && !memcmp(one + head + window, other + head + window, sizeof(uint32_t)))
        return PFKEYX_COUNTS_DIFFER;
    return PFKEYX_DIFFERS;
}

int pfkeyx_xfrm_compare(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size)
{
    const uint8_t *of_one, *of_other;
    struct nlattr attribute, others;
    struct walk walk, others_walk;
    const size_t head = sizeof(struct nlmsghdr);
    size_t fixed;
    int result, found;

    if (one_size < head || other_size < head)
        return PFKEYX_DIFFERS;
    fixed = fixed_size(type_of(one));
    if (!fixed || one_size < head + fixed || other_size < head + fixed ||
        fixed_size(type_of(other)) != fixed)
        return PFKEYX_DIFFERS;
    result = compare_structs(one + head, other + head, fixed,
                             fixed == sizeof(struct xfrm_usersa_info) ? SA_COUNTED : POLICY_COUNTED);
    walk = (struct walk){ one + head + fixed, one_size - head - fixed, NULL };
    others_walk = (struct walk){ other + head + fixed, other_size - head - fixed, NULL };
    while (result != PFKEYX_DIFFERS) {
        of_one = next(&walk, &attribute);
        of_other = next(&others_walk, &others);
        if (!of_one && !of_other)
            break;
        if (!of_one || !of_other || attribute.nla_type != others.nla_type || attribute.nla_len != others.nla_len)
            return PFKEYX_DIFFERS;
        found = compare_attributes(of_one, of_other, &attribute);
        result = found > result ? found : result;
    }
    if (result == PFKEYX_SAME && (walk.used || others_walk.used) &&
        (!walk.used || !others_walk.used ||
         memcmp(walk.used, others_walk.used, sizeof(attribute) + sizeof(uint64_t))))
        return PFKEYX_COUNTS_DIFFER;
    return result;
}

/* Numbers one after the other, in network order. */
static uint8_t *put(uint8_t *at, uint32_t number, size_t size)
{
    number = htonl(number);
    memcpy(at, (const uint8_t *)&number + sizeof(number) - size, size);
    return at + size;
}

static uint8_t *put_address(uint8_t *at, const xfrm_address_t *address, uint16_t family)
{
    memset(at, 0, sizeof(*address));
    memcpy(at, address, family == AF_INET ? sizeof(address->a4) : sizeof(*address));
    return at + sizeof(*address);
}

static uint8_t *put_port(uint8_t *at, __be16 port, __be16 mask)
{
    at = put(at, mask ? ntohs(port) : 0, sizeof(port));
    return put(at, ntohs(mask), sizeof(mask));
}

/* The number in an attribute at some word, 0 where the attribute is not there. */
static uint32_t number_in(const uint8_t *message, uint16_t place, size_t word)
{
    return place ? number_at(message + place + sizeof(struct nlattr) + word * sizeof(uint32_t)) : 0;
}

static uint8_t *put_mark(uint8_t *at, const uint8_t *message, uint16_t place)
{
    at = put(at, number_in(message, place, 0), sizeof(uint32_t));
    return put(at, number_in(message, place, 1), sizeof(uint32_t));
}

static void put_sa(uint8_t *at, const uint8_t *message, const uint16_t places[])
{
    struct xfrm_usersa_info info;

    memcpy(&info, message + sizeof(struct nlmsghdr), sizeof(info));
    at = put(at, info.id.proto, sizeof(info.id.proto));
    at = put(at, ntohl(info.id.spi), sizeof(info.id.spi));
    at = put(at, info.family == AF_INET ? 4 : 6, 1);
    at = put_address(at, &info.id.daddr, info.family);
    put_mark(at, message, places[XFRMA_MARK]);
}

static void put_policy(uint8_t *at, const uint8_t *message, const uint16_t places[])
{
    struct xfrm_userpolicy_info info;
    const struct xfrm_selector *selector = &info.sel;

    memcpy(&info, message + sizeof(struct nlmsghdr), sizeof(info));
    at = put(at, info.dir, sizeof(info.dir));
    at = put(at, selector->family == AF_INET ? 4 : 6, 1);
    at = put_address(at, &selector->saddr, selector->family);
    at = put_address(at, &selector->daddr, selector->family);
    at = put(at, selector->prefixlen_s, 1);
    at = put(at, selector->prefixlen_d, 1);
    at = put(at, selector->proto, 1);
    at = put(at, places[XFRMA_POLICY_TYPE] ? message[places[XFRMA_POLICY_TYPE] + sizeof(struct nlattr)] : 0, 1);
    at = put_port(at, selector->sport, selector->sport_mask);
    at = put_port(at, selector->dport, selector->dport_mask);
    at = put(at, (uint32_t)selector->ifindex, sizeof(uint32_t));
    at = put(at, selector->user, sizeof(uint32_t));
    at = put_mark(at, message, places[XFRMA_MARK]);
    put(at, number_in(message, places[XFRMA_IF_ID], 0), sizeof(uint32_t));
}

void pfkeyx_xfrm_handles(const uint8_t *entries, size_t count, uint8_t handles[])
{
    uint16_t places[PFKEYX_XFRMA_MAX + 1];

    for (size_t i = 0; i < count; i++, entries += padded(number_at(entries))) {
        int is_sa = fixed_size(type_of(entries)) == sizeof(struct xfrm_usersa_info);
        size_t size = is_sa ? PFKEYX_SA_HANDLE : PFKEYX_POLICY_HANDLE;

        memset(handles, 0, size);
        if (!pfkeyx_xfrm_attributes(entries, number_at(entries), places)) {
            if (is_sa)
                put_sa(handles, entries, places);
            else if (!places[XFRMA_SEC_CTX])
                put_policy(handles, entries, places);
        }
        handles += size;
    }
}
