/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * /dev/tcpstats.ends: a ring of ends for each reader.  What finds a ring full
 * is lost to this reader, and counted.
 */

#include "tcpstats_var.h"

#include <sys/event.h>
#include <sys/fcntl.h>
#include <sys/filio.h>
#include <sys/jail.h>
#include <sys/poll.h>
#include <sys/selinfo.h>

#define	TCPSTATS_MAX_READERS	16	/* of ends, each with a ring */
#define	TCPSTATS_RING		8192	/* ends: 4 MiB */
#define	TCPSTATS_MIN_RING	2
#define	TCPSTATS_MAX_RING	262144	/* ends: 126 MiB */

/*
 * The ring has the ends er_tail to er_head - 1, each at its number modulo
 * er_size.  Only er_lock's holder moves er_tail, so it may copy out what lies
 * between without tcpstats_ends_mtx: nobody overwrites that.
 */
struct tcpstats_reader {
	struct sx	er_lock;
	LIST_ENTRY(tcpstats_reader) er_link;	/* tcpstats_ends_mtx */
	struct ucred	*er_cred;	/* who opened; const */
	struct tcpstats_end *er_ring;	/* const */
	u_long		er_size;	/* const */
	/* Under tcpstats_ends_mtx. */
	bool		er_allvnets;
	uint64_t	er_head;
	uint64_t	er_tail;
	uint64_t	er_lost;
	struct selinfo	er_sel;
};

static d_open_t		tcpstats_ends_open;
static d_read_t		tcpstats_ends_read;
static d_ioctl_t	tcpstats_ends_ioctl;
static d_poll_t		tcpstats_ends_poll;
static d_kqfilter_t	tcpstats_ends_kqfilter;

static struct cdevsw tcpstats_ends_cdevsw = {
	.d_version =	D_VERSION,
	.d_open =	tcpstats_ends_open,
	.d_read =	tcpstats_ends_read,
	.d_ioctl =	tcpstats_ends_ioctl,
	.d_poll =	tcpstats_ends_poll,
	.d_kqfilter =	tcpstats_ends_kqfilter,
	.d_name =	TCPSTATS_DEVICE_ENDS,
};

static int	tcpstats_ends_event(struct knote *kn, long hint);
static void	tcpstats_ends_detach(struct knote *kn);

static struct filterops tcpstats_ends_filter = {
	.f_isfd =	1,
	.f_detach =	tcpstats_ends_detach,
	.f_event =	tcpstats_ends_event,
};

static struct cdev *tcpstats_ends_dev;
static struct mtx tcpstats_ends_mtx;
MTX_SYSINIT(tcpstats_ends_mtx, &tcpstats_ends_mtx, "tcpstats ends rings",
    MTX_DEF);
static LIST_HEAD(, tcpstats_reader) tcpstats_readers =
    LIST_HEAD_INITIALIZER(tcpstats_readers);
static bool tcpstats_ends_going;	/* the device goes */

static u_int tcpstats_ends_readers;
SYSCTL_UINT(_net_inet_tcp_tcpstats, OID_AUTO, ends_readers, CTLFLAG_RD,
    &tcpstats_ends_readers, 0, "Readers of ends now");

static u_long tcpstats_ends_ring = TCPSTATS_RING;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, ends_ring, CTLFLAG_RWTUN,
    &tcpstats_ends_ring, 0, "Ends kept for a reader, when it opens");

static u_long tcpstats_ends_seen;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, ends_seen, CTLFLAG_RD,
    &tcpstats_ends_seen, 0, "Ends seen");

static u_long tcpstats_ends_lost;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, ends_lost, CTLFLAG_RD,
    &tcpstats_ends_lost, 0, "Ends that found a reader's ring full");

/*
 * Put the end of a connection into the rings of those who may see it.  Its pcb
 * is write-locked.
 */
