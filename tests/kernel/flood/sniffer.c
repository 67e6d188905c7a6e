/*
 * Sees every frame that leaves a device, and the ESP that comes to it, and writes what is on their outside. It ends
 * well only if the kernel says that it lost none. Nothing here knows what SAs there are.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "flood.h"

#define ESP_IN_UDP 4500 /* RFC 3948 */

static void open_esp(struct frame *frame, const uint8_t *esp, size_t size)
{
    if (size < 16)
        return;
    memcpy(&frame->spi, esp, 4);
    memcpy(&frame->sequence, esp + 4, 4);
    memcpy(frame->iv, esp + 8, 8);
    frame->spi = ntohl(frame->spi);
    frame->sequence = ntohl(frame->sequence);
}

static void open_payload(struct frame *frame, const uint8_t *payload, size_t size)
{
    struct udphdr udp;

    if (frame->protocol == IPPROTO_ESP) {
        open_esp(frame, payload, size);
    } else if (frame->protocol == IPPROTO_UDP && size >= sizeof(udp)) {
        memcpy(&udp, payload, sizeof(udp));
        frame->source_port = ntohs(udp.source);
        frame->destination_port = ntohs(udp.dest);
        if (frame->source_port == ESP_IN_UDP || frame->destination_port == ESP_IN_UDP)
            open_esp(frame, payload + sizeof(udp), size - sizeof(udp));
    }
}

static void open_packet(struct frame *frame, const uint8_t *packet, size_t size)
{
    struct ip v4;
    struct ip6_hdr v6;

    frame->is_clear = memmem(packet, size, WORDS, strlen(WORDS)) != NULL;
    if (frame->family == AF_INET && size >= sizeof(v4)) {
        memcpy(&v4, packet, sizeof(v4));
        memcpy(frame->source, &v4.ip_src, sizeof(v4.ip_src));
        memcpy(frame->destination, &v4.ip_dst, sizeof(v4.ip_dst));
        frame->protocol = v4.ip_p;
        frame->traffic_class = v4.ip_tos;
        open_payload(frame, packet + sizeof(v4), size - sizeof(v4));
    } else if (frame->family == AF_INET6 && size >= sizeof(v6)) {
        memcpy(&v6, packet, sizeof(v6));
        memcpy(frame->source, &v6.ip6_src, sizeof(v6.ip6_src));
        memcpy(frame->destination, &v6.ip6_dst, sizeof(v6.ip6_dst));
        frame->protocol = v6.ip6_nxt;
        frame->traffic_class = (uint8_t)(ntohl(v6.ip6_flow) >> 20);
        open_payload(frame, packet + sizeof(v6), size - sizeof(v6));
    }
}

static int open_socket(const char *device)
{
    const struct sockaddr_ll at = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = (int)if_nametoindex(device),
    };
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const int on = 1;

    make_room(fd);
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) != 0)
        fail("SO_TIMESTAMPNS");
    if (at.sll_ifindex == 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0)
        fail(device);
    return fd;
}

static uint64_t time_of(struct msghdr *message)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    struct timespec time;

    if (control == NULL || control->cmsg_type != SO_TIMESTAMPNS)
        fail("a frame without a time");
    memcpy(&time, CMSG_DATA(control), sizeof(time));
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

/* Writes what comes next; returns false when nothing has come for a while. */
static bool sniff(int fd)
{
    static uint8_t packet[2048];
    uint8_t control[256];
    struct sockaddr_ll from;
    struct iovec part = { packet, sizeof(packet) };
    struct msghdr message = {
        .msg_name = &from,
        .msg_namelen = sizeof(from),
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    struct frame frame = { 0 };
    ssize_t size = recvmsg(fd, &message, 0);

    if (size < 0) {
        if (errno != EAGAIN && errno != EINTR)
            fail("recvmsg");
        return false;
    }
    if (from.sll_protocol == htons(ETH_P_IP))
        frame.family = AF_INET;
    else if (from.sll_protocol == htons(ETH_P_IPV6))
        frame.family = AF_INET6;
    else
        return true;
    frame.time_ns = time_of(&message);
    frame.is_outgoing = from.sll_pkttype == PACKET_OUTGOING;
    open_packet(&frame, packet, (size_t)size);
    /* What came and was decrypted is seen again, and is no frame. */
    if (frame.is_outgoing || frame.spi != 0)
        write_record(&frame, sizeof(frame));
    return true;
}

void run_sniffer(const char *device)
{
    int fd = open_socket(device);
    struct tpacket_stats statistics;
    socklen_t size = sizeof(statistics);

    /* It has the most to write, and it is not waited for. */
    setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
    ready(fd);
    while (sniff(fd) || !is_over())
        ;
    if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) != 0)
        fail("PACKET_STATISTICS");
    if (fflush(stdout) != 0)
        fail("write");
    if (statistics.tp_drops != 0) {
        errno = ENOBUFS;
        fprintf(stderr, "%u frames were lost\n", statistics.tp_drops);
        fail(device);
    }
}
