/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor in C: what Go's is held against. For each byte of its input it makes
 * one pass and prints the CPU time that it took, in nanoseconds.
 */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buf[32 << 10] __attribute__((aligned(8)));

static int64_t cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int dump(int fd)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req body;
	} request;

	memset(&request, 0, sizeof request);
	request.header.nlmsg_len = sizeof request;
	request.header.nlmsg_type = TCPDIAG_GETSOCK;
	request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request.body.idiag_ext = 0xff;
	request.body.idiag_states = 0xfff;
	if (write(fd, &request, sizeof request) < 0)
		return -1;
	for (;;) {
		ssize_t n = recv(fd, buf, sizeof buf, 0);

		if (n < (ssize_t)sizeof(struct nlmsghdr))
			return -1;
		switch (((struct nlmsghdr *)buf)->nlmsg_type) {
		case NLMSG_DONE:
			return 0;
		case NLMSG_ERROR:
			return -1;
		}
	}
}

int main(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	char go;

	if (fd < 0) {
		perror("socket");
		return 1;
	}
	while (read(0, &go, 1) == 1) {
		int64_t before = cpu();

		if (dump(fd) < 0) {
			perror("dump");
			return 1;
		}
		printf("%lld\n", (long long)(cpu() - before));
		fflush(stdout);
	}
	return 0;
}
