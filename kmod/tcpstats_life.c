/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * What is noted of a connection while it lives, and reported when it ends.
 *
 * The hooks of TCP note what is gone by the end.  The kernel destroys the item
 * when it discards the tcpcb, with all the counters still there: this is the end.
 */

#include "tcpstats_var.h"

#include <sys/hhook.h>
#include <sys/jail.h>

#include <netinet/cc/cc.h>

_Static_assert(TCPSTATS_COMM_LEN == MAXCOMLEN + 1, "names of processes");

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

void
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

void
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

int
tcpstats_life_hook(int32_t type __unused, int32_t id, void *udata __unused,
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
void
tcpstats_life_dtor(void *mem, int size __unused, void *arg __unused)
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
	tcpstats_ends_put(tl, inp);
	tl->tl_tp = NULL;
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
tcpstats_life_fill(struct tcpstats_end *te, const struct tcpstats_life *tl,
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
