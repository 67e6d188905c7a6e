/*
 * XFRM: in what two messages about SAs, or about policies, differ.
 *
 * They have been looked through, and all the same nothing is read beyond their ends.
 */
#include "pfkeyx.h"
#include "xfrm.h"

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

static int is_hidden(const uint8_t *key, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (key[i])
            return 0;
    return 1;
}

/* Whether two attributes with a key behind all else are the same but for its bits, and both or none are hidden. */
static int are_keys_alike(const uint8_t *one, const uint8_t *other, size_t size, size_t fixed)
{
    return size >= fixed && !memcmp(one, other, fixed) &&
           is_hidden(one + fixed, size - fixed) == is_hidden(other + fixed, size - fixed);
}

static int are_templates_alike(const uint8_t *one, const uint8_t *other, size_t size)
{
    struct xfrm_user_tmpl template, others;

    for (size_t at = 0; at < size; at += sizeof(template)) {
        if (size - at < sizeof(template))
            return 0;
        memcpy(&template, one + at, sizeof(template));
        memcpy(&others, other + at, sizeof(others));
        others.id.daddr = template.id.daddr;
        others.saddr = template.saddr;
        others.reqid = template.reqid;
        if (memcmp(&template, &others, sizeof(template)))
            return 0;
    }
    return 1;
}

/* Compares two attributes of a number and a length by what they have to have in common. */
static int compare_alike(const uint8_t *one, const uint8_t *other, const struct nlattr *attribute)
{
    const size_t head = sizeof(*attribute), size = attribute->nla_len - head;
    int are_alike;

    switch (attribute->nla_type) {
    case XFRMA_ALG_AEAD:
        are_alike = are_keys_alike(one + head, other + head, size, sizeof(struct xfrm_algo_aead));
        break;
    case XFRMA_ALG_AUTH:
    case XFRMA_ALG_CRYPT:
        are_alike = are_keys_alike(one + head, other + head, size, sizeof(struct xfrm_algo));
        break;
    case XFRMA_ALG_AUTH_TRUNC:
        are_alike = are_keys_alike(one + head, other + head, size, sizeof(struct xfrm_algo_auth));
        break;
    case XFRMA_TMPL:
        are_alike = are_templates_alike(one + head, other + head, size);
        break;
    default:
        return compare_attributes(one, other, attribute);
    }
    return are_alike ? PFKEYX_SAME : PFKEYX_DIFFERS;
}

typedef int compare_attribute(const uint8_t *one, const uint8_t *other, const struct nlattr *attribute);

/* Compares the attributes of two messages, of which fixed bytes have been compared with some result. */
static int compare_from(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size, size_t fixed,
                        int result, compare_attribute *compare)
{
    struct walk walk = { one + fixed, one_size - fixed, NULL }, others_walk = { other + fixed, other_size - fixed, NULL };
    const uint8_t *of_one, *of_other;
    struct nlattr attribute, others;
    int found;

    while (result != PFKEYX_DIFFERS) {
        of_one = next(&walk, &attribute);
        of_other = next(&others_walk, &others);
        if (!of_one && !of_other)
            break;
        if (!of_one || !of_other || attribute.nla_type != others.nla_type || attribute.nla_len != others.nla_len)
            return PFKEYX_DIFFERS;
        found = compare(of_one, of_other, &attribute);
        result = found > result ? found : result;
    }
    if (result == PFKEYX_SAME && (walk.used || others_walk.used) &&
        (!walk.used || !others_walk.used || memcmp(walk.used, others_walk.used, sizeof(attribute) + sizeof(uint64_t))))
        return PFKEYX_COUNTS_DIFFER;
    return result;
}

/* Returns the size of the struct that two messages both begin with behind their headers; 0 where they do not. */
static size_t common_size(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size)
{
    const size_t head = sizeof(struct nlmsghdr);
    size_t fixed;

    if (one_size < head || other_size < head)
        return 0;
    fixed = fixed_size(type_of(one));
    return one_size < head + fixed || other_size < head + fixed || fixed_size(type_of(other)) != fixed ? 0 : fixed;
}

int pfkeyx_xfrm_compare(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size)
{
    const size_t head = sizeof(struct nlmsghdr), fixed = common_size(one, one_size, other, other_size);
    int result;

    if (!fixed)
        return PFKEYX_DIFFERS;
    result = compare_structs(one + head, other + head, fixed,
                             fixed == sizeof(struct xfrm_usersa_info) ? SA_COUNTED : POLICY_COUNTED);
    return compare_from(one, one_size, other, other_size, head + fixed, result, compare_attributes);
}

static int compare_sas(const uint8_t *one, const uint8_t *other)
{
    struct xfrm_usersa_info info, others;

    memcpy(&info, one, sizeof(info));
    memcpy(&others, other, sizeof(others));
    others.id.daddr = info.id.daddr;
    if (info.id.spi && others.id.spi) /* what an acquire has left behind has none */
        others.id.spi = info.id.spi;
    others.saddr = info.saddr;
    others.reqid = info.reqid;
    return compare_structs((const uint8_t *)&info, (const uint8_t *)&others, sizeof(info), SA_COUNTED);
}

static int compare_policies(const uint8_t *one, const uint8_t *other)
{
    struct xfrm_userpolicy_info info, others;

    memcpy(&info, one, sizeof(info));
    memcpy(&others, other, sizeof(others));
    others.sel.saddr = info.sel.saddr;
    others.sel.daddr = info.sel.daddr;
    return compare_structs((const uint8_t *)&info, (const uint8_t *)&others, sizeof(info), POLICY_COUNTED);
}

int pfkeyx_xfrm_compare_alike(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size)
{
    const size_t head = sizeof(struct nlmsghdr), fixed = common_size(one, one_size, other, other_size);
    int result;

    if (!fixed)
        return PFKEYX_DIFFERS;
    result = (fixed == sizeof(struct xfrm_usersa_info) ? compare_sas : compare_policies)(one + head, other + head);
    return compare_from(one, one_size, other, other_size, head + fixed, result, compare_alike);
}
