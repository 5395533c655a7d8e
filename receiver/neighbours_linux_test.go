// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/procfs"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
)

// unshare has a command start in a network namespace of its own.
func unshare(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} }

// namespaceOf returns the network namespace of a process.
func namespaceOf(tb testing.TB, pid int) uint64 {
	var st unix.Stat_t
	require.NoError(tb, unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st))
	return st.Ino
}

func namespacesSupported(testing.TB) error { return netns.Supported() }

// namespaceFactory makes the source that TestEveryNamespaceIsCounted reads.
func namespaceFactory() source.Factory { return sockdiag.Factory() }

// neighbours returns how many namespaces it makes, and connections in each.
func neighbours() (namespaces, each int) { return 4, 5_000 }

// resends: what is lost on the loopback, and sent again, may be counted as sent.
const resends = false

// stuckForever: Linux loses no timers.
func stuckForever(testing.TB) map[uint64]int64 { return nil }

// Without sock_diag, by /proc/net alone.
func TestNamespacesOfProcfs(t *testing.T) {
	next := &refusing{}
	s := allSpaces(t, next, procfs.Factory(), func(cfg *Config) { cfg.Connections.Enabled, cfg.Groups.Enabled = true, false })
	i := newInhabitant(t, 8080, 3, 10, 10)
	i.begin(t)
	i.wait(t)
	require.NoError(t, s.scrape())
	id := int64(i.id)
	assert.Equal(t, int64(3), numbers(next, "system.network.tcp.connection.opens", map[string]any{"tcp.role": "server"})[id])
	assert.Equal(t, int64(1), numbers(next, "system.network.connection.count", map[string]any{"network.connection.state": "listen"})[id])
	assert.NotContains(t, numbers(next, "system.network.tcp.orphan.count", nil), id, "that is the host's")
}

// What the cost of idle network namespaces is, each with a listener, beside
// 10,000 connections in the collector's own: the kernel's table of connections
// is shared.
func BenchmarkNamespaces(b *testing.B) {
	const connections = 10_000
	for _, n := range []int{1, 10, 200} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			start := func(namespaces string) *steps {
				return allSpaces(b, &refusing{refuse: nil}, sockdiag.Factory(), func(cfg *Config) {
					cfg.System.Enabled, cfg.NetworkNamespaces = false, namespaces
				})
			}
			own, all := start(hostNamespace), start(allNamespaces)
			holdConnections(b, connections/2)
			for range n {
				newInhabitant(b, 8080, 1, 1, 1)
			}
			for range 3 {
				require.NoError(b, all.scrape())
				require.NoError(b, own.scrape())
			}
			for b.Loop() {
				var one, every []time.Duration
				for range 9 {
					one = append(one, cpu(func() { require.NoError(b, own.scrape()) }))
					every = append(every, cpu(func() { require.NoError(b, all.scrape()) }))
				}
				b.ReportMetric(float64(median(one))/1e6, "own-ms")
				b.ReportMetric(float64(median(every)-median(one))/float64(n)/1e3, "us/namespace")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}
