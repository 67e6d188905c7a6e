/*
 * What all that reads messages of XFRM has in common.
 */
#ifndef PFKEYX_XFRM_H
#define PFKEYX_XFRM_H

#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "compat.h"

/* Messages and attributes are followed by padding. */
static inline size_t padded(size_t size)
{
    return (size + 3) & ~(size_t)3;
}

static inline uint32_t number_at(const uint8_t *data)
{
    uint32_t number;

    memcpy(&number, data, sizeof(number));
    return number;
}

static inline uint16_t type_of(const uint8_t *message)
{
    struct nlmsghdr header;

    memcpy(&header, message, sizeof(header));
    return header.nlmsg_type;
}

/* Returns the size of the struct that a message about a whole SA or policy begins with; 0 for any other message. Both
 * structs begin with a selector. */
static inline size_t fixed_size(uint16_t type)
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

/* Whether an SA of a mode is looked for between the ends that a template names. */
static inline int is_addressed(uint8_t mode)
{
    return mode == XFRM_MODE_TUNNEL || mode == XFRM_MODE_BEET || mode == PFKEYX_MODE_IPTFS;
}

#endif