void
tcpstats_ends_put(const struct tcpstats_life *tl, struct inpcb *inp)
{
	struct tcpstats_end *first, *te;
	struct tcpstats_reader *er;

	first = NULL;
	mtx_lock(&tcpstats_ends_mtx);
	tcpstats_ends_seen++;
	LIST_FOREACH(er, &tcpstats_readers, er_link) {
		if (!er->er_allvnets &&
		    CRED_TO_VNET(er->er_cred) != inp->inp_vnet)
			continue;
		if (cr_canseeinpcb(er->er_cred, inp) != 0)
			continue;
		if (er->er_head - er->er_tail == er->er_size) {
			er->er_lost++;
			tcpstats_ends_lost++;
			continue;
		}
		te = &er->er_ring[er->er_head % er->er_size];
		if (first == NULL) {
			tcpstats_life_fill(te, tl, inp);
			first = te;
		} else
			*te = *first;
		if (er->er_head++ != er->er_tail)
			continue;
		/* It was empty: somebody may be waiting. */
		wakeup(er);
		selwakeup(&er->er_sel);
		KNOTE_LOCKED(&er->er_sel.si_note, 0);
	}
	mtx_unlock(&tcpstats_ends_mtx);
}

/*
 * Wait until there are ends.  er_lock is held, so that one reader of a
 * descriptor waits and the others after it.
 */
static int
tcpstats_ends_wait(struct tcpstats_reader *er, int ioflag, uint64_t *head)
{
	int error;

	error = 0;
	mtx_lock(&tcpstats_ends_mtx);
	while (error == 0 && er->er_head == er->er_tail) {
		if (tcpstats_ends_going)
			error = ENXIO;
		else if ((ioflag & O_NONBLOCK) != 0)
			error = EAGAIN;
		else
			error = mtx_sleep(er, &tcpstats_ends_mtx, PCATCH,
			    "tcpend", 0);
	}
	*head = er->er_head;
	mtx_unlock(&tcpstats_ends_mtx);
	return (error);
}

static int
tcpstats_ends_copyout(struct tcpstats_reader *er, uint64_t head,
    struct uio *uio)
{
	struct tcpstats_ends_header eh;
	struct timespec ts;
	uint64_t tail;
	u_long at, count, n;
	int error;

