/*
 * The dump of a table, of which as much is taken in as there is, before anybody looks at it.
 *
 * What is received stays where it came to lie, unless something before it was left out.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "dump.h"
#include "memory.h"

/* XFRM's largest datagram of a dump has 32 KiB. PF_KEY's largest entry has a key that came in an attribute of XFRM's,
 * which has less than 64 KiB. */
#define ROOM (128u << 10)

int pfkeyx_keep_entry(struct pfkeyx_entries *entries, const uint8_t *message, size_t size)
{
    size_t whole = (size + 3) & ~(size_t)3, number = entries->count * sizeof(uint32_t);
    uint32_t end = (uint32_t)(entries->size + whole);
    int error = pfkeyx_grow(&entries->ends, &entries->ends_capacity, number, number + sizeof(end));

    if (error)
        return error;
    memmove(entries->data + entries->size, message, size);
    memset(entries->data + entries->size + size, 0, whole - size);
    memcpy(entries->ends + number, &end, sizeof(end));
    entries->size = end;
    entries->count++;
    return 0;
}

void pfkeyx_end_entries(struct pfkeyx_entries *entries, const uint8_t *message, size_t size)
{
    memmove(entries->data + entries->size, message, size);
    entries->last = size;
}

/* Receives one datagram behind the entries, and returns its size. */
static ssize_t receive(int fd, struct pfkeyx_entries *entries)
{
    ssize_t size;
    size_t came;

    do {
        size = recv(fd, entries->data + entries->size, ROOM, MSG_TRUNC);
    } while (size < 0 && errno == EINTR);
    if (size < 0)
        return -errno;
    if (size == 0)
        return -EPIPE;
    came = (size_t)size < ROOM ? (size_t)size : ROOM;
    if (entries->used < entries->size + came)
        entries->used = entries->size + came;
    return (size_t)size > ROOM ? -EMSGSIZE : size;
}

int pfkeyx_receive_entries(int fd, struct pfkeyx_entries *entries, struct pfkeyx_dump *dump, size_t most,
                           pfkeyx_take *take)
{
    ssize_t received;
    size_t all = 0;
    int status = 1;

    entries->size = entries->last = entries->count = 0;
    /* Entries that are padded take more than came. */
    while (status == 1 && all < most && entries->size < most) {
        status = pfkeyx_grow(&entries->data, &entries->capacity, entries->size, most + ROOM);
        if (status)
            return status;
        received = receive(fd, entries);
        if (received < 0)
            return (int)received;
        all += (size_t)received;
        status = take(entries, dump, (size_t)received);
    }
    return status;
}

void pfkeyx_entries_release(struct pfkeyx_entries *entries)
{
    pfkeyx_wipe(entries->data, entries->used);
    free(entries->ends);
    *entries = (struct pfkeyx_entries){ 0 };
}
