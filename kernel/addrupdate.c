// SPDX-License-Identifier: GPL-2.0-only
/*
 * SADB_X_ADDRUPDATE: the addresses of one SA, named by its SPI, are changed,
 * and nothing else of it (draft-schilcher-mobike-pfkey-extension-01, section 3).
 * Included by af_key.c.
 */

#ifdef CONFIG_NET_KEY_MIGRATE
struct pfkey_addrupdate {
	xfrm_address_t		saddr;
	xfrm_address_t		daddr;
	unsigned short		family;
	struct xfrm_selector	sel;
	/* NULL for none; the SA's own, or natt */
	struct xfrm_encap_tmpl	*encap;
	struct xfrm_encap_tmpl	natt;
};

#include "compat.c"

static bool pfkey_is_host(const xfrm_address_t *addr, unsigned short family)
{
	if (family == AF_INET6)
		return !ipv6_addr_any(&addr->in6) && !ipv6_addr_is_multicast(&addr->in6);
	return addr->a4 && !ipv4_is_multicast(addr->a4) && !ipv4_is_lbcast(addr->a4);
}

static int pfkey_addrupdate_ends(struct pfkey_addrupdate *u, void * const *ext_hdrs)
{
	const struct sadb_address *src = ext_hdrs[SADB_X_EXT_NEW_ADDRESS_SRC - 1];
	const struct sadb_address *dst = ext_hdrs[SADB_X_EXT_NEW_ADDRESS_DST - 1];

	if (!present_and_same_family(src, dst))
		return -EINVAL;
	u->family = pfkey_sadb_addr2xfrm_addr(src, &u->saddr);
	pfkey_sadb_addr2xfrm_addr(dst, &u->daddr);
	if (!pfkey_is_host(&u->saddr, u->family) || !pfkey_is_host(&u->daddr, u->family))
		return -EINVAL;
	return 0;
}

static struct xfrm_state *pfkey_addrupdate_find(struct net *net, const struct sadb_msg *hdr,
						void * const *ext_hdrs)
{
	xfrm_address_t saddr;
	struct xfrm_state *x;
	int err = -ESRCH;

	x = pfkey_xfrm_state_lookup(net, hdr, ext_hdrs);
	if (!x)
		return ERR_PTR(-ESRCH);

	pfkey_sadb_addr2xfrm_addr(ext_hdrs[SADB_EXT_ADDRESS_SRC - 1], &saddr);
	if (!xfrm_addr_equal(&x->props.saddr, &saddr, x->props.family))
		goto out;

	if (x->km.state == XFRM_STATE_ACQ)
		err = -EINVAL;
	else if (x->km.state != XFRM_STATE_VALID)
		err = -ESRCH;
	else if (x->xso.dev)
		err = -EOPNOTSUPP;
	else
		return x;
out:
	xfrm_state_put(x);
	return ERR_PTR(err);
}

/* Without NAT-T extensions the encapsulation stays as it is. */
static int pfkey_addrupdate_encap(struct pfkey_addrupdate *u, const struct xfrm_state *x,
				  void * const *ext_hdrs)
{
	const struct sadb_x_nat_t_type *type = ext_hdrs[SADB_X_EXT_NAT_T_TYPE - 1];
	const struct sadb_x_nat_t_port *sport = ext_hdrs[SADB_X_EXT_NAT_T_SPORT - 1];
	const struct sadb_x_nat_t_port *dport = ext_hdrs[SADB_X_EXT_NAT_T_DPORT - 1];

	if (!type && !sport && !dport) {
		u->encap = x->encap;
		return 0;
	}
	if (!type || !sport != !dport)
		return -EINVAL;
	if (!type->sadb_x_nat_t_type_type && !sport)
		return 0;
	if (type->sadb_x_nat_t_type_type != UDP_ENCAP_ESPINUDP || !sport ||
	    x->id.proto != IPPROTO_ESP)
		return -EINVAL;

	if (x->encap)
		u->natt = *x->encap;
	u->natt.encap_type = UDP_ENCAP_ESPINUDP;
	u->natt.encap_sport = sport->sadb_x_nat_t_port_port;
	u->natt.encap_dport = dport->sadb_x_nat_t_port_port;
	u->encap = &u->natt;
	return 0;
}

static bool pfkey_same_encap(const struct xfrm_encap_tmpl *a, const struct xfrm_encap_tmpl *b)
{
	if (!a || !b)
		return a == b;
	return a->encap_type == b->encap_type && a->encap_sport == b->encap_sport &&
	       a->encap_dport == b->encap_dport;
}

