/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The tcpstats authors
 */

/*
 * Network stacks besides the reader's own, for root outside of jails, and the
 * ioctls of both kinds of devices, which are about nothing else.
 */

#include "tcpstats_var.h"

#include <sys/counter.h>
#include <sys/filio.h>
#include <sys/jail.h>
#include <sys/priv.h>

_Static_assert(sizeof(struct tcpstat) <=
    sizeof(((struct tcpstats_vnet *)0)->tv_stats), "tv_stats");
_Static_assert(TCP_NSTATES <= TCPSTATS_MAX_STATES, "tv_states");
_Static_assert(MAXHOSTNAMELEN <= TCPSTATS_NAME_LEN, "names of jails");

#ifdef VIMAGE
/*
 * Tells a vnet from the next one whose jail has the same id.
 */
VNET_DEFINE_STATIC(sbintime_t, tcpstats_vnet_born);
#define	V_tcpstats_vnet_born	VNET(tcpstats_vnet_born)

static void
tcpstats_vnet_birth(const void *unused __unused)
{

	V_tcpstats_vnet_born = sbinuptime();
}
VNET_SYSINIT(tcpstats_vnet_birth, SI_SUB_PROTO_END, SI_ORDER_ANY,
    tcpstats_vnet_birth, NULL);
#endif

/*
 * The id of the jail that a vnet was made for.
 */
uint32_t
tcpstats_vnet_id(const struct ucred *cred)
{
#ifdef VIMAGE
	const struct prison *pr;

	for (pr = cred->cr_prison; pr->pr_parent != NULL &&
	    pr->pr_vnet == pr->pr_parent->pr_vnet; pr = pr->pr_parent)
		continue;
	return (pr->pr_id);
#else
	return (0);
#endif
}

static int
tcpstats_may_see_all_vnets(struct ucred *cred)
{

	if (jailed(cred))
		return (EPERM);
	return (priv_check_cred(cred, PRIV_NETINET_GETCRED));
}

#ifdef VIMAGE
/*
 * Fill in what is known of the current vnet, which pr owns.
 */
static void
tcpstats_vnet_fill(struct tcpstats_vnet *tv, struct prison *pr)
{
	int i;

	memset(tv, 0, sizeof(*tv));
	tv->tv_vnet = pr->pr_id;
	tv->tv_stats_len = sizeof(struct tcpstat);
	tv->tv_born = sbttons(V_tcpstats_vnet_born);
	mtx_lock(&pr->pr_mtx);
	strlcpy(tv->tv_name, pr->pr_name, sizeof(tv->tv_name));
	mtx_unlock(&pr->pr_mtx);
	for (i = 0; i < TCP_NSTATES; i++)
		tv->tv_states[i] = counter_u64_fetch(V_tcps_states[i]);
	COUNTER_ARRAY_COPY(VNET(tcpstat), tv->tv_stats,
	    sizeof(struct tcpstat) / sizeof(uint64_t));
}
#endif

/*
 * The first vnet whose jail has an id above tv_vnet.
 */
static int
tcpstats_vnet_next(struct tcpstats_vnet *tv)
{
#ifdef VIMAGE
	struct prison *pr;

	/*
	 * A vnet lives for as long as its prison is in the list, which is
	 * ordered by id.
	 */
	sx_slock(&allprison_lock);
	TAILQ_FOREACH(pr, &allprison, pr_list)
		if ((uint32_t)pr->pr_id > tv->tv_vnet &&
		    pr->pr_parent != NULL && pr->pr_vnet != NULL &&
		    pr->pr_vnet != pr->pr_parent->pr_vnet)
			break;
	if (pr != NULL) {
		CURVNET_SET(pr->pr_vnet);
		tcpstats_vnet_fill(tv, pr);
		CURVNET_RESTORE();
	}
	sx_sunlock(&allprison_lock);
	return (pr != NULL ? 0 : ENOENT);
#else
	return (ENOENT);
#endif
}

/*
 * What an ioctl of any device does for whoever opened it.  What
 * TCPSTATS_ALLVNETS changes is left to the caller.
 */
int
tcpstats_ioctl(struct ucred *cred, u_long cmd, caddr_t data)
{
	int error;

	switch (cmd) {
	case TCPSTATS_ALLVNETS:
		if (*(int *)data == 0)
			return (0);
		return (tcpstats_may_see_all_vnets(cred));
	case TCPSTATS_VNET:
		error = tcpstats_may_see_all_vnets(cred);
		if (error != 0)
			return (error);
		return (tcpstats_vnet_next((struct tcpstats_vnet *)data));
	case FIONBIO:
		/* devfs(5) has noted it. */
		return (0);
	case FIOASYNC:
		return (*(int *)data != 0 ? EINVAL : 0);
	default:
		return (ENOTTY);
	}
}