	tail = er->er_tail;
	count = MIN(head - tail,
	    (uio->uio_resid - sizeof(eh)) / sizeof(struct tcpstats_end));
	memset(&eh, 0, sizeof(eh));
	eh.eh_magic = TCPSTATS_ENDS_MAGIC;
	eh.eh_version = TCPSTATS_ENDS_VERSION;
	eh.eh_header_len = sizeof(eh);
	eh.eh_end_len = sizeof(struct tcpstats_end);
	eh.eh_record_len = sizeof(struct tcpstats_record);
	eh.eh_count = count;
	eh.eh_pending = head - tail - count;
	nanotime(&ts);
	eh.eh_realtime = (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	nanouptime(&ts);
	eh.eh_uptime = (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	eh.eh_vnet = tcpstats_vnet_id(er->er_cred);
	eh.eh_jail = er->er_cred->cr_prison->pr_id;
	eh.eh_osreldate = osreldate;
	mtx_lock(&tcpstats_ends_mtx);
	eh.eh_lost = er->er_lost;
	if (er->er_allvnets)
		eh.eh_flags |= TCPSTATS_HF_ALLVNETS;
	mtx_unlock(&tcpstats_ends_mtx);

	error = uiomove(&eh, sizeof(eh), uio);
	while (error == 0 && count > 0) {
		at = tail % er->er_size;
		n = MIN(count, er->er_size - at);
		error = uiomove(&er->er_ring[at],
		    n * sizeof(struct tcpstats_end), uio);
		tail += n;
		count -= n;
	}
	/* What could not be copied is there for another try. */
	if (error == 0) {
		mtx_lock(&tcpstats_ends_mtx);
		er->er_tail = tail;
		mtx_unlock(&tcpstats_ends_mtx);
	}
	return (error);
}

static int
tcpstats_ends_read(struct cdev *dev __unused, struct uio *uio, int ioflag)
{
	struct tcpstats_reader *er;
	uint64_t head;
	int error;

	error = devfs_get_cdevpriv((void **)&er);
	if (error != 0)
		goto out;
	if (uio->uio_resid < sizeof(struct tcpstats_ends_header) +
	    sizeof(struct tcpstats_end)) {
		error = EINVAL;
		goto out;
	}
	if ((ioflag & O_NONBLOCK) == 0)
		error = sx_xlock_sig(&er->er_lock);
	else if (!sx_try_xlock(&er->er_lock))
		error = EAGAIN;	/* another one waits */
	if (error != 0)
		goto out;
	error = tcpstats_ends_wait(er, ioflag, &head);
	if (error == 0)
		error = tcpstats_ends_copyout(er, head, uio);
	sx_xunlock(&er->er_lock);
out:
	if (error != 0 && error != EAGAIN)
		atomic_add_long(&tcpstats_errors, 1);
	return (error);
}

static int
tcpstats_ends_ioctl(struct cdev *dev __unused, u_long cmd, caddr_t data,
    int fflag __unused, struct thread *td __unused)
{
	struct tcpstats_reader *er;
	u_long n;
	int error;

	error = devfs_get_cdevpriv((void **)&er);
	if (error == 0 && cmd != FIONREAD)
		error = tcpstats_ioctl(er->er_cred, cmd, data);
	if (error != 0) {
		atomic_add_long(&tcpstats_errors, 1);
		return (error);
	}
	switch (cmd) {
	case TCPSTATS_ALLVNETS:
		mtx_lock(&tcpstats_ends_mtx);
		er->er_allvnets = *(int *)data != 0;
		mtx_unlock(&tcpstats_ends_mtx);
		break;
	case FIONREAD:
		mtx_lock(&tcpstats_ends_mtx);
		n = er->er_head - er->er_tail;
		mtx_unlock(&tcpstats_ends_mtx);
		*(int *)data = n == 0 ? 0 :
		    sizeof(struct tcpstats_ends_header) +
		    MIN(n, TCPSTATS_MAX_RING) * sizeof(struct tcpstats_end);
		break;
	}
	return (0);
}

static int
tcpstats_ends_poll(struct cdev *dev __unused, int events, struct thread *td)
{
	struct tcpstats_reader *er;
	int revents;

	if (devfs_get_cdevpriv((void **)&er) != 0)
		return (POLLERR);
	revents = 0;
	mtx_lock(&tcpstats_ends_mtx);
	if (tcpstats_ends_going)
		revents |= POLLHUP;
	if ((events & (POLLIN | POLLRDNORM)) != 0) {
		if (er->er_head != er->er_tail)
			revents |= events & (POLLIN | POLLRDNORM);
		else
			selrecord(td, &er->er_sel);
	}
	mtx_unlock(&tcpstats_ends_mtx);
	return (revents);
}

static int
tcpstats_ends_kqfilter(struct cdev *dev __unused, struct knote *kn)
{
	struct tcpstats_reader *er;
	int error;

	error = devfs_get_cdevpriv((void **)&er);
	if (error != 0)
		return (error);
	/*
	 * Event loops, such as Go's, add both filters without asking what a
	 * descriptor is for.  It never becomes writable.
	 */
	if (kn->kn_filter != EVFILT_READ && kn->kn_filter != EVFILT_WRITE)
		return (EINVAL);
	kn->kn_fop = &tcpstats_ends_filter;
	kn->kn_hook = er;
	knlist_add(&er->er_sel.si_note, kn, 0);
	return (0);
}

static int
tcpstats_ends_event(struct knote *kn, long hint __unused)
{
	struct tcpstats_reader *er = kn->kn_hook;

	mtx_assert(&tcpstats_ends_mtx, MA_OWNED);
	if (tcpstats_ends_going) {
		kn->kn_flags |= EV_EOF;
		return (1);
	}
	if (kn->kn_filter == EVFILT_WRITE)
		return (0);
	kn->kn_data = er->er_head - er->er_tail;
	return (kn->kn_data > 0);
}

static void
tcpstats_ends_detach(struct knote *kn)
{
	struct tcpstats_reader *er = kn->kn_hook;

	knlist_remove(&er->er_sel.si_note, kn, 0);
}

/*
 * Wake all who wait: the device goes.  d_purge would do it with locks of devfs
 * held that must not come before ours.
 */
static void
tcpstats_ends_wake(void)
{
	struct tcpstats_reader *er;

	mtx_lock(&tcpstats_ends_mtx);
	tcpstats_ends_going = true;
	LIST_FOREACH(er, &tcpstats_readers, er_link) {
		wakeup(er);
		selwakeup(&er->er_sel);
		KNOTE_LOCKED(&er->er_sel.si_note, 0);
	}
	mtx_unlock(&tcpstats_ends_mtx);
}

static void
tcpstats_ends_close(void *arg)
{
	struct tcpstats_reader *er = arg;

	mtx_lock(&tcpstats_ends_mtx);
	LIST_REMOVE(er, er_link);
	tcpstats_ends_readers--;
	mtx_unlock(&tcpstats_ends_mtx);
	tcpstats_ends_release();
	seldrain(&er->er_sel);
	/*
	 * Not knlist_clear(9), which leaves knotes in their kqueues that refer
	 * to tcpstats_ends_filter.
	 */
	knlist_delete(&er->er_sel.si_note, curthread, 0);
	knlist_destroy(&er->er_sel.si_note);
	sx_destroy(&er->er_lock);
	crfree(er->er_cred);
	free(er->er_ring, M_TCPSTATS);
	free(er, M_TCPSTATS);
	tcpstats_leave();
	TCPSTATS_LAST_RETURN;
}

static int
tcpstats_ends_open(struct cdev *dev __unused, int oflags, int devtype __unused,
    struct thread *td)
{
	struct tcpstats_reader *er;
	int error;

	if ((oflags & (FWRITE | FEXEC | FAPPEND | O_TRUNC)) != 0) {
		error = EPERM;
		goto failed;
	}
	error = tcpstats_ends_hold();
	if (error != 0)
		goto failed;
	er = malloc(sizeof(*er), M_TCPSTATS, M_WAITOK | M_ZERO);
	er->er_size = MAX(TCPSTATS_MIN_RING,
	    MIN(tcpstats_ends_ring, TCPSTATS_MAX_RING));
	er->er_ring = mallocarray(er->er_size, sizeof(struct tcpstats_end),
	    M_TCPSTATS, M_WAITOK);
	/* As with walks, what counts is who opened. */
	er->er_cred = crhold(td->td_ucred);
	sx_init(&er->er_lock, "tcpstats ends reader");
	knlist_init_mtx(&er->er_sel.si_note, &tcpstats_ends_mtx);
	tcpstats_enter();
	mtx_lock(&tcpstats_ends_mtx);
	if (++tcpstats_ends_readers > TCPSTATS_MAX_READERS)
		error = EBUSY;
	LIST_INSERT_HEAD(&tcpstats_readers, er, er_link);
	mtx_unlock(&tcpstats_ends_mtx);
	if (error == 0)
		error = devfs_set_cdevpriv(er, tcpstats_ends_close);
	if (error != 0) {
		tcpstats_ends_close(er);
		goto failed;
	}
	atomic_add_long(&tcpstats_opens, 1);
	return (0);

failed:
	atomic_add_long(&tcpstats_errors, 1);
	return (error);
}

int
tcpstats_endsdev_load(void)
{
	int error;

	if (!tcpstats_ends_supported())
		return (0);
	tcpstats_ends_dev = tcpstats_make_dev(&tcpstats_ends_cdevsw,
	    TCPSTATS_DEVICE_ENDS, NULL, &error);
	return (error);
}

void
tcpstats_endsdev_unload(void)
{

	if (tcpstats_ends_dev == NULL)
		return;
	/*
	 * Nobody waits any more, so that destroy_dev(9) does not wait for them.
	 * kevent(2) gives the end of file to those who wait in it before their
	 * knotes go, if they get to run in the meantime.
	 */
	tcpstats_ends_wake();
	if (tcpstats_ends_readers != 0)
		pause("tcpend", MAX(hz / 10, 1));
	destroy_dev(tcpstats_ends_dev);
}
