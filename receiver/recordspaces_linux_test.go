package receiver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
)

// Connections with the same endpoints in several network namespaces at once: each
// has its records, and they say where.
func TestRecordsOfNamespaces(t *testing.T) {
	if err := netns.Supported(); err != nil {
		t.Skipf("other network namespaces cannot be read: %v", err)
	}
	const (
		spaces, each   = 4, 1000
		port           = 8086
		sent, received = 321, 45
	)
	var inhabitants []*inhabitant
	for range spaces {
		inhabitants = append(inhabitants, newInhabitant(t, port, each, sent, received))
	}
	cfg := recordsConfig()
	cfg.NetworkNamespaces, cfg.Process.RefreshInterval = allNamespaces, 0
	s, sink, lost := liveRecords(t, sockdiag.Factory(), cfg)
	require.NoError(t, s.scrape())
	for _, i := range inhabitants {
		i.begin(t)
	}
	for _, i := range inhabitants {
		i.wait(t)
	}
	type key struct{ namespace, role any }
	counts := func() (by map[key]int, ids map[any]bool) {
		by, ids = make(map[key]int), make(map[any]bool)
		for _, r := range ofServer(sink, port) {
			by[key{r.of["network.namespace.id"], r.attrs["tcp.role"]}]++
			ids[r.attrs["tcp.connection.id"]] = true
		}
		return by, ids
	}
	want := make(map[key]int)
	for _, i := range inhabitants {
		want[key{int64(i.id), "client"}], want[key{int64(i.id), "server"}] = each, each
	}
	var by map[key]int
	var ids map[any]bool
	for range 60 { // the last may be on their way
		require.NoError(t, s.scrape())
		s.Drain()
		if by, ids = counts(); assert.ObjectsAreEqual(want, by) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if lost() {
		t.Skip("the kernel dropped notices, as it may on a busy host")
	}
	assert.Equal(t, want, by)
	assert.Len(t, ids, 2*spaces*each, "no two connections have one id")
}