static bool pfkey_same_daddr(const struct pfkey_addrupdate *u, const struct xfrm_state *x)
{
	return u->family == x->props.family && xfrm_addr_equal(&u->daddr, &x->id.daddr, u->family);
}

static bool pfkey_addrupdate_is_noop(const struct pfkey_addrupdate *u, const struct xfrm_state *x)
{
	return pfkey_same_daddr(u, x) &&
	       xfrm_addr_equal(&u->saddr, &x->props.saddr, u->family) &&
	       pfkey_same_encap(u->encap, x->encap);
}

/* In transport mode a selector that is the SA's own two addresses moves with them,
 * and one for all addresses becomes one for those of the new family.
 */
static void pfkey_addrupdate_sel(struct pfkey_addrupdate *u, const struct xfrm_state *x)
{
	unsigned short family = x->props.family;
	u8 host = family == AF_INET6 ? 128 : 32;

	u->sel = x->sel;
	if (x->props.mode != XFRM_MODE_TRANSPORT || x->sel.family != family)
		return;

	if (x->sel.prefixlen_s == host && x->sel.prefixlen_d == host &&
	    xfrm_addr_equal(&x->sel.saddr, &x->props.saddr, family) &&
	    xfrm_addr_equal(&x->sel.daddr, &x->id.daddr, family)) {
		u->sel.saddr = u->saddr;
		u->sel.daddr = u->daddr;
		u->sel.prefixlen_s = u->family == AF_INET6 ? 128 : 32;
		u->sel.prefixlen_d = u->sel.prefixlen_s;
		u->sel.family = u->family;
	} else if (!x->sel.prefixlen_s && !x->sel.prefixlen_d) {
		u->sel.family = u->family;
	}
}

#ifdef XFRM_MSG_MIGRATE_STATE
static struct xfrm_state *pfkey_addrupdate_clone(struct xfrm_state *x,
						 const struct pfkey_addrupdate *u)
{
	struct xfrm_migrate m = {
		.old_daddr = x->id.daddr,
		.old_saddr = x->props.saddr,
		.old_family = x->props.family,
		.old_reqid = x->props.reqid,
		.old_mark = x->mark,
		.proto = x->id.proto,
		.mode = x->props.mode,
		.msg_type = XFRM_MSG_MIGRATE_STATE,
		.new_daddr = u->daddr,
		.new_saddr = u->saddr,
		.new_family = u->family,
		.new_reqid = x->props.reqid,
		.new_sel = &u->sel,
		.smark = x->props.smark,
		.encap = u->encap,
		.mapping_maxage = x->mapping_maxage,
		.nat_keepalive_interval = x->nat_keepalive_interval,
	};
	struct xfrm_state *xc = xfrm_state_migrate_create(x, &m, xs_net(x), NULL);

	return xc ? pfkey_restore_geniv(xc, x) : ERR_PTR(-EINVAL);
}

static int pfkey_put_migrate_state(struct sk_buff *skb, const struct xfrm_state *x,
				   const struct xfrm_state *xc, const struct sadb_msg *hdr)
{
	static const struct xfrm_encap_tmpl no_encap;
	struct xfrm_user_migrate_state *um;
	struct nlmsghdr *nlh;

	nlh = nlmsg_put(skb, hdr->sadb_msg_pid, hdr->sadb_msg_seq, XFRM_MSG_MIGRATE_STATE,
			sizeof(*um), 0);
	if (!nlh)
		return -EMSGSIZE;
	um = nlmsg_data(nlh);
	memset(um, 0, sizeof(*um));
	um->id.daddr = x->id.daddr;
	um->id.spi = x->id.spi;
	um->id.family = x->props.family;
	um->id.proto = x->id.proto;
	um->old_mark = x->mark;
	um->new_daddr = xc->id.daddr;
	um->new_saddr = xc->props.saddr;
	um->new_family = xc->props.family;
	um->new_reqid = xc->props.reqid;
	um->new_sel = xc->sel;

	if ((x->encap || xc->encap) &&
	    nla_put(skb, XFRMA_ENCAP, sizeof(no_encap), xc->encap ?: &no_encap))
		return -EMSGSIZE;
	if ((xc->props.smark.v | xc->props.smark.m) &&
	    (nla_put_u32(skb, XFRMA_SET_MARK, xc->props.smark.v) ||
	     nla_put_u32(skb, XFRMA_SET_MARK_MASK, xc->props.smark.m)))
		return -EMSGSIZE;
	if (xc->mapping_maxage && nla_put_u32(skb, XFRMA_MTIMER_THRESH, xc->mapping_maxage))
		return -EMSGSIZE;
	if (xc->nat_keepalive_interval &&
	    nla_put_u32(skb, XFRMA_NAT_KEEPALIVE_INTERVAL, xc->nat_keepalive_interval))
		return -EMSGSIZE;
	if (xc->dir && nla_put_u8(skb, XFRMA_SA_DIR, xc->dir))
		return -EMSGSIZE;
	nlmsg_end(skb, nlh);
	return 0;
}

/* XFRM's listeners see what they see of XFRM_MSG_MIGRATE_STATE. */
static void pfkey_addrupdate_notify(const struct xfrm_state *x, const struct xfrm_state *xc,
				    const struct sadb_msg *hdr, struct net *net)
{
	struct sk_buff *skb = nlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	struct sock *nlsk;

	if (!skb)
		return;
	rcu_read_lock();
	nlsk = rcu_dereference(net->xfrm.nlsk);
	if (nlsk && !pfkey_put_migrate_state(skb, x, xc, hdr))
		nlmsg_multicast(nlsk, skb, 0, XFRMNLGRP_MIGRATE, GFP_ATOMIC);
	else
		kfree_skb(skb);
	rcu_read_unlock();
}
#endif

/* Both SAs are in the tables for a moment, but only one of them is valid at any
 * time, so that no two packets get the same sequence number; and the old one
 * stays valid until nothing can fail.
 */
static int pfkey_addrupdate_swap(struct xfrm_state *x, struct xfrm_state *xc,
				 const struct pfkey_addrupdate *u)
{
	int err = 0;

	xc->km.state = XFRM_STATE_VOID;
	if (pfkey_same_daddr(u, x))
		xfrm_state_insert(xc);
	else
		err = xfrm_state_add(xc);
	if (err) {
		xc->km.state = XFRM_STATE_DEAD;
		__xfrm_state_put(xc);
		return err;
	}

	spin_lock_bh(&x->lock);
	if (x->km.state == XFRM_STATE_VALID) {
		xfrm_migrate_sync(xc, x);
		xc->stats = x->stats;
		xc->lastused = x->lastused;
		xc->km.dying = x->km.dying;
		__xfrm_state_delete(x);
	} else {
		err = -ESRCH;
	}
	spin_unlock_bh(&x->lock);

	spin_lock_bh(&xc->lock);
	if (err)
		__xfrm_state_delete(xc);
	else if (xc->km.state == XFRM_STATE_VOID)
		xc->km.state = XFRM_STATE_VALID;
	spin_unlock_bh(&xc->lock);
	return err;
}

static int pfkey_addrupdate_move(struct xfrm_state *x, const struct pfkey_addrupdate *u,
				 const struct sadb_msg *hdr)
{
	struct xfrm_state *xc;
	int err;

	xc = pfkey_addrupdate_clone(x, u);
	if (IS_ERR(xc))
		return PTR_ERR(xc);

	xfrm_state_hold(xc);
	err = pfkey_addrupdate_swap(x, xc, u);
	if (!err)
		pfkey_addrupdate_notify(x, xc, hdr, xs_net(x));
	xfrm_state_put(xc);
	return err;
}

static void pfkey_put_host(struct sk_buff *skb, u16 exttype, const xfrm_address_t *xaddr,
			   unsigned short family)
{
	int size = sizeof(struct sadb_address) + pfkey_sockaddr_size(family);
	struct sadb_address *addr = skb_put_zero(skb, size);

	addr->sadb_address_len = size / sizeof(u64);
	addr->sadb_address_exttype = exttype;
	addr->sadb_address_prefixlen =
		pfkey_sockaddr_fill(xaddr, 0, (struct sockaddr *)(addr + 1), family);
}

static void pfkey_put_nat_t_port(struct sk_buff *skb, u16 exttype, __be16 port)
{
	struct sadb_x_nat_t_port *ext = skb_put_zero(skb, sizeof(*ext));

	ext->sadb_x_nat_t_port_len = sizeof(*ext) / sizeof(u64);
	ext->sadb_x_nat_t_port_exttype = exttype;
	ext->sadb_x_nat_t_port_port = port;
}

