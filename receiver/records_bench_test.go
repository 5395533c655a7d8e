// SPDX-License-Identifier: Apache-2.0

//go:build linux

package receiver

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// counting is a logs pipeline that only counts.
type counting struct {
	consumertest.Consumer
	n atomic.Int64
}

func (c *counting) ConsumeLogs(_ context.Context, ld plog.Logs) error {
	c.n.Add(int64(ld.LogRecordCount()))
	return nil
}

// BenchmarkEnds is the whole way of an end, from its notice to the pipeline: the
// table, a group, the queue, and a full record. CPU time is the process's, the
// garbage collector's included.
func BenchmarkEnds(b *testing.B) {
	const atOnce = 20_000
	src := &telling{scripted: scripted{name: "a"}}
	cfg := recordsConfig()
	next := &counting{Consumer: consumertest.NewNop()}
	r := newTCPStats(cfg, receivertest.NewNopSettings(metadata.Type), consumertest.NewNop(), []source.Factory{src.factory()})
	r.nextLogs, r.logsSet = next, r.set
	e, err := r.newEngine()
	require.NoError(b, err)
	require.NoError(b, e.Open(b.Context()))
	r.records.start()
	require.NoError(b, e.Once(b.Context(), 0))
	id := uint64(0)
	notices := make([]tcp.Notice, atOnce)
	prepare := func() {
		for i := range notices {
			if id++; uint16(id) == 0 {
				id++ // the peer's port, and one without a port is no connection
			}
			n := ended(established(id, 0), 1000, 2000)
			n.Fields = 1<<tcp.NumFields - 1 // everything
			n.SegmentsSent, n.CongestionControl, n.Cause, n.Handshake = 5, "cubic", tcp.LocalClose, time.Millisecond
			n.Established, n.Ended = time.Now().Add(-time.Second), time.Now()
			notices[i] = n
		}
		src.mu.Lock()
		src.notices = append(src.notices[:0], notices...)
		src.mu.Unlock()
	}
	var spent time.Duration
	var all int64
	for b.Loop() {
		prepare()
		spent += cpu(func() {
			e.Drain()
			for all += atOnce; next.n.Load() < all; {
				time.Sleep(time.Millisecond)
			}
		})
		require.NoError(b, e.Once(b.Context(), 1)) // the table forgets what has ended
	}
	b.ReportMetric(float64(spent)/float64(all), "cpu-ns/end")
	b.ReportMetric(0, "ns/op")
	require.NoError(b, r.records.end(b.Context()))
	require.NoError(b, e.Close())
	r.telemetry.Shutdown()
}
