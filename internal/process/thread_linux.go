// SPDX-License-Identifier: Apache-2.0

package process

import (
	"golang.org/x/sys/unix"
)

// A process whose first thread has ended while others go on shows no descriptors
// and no program in its own folder (exit_files and exit_mm in kernel/exit.c): they
// are in the folders of the other threads.

// isHeadless tells whether a process is of that kind. It costs one call for the
// many that have but one thread, such as the kernel's own.
func (h *host) isHeadless(pid int32) bool {
	dir, name := h.at(h.place(pid), "task")
	// Its number of links is 2 and one for each thread (proc_task_getattr in
	// fs/proc/base.c).
	if errno := h.statx(dir, name, 0); errno == 0 && h.stat.Nlink <= 3 {
		return false
	}
	s, err := h.stamp(h.place(pid))
	return err == nil && s.headless
}

// eachThread visits threads of a process but its first until visit is done or
// fails. Of very many it visits the first hundred or so.
func (h *host) eachThread(pid int32, visit func(place) (done bool, err error)) error {
	process := h.place(pid)
	dir, name := h.at(process, "task")
	fd, errno := h.openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if errno != 0 {
		return h.failure(process, "task", errno)
	}
	n, err := unix.Getdents(fd, h.threads[:])
	h.closeFD(fd)
	if err != nil {
		return h.failure(process, "task", err)
	}
	for rest := h.threads[:n]; len(rest) > 0; {
		var name []byte
		if name, _, rest, err = nextEntry(rest); err != nil {
			return h.failure(process, "task", err)
		}
		tid, ok := parseID(name)
		if !ok || tid == pid {
			continue
		}
		if done, err := visit(place{pid: pid, tid: tid, fds: -1}); done || err != nil {
			return err
		}
	}
	return nil
}

// living returns the place of a thread that has a program, as all have that have
// not ended.
func (h *host) living(pid int32) (p place, err error) {
	err = h.eachThread(pid, func(thread place) (done bool, err error) {
		dir, name := h.at(thread, "exe")
		_, errno := readlinkat(dir, name, h.link[:])
		if errno != 0 && gone(errno) {
			return false, nil
		}
		p = thread
		return true, nil
	})
	if err == nil && p.tid == 0 {
		err = errGone
	}
	return p, err
}
