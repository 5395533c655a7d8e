/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kmod/tcpstats.h says to a C compiler: the place of each member
 * ("layout"), or a walk as the module would write it ("walk GROWN"), in which
 * header, records and trailer are GROWN bytes longer than those of today.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcpstats.h"

#define	MEMBER(type, member)						\
	printf(#type "." #member " %zu %zu\n", offsetof(struct type, member), \
	    sizeof(((struct type *)0)->member))
#define	SIZE(type)	printf(#type " 0 %zu\n", sizeof(struct type))
#define	VALUE(name)	printf(#name " %lu 0\n", (unsigned long)(name))

static void
layout(void)
{

	SIZE(tcpstats_header);
	SIZE(tcpstats_record);
	SIZE(tcpstats_trailer);
	SIZE(tcpstats_ends_header);
	SIZE(tcpstats_process);
	SIZE(tcpstats_end);
	MEMBER(tcpstats_header, th_magic);
	MEMBER(tcpstats_header, th_version);
	MEMBER(tcpstats_header, th_header_len);
	MEMBER(tcpstats_header, th_record_len);
	MEMBER(tcpstats_header, th_trailer_len);
	MEMBER(tcpstats_header, th_flags);
	MEMBER(tcpstats_header, th_osreldate);
	MEMBER(tcpstats_header, th_hz);
	MEMBER(tcpstats_header, th_realtime);
	MEMBER(tcpstats_header, th_uptime);
	MEMBER(tcpstats_header, th_vnet);
	MEMBER(tcpstats_header, th_jail);
	MEMBER(tcpstats_header, th_count);
	MEMBER(tcpstats_header, th_reserved);
	MEMBER(tcpstats_record, tr_gencnt);
	MEMBER(tcpstats_record, tr_so);
	MEMBER(tcpstats_record, tr_vnet);
	MEMBER(tcpstats_record, tr_jail);
	MEMBER(tcpstats_record, tr_uid);
	MEMBER(tcpstats_record, tr_family);
	MEMBER(tcpstats_record, tr_ipver);
	MEMBER(tcpstats_record, tr_vflag);
	MEMBER(tcpstats_record, tr_state);
	MEMBER(tcpstats_record, tr_laddr);
	MEMBER(tcpstats_record, tr_faddr);
	MEMBER(tcpstats_record, tr_lport);
	MEMBER(tcpstats_record, tr_fport);
	MEMBER(tcpstats_record, tr_zone);
	MEMBER(tcpstats_record, tr_valid);
	MEMBER(tcpstats_record, tr_flags);
	MEMBER(tcpstats_record, tr_srtt);
	MEMBER(tcpstats_record, tr_rttvar);
	MEMBER(tcpstats_record, tr_rttmin);
	MEMBER(tcpstats_record, tr_rto);
	MEMBER(tcpstats_record, tr_cwnd);
	MEMBER(tcpstats_record, tr_ssthresh);
	MEMBER(tcpstats_record, tr_snd_wnd);
	MEMBER(tcpstats_record, tr_rcv_wnd);
	MEMBER(tcpstats_record, tr_maxseg);
	MEMBER(tcpstats_record, tr_snd_scale);
	MEMBER(tcpstats_record, tr_rcv_scale);
	MEMBER(tcpstats_record, tr_rxtshift);
	MEMBER(tcpstats_record, tr_pad);
	MEMBER(tcpstats_record, tr_iss);
	MEMBER(tcpstats_record, tr_irs);
	MEMBER(tcpstats_record, tr_snd_una);
	MEMBER(tcpstats_record, tr_snd_nxt);
	MEMBER(tcpstats_record, tr_snd_max);
	MEMBER(tcpstats_record, tr_rcv_nxt);
	MEMBER(tcpstats_record, tr_rcv_adv);
	MEMBER(tcpstats_record, tr_snd_fack);
	MEMBER(tcpstats_record, tr_sent_bytes);
	MEMBER(tcpstats_record, tr_rexmit_bytes);
	MEMBER(tcpstats_record, tr_tlp_bytes);
	MEMBER(tcpstats_record, tr_rexmits);
	MEMBER(tcpstats_record, tr_ooo);
	MEMBER(tcpstats_record, tr_zerowin);
	MEMBER(tcpstats_record, tr_dupacks);
	MEMBER(tcpstats_record, tr_tlps);
	MEMBER(tcpstats_record, tr_rcv_sacks);
	MEMBER(tcpstats_record, tr_snd_holes);
	MEMBER(tcpstats_record, tr_sacked);
	MEMBER(tcpstats_record, tr_sack_rexmit);
	MEMBER(tcpstats_record, tr_dsacks);
	MEMBER(tcpstats_record, tr_dsack_bytes);
	MEMBER(tcpstats_record, tr_dsack_tlp_bytes);
	MEMBER(tcpstats_record, tr_delivered_ce);
	MEMBER(tcpstats_record, tr_received_ce);
	MEMBER(tcpstats_record, tr_t_rexmt);
	MEMBER(tcpstats_record, tr_t_persist);
	MEMBER(tcpstats_record, tr_t_keep);
	MEMBER(tcpstats_record, tr_t_2msl);
	MEMBER(tcpstats_record, tr_t_delack);
	MEMBER(tcpstats_record, tr_reass);
	MEMBER(tcpstats_record, tr_idle_rcv);
	MEMBER(tcpstats_record, tr_idle_snd);
	MEMBER(tcpstats_record, tr_age);
	MEMBER(tcpstats_record, tr_pacing_rate);
	MEMBER(tcpstats_record, tr_rcv_cc);
	MEMBER(tcpstats_record, tr_rcv_hiwat);
	MEMBER(tcpstats_record, tr_snd_cc);
	MEMBER(tcpstats_record, tr_snd_hiwat);
	MEMBER(tcpstats_record, tr_qlen);
	MEMBER(tcpstats_record, tr_incqlen);
	MEMBER(tcpstats_record, tr_qlimit);
	MEMBER(tcpstats_record, tr_error);
	MEMBER(tcpstats_record, tr_cc);
	MEMBER(tcpstats_record, tr_stack);
	MEMBER(tcpstats_trailer, tt_magic);
	MEMBER(tcpstats_trailer, tt_reserved);
	MEMBER(tcpstats_trailer, tt_seen);
	MEMBER(tcpstats_trailer, tt_records);
	MEMBER(tcpstats_trailer, tt_withheld);
	MEMBER(tcpstats_trailer, tt_spare);
	MEMBER(tcpstats_trailer, tt_cut);
	MEMBER(tcpstats_trailer, tt_fresh);
	MEMBER(tcpstats_trailer, tt_syncache);
	MEMBER(tcpstats_trailer, tt_duration);
	MEMBER(tcpstats_ends_header, eh_magic);
	MEMBER(tcpstats_ends_header, eh_version);
	MEMBER(tcpstats_ends_header, eh_header_len);
	MEMBER(tcpstats_ends_header, eh_end_len);
	MEMBER(tcpstats_ends_header, eh_record_len);
	MEMBER(tcpstats_ends_header, eh_count);
	MEMBER(tcpstats_ends_header, eh_pending);
	MEMBER(tcpstats_ends_header, eh_lost);
	MEMBER(tcpstats_ends_header, eh_realtime);
	MEMBER(tcpstats_ends_header, eh_uptime);
	MEMBER(tcpstats_ends_header, eh_vnet);
	MEMBER(tcpstats_ends_header, eh_jail);
	MEMBER(tcpstats_ends_header, eh_osreldate);
	MEMBER(tcpstats_ends_header, eh_flags);
	MEMBER(tcpstats_process, tp_started);
	MEMBER(tcpstats_process, tp_pid);
	MEMBER(tcpstats_process, tp_uid);
	MEMBER(tcpstats_process, tp_comm);
	MEMBER(tcpstats_process, tp_jail);
	MEMBER(tcpstats_end, te_record);
	MEMBER(tcpstats_end, te_began);
	MEMBER(tcpstats_end, te_established);
	MEMBER(tcpstats_end, te_ended);
	MEMBER(tcpstats_end, te_sent);
	MEMBER(tcpstats_end, te_received);
	MEMBER(tcpstats_end, te_flags);
	MEMBER(tcpstats_end, te_states);
	MEMBER(tcpstats_end, te_info);
	MEMBER(tcpstats_end, te_error);
	MEMBER(tcpstats_end, te_first);
	MEMBER(tcpstats_end, te_last);
	SIZE(tcpstats_vnet);
	MEMBER(tcpstats_vnet, tv_vnet);
	MEMBER(tcpstats_vnet, tv_stats_len);
	MEMBER(tcpstats_vnet, tv_born);
	MEMBER(tcpstats_vnet, tv_name);
	MEMBER(tcpstats_vnet, tv_states);
	MEMBER(tcpstats_vnet, tv_stats);
	VALUE(TCPSTATS_MAGIC);
	VALUE(TCPSTATS_ENDS_MAGIC);
	VALUE(TCPSTATS_ENDS_VERSION);
	VALUE(TCPSTATS_COMM_LEN);
	VALUE(TCPSTATS_EF_TAKEN);
	VALUE(TCPSTATS_EF_RST_SENT);
	VALUE(TCPSTATS_EF_FIN_RCVD);
	VALUE(TCPSTATS_TRAILER_MAGIC);
	VALUE(TCPSTATS_VERSION);
	VALUE(TCPSTATS_HF_ALLVNETS);
	VALUE(TCPSTATS_V_SEQ);
	VALUE(TCPSTATS_V_TCB);
	VALUE(TCPSTATS_V_RTT);
	VALUE(TCPSTATS_V_RTTMIN);
	VALUE(TCPSTATS_V_RTO);
	VALUE(TCPSTATS_V_BYTES);
	VALUE(TCPSTATS_V_DSACK);
	VALUE(TCPSTATS_V_ECN);
	VALUE(TCPSTATS_V_IDLE_SND);
	VALUE(TCPSTATS_V_AGE);
	VALUE(TCPSTATS_V_PACING);
	VALUE(TCPSTATS_V_SOCKBUF);
	VALUE(TCPSTATS_V_QUEUE);
	VALUE(TCPSTATS_F_TIMESTAMPS);
	VALUE(TCPSTATS_F_SACK);
	VALUE(TCPSTATS_F_WSCALE);
	VALUE(TCPSTATS_F_ECN);
	VALUE(TCPSTATS_F_ACE);
	VALUE(TCPSTATS_F_TFO);
	VALUE(TCPSTATS_F_TOE);
	VALUE(TCPSTATS_F_NODELAY);
	VALUE(TCPSTATS_F_NOPUSH);
	VALUE(TCPSTATS_F_SENTFIN);
	VALUE(TCPSTATS_F_FASTRECOVERY);
	VALUE(TCPSTATS_F_CONGRECOVERY);
	VALUE(TCPSTATS_F_DROPPED);
	VALUE(TCPSTATS_F_NOTACCEPTED);
	VALUE(TCPSTATS_F_NOFD);
}

