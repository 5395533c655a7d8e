/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * /dev/tcpstats and /dev/tcpstats.text: what the kernel knows of every TCP
 * connection that the reader may see.  tcpstats(4) is the manual, tcpstats.h
 * the interface.
 *
 * A read at offset 0 walks the list of protocol control blocks once, into
 * memory that was allocated before; that read and the following ones copy it
 * out.  So nothing sleeps while a pcb is locked, and what is read is of one
 * walk however slowly it is read.
 *
 * Locks, in the order in which they are taken:
 *	to_lock		sx, one per open: all members of struct tcpstats_open
 *	vnet_sxlock	shared, for walks over all vnets
 *	inp_lock	shared, of one pcb at a time
 *	so_lock		of a listening socket, for the lengths of its queues
 */

#include "opt_inet.h"
#include "opt_inet6.h"

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/conf.h>
#include <sys/domain.h>
#include <sys/epoch.h>
#include <sys/fcntl.h>
#include <sys/filio.h>
#include <sys/jail.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/module.h>
#include <sys/priv.h>
#include <sys/proc.h>
#include <sys/protosw.h>
#include <sys/queue.h>
#include <sys/rwlock.h>
#include <sys/sbuf.h>
#include <sys/socket.h>
#include <sys/socketvar.h>
#include <sys/sx.h>
#include <sys/sysctl.h>
#include <sys/time.h>
#include <sys/ucred.h>
#include <sys/uio.h>

#include <net/if.h>
#include <net/route.h>
#include <net/vnet.h>

#include <netinet/in.h>
#include <netinet/in_systm.h>
#include <netinet/in_pcb.h>
#include <netinet/tcp.h>
#define	TCPSTATES
#include <netinet/tcp_fsm.h>
#include <netinet/tcp_seq.h>
#include <netinet/tcp_timer.h>
#include <netinet/tcp_var.h>
#include <netinet/cc/cc.h>
#ifdef INET6
#include <netinet6/scope6_var.h>
#endif

#include "tcpstats.h"

#if __FreeBSD_version < 1302001
#error "tcpstats needs FreeBSD 13.2 or later"
#endif

_Static_assert(TCPSTATS_CC_LEN >= TCP_CA_NAME_MAX, "names of cc_algo");
_Static_assert(TCPSTATS_STACK_LEN >= TCP_FUNCTION_NAME_LEN_MAX,
    "names of TCP stacks");
_Static_assert(nitems(tcpstates) == TCP_NSTATES, "names of states");

#define	TCPSTATS_GID_NETWORK	69	/* group network of /etc/group */
#define	TCPSTATS_MAX_RECORDS	262144	/* 92 MiB */
#define	TCPSTATS_MAX_WALKS	4	/* to one that did not outgrow memory */
#define	TCPSTATS_LINE_MAX	1024	/* bytes of a line of text */

/*
 * Records are kept in chunks of 64 KiB, so that the largest walk needs no more
 * contiguous memory than the smallest, and what has been read is freed.
 */
#define	TCPSTATS_CHUNK_RECORDS						\
	((65536 - offsetof(struct tcpstats_chunk, tc_records)) /	\
	    sizeof(struct tcpstats_record))

struct tcpstats_chunk {
	STAILQ_ENTRY(tcpstats_chunk) tc_link;
	u_long		tc_size;	/* records that it has room for */
	u_long		tc_count;	/* records that it has */
	struct tcpstats_record tc_records[];
};

STAILQ_HEAD(tcpstats_chunks, tcpstats_chunk);

/* Where in a walk the reader is. */
enum tcpstats_phase {
	PHASE_NONE,		/* no walk yet, or none that succeeded */
	PHASE_HEADER,
	PHASE_RECORDS,
	PHASE_TRAILER,
	PHASE_END
};

struct tcpstats_open {
	struct sx	to_lock;
	struct ucred	*to_cred;	/* who opened; const */
	bool		to_text;	/* const */
	struct tcpstats_filter to_filter; /* for the next walk */

	/* The last walk. */
	enum tcpstats_phase to_phase;
	off_t		to_offset;	/* where the next read continues */
	u_long		to_index;	/* next record of the first chunk */
	u_long		to_reserved;	/* records, of tcpstats_reserved */
	struct tcpstats_chunks to_chunks;
	struct tcpstats_header to_header;
	struct tcpstats_trailer to_trailer;

	/* The rest of a line of text. */
	size_t		to_line_next;
	size_t		to_line_len;
	char		to_line[];
};

/* A walk under way. */
struct tcpstats_walk {
	struct ucred	*tw_cred;
	struct tcpstats_filter tw_filter;
	struct tcpstats_chunk *tw_chunk; /* to be filled next */
	struct tcpstats_trailer tw_totals;
	uint64_t	tw_limited;	/* of tt_cut: the filter's limit did it */
	uint64_t	tw_embryos;	/* pcbs in SYN_RECEIVED */
	uint64_t	tw_syn_received; /* pcbs and syncache entries */
	sbintime_t	tw_now;
};

static d_open_t		tcpstats_open;
static d_read_t		tcpstats_read;
static d_ioctl_t	tcpstats_ioctl;

static struct cdevsw tcpstats_cdevsw = {
	.d_version =	D_VERSION,
	.d_open =	tcpstats_open,
	.d_read =	tcpstats_read,
	.d_ioctl =	tcpstats_ioctl,
	.d_name =	TCPSTATS_DEVICE,
};

static struct cdev *tcpstats_dev;
static struct cdev *tcpstats_dev_text;

static MALLOC_DEFINE(M_TCPSTATS, "tcpstats", "TCP connection statistics");

