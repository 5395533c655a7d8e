/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * All TCP sockets of a network namespace, by the kernel's iterator "tcp" (5.9),
 * which since 5.15 holds each socket's lock meanwhile.
 */
#include "life.h"

/* bpf_seq_write and bpf_probe_read_kernel are for GPL-compatible programs only. */
char __license[] SEC("license") = "Dual BSD/GPL";

/*
 * The filter. What it does not want is written as its endpoints and state only,
 * so that sockets per state can still be counted.
 */
struct ports {
	__u64 bits[1024];
};

__u32 states = ~0u; /* bit n: state n is wanted */
bool by_local_port = false, by_peer_port = false, by_include = false, by_exclude = false;
struct ports local_ports = {}, peer_ports = {};

struct prefix {
	__u32 bits; /* that count, of all that follows */
	__u32 family;
	__u32 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct prefix);
	__type(value, __u8);
} include SEC(".maps"), exclude SEC(".maps");

/*
 * Established connections with which nothing happened since are left out; us of the
 * monotonic clock, 0: none is. All that changes their numbers refreshes tcp_mstamp:
 * segments in and out, timers, and reads by the process (tcp_mstamp_refresh).
 */
__u64 since = 0;

/* How many a dump has left out for that reason. The reader sets it to 0 before. */
__u64 left_out = 0;

/* The object describes only types of variables; a test reads these. */
const struct connection *layout_of_connection = 0;
const struct listener *layout_of_listener = 0;

static __always_inline bool has_port(const struct ports *p, __u16 port)
{
	return p->bits[(port >> 6) & 1023] >> (port & 63) & 1;
}

/* An IPv4 address of an IPv6 socket, ::ffff:0:0/96. */
static __always_inline bool is_mapped(const __u32 *address)
{
	return !address[0] && !address[1] && address[2] == __builtin_bswap32(0xffff);
}

static __always_inline bool wanted(const struct head *h)
{
	struct prefix p = {};

	if (!(states >> (h->state & 31) & 1))
		return false;
	if (by_local_port && !has_port(&local_ports, h->local_port))
		return false;
	if (h->state == TCP_LISTEN)
		return true;
	if (by_peer_port && !has_port(&peer_ports, __builtin_bswap16(h->peer_port)))
		return false;
	if (!by_include && !by_exclude)
		return true;
	if (h->family == AF_INET6 && !is_mapped(h->peer)) {
		p.bits = 32 + 128;
		p.family = AF_INET6;
		p.address[0] = h->peer[0];
		p.address[1] = h->peer[1];
		p.address[2] = h->peer[2];
		p.address[3] = h->peer[3];
	} else {
		p.bits = 32 + 32;
		p.family = AF_INET;
		p.address[0] = h->family == AF_INET6 ? h->peer[3] : h->peer[0];
	}
	if (by_include && !bpf_map_lookup_elem(&include, &p))
		return false;
	return !by_exclude || !bpf_map_lookup_elem(&exclude, &p);
}

/* Whether wanted may refuse an established connection. */
static __always_inline bool is_narrow(void)
{
	return by_local_port || by_peer_port || by_include || by_exclude || !(states >> TCP_ESTABLISHED & 1);
}

/* One that was never used, as after TCP_REPAIR, has no time. */
static __always_inline bool has_rested(const struct tcp_sock *tp)
{
	return tp->tcp_mstamp && tp->tcp_mstamp < since;
}

SEC("iter/tcp")
int dump_sockets(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct seq_file *seq = ctx->meta->seq;
	struct tcp_sock *tp;
	struct sock *sk;
	struct connection c;
	struct listener l;
	bool rested = false;

	if (!skc)
		return 0;
	c.head.state = skc->skc_state;
	if (since && c.head.state == TCP_ESTABLISHED) {
		tp = bpf_skc_to_tcp_sock(skc);
		rested = tp && has_rested(tp);
		if (rested && !is_narrow()) {
			left_out++;
			return 0;
		}
	}
	/*
	 * FIN_WAIT2 lasts in this shape, too. bpf_skc_to_tcp_timewait_sock does not know
	 * those of MPTCP's listeners, whose protocol is not plain TCP's.
	 */
	if (c.head.state == TCP_TIME_WAIT)
		c.head.state = BPF_CORE_READ((struct inet_timewait_sock *)skc, tw_substate);
	fill_head(&c.head, skc);
	if (!wanted(&c.head)) {
		c.head.kind = KIND_PASSED_OVER;
		bpf_seq_write(seq, &c.head, sizeof(c.head));
		return 0;
	}
	if (rested) {
		left_out++;
		return 0;
	}
	if (cookies)
		c.head.cookie = bpf_get_socket_cookie(skc);
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp) {
		c.head.kind = KIND_PLAIN;
		bpf_seq_write(seq, &c.head, sizeof(c.head));
		return 0;
	}
	c.head.uid = ctx->uid;
	if (c.head.state == TCP_LISTEN) {
		sk = &tp->inet_conn.icsk_inet.sk;
		l.head = c.head;
		l.head.kind = KIND_LISTENER;
		l.inode = inode_of(sk);
		l.queue = sk->sk_ack_backlog;
		l.limit = sk->sk_max_ack_backlog;
		l.drops = (__u32)sk->sk_drops.counter;
		bpf_seq_write(seq, &l, sizeof(l));
		return 0;
	}
	c.head.kind = KIND_CONNECTION;
	fill_connection(&c, tp);
	fill_life(&c, cookies ? bpf_sk_storage_get(&lives, tp, 0, 0) : 0);
	bpf_seq_write(seq, &c, sizeof(c));
	return 0;
}