static void
put(const void *p, size_t len, size_t grown)
{

	fwrite(p, len, 1, stdout);
	while (grown-- > 0)
		putchar(0xa5);
}

/* An established connection of which everything is known. */
static const struct tcpstats_record established = {
	.tr_gencnt = 0x1122334455667788, .tr_so = 0xfffff80012345678,
	.tr_vnet = 0, .tr_jail = 7, .tr_uid = 1001,
	.tr_family = 2, .tr_ipver = 4, .tr_vflag = 1, .tr_state = 4,
	.tr_laddr = { 192, 0, 2, 1 }, .tr_faddr = { 198, 51, 100, 2 },
	.tr_lport = 443, .tr_fport = 50000,
	.tr_valid = 0x1fff & ~TCPSTATS_V_QUEUE,
	.tr_flags = TCPSTATS_F_TIMESTAMPS | TCPSTATS_F_SACK,
	.tr_srtt = 12345, .tr_rttvar = 678, .tr_rttmin = 9000,
	.tr_rto = 230000,
	.tr_cwnd = 14480, .tr_ssthresh = 28960, .tr_snd_wnd = 65536,
	.tr_rcv_wnd = 131072, .tr_maxseg = 1448,
	.tr_snd_scale = 6, .tr_rcv_scale = 7, .tr_rxtshift = 1,
	/* Sent 4 GiB + 5000 and 3000 again, 2000 of the 5000 not acked. */
	.tr_iss = 1000, .tr_snd_una = 4001, .tr_snd_nxt = 6001,
	.tr_snd_max = 6001, .tr_irs = 0xffffff00, .tr_rcv_nxt = 0x00000101,
	.tr_rcv_adv = 0x00020101, .tr_snd_fack = 4001,
	.tr_sent_bytes = 0x100000000 + 5000 + 1448,
	.tr_rexmit_bytes = 3000 - 1448, .tr_tlp_bytes = 11,
	.tr_rexmits = 3, .tr_ooo = 4, .tr_zerowin = 5, .tr_dupacks = 6,
	.tr_tlps = 7, .tr_rcv_sacks = 8, .tr_snd_holes = 9, .tr_sacked = 10,
	.tr_sack_rexmit = 11, .tr_dsacks = 12, .tr_dsack_bytes = 13,
	.tr_dsack_tlp_bytes = 14, .tr_delivered_ce = 15,
	.tr_received_ce = 16,
	.tr_t_rexmt = 17, .tr_t_persist = 18, .tr_t_keep = 19,
	.tr_t_2msl = 20, .tr_t_delack = 21, .tr_reass = 22,
	.tr_idle_rcv = 23000, .tr_idle_snd = 24000, .tr_age = 25000000,
	.tr_pacing_rate = 26000000,
	.tr_rcv_cc = 27, .tr_rcv_hiwat = 65700, .tr_snd_cc = 2500,
	.tr_snd_hiwat = 32900,
	.tr_error = 54, .tr_cc = "cubic", .tr_stack = "freebsd",
};

