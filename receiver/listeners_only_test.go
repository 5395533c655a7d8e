// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Ticks at which only the host's numbers are due read listeners, too, and forget
// none of the connections: without groups nobody asks for these at every tick.
func TestConnectionsOutliveTicksOfListenersAlone(t *testing.T) {
	cfg := testConfig()
	cfg.CollectionInterval = time.Second
	cfg.Connections.Interval, cfg.System.Interval = 3*time.Second, time.Second
	src := &scripted{name: "scripted", rank: 1, sockets: sample(3, tcp.Listen, tcp.Established)}
	next := &refusing{}
	r := newRig(t, cfg, next, src)
	starts := map[string][]time.Time{}
	for range 7 {
		r.scrapeOnce(t)
	}
	for _, md := range next.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					if m.Name() == "tcp.connection.io" {
						for _, dp := range m.Sum().DataPoints().All() {
							direction, _ := dp.Attributes().Get("network.io.direction")
							starts[direction.Str()] = append(starts[direction.Str()], dp.StartTimestamp().AsTime())
						}
					}
				}
			}
		}
	}
	require.NotEmpty(t, starts)
	for direction, all := range starts {
		assert.Len(t, all, 3, direction)
		for _, start := range all {
			assert.Equal(t, all[0], start, "one series has one start: %s", direction)
		}
	}
}