SYSCTL_NODE(_net_inet_tcp, OID_AUTO, tcpstats, CTLFLAG_RW | CTLFLAG_MPSAFE, 0,
    "/dev/tcpstats");

static u_int tcpstats_version = TCPSTATS_VERSION;
SYSCTL_UINT(_net_inet_tcp_tcpstats, OID_AUTO, version, CTLFLAG_RD,
    &tcpstats_version, 0, "Version of the records");

static u_int tcpstats_mode = 0440;
SYSCTL_UINT(_net_inet_tcp_tcpstats, OID_AUTO, mode, CTLFLAG_RDTUN,
    &tcpstats_mode, 0, "Permissions of the devices, set at load");

static u_int tcpstats_gid = TCPSTATS_GID_NETWORK;
SYSCTL_UINT(_net_inet_tcp_tcpstats, OID_AUTO, gid, CTLFLAG_RDTUN,
    &tcpstats_gid, 0, "Group of the devices, set at load");

static u_long tcpstats_max_records = TCPSTATS_MAX_RECORDS;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, max_records, CTLFLAG_RWTUN,
    &tcpstats_max_records, 0, "Records held for all readers at most");

static volatile u_long tcpstats_reserved;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, held_records, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_reserved), 0,
    "Records held for all readers now");

static volatile u_int tcpstats_open_now;
SYSCTL_UINT(_net_inet_tcp_tcpstats, OID_AUTO, open, CTLFLAG_RD,
    __DEVOLATILE(u_int *, &tcpstats_open_now), 0, "Times open now");

static volatile u_long tcpstats_opens;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, opens, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_opens), 0, "Times opened");

static volatile u_long tcpstats_reads;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, reads, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_reads), 0, "Calls of read");

static volatile u_long tcpstats_walks;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, walks, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_walks), 0, "Walks over all connections");

static volatile u_long tcpstats_records;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, records, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_records), 0, "Records made");

static volatile u_long tcpstats_errors;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, errors, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_errors), 0, "Calls that failed");

/*
 * Memory for walks.
 */

/*
 * Reserve up to want records of what all readers together may hold, and return
 * how many were granted.
 */
static u_long
tcpstats_reserve(u_long want)
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

static void
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
 * Records.
 */

/*
 * The id of the jail that a vnet was made for.
 */
static uint32_t
tcpstats_vnet_id(const struct ucred *cred)
{
#ifdef VIMAGE
	const struct prison *pr;

	for (pr = cred->cr_prison; pr->pr_parent != NULL &&
	    pr->pr_vnet == pr->pr_parent->pr_vnet; pr = pr->pr_parent)
		continue;
	return (pr->pr_id);
#else
	return (0);
#endif
}

/*
 * Whether the stack keeps its times in microseconds, not in ticks.  Since 14
 * the tcpcb tells.  Before, only RACK did; what a stack from elsewhere does is
 * not known.
 */
static bool
tcpstats_units(const struct tcpcb *tp, bool *usec)
{
#if __FreeBSD_version >= 1400000
	*usec = tp->t_tmr_granularity == TCP_TMR_GRANULARITY_USEC;
	return (true);
#else
	const char *name = tp->t_fb->tfb_tcp_block_name;

	*usec = strncmp(name, "rack", 4) == 0;
	return (*usec || strcmp(name, "freebsd") == 0 ||
	    strncmp(name, "bbr", 3) == 0);
#endif
}

static uint32_t
tcpstats_clamp(uint64_t v)
{

	return (MIN(v, UINT32_MAX));
}

/* Microseconds since a moment in ticks, which wrap. */
static uint64_t
tcpstats_since(u_int then)
{

	return ((uint64_t)((u_int)ticks - then) * tick);
}

static void
tcpstats_fill_times(struct tcpstats_record *tr, const struct tcpcb *tp)
{
	uint64_t low;
	bool usec;

	if (!tcpstats_units(tp, &usec))
		return;
	/* The estimates have initial values before there is a sample. */
	if (tp->t_srtt > 0) {
		tr->tr_valid |= TCPSTATS_V_RTT;
		if (usec) {
			tr->tr_srtt = tp->t_srtt;
			tr->tr_rttvar = MAX(tp->t_rttvar, 0);
		} else {
			tr->tr_srtt = tcpstats_clamp(
			    ((uint64_t)tp->t_srtt * tick) >> TCP_RTT_SHIFT);
			tr->tr_rttvar = tcpstats_clamp(
			    ((uint64_t)MAX(tp->t_rttvar, 0) * tick) >>
			    TCP_RTTVAR_SHIFT);
		}
	}
	/*
	 * In ticks-based stacks t_rttlow comes from timestamps, which count
	 * milliseconds whatever hz is, or from ticks where the peer has none.
	 */
	if (tp->t_rttlow > 0) {
		low = tp->t_rttlow;
		if (!usec)
			low *= (tr->tr_flags & TCPSTATS_F_TIMESTAMPS) != 0 ?
			    1000 : tick;
		tr->tr_valid |= TCPSTATS_V_RTTMIN;
		tr->tr_rttmin = tcpstats_clamp(low);
	}
	if (tp->t_rxtcur > 0) {
		tr->tr_valid |= TCPSTATS_V_RTO;
		tr->tr_rto = tcpstats_clamp(usec ? tp->t_rxtcur :
		    (uint64_t)tp->t_rxtcur * tick);
	}
}

static uint32_t
tcpstats_ms_until(sbintime_t when, sbintime_t now)
{

	if (when <= now)
		return (1);
	return (tcpstats_clamp(howmany((uint64_t)(when - now), SBT_1MS)));
}

