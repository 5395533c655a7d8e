/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * One connection as a record.  Nothing here sleeps or allocates: the pcb is
 * locked.
 */

#include "tcpstats_var.h"

#include <sys/domain.h>
#include <sys/jail.h>
#include <sys/protosw.h>

#include <netinet/cc/cc.h>
#ifdef INET6
#include <netinet6/scope6_var.h>
#endif

_Static_assert(TCPSTATS_CC_LEN >= TCP_CA_NAME_MAX, "names of cc_algo");
_Static_assert(TCPSTATS_STACK_LEN >= TCP_FUNCTION_NAME_LEN_MAX,
    "names of TCP stacks");

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
void
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
void
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
 * The members that every connection has.
 */
void
tcpstats_fill(struct tcpstats_record *tr, const struct inpcb *inp)
{

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
}
