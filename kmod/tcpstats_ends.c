/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * How connections are seen to end: a khelp(9) helper that keeps an item with
 * every tcpcb.  The hooks of TCP note in it what is gone by the end; the kernel
 * destroys the item when it discards the tcpcb, with all the counters still
 * there, and this is the end.
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

#include <netinet/cc/cc.h>

_Static_assert(TCPSTATS_COMM_LEN == MAXCOMLEN + 1, "names of processes");

/* What is kept with a tcpcb, under the write lock of its pcb. */
struct tcpstats_life {
	struct tcpcb	*tl_tp;		/* NULL: never connected */
	sbintime_t	tl_began;
	sbintime_t	tl_established;
	/* How far the sequence numbers went, and of that the low 32 bits. */
	uint64_t	tl_sent;
	uint64_t	tl_received;
	uint32_t	tl_snd;
	uint32_t	tl_rcv;
	uint16_t	tl_states;	/* that were seen */
	uint16_t	tl_flags;	/* TCPSTATS_EF_* */
	uint8_t		tl_state;	/* that was seen last */
	char		tl_cc[TCPSTATS_CC_LEN];
	struct tcpstats_process tl_first;
	struct tcpstats_process tl_last;
};

static struct sx tcpstats_ends_sx;
SX_SYSINIT(tcpstats_ends, &tcpstats_ends_sx, "tcpstats ends");
static u_int	tcpstats_ends_users;	/* readers, and the sysctl */
static bool	tcpstats_ends_dying;	/* the module goes */
static int	tcpstats_ends_always;	/* what the sysctl was set to */
static struct sysctl_ctx_list tcpstats_ends_oids;

static int	tcpstats_ends_hook(int32_t type, int32_t id, void *udata,
		    void *ctx, void *item, struct osd *osd);

