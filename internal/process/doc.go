// SPDX-License-Identifier: Apache-2.0

// Package process tells which process holds a socket.
//
// A [Resolver] joins sockets with descriptors in two ways. The probe looks at
// the descriptors of sockets that have just vanished: a new socket takes the
// lowest free descriptor (POSIX.1-2017 §2.14), so it is often just there, and
// a look costs one readlinkat. The walk reads the descriptors of all
// processes; it costs microseconds for each, so it runs only when there is a
// socket that no walk has looked for yet, and not more often than the
// refresh interval. A walk that has no time or no descriptors left is cut short,
// and the next call goes on from there.
//
// One scrape of a table that keeps Owner and Reason in its entries:
//
//	stale, err := r.Stale(ctx, now)
//	for each entry e:
//		if e was not seen in this dump {
//			vanished = append(vanished, e.Owner)
//			continue
//		}
//		if stale[e.Owner.Process] {
//			vanished = append(vanished, e.Owner) // it may still be just there
//			e.Owner = process.Owner{}
//		}
//		if e.Owner.Process == nil {
//			claims = append(claims, process.Claim{Inode: e.Inode, Owner: &e.Owner, Reason: &e.Reason})
//		}
//	stats, err := r.Resolve(ctx, now, vanished, claims)
//
// FreeBSD gives the descriptors of all processes in one piece, kern.file: there
// a walk is one call of sysctl(3), and there is no probe.
//
// Everything read from the kernel is hostile input: names are chosen by the
// processes. Parsers take bytes, know no operating system and are fuzzed.
package process
