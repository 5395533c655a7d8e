// SPDX-License-Identifier: Apache-2.0

package tcp

import "math"

// Both kernels keep a number N of each listener, which they show as its limit
// (ss -l, netstat -L): what listen(2) was given, and the system's maximum if that
// is less. Neither stops there. QueueLimit of [Socket] is how many connections
// really wait before the next one is turned away, so a queue is full exactly when
// QueueLength has reached QueueLimit, even where a program asked for 0.

// LinuxQueueLimit is the QueueLimit of a listener with sk_max_ack_backlog n: the
// queue is full only once it is longer than that, so it takes one more
// (sk_acceptq_is_full in include/net/sock.h).
func LinuxQueueLimit(n uint32) uint32 { return saturated(uint64(n) + 1) }

// FreeBSDQueueLimit is the QueueLimit of a listener with so_qlimit n: the queue
// is full only once it is longer than 3n/2 (solisten_clone and sonewconn in
// sys/kern/uipc_socket.c).
func FreeBSDQueueLimit(n uint32) uint32 { return saturated(3*uint64(n)/2 + 1) }

func saturated(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }
