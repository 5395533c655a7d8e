// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package receiver

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// inhabitant is a process alone in a network namespace.
type inhabitant struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	id     uint64 // of the namespace, or the vnet's jail
}

// newInhabitant starts one that will make n connections.
func newInhabitant(tb testing.TB, port, n, sent, received int) *inhabitant {
	self, err := os.Executable()
	require.NoError(tb, err)
	i := &inhabitant{cmd: exec.Command(self)}
	i.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %d %d", inhabitantEnv, port, n, sent, received))
	i.cmd.Stderr = os.Stderr
	unshare(i.cmd)
	i.stdin, err = i.cmd.StdinPipe()
	require.NoError(tb, err)
	stdout, err := i.cmd.StdoutPipe()
	require.NoError(tb, err)
	i.stdout = bufio.NewReader(stdout)
	require.NoError(tb, i.cmd.Start())
	tb.Cleanup(func() { i.end(tb) })
	i.wait(tb)
	i.id = namespaceOf(tb, i.cmd.Process.Pid)
	return i
}

func (i *inhabitant) begin(tb testing.TB) {
	_, err := fmt.Fprintln(i.stdin)
	require.NoError(tb, err)
}

func (i *inhabitant) wait(tb testing.TB) {
	line, err := i.stdout.ReadString('\n')
	require.NoError(tb, err)
	require.Equal(tb, "ok\n", line)
}

// end ends the process, and with it the namespace.
func (i *inhabitant) end(tb testing.TB) {
	if i.stdin == nil {
		return
	}
	require.NoError(tb, i.stdin.Close())
	i.stdin = nil
	require.NoError(tb, i.cmd.Wait())
}

// allSpaces reads every network namespace.
func allSpaces(tb testing.TB, next *refusing, factory source.Factory, change func(*Config)) *steps {
	return allSpacesWith(tb, receivertest.NewNopSettings(metadata.Type), next, factory, change)
}

// allSpacesWith is allSpaces with settings of the test's own.
func allSpacesWith(tb testing.TB, set receiver.Settings, next *refusing, factory source.Factory, change func(*Config)) *steps {
	if err := namespacesSupported(tb); err != nil {
		tb.Skipf("other network namespaces cannot be read: %v", err)
	}
	cfg := createDefaultConfig()
	cfg.NetworkNamespaces = allNamespaces
	cfg.Require = []string{"namespaces"}
	cfg.Process.RefreshInterval = 0
	cfg.Process.Attribution = false
	change(cfg)
	s, err := newSteps(cfg, set, next, factory)
	if err != nil {
		tb.Skipf("source %s is not to be had here: %v", factory.Name, err)
	}
	tb.Cleanup(func() { require.NoError(tb, s.close()) })
	return s
}

// without takes the ends of clients that stay in TIME_WAIT for ever from what is wanted.
func without(want map[string]totals, stuck map[uint64]int64) map[string]totals {
	less := maps.Clone(want)
	for id, n := range stuck {
		key := fmt.Sprint("client ", id)
		client := less[key]
		client.closes -= n
		less[key] = client
	}
	return less
}

// numbers returns the value of a metric in each network namespace, without
// other attributes than those of want.
func numbers(next *refusing, name string, want map[string]any) map[int64]int64 {
	values := make(map[int64]int64)
	for _, md := range next.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			id, ok := rm.Resource().Attributes().Get("network.namespace.id")
			if !ok {
				continue
			}
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				if m.Name() != name {
					continue
				}
				for _, dp := range m.Sum().DataPoints().All() {
					matches := !dp.Flags().NoRecordedValue()
					for key, value := range want {
						got, _ := dp.Attributes().Get(key)
						matches = matches && got.AsRaw() == value
					}
					if matches {
						values[id.Int()] += dp.IntValue()
					}
				}
			}
		}
	}
	return values
}