static struct hookinfo tcpstats_ends_hooks[] = {
	{
		.hook_type = HHOOK_TYPE_TCP,
		.hook_id = HHOOK_TCP_EST_IN,
		.hook_func = tcpstats_ends_hook,
	},
	{
		.hook_type = HHOOK_TYPE_TCP,
		.hook_id = HHOOK_TCP_EST_OUT,
		.hook_func = tcpstats_ends_hook,
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

static inline struct inpcb *
tcpstats_inpcb(struct tcpcb *tp)
{
#if __FreeBSD_version >= 1400000
	return (tptoinpcb(tp));
#else
	return (tp->t_inpcb);
#endif
}

/*
 * What the hooks note.  The pcb is write-locked; nothing sleeps or allocates.
 */

/*
 * Whether the current thread sends for the connection's own process.  Stacks
 * that pace also send from userret(), where any process's thread runs tcp_hpts
 * when it returns from a system call: a stranger is at least of another user or
 * jail.
 */
static bool
tcpstats_sends_itself(struct tcpcb *tp, bool connects)
{
	const struct ucred *cr = curthread->td_ucred;
	const struct ucred *inpcr = tcpstats_inpcb(tp)->inp_cred;

	return (connects ||
	    strcmp(tp->t_fb->tfb_tcp_block_name, "freebsd") == 0 ||
	    (cr->cr_ruid == inpcr->cr_ruid &&
	    cr->cr_prison == inpcr->cr_prison));
}

static void
tcpstats_see_process(struct tcpstats_life *tl, struct tcpcb *tp)
{
	struct tcpstats_process *last = &tl->tl_last;
	struct thread *td = curthread;
	struct proc *p = td->td_proc;
	bool connects;

	/* Timers and received packets have threads of the kernel's own. */
	if (last->tp_pid == p->p_pid ||
	    (p->p_flag & (P_KPROC | P_SYSTEM)) != 0)
		return;
	connects = tp->t_state == TCPS_SYN_SENT && tl->tl_first.tp_pid == 0;
	if (!tcpstats_sends_itself(tp, connects))
		return;
	last->tp_pid = p->p_pid;
	last->tp_started =
	    (uint64_t)p->p_stats->p_start.tv_sec * 1000000000 +
	    p->p_stats->p_start.tv_usec * 1000;
	last->tp_uid = td->td_ucred->cr_ruid;
	last->tp_jail = td->td_ucred->cr_prison->pr_id;
	strlcpy(last->tp_comm, p->p_comm, sizeof(last->tp_comm));
	if (connects)
		tl->tl_first = *last;
}

static void
tcpstats_see_state(struct tcpstats_life *tl, u_int state)
{

	tl->tl_states |= 1u << state;
	switch (state) {
	case TCPS_CLOSED:
		/* The last that it was is of interest. */
		return;
	case TCPS_CLOSE_WAIT:
	case TCPS_CLOSING:
	case TCPS_LAST_ACK:
	case TCPS_TIME_WAIT:
		tl->tl_flags |= TCPSTATS_EF_FIN_RCVD;
		break;
	}
	tl->tl_state = state;
}

/*
 * Sequence numbers only grow.  They cannot grow by 2^31 between two segments.
 */
static void
tcpstats_see_bytes(struct tcpstats_life *tl, const struct tcpcb *tp)
{
	uint32_t grown, rcv, snd;

	snd = tp->snd_max - tp->iss;
	grown = snd - tl->tl_snd;
	if ((int32_t)grown > 0) {
		tl->tl_sent += grown;
		tl->tl_snd = snd;
	}
	rcv = tp->rcv_nxt - tp->irs;
	grown = rcv - tl->tl_rcv;
	if ((int32_t)grown > 0) {
		tl->tl_received += grown;
		tl->tl_rcv = rcv;
	}
}

static void
tcpstats_see_cc(struct tcpstats_life *tl, const struct tcpcb *tp)
{
	const struct cc_algo *cc;

#if __FreeBSD_version >= 1400000
	cc = tp->t_cc;
#else
	cc = tp->cc_algo;
#endif
	if (cc != NULL && strncmp(tl->tl_cc, cc->name, sizeof(tl->tl_cc)) != 0)
		strlcpy(tl->tl_cc, cc->name, sizeof(tl->tl_cc));
}

static int
tcpstats_ends_hook(int32_t type __unused, int32_t id, void *udata __unused,
    void *ctx, void *item, struct osd *osd __unused)
{
	struct tcpstats_life *tl = item;
	const struct tcp_hhook_data *data = ctx;
	struct tcpcb *tp = data->tp;

	INP_WLOCK_ASSERT(tcpstats_inpcb(tp));
	if (tl->tl_tp == NULL) {
		tl->tl_tp = tp;
		/* Where it is accepted, the handshake was before. */
		if (tp->t_state == TCPS_SYN_SENT)
			tl->tl_began = sbinuptime();
	}
	if (tl->tl_state != tp->t_state) {
		tcpstats_see_state(tl, tp->t_state);
		tcpstats_see_cc(tl, tp);
		if (tl->tl_established == 0 &&
		    tp->t_state >= TCPS_ESTABLISHED)
			tl->tl_established = sbinuptime();
	}
	tcpstats_see_bytes(tl, tp);
	if (id == HHOOK_TCP_EST_OUT) {
		tcpstats_see_process(tl, tp);
		if ((data->th->th_flags & TH_RST) != 0)
			tl->tl_flags |= TCPSTATS_EF_RST_SENT;
	}
	return (0);
}

/*
 * The end.  khelp(9) destroys the item when TCP discards the tcpcb; the pcb is
 * write-locked, and khelp's own lock is held.
 */
static void
tcpstats_ends_dtor(void *mem, int size __unused, void *arg __unused)
{
	struct tcpstats_life *tl = mem;
	struct tcpcb *tp;
	struct inpcb *inp;

	if ((tp = tl->tl_tp) == NULL)
		return;
	tl->tl_tp = NULL;
	inp = tcpstats_inpcb(tp);
	INP_WLOCK_ASSERT(inp);
	/* FreeBSD 13 discards it when TIME_WAIT begins. */
	if (tp->t_state != TCPS_CLOSED)
		tcpstats_see_state(tl, tp->t_state);
	tcpstats_see_bytes(tl, tp);
	tl->tl_tp = tp;
	tcpstats_ends_tell(tl, inp);
	tl->tl_tp = NULL;
}

static int
tcpstats_ends_ctor(void *mem, int size, void *arg __unused, int flags __unused)
{

	memset(mem, 0, size);
	return (0);
}

/*
 * Sequence numbers to payload: without our SYN, and a FIN.
 */
static uint64_t
tcpstats_payload(uint64_t n, bool fin)
{

	n -= MIN(n, 1);
	return (fin ? n - MIN(n, 1) : n);
}

void
tcpstats_ends_fill(struct tcpstats_end *te, const struct tcpstats_life *tl,
    struct inpcb *inp)
{
	const struct tcpcb *tp = tl->tl_tp;
	struct tcpstats_record *tr = &te->te_record;

	memset(te, 0, sizeof(*te));
	tcpstats_fill(tr, inp);
	tcpstats_fill_tcpcb(tr, tp, sbinuptime());
	tr->tr_state = tl->tl_state;
	/* From 14 on TCP has let go of it by now. */
	if (tr->tr_cc[0] == '\0')
		strlcpy(tr->tr_cc, tl->tl_cc, sizeof(tr->tr_cc));
	te->te_began = sbttons(tl->tl_began);
	te->te_established = sbttons(tl->tl_established);
	te->te_ended = sbttons(sbinuptime());
	te->te_sent = tcpstats_payload(tl->tl_sent,
	    (tp->t_flags & TF_SENTFIN) != 0);
	te->te_received = tcpstats_payload(tl->tl_received,
	    (tl->tl_flags & TCPSTATS_EF_FIN_RCVD) != 0);
	te->te_flags = tl->tl_flags;
	te->te_states = tl->tl_states;
	te->te_info = tp->t_end_info_status;
	if (inp->inp_socket != NULL)
		te->te_error = inp->inp_socket->so_error;
	te->te_first = tl->tl_first;
	te->te_last = tl->tl_last;
}

/*
 * Starting and stopping.
 */

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
	    tcpstats_ends_ctor, tcpstats_ends_dtor, NULL, NULL, UMA_ALIGN_PTR,
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
