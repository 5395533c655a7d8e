// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// crowd plays all kinds of events, of connections with many peers: inbound and outbound,
// some that failed, those of some peers regular, DNS queries before some of them, and
// attempts at closed ports.
type crowd struct {
	*rig
	rnd       *rand.Rand
	at        time.Time
	events    int // so far
	processes []*process.Process
	peers     []netip.AddrPort
	names     []string
	c         event.Connection
	p         event.Progress
	growth    event.Growth
	e         event.Ended
	q         Query
	a         Attempt
}

const crowdRate = 10_000 // ends a second

func newCrowd(t testing.TB, peers int) *crowd {
	c := &crowd{rig: newRig(t, nil, Names()...), rnd: rand.New(rand.NewPCG(7, 8)), at: epoch}
	for n := range 40 {
		c.processes = append(c.processes, &process.Process{PID: int32(n), Executable: fmt.Sprint("program", n)})
	}
	for n := range peers {
		c.peers = append(c.peers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{93, byte(n >> 16), byte(n >> 8), byte(n)}), uint16(443+n%3)))
	}
	for n := range 4000 {
		c.names = append(c.names, fmt.Sprintf("host%d.domain%d.example", n, n/10))
	}
	for n := range 40 { // of tunnels
		c.names[n*100] = fmt.Sprintf("%032x%d.tunnel%d.example", uint64(n)*0x9e3779b97f4a7c15, n, n%4)
	}
	c.q = Query{Local: here, Resolver: netip.MustParseAddrPort("192.0.2.53:53"), Answered: true, Answers: make([]netip.Addr, 1)}
	c.c = event.Connection{Local: netip.AddrPortFrom(here, 40000), Traits: &event.Traits{}, Fields: tcp.Fields(0).With(tcp.FieldBytesSent).With(tcp.FieldBytesReceived)}
	return c
}

// next plays one connection: its Progress, its Ended and its last Progress, and what
// goes before it.
func (c *crowd) next() {
	n := c.rnd.IntN(len(c.peers))
	if n%8 == 0 {
		n = c.rnd.IntN(64) // what is talked to all the time
	}
	c.at = c.at.Add(time.Second / crowdRate)
	c.c.Peer, c.c.Process, c.c.Slot = c.peers[n], c.processes[n%len(c.processes)], uint32(n)
	if n%4 == 1 {
		c.q.At, c.q.Name, c.q.Process, c.q.Answers[0] = c.at, c.names[n%len(c.names)], c.c.Process, c.c.Peer.Addr()
		c.Queried(&c.q)
		c.events++
	}
	if n%16 == 2 {
		c.a = Attempt{At: c.at, Local: netip.AddrPortFrom(here, uint16(n)), Peer: c.c.Peer}
		c.Attempted(&c.a)
		c.events++
	}
	c.c.Role = tcp.Client
	if n%2 == 0 {
		c.c.Role = tcp.Server
	}
	c.c.BytesSent = uint64(c.rnd.IntN(100000))
	c.growth[event.SegmentsSent] = uint32(c.c.BytesSent/1400) + 1
	c.p = event.Progress{Connection: &c.c, Delta: event.Delta{BytesSent: c.c.BytesSent, Retransmits: uint64(n % 3)}, Growth: &c.growth, Was: event.NoState, Is: tcp.Established, First: true}
	c.Progress(&c.p)
	c.e = event.Ended{Connection: &c.c, Established: n%10 > 0, Failure: tcp.NoFailure, At: c.at, Start: c.at.Add(-time.Millisecond)}
	if !c.e.Established {
		c.e.Failure = tcp.Refused
	}
	c.Ended(&c.e)
	c.p = event.Progress{Connection: &c.c, Was: tcp.Established, Is: event.NoState, Gone: true}
	c.Progress(&c.p)
	c.events += 3
}

// BenchmarkEvents is the cost of one event of the crowd, in CPU time as well: on a busy
// machine the clock says little. The tables are full, and what an event needs is seldom
// in the CPU's caches.
func BenchmarkEvents(b *testing.B) {
	c := newCrowd(b, 50_000)
	for range 500_000 {
		c.next()
	}
	c.events = 0
	b.ReportAllocs()
	b.ResetTimer()
	began := cpuTime(b)
	for c.events < b.N {
		c.next()
	}
	b.ReportMetric(float64(cpuTime(b)-began)/float64(c.events), "cpu-ns/op")
}

func cpuTime(t testing.TB) time.Duration {
	var usage syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func TestEventsDoNotAllocate(t *testing.T) {
	c := newCrowd(t, 50_000)
	for range 500_000 {
		c.next()
	}
	thousand := func() {
		for range 1000 {
			c.next()
		}
	}
	// Names allocate that were not asked for lately: one in a hundred events at most.
	assert.Less(t, testing.AllocsPerRun(50, thousand), 30.)
}

// TestMemory holds all detectors to 16 MB at 10,000 ends a second of 50,000 peers, with
// as many connections live, and with DNS queries.
func TestMemory(t *testing.T) {
	c := newCrowd(t, 50_000)
	scraped := connections(50_000, nginx, home, tcp.Established)
	for n, one := range scraped {
		one.Peer, one.Local = c.peers[n], netip.AddrPortFrom(here, uint16(1024+n%60000))
	}
	before := heap()
	d := newRig(t, nil, Names()...)
	c.rig = d
	for n := range 60 * crowdRate {
		c.next()
		if n%100 == 0 {
			d.Queried(&Query{At: c.at, Local: here, Name: fmt.Sprintf("%x.domain%d.example", n*7919, n/100), Answers: []netip.Addr{c.peers[n%50_000].Addr()}, Answered: true})
		}
		if n%(10*crowdRate) == 0 {
			d.scrape(c.at, Space{FirstPort: 32768, LastPort: 60999, Gateway: func(netip.Addr) (netip.Addr, bool) { return router, true }}, scraped...)
		}
	}
	findings := len(d.found)
	d.found = nil // not the detectors' memory
	grown := heap() - before
	t.Logf("%.1f MB, %d findings, %+v", float64(grown)/(1<<20), findings, d.Stats())
	for _, one := range d.all {
		t.Logf("%T evicted %d", one, one.evicted())
	}
	assert.Less(t, grown, int64(16<<20))
	assert.Positive(t, d.Stats().Evicted, "the tables were full")
	runtime.KeepAlive(d)
	runtime.KeepAlive(scraped)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
