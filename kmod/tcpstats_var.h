/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * What the files of the module share.  The interface for programs is
 * tcpstats.h.
 *
 * tcpstats.c		the module: loading, unloading, sysctls
 * tcpstats_dev.c	/dev/tcpstats and /dev/tcpstats.text
 * tcpstats_walk.c	walks over all connections, and their memory
 * tcpstats_record.c	one connection as a record
 * tcpstats_text.c	one record as a line of text
 * tcpstats_life.c	what is noted of a connection until it ends
 * tcpstats_ends.c	the khelp(9) helper that has it noted
 * tcpstats_endsdev.c	/dev/tcpstats.ends
 * tcpstats_vnet.c	other network stacks, and ioctls
 *
 * Locks, in the order in which they are taken:
 *	tcpstats_ends_sx sx, starting and stopping the helper
 *	to_lock, er_lock sx, one per open: all members but those noted otherwise
 *	tcpstats_opens_sx sx, the list of open walks
 *	allprison_lock	shared, for what is known of vnets
 *	vnet_sxlock	shared, for walks over all vnets
 *	inp_lock	of one pcb at a time
 *	so_lock		of a listening socket, for the lengths of its queues
 *	khelp's list	held by the kernel when a connection ends
 *	tcpstats_ends_mtx readers of ends and their rings
 */

#ifndef _TCPSTATS_VAR_H_
#define	_TCPSTATS_VAR_H_

#include "opt_inet.h"
#include "opt_inet6.h"

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/conf.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/queue.h>
#include <sys/resourcevar.h>
#include <sys/rwlock.h>
#include <sys/socket.h>
#include <sys/socketvar.h>
#include <sys/sx.h>
#include <sys/sysctl.h>
#include <sys/time.h>
#include <sys/ucred.h>
#include <sys/uio.h>

#include <net/if.h>
#include <net/route.h>
#include <net/vnet.h>

#include <netinet/in.h>
#include <netinet/in_systm.h>
#include <netinet/in_pcb.h>
#include <netinet/tcp.h>
#include <netinet/tcp_fsm.h>
#include <netinet/tcp_seq.h>
#include <netinet/tcp_timer.h>
#include <netinet/tcp_var.h>

#include "tcpstats.h"

#if __FreeBSD_version < 1302001
#error "tcpstats needs FreeBSD 13.2 or later"
#endif

#define	TCPSTATS_LINE_MAX	1024	/* bytes of a line of text */

struct osd;

MALLOC_DECLARE(M_TCPSTATS);
SYSCTL_DECL(_net_inet_tcp_tcpstats);

/*
 * Records are kept in chunks of 64 KiB, so that the largest walk needs no more
 * contiguous memory than the smallest, and what has been read is freed.
 */
#define	TCPSTATS_CHUNK_RECORDS						\
	((65536 - offsetof(struct tcpstats_chunk, tc_records)) /	\
	    sizeof(struct tcpstats_record))

struct tcpstats_chunk {
	STAILQ_ENTRY(tcpstats_chunk) tc_link;
	u_long		tc_size;	/* records that it has room for */
	u_long		tc_count;	/* records that it has */
	struct tcpstats_record tc_records[];
};

STAILQ_HEAD(tcpstats_chunks, tcpstats_chunk);

/* Where in a walk the reader is. */
enum tcpstats_phase {
	PHASE_NONE,		/* no walk yet, or none that succeeded */
	PHASE_HEADER,
	PHASE_RECORDS,
	PHASE_TRAILER,
	PHASE_END
};

/* One of the two devices of walks; its si_drv1. */
struct tcpstats_kind {
	const char	*tk_name;
	bool		tk_text;
};

struct tcpstats_open {
	struct sx	to_lock;
	LIST_ENTRY(tcpstats_open) to_link;	/* tcpstats_opens_sx */
	struct ucred	*to_cred;	/* who opened; const */
	bool		to_text;	/* const */
	bool		to_allvnets;	/* for the next walk */

	/* The last walk. */
	bool		to_stale;	/* given up for another reader's */
	enum tcpstats_phase to_phase;
	off_t		to_offset;	/* where the next read continues */
	sbintime_t	to_used;	/* when it was read last */
	u_long		to_index;	/* next record of the first chunk */
	u_long		to_reserved;	/* records, of tcpstats_reserved */
	struct tcpstats_chunks to_chunks;
	struct tcpstats_header to_header;
	struct tcpstats_trailer to_trailer;

