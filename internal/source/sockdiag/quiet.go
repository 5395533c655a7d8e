// SPDX-License-Identifier: Apache-2.0

package sockdiag

import "github.com/netpulse/tcpstatsreceiver/internal/source/procfs"

// quiet tells when a dump of the listeners is enough, as in most of the network
// namespaces of a host: the table of connections is shared by all of them, and
// walking it costs by the sockets of all of them.
type quiet struct {
	activity *procfs.ActivityReader
	// found: the last whole dump found no connection.
	found bool
	// last is what was there before that dump began; the zero value if nobody
	// looked.
	last procfs.Activity
}

// unchanged returns what is there, and whether it cannot be more than
// listeners: no more sockets than the listeners were, no TIME_WAIT, and no
// segment since a dump found no connection, so no embryo either, which the
// kernel does not count. A namespace that was not quiet is not looked at.
func (q *quiet) unchanged() (now procfs.Activity, same bool) {
	if !q.found {
		return procfs.Activity{}, false
	}
	now, err := q.activity.Read()
	if err != nil {
		// Without /proc/net there is only the whole dump.
		return procfs.Activity{}, false
	}
	return now, now == q.last && now.TimeWait == 0
}

// forget is called before a dump that does not tell whether there are connections.
func (q *quiet) forget() { q.found = false }

// dumped notes a whole dump that began when before was there.
func (q *quiet) dumped(before procfs.Activity, found bool) { q.found, q.last = found, before }
