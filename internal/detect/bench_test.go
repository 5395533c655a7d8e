package detect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// crowd plays ends of connections with many peers, some outbound, some that failed.
type crowd struct {
	*rig
	rnd       *rand.Rand
	at        time.Time
	processes []*process.Process
	peers     []netip.AddrPort
	c         event.Connection
	p         event.Progress
	e         event.Ended
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
	c.c = event.Connection{Local: netip.AddrPortFrom(here, 40000), Traits: &event.Traits{}, Fields: tcp.Fields(0).With(tcp.FieldBytesSent).With(tcp.FieldBytesReceived)}
	return c
}

// next plays one connection: its Progress, its Ended and its last Progress.
func (c *crowd) next() {
	n := c.rnd.IntN(len(c.peers))
	c.at = c.at.Add(time.Second / crowdRate)
	c.c.Peer, c.c.Process, c.c.Slot = c.peers[n], c.processes[n%len(c.processes)], uint32(n)
	c.c.Role = tcp.Client
	if n%2 == 0 {
		c.c.Role = tcp.Server
	}
	c.c.BytesSent = uint64(c.rnd.IntN(100000))
	c.p = event.Progress{Connection: &c.c, Delta: event.Delta{BytesSent: c.c.BytesSent}, Was: event.NoState, Is: tcp.Established, First: true}
	c.Progress(&c.p)
	c.e = event.Ended{Connection: &c.c, Established: n%10 > 0, Failure: tcp.NoFailure, At: c.at, Start: c.at.Add(-time.Millisecond)}
	if !c.e.Established {
		c.e.Failure = tcp.Refused
	}
	c.Ended(&c.e)
	c.p = event.Progress{Connection: &c.c, Was: tcp.Established, Is: event.NoState, Gone: true}
	c.Progress(&c.p)
}

// BenchmarkEvents is the cost of one event, of three that a connection has.
func BenchmarkEvents(b *testing.B) {
	c := newCrowd(b, 50_000)
	for range 500_000 {
		c.next()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N/3 + 1 {
		c.next()
	}
}

func TestEventsDoNotAllocate(t *testing.T) {
	c := newCrowd(t, 50_000)
	for range 500_000 {
		c.next()
	}
	assert.Less(t, testing.AllocsPerRun(50_000, c.next), 0.5)
}

// TestMemory holds all detectors to 16 MB at 10,000 ends a second of 50,000 peers, with
// as many connections live, and as many DNS queries.
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
			d.scrape(c.at, Space{FirstPort: 32768, LastPort: 60999}, scraped...)
		}
	}
	grown := heap() - before
	t.Logf("%.1f MB, %d findings, %+v", float64(grown)/(1<<20), len(d.found), d.Stats())
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
