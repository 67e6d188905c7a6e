// SPDX-License-Identifier: GPL-2.0-only
/*
 * What addrupdate.c needs of kernels that are not the newest. Included by it.
 */

#ifdef XFRM_MSG_MIGRATE_STATE
/* xfrm_state_migrate_create() copies the IV generator of AEAD ciphers alone:
 * without theirs, others get another transform, which for CTR is a wrong one.
 */
static struct xfrm_state *pfkey_restore_geniv(struct xfrm_state *xc, const struct xfrm_state *x)
{
	int err;

	if (xc->geniv == x->geniv)
		return xc;
	xc->geniv = x->geniv;
	xc->type->destructor(xc);
	err = xc->type->init_state(xc, NULL);
	if (err) {
		xc->km.state = XFRM_STATE_DEAD;
		xfrm_state_put(xc);
		return ERR_PTR(err);
	}
	return xc;
}
#else
/* Before 7.2, whatever copies an SA puts the copy into the tables too. */

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
#error "SAs of this kernel have parts that are not copied here"
#endif

static int pfkey_clone_algorithms(struct xfrm_state *xc, const struct xfrm_state *x)
{
	if (x->aead)
		xc->aead = xfrm_algo_aead_clone(x->aead);
	if (x->aalg)
		xc->aalg = xfrm_algo_auth_clone(x->aalg);
	if (x->ealg)
		xc->ealg = xfrm_algo_clone(x->ealg);
	if (x->calg)
		xc->calg = xfrm_algo_clone(x->calg);
	xc->geniv = x->geniv;

	if (!xc->aead != !x->aead || !xc->aalg != !x->aalg ||
	    !xc->ealg != !x->ealg || !xc->calg != !x->calg)
		return -ENOMEM;
	return 0;
}

static int pfkey_clone_encap(struct xfrm_state *xc, const struct xfrm_state *x,
			     const struct xfrm_encap_tmpl *encap)
{
	if (!encap)
		return 0;
	xc->encap = kmemdup(encap, sizeof(*encap), GFP_KERNEL);
	if (!xc->encap)
		return -ENOMEM;
	xc->mapping_maxage = x->mapping_maxage;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	xc->nat_keepalive_interval = x->nat_keepalive_interval;
#endif
	return 0;
}

static int pfkey_clone_security(struct xfrm_state *xc, const struct xfrm_sec_ctx *security)
{
	struct xfrm_user_sec_ctx *uctx;
	int size, err;

	if (!security)
		return 0;
	size = sizeof(*uctx) + security->ctx_len;
	uctx = kmalloc(size, GFP_KERNEL);
	if (!uctx)
		return -ENOMEM;
	uctx->exttype = XFRMA_SEC_CTX;
	uctx->len = size;
	uctx->ctx_doi = security->ctx_doi;
	uctx->ctx_alg = security->ctx_alg;
	uctx->ctx_len = security->ctx_len;
	memcpy(uctx + 1, security->ctx_str, security->ctx_len);
	err = security_xfrm_state_alloc(xc, uctx);
	kfree(uctx);
	return err;
}

static struct xfrm_state *pfkey_addrupdate_clone(struct xfrm_state *x,
						 const struct pfkey_addrupdate *u)
{
	struct xfrm_state *xc = xfrm_state_alloc(xs_net(x));
	int err;

	if (!xc)
		return ERR_PTR(-ENOMEM);

	xc->id = x->id;
	xc->id.daddr = u->daddr;
	xc->props = x->props;
	xc->props.family = u->family;
	xc->props.saddr = u->saddr;
	xc->sel = u->sel;
	xc->lft = x->lft;
	xc->mark = x->mark;
	xc->if_id = x->if_id;
	xc->tfcpad = x->tfcpad;
	xc->replay_maxdiff = x->replay_maxdiff;
	xc->replay_maxage = x->replay_maxage;
	xc->km.seq = x->km.seq;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
	xc->dir = x->dir;
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	xc->pcpu_num = x->pcpu_num;
#endif

	err = pfkey_clone_algorithms(xc, x);
	if (!err)
		err = pfkey_clone_encap(xc, x, u->encap);
	if (!err)
		err = pfkey_clone_security(xc, x->security);
	if (!err && x->replay_esn)
		err = xfrm_replay_clone(xc, x);
	if (!err && x->coaddr) {
		xc->coaddr = kmemdup(x->coaddr, sizeof(*x->coaddr), GFP_KERNEL);
		if (!xc->coaddr)
			err = -ENOMEM;
	}
	if (!err)
		err = xfrm_init_state(xc);
	if (err) {
		xc->km.state = XFRM_STATE_DEAD;
		xfrm_state_put(xc);
		return ERR_PTR(err);
	}
	return xc;
}

/* x->lock is held. */
static void xfrm_migrate_sync(struct xfrm_state *xc, const struct xfrm_state *x)
{
	xc->curlft = x->curlft;
	xc->replay = x->replay;
	xc->preplay = x->preplay;
	if (x->replay_esn) {
		memcpy(xc->replay_esn, x->replay_esn, xfrm_replay_state_esn_len(x->replay_esn));
		memcpy(xc->preplay_esn, x->preplay_esn, xfrm_replay_state_esn_len(x->preplay_esn));
	}
}

static void pfkey_addrupdate_notify(const struct xfrm_state *x, const struct xfrm_state *xc,
				    const struct sadb_msg *hdr, struct net *net)
{
	/* No message of XFRM tells of one SA alone. */
}
#endif
