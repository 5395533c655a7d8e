// SPDX-License-Identifier: Apache-2.0

package process

// stamp reads what a process can be told by. One file, whatever the process. A
// process that can hold no descriptors is errGone.
func (h *host) stamp(p place) (stamp, error) {
	stat, err := h.read(p, "stat")
	if err != nil {
		return stamp{}, h.failure(p, "stat", err)
	}
	s, hollow, err := parseStat(stat)
	if err != nil {
		return stamp{}, h.failure(p, "stat", err)
	}
	if hollow {
		return stamp{}, errGone
	}
	return s, nil
}

// describe reads the rest: all but the owner's name, for which it returns the
// real uid. What may not be read, or what this kernel does not have, stays
// empty.
func (h *host) describe(p place, s *stamp) (d Process, uid uint32, err error) {
	d = Process{PID: p.pid, ParentPID: s.parent, Created: s.created(h.boot)}
	process := p
	if s.headless {
		if p, err = h.living(p.pid); err != nil {
			return Process{}, 0, err
		}
	}

	// The exe link of a kernel thread or of an ended process leads nowhere.
	dir, name := h.at(p, "exe")
	if n, errno := readlinkat(dir, name, h.file[:]); errno == 0 {
		d.Executable = executableName(h.programPath(p, h.file[:n]))
	} else if !gone(errno) && !denied(errno) {
		return Process{}, 0, h.failure(p, "exe", errno)
	}
	if d.Executable == "" {
		d.Executable = s.name()
	}

	cmdline, err := h.optional(p, "cmdline")
	if err != nil {
		return Process{}, 0, err
	}
	d.Command = commandName(cmdline)

	cgroup, err := h.optional(p, "cgroup")
	if err != nil {
		return Process{}, 0, err
	}
	d.Cgroup, d.ContainerID = parseCgroup(cgroup)

	// Last, because it is always there: without it the process has ended, and
	// the above may be half of it.
	status, err := h.read(process, "status")
	if err == nil {
		uid, err = parseUID(status)
	}
	if err != nil {
		return Process{}, 0, h.failure(process, "status", err)
	}
	return d, uid, nil
}

// optional reads a file that may be absent or secret; then it is empty.
func (h *host) optional(p place, file string) ([]byte, error) {
	data, err := h.read(p, file)
	if err == nil {
		return data, nil
	}
	if gone(err) || denied(err) {
		return nil, nil
	}
	return nil, h.failure(p, file, err)
}