// endedNamespaces returns the namespaces in which series of a sum end.
func endedNamespaces(next *refusing, name string) (ids []int64) {
	for _, md := range next.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			id, ok := rm.Resource().Attributes().Get("network.namespace.id")
			if !ok {
				continue
			}
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				if m.Name() == name && m.Sum().DataPoints().At(0).Flags().NoRecordedValue() {
					ids = append(ids, id.Int())
				}
			}
		}
	}
	return ids
}

// Bursts in several network namespaces, on the same port and addresses, while
// scrapes run: each is counted in full where it was, and once.
func TestEveryNamespaceIsCounted(t *testing.T) {
	const (
		sent, received = 777, 100
		port           = 8080
	)
	namespaces, each := neighbours()
	server := totals{opens: int64(each), closes: int64(each), sent: int64(each) * received, received: int64(each) * sent}
	client := totals{opens: server.opens, closes: server.closes, sent: server.received, received: server.sent}
	next := &refusing{}
	s := allSpaces(t, next, namespaceFactory(), func(cfg *Config) {
		cfg.Require = append(cfg.Require, "closes", "bytes")
		cfg.Groups.By = []string{"tcp.role", "server.port", "network.namespace.id"}
	})
	scrape := func() {
		next.Reset()
		require.NoError(t, s.scrape())
	}
	scrape()

	var inhabitants []*inhabitant
	want := make(map[string]totals)
	ids := make(map[int64]bool)
	for range namespaces {
		i := newInhabitant(t, port, each, sent, received)
		inhabitants = append(inhabitants, i)
		ids[int64(i.id)] = true
		want[fmt.Sprint("client ", i.id)] = client
		want[fmt.Sprint("server ", i.id)] = server
	}
	scrape() // finds them
	for id := range ids {
		assert.Equal(t, int64(1), numbers(next, "system.network.connection.count", map[string]any{"network.connection.state": "listen"})[id])
	}
	finished := make(chan bool)
	for _, i := range inhabitants {
		i.begin(t)
		go func() {
			_, err := i.stdout.ReadString('\n')
			finished <- err == nil
		}()
	}
	for running := namespaces; running > 0; {
		select {
		case ok := <-finished:
			require.True(t, ok)
			running--
		case <-time.After(20 * time.Millisecond):
			scrape()
		}
	}
	got := func() map[string]totals {
		all := ofPort(next, port, func(attrs map[string]any) string {
			return fmt.Sprint(attrs["tcp.role"], " ", attrs["network.namespace.id"])
		})
		for key, of := range all {
			if _, ours := want[key]; !ours {
				delete(all, key) // somebody else's namespace, with the same port in it
				continue
			}
			if resends && of.sent > want[key].sent {
				of.sent = want[key].sent
				all[key] = of
			}
		}
		return all
	}
	complete := false
	for range 500 { // the last notices may be on their way
		scrape()
		if complete = assert.ObjectsAreEqual(want, got()); complete {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	var stuck map[uint64]int64
	if !complete {
		stuck = stuckForever(t)
		want = without(want, stuck)
	}
	assert.Equal(t, want, got())

	accepted := numbers(next, "system.network.tcp.connection.opens", map[string]any{"tcp.role": "server"})
	for id := range ids {
		assert.Equal(t, int64(each), accepted[id], "the kernel's own count in namespace %d", id)
	}

	// They go, and nothing keeps them.
	for _, i := range inhabitants {
		i.end(t)
	}
	over := make(map[int64]bool)
	for try := 0; try < 2 || resends && try < 900 && len(over) < namespaces-len(stuck); try++ {
		if try > 1 {
			time.Sleep(100 * time.Millisecond) // a jail dies with its last TIME_WAIT, a minute on FreeBSD 13
		}
		scrape()
		for _, id := range endedNamespaces(next, "system.network.connection.count") {
			over[id] = true
		}
	}
	for id := range stuck {
		delete(ids, int64(id)) // its namespace lives as long
	}
	for id := range numbers(next, "system.network.connection.count", nil) {
		assert.False(t, ids[id], "%d is kept", id)
	}
	for id := range ids {
		assert.True(t, over[id], "the series of %d have no end", id)
	}
	assert.Equal(t, want, got(), "what was counted stays")
}
