/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * The khelp(9) helper that keeps an item, a struct tcpstats_life, with every
 * tcpcb.
 *
 * The helper is registered while somebody wants ends, and only then.  Without
 * it a segment costs what it costs without this module: TCP sees that nobody
 * has hooked it.
 */

#include "tcpstats_var.h"

#include <sys/epoch.h>
#include <sys/hhook.h>
#include <sys/jail.h>
#include <sys/khelp.h>
#include <sys/module_khelp.h>
#include <sys/osd.h>
#include <sys/refcount.h>

#include <vm/uma.h>

static struct sx tcpstats_ends_sx;
SX_SYSINIT(tcpstats_ends, &tcpstats_ends_sx, "tcpstats ends");
static u_int	tcpstats_ends_users;	/* readers, and the sysctl */
static bool	tcpstats_ends_dying;	/* the module goes */
static int	tcpstats_ends_always;	/* what the sysctl was set to */
static struct sysctl_ctx_list tcpstats_ends_oids;

static struct hookinfo tcpstats_ends_hooks[] = {
	{
		.hook_type = HHOOK_TYPE_TCP,
		.hook_id = HHOOK_TCP_EST_IN,
		.hook_func = tcpstats_life_hook,
	},
	{
		.hook_type = HHOOK_TYPE_TCP,
		.hook_id = HHOOK_TCP_EST_OUT,
		.hook_func = tcpstats_life_hook,
	},
};

static struct helper tcpstats_ends_helper = {
	.h_name = "tcpstats",
	.h_flags = HELPER_NEEDS_OSD,
	.h_hooks = tcpstats_ends_hooks,
	.h_nhooks = nitems(tcpstats_ends_hooks),
};

static inline struct osd *
tcpstats_osd(struct tcpcb *tp)
{
#if __FreeBSD_version >= 1400000
	return (&tp->t_osd);
#else
	return (tp->osd);
#endif
}

static int
tcpstats_ends_ctor(void *mem, int size, void *arg __unused, int flags __unused)
{

	memset(mem, 0, size);
	return (0);
}

/*
 * Give an item to a connection that is older than the helper.  The pcb is
 * write-locked.  Where there is no memory it has none, as if it had ended
 * before.
 */
static void
tcpstats_ends_adopt(struct tcpcb *tp, void *arg __unused)
{
	struct tcpstats_life *tl;

	if (tp->t_state == TCPS_LISTEN || khelp_get_osd(tcpstats_osd(tp),
	    tcpstats_ends_helper.h_id) != NULL)
		return;
	tl = uma_zalloc(tcpstats_ends_helper.h_zone, M_NOWAIT);
	if (tl == NULL)
		return;
	if (osd_set(OSD_KHELP, tcpstats_osd(tp), tcpstats_ends_helper.h_id,
	    tl) != 0) {
		uma_zfree(tcpstats_ends_helper.h_zone, tl);
		return;
	}
	refcount_acquire(&tcpstats_ends_helper.h_refcount);
	if (tp->t_state == TCPS_CLOSED)
		return;	/* has not connected yet, or is over */
	tl->tl_tp = tp;
	tl->tl_flags |= TCPSTATS_EF_TAKEN;
	tl->tl_snd = tp->snd_max - tp->iss;
	tl->tl_sent = tl->tl_snd;
	tl->tl_rcv = tp->rcv_nxt - tp->irs;
	tl->tl_received = tl->tl_rcv;
	if (tp->t_starttime != 0)
		tl->tl_established = getsbinuptime() -
		    (u_int)(ticks - tp->t_starttime) * tick_sbt;
	tcpstats_see_state(tl, tp->t_state);
	tcpstats_see_cc(tl, tp);
}

/*
 * Take a connection's item away.  The pcb is write-locked.
 */
static void
tcpstats_ends_strip(struct tcpcb *tp, void *arg)
{
	struct tcpstats_life *tl;
	u_long *stripped = arg;

	tl = khelp_get_osd(tcpstats_osd(tp), tcpstats_ends_helper.h_id);
	if (tl == NULL)
		return;
	tl->tl_tp = NULL;	/* this is no end */
	osd_del(OSD_KHELP, tcpstats_osd(tp), tcpstats_ends_helper.h_id);
	uma_zfree(tcpstats_ends_helper.h_zone, tl);
	refcount_release(&tcpstats_ends_helper.h_refcount);
	(*stripped)++;
}

/*
 * Call visit for every tcpcb of the current vnet, its pcb write-locked.
 */
static void
tcpstats_each_tcpcb(void (*visit)(struct tcpcb *, void *), void *arg)
{
	struct inpcb *inp;
#if __FreeBSD_version >= 1400000
	struct inpcb_iterator inpi = INP_ALL_ITERATOR(&V_tcbinfo,
	    INPLOOKUP_WLOCKPCB);

	while ((inp = inp_next(&inpi)) != NULL)
		visit(intotcpcb(inp), arg);
#else
	struct epoch_tracker et;
	struct tcpcb *tp;

	NET_EPOCH_ENTER(et);
	for (inp = CK_LIST_FIRST(V_tcbinfo.ipi_listhead); inp != NULL;
	    inp = CK_LIST_NEXT(inp, inp_list)) {
		INP_WLOCK(inp);
		if ((inp->inp_flags2 & INP_FREED) == 0 &&
		    (inp->inp_flags & INP_TIMEWAIT) == 0 &&
		    (tp = intotcpcb(inp)) != NULL)
			visit(tp, arg);
		INP_WUNLOCK(inp);
	}
	NET_EPOCH_EXIT(et);
#endif
}