/* A listener for both families in another vnet. */
static const struct tcpstats_record listener = {
	.tr_gencnt = 2, .tr_so = 0xfffff80000000002, .tr_vnet = 3,
	.tr_jail = 3, .tr_uid = 0,
	.tr_family = 28, .tr_ipver = 6, .tr_vflag = 7, .tr_state = 1,
	.tr_lport = 80, .tr_valid = TCPSTATS_V_SEQ | TCPSTATS_V_TCB |
	    TCPSTATS_V_QUEUE,
	.tr_qlen = 5, .tr_incqlen = 2, .tr_qlimit = 128,
	.tr_cc = "cubic", .tr_stack = "freebsd",
};

/* A link-local one that waits for accept(2), its peer's FIN there. */
static const struct tcpstats_record link_local = {
	.tr_gencnt = 3, .tr_so = 0xfffff80000000003, .tr_uid = 0xffffffff,
	.tr_family = 28, .tr_ipver = 6, .tr_vflag = 2, .tr_state = 5,
	.tr_laddr = { 0xfe, 0x80, [15] = 1 },
	.tr_faddr = { 0xfe, 0x80, [15] = 2 },
	.tr_lport = 8080, .tr_fport = 40000, .tr_zone = 2,
	.tr_valid = TCPSTATS_V_SEQ | TCPSTATS_V_TCB | TCPSTATS_V_BYTES |
	    TCPSTATS_V_PACING | TCPSTATS_V_SOCKBUF,
	.tr_flags = TCPSTATS_F_NOTACCEPTED, .tr_cwnd = 65535 << 14,
	.tr_ssthresh = 65535 << 14, .tr_pacing_rate = -1,
	.tr_iss = 10, .tr_snd_una = 11, .tr_snd_nxt = 11, .tr_snd_max = 11,
	.tr_irs = 20, .tr_rcv_nxt = 20 + 1 + 100 + 1,
	.tr_cc = "sixteen-chars-cc", .tr_stack = "rack",
};

