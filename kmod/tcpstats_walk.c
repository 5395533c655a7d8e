/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * Walks over all connections.
 *
 * A walk copies every connection into memory that was allocated before, so that
 * nothing sleeps while a pcb is locked, and what is read is of one walk however
 * slowly it is read.
 */

#include "tcpstats_var.h"

#include <sys/epoch.h>
#include <sys/jail.h>

#define	TCPSTATS_MAX_RECORDS	262144	/* 92 MiB */
#define	TCPSTATS_MAX_WALKS	4	/* to one that did not outgrow memory */

/* A walk under way. */
struct tcpstats_pass {
	struct ucred	*tw_cred;
	struct tcpstats_chunk *tw_chunk; /* to be filled next */
	struct tcpstats_trailer tw_totals;
	uint64_t	tw_embryos;	/* pcbs in SYN_RECEIVED */
	uint64_t	tw_syn_received; /* pcbs and syncache entries */
	sbintime_t	tw_now;
};

static u_long tcpstats_max_records = TCPSTATS_MAX_RECORDS;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, max_records, CTLFLAG_RWTUN,
    &tcpstats_max_records, 0, "Records held for all readers at most");

static u_int tcpstats_max_idle = 10;
SYSCTL_UINT(_net_inet_tcp_tcpstats, OID_AUTO, max_idle, CTLFLAG_RWTUN,
    &tcpstats_max_idle, 0,
    "Seconds without a read after which a walk may be given up for another");

static volatile u_long tcpstats_reserved;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, held_records, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_reserved), 0,
    "Records held for all readers now");

static volatile u_long tcpstats_walks;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, walks, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_walks), 0, "Walks over all connections");

static volatile u_long tcpstats_records;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, records, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_records), 0, "Records made");

static LIST_HEAD(, tcpstats_open) tcpstats_list =
    LIST_HEAD_INITIALIZER(tcpstats_list);
static struct sx tcpstats_opens_sx;
SX_SYSINIT(tcpstats_opens, &tcpstats_opens_sx, "tcpstats opens");

/*
 * Memory.
 */

/*
 * Take up to want records of what all readers together may hold, and return how
 * many were granted.
 */
static u_long
tcpstats_take(u_long want)
{
	u_long granted, held, max;

	held = atomic_load_long(&tcpstats_reserved);
	do {
		max = tcpstats_max_records;
		granted = held < max ? MIN(want, max - held) : 0;
		if (granted == 0)
			return (0);
	} while (!atomic_fcmpset_long(&tcpstats_reserved, &held,
	    held + granted));
	return (granted);
}

static void
tcpstats_unreserve(struct tcpstats_open *to, u_long n)
{

	KASSERT(n <= to->to_reserved, ("%s: %lu of %lu", __func__, n,
	    to->to_reserved));
	to->to_reserved -= n;
	atomic_subtract_long(&tcpstats_reserved, n);
}

/*
 * Allocate room for n records.  Sleeps.
 */
static void
tcpstats_chunks_alloc(struct tcpstats_open *to, u_long n)
{
	struct tcpstats_chunk *tc;
	u_long size;

	sx_assert(&to->to_lock, SA_XLOCKED);
	WITNESS_WARN(WARN_GIANTOK | WARN_SLEEPOK, NULL, "%s", __func__);
	for (; n > 0; n -= size) {
		size = MIN(n, TCPSTATS_CHUNK_RECORDS);
		tc = malloc(offsetof(struct tcpstats_chunk, tc_records[size]),
		    M_TCPSTATS, M_WAITOK);
		tc->tc_size = size;
		tc->tc_count = 0;
		STAILQ_INSERT_TAIL(&to->to_chunks, tc, tc_link);
	}
}

/*
 * Give back the chunks without records.  A chunk with some keeps its room.
 */
static void
tcpstats_chunks_trim(struct tcpstats_open *to)
{
	struct tcpstats_chunk *next, *tc;

	STAILQ_FOREACH_SAFE(tc, &to->to_chunks, tc_link, next) {
		if (tc->tc_count != 0)
			continue;
		STAILQ_REMOVE(&to->to_chunks, tc, tcpstats_chunk, tc_link);
		tcpstats_unreserve(to, tc->tc_size);
		free(tc, M_TCPSTATS);
	}
}

void
tcpstats_chunk_drop(struct tcpstats_open *to)
{
	struct tcpstats_chunk *tc;

	tc = STAILQ_FIRST(&to->to_chunks);
	STAILQ_REMOVE_HEAD(&to->to_chunks, tc_link);
	tcpstats_unreserve(to, tc->tc_size);
	free(tc, M_TCPSTATS);
}

static void
tcpstats_walk_drop(struct tcpstats_open *to)
{

	while (!STAILQ_EMPTY(&to->to_chunks))
		tcpstats_chunk_drop(to);
	KASSERT(to->to_reserved == 0, ("%s: %lu records leak", __func__,
	    to->to_reserved));
	to->to_index = 0;
	to->to_offset = 0;
	to->to_line_next = to->to_line_len = 0;
	to->to_phase = PHASE_NONE;
}

