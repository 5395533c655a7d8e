/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * What /dev/tcpstats and /dev/tcpstats.ends give: see tcpstats(4).
 *
 * One walk is a header, th_count records, and a trailer, in the machine's own
 * byte order.  Readers go by the lengths in the header: a later version may
 * append members to any of the three, but never moves one or takes it away.
 * A member that this version does not have is known by its offset lying
 * beyond the length.
 */

#ifndef _TCPSTATS_H_
#define	_TCPSTATS_H_

#ifdef _KERNEL
#include <sys/param.h>
#include <sys/stddef.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#define	TCPSTATS_DEVICE		"tcpstats"
#define	TCPSTATS_DEVICE_TEXT	"tcpstats.text"
#define	TCPSTATS_DEVICE_ENDS	"tcpstats.ends"

#define	TCPSTATS_MAGIC		0x53504354	/* "TCPS" in little endian */
#define	TCPSTATS_TRAILER_MAGIC	0x45504354	/* "TCPE" in little endian */
#define	TCPSTATS_ENDS_MAGIC	0x46504354	/* "TCPF" in little endian */
#define	TCPSTATS_VERSION	1
#define	TCPSTATS_ENDS_VERSION	1

#define	TCPSTATS_CC_LEN		16	/* TCP_CA_NAME_MAX */
#define	TCPSTATS_STACK_LEN	32	/* TCP_FUNCTION_NAME_LEN_MAX */
#define	TCPSTATS_COMM_LEN	20	/* MAXCOMLEN + 1 */
#define	TCPSTATS_NAME_LEN	256	/* MAXHOSTNAMELEN */
#define	TCPSTATS_MAX_STATES	16	/* TCP_NSTATES, which is 11, or more */
#define	TCPSTATS_MAX_STATS	192	/* numbers of struct tcpstat, or more */

struct tcpstats_header {
	uint32_t	th_magic;	/* TCPSTATS_MAGIC */
	uint16_t	th_version;	/* TCPSTATS_VERSION */
	uint16_t	th_header_len;	/* bytes up to the first record */
	uint16_t	th_record_len;	/* bytes from record to record */
	uint16_t	th_trailer_len;	/* bytes after the last record */
	uint32_t	th_flags;	/* TCPSTATS_HF_* */
	uint32_t	th_osreldate;	/* the running kernel's */
	uint32_t	th_hz;		/* ticks per second */
	uint64_t	th_realtime;	/* ns since the epoch, when the walk began */
	uint64_t	th_uptime;	/* ns since boot, when the walk began */
	uint32_t	th_vnet;	/* the reader's: see tr_vnet */
	uint32_t	th_jail;	/* the reader's; 0: not in a jail */
	uint64_t	th_count;	/* records that follow */
	uint64_t	th_reserved;
};

/* th_flags */
#define	TCPSTATS_HF_ALLVNETS	0x00000001	/* all vnets were walked */

struct tcpstats_record {
	/* Identity: unique in its vnet since boot. */
	uint64_t	tr_gencnt;	/* inp_gencnt */
	uint64_t	tr_so;		/* joins xf_data of kern.file; 0: none */
	uint32_t	tr_vnet;	/* jail that owns the vnet; 0: the host */
	uint32_t	tr_jail;	/* jail of the socket; 0: the host */
	uint32_t	tr_uid;		/* effective user who made the socket */

	/* Endpoints. */
	uint8_t		tr_family;	/* of the socket: 2 IPv4, 28 IPv6 */
	uint8_t		tr_ipver;	/* of the addresses below: 4 or 6 */
	uint8_t		tr_vflag;	/* inp_vflag */
	uint8_t		tr_state;	/* TCPS_* of <netinet/tcp_fsm.h> */
	uint8_t		tr_laddr[16];	/* network order; IPv4: the first 4 */
	uint8_t		tr_faddr[16];
	uint16_t	tr_lport;	/* host order */
	uint16_t	tr_fport;	/* host order */
	uint32_t	tr_zone;	/* interface of link-local addresses */

	uint32_t	tr_valid;	/* TCPSTATS_V_*: which members are known */
	uint32_t	tr_flags;	/* TCPSTATS_F_* */

	/* Times, converted from the stack's own units. */
	uint32_t	tr_srtt;	/* us; 0: no sample yet */
	uint32_t	tr_rttvar;	/* us */
	uint32_t	tr_rttmin;	/* us; see BUGS of tcpstats(4) */
	uint32_t	tr_rto;		/* us */

