/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The last sample of each TCP connection that ends, and the process that had it.
 *
 * The tracepoint inet_sock_set_state comes before a socket is torn down and before
 * tcp_disconnect forgets its peer and counters, and has the state that it leaves.
 * With what the socket itself shows at that moment, it is enough to see why the
 * connection ended: the tracepoints tcp_receive_reset and tcp_send_reset would add
 * nothing, and the latter runs for every packet to a closed port.
 *
 * A record wakes nobody, unless a good part of the buffer is full: the reader comes
 * by itself now and then.
 */
#include "life.h"

/* bpf_probe_read_kernel and bpf_get_current_task are for GPL-compatible programs only. */
char __license[] SEC("license") = "Dual BSD/GPL";

/* The process that was seen with a socket. */
struct holder {
	__u64 start; /* of the process, ns since boot, time asleep included */
	__u32 pid;   /* 0: none was seen */
	__u32 uid;
	char executable[63]; /* base name of its file */
	__u8 is_comm;        /* or the name of its first thread */
};

/* What closes.go of the package above reads: change both together. */
struct ending {
	struct connection connection; /* in the state that it left */
	struct holder holder;
	__u64 established; /* of struct life */
	__u64 handshake;   /* of struct life */
	__u64 ended;       /* ns since boot, time asleep included */
	__u32 error;       /* sk_err */
	__u32 facts;       /* enum facts */
};

enum facts {
	FACT_CLOSED = 1,           /* its process has closed it, or has ended */
	FACT_NOT_ACCEPTED = 2,     /* no process had it yet */
	FACT_DATA_AFTER_CLOSE = 4, /* the peer sent data that nobody can read any more */
};

/* The object describes only types of variables; a test reads this. */
const struct ending *layout_of_ending = 0;

/* The network namespace whose connections are wanted. */
const volatile __u32 namespace = 0;

/* The reader is woken when so many bytes wait for it. */
const volatile __u64 wake_at = 2 << 20;

/* Records for which there was no room. */
__u64 lost = 0;

/* When the reader was last woken, ns since boot. */
__u64 woken = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} endings SEC(".maps");

/*
 * Holders of sockets between connecting or closing and the end, by address of the
 * socket. Of more connections than fit, the oldest are forgotten, which a dump has
 * had long since.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct holder);
} holders SEC(".maps");

/*
 * What changes of struct life that sock_diag's dumps would not show: closes the gap
 * until the next dump that asks for all of it, which costs much more. Nobody is woken.
 * While the iterator makes the dumps, nobody reads it, and it stays full.
 */
struct change {
	__u64 cookie;
	__u8 role;    /* of struct life, as all that follows */
	bool counted;
	__u32 retransmits[RETRANSMIT_TYPES];
};

/* The object describes only types of variables; a test reads this. */
const struct change *layout_of_change = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 128 << 10);
} changes SEC(".maps");

/* Changes for which there was no room. */
__u64 untold = 0;

static __always_inline void tell(struct sock *sk, const struct life *life)
{
	struct change *c;

	if (!cookies)
		return;
	c = bpf_ringbuf_reserve(&changes, sizeof(*c), 0);
	if (!c) {
		__sync_fetch_and_add(&untold, 1);
		return;
	}
	c->cookie = bpf_get_socket_cookie(sk);
	c->role = life->role;
	c->counted = life->counted;
	__builtin_memcpy(c->retransmits, life->retransmits, sizeof(c->retransmits));
	bpf_ringbuf_submit(c, BPF_RB_NO_WAKEUP);
}

#define PF_KTHREAD 0x00200000 /* <linux/sched.h> */

/*
 * The running process. It has no file any more if it is about to end. A thread of the
 * kernel, which closes for others (MPTCP does so), is none.
 */
static __always_inline void fill_holder(struct holder *h)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	const unsigned char *name;

	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return;
	name = BPF_CORE_READ(task, mm, exe_file, f_path.dentry, d_name.name);
	h->start = BPF_CORE_READ(task, group_leader, start_boottime);
	h->pid = bpf_get_current_pid_tgid() >> 32;
	h->uid = bpf_get_current_uid_gid();
	h->is_comm = !name || bpf_probe_read_kernel_str(h->executable, sizeof(h->executable), name) <= 1;
	if (h->is_comm)
		BPF_CORE_READ_STR_INTO(&h->executable, task, group_leader, comm);
}

static __always_inline void remember(__u64 key)
{
	struct holder h = {};

	fill_holder(&h);
	if (h.pid)
		bpf_map_update_elem(&holders, &key, &h, 0);
}

/* RCV_SHUTDOWN | SEND_SHUTDOWN of <net/sock.h> */
#define SHUTDOWN_MASK 3