static void
tcpstats_fill_timers(struct tcpstats_record *tr, const struct tcpcb *tp,
    sbintime_t now)
{
#if __FreeBSD_version >= 1400000
#define	TIMER(member, which, callout)	do {				\
	if (tp->t_timers[which] != SBT_MAX)				\
		tr->member = tcpstats_ms_until(tp->t_timers[which], now); \
} while (0)
#else
#define	TIMER(member, which, callout)	do {				\
	if (callout_active(&tp->t_timers->callout))			\
		tr->member = tcpstats_ms_until(				\
		    tp->t_timers->callout.c_time, now);			\
} while (0)
#endif
	TIMER(tr_t_rexmt, TT_REXMT, tt_rexmt);
	TIMER(tr_t_persist, TT_PERSIST, tt_persist);
	TIMER(tr_t_keep, TT_KEEP, tt_keep);
	TIMER(tr_t_2msl, TT_2MSL, tt_2msl);
	TIMER(tr_t_delack, TT_DELACK, tt_delack);
#undef	TIMER
}

static void
tcpstats_fill_ecn(struct tcpstats_record *tr, const struct tcpcb *tp)
{

	if ((tp->t_flags2 & TF2_ECN_PERMIT) != 0)
		tr->tr_flags |= TCPSTATS_F_ECN;
	if ((tp->t_flags2 & TF2_ACE_PERMIT) != 0)
		tr->tr_flags |= TCPSTATS_F_ACE;
#if __FreeBSD_version >= 1400000
	/* During the handshake t_rcep holds other things. */
	if (!TCPS_HAVEESTABLISHED(tp->t_state))
		return;
	tr->tr_valid |= TCPSTATS_V_ECN;
	tr->tr_delivered_ce = tp->t_scep;
	tr->tr_received_ce = tp->t_rcep;
	/* With accurate ECN both counters start at 5. */
	if ((tp->t_flags2 & TF2_ACE_PERMIT) != 0) {
		tr->tr_delivered_ce -= MIN(tr->tr_delivered_ce, 5);
		tr->tr_received_ce -= MIN(tr->tr_received_ce, 5);
	}
#endif
}

static void
tcpstats_fill_flags(struct tcpstats_record *tr, const struct tcpcb *tp)
{
	u_int tf = tp->t_flags;

	if ((tf & (TF_REQ_TSTMP | TF_RCVD_TSTMP)) ==
	    (TF_REQ_TSTMP | TF_RCVD_TSTMP))
		tr->tr_flags |= TCPSTATS_F_TIMESTAMPS;
	if ((tf & TF_SACK_PERMIT) != 0)
		tr->tr_flags |= TCPSTATS_F_SACK;
	if ((tf & (TF_REQ_SCALE | TF_RCVD_SCALE)) ==
	    (TF_REQ_SCALE | TF_RCVD_SCALE)) {
		tr->tr_flags |= TCPSTATS_F_WSCALE;
		tr->tr_snd_scale = tp->snd_scale;
		tr->tr_rcv_scale = tp->rcv_scale;
	}
	if ((tf & TF_FASTOPEN) != 0)
		tr->tr_flags |= TCPSTATS_F_TFO;
	if ((tf & TF_TOE) != 0)
		tr->tr_flags |= TCPSTATS_F_TOE;
	if ((tf & TF_NODELAY) != 0)
		tr->tr_flags |= TCPSTATS_F_NODELAY;
	if ((tf & TF_NOPUSH) != 0)
		tr->tr_flags |= TCPSTATS_F_NOPUSH;
	if ((tf & TF_SENTFIN) != 0)
		tr->tr_flags |= TCPSTATS_F_SENTFIN;
	if ((tf & TF_FASTRECOVERY) != 0)
		tr->tr_flags |= TCPSTATS_F_FASTRECOVERY;
	if ((tf & TF_CONGRECOVERY) != 0)
		tr->tr_flags |= TCPSTATS_F_CONGRECOVERY;
}

/*
 * The members that come from the tcpcb.  The pcb is locked.
 */
