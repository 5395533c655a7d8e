// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/bpf"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
)

// Bursts in four network namespaces, on the same port and addresses: each connection
// has exactly one record at each end, which says in which namespace it was.
func TestEveryNamespaceIsRecorded(t *testing.T) {
	if err := netns.Supported(); err != nil {
		t.Skipf("other network namespaces cannot be read: %v", err)
	}
	for _, own := range []source.Factory{bpf.Factory(), sockdiag.Factory()} {
		t.Run(own.Name, func(t *testing.T) { testNamespaceRecords(t, own) })
	}
}

func testNamespaceRecords(t *testing.T, own source.Factory) {
	const (
		namespaces, each = 4, 5_000
		sent, received   = 777, 100
		port             = 8080
		n                = 2 * namespaces * each
	)
	cfg := recordsConfig()
	cfg.Process.Attribution, cfg.Process.RefreshInterval = false, 0
	cfg.NetworkNamespaces = allNamespaces
	var others []source.Factory
	if own.Name != sockdiag.Factory().Name {
		others = append(others, sockdiag.Factory()) // which reads them, as bpf cannot
	}
	s, sink, lost := liveRecords(t, own, cfg, others...)
	want := make(map[string]int)
	var inhabitants []*inhabitant
	for range namespaces {
		i := newInhabitant(t, port, each, sent, received)
		inhabitants = append(inhabitants, i)
		for _, role := range []string{"client", "server"} {
			want[fmt.Sprint(i.id, " ", role)] = each
		}
	}
	require.NoError(t, s.scrape()) // finds them
	finished := make(chan error)
	for _, i := range inhabitants {
		i.begin(t)
		go func() {
			_, err := i.stdout.ReadString('\n')
			finished <- err
		}()
	}
	for running := namespaces; running > 0; {
		select {
		case err := <-finished:
			require.NoError(t, err)
			running--
		case <-time.After(20 * time.Millisecond):
			require.NoError(t, s.scrape())
		}
	}
	for end := time.Now().Add(time.Minute); recordsTo(sink, port) < n && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		require.NoError(t, s.scrape()) // the last notices may be on their way
	}
	require.NoError(t, s.scrape())
	time.Sleep(300 * time.Millisecond) // one too many would be in a batch by now
	if lost() {
		t.Skip("the kernel dropped notices, as it may on a busy host (sysctl net.core.rmem_max)")
	}
	got, ids := make(map[string]int), make(map[any]bool)
	bytes := map[any][2]any{"client": {int64(sent), int64(received)}, "server": {int64(received), int64(sent)}}
	for _, r := range ofServer(sink, port) {
		role := r.attrs["tcp.role"]
		require.Equal(t, "tcp.connection.end", r.event)
		require.Equal(t, bytes[role], [2]any{r.attrs["tcp.io.transmit"], r.attrs["tcp.io.receive"]}, r)
		require.False(t, ids[r.attrs["tcp.connection.id"]], r)
		ids[r.attrs["tcp.connection.id"]] = true
		got[fmt.Sprint(r.of["network.namespace.id"], " ", role)]++
	}
	assert.Equal(t, want, got)
}

// recordsTo is how many records there are of connections to a port.
func recordsTo(sink *refusingLogs, port int64) (n int) {
	for _, ld := range sink.AllLogs() {
		for _, rl := range ld.ResourceLogs().All() {
			for _, lr := range rl.ScopeLogs().At(0).LogRecords().All() {
				if at, ok := lr.Attributes().Get("server.port"); ok && at.Int() == port {
					n++
				}
			}
		}
	}
	return n
}