/* TIME_WAIT as 13 has it: no socket, no tcpcb. */
static const struct tcpstats_record time_wait = {
	.tr_gencnt = 4, .tr_family = 2, .tr_ipver = 4, .tr_vflag = 1,
	.tr_state = 10, .tr_laddr = { 127, 0, 0, 1 },
	.tr_faddr = { 127, 0, 0, 1 }, .tr_lport = 1, .tr_fport = 65535,
	.tr_valid = TCPSTATS_V_SEQ, .tr_iss = 1, .tr_snd_nxt = 2,
	.tr_irs = 1, .tr_rcv_nxt = 1 + 1 + 777 + 1,
};

int
main(int argc, char **argv)
{
	const struct tcpstats_record *records[] = { &established, &listener,
	    &link_local, &time_wait };
	struct tcpstats_header header = {
		.th_magic = TCPSTATS_MAGIC, .th_version = TCPSTATS_VERSION,
		.th_osreldate = 1501000, .th_hz = 1000, .th_count = 4,
	};
	struct tcpstats_trailer trailer = {
		.tt_magic = TCPSTATS_TRAILER_MAGIC, .tt_seen = 13,
		.tt_records = 4, .tt_withheld = 7, .tt_spare = 0,
		.tt_fresh = 2, .tt_syncache = 9, .tt_duration = 1000,
	};
	size_t grown, i;

	if (argc == 2 && strcmp(argv[1], "layout") == 0)
		layout();
	else if (argc == 3 && strcmp(argv[1], "walk") == 0) {
		grown = strtoul(argv[2], NULL, 10);
		header.th_header_len = sizeof(header) + grown;
		header.th_record_len = sizeof(established) + grown;
		header.th_trailer_len = sizeof(trailer) + grown;
		put(&header, sizeof(header), grown);
		for (i = 0; i < 4; i++)
			put(records[i], sizeof(*records[i]), grown);
		put(&trailer, sizeof(trailer), grown);
	} else
		return (2);
	return (fflush(stdout) != 0);
}
