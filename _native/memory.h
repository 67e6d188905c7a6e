/*
 * Heap memory that may hold key bytes: it is wiped before it is given back, also when it grows.
 */
#ifndef PFKEYX_MEMORY_H
#define PFKEYX_MEMORY_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline void pfkeyx_wipe(uint8_t *data, size_t capacity)
{
    if (data)
        explicit_bzero(data, capacity);
    free(data);
}

/* Makes room for `needed` bytes and keeps the first `used`; 0 or -ENOMEM, and then nothing has changed. */
static inline int pfkeyx_grow(uint8_t **data, size_t *capacity, size_t used, size_t needed)
{
    size_t larger = *capacity ? 2 * *capacity : 512;
    uint8_t *block;

    if (needed <= *capacity)
        return 0;
    if (larger < needed)
        larger = needed;
    block = malloc(larger);
    if (!block)
        return -ENOMEM;
    if (used)
        memcpy(block, *data, used);
    pfkeyx_wipe(*data, *capacity);
    *data = block;
    *capacity = larger;
    return 0;
}

#endif
