/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * /dev/tcpstats and /dev/tcpstats.text.  A read at offset 0 takes a new walk;
 * that read and the following ones copy it out.
 */

#include "tcpstats_var.h"

#include <sys/fcntl.h>

static d_open_t		tcpstats_open;
static d_read_t		tcpstats_read;
static d_ioctl_t	tcpstats_dev_ioctl;

static struct cdevsw tcpstats_cdevsw = {
	.d_version =	D_VERSION,
	.d_open =	tcpstats_open,
	.d_read =	tcpstats_read,
	.d_ioctl =	tcpstats_dev_ioctl,
	.d_name =	TCPSTATS_DEVICE,
};

static struct tcpstats_kind tcpstats_kinds[] = {
	{ .tk_name = TCPSTATS_DEVICE, .tk_text = false },
	{ .tk_name = TCPSTATS_DEVICE_TEXT, .tk_text = true },
};

static struct cdev *tcpstats_devs[nitems(tcpstats_kinds)];

static volatile u_long tcpstats_reads;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, reads, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_reads), 0, "Calls of read");

/*
 * Go to the records, and from a chunk that has been read to the next.
 */
void
tcpstats_advance(struct tcpstats_open *to, u_long n)
{
	struct tcpstats_chunk *tc;

	to->to_index += n;
	while ((tc = STAILQ_FIRST(&to->to_chunks)) != NULL &&
	    to->to_index == tc->tc_count) {
		tcpstats_chunk_drop(to);
		to->to_index = 0;
	}
	to->to_phase = tc != NULL ? PHASE_RECORDS : PHASE_TRAILER;
}

/*
 * Copy out what fits of header, records and trailer, each of them whole.
 */
static int
tcpstats_read_records(struct tcpstats_open *to, struct uio *uio)
{
	struct tcpstats_chunk *tc;
	u_long n;
	int error;

	error = 0;
	while (error == 0) {
		switch (to->to_phase) {
		case PHASE_HEADER:
			if (uio->uio_resid < sizeof(to->to_header))
				return (0);
			error = uiomove(&to->to_header, sizeof(to->to_header),
			    uio);
			if (error == 0)
				tcpstats_advance(to, 0);
			break;
		case PHASE_RECORDS:
			tc = STAILQ_FIRST(&to->to_chunks);
			n = MIN(tc->tc_count - to->to_index,
			    uio->uio_resid / sizeof(tc->tc_records[0]));
			if (n == 0)
				return (0);
			error = uiomove(&tc->tc_records[to->to_index],
			    n * sizeof(tc->tc_records[0]), uio);
			if (error == 0)
				tcpstats_advance(to, n);
			break;
		case PHASE_TRAILER:
			if (uio->uio_resid < sizeof(to->to_trailer))
				return (0);
			error = uiomove(&to->to_trailer,
			    sizeof(to->to_trailer), uio);
			if (error == 0)
				to->to_phase = PHASE_END;
			break;
		case PHASE_NONE:
		case PHASE_END:
			return (0);
		}
	}
	return (error);
}

static int
tcpstats_read(struct cdev *dev __unused, struct uio *uio, int ioflag __unused)
{
	struct tcpstats_open *to;
	ssize_t resid;
	int error;

	atomic_add_long(&tcpstats_reads, 1);
	error = devfs_get_cdevpriv((void **)&to);
	if (error != 0)
		goto out;
	resid = uio->uio_resid;
	sx_xlock(&to->to_lock);
	if (uio->uio_offset == 0) {
		if (!to->to_text && resid < sizeof(to->to_header))
			error = EINVAL;
		else
			error = tcpstats_walk(to);
	} else if (to->to_stale)
		error = ESTALE;
	else if (uio->uio_offset != to->to_offset)
		error = EINVAL;
	if (error == 0) {
		if (to->to_text)
			error = tcpstats_read_text(to, uio);
		else
			error = tcpstats_read_records(to, uio);
		if (error == 0 && uio->uio_resid == resid &&
		    to->to_phase != PHASE_END && !to->to_text)
			error = EINVAL;	/* less than a record */
		/*
		 * After a failure the reader does not know what it has got:
		 * only a rewind helps.
		 */
		to->to_offset = error == 0 ? uio->uio_offset : -1;
		to->to_used = sbinuptime();
	}
	sx_xunlock(&to->to_lock);
out:
	if (error != 0)
		atomic_add_long(&tcpstats_errors, 1);
	return (error);
}

static int
tcpstats_dev_ioctl(struct cdev *dev __unused, u_long cmd, caddr_t data,
    int fflag __unused, struct thread *td __unused)
{
	struct tcpstats_open *to;
	int error;

	error = devfs_get_cdevpriv((void **)&to);
	if (error == 0)
		error = tcpstats_ioctl(to->to_cred, cmd, data);
	if (error == 0 && cmd == TCPSTATS_ALLVNETS) {
		sx_xlock(&to->to_lock);
		to->to_allvnets = *(int *)data != 0;
		sx_xunlock(&to->to_lock);
	}
	if (error != 0)
		atomic_add_long(&tcpstats_errors, 1);
	return (error);
}

static void
tcpstats_dtor(void *arg)
{
	struct tcpstats_open *to = arg;

	tcpstats_walk_fini(to);
	crfree(to->to_cred);
	free(to, M_TCPSTATS);
	tcpstats_leave();
	TCPSTATS_LAST_RETURN;
}

static int
tcpstats_open(struct cdev *dev, int oflags, int devtype __unused,
    struct thread *td)
{
	const struct tcpstats_kind *tk = dev->si_drv1;
	struct tcpstats_open *to;
	int error;

	if ((oflags & (FWRITE | FEXEC | FAPPEND | O_TRUNC)) != 0) {
		atomic_add_long(&tcpstats_errors, 1);
		return (EPERM);
	}
	to = malloc(sizeof(*to) + (tk->tk_text ? TCPSTATS_LINE_MAX : 0),
	    M_TCPSTATS, M_WAITOK | M_ZERO);
	to->to_text = tk->tk_text;
	/*
	 * What is shown is what the one who opened may see, whoever reads: a
	 * descriptor that is handed to a privileged program shows no more.
	 */
	to->to_cred = crhold(td->td_ucred);
	tcpstats_walk_init(to);
	tcpstats_enter();
	error = devfs_set_cdevpriv(to, tcpstats_dtor);
	if (error != 0) {
		tcpstats_dtor(to);
		atomic_add_long(&tcpstats_errors, 1);
		return (error);
	}
	atomic_add_long(&tcpstats_opens, 1);
	return (0);
}

int
tcpstats_dev_load(void)
{
	int error, i;

	error = 0;
	for (i = 0; i < nitems(tcpstats_kinds) && error == 0; i++)
		tcpstats_devs[i] = tcpstats_make_dev(&tcpstats_cdevsw,
		    tcpstats_kinds[i].tk_name, &tcpstats_kinds[i], &error);
	return (error);
}

void
tcpstats_dev_unload(void)
{
	int i;

	/* No call starts any more, and those under way end. */
	for (i = 0; i < nitems(tcpstats_devs); i++)
		if (tcpstats_devs[i] != NULL)
			destroy_dev(tcpstats_devs[i]);
}
