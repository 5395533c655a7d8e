/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is kept with each socket from one event of its life to the next.
 * closes.bpf.c writes it, sockets.bpf.c reads it.
 */
#pragma once
#include "record.h"

struct life {
	__u64 connecting;   /* when connect(2) was called, ns since boot, time asleep included; 0: not known */
	__u64 established;  /* likewise, when the handshake came through */
	__u64 handshake;    /* ns; 0: not known */
	__u32 data_segs_in; /* before our FIN */
	bool finished;      /* our FIN was sent, and nobody reads any more */
	__u8 handled;       /* old and new state of the last change, see is_handled */
	__u8 role; /* FLAG_CLIENT, FLAG_SERVER, or 0: not known */
	/*
	 * Retransmitted segments by their type, those before the program was loaded not
	 * among them; and total_retrans when they were last counted, if they ever were.
	 */
	bool counted;
	__u32 total_retrans;
	__u32 retransmits[RETRANSMIT_TYPES];
};

/*
 * Connections that were established before closes.bpf.c was loaded are not in it.
 * Programs may use it since Linux 5.11, and cookies since 5.12.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct life);
} lives SEC(".maps");

static __always_inline void fill_life(struct connection *c, const struct life *life)
{
	__builtin_memset(c->retransmits, 0, sizeof(c->retransmits));
	if (!life)
		return;
	c->head.flags |= life->role;
	if (life->counted) {
		c->head.flags |= FLAG_RETRANSMITS;
		__builtin_memcpy(c->retransmits, life->retransmits, sizeof(c->retransmits));
	}
}
