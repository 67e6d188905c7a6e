/*
 * The reader: nothing is read before it is known to lie inside the message, and everything is copied out,
 * because nothing says that the message is aligned.
 */
#define _DEFAULT_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "pfkeyx.h"

#define WORD 8u

/* Linux adds up the length of a policy message wrongly, too small or too large, when a tunnel request of one
 * family comes before a transport request in a policy of the other. */
static int has_true_length(const struct sadb_msg *header)
{
    return header->sadb_msg_type < SADB_X_SPDUPDATE || header->sadb_msg_type > SADB_X_SPDDELETE2;
}

int pfkeyx_read_message(struct pfkeyx_reader *reader, const void *data, size_t size, struct sadb_msg *header)
{
    if (size < sizeof(*header))
        return -EBADMSG;
    memcpy(header, data, sizeof(*header));
    if (header->sadb_msg_version != PF_KEY_V2)
        return -EBADMSG;
    if (has_true_length(header) && header->sadb_msg_len * (size_t)WORD > size)
        return -EBADMSG;
    *reader = (struct pfkeyx_reader){ .data = data, .size = size, .offset = sizeof(*header) };
    return 0;
}

int pfkeyx_read_extension(struct pfkeyx_reader *reader, struct pfkeyx_extension *extension)
{
    size_t left = reader->size - reader->offset;
    const uint8_t *start = reader->data + reader->offset;
    struct sadb_ext header;
    size_t size;

    if (left == 0)
        return 0;
    if (left < sizeof(header))
        return -EBADMSG;
    memcpy(&header, start, sizeof(header));
    size = header.sadb_ext_len * (size_t)WORD;
    if (size == 0 || size > left)
        return -EBADMSG;
    *extension = (struct pfkeyx_extension){ .type = header.sadb_ext_type, .data = start, .size = size };
    reader->offset += size;
    return 1;
}

static int copy(const struct pfkeyx_extension *extension, void *out, size_t size)
{
    if (extension->size < size)
        return -EBADMSG;
    memcpy(out, extension->data, size);
    return 0;
}

int pfkeyx_get_sa(const struct pfkeyx_extension *extension, struct sadb_sa *sa)
{
    return copy(extension, sa, sizeof(*sa));
}

int pfkeyx_get_lifetime(const struct pfkeyx_extension *extension, struct sadb_lifetime *lifetime)
{
    return copy(extension, lifetime, sizeof(*lifetime));
}

int pfkeyx_get_sa2(const struct pfkeyx_extension *extension, struct sadb_x_sa2 *sa2)
{
    return copy(extension, sa2, sizeof(*sa2));
}

int pfkeyx_get_spirange(const struct pfkeyx_extension *extension, struct sadb_spirange *spirange)
{
    return copy(extension, spirange, sizeof(*spirange));
}

int pfkeyx_get_nat_t_type(const struct pfkeyx_extension *extension, struct sadb_x_nat_t_type *type)
{
    return copy(extension, type, sizeof(*type));
}

int pfkeyx_get_nat_t_port(const struct pfkeyx_extension *extension, struct sadb_x_nat_t_port *port)
{
    return copy(extension, port, sizeof(*port));
}

int pfkeyx_get_policy(const struct pfkeyx_extension *extension, struct sadb_x_policy *policy)
{
    return copy(extension, policy, sizeof(*policy));
}

int pfkeyx_get_proposal(const struct pfkeyx_extension *extension, struct sadb_prop *proposal)
{
    return copy(extension, proposal, sizeof(*proposal));
}

int pfkeyx_get_filter(const struct pfkeyx_extension *extension, struct pfkeyx_filter *filter)
{
    struct sadb_x_filter in;

    if (copy(extension, &in, sizeof(in)))
        return -EBADMSG;
    filter->family = in.sadb_x_filter_family;
    filter->source_prefixlen = in.sadb_x_filter_splen;
    filter->destination_prefixlen = in.sadb_x_filter_dplen;
    memcpy(filter->source, in.sadb_x_filter_saddr, sizeof(filter->source));
    memcpy(filter->destination, in.sadb_x_filter_daddr, sizeof(filter->destination));
    return 0;
}

/* Returns the size of the sockaddr read; 0 when it is cut or its family is not IP. */
static size_t from_sockaddr(const uint8_t *data, size_t size, struct pfkeyx_address *out)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    sa_family_t family;

    *out = (struct pfkeyx_address){ 0 };
    if (size < sizeof(family))
        return 0;
    memcpy(&family, data, sizeof(family));
    out->family = family;
    if (family == AF_INET && size >= sizeof(in)) {
        memcpy(&in, data, sizeof(in));
        out->port = ntohs(in.sin_port);
        memcpy(out->bytes, &in.sin_addr, sizeof(in.sin_addr));
        return sizeof(in);
    }
    if (family == AF_INET6 && size >= sizeof(in6)) {
        memcpy(&in6, data, sizeof(in6));
        out->port = ntohs(in6.sin6_port);
        memcpy(out->bytes, &in6.sin6_addr, sizeof(in6.sin6_addr));
        return sizeof(in6);
    }
    return 0;
}

/* Returns whether two sockaddrs of one family are there, back to back. */
static int from_pair(const uint8_t *data, size_t size, struct pfkeyx_address *first, struct pfkeyx_address *second)
{
    size_t used = from_sockaddr(data, size, first);

    *second = (struct pfkeyx_address){ 0 };
    return used && from_sockaddr(data + used, size - used, second) == used;
}