static void
tcpstats_fill_tcpcb(struct tcpstats_record *tr, const struct tcpcb *tp,
    sbintime_t now)
{
	const struct cc_algo *cc;

	tr->tr_valid |= TCPSTATS_V_SEQ | TCPSTATS_V_TCB | TCPSTATS_V_BYTES;
	tr->tr_state = tp->t_state;
	tcpstats_fill_flags(tr, tp);
	tcpstats_fill_times(tr, tp);
	tcpstats_fill_timers(tr, tp, now);
	tcpstats_fill_ecn(tr, tp);

	tr->tr_cwnd = tp->snd_cwnd;
	tr->tr_ssthresh = tp->snd_ssthresh;
	tr->tr_snd_wnd = tp->snd_wnd;
	tr->tr_rcv_wnd = tp->rcv_wnd;
	tr->tr_maxseg = tp->t_maxseg;
	tr->tr_rxtshift = tp->t_rxtshift;

	tr->tr_iss = tp->iss;
	tr->tr_irs = tp->irs;
	tr->tr_snd_una = tp->snd_una;
	tr->tr_snd_nxt = tp->snd_nxt;
	tr->tr_snd_max = tp->snd_max;
	tr->tr_rcv_nxt = tp->rcv_nxt;
	tr->tr_rcv_adv = tp->rcv_adv;
	tr->tr_snd_fack = tp->snd_fack;

	tr->tr_sent_bytes = tp->t_sndbytes;
	tr->tr_rexmit_bytes = tp->t_snd_rxt_bytes;
	tr->tr_tlp_bytes = tp->t_sndtlpbyte;
	tr->tr_rexmits = tp->t_sndrexmitpack;
	tr->tr_ooo = tp->t_rcvoopack;
	tr->tr_zerowin = tp->t_sndzerowin;
	tr->tr_dupacks = tp->t_dupacks;
	tr->tr_tlps = tp->t_sndtlppack;

	tr->tr_rcv_sacks = tp->rcv_numsacks;
	tr->tr_snd_holes = tp->snd_numholes;
	tr->tr_sacked = tp->sackhint.sacked_bytes;
	tr->tr_sack_rexmit = tp->sackhint.sack_bytes_rexmit;
#if __FreeBSD_version >= 1400000
	tr->tr_valid |= TCPSTATS_V_DSACK;
	tr->tr_dsacks = tp->t_dsack_pack;
	tr->tr_dsack_bytes = tp->t_dsack_bytes;
	tr->tr_dsack_tlp_bytes = tp->t_dsack_tlp_bytes;
#endif
	tr->tr_reass = tp->t_segqmbuflen;

	tr->tr_idle_rcv = tcpstats_since(tp->t_rcvtime);
	/* RACK and BBR do not keep t_sndtime. */
	if (tp->t_sndtime != 0) {
		tr->tr_valid |= TCPSTATS_V_IDLE_SND;
		tr->tr_idle_snd = tcpstats_since(tp->t_sndtime);
	}
	if (tp->t_starttime != 0) {
		tr->tr_valid |= TCPSTATS_V_AGE;
		tr->tr_age = tcpstats_since(tp->t_starttime);
	}
	tr->tr_valid |= TCPSTATS_V_PACING;
	tr->tr_pacing_rate = tp->t_pacing_rate;
	tr->tr_error = tp->t_softerror;

	/*
	 * A stack or an algorithm is not unloaded while a connection has it,
	 * and changing it takes the pcb's lock exclusively.
	 */
#if __FreeBSD_version >= 1400000
	cc = tp->t_cc;
#else
	cc = tp->cc_algo;
#endif
	if (cc != NULL)
		strlcpy(tr->tr_cc, cc->name, sizeof(tr->tr_cc));
	if (tp->t_fb != NULL)
		strlcpy(tr->tr_stack, tp->t_fb->tfb_tcp_block_name,
		    sizeof(tr->tr_stack));
}

#if __FreeBSD_version < 1400000
/*
 * Before 14, TIME_WAIT has a small structure of its own, and no socket.
 */
static void
tcpstats_fill_tcptw(struct tcpstats_record *tr, const struct tcptw *tw)
{

	tr->tr_state = TCPS_TIME_WAIT;
	tr->tr_valid |= TCPSTATS_V_SEQ;
	tr->tr_iss = tw->iss;
	tr->tr_irs = tw->irs;
	tr->tr_snd_nxt = tw->snd_nxt;
	tr->tr_rcv_nxt = tw->rcv_nxt;
	if (tw->t_starttime != 0) {
		tr->tr_valid |= TCPSTATS_V_AGE;
		tr->tr_age = tcpstats_since(tw->t_starttime);
	}
	tr->tr_t_2msl = MAX((int64_t)(tw->tw_time - ticks), 0) * tick / 1000 +
	    1;
}
#endif

/*
 * The members that come from the socket.  Its pcb is locked, which keeps the
 * socket, and keeps it from becoming a listener.
 *
 * The lengths of the buffers are read without their locks, as sysctl(8) does:
 * each is one word.
 */
static void
tcpstats_fill_socket(struct tcpstats_record *tr, struct socket *so)
{

	tr->tr_so = (uintptr_t)so;
	tr->tr_family = so->so_proto->pr_domain->dom_family;
	if (SOLISTENING(so)) {
		SOLISTEN_LOCK(so);
		tr->tr_valid |= TCPSTATS_V_QUEUE;
		tr->tr_qlen = so->sol_qlen;
		tr->tr_incqlen = so->sol_incqlen;
		tr->tr_qlimit = so->sol_qlimit;
		SOLISTEN_UNLOCK(so);
		return;
	}
	if (so->so_qstate != SQ_NONE)
		tr->tr_flags |= TCPSTATS_F_NOTACCEPTED;
#ifdef SS_NOFDREF
	if ((so->so_state & SS_NOFDREF) != 0)
		tr->tr_flags |= TCPSTATS_F_NOFD;
#endif
	tr->tr_valid |= TCPSTATS_V_SOCKBUF;
	tr->tr_rcv_cc = sbused(&so->so_rcv);
	tr->tr_rcv_hiwat = so->so_rcv.sb_hiwat;
	tr->tr_snd_cc = sbused(&so->so_snd);
	tr->tr_snd_hiwat = so->so_snd.sb_hiwat;
}

/*
 * Copy an address and return its interface, which the kernel keeps within
 * link-local addresses, in network order.
 */
static uint32_t
tcpstats_fill_in6(uint8_t *to, const struct in6_addr *from)
{
	struct in6_addr addr = *from;
	uint32_t zone = 0;

#ifdef INET6
	zone = ntohs(in6_getscope(&addr));
	(void)in6_clearscope(&addr);
#endif
	memcpy(to, &addr, sizeof(addr));
	return (zone);
}

static void
tcpstats_fill_endpoints(struct tcpstats_record *tr, const struct inpcb *inp)
{
	uint32_t zone;

	tr->tr_vflag = inp->inp_vflag;
	tr->tr_family = (inp->inp_vflag & INP_IPV6PROTO) != 0 ? AF_INET6 :
	    AF_INET;
	tr->tr_lport = ntohs(inp->inp_lport);
	tr->tr_fport = ntohs(inp->inp_fport);
	/*
	 * A listener for both has both bits; its address is the wildcard of
	 * IPv6 then.
	 */
	if ((inp->inp_vflag & (INP_IPV4 | INP_IPV6)) == INP_IPV4) {
		tr->tr_ipver = 4;
		memcpy(tr->tr_laddr, &inp->inp_laddr, sizeof(inp->inp_laddr));
		memcpy(tr->tr_faddr, &inp->inp_faddr, sizeof(inp->inp_faddr));
	} else {
		tr->tr_ipver = 6;
		tr->tr_zone = tcpstats_fill_in6(tr->tr_laddr,
		    &inp->in6p_laddr);
		zone = tcpstats_fill_in6(tr->tr_faddr, &inp->in6p_faddr);
		if (tr->tr_zone == 0)
			tr->tr_zone = zone;
	}
}