static void
tcpstats_everywhere(void (*visit)(struct tcpcb *, void *), void *arg)
{
	VNET_ITERATOR_DECL(vnet_iter);

	VNET_LIST_RLOCK();
	VNET_FOREACH(vnet_iter) {
		CURVNET_SET(vnet_iter);
		tcpstats_each_tcpcb(visit, arg);
		CURVNET_RESTORE();
	}
	VNET_LIST_RUNLOCK();
}

static int
tcpstats_ends_start(void)
{
	struct helper *h = &tcpstats_ends_helper;
	int error;

	sx_assert(&tcpstats_ends_sx, SA_XLOCKED);
	/* No limit: where an item cannot be had, socket(2) fails. */
	h->h_zone = uma_zcreate("tcpstats_life", sizeof(struct tcpstats_life),
	    tcpstats_ends_ctor, tcpstats_life_dtor, NULL, NULL, UMA_ALIGN_PTR,
	    0);
	h->h_classes = HELPER_CLASS_TCP;
	error = khelp_register_helper(h);
	if (error != 0) {
		uma_zdestroy(h->h_zone);
		return (error);
	}
	/* A tcpcb made from now on has an item from its beginning. */
	tcpstats_everywhere(tcpstats_ends_adopt, NULL);
	return (0);
}

static void
tcpstats_ends_stop(void)
{
	struct helper *h = &tcpstats_ends_helper;
	u_long stripped;
	int barren;

	sx_assert(&tcpstats_ends_sx, SA_XLOCKED);
	/*
	 * New tcpcbs get no item any more.  HELPER_NEEDS_OSD stays, or khelp(9)
	 * would not free those that there are.
	 */
	h->h_classes = 0;
	for (barren = 0;;) {
		stripped = 0;
		tcpstats_everywhere(tcpstats_ends_strip, &stripped);
		if (h->h_refcount == 0 && khelp_deregister_helper(h) == 0)
			break;
		/*
		 * A tcpcb was being made, or discarded.  khelp_init_osd() leaks
		 * an item where osd_set() has no memory; its tcpcb does not
		 * have it, so the count would never fall.
		 */
		barren = stripped == 0 ? barren + 1 : 0;
		if (barren == 100) {
			printf("tcpstats: %u items were lost by khelp\n",
			    h->h_refcount);
			refcount_init(&h->h_refcount, 0);
		}
		pause("tcpend", MAX(hz / 100, 1));
	}
	uma_zdestroy(h->h_zone);
}

/*
 * Somebody wants ends.
 */
int
tcpstats_ends_hold(void)
{
	int error;

	error = 0;
	sx_xlock(&tcpstats_ends_sx);
	if (tcpstats_ends_dying)
		error = ENXIO;
	else if (tcpstats_ends_users == 0)
		error = tcpstats_ends_start();
	if (error == 0)
		tcpstats_ends_users++;
	sx_xunlock(&tcpstats_ends_sx);
	return (error);
}

void
tcpstats_ends_release(void)
{

	sx_xlock(&tcpstats_ends_sx);
	KASSERT(tcpstats_ends_users > 0, ("%s: nobody", __func__));
	if (--tcpstats_ends_users == 0)
		tcpstats_ends_stop();
	sx_xunlock(&tcpstats_ends_sx);
}

static int
tcpstats_ends_set(int always)
{
	int error, was;

	always = always != 0;
	if (always && (error = tcpstats_ends_hold()) != 0)
		return (error);
	sx_xlock(&tcpstats_ends_sx);
	was = tcpstats_ends_always;
	tcpstats_ends_always = always;
	sx_xunlock(&tcpstats_ends_sx);
	if (was)
		tcpstats_ends_release();
	return (0);
}

static int
tcpstats_ends_sysctl(SYSCTL_HANDLER_ARGS)
{
	int always, error;

	always = tcpstats_ends_always;
	error = sysctl_handle_int(oidp, &always, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	if (!tcpstats_ends_supported())
		return (EOPNOTSUPP);
	return (tcpstats_ends_set(always));
}

/*
 * Whether the kernel has the hooks: options TCP_HHOOK, which is in GENERIC.
 */
bool
tcpstats_ends_supported(void)
{
	struct hhook_head *hhh;

	CURVNET_SET(TD_TO_VNET(curthread));
	hhh = hhook_head_get(HHOOK_TYPE_TCP, HHOOK_TCP_EST_OUT);
	if (hhh != NULL)
		hhook_head_release(hhh);
	CURVNET_RESTORE();
	return (hhh != NULL);
}

/*
 * The sysctl is a dynamic one: the kernel waits for the handlers of these,
 * which sleep here, and of no others, before a module goes.
 */
void
tcpstats_ends_load(void)
{

	sysctl_ctx_init(&tcpstats_ends_oids);
	SYSCTL_ADD_PROC(&tcpstats_ends_oids,
	    SYSCTL_STATIC_CHILDREN(_net_inet_tcp_tcpstats), OID_AUTO, "ends",
	    CTLTYPE_INT | CTLFLAG_RW | CTLFLAG_MPSAFE, NULL, 0,
	    tcpstats_ends_sysctl, "I",
	    "Follow connections to their ends also while nobody reads them");
}

void
tcpstats_ends_unload(void)
{

	sysctl_ctx_free(&tcpstats_ends_oids);
	sx_xlock(&tcpstats_ends_sx);
	tcpstats_ends_dying = true;
	sx_xunlock(&tcpstats_ends_sx);
	(void)tcpstats_ends_set(0);
	KASSERT(tcpstats_ends_users == 0, ("%s: %u users", __func__,
	    tcpstats_ends_users));
}
