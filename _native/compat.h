/*
 * What the <linux/pfkeyv2.h> of an older build host lacks. The numbers are the kernel's own.
 */
#ifndef PFKEYX_COMPAT_H
#define PFKEYX_COMPAT_H

#include <linux/pfkeyv2.h>

/* Linux 5.17 */
#ifndef SADB_X_AALG_SM3_256HMAC
#define SADB_X_AALG_SM3_256HMAC 10
#endif
#ifndef SADB_X_EALG_SM4CBC
#define SADB_X_EALG_SM4CBC 24
#endif

/* SADB_X_ADDRUPDATE (draft-schilcher-mobike-pfkey-extension-01, section 3), as kernel/addrupdate.h has it: the draft
 * leaves its numbers open, and these are the first that Linux does not have. */
#ifndef SADB_X_ADDRUPDATE
#define SADB_X_ADDRUPDATE 25
#define SADB_X_EXT_NEW_ADDRESS_SRC 27
#define SADB_X_EXT_NEW_ADDRESS_DST 28
#endif

enum { PFKEYX_EXT_MAX = SADB_X_EXT_NEW_ADDRESS_DST };

#define PFKEYX_MODE_IPTFS 5 /* Linux 6.14's XFRM_MODE_IPTFS */

/* Attributes of XFRM that are younger than some <linux/xfrm.h>, whose numbers are no macros that could be asked for. */
enum {
    PFKEYX_XFRMA_MTIMER_THRESH = 32, /* Linux 6.2 */
    PFKEYX_XFRMA_SA_DIR,             /* 6.10 */
    PFKEYX_XFRMA_NAT_KEEPALIVE_INTERVAL,
    PFKEYX_XFRMA_SA_PCPU, /* 6.13 */
    PFKEYX_XFRMA_IPTFS_DROP_TIME,
    PFKEYX_XFRMA_IPTFS_REORDER_WINDOW,
    PFKEYX_XFRMA_IPTFS_DONT_FRAG,
    PFKEYX_XFRMA_IPTFS_INIT_DELAY,
    PFKEYX_XFRMA_IPTFS_MAX_QSIZE,
    PFKEYX_XFRMA_IPTFS_PKT_SIZE,
    PFKEYX_XFRMA_MAX = PFKEYX_XFRMA_IPTFS_PKT_SIZE,
};

#endif
