/*
 * What both interfaces' dumps are received with.
 */
#ifndef PFKEYX_DUMP_H
#define PFKEYX_DUMP_H

#include "pfkeyx.h"

/* Takes in what was received, which lies behind the entries: 1 when more is to come, 0 at the dump's end, or -errno. */
typedef int pfkeyx_take(struct pfkeyx_entries *entries, struct pfkeyx_dump *dump, size_t received);

int pfkeyx_receive_entries(int fd, struct pfkeyx_entries *entries, struct pfkeyx_dump *dump, size_t most,
                           pfkeyx_take *take);

/* Keeps a message, which is behind the entries already, as the next one; 0 or -ENOMEM. */
int pfkeyx_keep_entry(struct pfkeyx_entries *entries, const uint8_t *message, size_t size);

/* Keeps a message, which is behind the entries already, as the one that ended the dump. */
void pfkeyx_end_entries(struct pfkeyx_entries *entries, const uint8_t *message, size_t size);

#endif