/*
 * Give up the walks that nobody has read from for a while, so that one reader
 * that stopped does not keep all memory from the others.
 */
static void
tcpstats_reclaim(struct tcpstats_open *self)
{
	struct tcpstats_open *to;
	sbintime_t before;

	before = sbinuptime() - (sbintime_t)tcpstats_max_idle * SBT_1S;
	sx_slock(&tcpstats_opens_sx);
	LIST_FOREACH(to, &tcpstats_list, to_link) {
		/* One whose lock is held is being read. */
		if (to == self || !sx_try_xlock(&to->to_lock))
			continue;
		if (to->to_reserved != 0 && to->to_used < before) {
			tcpstats_walk_drop(to);
			to->to_stale = true;
		}
		sx_xunlock(&to->to_lock);
	}
	sx_sunlock(&tcpstats_opens_sx);
}

static u_long
tcpstats_reserve(struct tcpstats_open *to, u_long want)
{
	u_long granted;

	sx_assert(&to->to_lock, SA_XLOCKED);
	granted = tcpstats_take(want);
	if (granted < want) {
		tcpstats_reclaim(to);
		granted += tcpstats_take(want - granted);
	}
	to->to_reserved = granted;
	return (granted);
}

void
tcpstats_walk_init(struct tcpstats_open *to)
{

	sx_init(&to->to_lock, "tcpstats");
	STAILQ_INIT(&to->to_chunks);
	sx_xlock(&tcpstats_opens_sx);
	LIST_INSERT_HEAD(&tcpstats_list, to, to_link);
	sx_xunlock(&tcpstats_opens_sx);
}

void
tcpstats_walk_fini(struct tcpstats_open *to)
{

	sx_xlock(&tcpstats_opens_sx);
	LIST_REMOVE(to, to_link);
	sx_xunlock(&tcpstats_opens_sx);
	sx_xlock(&to->to_lock);
	tcpstats_walk_drop(to);
	sx_xunlock(&to->to_lock);
	sx_destroy(&to->to_lock);
}

/*
 * Walks.
 */

/*
 * Return room for one more record, NULL if there is none.
 */
static struct tcpstats_record *
tcpstats_record_next(struct tcpstats_pass *tw)
{
	struct tcpstats_chunk *tc;

	if ((tc = tw->tw_chunk) != NULL && tc->tc_count == tc->tc_size)
		tc = tw->tw_chunk = STAILQ_NEXT(tc, tc_link);
	if (tc == NULL)
		return (NULL);
	return (&tc->tc_records[tc->tc_count++]);
}

/*
 * Look at one pcb, which is locked.  Those younger than the generation came
 * while the list was walked; they are left to the next walk.
 */
static void
tcpstats_visit(struct tcpstats_pass *tw, struct inpcb *inp, inp_gen_t gen)
{
	struct tcpstats_record *tr;
	const struct tcpcb *tp;
#if __FreeBSD_version < 1400000
	const struct tcptw *twait = NULL;
#endif
	u_int state;

	INP_RLOCK_ASSERT(inp);
	tw->tw_totals.tt_seen++;
	tp = NULL;
	if (inp->inp_gencnt > gen)
		goto fresh;
#if __FreeBSD_version < 1400000
	if ((inp->inp_flags2 & INP_FREED) != 0)
		goto fresh;
	if ((inp->inp_flags & INP_TIMEWAIT) != 0) {
		if ((twait = intotw(inp)) == NULL)
			goto fresh;
		state = TCPS_TIME_WAIT;
	} else
#endif
	{
		if ((tp = intotcpcb(inp)) == NULL)
			goto fresh;
		state = tp->t_state;
	}
	if (state == TCPS_SYN_RECEIVED)
		tw->tw_embryos++;
	if (cr_canseeinpcb(tw->tw_cred, inp) != 0) {
		tw->tw_totals.tt_withheld++;
		return;
	}
	if ((tr = tcpstats_record_next(tw)) == NULL) {
		tw->tw_totals.tt_cut++;
		return;
	}
	tw->tw_totals.tt_records++;

	tcpstats_fill(tr, inp);
#if __FreeBSD_version < 1400000
	if (twait != NULL) {
		tcpstats_fill_tcptw(tr, twait);
		return;
	}
#endif
	tcpstats_fill_tcpcb(tr, tp, tw->tw_now);
	return;

fresh:
	tw->tw_totals.tt_fresh++;
}

/*
 * Walk the pcbs of the current vnet.
 */
