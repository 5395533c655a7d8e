// SPDX-License-Identifier: Apache-2.0

package process

import "errors"

// kthreadd is the number of the thread that starts all others of the kernel. It is
// in the PID namespace that the host booted with and in no other.
const kthreadd = 2

// private tells whether procfs shows another PID namespace than the host's.
func (h *host) private() bool { return h.privatePIDs }

// hasPrivatePIDs tells whether procfs shows another PID namespace than the host's, in
// which other processes have sockets, too. /proc/self/ns/pid does not say it: the
// procfs of the host may be mounted in a container. It is false where hidepid= hides
// what it takes to know.
func (h *host) hasPrivatePIDs() bool {
	if _, err := h.stamp(h.place(1)); errors.Is(err, errGone) || errors.Is(err, errDenied) {
		return false
	}
	stat, err := h.read(h.place(kthreadd), "stat")
	if err != nil {
		return gone(err)
	}
	s, _, err := parseStat(stat)
	return err == nil && !s.kernel
}
