/* The flood's programs in one, `flood send|receive|sniff ...`: the senders and receivers; see flood.h. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "flood.h"

/* A sender that was kept from running for longer than this does not make up for it: a burst is not a rate. */
#define LATE_NS 100000000U

static volatile sig_atomic_t over;
static pid_t parent;

static void end(int signal)
{
    (void)signal;
    over = 1;
}

bool is_over(void)
{
    return over || getppid() != parent;
}

void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

void ready(int fd)
{
    const struct timeval patience = { .tv_usec = 50000 };

    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0)
        fail("SO_RCVTIMEO");
    fputs("ready\n", stderr);
}

void write_record(const void *record, size_t size)
{
    if (fwrite(record, size, 1, stdout) != 1)
        fail("write");
}

void make_room(int fd)
{
    const int bytes = 64 << 20;

    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0)
        fail("SO_RCVBUFFORCE");
}

static socklen_t parse_address(const char *text, struct sockaddr_storage *address)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;

    memset(address, 0, sizeof(*address));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(PORT);
        return sizeof(*v4);
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(PORT);
        return sizeof(*v6);
    }
    errno = EINVAL;
    fail(text);
}

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

static void sleep_until(uint64_t moment)
{
    const struct timespec time = { (time_t)(moment / 1000000000U), (long)(moment % 1000000000U) };

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static int open_sender(const char *source, int traffic_class)
{
    struct sockaddr_storage address;
    socklen_t size = parse_address(source, &address);
    bool is_v4 = address.ss_family == AF_INET;
    int fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (setsockopt(fd, is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_TOS : IPV6_TCLASS, &traffic_class,
                   sizeof(traffic_class)) != 0)
        fail("traffic class");
    /* Any port: what comes back, were it an error, is nobody's. */
    if (is_v4)
        ((struct sockaddr_in *)&address)->sin_port = 0;
    else
        ((struct sockaddr_in6 *)&address)->sin6_port = 0;
    if (bind(fd, (struct sockaddr *)&address, size) != 0)
        fail(source);
    return fd;
}

/* Sends numbered packets at a rate, and writes of each whether the kernel took it. */
static void run_sender(const char *source, const char *destination, uint64_t interval_ns, int traffic_class)
{
    struct sockaddr_storage to;
    socklen_t size = parse_address(destination, &to);
    int fd = open_sender(source, traffic_class);
    struct payload payload = { .words = WORDS };
    struct sent sent = { 0 };
    uint64_t due = now();

    /* Unconnected: each packet is led by a look at the policies of its own. */
    for (ready(fd); !is_over(); due += interval_ns) {
        sleep_until(due);
        if (now() > due + LATE_NS)
            due = now();
        payload.number = sent.number;
        sent.error = sendto(fd, &payload, sizeof(payload), 0, (struct sockaddr *)&to, size) < 0 ? errno : 0;
        write_record(&sent, sizeof(sent));
        sent.number++;
    }
}

/* Receives the packets of one flow, and writes their numbers in the order of their arrival. */
static void run_receiver(const char *address)
{
    struct sockaddr_storage at;
    socklen_t size = parse_address(address, &at);
    int fd = socket(at.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct payload payload;
    struct arrived arrived;
    ssize_t length;

    make_room(fd);
    if (bind(fd, (struct sockaddr *)&at, size) != 0)
        fail(address);
    ready(fd);
    for (;;) {
        length = recv(fd, &payload, sizeof(payload), 0);
        if (length == (ssize_t)sizeof(payload)) {
            arrived.number = (uint32_t)payload.number;
            write_record(&arrived, sizeof(arrived));
        } else if (length >= 0 || (errno != EAGAIN && errno != EINTR)) {
            fail("recv");
        } else if (is_over()) {
            return;
        }
    }
}

int main(int argc, char **argv)
{
    const struct sigaction action = { .sa_handler = end };

    sigaction(SIGTERM, &action, NULL);
    parent = getppid();
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc == 6 && strcmp(argv[1], "send") == 0)
        run_sender(argv[2], argv[3], strtoull(argv[4], NULL, 10), atoi(argv[5]));
    else if (argc == 3 && strcmp(argv[1], "receive") == 0)
        run_receiver(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "sniff") == 0)
        run_sniffer(argv[2]);
    else {
        errno = EINVAL;
        fail("flood send SOURCE DESTINATION INTERVAL_NS TRAFFIC_CLASS | receive ADDRESS | sniff DEVICE");
    }
    return 0;
}