	/* Windows. */
	uint32_t	tr_cwnd;	/* bytes */
	uint32_t	tr_ssthresh;	/* bytes */
	uint32_t	tr_snd_wnd;	/* bytes that the peer offers */
	uint32_t	tr_rcv_wnd;	/* bytes that are offered to the peer */
	uint32_t	tr_maxseg;	/* bytes */
	uint8_t		tr_snd_scale;	/* shifts of the window */
	uint8_t		tr_rcv_scale;
	uint8_t		tr_rxtshift;	/* log2 of the back-off now */
	uint8_t		tr_pad;

	/* Sequence numbers. */
	uint32_t	tr_iss;
	uint32_t	tr_irs;
	uint32_t	tr_snd_una;
	uint32_t	tr_snd_nxt;
	uint32_t	tr_snd_max;
	uint32_t	tr_rcv_nxt;
	uint32_t	tr_rcv_adv;
	uint32_t	tr_snd_fack;	/* highest that SACK acknowledged, + 1 */

	/* Counters since the connection began. */
	uint64_t	tr_sent_bytes;	/* payload that the stack calls new */
	uint64_t	tr_rexmit_bytes; /* payload that the stack calls resent */
	uint64_t	tr_tlp_bytes;	/* payload of tail loss probes */
	uint32_t	tr_rexmits;	/* segments */
	uint32_t	tr_ooo;		/* segments received out of order */
	uint32_t	tr_zerowin;	/* zero windows sent */
	uint32_t	tr_dupacks;	/* in a row, now */
	uint32_t	tr_tlps;	/* tail loss probes */

	/* SACK. */
	uint32_t	tr_rcv_sacks;	/* blocks held, now */
	uint32_t	tr_snd_holes;	/* holes known of, now */
	uint32_t	tr_sacked;	/* bytes sacked, now */
	uint32_t	tr_sack_rexmit;	/* bytes resent in this recovery */
	uint32_t	tr_dsacks;	/* segments that the peer had twice */
	uint32_t	tr_dsack_bytes;
	uint32_t	tr_dsack_tlp_bytes;

	/* ECN. */
	uint32_t	tr_delivered_ce; /* segments of ours marked on the way */
	uint32_t	tr_received_ce;	/* segments that came marked */

	/* Timers: ms to go, rounded up; 0: not running. */
	uint32_t	tr_t_rexmt;
	uint32_t	tr_t_persist;
	uint32_t	tr_t_keep;
	uint32_t	tr_t_2msl;
	uint32_t	tr_t_delack;
	uint32_t	tr_reass;	/* bytes in the reassembly queue */

	uint64_t	tr_idle_rcv;	/* us since the last segment came */
	uint64_t	tr_idle_snd;	/* us since new data was sent */
	uint64_t	tr_age;		/* us since it was established */
	int64_t		tr_pacing_rate;	/* bytes per second; -1: no limit */

	/* Socket buffers, in bytes. */
	uint32_t	tr_rcv_cc;
	uint32_t	tr_rcv_hiwat;
	uint32_t	tr_snd_cc;
	uint32_t	tr_snd_hiwat;

	/* Listen queues, in connections. */
	uint32_t	tr_qlen;	/* complete, waiting for accept(2) */
	uint32_t	tr_incqlen;	/* not complete, or held by a filter */
	uint32_t	tr_qlimit;
	uint32_t	tr_error;	/* last soft error, an errno; 0: none */

	char		tr_cc[TCPSTATS_CC_LEN];		/* NUL-padded */
	char		tr_stack[TCPSTATS_STACK_LEN];	/* NUL-padded */
};

/*
 * tr_valid: groups of members that are known.  Those of a group whose bit is
 * not set are 0 and mean nothing.  Identity and endpoints always are known.
 */
#define	TCPSTATS_V_SEQ		0x00000001	/* iss, irs, snd_nxt, rcv_nxt */
#define	TCPSTATS_V_TCB		0x00000002	/* all that is not listed below */
#define	TCPSTATS_V_RTT		0x00000004	/* srtt, rttvar */
#define	TCPSTATS_V_RTTMIN	0x00000008	/* rttmin */
#define	TCPSTATS_V_RTO		0x00000010	/* rto */
#define	TCPSTATS_V_BYTES	0x00000020	/* sent_bytes, rexmit_bytes */
#define	TCPSTATS_V_DSACK	0x00000040	/* dsacks and their bytes */
#define	TCPSTATS_V_ECN		0x00000080	/* delivered_ce, received_ce */
#define	TCPSTATS_V_IDLE_SND	0x00000100	/* idle_snd */
#define	TCPSTATS_V_AGE		0x00000200	/* age */
#define	TCPSTATS_V_PACING	0x00000400	/* pacing_rate */
#define	TCPSTATS_V_SOCKBUF	0x00000800	/* rcv_cc to snd_hiwat */
#define	TCPSTATS_V_QUEUE	0x00001000	/* qlen, incqlen, qlimit */

