/*
 * XFRM: what SAs and policies are found by, and what finds SAs, as bytes.
 */
#include <arpa/inet.h>

#include "pfkeyx.h"
#include "xfrm.h"

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

static int has_link(const struct xfrm_user_tmpl *template)
{
    static const xfrm_address_t any;
    size_t length = template->family == AF_INET ? sizeof(any.a4) : sizeof(any);

    return is_addressed(template->mode) && !template->id.spi && template->reqid &&
           memcmp(&template->saddr, &any, length) && memcmp(&template->id.daddr, &any, length);
}

static void put_link(uint8_t *at, uint8_t proto, uint8_t mode, uint32_t reqid, uint16_t family,
                     const xfrm_address_t *source, const xfrm_address_t *destination)
{
    at = put(at, proto, sizeof(proto));
    at = put(at, mode, sizeof(mode));
    at = put(at, reqid, sizeof(reqid));
    at = put(at, family == AF_INET ? 4 : 6, 1);
    at = put_address(at, source, family);
    put_address(at, destination, family);
}

int pfkeyx_xfrm_link(const uint8_t *message, size_t size, uint8_t link[])
{
    const uint8_t *data = message + sizeof(struct nlmsghdr);
    uint16_t places[PFKEYX_XFRMA_MAX + 1], length;
    struct xfrm_user_tmpl template;
    struct xfrm_usersa_info info;

    if (pfkeyx_xfrm_attributes(message, size, places))
        return 0;
    if (fixed_size(type_of(message)) == sizeof(info)) {
        memcpy(&info, data, sizeof(info));
        if (!info.reqid || !is_addressed(info.mode))
            return 0;
        put_link(link, info.id.proto, info.mode, info.reqid, info.family, &info.saddr, &info.id.daddr);
        return 1;
    }
    if (!places[XFRMA_TMPL])
        return 0;
    memcpy(&length, message + places[XFRMA_TMPL], sizeof(length));
    if (length != sizeof(struct nlattr) + sizeof(template))
        return 0;
    memcpy(&template, message + places[XFRMA_TMPL] + sizeof(struct nlattr), sizeof(template));
    if (!has_link(&template))
        return 0;
    put_link(link, template.id.proto, template.mode, template.reqid, template.family, &template.saddr,
             &template.id.daddr);
    return 1;
}
