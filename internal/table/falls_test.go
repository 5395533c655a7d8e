// SPDX-License-Identifier: Apache-2.0

package table

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// A socket that is bound to a port keeps its identity and its endpoints when it
// tries to connect again, and its counters begin anew (net/ipv4/tcp.c
// tcp_disconnect). A counter of 32 bits that falls a little has not wrapped.
func TestCountersThatFallHaveNotWrapped(t *testing.T) {
	w := newWatched(detailed)
	attempt := func(retransmits, timeouts uint64) *tcp.Socket {
		return socket(1, inState(tcp.SynSent), func(s *tcp.Socket) { s.Retransmits, s.Timeouts = retransmits, timeouts })
	}
	w.scrape(0)
	w.scrape(10, attempt(3, 3))
	w.scrape(20, attempt(0, 0))
	w.scrape(30, attempt(4, 4))
	assert.Equal(t, uint64(4), w.sum.Retransmits)
	assert.Equal(t, uint64(4), one(t, w.Table).Sample.Timeouts)
	w.scrape(40, attempt(4, 4))
	assert.Equal(t, uint64(4), w.sum.Retransmits)
}

// Where endpoints are the identity, what has the endpoints of a connection that has
// ended, in a state that does not come after the last one's, is another connection.
func TestEndpointsUsedAgainInLaterStates(t *testing.T) {
	for _, now := range []tcp.State{tcp.Established, tcp.CloseWait, tcp.LastAck, tcp.FinWait1, tcp.FinWait2, tcp.Closing} {
		t.Run(now.String(), func(t *testing.T) {
			w := newWatched()
			w.Notified(false)
			again := func(state tcp.State, inode uint64) *tcp.Socket {
				return socket(0, inState(state), func(s *tcp.Socket) { s.Inode = inode; s.Fields = 0 })
			}
			w.scrape(0)
			w.scrape(10, again(tcp.Established, 7))
			w.scrape(20, again(tcp.TimeWait, 0))
			w.scrape(30, again(now, 8))
			assert.Len(t, w.opens, 2)
			w.scrape(40)
			assert.Equal(t, 2, w.closes())
			assert.Equal(t, tcp.States{}, w.states)
		})
	}
}