/* tr_flags */
#define	TCPSTATS_F_TIMESTAMPS	0x00000001	/* both sides agreed */
#define	TCPSTATS_F_SACK		0x00000002
#define	TCPSTATS_F_WSCALE	0x00000004
#define	TCPSTATS_F_ECN		0x00000008
#define	TCPSTATS_F_ACE		0x00000010	/* accurate ECN */
#define	TCPSTATS_F_TFO		0x00000020	/* fast open */
#define	TCPSTATS_F_TOE		0x00000040	/* the card does TCP */
#define	TCPSTATS_F_NODELAY	0x00000080
#define	TCPSTATS_F_NOPUSH	0x00000100
#define	TCPSTATS_F_SENTFIN	0x00000200	/* snd_max has our FIN */
#define	TCPSTATS_F_FASTRECOVERY	0x00000400
#define	TCPSTATS_F_CONGRECOVERY	0x00000800
#define	TCPSTATS_F_DROPPED	0x00001000	/* over; the process holds it yet */
#define	TCPSTATS_F_NOTACCEPTED	0x00002000	/* waits in a listen queue */
#define	TCPSTATS_F_NOFD		0x00004000	/* no descriptor; until 13 only */

struct tcpstats_trailer {
	uint32_t	tt_magic;	/* TCPSTATS_TRAILER_MAGIC */
	uint32_t	tt_reserved;
	uint64_t	tt_seen;	/* records, withheld, cut and fresh */
	uint64_t	tt_records;	/* in the records above */
	uint64_t	tt_withheld;	/* that the reader may not see */
	uint64_t	tt_spare;	/* 0 */
	uint64_t	tt_cut;		/* grown in the walk: no room for them */
	uint64_t	tt_fresh;	/* younger than the walk, or being freed */
	uint64_t	tt_syncache;	/* SYN_RECEIVED without a socket: not above */
	uint64_t	tt_duration;	/* ns that the walk took */
};

/*
 * /dev/tcpstats.ends.  Each read gives a header and eh_count ends.
 */
struct tcpstats_ends_header {
	uint32_t	eh_magic;	/* TCPSTATS_ENDS_MAGIC */
	uint16_t	eh_version;	/* TCPSTATS_ENDS_VERSION */
	uint16_t	eh_header_len;	/* bytes up to the first end */
	uint16_t	eh_end_len;	/* bytes from end to end */
	uint16_t	eh_record_len;	/* bytes of te_record */
	uint32_t	eh_count;	/* ends that follow */
	uint64_t	eh_pending;	/* ends that are left for other reads */
	uint64_t	eh_lost;	/* since the open: found the ring full */
	uint64_t	eh_realtime;	/* ns since the epoch, now */
	uint64_t	eh_uptime;	/* ns since boot, now */
	uint32_t	eh_vnet;	/* the reader's: see tr_vnet */
	uint32_t	eh_jail;	/* the reader's; 0: not in a jail */
	uint32_t	eh_osreldate;	/* the running kernel's */
	uint32_t	eh_flags;	/* TCPSTATS_HF_* */
};

/* A process as it was when it was seen with the connection. */
struct tcpstats_process {
	uint64_t	tp_started;	/* ns since boot */
	uint32_t	tp_pid;		/* 0: none was seen, all else is 0 */
	uint32_t	tp_uid;		/* real user */
	char		tp_comm[TCPSTATS_COMM_LEN];	/* NUL-padded */
	uint32_t	tp_jail;	/* 0: the host */
};

/* The end of a connection, or of an attempt. */
struct tcpstats_end {
	/*
	 * As of the end, but for tr_state, which is the state that it left as
	 * far as was seen, and tr_cc.
	 */
	struct tcpstats_record te_record;

	/* ns since boot; 0: not known. */
	uint64_t	te_began;	/* our first SYN was sent */
	uint64_t	te_established;	/* the handshake was over */
	uint64_t	te_ended;

	/* Payload, SYN and FIN not counted. */
	uint64_t	te_sent;	/* without what was sent again */
	uint64_t	te_received;

