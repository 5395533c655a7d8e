// SPDX-License-Identifier: Apache-2.0

package process

import "bytes"

// parseCgroup returns the path and the container out of /proc/pid/cgroup, whose
// lines are "hierarchy:controllers:path" (proc_cgroup_show in
// kernel/cgroup/cgroup.c). Line 0 is the unified hierarchy (v2); the others are
// v1's. [Process] says which line counts.
//
// The container is looked for in that path first and then in the others: with
// v1 a container may have no cgroup of its own in some hierarchies.
func parseCgroup(cgroup []byte) (path, container string) {
	var best []byte
	bestRank := -1
	for rest := cgroup; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		p, rank, ok := parseCgroupLine(line)
		if ok && rank > bestRank {
			best, bestRank = p, rank
		}
	}
	container = containerID(best)
	for rest := cgroup; container == "" && len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		p, _, _ := parseCgroupLine(line)
		container = containerID(p)
	}
	return text(best), container
}

// parseCgroupLine returns a line's path and how well it says where the process
// is: a root says nothing.
func parseCgroupLine(line []byte) (path []byte, rank int, ok bool) {
	hierarchy, line, ok := bytes.Cut(line, []byte{':'})
	if !ok {
		return nil, 0, false
	}
	controllers, path, ok := bytes.Cut(line, []byte{':'})
	if !ok || len(path) == 0 || path[0] != '/' {
		return nil, 0, false
	}
	// The cgroup was removed while the process ends.
	path = bytes.TrimSuffix(path, []byte(" (deleted)"))
	switch {
	case len(path) == 1:
		return path, 0, true
	case string(hierarchy) == "0" && len(controllers) == 0:
		return path, 4, true
	case string(controllers) == "name=systemd":
		return path, 3, true
	case string(controllers) == "memory":
		return path, 2, true
	}
	return path, 1, true
}

// containerIDLen is the length of a container's name: 256 bits in hex (Docker,
// containerd, CRI-O, Podman).
const containerIDLen = 64

// containerID returns the innermost container in a cgroup's path, "" if none.
// Its segment is one of
//
//	/docker/<id>, /kubepods/burstable/pod<uid>/<id>             cgroupfs driver
//	/docker-<id>.scope, cri-containerd-<id>.scope, crio-<id>.scope, libpod-<id>.scope    systemd driver
//	/kubepods-burstable-pod<uid>.slice:cri-containerd:<id>      systemd driver of runc, path not split
//
// but not that of a monitor, which runs on the host (crio-conmon-<id>.scope,
// libpod-conmon-<id>.scope), nor of a mount unit.
func containerID(path []byte) string {
	for len(path) > 0 {
		cut := bytes.LastIndexByte(path, '/')
		segment := bytes.TrimSuffix(path[cut+1:], []byte(".scope"))
		path = path[:max(cut, 0)]

		at := len(segment) - containerIDLen
		if at < 0 || !isHex(segment[at:]) {
			continue
		}
		if runtime := segment[:at]; at > 0 {
			sep := runtime[at-1]
			if sep != '-' && sep != ':' || bytes.HasSuffix(runtime[:at-1], []byte("conmon")) {
				continue
			}
		}
		return string(segment[at:])
	}
	return ""
}

func isHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
