/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The last sample of each TCP connection that ends, and the process that had it.
 *
 * The tracepoint inet_sock_set_state comes before a socket is torn down and before
 * tcp_disconnect forgets its peer and counters, and tells which state it leaves.
 * Nobody is woken for a record: the reader looks every few milliseconds.
 */
#include "record.h"

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
	__u64 age;   /* ns since the handshake; 0: not known */
	__u32 error; /* sk_err */
	__u32 unused;
};

/* The object describes only types of variables; a test reads this. */
const struct ending *layout_of_ending = 0;

/* The network namespace whose connections are wanted. */
const volatile __u32 namespace = 0;

/* Records for which there was no room. */
__u64 lost = 0;

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
 * When a connection was established, by the clock of bpf_ktime_get_ns. Those that
 * were before the program was loaded are not in it. Programs at tracepoints may
 * use it since Linux 5.11, the cookies since 5.12.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} established SEC(".maps");

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

static __always_inline void end(struct sock *sk, __u64 key, int old)
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
	e->age = 0;
	if (cookies) {
		__u64 *since = bpf_sk_storage_get(&established, sk, 0, 0);

		if (since)
			e->age = bpf_ktime_get_ns() - *since;
	}
	e->error = sk->sk_err;
	e->unused = 0;

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
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

SEC("tp_btf/inet_sock_set_state")
int on_state(unsigned long long *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int old = ctx[1], new = ctx[2];
	__u64 key = (__u64)sk;

	if (sk->sk_protocol != IPPROTO_TCP || sk->__sk_common.skc_net.net->ns.inum != namespace)
		return 0;
	switch (new) {
	case TCP_SYN_SENT:
		/* connect(2) */
		remember(key);
		break;
	case TCP_ESTABLISHED:
		if (cookies) {
			__u64 now = bpf_ktime_get_ns();

			bpf_sk_storage_get(&established, sk, &now, BPF_SK_STORAGE_GET_F_CREATE);
		}
		break;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		/* Only close(2) and shutdown(2) lead here. */
		if (!bpf_map_lookup_elem(&holders, &key))
			remember(key);
		break;
	case TCP_CLOSE:
		if (old != TCP_CLOSE)
			end(sk, key, old);
		break;
	}
	return 0;
}
