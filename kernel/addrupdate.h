/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The numbers of SADB_X_ADDRUPDATE, which <linux/pfkeyv2.h> does not have.
 */

#include <linux/inetdevice.h>
#include <linux/udp.h>
#include <linux/version.h>
#include <net/ipv6.h>
#include <net/netlink.h>

#define SADB_X_ADDRUPDATE		25
#define SADB_X_EXT_NEW_ADDRESS_SRC	27
#define SADB_X_EXT_NEW_ADDRESS_DST	28

#undef SADB_MAX
#define SADB_MAX			SADB_X_ADDRUPDATE
#undef SADB_EXT_MAX
#define SADB_EXT_MAX			SADB_X_EXT_NEW_ADDRESS_DST

/* The new extensions are unknown to every message but the one that they belong to. */
static inline u16 pfkey_ext_max(const struct sadb_msg *hdr)
{
	return hdr->sadb_msg_type == SADB_X_ADDRUPDATE ? SADB_EXT_MAX : SADB_X_EXT_FILTER;
}
