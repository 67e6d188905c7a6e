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

#endif