int pfkeyx_get_address(const struct pfkeyx_extension *extension, struct sadb_address *header,
                       struct pfkeyx_address *address)
{
    if (copy(extension, header, sizeof(*header)))
        return -EBADMSG;
    if (!from_sockaddr(extension->data + sizeof(*header), extension->size - sizeof(*header), address))
        return -EBADMSG;
    return 0;
}

int pfkeyx_get_key(const struct pfkeyx_extension *extension, uint16_t *bits, const uint8_t **key)
{
    struct sadb_key header;

    if (copy(extension, &header, sizeof(header)))
        return -EBADMSG;
    if ((header.sadb_key_bits + 7u) / 8 > extension->size - sizeof(header))
        return -EBADMSG;
    *bits = header.sadb_key_bits;
    *key = extension->data + sizeof(header);
    return 0;
}

static size_t bitmap_words(const struct sadb_sens *header)
{
    return (size_t)header->sadb_sens_sens_len + header->sadb_sens_integ_len;
}

int pfkeyx_get_identity(const struct pfkeyx_extension *extension, struct sadb_ident *header, const char **name)
{
    const char *string;
    size_t left;

    if (copy(extension, header, sizeof(*header)))
        return -EBADMSG;
    string = (const char *)extension->data + sizeof(*header);
    left = extension->size - sizeof(*header);
    if (left && !memchr(string, 0, left))
        return -EBADMSG;
    *name = left ? string : "";
    return 0;
}

int pfkeyx_get_sensitivity(const struct pfkeyx_extension *extension, struct sadb_sens *header)
{
    if (copy(extension, header, sizeof(*header)))
        return -EBADMSG;
    if (bitmap_words(header) * WORD > extension->size - sizeof(*header))
        return -EBADMSG;
    return 0;
}

int pfkeyx_get_kmprivate(const struct pfkeyx_extension *extension, const uint8_t **data, size_t *size)
{
    struct sadb_x_kmprivate header;

    if (copy(extension, &header, sizeof(header)))
        return -EBADMSG;
    *data = extension->data + sizeof(header);
    *size = extension->size - sizeof(header);
    return 0;
}

int pfkeyx_get_sec_ctx(const struct pfkeyx_extension *extension, struct sadb_x_sec_ctx *header,
                       const uint8_t **context)
{
    if (copy(extension, header, sizeof(*header)))
        return -EBADMSG;
    if (header->sadb_x_ctx_len > extension->size - sizeof(*header))
        return -EBADMSG;
    *context = extension->data + sizeof(*header);
    return 0;
}

int pfkeyx_get_kmaddress(const struct pfkeyx_extension *extension, struct pfkeyx_address *local,
                         struct pfkeyx_address *remote)
{
    struct sadb_x_kmaddress header;

    if (copy(extension, &header, sizeof(header)))
        return -EBADMSG;
    if (!from_pair(extension->data + sizeof(header), extension->size - sizeof(header), local, remote))
        return -EBADMSG;
    return 0;
}

int pfkeyx_get_bitmap_word(const struct pfkeyx_extension *sensitivity, size_t index, uint64_t *word)
{
    struct sadb_sens header;

    if (pfkeyx_get_sensitivity(sensitivity, &header))
        return -EBADMSG;
    if (index >= bitmap_words(&header))
        return 0;
    memcpy(word, sensitivity->data + sizeof(header) + index * WORD, WORD);
    return 1;
}

/* Copies one item of the array that fills an extension behind its fixed part: 1, behind the last 0. */
static int copy_item(const struct pfkeyx_extension *extension, size_t fixed, size_t index, void *out, size_t size)
{
    size_t left, count;

    if (extension->size < fixed)
        return -EBADMSG;
    left = extension->size - fixed;
    count = left / size;
    if (index >= count)
        return left % size ? -EBADMSG : 0;
    memcpy(out, extension->data + fixed + index * size, size);
    return 1;
}

int pfkeyx_get_combination(const struct pfkeyx_extension *proposal, size_t index, struct sadb_comb *comb)
{
    return copy_item(proposal, sizeof(struct sadb_prop), index, comb, sizeof(*comb));
}

int pfkeyx_get_algorithm(const struct pfkeyx_extension *supported, size_t index, struct sadb_alg *alg)
{
    return copy_item(supported, sizeof(struct sadb_supported), index, alg, sizeof(*alg));
}

int pfkeyx_get_ipsecrequest(const struct pfkeyx_extension *policy, size_t *offset,
                            struct pfkeyx_ipsecrequest *request)
{
    size_t start = *offset ? *offset : sizeof(struct sadb_x_policy);
    size_t left, size;
    const uint8_t *data;

    if (start > policy->size)
        return -EBADMSG;
    left = policy->size - start;
    if (left < WORD) /* padding: a request's length is in bytes, the policy's in words */
        return 0;
    if (left < sizeof(request->header))
        return -EBADMSG;
    data = policy->data + start;
    memcpy(&request->header, data, sizeof(request->header));
    size = request->header.sadb_x_ipsecrequest_len;
    if (size < sizeof(request->header) || size > left)
        return -EBADMSG;
    *offset = start + size;

    data += sizeof(request->header);
    size -= sizeof(request->header);
    request->has_addresses = size != 0;
    request->source = request->destination = (struct pfkeyx_address){ 0 };
    if (size == 0)
        return 1;
    return from_pair(data, size, &request->source, &request->destination) ? 1 : -EBADMSG;
}

uint32_t pfkeyx_spi(const struct sadb_sa *sa)
{
    return ntohl(sa->sadb_sa_spi);
}

uint16_t pfkeyx_nat_t_port(const struct sadb_x_nat_t_port *port)
{
    return ntohs(port->sadb_x_nat_t_port_port);
}
