/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which descriptors of which processes are sockets, by the kernel's iterator
 * "task_file" (5.8): all that the folders /proc/PID/fd say, without a system call
 * for each.
 */
#include "kernel.h"

/* bpf_seq_write is for GPL-compatible programs only. */
char __license[] SEC("license") = "Dual BSD/GPL";

/* What holders.go of the package above reads: change both together. */
struct holding {
	__u32 pid;
	__u32 fd;
	__u64 inode;
};

/* The object describes only types of variables; a test reads this. */
const struct holding *layout_of_holding = 0;

/* <linux/stat.h> */
#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* What only this program reads of a task; CO-RE passes over what follows "___". */
struct task_struct___holder {
	void *files;
} __attribute__((preserve_access_index));

static __always_inline bool has_files(struct task_struct *task)
{
	return ((struct task_struct___holder *)task)->files;
}

SEC("iter/task_file")
int dump_holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct holding h;
	struct inode *inode;

	/*
	 * /proc/PID is the group leader's; threads mostly share its descriptors. A leader
	 * that has ended has none any more, and each of the others shows them.
	 */
	if (!task || !file || (task->pid != task->tgid && has_files(task->group_leader)))
		return 0;
	inode = file->f_inode;
	if ((inode->i_mode & S_IFMT) != S_IFSOCK)
		return 0;
	h.pid = task->tgid;
	h.fd = ctx->fd;
	h.inode = inode->i_ino;
	bpf_seq_write(ctx->meta->seq, &h, sizeof(h));
	return 0;
}
