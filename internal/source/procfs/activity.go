// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"fmt"
	"io/fs"
)

// Activity tells, for the price of three small files, whether there is anything
// to see in a network namespace. The kernel's table of sockets is shared by all
// of them, so a dump of an empty one costs as much as the walk over the others'
// sockets.
type Activity struct {
	// Sockets is the number of listeners and connections, embryos (SYN_RECEIVED)
	// and TIME_WAIT not among them.
	Sockets uint64
	// TimeWait is the number of connections in TIME_WAIT.
	TimeWait uint64
	// Segments grows with every segment that comes or goes.
	Segments uint64
}

// ActivityReader reads the [Activity] of the calling thread's network namespace.
type ActivityReader struct {
	dir string
	buf []byte
}

// NewActivity returns a reader of dir's sockstat, sockstat6 and snmp.
func NewActivity(dir string) *ActivityReader {
	return &ActivityReader{dir: dir, buf: make([]byte, 4<<10)}
}

// Read returns what is there now.
func (r *ActivityReader) Read() (Activity, error) {
	var a Activity
	for _, f := range []struct {
		name, prefix string
		parse        func(text []byte, prefix string, found func(name, value []byte)) error
		wanted       map[string]*uint64
	}{
		{"/sockstat", "TCP:", parsePairs, map[string]*uint64{"inuse": &a.Sockets, "tw": &a.TimeWait}},
		{"/sockstat6", "TCP6:", parsePairs, map[string]*uint64{"inuse": &a.Sockets}},
		{"/snmp", "Tcp:", parseTable, map[string]*uint64{"InSegs": &a.Segments, "OutSegs": &a.Segments}},
	} {
		var text []byte
		var err error
		text, r.buf, err = slurp(r.dir+f.name, r.buf)
		if f.name == "/sockstat6" && errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return Activity{}, fmt.Errorf("activity of a network namespace: %w", err)
		}
		missing := len(f.wanted)
		err = f.parse(text, f.prefix, func(name, value []byte) {
			if to, ok := f.wanted[string(name)]; ok {
				if v, ok := parseDecimal(value); ok {
					*to += v
					missing--
				}
			}
		})
		if err == nil && missing > 0 {
			err = fmt.Errorf("%d numbers of %q are missing", missing, f.prefix)
		}
		if err != nil {
			return Activity{}, fmt.Errorf("activity of a network namespace: %s%s: %w", r.dir, f.name, err)
		}
	}
	return a, nil
}
