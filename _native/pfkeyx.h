/*
 * The C core of pfkeyx: PF_KEYv2 (RFC 2367) sockets, messages built, messages read; and the dumps of
 * PF_KEY and XFRM.
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

/* Receives exactly one whole message; buffer->size tells its size, and the one before is wiped. -EAGAIN when none waits.
 * A message of no bytes, which PF_KEY never sends, is -EPIPE: the other end of a socket pair has closed. -EMSGSIZE for
 * one that is longer than PF_KEY's can be, which is cut. */
int pfkeyx_receive(int fd, struct pfkeyx_buffer *buffer);

/* Takes up to most messages away without looking at them, as long as any wait, and returns how many. */
int pfkeyx_pass_over(int fd, size_t most);

/* Whether the receive buffer would take size bytes more, as the kernel counts them: 1, or 0.
 *
 * AF_KEY queues a message while what waits is not above the limit, and drops it without a word otherwise. Only
 * the reader makes room, and what waits is most just before it does. So where there is room, after a message
 * was received, for that one again (by the kernel's count less than twice its size and a page), nothing was
 * dropped since the message before it was received. */
int pfkeyx_has_room(int fd, size_t size);

/* Wipes the memory and frees it. */
void pfkeyx_buffer_release(struct pfkeyx_buffer *buffer);

/* ---- builder ---- */

/* An IPv4 (AF_INET, 4 bytes used) or IPv6 (AF_INET6) address. */
struct pfkeyx_address {
    uint16_t family;
    uint16_t port;
    uint8_t bytes[16]; /* as on the wire */
};

/* Which SAs are dumped: those between two prefixes, of a family that is AF_INET (4 bytes of each address used),
 * AF_INET6, or any other number for both. */
