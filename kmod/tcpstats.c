/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * The module.  tcpstats(4) is the manual, tcpstats.h the interface,
 * tcpstats_var.h says what is in which file.
 */

#include "tcpstats_var.h"

#include <netinet/cc/cc.h>

#define	TCPSTATS_GID_NETWORK	69	/* group network of /etc/group */

MALLOC_DEFINE(M_TCPSTATS, "tcpstats", "TCP connection statistics");

SYSCTL_NODE(_net_inet_tcp, OID_AUTO, tcpstats, CTLFLAG_RW | CTLFLAG_MPSAFE, 0,
    "/dev/tcpstats");

static u_int tcpstats_version = TCPSTATS_VERSION;
SYSCTL_UINT(_net_inet_tcp_tcpstats, OID_AUTO, version, CTLFLAG_RD,
    &tcpstats_version, 0, "Version of the records");

static u_int tcpstats_mode = 0440;
SYSCTL_UINT(_net_inet_tcp_tcpstats, OID_AUTO, mode, CTLFLAG_RDTUN,
    &tcpstats_mode, 0, "Permissions of the devices, set at load");

static u_int tcpstats_gid = TCPSTATS_GID_NETWORK;
SYSCTL_UINT(_net_inet_tcp_tcpstats, OID_AUTO, gid, CTLFLAG_RDTUN,
    &tcpstats_gid, 0, "Group of the devices, set at load");

static volatile u_int tcpstats_open_now;
SYSCTL_UINT(_net_inet_tcp_tcpstats, OID_AUTO, open, CTLFLAG_RD,
    __DEVOLATILE(u_int *, &tcpstats_open_now), 0, "Times open now");

volatile u_long tcpstats_opens;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, opens, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_opens), 0, "Times opened");

volatile u_long tcpstats_errors;
SYSCTL_ULONG(_net_inet_tcp_tcpstats, OID_AUTO, errors, CTLFLAG_RD,
    __DEVOLATILE(u_long *, &tcpstats_errors), 0, "Calls that failed");

/*
 * Has a reference of each open descriptor, which its destructor drops when it
 * has left this module: TCPSTATS_LAST_RETURN.
 */
struct plimit *tcpstats_guard;

void
tcpstats_enter(void)
{

	atomic_add_int(&tcpstats_open_now, 1);
	lim_hold(tcpstats_guard);
}

void
tcpstats_leave(void)
{

	atomic_subtract_int(&tcpstats_open_now, 1);
}

/*
 * Create a device.  drv1 is in its si_drv1 before anybody can open it.
 */
struct cdev *
tcpstats_make_dev(struct cdevsw *csw, const char *name, void *drv1, int *error)
{
	struct make_dev_args args;
	struct cdev *dev;

	make_dev_args_init(&args);
	args.mda_flags = MAKEDEV_WAITOK | MAKEDEV_CHECKNAME;
	args.mda_devsw = csw;
	args.mda_uid = UID_ROOT;
	args.mda_gid = tcpstats_gid;
	args.mda_mode = tcpstats_mode & 0444;
	args.mda_si_drv1 = drv1;
	dev = NULL;
	*error = make_dev_s(&args, &dev, "%s", name);
	return (*error == 0 ? dev : NULL);
}

/*
 * Whether the kernel's structures have the sizes that this module was compiled
 * for.  The module system compares versions; kernel options change structures
 * as well, and whoever reads a tcpcb by the wrong layout tells lies or panics.
 */
static int
tcpstats_check_size(const char *zone, size_t min, size_t max)
{
	char name[64];
	size_t len;
	uint32_t size;
	int error;

	snprintf(name, sizeof(name), "vm.uma.%s.size", zone);
	len = sizeof(size);
	error = kernel_sysctlbyname(curthread, name, &size, &len, NULL, 0,
	    NULL, 0);
	if (error != 0) {
		printf("tcpstats: %s: error %d, not loaded\n", name, error);
		return (error);
	}
	if (size < min || size > max) {
		printf("tcpstats: %s is %u, this module was built for %zu: "
		    "build it with the options of the running kernel "
		    "(KERNBUILDDIR)\n", name, size, min);
		return (ENOEXEC);
	}
	return (0);
}

static int
tcpstats_check_kernel(void)
{
	int error;

	if (osreldate / 100000 != __FreeBSD_version / 100000) {
		printf("tcpstats: built for FreeBSD %d, this is %d\n",
		    __FreeBSD_version / 100000, osreldate / 100000);
		return (ENOEXEC);
	}
	error = tcpstats_check_size("socket", sizeof(struct socket),
	    sizeof(struct socket));
	if (error != 0)
		return (error);
#if __FreeBSD_version >= 1400000
	/* The inpcb lies within the tcpcb. */
	return (tcpstats_check_size("tcp_inpcb", sizeof(struct tcpcb),
	    sizeof(struct tcpcb)));
#else
	error = tcpstats_check_size("tcp_inpcb", sizeof(struct inpcb),
	    sizeof(struct inpcb));
	if (error != 0)
		return (error);
	/* A tcpcb is followed by its timers, cc_var and, optionally, osd. */
	return (tcpstats_check_size("tcpcb", sizeof(struct tcpcb) +
	    sizeof(struct tcp_timer) + sizeof(struct cc_var),
	    sizeof(struct tcpcb) + sizeof(struct tcp_timer) +
	    sizeof(struct cc_var) + sizeof(struct osd)));
#endif
}

static int
tcpstats_load(void)
{
	int error;

	tcpstats_guard = lim_alloc();
	tcpstats_ends_load();
	error = tcpstats_check_kernel();
	if (error == 0)
		error = tcpstats_endsdev_load();
	if (error == 0)
		error = tcpstats_dev_load();
	return (error);
}

/*
 * Also called after a load that failed, to undo what there was of it.
 */
static void
tcpstats_unload(void)
{

	tcpstats_dev_unload();
	tcpstats_endsdev_unload();
	tcpstats_ends_unload();
	/* Destructors may be running: see TCPSTATS_LAST_RETURN. */
	while (atomic_load_acq_int(&tcpstats_guard->pl_refcnt) != 1)
		pause("tcpstats", MAX(hz / 100, 1));
	lim_free(tcpstats_guard);
}

static int
tcpstats_modevent(module_t mod __unused, int type, void *arg __unused)
{

	switch (type) {
	case MOD_LOAD:
		return (tcpstats_load());
	case MOD_QUIESCE:
		/* kldunload -f goes on regardless. */
		return (atomic_load_acq_int(&tcpstats_open_now) != 0 ?
		    EBUSY : 0);
	case MOD_UNLOAD:
		tcpstats_unload();
		return (0);
	case MOD_SHUTDOWN:
		return (0);
	default:
		return (EOPNOTSUPP);
	}
}

static moduledata_t tcpstats_mod = {
	TCPSTATS_DEVICE,
	tcpstats_modevent,
	NULL
};

/* Last: when loaded at boot, TCP must be there before. */
DECLARE_MODULE(tcpstats, tcpstats_mod, SI_SUB_LAST, SI_ORDER_ANY);
MODULE_VERSION(tcpstats, TCPSTATS_VERSION);