/*
 * Walks.
 */

static bool
tcpstats_wanted(const struct tcpstats_filter *tf, const struct inpcb *inp,
    u_int state)
{
	uint16_t fport, lport;

	if (tf->tf_states != 0 && (tf->tf_states & (1u << state)) == 0)
		return (false);
	if (tf->tf_families != 0 && (tf->tf_families &
	    ((inp->inp_vflag & (INP_IPV4 | INP_IPV6)) == INP_IPV4 ?
	    TCPSTATS_FAM_IPV4 : TCPSTATS_FAM_IPV6)) == 0)
		return (false);
	lport = ntohs(inp->inp_lport);
	if (tf->tf_lport_max != 0 &&
	    (lport < tf->tf_lport_min || lport > tf->tf_lport_max))
		return (false);
	fport = ntohs(inp->inp_fport);
	if (tf->tf_fport_max != 0 &&
	    (fport < tf->tf_fport_min || fport > tf->tf_fport_max))
		return (false);
	return (true);
}

/*
 * Return room for one more record, NULL if there is none.
 */
static struct tcpstats_record *
tcpstats_record_next(struct tcpstats_walk *tw)
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
tcpstats_visit(struct tcpstats_walk *tw, struct inpcb *inp, inp_gen_t gen)
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
	if (!tcpstats_wanted(&tw->tw_filter, inp, state)) {
		tw->tw_totals.tt_filtered++;
		return;
	}
	if (tw->tw_filter.tf_limit != 0 &&
	    tw->tw_totals.tt_records == tw->tw_filter.tf_limit) {
		tw->tw_totals.tt_cut++;
		tw->tw_limited++;
		return;
	}
	if ((tr = tcpstats_record_next(tw)) == NULL) {
		tw->tw_totals.tt_cut++;
		return;
	}
	tw->tw_totals.tt_records++;

	memset(tr, 0, sizeof(*tr));
	tr->tr_gencnt = inp->inp_gencnt;
	tr->tr_vnet = tcpstats_vnet_id(inp->inp_cred);
	tr->tr_jail = inp->inp_cred->cr_prison->pr_id;
	tr->tr_uid = inp->inp_cred->cr_uid;
	if ((inp->inp_flags & INP_DROPPED) != 0)
		tr->tr_flags |= TCPSTATS_F_DROPPED;
	tcpstats_fill_endpoints(tr, inp);
	if (inp->inp_socket != NULL)
		tcpstats_fill_socket(tr, inp->inp_socket);
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
tcpstats_walk_vnet(struct tcpstats_walk *tw)
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
 * Call visit for the vnets that the filter asks for.
 */