/*
 * Whether the running process is closing a socket that leaves the given state for
 * CLOSE at once, without a FIN: there are bytes that it has not read, or its
 * SO_LINGER is 0. A reset from the peer, which comes while anybody runs, finds the
 * socket open for one direction at least (__tcp_close and tcp_done of
 * net/ipv4/tcp.c).
 */
static __always_inline bool is_closed_by_current(const struct sock *sk, int old)
{
	return sk->sk_shutdown == SHUTDOWN_MASK && (old == TCP_ESTABLISHED || old == TCP_CLOSE_WAIT || old == TCP_SYN_RECV);
}

static __always_inline struct life *life_of(struct sock *sk, __u64 flags)
{
	return cookies ? bpf_sk_storage_get(&lives, sk, 0, flags) : 0;
}

/* All that was retransmitted during the handshake was a SYN, or a SYN-ACK. */
static __always_inline void count_handshake(struct life *life, const struct tcp_sock *tp)
{
	life->counted = true;
	life->total_retrans = tp->total_retrans;
	life->retransmits[RETRANSMIT_SYN] = tp->total_retrans;
}

static __always_inline __u32 facts_of(struct sock *sk, struct tcp_sock *tp, const struct life *life)
{
	__u32 facts = 0;

	if (sk->__sk_common.skc_flags & (1UL << SOCK_DEAD))
		facts |= FACT_CLOSED;
	else if (!sk->sk_socket)
		facts |= FACT_NOT_ACCEPTED;
	if (life && life->finished && tp->data_segs_in != life->data_segs_in)
		facts |= FACT_DATA_AFTER_CLOSE;
	return facts;
}

/* More than this would keep it from its work, ns. */
#define WAKE_PAUSE 1000000

static __always_inline void submit(struct ending *e, __u64 now)
{
	if (bpf_ringbuf_query(&endings, BPF_RB_AVAIL_DATA) >= wake_at && now - woken >= WAKE_PAUSE) {
		woken = now;
		bpf_ringbuf_submit(e, BPF_RB_FORCE_WAKEUP);
	} else {
		bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	}
}

static __always_inline void end(struct sock *sk, struct life *life, __u64 key, int old)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct holder *h;
	struct ending *e;

	if (!tp)
		return;
	e = bpf_ringbuf_reserve(&endings, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&lost, 1);
		bpf_map_delete_elem(&holders, &key);
		return;
	}
	e->connection.head.kind = KIND_CONNECTION;
	e->connection.head.state = old;
	fill_head(&e->connection.head, &sk->__sk_common);
	/* skc_num may have been given back already. */
	e->connection.head.local_port = __builtin_bswap16(tp->inet_conn.icsk_inet.inet_sport);
	e->connection.head.uid = sk->sk_uid.val;
	if (cookies)
		e->connection.head.cookie = bpf_get_socket_cookie(sk);
	fill_connection(&e->connection, tp);
	if (life && (old == TCP_SYN_SENT || old == TCP_SYN_RECV))
		count_handshake(life, tp);
	fill_life(&e->connection, life);
	e->established = life ? life->established : 0;
	e->handshake = life ? life->handshake : 0;
	e->ended = bpf_ktime_get_boot_ns();
	e->error = sk->sk_err;
	e->facts = facts_of(sk, tp, life);

	h = bpf_map_lookup_elem(&holders, &key);
	if (h) {
		e->holder = *h;
		bpf_map_delete_elem(&holders, &key);
	} else if (is_closed_by_current(sk, old)) {
		__builtin_memset(&e->holder, 0, sizeof(e->holder));
		fill_holder(&e->holder);
	} else {
		__builtin_memset(&e->holder, 0, sizeof(e->holder));
	}
	submit(e, e->ended);
}

/* connect(2) */
static __always_inline void connecting(struct life *life)
{
	__u8 handled;

	if (!life)
		return;
	/* A socket may be connected again after another connection. */
	handled = life->handled;
	__builtin_memset(life, 0, sizeof(*life));
	life->handled = handled;
	life->connecting = bpf_ktime_get_boot_ns();
	life->role = FLAG_CLIENT;
}

/*
 * The time from our first SYN-ACK to its acknowledgement, ns, 0 if it is not known.
 * The request with the time of the SYN-ACK is out of reach. Without a retransmission
 * it is the first sample of the RTT (tcp_synack_rtt_meas of net/ipv4/tcp_input.c),
 * and after one it is where tcp_create_openreq_child of net/ipv4/tcp_minisocks.c puts
 * it since Linux 6.7, ms. SYN cookies leave neither.
 */
static __always_inline __u64 accepting(const struct tcp_sock *tp)
{
	if (tp->total_retrans)
		return bpf_core_field_exists(tp->total_rto_time) ? tp->total_rto_time * 1000000ULL : 0;
	/* Less than a microsecond is 1. */
	return tp->srtt_us < 8 ? tp->srtt_us * 1000ULL : (tp->srtt_us >> 3) * 1000ULL;
}

