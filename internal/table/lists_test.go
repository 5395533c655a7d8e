// SPDX-License-Identifier: Apache-2.0

package table

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Connections that come and go leave nothing behind in the table, whatever is
// asked of it: without attribution nobody asks for those without an owner, and
// only some sources leave connections out of their dumps.
func TestNothingPilesUp(t *testing.T) {
	for name, notified := range map[string]bool{"notices": true, "dumps alone": false} {
		t.Run(name, func(t *testing.T) {
			w := newWatched()
			w.Notified(notified)
			w.scrape(0)
			const each = 100
			for i := range 50 {
				var all []*tcp.Socket
				for n := range each {
					all = append(all, socket(uint64(i*each+n+1), inState(tcp.SynSent)))
				}
				w.scrape(60*i+20, all...)
				for _, s := range all {
					s.State = tcp.TimeWait
				}
				w.scrape(60*i+40, all...)
			}
			assert.LessOrEqual(t, len(w.unowned), 5*each, "without an owner")
			assert.LessOrEqual(t, len(w.unsteady), 5*each, "not established")
			assert.LessOrEqual(t, len(w.toReport), 5*each)
			assert.LessOrEqual(t, len(w.freed), 5*each)
		})
	}
}
