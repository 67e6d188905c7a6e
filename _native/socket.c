/*
 * The socket: opening it in a namespace, one message out, one message in.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/sock_diag.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory.h"
#include "pfkeyx.h"

/* A PF_KEY message has at most 65535 words of 64 bits. */
#define MESSAGE_MAX (UINT16_MAX * (size_t)8)

struct opening {
    int family;
    int protocol;
    int netns_fd;
    int result; /* descriptor or -errno */
};

static int open_here(int family, int protocol)
{
    int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

    return fd < 0 ? -errno : fd;
}

static void *open_inside(void *argument)
{
    struct opening *opening = argument;

    if (setns(opening->netns_fd, CLONE_NEWNET) < 0)
        opening->result = -errno;
    else
        opening->result = open_here(opening->family, opening->protocol);
    return NULL;
}

/* A socket stays in the namespace in which it was made. A thread made for this enters it and ends there,
 * so that the caller's thread never leaves its own namespace and cannot fail to come back. */
static int open_in_namespace(int family, int protocol, int netns_fd)
{
    struct opening opening = { .family = family, .protocol = protocol, .netns_fd = netns_fd };
    pthread_t thread;
    int error = pthread_create(&thread, NULL, open_inside, &opening);

    if (error)
        return -error;
    pthread_join(thread, NULL);
    return opening.result;
}

static int set_receive_buffer(int fd, size_t size)
{
    int bytes = (int)size;

    if (size > INT_MAX)
        return -EINVAL;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) == 0)
        return 0;
    return setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) < 0 ? -errno : 0;
}

int pfkeyx_open(int family, int protocol, int netns_fd, size_t receive_buffer)
{
    int fd = netns_fd < 0 ? open_here(family, protocol) : open_in_namespace(family, protocol, netns_fd);
    int error;

    if (fd < 0 || receive_buffer == 0)
        return fd;
    error = set_receive_buffer(fd, receive_buffer);
    if (error) {
        close(fd);
        return error;
    }
    return fd;
}

int pfkeyx_send(int fd, const void *message, size_t size)
{
    ssize_t sent;

    do {
        sent = send(fd, message, size, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    return (size_t)sent == size ? 0 : -EMSGSIZE;
}

static ssize_t receive(int fd, void *data, size_t size, int flags)
{
    ssize_t received;

    do {
        received = recv(fd, data, size, flags);
    } while (received < 0 && errno == EINTR);
    return received < 0 ? -errno : received;
}

int pfkeyx_receive(int fd, struct pfkeyx_buffer *buffer)
{
    ssize_t size;
    int error = pfkeyx_grow(&buffer->data, &buffer->capacity, 0, MESSAGE_MAX);

    if (error)
        return error;
    explicit_bzero(buffer->data, buffer->size);
    buffer->size = 0;
    size = receive(fd, buffer->data, buffer->capacity, MSG_TRUNC);
    if (size < 0)
        return (int)size;
    if (size == 0)
        return -EPIPE;
    buffer->size = (size_t)size < buffer->capacity ? (size_t)size : buffer->capacity;
    return (size_t)size > buffer->capacity ? -EMSGSIZE : 0;
}

int pfkeyx_has_room(int fd, size_t size)
{
    uint32_t memory[SK_MEMINFO_VARS];
    socklen_t length = sizeof(memory);

    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length) < 0)
        return -errno;
    if (length <= SK_MEMINFO_RCVBUF * sizeof(*memory))
        return -EOPNOTSUPP;
    return memory[SK_MEMINFO_RMEM_ALLOC] + (uint64_t)size <= memory[SK_MEMINFO_RCVBUF];
}

void pfkeyx_buffer_release(struct pfkeyx_buffer *buffer)
{
    pfkeyx_wipe(buffer->data, buffer->size);
    *buffer = (struct pfkeyx_buffer){ 0 };
}
