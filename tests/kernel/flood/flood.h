/*
 * What the programs of the flood have in common. Each writes records of one size to its standard output, in the byte
 * order of the machine, says "ready" on standard error once it works, and ends well on SIGTERM.
 */
#ifndef FLOOD_H
#define FLOOD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define PORT 9000

/* What a packet carries: its number in its flow, behind words that are seen on the wire if they are not encrypted. */
#define WORDS "THIS IS IN CLEAR"

struct payload {
    char words[16];
    uint64_t number;
};

/* One packet that was sent: an errno where it was refused. */
struct sent {
    uint32_t number;
    int32_t error;
};

/* One packet that arrived. */
struct arrived {
    uint32_t number;
};

/* One frame; a port, SPI and sequence number that it has not are 0. An IPv4 address stands in its first four bytes. */
struct frame {
    uint64_t time_ns;
    uint32_t spi;
    uint32_t sequence;
    uint8_t iv[8];
    uint16_t source_port;
    uint16_t destination_port;
    uint8_t is_outgoing;
    uint8_t is_clear;
    uint8_t family;
    uint8_t protocol;
    uint8_t traffic_class;
    uint8_t reserved[7];
    uint8_t source[16];
    uint8_t destination[16];
};

_Static_assert(sizeof(struct sent) == 8 && sizeof(struct arrived) == 4 && sizeof(struct frame) == 72, "as parsed");

/* Whether the program shall end: it was asked to, or who started it is gone. */
bool is_over(void);
/* Says so, and lets what waits for a packet look about it from time to time. */
void ready(int fd);
void fail(const char *what) __attribute__((noreturn));
void write_record(const void *record, size_t size);
void make_room(int fd);

void run_sniffer(const char *device);

#endif
