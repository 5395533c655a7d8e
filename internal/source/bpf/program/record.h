/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is written of a socket. record.go of the package above reads it: change
 * both together. All numbers are the kernel's own, in its own units; only what
 * takes the time of the moment is worked out here.
 */
#pragma once

#include "kernel.h"

enum kind {
	KIND_PLAIN = 1,   /* struct head: TIME_WAIT, SYN_RECV */
	KIND_LISTENER,    /* struct listener */
	KIND_CONNECTION,  /* struct connection */
	KIND_PASSED_OVER, /* struct head without a cookie: the filter does not want it */
};

enum flags {
	FLAG_FIN_RECEIVED = 1, /* the peer's FIN is one of bytes_received */
	FLAG_TOTAL_RTO = 2,    /* this kernel has total_rto */
	FLAG_RECEIVED_CE = 4,  /* this kernel has received_ce */
	FLAG_CLIENT = 8,       /* the connection was opened from here */
	FLAG_SERVER = 16,      /* or accepted here; neither: not known */
	FLAG_RETRANSMITS = 32, /* retransmits are known by type */
};

/* Where a retransmitted segment is counted. */
enum retransmit {
	RETRANSMIT_FAST,
	RETRANSMIT_TIMEOUT,
	RETRANSMIT_PROBE,
	RETRANSMIT_SYN,
	RETRANSMIT_TYPES,
};

struct head {
	__u8 kind;
	__u8 state;
	__u8 family;
	__u8 flags;
	__u16 local_port;
	__be16 peer_port;
	__u32 ifindex;
	__u32 uid;
	__u64 cookie;
	__u32 local[4]; /* IPv4: the first of them; network byte order */
	__u32 peer[4];
};

struct listener {
	struct head head;
	__u64 inode;
	__u32 queue;
	__u32 limit;
	__u64 drops; /* segments, 32 bits in the kernel */
};

struct connection {
	struct head head;
	__u64 inode;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u64 bytes_acked;
	__u64 bytes_received;
	__u64 pacing_rate;
	__u32 rto; /* jiffies */
	__u32 snd_mss;
	__u32 rcv_mss;
	__u32 lost;
	__u32 snd_cwnd;
	__u32 snd_ssthresh;
	__u32 srtt_us; /* << 3 */
	__u32 mdev_us; /* << 2 */
	__u32 min_rtt;
	__u32 total_retrans;
	__u32 since_sent;     /* jiffies */
	__u32 since_received; /* jiffies */
	__u32 since_acked;    /* jiffies */
	__u32 segs_out;
	__u32 segs_in;
	__u32 notsent;
	__u32 rate_delivered;
	__u32 rate_interval_us;
	__u32 chrono[3]; /* jiffies: busy, limited by the peer's window, by the send buffer */
	__u32 delivered_ce;
	__u32 received_ce;
	__u32 dsack_dups;
	__u32 rcv_ooopack;
	__u32 snd_wnd;
	__u32 rcv_wnd;
	__u32 total_rto;
	__u32 receive_queue;
	__u32 send_queue;
	__u32 rcvbuf;
	__u32 sndbuf;
	__u32 retransmits[RETRANSMIT_TYPES];
	char congestion[16];
};

/* enum sock_flags of <net/sock.h> */
#define SOCK_DEAD 0 /* no process has it any more, see sock_orphan */
#define SOCK_DONE 1 /* a FIN was taken in, see tcp_fin */

/*
 * Helper 46 is there for these programs since 5.12. Before that, identities have
 * to be made of the endpoints.
 */
const volatile bool cookies = true;

static __always_inline void fill_addresses(struct head *h, const struct sock_common *skc)
{
	if (h->family == AF_INET6) {
		h->local[0] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		h->local[1] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		h->local[2] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		h->local[3] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		h->peer[0] = skc->skc_v6_daddr.in6_u.u6_addr32[0];
		h->peer[1] = skc->skc_v6_daddr.in6_u.u6_addr32[1];
		h->peer[2] = skc->skc_v6_daddr.in6_u.u6_addr32[2];
		h->peer[3] = skc->skc_v6_daddr.in6_u.u6_addr32[3];
		return;
	}
	h->local[0] = skc->skc_rcv_saddr;
	h->local[1] = h->local[2] = h->local[3] = 0;
	h->peer[0] = skc->skc_daddr;
	h->peer[1] = h->peer[2] = h->peer[3] = 0;
}

