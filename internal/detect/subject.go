// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"net/netip"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
)

// who is who does something: a program, in its container if it has one. It is not a
// single process, because what beacons or scans often is a script that starts a
// process for each connection. Where the process is not known, it is the local
// address.
type who struct {
	executable string
	container  string
	addr       netip.Addr // without an executable
	namespace  uint64
}

func whoOf(c *event.Connection) who {
	if p := c.Process; p != nil && p.Executable != "" {
		return who{executable: p.Executable, container: p.ContainerID, namespace: c.ID.Namespace}
	}
	return who{addr: c.Local.Addr(), namespace: c.ID.Namespace}
}

// crew remembers the hashes of programs, which are made of long texts, by the address
// of their process: in a table where one takes the place of another.
type crew [crewSize]struct {
	process   *process.Process
	namespace uint64
	hash      uint64
}

const crewSize = 256

// hash is hasher.who of a program; w is of the process p, or of none.
func (c *crew) hash(h hasher, w who, p *process.Process) uint64 {
	if p == nil || w.executable == "" {
		return h.who(w)
	}
	// A PID is enough to choose a place: the address decides.
	at := &c[(uint64(uint32(p.PID))^w.namespace)%crewSize]
	if at.process != p || at.namespace != w.namespace {
		at.process, at.namespace, at.hash = p, w.namespace, h.who(w)
	}
	return at.hash
}

func (w who) String() string {
	switch {
	case w.executable == "":
		return w.addr.String()
	case w.container != "":
		return w.executable + "@" + w.container[:min(12, len(w.container))]
	}
	return w.executable
}

// describe names who for people, with the process id of the process last seen.
func describe(w who, p *process.Process) string {
	if p != nil && w.executable != "" {
		return fmt.Sprintf("%s (%d)", w, p.PID)
	}
	return w.String()
}