struct pfkeyx_filter {
    uint16_t family;
    uint8_t source_prefixlen;
    uint8_t destination_prefixlen;
    uint8_t source[16]; /* as on the wire */
    uint8_t destination[16];
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

/* SADB_EXT_IDENTITY_*, RFC 2367 2.3.5: name is a C string, NULL or empty for none. */
void pfkeyx_put_identity(struct pfkeyx_builder *builder, uint16_t exttype, uint16_t type, uint64_t id,
                         const char *name);

/* SADB_EXT_SENSITIVITY, RFC 2367 2.3.6: bitmaps holds sens_len words and, behind them, integ_len words. */
void pfkeyx_put_sensitivity(struct pfkeyx_builder *builder, uint32_t dpd, uint8_t sens_level, uint8_t sens_len,
                            uint8_t integ_level, uint8_t integ_len, const uint64_t *bitmaps);

/* SADB_EXT_PROPOSAL, RFC 2367 2.3.7. */
void pfkeyx_put_proposal(struct pfkeyx_builder *builder, uint8_t replay, const struct sadb_comb *combs,
                         size_t count);

/* SADB_EXT_SUPPORTED_*, RFC 2367 2.3.8. */
void pfkeyx_put_supported(struct pfkeyx_builder *builder, uint16_t exttype, const struct sadb_alg *algs,
                          size_t count);

/* SADB_X_EXT_KMPRIVATE: data that only key managers know the meaning of. */
void pfkeyx_put_kmprivate(struct pfkeyx_builder *builder, const uint8_t *data, size_t size);

/* SADB_X_EXT_SEC_CTX: a security context in the text form of the module that alg names. */
void pfkeyx_put_sec_ctx(struct pfkeyx_builder *builder, uint8_t alg, uint8_t doi, const uint8_t *context,
                        uint16_t size);

/* SADB_X_EXT_KMADDRESS: where the two key managers speak from now on. -EINVAL for two families. */
void pfkeyx_put_kmaddress(struct pfkeyx_builder *builder, const struct pfkeyx_address *local,
                          const struct pfkeyx_address *remote);

/* SADB_X_EXT_FILTER. -EINVAL for too long a prefix. */
void pfkeyx_put_filter(struct pfkeyx_builder *builder, const struct pfkeyx_filter *filter);

/* One request (XFRM: template) into the policy just put; both addresses, of one family, or neither (NULL).
 * -EINVAL when something other than a policy or a request was put last. */
void pfkeyx_put_ipsecrequest(struct pfkeyx_builder *builder, uint16_t proto, uint8_t mode, uint8_t level,
                             uint32_t reqid, const struct pfkeyx_address *source,
                             const struct pfkeyx_address *destination);

/* An extension of any type, of which body is all that follows the four bytes of its header. */
void pfkeyx_put_extension(struct pfkeyx_builder *builder, uint16_t exttype, const uint8_t *body, size_t size);

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
int pfkeyx_get_proposal(const struct pfkeyx_extension *extension, struct sadb_prop *proposal);
int pfkeyx_get_filter(const struct pfkeyx_extension *extension, struct pfkeyx_filter *filter);

/* -EBADMSG also for a family other than AF_INET and AF_INET6. */
int pfkeyx_get_address(const struct pfkeyx_extension *extension, struct sadb_address *header,
                       struct pfkeyx_address *address);

/* *key points into the message; bits / 8 bytes, rounded up, are there. */
int pfkeyx_get_key(const struct pfkeyx_extension *extension, uint16_t *bits, const uint8_t **key);

/* *name is the C string inside the message, or empty where none follows; -EBADMSG also when it does not end. */
int pfkeyx_get_identity(const struct pfkeyx_extension *extension, struct sadb_ident *header, const char **name);

/* -EBADMSG also when the bitmaps are longer than the extension. */
int pfkeyx_get_sensitivity(const struct pfkeyx_extension *extension, struct sadb_sens *header);

/* *data points into the message; what is there includes the padding, which nothing tells from the data. */
int pfkeyx_get_kmprivate(const struct pfkeyx_extension *extension, const uint8_t **data, size_t *size);

/* *context points into the message; sadb_x_ctx_len bytes are there. */
int pfkeyx_get_sec_ctx(const struct pfkeyx_extension *extension, struct sadb_x_sec_ctx *header,
                       const uint8_t **context);

/* -EBADMSG also for other families than IP, and for two. */
int pfkeyx_get_kmaddress(const struct pfkeyx_extension *extension, struct pfkeyx_address *local,
                         struct pfkeyx_address *remote);

/* One item of an extension's array, from index 0: 1, behind the last 0, -EBADMSG when that is cut short. The words
 * are those of both bitmaps, the sensitivity's first. */
int pfkeyx_get_bitmap_word(const struct pfkeyx_extension *sensitivity, size_t index, uint64_t *word);
int pfkeyx_get_combination(const struct pfkeyx_extension *proposal, size_t index, struct sadb_comb *comb);
int pfkeyx_get_algorithm(const struct pfkeyx_extension *supported, size_t index, struct sadb_alg *alg);

/* The next request of a policy extension: 1, at the end 0. *offset starts as 0 and is moved on. */
int pfkeyx_get_ipsecrequest(const struct pfkeyx_extension *policy, size_t *offset,
                            struct pfkeyx_ipsecrequest *request);

/* The two fields that the kernel's structures hold in network order, in host order. */
uint32_t pfkeyx_spi(const struct sadb_sa *sa);
uint16_t pfkeyx_nat_t_port(const struct sadb_x_nat_t_port *port);

/* ---- dumps ---- */

/* Entries of a dump, whole messages each at a multiple of four bytes; starts as all zeros, ends with release. */
struct pfkeyx_entries {
    uint8_t *data;
    size_t size;  /* bytes of the entries */
    size_t last;  /* bytes of the message behind them that ended the dump, 0 where none did */
    size_t count; /* how many entries there are */
    uint8_t *ends; /* where each ends, as numbers of 32 bits */
    size_t capacity;
    size_t ends_capacity;
    size_t used; /* bytes of data that anything was ever written to */
};

/* A dump that was asked for, from one call to the next. */
struct pfkeyx_dump {
    uint32_t sequence; /* of the request */
    uint32_t pid;      /* PF_KEY: of who asked */
    uint32_t number;   /* PF_KEY: of the entry that came last, 0 at first */
    uint16_t type;     /* of its entries: XFRM_MSG_NEWSA or XFRM_MSG_NEWPOLICY, SADB_DUMP or SADB_X_SPDDUMP */
    int torn;          /* XFRM: whether the table was changed meanwhile */
};

/* Receives entries of a dump, in place of those that are there, until most bytes have come, or some more: 1. Before that
 * 0 at the dump's end; -EAGAIN when no more waits, and entries may have come all the same; -EBADMSG for a message that
 * is none. What others cause is passed over.
 *
 * XFRM ends a dump with an NLMSG_DONE or an NLMSG_ERROR; an answer of another type is -EPROTO. PF_KEY ends it with an
 * entry of number 0, and then there is no last message; but what has the request's own number, an errno, or not the
 * number that is next, is one. */
int pfkeyx_receive_xfrm_dump(int fd, struct pfkeyx_entries *entries, struct pfkeyx_dump *dump, size_t most);
int pfkeyx_receive_pfkey_dump(int fd, struct pfkeyx_entries *entries, struct pfkeyx_dump *dump, size_t most);

/* Wipes the memory and frees it. */
void pfkeyx_entries_release(struct pfkeyx_entries *entries);

/* Where the attributes are of a message about a whole SA or policy (XFRM_MSG_NEWSA, UPDSA, NEWPOLICY, UPDPOLICY): where
 * each begins, by its number, 0 where it is not there, and the first where there are several. places has
 * PFKEYX_XFRMA_MAX + 1 items. -EBADMSG for any other message, and for one that does not hold what it says. */
int pfkeyx_xfrm_attributes(const uint8_t *message, size_t size, uint16_t places[]);

/* The same of the extensions of an SA (any message but those about policies) or a policy over PF_KEY: in words of 64
 * bits. places has PFKEYX_EXT_MAX + 1 items. -EBADMSG also where one comes twice, where something is missing that every
 * SA or policy has, and for a protocol, state, mode or prefix that there is not. */
int pfkeyx_pfkey_extensions(const uint8_t *message, size_t size, uint16_t places[]);

/* One end of tunnels, or two, of so many bytes each. */
struct pfkeyx_place {
    uint8_t size;
    uint8_t count;
    uint8_t ends[2][16];
};

/* Of count policies, finds those with a template that is at all ends of one of these places, at any, or where the hosts
 * are. Returns their number; found has room for all, and says which they are. */
size_t pfkeyx_policies_at(const uint8_t *entries, size_t count, const struct pfkeyx_place *places, size_t number,
                          uint32_t found[]);

/* In what two messages about SAs, or about policies, differ beside their headers: in nothing, in what the kernel counts
 * alone (uses, sequence numbers, failures; a policy's index), or in more, as far as that can be told. */
#define PFKEYX_SAME 0
#define PFKEYX_COUNTS_DIFFER 1
#define PFKEYX_DIFFERS 2
int pfkeyx_xfrm_compare(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size);

/* The same, but for what tells apart two that are alike: of an SA its addresses, SPI, reqid and the bits of its keys, if
 * both or none are hidden; of a policy the addresses of its selector, and those and the reqids of its templates. What does
 * not differ in more than that is at the same places of both messages, but for when an SA was used last. */
int pfkeyx_xfrm_compare_alike(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size);

/* What an SA is found by by templates, and the only template of a policy finds one by: protocol, mode, reqid, version of
 * IP, source and destination, numbers in network order, in PFKEYX_LINK bytes. 1, or 0 where there is no such: a policy has
 * none or several, or one that takes an SA from anywhere, of any reqid, or of an SPI; an SA can be found in other ways. */
#define PFKEYX_LINK 39
int pfkeyx_xfrm_link(const uint8_t *message, size_t size, uint8_t link[]);

/* What SAs, or policies, are found by, as bytes: equal where the identities are, and in one order. An SA takes
 * PFKEYX_SA_HANDLE: protocol, SPI, version of IP, destination, value and mask of the mark. A policy takes
 * PFKEYX_POLICY_HANDLE: direction, version of IP, source, destination, lengths of their prefixes, protocol, type, value
 * and mask of the ports of source and destination (of a mask that is not 0), interface, user, value and mask of the
 * mark, if_id. Numbers are in network order. A policy with a security context has zeros. */
#define PFKEYX_SA_HANDLE 30
#define PFKEYX_POLICY_HANDLE 66
void pfkeyx_xfrm_handles(const uint8_t *entries, size_t count, uint8_t handles[]);

/* ---- many messages ---- */

/* Puts count pieces of size bytes, which are back to back, into as many messages: at this place of each. */
void pfkeyx_scatter(uint8_t *data, const uint32_t starts[], size_t count, size_t place, const uint8_t *pieces,
                    size_t size);

/* Numbers the messages of a datagram of XFRM from sequence on, up to one whose length is none; port is who asks. Of those
 * that ask for an acknowledgement only the last one goes on to. */
void pfkeyx_number_xfrm(uint8_t *data, size_t size, uint32_t sequence, uint32_t port);

/* Messages of PF_KEY of one type, numbered from first on, which are only acknowledged. */
struct pfkeyx_asked {
    uint32_t first; /* its lower 31 bits; what is asked has the highest one too */
    uint32_t pid;
    uint32_t count;
    uint32_t left; /* how many are not answered yet */
    uint8_t type;
};

/* Of each, its answer: an errno, or 0; that none has come yet; or, and the errno, that the socket did not take it in. */
enum { PFKEYX_UNANSWERED = 256, PFKEYX_NOT_TAKEN_IN = 512 };

/* Numbers and sends messages, which are back to back. */
void pfkeyx_send_asked(int fd, uint8_t *messages, const uint32_t ends[], uint16_t answers[], struct pfkeyx_asked *asked);

/* Receives up to most messages, until all answers are there, and returns how many: -EAGAIN when none waits, -EBADMSG for
 * what is none. Others' are passed over. */
int pfkeyx_receive_answers(int fd, struct pfkeyx_buffer *buffer, uint16_t answers[], struct pfkeyx_asked *asked,
                           size_t most);

/* cffi reads up to here */

#endif