static void pfkey_put_nat_t(struct sk_buff *skb, const struct xfrm_encap_tmpl *encap)
{
	struct sadb_x_nat_t_type *type = skb_put_zero(skb, sizeof(*type));

	type->sadb_x_nat_t_type_len = sizeof(*type) / sizeof(u64);
	type->sadb_x_nat_t_type_exttype = SADB_X_EXT_NAT_T_TYPE;
	if (encap) {
		type->sadb_x_nat_t_type_type = encap->encap_type;
		pfkey_put_nat_t_port(skb, SADB_X_EXT_NAT_T_SPORT, encap->encap_sport);
		pfkey_put_nat_t_port(skb, SADB_X_EXT_NAT_T_DPORT, encap->encap_dport);
	}
}

/* <base, SA(*), address(SD), new_address(SD), [NAT-T]> */
static struct sk_buff *pfkey_addrupdate_answer(const struct sadb_msg *orig,
					       const struct xfrm_state *x,
					       const struct pfkey_addrupdate *u, bool nat_t)
{
	struct sadb_msg *hdr;
	struct sk_buff *skb;
	struct sadb_sa *sa;

	skb = alloc_skb(sizeof(*hdr) + sizeof(*sa) +
			4 * (sizeof(struct sadb_address) + pfkey_sockaddr_size(AF_INET6)) +
			sizeof(struct sadb_x_nat_t_type) + 2 * sizeof(struct sadb_x_nat_t_port),
			GFP_KERNEL);
	if (!skb)
		return NULL;

	hdr = skb_put(skb, sizeof(*hdr));
	pfkey_hdr_dup(hdr, orig);
	hdr->sadb_msg_errno = 0;

	sa = skb_put_zero(skb, sizeof(*sa));
	sa->sadb_sa_len = sizeof(*sa) / sizeof(u64);
	sa->sadb_sa_exttype = SADB_EXT_SA;
	sa->sadb_sa_spi = x->id.spi;

	pfkey_put_host(skb, SADB_EXT_ADDRESS_SRC, &x->props.saddr, x->props.family);
	pfkey_put_host(skb, SADB_EXT_ADDRESS_DST, &x->id.daddr, x->props.family);
	pfkey_put_host(skb, SADB_X_EXT_NEW_ADDRESS_SRC, &u->saddr, u->family);
	pfkey_put_host(skb, SADB_X_EXT_NEW_ADDRESS_DST, &u->daddr, u->family);
	if (nat_t)
		pfkey_put_nat_t(skb, u->encap);

	hdr->sadb_msg_len = skb->len / sizeof(u64);
	return skb;
}

static int pfkey_addrupdate(struct sock *sk, struct sk_buff *skb, const struct sadb_msg *hdr,
			    void * const *ext_hdrs)
{
	struct net *net = sock_net(sk);
	struct pfkey_addrupdate u = {};
	struct sk_buff *answer;
	struct xfrm_state *x;
	int err;

	if (!ext_hdrs[SADB_EXT_SA - 1] ||
	    !present_and_same_family(ext_hdrs[SADB_EXT_ADDRESS_SRC - 1],
				     ext_hdrs[SADB_EXT_ADDRESS_DST - 1]) ||
	    hdr->sadb_msg_satype == SADB_SATYPE_UNSPEC ||
	    !pfkey_satype2proto(hdr->sadb_msg_satype))
		return -EINVAL;
	err = pfkey_addrupdate_ends(&u, ext_hdrs);
	if (err)
		return err;

	x = pfkey_addrupdate_find(net, hdr, ext_hdrs);
	if (IS_ERR(x))
		return PTR_ERR(x);
	err = pfkey_addrupdate_encap(&u, x, ext_hdrs);
	if (err)
		goto out;
	pfkey_addrupdate_sel(&u, x);

	err = -ENOBUFS;
	answer = pfkey_addrupdate_answer(hdr, x, &u, ext_hdrs[SADB_X_EXT_NAT_T_TYPE - 1]);
	if (!answer)
		goto out;
	err = 0;
	if (!pfkey_addrupdate_is_noop(&u, x))
		err = pfkey_addrupdate_move(x, &u, hdr);
	if (err)
		kfree_skb(answer);
	else
		pfkey_broadcast(answer, GFP_KERNEL, BROADCAST_ALL, NULL, net);
out:
	xfrm_state_put(x);
	return err;
}
#else
static int pfkey_addrupdate(struct sock *sk, struct sk_buff *skb, const struct sadb_msg *hdr,
			    void * const *ext_hdrs)
{
	return -ENOPROTOOPT;
}
#endif