static void
tcpstats_walk_vnet(struct tcpstats_pass *tw)
{
	struct inpcb *inp;
	inp_gen_t gen;
#if __FreeBSD_version >= 1400000
	struct inpcb_iterator inpi = INP_ALL_ITERATOR(&V_tcbinfo,
	    INPLOOKUP_RLOCKPCB);

	gen = V_tcbinfo.ipi_gencnt;
	while ((inp = inp_next(&inpi)) != NULL)
		tcpstats_visit(tw, inp, gen);
#else
	struct epoch_tracker et;

	gen = V_tcbinfo.ipi_gencnt;
	NET_EPOCH_ENTER(et);
	for (inp = CK_LIST_FIRST(V_tcbinfo.ipi_listhead); inp != NULL;
	    inp = CK_LIST_NEXT(inp, inp_list)) {
		INP_RLOCK(inp);
		tcpstats_visit(tw, inp, gen);
		INP_RUNLOCK(inp);
	}
	NET_EPOCH_EXIT(et);
#endif
	tw->tw_syn_received +=
	    counter_u64_fetch(V_tcps_states[TCPS_SYN_RECEIVED]);
}

/*
 * Call visit for the reader's vnet, or for all.
 */
static void
tcpstats_each_vnet(struct tcpstats_open *to, void (*visit)(void *), void *arg)
{

	if (to->to_allvnets) {
		VNET_ITERATOR_DECL(vnet_iter);

		/*
		 * The sleepable one of the two locks: a vnet that waits to go
		 * then does not hold up those who want the other.
		 */
		VNET_LIST_RLOCK();
		VNET_FOREACH(vnet_iter) {
			CURVNET_SET(vnet_iter);
			visit(arg);
			CURVNET_RESTORE();
		}
		VNET_LIST_RUNLOCK();
	} else {
		CURVNET_SET(CRED_TO_VNET(to->to_cred));
		visit(arg);
		CURVNET_RESTORE();
	}
}

static void
tcpstats_visit_count(void *arg)
{
	u_long *count = arg;

	*count += V_tcbinfo.ipi_count;
}

static void
tcpstats_visit_walk(void *arg)
{

	tcpstats_walk_vnet(arg);
}

static void
tcpstats_fill_header(struct tcpstats_open *to)
{
	struct tcpstats_header *th = &to->to_header;
	struct timespec ts;

	memset(th, 0, sizeof(*th));
	th->th_magic = TCPSTATS_MAGIC;
	th->th_version = TCPSTATS_VERSION;
	th->th_header_len = sizeof(*th);
	th->th_record_len = sizeof(struct tcpstats_record);
	th->th_trailer_len = sizeof(to->to_trailer);
	th->th_osreldate = osreldate;
	th->th_hz = hz;
	nanotime(&ts);
	th->th_realtime = (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	nanouptime(&ts);
	th->th_uptime = (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	th->th_vnet = tcpstats_vnet_id(to->to_cred);
	th->th_jail = to->to_cred->cr_prison->pr_id;
	if (to->to_allvnets)
		th->th_flags |= TCPSTATS_HF_ALLVNETS;
}

/*
 * Take a new walk.  The list may grow beyond the memory that was allocated for
 * it; then there is another walk, with more.
 */
int
tcpstats_walk(struct tcpstats_open *to)
{
	struct tcpstats_pass tw;
	sbintime_t began;
	u_long granted, want;
	int walks;

	sx_assert(&to->to_lock, SA_XLOCKED);
	to->to_stale = false;
	want = 0;
	for (walks = 1;; walks++) {
		u_long count = 0;

		tcpstats_walk_drop(to);
		tcpstats_each_vnet(to, tcpstats_visit_count, &count);
		want = MAX(want, count + count / 8 + 16);
		granted = tcpstats_reserve(to, want);
		tcpstats_chunks_alloc(to, granted);

		memset(&tw, 0, sizeof(tw));
		tw.tw_cred = to->to_cred;
		tw.tw_chunk = STAILQ_FIRST(&to->to_chunks);
		tcpstats_fill_header(to);
		began = tw.tw_now = sbinuptime();
		tcpstats_each_vnet(to, tcpstats_visit_walk, &tw);
		tw.tw_totals.tt_duration = sbttons(sbinuptime() - began);
		atomic_add_long(&tcpstats_walks, 1);
		tcpstats_chunks_trim(to);

		if (tw.tw_totals.tt_cut == 0)
			break;
		if (granted < want) {
			tcpstats_walk_drop(to);
			return (ENOBUFS);
		}
		if (walks == TCPSTATS_MAX_WALKS)
			break;
		want = tw.tw_totals.tt_records + tw.tw_totals.tt_cut;
		want += want / 4 + 64;
	}
	atomic_add_long(&tcpstats_records, tw.tw_totals.tt_records);
	if (tw.tw_syn_received > tw.tw_embryos)
		tw.tw_totals.tt_syncache = tw.tw_syn_received - tw.tw_embryos;
	tw.tw_totals.tt_magic = TCPSTATS_TRAILER_MAGIC;
	to->to_trailer = tw.tw_totals;
	to->to_header.th_count = tw.tw_totals.tt_records;
	to->to_phase = PHASE_HEADER;
	return (0);
}

