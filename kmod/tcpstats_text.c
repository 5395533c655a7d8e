/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * Records as text: /dev/tcpstats.text.
 */

#define	TCPSTATES
#include "tcpstats_var.h"

#include <sys/sbuf.h>

_Static_assert(nitems(tcpstates) == TCP_NSTATES, "names of states");

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
int
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
		to->to_line_next = 0;
		if (sbuf_finish(&sb) == 0)
			to->to_line_len = sbuf_len(&sb);
		else {
			/*
			 * The line is cut.  sbuf_len() is -1 after an
			 * overflow; the buffer is full but for its NUL.
			 */
			to->to_line_len = TCPSTATS_LINE_MAX - 1;
			to->to_line[TCPSTATS_LINE_MAX - 2] = '\n';
		}
		sbuf_delete(&sb);
		tcpstats_advance(to, 1);
	}
}

