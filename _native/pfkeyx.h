/*
 * The C core of pfkeyx: PF_KEYv2 (RFC 2367) sockets, messages built, messages read.
 *
 * Errors are -errno. Numbers are in host order, except in the structures named sadb_*, which are the
 * kernel's own, of <linux/pfkeyv2.h>. Nothing here matches sequence numbers, retries, logs, keeps state
 * between calls or knows Python.
 */
#ifndef PFKEYX_H
#define PFKEYX_H

#include <linux/ipsec.h>
#include <linux/pfkeyv2.h>
#include <stddef.h>
#include <stdint.h>

/* cffi reads from here on */

/* The version of the package that this was compiled for. */
const char *pfkeyx_version(void);

/* ---- socket ---- */

/* Memory of one message at a time; starts as all zeros, is used again for the next, ends with release. */
struct pfkeyx_buffer {
    uint8_t *data;
    size_t size;     /* bytes of the message */
    size_t capacity; /* bytes allocated */
};

/* Opens a raw socket of either kernel interface (AF_KEY and PF_KEY_V2, AF_NETLINK and NETLINK_XFRM),
 * close-on-exec and non-blocking, in the network namespace that netns_fd refers to (-1: the caller's).
 * receive_buffer is in bytes, beyond net.core.rmem_max where the caller may; 0 leaves the default. Returns
 * the descriptor. */
int pfkeyx_open(int family, int protocol, int netns_fd, size_t receive_buffer);

/* Sends exactly one message, whole. */
int pfkeyx_send(int fd, const void *message, size_t size);

/* Receives exactly one whole message, whatever its size; buffer->size tells. -EAGAIN when none waits. A
 * message of no bytes, which PF_KEY never sends, is -EPIPE: the other end of a socket pair has closed.
 * -EMSGSIZE when a second reader of the same socket took the message in between, and the one after it was
 * cut. */
int pfkeyx_receive(int fd, struct pfkeyx_buffer *buffer);

/* Wipes the memory and frees it. */
void pfkeyx_buffer_release(struct pfkeyx_buffer *buffer);

/* ---- builder ---- */

/* An IPv4 (AF_INET, 4 bytes used) or IPv6 (AF_INET6) address. */
struct pfkeyx_address {
    uint16_t family;
    uint16_t port;
    uint8_t bytes[16]; /* as on the wire */
};

/* One message being built; starts as all zeros. The first error sticks: what is put after it does
 * nothing. Every extension is padded with zeros to 64 bits, lengths are in 64-bit words (RFC 2367 2.2). */
struct pfkeyx_builder {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t policy; /* where the policy extension starts that can take requests; 0: none */
    int error;     /* 0 or the first -errno */
};

/* Starts a message, in the memory of the one before and without its error. */
void pfkeyx_begin(struct pfkeyx_builder *builder, uint8_t type, uint8_t satype, uint8_t errno_value,
                  uint32_t seq, uint32_t pid);

/* SADB_EXT_SA, RFC 2367 2.3.1. replay is the window in packets. */
void pfkeyx_put_sa(struct pfkeyx_builder *builder, uint32_t spi, uint8_t replay, uint8_t state, uint8_t auth,
                   uint8_t encrypt, uint32_t flags);

/* SADB_EXT_LIFETIME_*, RFC 2367 2.3.2. Linux counts packets in allocations; times are in seconds. */
void pfkeyx_put_lifetime(struct pfkeyx_builder *builder, uint16_t exttype, uint32_t allocations,
                         uint64_t bytes, uint64_t addtime, uint64_t usetime);

/* SADB_EXT_ADDRESS_* and SADB_X_EXT_NAT_T_OA, RFC 2367 2.3.3. -EINVAL for another family or too long a
 * prefix. */
void pfkeyx_put_address(struct pfkeyx_builder *builder, uint16_t exttype, uint8_t proto, uint8_t prefixlen,
                        const struct pfkeyx_address *address);

/* SADB_EXT_KEY_*, RFC 2367 2.3.4. Takes bits / 8 bytes, rounded up; -EINVAL for bits without a key. */
void pfkeyx_put_key(struct pfkeyx_builder *builder, uint16_t exttype, const uint8_t *key, uint16_t bits);

/* SADB_X_EXT_SA2: mode is IPSEC_MODE_*. */
void pfkeyx_put_sa2(struct pfkeyx_builder *builder, uint8_t mode, uint32_t sequence, uint32_t reqid);

/* SADB_EXT_SPIRANGE, RFC 2367 2.3.9. */
void pfkeyx_put_spirange(struct pfkeyx_builder *builder, uint32_t min, uint32_t max);