	uint32_t	te_flags;	/* TCPSTATS_EF_* */
	uint32_t	te_states;	/* 1 << TCPS_*: states that were seen */
	uint32_t	te_info;	/* t_end_info_status, TCP_EI_BITS_* */
	uint32_t	te_error;	/* so_error, an errno; 0: none, or read */

	struct tcpstats_process te_first; /* who connected */
	struct tcpstats_process te_last;  /* who made TCP send last */
};

/* te_flags */
#define	TCPSTATS_EF_TAKEN	0x00000001	/* older than the helper; the */
						/* bytes have 32 bits only */
#define	TCPSTATS_EF_RST_SENT	0x00000002	/* with tcp_output */
#define	TCPSTATS_EF_FIN_RCVD	0x00000004

/* A network stack that a jail has. */
struct tcpstats_vnet {
	uint32_t	tv_vnet;	/* asked: above which id; jail's id */
	uint32_t	tv_stats_len;	/* bytes of tv_stats */
	/*
	 * ns since boot, when it was made, or this module was loaded.  Another
	 * stack whose jail has the same id has another one.
	 */
	uint64_t	tv_born;
	char		tv_name[TCPSTATS_NAME_LEN];	/* of the jail */
	uint64_t	tv_states[TCPSTATS_MAX_STATES];	/* connections, by state */
	uint64_t	tv_stats[TCPSTATS_MAX_STATS];	/* struct tcpstat */
};

#ifdef __FreeBSD__
#include <sys/ioccom.h>

/*
 * 1: give what is of all vnets, not only of the reader's; 0, as at first: do
 * not.  For root outside of jails.
 */
#define	TCPSTATS_ALLVNETS	_IOW('T', 3, int)

/*
 * The vnet with the lowest id above tv_vnet; ENOENT: there are no more.  The
 * host's own, which has the id 0, is not among them.  For root outside of jails.
 */
#define	TCPSTATS_VNET		_IOWR('T', 4, struct tcpstats_vnet)
#endif

/*
 * The layout is the interface.  Every offset is asserted, so that no compiler,
 * option or architecture changes it unnoticed.
 */
