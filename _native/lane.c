/*
 * Many messages back to back: what differs is put into each, and they are numbered and sent.
 */
#include <linux/netlink.h>
#include <string.h>

#include "pfkeyx.h"

void pfkeyx_scatter(uint8_t *data, const uint32_t starts[], size_t count, size_t place, const uint8_t *pieces,
                    size_t size)
{
    for (size_t number = 0; number < count; number++)
        memcpy(data + starts[number] + place, pieces + number * size, size);
}

void pfkeyx_number_xfrm(uint8_t *data, size_t size, uint32_t sequence, uint32_t port)
{
    struct nlmsghdr header;
    size_t whole;

    for (size_t at = 0; size - at >= sizeof(header); at += whole) {
        memcpy(&header, data + at, sizeof(header));
        whole = ((size_t)header.nlmsg_len + 3) & ~(size_t)3;
        if (header.nlmsg_len < sizeof(header) || whole > size - at)
            return;
        header.nlmsg_seq = sequence++;
        header.nlmsg_pid = port;
        if (at + whole < size)
            header.nlmsg_flags &= (uint16_t)~NLM_F_ACK;
        memcpy(data + at, &header, sizeof(header));
    }
}
