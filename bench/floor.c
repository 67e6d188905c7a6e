/*
 * The floor: sends messages that were built before, in a bare loop, and reads the answers without looking at them.
 *
 *     floor xfrm|pfkey FILE
 *
 * FILE is what a program sent, datagram by datagram: four bytes of length, in host order, before each. The next one is
 * sent when the one before is answered. What is printed are the nanoseconds that this took, and how many messages
 * of the answers were refusals.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/pfkeyv2.h>
#include <linux/xfrm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#define RECEIVE_BUFFER (32 << 20)
#define DATAGRAM (1 << 20)

static uint8_t answer[DATAGRAM];
static unsigned long refused;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static size_t receive(int fd)
{
    ssize_t size = recv(fd, answer, sizeof(answer), 0);

    if (size < 0)
        fail("recv");
    return (size_t)size;
}

static int has_answer(const struct nlmsghdr *header)
{
    switch (header->nlmsg_type) {
    case XFRM_MSG_GETSA:
    case XFRM_MSG_GETPOLICY:
    case XFRM_MSG_ALLOCSPI:
    case XFRM_MSG_GETAE:
    case XFRM_MSG_GETSADINFO:
    case XFRM_MSG_GETSPDINFO:
    case XFRM_MSG_GETDEFAULT:
        return 1;
    default:
        return header->nlmsg_flags & NLM_F_ACK;
    }
}

static size_t awaited_over_xfrm(const uint8_t *data, size_t size)
{
    size_t at = 0, count = 0;
    struct nlmsghdr header;

    for (; at + sizeof(header) <= size; at += NLMSG_ALIGN(header.nlmsg_len)) {
        memcpy(&header, data + at, sizeof(header));
        if (has_answer(&header))
            count++;
    }
    return count;
}

static void exchange_over_xfrm(int fd, const uint8_t *data, size_t size)
{
    size_t awaited = awaited_over_xfrm(data, size), got, at;
    struct nlmsghdr header;
    int code;

    if (send(fd, data, size, 0) != (ssize_t)size)
        fail("send");
    while (awaited) {
        got = receive(fd);
        for (at = 0; at + sizeof(header) <= got; at += NLMSG_ALIGN(header.nlmsg_len)) {
            memcpy(&header, answer + at, sizeof(header));
            if (header.nlmsg_type == NLMSG_ERROR) {
                memcpy(&code, answer + at + sizeof(header), sizeof(code));
                refused += code != 0;
            }
            if (awaited && !(header.nlmsg_flags & NLM_F_MULTI && header.nlmsg_type != NLMSG_DONE))
                awaited--;
        }
    }
}

static void exchange_over_pfkey(int fd, const uint8_t *data, size_t size)
{
    struct sadb_msg asked, header;

    memcpy(&asked, data, sizeof(asked));
    /* AF_KEY refuses a message that it cannot read where it is sent, without an answer. */
    if (send(fd, data, size, 0) != (ssize_t)size) {
        refused++;
        return;
    }
    do {
        if (receive(fd) < sizeof(header))
            fail("answer");
        memcpy(&header, answer, sizeof(header));
        refused += header.sadb_msg_errno != 0;
        /* A dump of nothing is answered with an errno, and no entry of number 0. */
    } while ((asked.sadb_msg_type == SADB_DUMP || asked.sadb_msg_type == SADB_X_SPDDUMP) && header.sadb_msg_seq != 0 &&
             !header.sadb_msg_errno);
}

static uint8_t *load(const char *name, size_t *size)
{
    FILE *file = fopen(name, "rb");
    uint8_t *data;
    long end;

    if (!file || fseek(file, 0, SEEK_END) < 0 || (end = ftell(file)) < 0)
        fail(name);
    rewind(file);
    *size = (size_t)end;
    data = malloc(*size + 1);
    if (!data || fread(data, 1, *size, file) != *size)
        fail(name);
    fclose(file);
    return data;
}

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int main(int argc, char **argv)
{
    int is_pfkey = argc == 3 && !strcmp(argv[1], "pfkey"), buffer = RECEIVE_BUFFER, fd;
    struct timeval patience = {.tv_sec = 60};
    uint64_t start;
    uint32_t length;
    uint8_t *data;
    size_t size, at;

    if (argc != 3)
        return 2;
    data = load(argv[2], &size);
    fd = is_pfkey ? socket(AF_KEY, SOCK_RAW, PF_KEY_V2) : socket(AF_NETLINK, SOCK_RAW, NETLINK_XFRM);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
        fail("socket");
    start = now();
    for (at = 0; at + sizeof(length) < size; at += length) {
        memcpy(&length, data + at, sizeof(length));
        at += sizeof(length);
        if (is_pfkey)
            exchange_over_pfkey(fd, data + at, length);
        else
            exchange_over_xfrm(fd, data + at, length);
    }
    printf("%llu %lu\n", (unsigned long long)(now() - start), refused);
    return 0;
}