/* SADB_X_EXT_NAT_T_TYPE: type is UDP_ENCAP_* of <linux/udp.h>. */
void pfkeyx_put_nat_t_type(struct pfkeyx_builder *builder, uint8_t type);

/* SADB_X_EXT_NAT_T_SPORT, SADB_X_EXT_NAT_T_DPORT. */
void pfkeyx_put_nat_t_port(struct pfkeyx_builder *builder, uint16_t exttype, uint16_t port);

/* SADB_X_EXT_POLICY: type is IPSEC_POLICY_*, dir IPSEC_DIR_*. Requests may follow at once. */
void pfkeyx_put_policy(struct pfkeyx_builder *builder, uint16_t type, uint8_t dir, uint32_t id,
                       uint32_t priority);

/* One request (XFRM: template) into the policy just put; both addresses, of one family, or neither (NULL).
 * -EINVAL when something other than a policy or a request was put last. */
void pfkeyx_put_ipsecrequest(struct pfkeyx_builder *builder, uint16_t proto, uint8_t mode, uint8_t level,
                             uint32_t reqid, const struct pfkeyx_address *source,
                             const struct pfkeyx_address *destination);

/* Writes the message's length: data and size are then ready to be sent. Returns 0 or the first error:
 * -EINVAL (also for a message that was never begun), -ENOMEM, -EMSGSIZE beyond 65535 words. */
int pfkeyx_finish(struct pfkeyx_builder *builder);

/* Wipes the memory and frees it. */
void pfkeyx_builder_release(struct pfkeyx_builder *builder);

/* ---- reader ---- */

/* A position in a message, which must stay where it is for as long as it is read. */
struct pfkeyx_reader {
    const uint8_t *data;
    size_t size;
    size_t offset;
};

/* One extension inside the message, with its header. */
struct pfkeyx_extension {
    uint16_t type;
    const uint8_t *data;
    size_t size;
};

/* One request of a policy. */
struct pfkeyx_ipsecrequest {
    struct sadb_x_ipsecrequest header;
    int has_addresses;
    struct pfkeyx_address source;
    struct pfkeyx_address destination;
};

/* Copies the base header and stands before the first extension. -EBADMSG for fewer than 16 bytes, another
 * version, or a length beyond what arrived. A length that says less is not believed, and no length of a
 * message about policies is: Linux gets some of them wrong, while the extensions' own lengths are right. */
int pfkeyx_read_message(struct pfkeyx_reader *reader, const void *data, size_t size, struct sadb_msg *header);

/* The next extension, of whatever type: 1, at the end 0, -EBADMSG when its length is 0 or beyond the end. */
int pfkeyx_read_extension(struct pfkeyx_reader *reader, struct pfkeyx_extension *extension);

/* Each copies one kind of extension, which the caller knows by its type; -EBADMSG when it is too short. */
int pfkeyx_get_sa(const struct pfkeyx_extension *extension, struct sadb_sa *sa);
int pfkeyx_get_lifetime(const struct pfkeyx_extension *extension, struct sadb_lifetime *lifetime);
int pfkeyx_get_sa2(const struct pfkeyx_extension *extension, struct sadb_x_sa2 *sa2);
int pfkeyx_get_spirange(const struct pfkeyx_extension *extension, struct sadb_spirange *spirange);
int pfkeyx_get_nat_t_type(const struct pfkeyx_extension *extension, struct sadb_x_nat_t_type *type);
int pfkeyx_get_nat_t_port(const struct pfkeyx_extension *extension, struct sadb_x_nat_t_port *port);
int pfkeyx_get_policy(const struct pfkeyx_extension *extension, struct sadb_x_policy *policy);

/* -EBADMSG also for a family other than AF_INET and AF_INET6. */
int pfkeyx_get_address(const struct pfkeyx_extension *extension, struct sadb_address *header,
                       struct pfkeyx_address *address);

/* *key points into the message; bits / 8 bytes, rounded up, are there. */
int pfkeyx_get_key(const struct pfkeyx_extension *extension, uint16_t *bits, const uint8_t **key);

/* The next request of a policy extension: 1, at the end 0. *offset starts as 0 and is moved on. */
int pfkeyx_get_ipsecrequest(const struct pfkeyx_extension *policy, size_t *offset,
                            struct pfkeyx_ipsecrequest *request);

/* The two fields that the kernel's structures hold in network order, in host order. */
uint32_t pfkeyx_spi(const struct sadb_sa *sa);
uint16_t pfkeyx_nat_t_port(const struct sadb_x_nat_t_port *port);

/* cffi reads up to here */

#endif
