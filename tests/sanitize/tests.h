/*
 * What the tests have in common, and those that are in files of their own.
 */
#ifndef TESTS_H
#define TESTS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                            \
    do {                                                                                            \
        if (!(condition)) {                                                                         \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);               \
            exit(1);                                                                                \
        }                                                                                           \
    } while (0)

/* What is found in a heap block of exactly the data's size. */
int find_in_block(int (*find)(const uint8_t *, size_t, uint16_t *), const uint8_t *data, size_t size, uint16_t *places);

void entries_that_end_early(void);
void entries_of_any_bytes(void);
void xfrm_dumps(void);
void padded_entries(void);
void policies_at(void);
void compared(void);
void alike(void);
void links(void);
void handles(void);
void many_messages(void);
void pfkey_entries(void);
void pfkey_dumps(void);
void acknowledgements(void);
void dumps_of_keys(const uint8_t *key, uint16_t bits);

#endif