/* As inet_diag_msg_common_fill of net/ipv4/inet_diag.c. */
static __always_inline void fill_head(struct head *h, struct sock_common *skc)
{
	h->family = skc->skc_family;
	h->flags = 0;
	h->local_port = skc->skc_num;
	h->peer_port = skc->skc_dport;
	h->ifindex = skc->skc_bound_dev_if;
	h->uid = 0;
	h->cookie = 0;
	fill_addresses(h, skc);
}

static __always_inline __u64 inode_of(struct sock *sk)
{
	struct socket *socket;

	if (bpf_core_field_exists(sk->sk_ino))
		return sk->sk_ino;
	socket = sk->sk_socket;
	return socket ? BPF_CORE_READ((struct socket_alloc *)socket, vfs_inode.i_ino) : 0;
}

/* As tcp_get_info and tcp_get_info_chrono_stats of net/ipv4/tcp.c. */
static __always_inline void fill_connection(struct connection *c, struct tcp_sock *tp)
{
	struct inet_connection_sock *icsk = &tp->inet_conn;
	struct sock *sk = &icsk->icsk_inet.sk;
	const struct tcp_congestion_ops *ca;
	__u32 now = bpf_jiffies64();
	__u32 running = now - tp->chrono_start;
	__s32 queued;
	__u8 chrono;

	if (sk->__sk_common.skc_flags & (1UL << SOCK_DONE))
		c->head.flags |= FLAG_FIN_RECEIVED;
	c->inode = inode_of(sk);
	c->bytes_sent = tp->bytes_sent;
	c->bytes_retrans = tp->bytes_retrans;
	c->bytes_acked = tp->bytes_acked;
	c->bytes_received = tp->bytes_received;
	c->pacing_rate = sk->sk_pacing_rate;
	c->rto = icsk->icsk_rto;
	c->snd_mss = tp->mss_cache;
	c->rcv_mss = icsk->icsk_ack.rcv_mss;
	c->lost = tp->lost_out;
	c->snd_cwnd = tp->snd_cwnd;
	c->snd_ssthresh = tp->snd_ssthresh;
	c->srtt_us = tp->srtt_us;
	c->mdev_us = tp->mdev_us;
	c->min_rtt = tp->rtt_min.s[0].v;
	c->total_retrans = tp->total_retrans;
	c->since_sent = now - tp->lsndtime;
	c->since_received = now - icsk->icsk_ack.lrcvtime;
	c->since_acked = now - tp->rcv_tstamp;
	c->segs_out = tp->segs_out;
	c->segs_in = tp->segs_in;
	queued = tp->write_seq - tp->snd_nxt;
	c->notsent = queued > 0 ? queued : 0;
	c->rate_delivered = tp->rate_delivered;
	c->rate_interval_us = tp->rate_interval_us;
	chrono = BPF_CORE_READ_BITFIELD(tp, chrono_type);
	c->chrono[0] = tp->chrono_stat[0] + (chrono == 1 ? running : 0);
	c->chrono[1] = tp->chrono_stat[1] + (chrono == 2 ? running : 0);
	c->chrono[2] = tp->chrono_stat[2] + (chrono == 3 ? running : 0);
	c->delivered_ce = tp->delivered_ce;
	c->received_ce = 0;
	if (bpf_core_field_exists(tp->received_ce)) {
		c->head.flags |= FLAG_RECEIVED_CE;
		c->received_ce = tp->received_ce;
	}
	c->dsack_dups = tp->dsack_dups;
	c->rcv_ooopack = tp->rcv_ooopack;
	c->snd_wnd = tp->snd_wnd;
	c->rcv_wnd = tp->rcv_wnd;
	c->total_rto = 0;
	if (bpf_core_field_exists(tp->total_rto)) {
		c->head.flags |= FLAG_TOTAL_RTO;
		c->total_rto = tp->total_rto;
	}
	queued = tp->rcv_nxt - tp->copied_seq;
	c->receive_queue = queued > 0 ? queued : 0;
	c->send_queue = tp->write_seq - tp->snd_una;
	c->rcvbuf = sk->sk_rcvbuf;
	c->sndbuf = sk->sk_sndbuf;
	ca = icsk->icsk_ca_ops;
	if (!ca || bpf_probe_read_kernel(c->congestion, sizeof(c->congestion), &ca->name))
		__builtin_memset(c->congestion, 0, sizeof(c->congestion));
}
