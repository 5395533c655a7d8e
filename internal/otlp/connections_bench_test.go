// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/featuregate"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
)

// pool sets whether pdata takes its messages from pools, which the user decides for
// the whole collector with --feature-gates=pdata.useProtoPooling.
func pool(t testing.TB, yes bool) {
	const gate = "pdata.useProtoPooling"
	require.NoError(t, featuregate.GlobalRegistry().Set(gate, yes))
	t.Cleanup(func() { require.NoError(t, featuregate.GlobalRegistry().Set(gate, false)) })
}

// writeAll writes connections in batches and has each taken by a pipeline that wants
// nothing of it.
func writeAll(w *Writer, connections []*table.Connection) {
	for chunk := range slices.Chunk(connections, 500) {
		md := w.Connections(chunk, now)
		// The collector does so when the pipeline is done with it; removing gives back
		// what came out of pools.
		md.ResourceMetrics().RemoveIf(func(pmetric.ResourceMetrics) bool { return true })
	}
}

func manyConnections(n int) []*table.Connection {
	connections := make([]*table.Connection, n)
	for i := range connections {
		connections[i] = connection(full(), nginx)
	}
	return connections
}

// What a connection allocates is nearly all pdata's, which has an object for each
// value; with its pools, little is left.
func TestConnectionAllocations(t *testing.T) {
	const n = 1000
	for _, tt := range []struct {
		pooled bool
		most   float64
	}{{false, 100}, {true, 50}} {
		pool(t, tt.pooled)
		w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
		connections := manyConnections(n)
		allocs := testing.AllocsPerRun(5, func() { writeAll(w, connections) }) / n
		assert.LessOrEqual(t, allocs, tt.most, "a connection, pooled: %t", tt.pooled)
	}
}

// BenchmarkConnections writes connections with the default metrics, with pdata's pools
// and without. The CPU time is the whole process's, with the garbage collector's.
func BenchmarkConnections(b *testing.B) {
	for _, pooled := range []bool{false, true} {
		for _, n := range []int{500, 10_000} {
			b.Run(fmt.Sprintf("pooled=%t/%d", pooled, n), func(b *testing.B) {
				pool(b, pooled)
				w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
				connections := manyConnections(n)
				b.ReportAllocs()
				began := cpuTime(b)
				for b.Loop() {
					writeAll(w, connections)
				}
				b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/float64(b.N*n), "cpu-ns/connection")
			})
		}
	}
}