static void
tcpstats_each_vnet(const struct tcpstats_filter *tf, struct ucred *cred,
    void (*visit)(void *), void *arg)
{

	if ((tf->tf_flags & TCPSTATS_FF_ALLVNETS) != 0) {
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
		CURVNET_SET(CRED_TO_VNET(cred));
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
	if ((to->to_filter.tf_flags & TCPSTATS_FF_ALLVNETS) != 0)
		th->th_flags |= TCPSTATS_HF_ALLVNETS;
	if (to->to_filter.tf_states != 0 || to->to_filter.tf_families != 0 ||
	    to->to_filter.tf_lport_max != 0 ||
	    to->to_filter.tf_fport_max != 0 || to->to_filter.tf_limit != 0)
		th->th_flags |= TCPSTATS_HF_FILTERED;
}

/*
 * Take a new walk.  The list may grow beyond the memory that was allocated for
 * it; then there is another walk, with more.
 */
static int
tcpstats_walk(struct tcpstats_open *to)
{
	struct tcpstats_walk tw;
	sbintime_t began;
	u_long granted, want;
	int walks;

	sx_assert(&to->to_lock, SA_XLOCKED);
	want = 0;
	for (walks = 1;; walks++) {
		u_long count = 0;

		tcpstats_walk_drop(to);
		tcpstats_each_vnet(&to->to_filter, to->to_cred,
		    tcpstats_visit_count, &count);
		want = MAX(want, count + count / 8 + 16);
		if (to->to_filter.tf_limit != 0)
			want = MIN(want, to->to_filter.tf_limit);
		granted = tcpstats_reserve(want);
		to->to_reserved = granted;
		tcpstats_chunks_alloc(to, granted);

		memset(&tw, 0, sizeof(tw));
		tw.tw_cred = to->to_cred;
		tw.tw_filter = to->to_filter;
		tw.tw_chunk = STAILQ_FIRST(&to->to_chunks);
		tcpstats_fill_header(to);
		began = tw.tw_now = sbinuptime();
		tcpstats_each_vnet(&to->to_filter, to->to_cred,
		    tcpstats_visit_walk, &tw);
		tw.tw_totals.tt_duration = sbttons(sbinuptime() - began);
		atomic_add_long(&tcpstats_walks, 1);
		tcpstats_chunks_trim(to);

		if (tw.tw_totals.tt_cut == tw.tw_limited)
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

/*
 * Reading.
 */

/*
 * Go to the records, and from a chunk that has been read to the next.
 */
static void
tcpstats_advance(struct tcpstats_open *to, u_long n)
{
	struct tcpstats_chunk *tc;

	to->to_index += n;
	while ((tc = STAILQ_FIRST(&to->to_chunks)) != NULL &&
	    to->to_index == tc->tc_count) {
		tcpstats_chunk_drop(to);
		to->to_index = 0;
	}
	to->to_phase = tc != NULL ? PHASE_RECORDS : PHASE_TRAILER;
}

/*
 * Copy out what fits of header, records and trailer, each of them whole.
 */
static int
tcpstats_read_records(struct tcpstats_open *to, struct uio *uio)
{
	struct tcpstats_chunk *tc;
	u_long n;
	int error;

	error = 0;
	while (error == 0) {
		switch (to->to_phase) {
		case PHASE_HEADER:
			if (uio->uio_resid < sizeof(to->to_header))
				return (0);
			error = uiomove(&to->to_header, sizeof(to->to_header),
			    uio);
			if (error == 0)
				tcpstats_advance(to, 0);
			break;
		case PHASE_RECORDS:
			tc = STAILQ_FIRST(&to->to_chunks);
			n = MIN(tc->tc_count - to->to_index,
			    uio->uio_resid / sizeof(tc->tc_records[0]));
			if (n == 0)
				return (0);
			error = uiomove(&tc->tc_records[to->to_index],
			    n * sizeof(tc->tc_records[0]), uio);
			if (error == 0)
				tcpstats_advance(to, n);
			break;
		case PHASE_TRAILER:
			if (uio->uio_resid < sizeof(to->to_trailer))
				return (0);
			error = uiomove(&to->to_trailer,
			    sizeof(to->to_trailer), uio);
			if (error == 0)
				to->to_phase = PHASE_END;
			break;
		case PHASE_NONE:
		case PHASE_END:
			return (0);
		}
	}
	return (error);
}

static void
tcpstats_print_addr(struct sbuf *sb, const struct tcpstats_record *tr,
    const uint8_t *addr, uint16_t port)
{

	if (tr->tr_ipver == 4) {
		sbuf_printf(sb, " %u.%u.%u.%u:%u", addr[0], addr[1], addr[2],
		    addr[3], port);
		return;
	}
#ifdef INET6
	{
		char text[INET6_ADDRSTRLEN];
		struct in6_addr in6;

		memcpy(&in6, addr, sizeof(in6));
		sbuf_printf(sb, " [%s", ip6_sprintf(text, &in6));
		if (tr->tr_zone != 0 && IN6_IS_ADDR_LINKLOCAL(&in6))
			sbuf_printf(sb, "%%%u", tr->tr_zone);
		sbuf_printf(sb, "]:%u", port);
	}
#endif
}

/*
 * One line for one record.  What is not known has no word.
 */
static void
tcpstats_print(struct sbuf *sb, const struct tcpstats_record *tr)
{

	sbuf_printf(sb, "tcp%u", tr->tr_ipver);
	tcpstats_print_addr(sb, tr, tr->tr_laddr, tr->tr_lport);
	tcpstats_print_addr(sb, tr, tr->tr_faddr, tr->tr_fport);
	sbuf_printf(sb, " %s uid=%u jail=%u vnet=%u gen=%ju",
	    tcpstates[tr->tr_state], tr->tr_uid, tr->tr_jail, tr->tr_vnet,
	    (uintmax_t)tr->tr_gencnt);
	if ((tr->tr_valid & TCPSTATS_V_QUEUE) != 0)
		sbuf_printf(sb, " queue=%u/%u incomplete=%u", tr->tr_qlen,
		    tr->tr_qlimit, tr->tr_incqlen);
	if ((tr->tr_valid & TCPSTATS_V_SOCKBUF) != 0)
		sbuf_printf(sb, " rcvbuf=%u/%u sndbuf=%u/%u", tr->tr_rcv_cc,
		    tr->tr_rcv_hiwat, tr->tr_snd_cc, tr->tr_snd_hiwat);
	if ((tr->tr_valid & TCPSTATS_V_TCB) != 0 &&
	    tr->tr_state != TCPS_LISTEN) {
		if ((tr->tr_valid & TCPSTATS_V_RTT) != 0)
			sbuf_printf(sb, " rtt_us=%u rttvar_us=%u", tr->tr_srtt,
			    tr->tr_rttvar);
		if ((tr->tr_valid & TCPSTATS_V_RTTMIN) != 0)
			sbuf_printf(sb, " rttmin_us=%u", tr->tr_rttmin);
		if ((tr->tr_valid & TCPSTATS_V_RTO) != 0)
			sbuf_printf(sb, " rto_us=%u", tr->tr_rto);
		sbuf_printf(sb, " cwnd=%u ssthresh=%u mss=%u", tr->tr_cwnd,
		    tr->tr_ssthresh, tr->tr_maxseg);
		sbuf_printf(sb, " snd_wnd=%u rcv_wnd=%u", tr->tr_snd_wnd,
		    tr->tr_rcv_wnd);
		if ((tr->tr_valid & TCPSTATS_V_BYTES) != 0)
			sbuf_printf(sb, " sent=%ju resent=%ju",
			    (uintmax_t)tr->tr_sent_bytes,
			    (uintmax_t)tr->tr_rexmit_bytes);
		sbuf_printf(sb, " unacked=%u rexmits=%u ooo=%u zerowin=%u"
		    " dupacks=%u", tr->tr_snd_max - tr->tr_snd_una,
		    tr->tr_rexmits, tr->tr_ooo, tr->tr_zerowin,
		    tr->tr_dupacks);
		sbuf_printf(sb, " idle_ms=%ju",
		    (uintmax_t)tr->tr_idle_rcv / 1000);
	}
	if ((tr->tr_valid & TCPSTATS_V_AGE) != 0)
		sbuf_printf(sb, " age_ms=%ju", (uintmax_t)tr->tr_age / 1000);
	if (tr->tr_cc[0] != '\0')
		sbuf_printf(sb, " cc=%s", tr->tr_cc);
	if (tr->tr_stack[0] != '\0')
		sbuf_printf(sb, " stack=%s", tr->tr_stack);
	sbuf_putc(sb, '\n');
}

/*
 * Copy out what fits of the text.  Reads may end within a line.
 */
static int
tcpstats_read_text(struct tcpstats_open *to, struct uio *uio)
{
	struct sbuf sb;
	size_t n;
	int error;

	if (to->to_phase == PHASE_HEADER)
		tcpstats_advance(to, 0);
	for (;;) {
		n = MIN(to->to_line_len - to->to_line_next, uio->uio_resid);
		if (n > 0) {
			error = uiomove(&to->to_line[to->to_line_next], n,
			    uio);
			if (error != 0)
				return (error);
			to->to_line_next += n;
		}
		if (uio->uio_resid == 0 || to->to_phase != PHASE_RECORDS)
			return (0);
		sbuf_new(&sb, to->to_line, TCPSTATS_LINE_MAX, SBUF_FIXEDLEN);
		tcpstats_print(&sb, &STAILQ_FIRST(&to->to_chunks)->
		    tc_records[to->to_index]);
		/* A line that does not fit is cut, and has no end. */
		(void)sbuf_finish(&sb);
		to->to_line_next = 0;
		to->to_line_len = sbuf_len(&sb);
		sbuf_delete(&sb);
		tcpstats_advance(to, 1);
	}
}

static int
tcpstats_read(struct cdev *dev __unused, struct uio *uio, int ioflag __unused)
{
	struct tcpstats_open *to;
	ssize_t resid;
	int error;

	atomic_add_long(&tcpstats_reads, 1);
	error = devfs_get_cdevpriv((void **)&to);
	if (error != 0)
		goto out;
	resid = uio->uio_resid;
	sx_xlock(&to->to_lock);
	if (uio->uio_offset == 0) {
		if (!to->to_text && resid < sizeof(to->to_header))
			error = EINVAL;
		else
			error = tcpstats_walk(to);
	} else if (uio->uio_offset != to->to_offset)
		error = EINVAL;
	if (error == 0) {
		if (to->to_text)
			error = tcpstats_read_text(to, uio);
		else
			error = tcpstats_read_records(to, uio);
		if (error == 0 && uio->uio_resid == resid &&
		    to->to_phase != PHASE_END && !to->to_text)
			error = EINVAL;	/* less than a record */
		/*
		 * After a failure the reader does not know what it has got:
		 * only a rewind helps.
		 */
		to->to_offset = error == 0 ? uio->uio_offset : -1;
	}
	sx_xunlock(&to->to_lock);
out:
	if (error != 0)
		atomic_add_long(&tcpstats_errors, 1);
	return (error);
}

static int
tcpstats_set_filter(struct tcpstats_open *to, const struct tcpstats_filter *tf)
{

	if (tf->tf_version != TCPSTATS_VERSION ||
	    (tf->tf_flags & ~TCPSTATS_FF_ALLVNETS) != 0 ||
	    tf->tf_states >= (1u << TCP_NSTATES) ||
	    (tf->tf_families & ~(TCPSTATS_FAM_IPV4 | TCPSTATS_FAM_IPV6)) != 0 ||
	    tf->tf_lport_min > tf->tf_lport_max ||
	    tf->tf_fport_min > tf->tf_fport_max)
		return (EINVAL);
	if ((tf->tf_flags & TCPSTATS_FF_ALLVNETS) != 0 &&
	    (jailed(to->to_cred) ||
	    priv_check_cred(to->to_cred, PRIV_NETINET_GETCRED) != 0))
		return (EPERM);
	sx_xlock(&to->to_lock);
	to->to_filter = *tf;
	sx_xunlock(&to->to_lock);
	return (0);
}

static int
tcpstats_ioctl(struct cdev *dev __unused, u_long cmd, caddr_t data,
    int fflag __unused, struct thread *td __unused)
{
	struct tcpstats_open *to;
	int error;

	error = devfs_get_cdevpriv((void **)&to);
	if (error != 0)
		goto out;
	switch (cmd) {
	case TCPSTATS_SETFILTER:
		error = tcpstats_set_filter(to,
		    (const struct tcpstats_filter *)data);
		break;
	case TCPSTATS_GETFILTER:
		sx_xlock(&to->to_lock);
		*(struct tcpstats_filter *)data = to->to_filter;
		sx_xunlock(&to->to_lock);
		break;
	case FIONBIO:
		/* Reads never wait for anything to happen. */
		break;
	case FIOASYNC:
		if (*(int *)data != 0)
			error = EINVAL;
		break;
	default:
		error = ENOTTY;
		break;
	}
out:
	if (error != 0)
		atomic_add_long(&tcpstats_errors, 1);
	return (error);
}

static void
tcpstats_dtor(void *arg)
{
	struct tcpstats_open *to = arg;

	sx_xlock(&to->to_lock);
	tcpstats_walk_drop(to);
	sx_xunlock(&to->to_lock);
	sx_destroy(&to->to_lock);
	crfree(to->to_cred);
	free(to, M_TCPSTATS);
	atomic_subtract_rel_int(&tcpstats_open_now, 1);
}

static int
tcpstats_open(struct cdev *dev, int oflags, int devtype __unused,
    struct thread *td)
{
	struct tcpstats_open *to;
	bool text;
	int error;

	if ((oflags & (FWRITE | FEXEC | FAPPEND | O_TRUNC)) != 0) {
		atomic_add_long(&tcpstats_errors, 1);
		return (EPERM);
	}
	text = dev == tcpstats_dev_text;
	to = malloc(sizeof(*to) + (text ? TCPSTATS_LINE_MAX : 0), M_TCPSTATS,
	    M_WAITOK | M_ZERO);
	sx_init(&to->to_lock, "tcpstats");
	STAILQ_INIT(&to->to_chunks);
	to->to_text = text;
	to->to_filter.tf_version = TCPSTATS_VERSION;
	/*
	 * What is shown is what the one who opened may see, whoever reads: a
	 * descriptor that is handed to a privileged program shows no more.
	 */
	to->to_cred = crhold(td->td_ucred);
	atomic_add_int(&tcpstats_open_now, 1);
	error = devfs_set_cdevpriv(to, tcpstats_dtor);
	if (error != 0) {
		tcpstats_dtor(to);
		atomic_add_long(&tcpstats_errors, 1);
		return (error);
	}
	atomic_add_long(&tcpstats_opens, 1);
	return (0);
}

/*
 * The module.
 */

/*
 * Whether the kernel's structures have the sizes that this module was compiled
 * for.  The module system compares versions; kernel options change structures
 * as well, and whoever reads a tcpcb by the wrong layout tells lies or panics.
 */
static int
tcpstats_check_size(const char *zone, size_t min, size_t max)
{
	char name[64];
	size_t len;
	uint32_t size;
	int error;

	snprintf(name, sizeof(name), "vm.uma.%s.size", zone);
	len = sizeof(size);
	error = kernel_sysctlbyname(curthread, name, &size, &len, NULL, 0,
	    NULL, 0);
	if (error != 0) {
		printf("tcpstats: %s: error %d, not loaded\n", name, error);
		return (error);
	}
	if (size < min || size > max) {
		printf("tcpstats: %s is %u, this module was built for %zu: "
		    "build it with the options of the running kernel "
		    "(KERNBUILDDIR)\n", name, size, min);
		return (ENOEXEC);
	}
	return (0);
}

static int
tcpstats_check_kernel(void)
{
	int error;

	if (osreldate / 100000 != __FreeBSD_version / 100000) {
		printf("tcpstats: built for FreeBSD %d, this is %d\n",
		    __FreeBSD_version / 100000, osreldate / 100000);
		return (ENOEXEC);
	}
	error = tcpstats_check_size("socket", sizeof(struct socket),
	    sizeof(struct socket));
	if (error != 0)
		return (error);
#if __FreeBSD_version >= 1400000
	/* The inpcb lies within the tcpcb. */
	return (tcpstats_check_size("tcp_inpcb", sizeof(struct tcpcb),
	    sizeof(struct tcpcb)));
#else
	error = tcpstats_check_size("tcp_inpcb", sizeof(struct inpcb),
	    sizeof(struct inpcb));
	if (error != 0)
		return (error);
	/* A tcpcb is followed by its timers, cc_var and, optionally, osd. */
	return (tcpstats_check_size("tcpcb", sizeof(struct tcpcb) +
	    sizeof(struct tcp_timer) + sizeof(struct cc_var),
	    sizeof(struct tcpcb) + sizeof(struct tcp_timer) +
	    sizeof(struct cc_var) + sizeof(struct osd)));
#endif
}

static int
tcpstats_load(void)
{
	struct make_dev_args args;
	int error;

	error = tcpstats_check_kernel();
	if (error != 0)
		return (error);
	make_dev_args_init(&args);
	args.mda_flags = MAKEDEV_WAITOK | MAKEDEV_CHECKNAME;
	args.mda_devsw = &tcpstats_cdevsw;
	args.mda_uid = UID_ROOT;
	args.mda_gid = tcpstats_gid;
	args.mda_mode = tcpstats_mode & 0444;
	error = make_dev_s(&args, &tcpstats_dev_text, TCPSTATS_DEVICE_TEXT);
	if (error == 0)
		error = make_dev_s(&args, &tcpstats_dev, TCPSTATS_DEVICE);
	return (error);
}

/*
 * Also called after a load that failed, to undo what there was of it.
 */
static void
tcpstats_unload(void)
{

	/* No call starts any more, and those under way end. */
	if (tcpstats_dev != NULL)
		destroy_dev(tcpstats_dev);
	if (tcpstats_dev_text != NULL)
		destroy_dev(tcpstats_dev_text);
	/*
	 * FreeBSD 13's destroy_dev(9) does not wait for a close(2) that is
	 * running our destructor just now.
	 */
	while (atomic_load_acq_int(&tcpstats_open_now) != 0)
		pause("tcpstats", MAX(hz / 100, 1));
	KASSERT(tcpstats_reserved == 0, ("%s: %lu records leak", __func__,
	    tcpstats_reserved));
}

static int
tcpstats_modevent(module_t mod __unused, int type, void *arg __unused)
{

	switch (type) {
	case MOD_LOAD:
		return (tcpstats_load());
	case MOD_QUIESCE:
		/* kldunload -f goes on regardless. */
		return (atomic_load_acq_int(&tcpstats_open_now) != 0 ?
		    EBUSY : 0);
	case MOD_UNLOAD:
		tcpstats_unload();
		return (0);
	case MOD_SHUTDOWN:
		return (0);
	default:
		return (EOPNOTSUPP);
	}
}

static moduledata_t tcpstats_mod = {
	TCPSTATS_DEVICE,
	tcpstats_modevent,
	NULL
};

/* Last: when loaded at boot, TCP must be there before. */
DECLARE_MODULE(tcpstats, tcpstats_mod, SI_SUB_LAST, SI_ORDER_ANY);
MODULE_VERSION(tcpstats, TCPSTATS_VERSION);