	/* The rest of a line of text. */
	size_t		to_line_next;
	size_t		to_line_len;
	char		to_line[];
};

/* What is kept with a tcpcb, under the write lock of its pcb. */
struct tcpstats_life {
	struct tcpcb	*tl_tp;		/* NULL: never connected */
	sbintime_t	tl_began;
	sbintime_t	tl_established;
	/* How far the sequence numbers went, and of that the low 32 bits. */
	uint64_t	tl_sent;
	uint64_t	tl_received;
	uint32_t	tl_snd;
	uint32_t	tl_rcv;
	uint16_t	tl_states;	/* that were seen */
	uint16_t	tl_flags;	/* TCPSTATS_EF_* */
	uint8_t		tl_state;	/* that was seen last */
	char		tl_cc[TCPSTATS_CC_LEN];
	struct tcpstats_process tl_first;
	struct tcpstats_process tl_last;
};

/* tcpstats.c */
extern struct plimit	*tcpstats_guard;
extern volatile u_long	tcpstats_errors;
extern volatile u_long	tcpstats_opens;

void	tcpstats_enter(void);
void	tcpstats_leave(void);
struct cdev *tcpstats_make_dev(struct cdevsw *csw, const char *name,
	    void *drv1, int *error);

/*
 * The end of a destructor of devfs_set_cdevpriv(9).  FreeBSD 13's
 * destroy_dev(9) does not wait for one that close(2) is running just now, so
 * the module must not be freed before it has returned, which it cannot say of
 * itself: whatever it writes, there are instructions after it.  So it ends with
 * a jump into the kernel, to a function that counts references down and returns
 * to devfs.  Any would do; the limits have no other use here.
 */
#if __has_attribute(musttail)
#define	TCPSTATS_MUSTTAIL	__attribute__((musttail))
#else
#define	TCPSTATS_MUSTTAIL
#endif
#define	TCPSTATS_LAST_RETURN						\
	TCPSTATS_MUSTTAIL return ((void (*)(void *))lim_free)(tcpstats_guard)

/* tcpstats_dev.c */
int	tcpstats_dev_load(void);
void	tcpstats_dev_unload(void);
void	tcpstats_advance(struct tcpstats_open *to, u_long n);

/* tcpstats_walk.c */
void	tcpstats_walk_init(struct tcpstats_open *to);
void	tcpstats_walk_fini(struct tcpstats_open *to);
int	tcpstats_walk(struct tcpstats_open *to);
void	tcpstats_chunk_drop(struct tcpstats_open *to);

/* tcpstats_record.c */
void	tcpstats_fill(struct tcpstats_record *tr, const struct inpcb *inp);
void	tcpstats_fill_tcpcb(struct tcpstats_record *tr,
	    const struct tcpcb *tp, sbintime_t now);
#if __FreeBSD_version < 1400000
void	tcpstats_fill_tcptw(struct tcpstats_record *tr,
	    const struct tcptw *tw);
#endif

/* tcpstats_text.c */
int	tcpstats_read_text(struct tcpstats_open *to, struct uio *uio);

/* tcpstats_life.c */
int	tcpstats_life_hook(int32_t type, int32_t id, void *udata, void *ctx,
	    void *item, struct osd *osd);
void	tcpstats_life_dtor(void *mem, int size, void *arg);
void	tcpstats_life_fill(struct tcpstats_end *te,
	    const struct tcpstats_life *tl, struct inpcb *inp);
void	tcpstats_see_state(struct tcpstats_life *tl, u_int state);
void	tcpstats_see_cc(struct tcpstats_life *tl, const struct tcpcb *tp);

/* tcpstats_ends.c */
bool	tcpstats_ends_supported(void);
int	tcpstats_ends_hold(void);
void	tcpstats_ends_release(void);
void	tcpstats_ends_load(void);
void	tcpstats_ends_unload(void);

/* tcpstats_endsdev.c */
void	tcpstats_ends_put(const struct tcpstats_life *tl, struct inpcb *inp);
int	tcpstats_endsdev_load(void);
void	tcpstats_endsdev_unload(void);

/* tcpstats_vnet.c */
uint32_t tcpstats_vnet_id(const struct ucred *cred);
int	tcpstats_ioctl(struct ucred *cred, u_long cmd, caddr_t data);

#endif /* !_TCPSTATS_VAR_H_ */