#define	TCPSTATS_AT(type, member, offset)				\
	_Static_assert(offsetof(struct type, member) == (offset),	\
	    #type "." #member " is not at " #offset)

TCPSTATS_AT(tcpstats_header, th_magic, 0);
TCPSTATS_AT(tcpstats_header, th_version, 4);
TCPSTATS_AT(tcpstats_header, th_header_len, 6);
TCPSTATS_AT(tcpstats_header, th_record_len, 8);
TCPSTATS_AT(tcpstats_header, th_trailer_len, 10);
TCPSTATS_AT(tcpstats_header, th_flags, 12);
TCPSTATS_AT(tcpstats_header, th_osreldate, 16);
TCPSTATS_AT(tcpstats_header, th_hz, 20);
TCPSTATS_AT(tcpstats_header, th_realtime, 24);
TCPSTATS_AT(tcpstats_header, th_uptime, 32);
TCPSTATS_AT(tcpstats_header, th_vnet, 40);
TCPSTATS_AT(tcpstats_header, th_jail, 44);
TCPSTATS_AT(tcpstats_header, th_count, 48);
TCPSTATS_AT(tcpstats_header, th_reserved, 56);
_Static_assert(sizeof(struct tcpstats_header) == 64, "tcpstats_header");

TCPSTATS_AT(tcpstats_record, tr_gencnt, 0);
TCPSTATS_AT(tcpstats_record, tr_so, 8);
TCPSTATS_AT(tcpstats_record, tr_vnet, 16);
TCPSTATS_AT(tcpstats_record, tr_jail, 20);
TCPSTATS_AT(tcpstats_record, tr_uid, 24);
TCPSTATS_AT(tcpstats_record, tr_family, 28);
TCPSTATS_AT(tcpstats_record, tr_ipver, 29);
TCPSTATS_AT(tcpstats_record, tr_vflag, 30);
TCPSTATS_AT(tcpstats_record, tr_state, 31);
TCPSTATS_AT(tcpstats_record, tr_laddr, 32);
TCPSTATS_AT(tcpstats_record, tr_faddr, 48);
TCPSTATS_AT(tcpstats_record, tr_lport, 64);
TCPSTATS_AT(tcpstats_record, tr_fport, 66);
TCPSTATS_AT(tcpstats_record, tr_zone, 68);
TCPSTATS_AT(tcpstats_record, tr_valid, 72);
TCPSTATS_AT(tcpstats_record, tr_flags, 76);
TCPSTATS_AT(tcpstats_record, tr_srtt, 80);
TCPSTATS_AT(tcpstats_record, tr_rttvar, 84);
TCPSTATS_AT(tcpstats_record, tr_rttmin, 88);
TCPSTATS_AT(tcpstats_record, tr_rto, 92);
TCPSTATS_AT(tcpstats_record, tr_cwnd, 96);
TCPSTATS_AT(tcpstats_record, tr_ssthresh, 100);
TCPSTATS_AT(tcpstats_record, tr_snd_wnd, 104);
TCPSTATS_AT(tcpstats_record, tr_rcv_wnd, 108);
TCPSTATS_AT(tcpstats_record, tr_maxseg, 112);
TCPSTATS_AT(tcpstats_record, tr_snd_scale, 116);
TCPSTATS_AT(tcpstats_record, tr_rcv_scale, 117);
TCPSTATS_AT(tcpstats_record, tr_rxtshift, 118);
TCPSTATS_AT(tcpstats_record, tr_pad, 119);
TCPSTATS_AT(tcpstats_record, tr_iss, 120);
TCPSTATS_AT(tcpstats_record, tr_irs, 124);
TCPSTATS_AT(tcpstats_record, tr_snd_una, 128);
TCPSTATS_AT(tcpstats_record, tr_snd_nxt, 132);
TCPSTATS_AT(tcpstats_record, tr_snd_max, 136);
TCPSTATS_AT(tcpstats_record, tr_rcv_nxt, 140);
TCPSTATS_AT(tcpstats_record, tr_rcv_adv, 144);
TCPSTATS_AT(tcpstats_record, tr_snd_fack, 148);
TCPSTATS_AT(tcpstats_record, tr_sent_bytes, 152);
TCPSTATS_AT(tcpstats_record, tr_rexmit_bytes, 160);
TCPSTATS_AT(tcpstats_record, tr_tlp_bytes, 168);
TCPSTATS_AT(tcpstats_record, tr_rexmits, 176);
TCPSTATS_AT(tcpstats_record, tr_ooo, 180);
TCPSTATS_AT(tcpstats_record, tr_zerowin, 184);
TCPSTATS_AT(tcpstats_record, tr_dupacks, 188);
TCPSTATS_AT(tcpstats_record, tr_tlps, 192);
TCPSTATS_AT(tcpstats_record, tr_rcv_sacks, 196);
TCPSTATS_AT(tcpstats_record, tr_snd_holes, 200);
TCPSTATS_AT(tcpstats_record, tr_sacked, 204);
TCPSTATS_AT(tcpstats_record, tr_sack_rexmit, 208);
TCPSTATS_AT(tcpstats_record, tr_dsacks, 212);
TCPSTATS_AT(tcpstats_record, tr_dsack_bytes, 216);
TCPSTATS_AT(tcpstats_record, tr_dsack_tlp_bytes, 220);
TCPSTATS_AT(tcpstats_record, tr_delivered_ce, 224);
TCPSTATS_AT(tcpstats_record, tr_received_ce, 228);
TCPSTATS_AT(tcpstats_record, tr_t_rexmt, 232);
TCPSTATS_AT(tcpstats_record, tr_t_persist, 236);
TCPSTATS_AT(tcpstats_record, tr_t_keep, 240);
TCPSTATS_AT(tcpstats_record, tr_t_2msl, 244);
TCPSTATS_AT(tcpstats_record, tr_t_delack, 248);
TCPSTATS_AT(tcpstats_record, tr_reass, 252);
TCPSTATS_AT(tcpstats_record, tr_idle_rcv, 256);
TCPSTATS_AT(tcpstats_record, tr_idle_snd, 264);
TCPSTATS_AT(tcpstats_record, tr_age, 272);
TCPSTATS_AT(tcpstats_record, tr_pacing_rate, 280);
TCPSTATS_AT(tcpstats_record, tr_rcv_cc, 288);
TCPSTATS_AT(tcpstats_record, tr_rcv_hiwat, 292);
TCPSTATS_AT(tcpstats_record, tr_snd_cc, 296);
TCPSTATS_AT(tcpstats_record, tr_snd_hiwat, 300);
TCPSTATS_AT(tcpstats_record, tr_qlen, 304);
TCPSTATS_AT(tcpstats_record, tr_incqlen, 308);
TCPSTATS_AT(tcpstats_record, tr_qlimit, 312);
TCPSTATS_AT(tcpstats_record, tr_error, 316);
TCPSTATS_AT(tcpstats_record, tr_cc, 320);
TCPSTATS_AT(tcpstats_record, tr_stack, 336);
_Static_assert(sizeof(struct tcpstats_record) == 368, "tcpstats_record");

TCPSTATS_AT(tcpstats_trailer, tt_magic, 0);
TCPSTATS_AT(tcpstats_trailer, tt_reserved, 4);
TCPSTATS_AT(tcpstats_trailer, tt_seen, 8);
TCPSTATS_AT(tcpstats_trailer, tt_records, 16);
TCPSTATS_AT(tcpstats_trailer, tt_withheld, 24);
TCPSTATS_AT(tcpstats_trailer, tt_spare, 32);
TCPSTATS_AT(tcpstats_trailer, tt_cut, 40);
TCPSTATS_AT(tcpstats_trailer, tt_fresh, 48);
TCPSTATS_AT(tcpstats_trailer, tt_syncache, 56);
TCPSTATS_AT(tcpstats_trailer, tt_duration, 64);
_Static_assert(sizeof(struct tcpstats_trailer) == 72, "tcpstats_trailer");

TCPSTATS_AT(tcpstats_ends_header, eh_magic, 0);
TCPSTATS_AT(tcpstats_ends_header, eh_version, 4);
TCPSTATS_AT(tcpstats_ends_header, eh_header_len, 6);
TCPSTATS_AT(tcpstats_ends_header, eh_end_len, 8);
TCPSTATS_AT(tcpstats_ends_header, eh_record_len, 10);
TCPSTATS_AT(tcpstats_ends_header, eh_count, 12);
TCPSTATS_AT(tcpstats_ends_header, eh_pending, 16);
TCPSTATS_AT(tcpstats_ends_header, eh_lost, 24);
TCPSTATS_AT(tcpstats_ends_header, eh_realtime, 32);
TCPSTATS_AT(tcpstats_ends_header, eh_uptime, 40);
TCPSTATS_AT(tcpstats_ends_header, eh_vnet, 48);
TCPSTATS_AT(tcpstats_ends_header, eh_jail, 52);
TCPSTATS_AT(tcpstats_ends_header, eh_osreldate, 56);
TCPSTATS_AT(tcpstats_ends_header, eh_flags, 60);
_Static_assert(sizeof(struct tcpstats_ends_header) == 64,
    "tcpstats_ends_header");

TCPSTATS_AT(tcpstats_process, tp_started, 0);
TCPSTATS_AT(tcpstats_process, tp_pid, 8);
TCPSTATS_AT(tcpstats_process, tp_uid, 12);
TCPSTATS_AT(tcpstats_process, tp_comm, 16);
TCPSTATS_AT(tcpstats_process, tp_jail, 36);
_Static_assert(sizeof(struct tcpstats_process) == 40, "tcpstats_process");

TCPSTATS_AT(tcpstats_end, te_record, 0);
TCPSTATS_AT(tcpstats_end, te_began, 368);
TCPSTATS_AT(tcpstats_end, te_established, 376);
TCPSTATS_AT(tcpstats_end, te_ended, 384);
TCPSTATS_AT(tcpstats_end, te_sent, 392);
TCPSTATS_AT(tcpstats_end, te_received, 400);
TCPSTATS_AT(tcpstats_end, te_flags, 408);
TCPSTATS_AT(tcpstats_end, te_states, 412);
TCPSTATS_AT(tcpstats_end, te_info, 416);
TCPSTATS_AT(tcpstats_end, te_error, 420);
TCPSTATS_AT(tcpstats_end, te_first, 424);
TCPSTATS_AT(tcpstats_end, te_last, 464);
_Static_assert(sizeof(struct tcpstats_end) == 504, "tcpstats_end");

TCPSTATS_AT(tcpstats_vnet, tv_vnet, 0);
TCPSTATS_AT(tcpstats_vnet, tv_stats_len, 4);
TCPSTATS_AT(tcpstats_vnet, tv_born, 8);
TCPSTATS_AT(tcpstats_vnet, tv_name, 16);
TCPSTATS_AT(tcpstats_vnet, tv_states, 272);
TCPSTATS_AT(tcpstats_vnet, tv_stats, 400);
_Static_assert(sizeof(struct tcpstats_vnet) == 1936, "tcpstats_vnet");

#undef	TCPSTATS_AT

#endif /* !_TCPSTATS_H_ */