static __always_inline void establish(struct sock *sk, struct life *life, int old)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	if (!life || !tp)
		return;
	count_handshake(life, tp);
	life->established = bpf_ktime_get_boot_ns();
	if (life->connecting)
		life->handshake = life->established - life->connecting;
	if (!life->role && old == TCP_SYN_SENT) {
		life->role = FLAG_CLIENT;
	} else if (!life->role && old == TCP_SYN_RECV) {
		life->role = FLAG_SERVER;
		life->handshake = accepting(tp);
	}
	tell(sk, life);
}

/* Our FIN is about to be sent, by close(2) or shutdown(2). */
static __always_inline void finish(struct sock *sk, struct life *life)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	if (!life || !tp || sk->sk_shutdown != SHUTDOWN_MASK)
		return;
	life->data_segs_in = tp->data_segs_in;
	life->finished = true;
}

/*
 * Whether the other of the two programs has handled this change. The kernel does not
 * run a program that it has interrupted on the same processor: the packet that ends a
 * connection while a process here closes another would go by unseen. There are two
 * programs, of which one may be interrupted, and the other does what it missed.
 * Changes of one socket come one after the other, under its lock.
 */
static __always_inline bool is_handled(struct life *life, int old, int new, bool again)
{
	__u8 change = old << 4 | new;

	if (!life)
		return again;
	if (life->handled == change) {
		/* The same change may come again after others that nothing shows. */
		life->handled = 0;
		return true;
	}
	life->handled = change;
	return false;
}

static __always_inline int on_change(unsigned long long *ctx, bool again)
{
	struct sock *sk = (struct sock *)ctx[0];
	int old = ctx[1], new = ctx[2];
	__u64 key = (__u64)sk;
	struct life *life;

	if (sk->sk_protocol != IPPROTO_TCP || sk->__sk_common.skc_net.net->ns.inum != namespace)
		return 0;
	if (new != TCP_SYN_SENT && new != TCP_ESTABLISHED && new != TCP_FIN_WAIT1 && new != TCP_LAST_ACK && new != TCP_CLOSE)
		return 0;
	if (old == new)
		return 0;
	life = life_of(sk, BPF_SK_STORAGE_GET_F_CREATE);
	if (is_handled(life, old, new, again))
		return 0;
	switch (new) {
	case TCP_SYN_SENT:
		/* connect(2) */
		remember(key);
		connecting(life);
		break;
	case TCP_ESTABLISHED:
		establish(sk, life, old);
		break;
	case TCP_FIN_WAIT1:
		/* What is left in TIME_WAIT inherits the cookie, if there is one by then. */
		if (cookies)
			bpf_get_socket_cookie(sk);
		finish(sk, life);
		/* fallthrough */
	case TCP_LAST_ACK:
		/* Only close(2) and shutdown(2) lead here. */
		if (!bpf_map_lookup_elem(&holders, &key))
			remember(key);
		break;
	case TCP_CLOSE:
		end(sk, life, key, old);
		break;
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int on_state(unsigned long long *ctx)
{
	return on_change(ctx, false);
}

SEC("tp_btf/inet_sock_set_state")
int on_state_again(unsigned long long *ctx)
{
	return on_change(ctx, true);
}

/* Of SYN_SENT and SYN_RECV, count_handshake sees all. */
SEC("tp_btf/tcp_retransmit_skb")
int on_retransmit(unsigned long long *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	__u8 state = sk->__sk_common.skc_state;
	struct inet_connection_sock *icsk;
	struct life *life;
	struct tcp_sock *tp;
	__u32 segments;

	if (sk->sk_protocol != IPPROTO_TCP || sk->__sk_common.skc_net.net->ns.inum != namespace || state == TCP_SYN_SENT || state == TCP_SYN_RECV)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	life = life_of(sk, BPF_SK_STORAGE_GET_F_CREATE);
	if (!tp || !life)
		return 0;
	/* Of a connection that is older than the program, this is the first. */
	segments = life->counted ? tp->total_retrans - life->total_retrans : 1;
	life->counted = true;
	life->total_retrans = tp->total_retrans;
	icsk = &tp->inet_conn;
	switch (BPF_CORE_READ_BITFIELD(icsk, icsk_ca_state)) {
	case TCP_CA_Recovery:
		life->retransmits[RETRANSMIT_FAST] += segments;
		break;
	case TCP_CA_Loss:
		life->retransmits[RETRANSMIT_TIMEOUT] += segments;
		break;
	default:
		/* Nothing is lost yet, as far as TCP knows (tcp_send_loss_probe). */
		life->retransmits[RETRANSMIT_PROBE] += segments;
	}
	tell(sk, life);
	return 0;
}
