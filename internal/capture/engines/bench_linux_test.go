// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest/traffic"
)

// flood opens a socket that sends to the other end of a pair of interfaces, where
// what arrives is thrown away.
func flood(b *testing.B, host, other *netnstest.Place, port int) (fd int) {
	open := func(p *netnstest.Place) (fd int) {
		require.NoError(b, p.Do(func() (err error) {
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			return err
		}))
		b.Cleanup(func() { require.NoError(b, unix.Close(fd)) })
		return fd
	}
	sink := open(other)
	require.NoError(b, unix.SetsockoptInt(sink, unix.SOL_SOCKET, unix.SO_RCVBUF, 1))
	require.NoError(b, unix.Bind(sink, &unix.SockaddrInet4{Port: port}))
	fd = open(host)
	require.NoError(b, unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{10, 76, 0, 2}}))
	return fd
}

// What each engine adds to a packet on its way from one end of a pair of interfaces
// to the other, of which the first (out) or the second (in) is watched: what "none" takes is the packet's
// own. The least of many times is what a machine that does other things as well has
// to say.
func BenchmarkPackets(b *testing.B) {
	factories := append([]capture.Factory{{Name: "none"}}, All()...)
	for _, way := range []struct {
		name string
		port int
		in   bool
	}{{"other out", 9999, false}, {"other in", 9999, true}, {"DNS out", 53, false}, {"DNS in", 53, true}} {
		for _, factory := range factories {
			b.Run(way.name+"/"+factory.Name, func(b *testing.B) {
				host, other := netnstest.New(b), netnstest.New(b)
				netnstest.Connect(host, other, "first", 76)
				fd := flood(b, host, other, way.port)
				if factory.Open != nil {
					watcher := dns.NewWatcher(dns.Options{Names: dns.NewNames(dns.DefaultNames)})
					watched := host
					if way.in {
						watched = other
					}
					run(watched, factory, func(p *packet.Packet) { watcher.Packet(p) })
				}
				data := make([]byte, 100)
				const batch = 500
				least := time.Hour
				for b.Loop() {
					began := time.Now()
					for range batch {
						if _, err := unix.Write(fd, data); err != nil {
							b.Fatal(err)
						}
					}
					least = min(least, time.Since(began))
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(least.Nanoseconds())/batch, "ns/packet")
			})
		}
	}
}

// What each engine takes of a core beside traffic that other processes make: %core is
// the CPU time of this process, user and system, and ns/sent that of the sender for a
// datagram. What that is more than with "none" is what the kernel does for the engine
// on the way of a packet.
func BenchmarkTraffic(b *testing.B) {
	factories := append([]capture.Factory{{Name: "none"}}, All()...)
	for _, kind := range []struct {
		name string
		load traffic.Load
	}{
		{"200k other packets", traffic.Load{Role: traffic.Send, Port: 9999, Rate: 200_000}},
		{"10k lookups", traffic.Load{Role: traffic.Ask, Port: dns.Port, Rate: 10_000}},
		{"100k hostile messages", traffic.Load{Role: traffic.Harass, Port: dns.Port, Rate: 100_000}},
	} {
		for _, factory := range factories {
			b.Run(kind.name+"/"+factory.Name, func(b *testing.B) {
				host, other := netnstest.New(b), netnstest.New(b)
				netnstest.Connect(host, other, "first", traffic.Network)
				watcher := dns.NewWatcher(dns.Options{Names: dns.NewNames(dns.DefaultNames)})
				var engine *running
				if factory.Open != nil {
					engine = run(host, factory, func(p *packet.Packet) { watcher.Packet(p) })
				}
				stopAnswers := traffic.Start(other, traffic.Load{Role: traffic.Answer, Port: kind.load.Port})
				var took, elapsed, sender time.Duration
				sent := 0
				for b.Loop() {
					stop := traffic.Start(host, kind.load)
					time.Sleep(200 * time.Millisecond) // until it runs
					began, before := time.Now(), traffic.CPUTime()
					time.Sleep(2 * time.Second)
					took += traffic.CPUTime() - before
					elapsed += time.Since(began)
					n, by := stop()
					sent += n
					sender += by
				}
				stopAnswers()
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(100*took.Seconds()/elapsed.Seconds(), "%core")
				b.ReportMetric(float64(sender.Nanoseconds())/float64(sent), "ns/sent")
				b.ReportMetric(float64(sent)/elapsed.Seconds(), "sent/s")
				if engine != nil {
					counts := watcher.Counts()
					b.ReportMetric(float64(engine.Stats().Dropped), "dropped")
					b.ReportMetric(float64(counts.Answers)/elapsed.Seconds(), "answers/s")
					b.ReportMetric(float64(counts.TimedOut), "timeouts")
					b.ReportMetric(float64(counts.Malformed)/elapsed.Seconds(), "malformed/s")
				}
			})
		}
	}
}
