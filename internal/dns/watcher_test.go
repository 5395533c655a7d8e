// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/lru"
)

// datagram is a packet from its IPv4 header on.
func datagram(from, to netip.AddrPort, payload []byte) []byte {
	source, destination := from.Addr().As4(), to.Addr().As4()
	b := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, packet.UDP, 0, 0}
	b = append(append(b, source[:]...), destination[:]...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = append(append(b, 0, 0), payload...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

type watched struct {
	*Watcher
	t       *testing.T
	lookups []string
	names   *Names
	now     time.Time
}

func watch(t *testing.T, change func(*Options)) *watched {
	w := &watched{t: t, names: NewNames(100), now: start}
	options := Options{Names: w.names, Observers: []Observer{func(l *Lookup) {
		outcome := RCodeName(l.RCode)
		if l.TimedOut {
			outcome = "timeout"
		}
		w.lookups = append(w.lookups, fmt.Sprintf("%s %s %s at %v: %s after %v", l.Name, TypeName(l.Type), l.Server, l.Time.Sub(start), outcome, l.Duration))
	}}}
	if change != nil {
		change(&options)
	}
	w.Watcher = NewWatcher(options)
	return w
}

func (w *watched) packet(direction packet.Direction, data []byte) {
	w.Packet(&packet.Packet{Time: w.now, Direction: direction, Data: data, Length: len(data)})
}

func (w *watched) ask(id uint16, name string, typ uint16) {
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	m.Id = id
	w.packet(packet.Outbound, datagram(client, server, packed(w.t, m)))
}

func (w *watched) tell(from netip.AddrPort, m *dns.Msg) {
	w.packet(packet.Inbound, datagram(from, client, packed(w.t, m)))
}

func (w *watched) name(addr string) string {
	return w.names.Lookup(netip.MustParseAddr(addr), w.now, 0)
}

func TestWatcher(t *testing.T) {
	w := watch(t, nil)
	w.ask(7, "WWW.example.com.", dns.TypeA)
	w.now = w.now.Add(20 * time.Millisecond)
	w.tell(server, reply(t, 7, "www.EXAMPLE.com.", dns.TypeA, "www.example.com. 20 CNAME cdn.example.net.", "cdn.example.net. 60 A 192.0.2.1"))
	assert.Equal(t, "www.example.com", w.name("192.0.2.1"))
	assert.Equal(t, []string{"www.example.com A 10.0.0.2:53 at 20ms: NOERROR after 20ms"}, w.lookups)
	assert.Equal(t, Counts{Queries: 1, Answers: 1}, w.Counts())

	w.lookups = nil
	w.ask(8, "nowhere.example.com.", dns.TypeAAAA)
	no := reply(t, 8, "nowhere.example.com.", dns.TypeAAAA)
	no.Rcode = dns.RcodeNameError
	w.tell(server, no)
	assert.Equal(t, []string{"nowhere.example.com AAAA 10.0.0.2:53 at 20ms: NXDOMAIN after 0s"}, w.lookups)

	w.ask(9, "broken.example.com.", dns.TypeA)
	bare := new(dns.Msg)
	bare.Id, bare.Response, bare.Rcode = 9, true, dns.RcodeFormatError
	w.tell(server, bare)
	assert.Equal(t, "broken.example.com A 10.0.0.2:53 at 20ms: FORMERR after 0s", w.lookups[1])
}

// An observer hears who asked whom, where, and what the answer was.
func TestObservers(t *testing.T) {
	var heard []Lookup
	w := watch(t, func(o *Options) {
		o.Namespace = 4026531840
		o.Observers = append(o.Observers, func(l *Lookup) {
			one := *l
			one.Name, one.Addresses = bytes.Clone(l.Name), slices.Clone(l.Addresses)
			heard = append(heard, one)
		})
	})
	w.ask(7, "a.example.", dns.TypeA)
	w.ask(8, "b.example.", dns.TypeA)
	w.now = w.now.Add(20 * time.Millisecond)
	w.tell(server, reply(t, 7, "a.example.", dns.TypeA, "a.example. 60 A 192.0.2.1", "a.example. 50 A 192.0.2.2"))
	w.Expire(w.now.Add(DefaultTimeout))
	asked := Lookup{Client: client, Server: server, Namespace: 4026531840, Protocol: packet.UDP, Type: dns.TypeA}
	answered, timedOut := asked, asked
	answered.Name, answered.Time, answered.Duration = []byte("a.example"), w.now, 20*time.Millisecond
	answered.Addresses = []Address{{netip.MustParseAddr("192.0.2.1"), time.Minute}, {netip.MustParseAddr("192.0.2.2"), 50 * time.Second}}
	timedOut.Name, timedOut.TimedOut, timedOut.Time, timedOut.Duration = []byte("b.example"), true, start.Add(DefaultTimeout), DefaultTimeout
	assert.Equal(t, []Lookup{answered, timedOut}, heard)
	assert.Len(t, w.lookups, 2, "the first observer as well")
}

// Unsolicited answers, and those that differ from the query in one respect, give no
// names.
func TestWatcherForged(t *testing.T) {
	answer := func() *dns.Msg { return reply(t, 7, "a.example.", dns.TypeA, "a.example. 60 A 192.0.2.1") }
	for name, test := range map[string]func(w *watched){
		"never asked":    func(w *watched) { w.tell(netip.MustParseAddrPort("10.0.0.3:53"), answer()) },
		"another number": func(w *watched) { m := answer(); m.Id = 8; w.tell(server, m) },
		"another server": func(w *watched) { w.tell(netip.MustParseAddrPort("10.0.0.9:53"), answer()) },
		"another name":   func(w *watched) { m := answer(); m.Question[0].Name = "b.example."; w.tell(server, m) },
		"another type":   func(w *watched) { m := answer(); m.Question[0].Qtype = dns.TypeAAAA; w.tell(server, m) },
		"another client": func(w *watched) {
			w.packet(packet.Inbound, datagram(server, netip.MustParseAddrPort("10.0.0.1:40001"), packed(t, answer())))
		},
		"after its time":  func(w *watched) { w.now = w.now.Add(DefaultTimeout); w.tell(server, answer()) },
		"name of others":  func(w *watched) { m := answer(); m.Answer[0].Header().Name = "bank.example."; w.tell(server, m) },
		"code of failure": func(w *watched) { m := answer(); m.Rcode = dns.RcodeServerFailure; w.tell(server, m) },
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, nil)
			w.ask(7, "a.example.", dns.TypeA)
			test(w)
			assert.Empty(t, w.name("192.0.2.1"))
		})
	}
	// The first answer that matches is the one that a resolver takes.
	w := watch(t, nil)
	w.ask(7, "a.example.", dns.TypeA)
	w.tell(server, answer())
	w.tell(server, reply(t, 7, "a.example.", dns.TypeA, "a.example. 60 A 192.0.2.66"))
	assert.Empty(t, w.name("192.0.2.66"))
	assert.Equal(t, Counts{Queries: 1, Answers: 1, Repeated: 1}, w.Counts())
}

func TestWatcherTimeouts(t *testing.T) {
	w := watch(t, func(o *Options) { o.Timeout = time.Second })
	w.ask(7, "a.example.", dns.TypeA)
	w.now = w.now.Add(300 * time.Millisecond)
	w.ask(7, "a.example.", dns.TypeA) // sent again
	w.now = w.now.Add(300 * time.Millisecond)
	w.ask(7, "b.example.", dns.TypeA) // the number serves again
	assert.Equal(t, []string{"a.example A 10.0.0.2:53 at 600ms: timeout after 600ms"}, w.lookups)
	w.Expire(w.now.Add(999 * time.Millisecond))
	assert.Len(t, w.lookups, 1)
	w.Expire(w.now.Add(time.Minute))
	assert.Equal(t, "b.example A 10.0.0.2:53 at 1.6s: timeout after 1s", w.lookups[1])
	assert.Equal(t, Counts{Queries: 2, Repeated: 1, TimedOut: 2}, w.Counts())
}

// Queries of other hosts, to this host or through it, give no names.
func TestWatcherForeign(t *testing.T) {
	answer := packed(t, reply(t, 7, "a.example.", dns.TypeA, "a.example. 60 A 192.0.2.1"))
	query := new(dns.Msg)
	query.SetQuestion("a.example.", dns.TypeA)
	query.Id = 7
	w := watch(t, nil)
	w.packet(packet.Inbound, datagram(client, server, packed(t, query)))
	w.packet(packet.Outbound, datagram(server, client, answer))
	assert.Empty(t, w.name("192.0.2.1"))
	assert.Equal(t, Counts{Foreign: 2}, w.Counts())

	for local, want := range map[netip.Addr]string{client.Addr(): "a.example", server.Addr(): ""} {
		w := watch(t, func(o *Options) {
			o.Local = &Local{list: func() ([]net.Addr, error) { return []net.Addr{&net.IPNet{IP: local.AsSlice()}}, nil }}
		})
		w.packet(packet.UnknownDirection, datagram(client, server, packed(t, query)))
		w.packet(packet.UnknownDirection, datagram(server, client, answer))
		assert.Equal(t, want, w.name("192.0.2.1"))
	}
}

func TestWatcherKeys(t *testing.T) {
	w := watch(t, func(o *Options) { o.Key = func(c netip.AddrPort) uint64 { return uint64(c.Port()) } })
	w.ask(7, "a.example.", dns.TypeA)
	w.tell(server, reply(t, 7, "a.example.", dns.TypeA, "a.example. 60 A 192.0.2.1"))
	w.names.Add([]byte("b.example"), addresses("192.0.2.1", 60), 5, w.now)
	assert.Equal(t, "a.example", w.names.Lookup(netip.MustParseAddr("192.0.2.1"), w.now, uint64(client.Port())))
	assert.Equal(t, "b.example", w.names.Lookup(netip.MustParseAddr("192.0.2.1"), w.now, 5))
}

// segment is a packet of TCP from its IPv4 header on.
func segment(from, to netip.AddrPort, sequence uint32, flags byte, payload []byte) []byte {
	udp := datagram(from, to, nil)
	b := append(udp[:24:24], 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0)
	b[9] = packet.TCP
	binary.BigEndian.PutUint32(b[24:], sequence)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func TestWatcherTCP(t *testing.T) {
	query := new(dns.Msg)
	query.SetQuestion("a.example.", dns.TypeA)
	query.Id = 7
	asked := framed(packed(t, query))
	answered := framed(packed(t, reply(t, 7, "a.example.", dns.TypeA, "a.example. 60 A 192.0.2.1")))
	for name, begin := range map[string]bool{"from its beginning": true, "from the middle": false} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, nil)
			if begin {
				w.packet(packet.Outbound, segment(client, server, 99, packet.FlagSYN, nil))
				w.packet(packet.Inbound, segment(server, client, 499, packet.FlagSYN, nil))
			}
			w.packet(packet.Outbound, segment(client, server, 100, 0, asked[:2]))
			w.packet(packet.Outbound, segment(client, server, 102, packet.FlagFIN, asked[2:]))
			w.packet(packet.Inbound, segment(server, client, 500, 0, answered))
			if begin {
				assert.Equal(t, "a.example", w.name("192.0.2.1"))
				assert.Equal(t, Counts{Queries: 1, Answers: 1}, w.Counts())
			} else {
				assert.Equal(t, Counts{Queries: 1}, w.Counts(), "nothing is left of the stream that the answer belongs to")
			}
		})
	}
}

// Connections of other hosts take no room, however many there are.
func TestWatcherTCPForeign(t *testing.T) {
	w := watch(t, nil)
	for i := range 1000 {
		from := netip.AddrPortFrom(client.Addr(), uint16(1024+i))
		w.packet(packet.Inbound, segment(from, server, 99, packet.FlagSYN, nil))
		w.packet(packet.Outbound, segment(server, from, 499, packet.FlagSYN, nil))
		w.packet(packet.Inbound, segment(from, server, 100, 0, make([]byte, 100)))
	}
	assert.Empty(t, w.streams.byEnds)
	assert.Equal(t, Counts{}, w.Counts())
}

// Fragments other than the first have no ports; the first gives what it has.
func TestWatcherFragments(t *testing.T) {
	w := watch(t, nil)
	w.ask(7, "a.example.", dns.TypeA)
	whole := datagram(server, client, packed(t, reply(t, 7, "a.example.", dns.TypeA, "a.example. 60 A 192.0.2.1", "a.example. 60 A 192.0.2.2")))
	first := bytes.Clone(whole[:len(whole)-8])
	binary.BigEndian.PutUint16(first[2:], uint16(len(first)))
	binary.BigEndian.PutUint16(first[6:], 0x2000)
	w.packet(packet.Inbound, first)
	second := bytes.Clone(whole)
	binary.BigEndian.PutUint16(second[6:], 20)
	w.packet(packet.Inbound, second)
	assert.Equal(t, "a.example", w.name("192.0.2.1"))
	assert.Empty(t, w.name("192.0.2.2"))
	assert.Equal(t, Counts{Queries: 1, Answers: 1, Fragments: 2}, w.Counts())
}

func TestWatcherBounded(t *testing.T) {
	w := watch(t, nil)
	for i := range 3 * maxPending {
		from := netip.AddrPortFrom(client.Addr(), uint16(i))
		m := new(dns.Msg)
		m.SetQuestion("a.example.", dns.TypeA)
		w.packet(packet.Outbound, datagram(from, server, packed(t, m)))
	}
	assert.Len(t, w.pending.index, maxPending)
	assert.Equal(t, uint64(2*maxPending), w.Counts().Overflowed)
}

// Random and hostile packets neither stop the watcher nor leave a name.
func TestWatcherHostile(t *testing.T) {
	w := watch(t, nil)
	random := rand.New(rand.NewPCG(5, 6))
	answer := packed(t, reply(t, 7, "a.example.", dns.TypeA, "a.example. 60 A 192.0.2.1"))
	began := time.Now()
	const packets = 100_000
	for i := range packets {
		payload := make([]byte, random.IntN(600))
		for j := range payload {
			payload[j] = byte(random.Uint32())
		}
		if i%2 == 0 {
			payload = bytes.Clone(answer)
			for range random.IntN(8) {
				payload[random.IntN(len(payload))] = byte(random.Uint32())
			}
		}
		w.packet(packet.Inbound, datagram(server, netip.AddrPortFrom(client.Addr(), uint16(random.Uint32())), payload))
		w.now = w.now.Add(10 * time.Microsecond)
	}
	t.Logf("%d packets in %v", packets, time.Since(began))
	assert.Zero(t, w.names.Counts().Addresses)
	counts := w.Counts()
	assert.Equal(t, uint64(packets), counts.Malformed+counts.Unasked)
	w.ask(7, "a.example.", dns.TypeA)
	w.tell(server, reply(t, 7, "a.example.", dns.TypeA, "a.example. 60 A 192.0.2.1"))
	assert.Equal(t, "a.example", w.name("192.0.2.1"))
}

func FuzzWatcher(f *testing.F) {
	query := new(dns.Msg)
	query.SetQuestion("a.example.", dns.TypeA)
	answer := reply(f, query.Id, "a.example.", dns.TypeA, "a.example. 60 A 192.0.2.1")
	f.Add(uint8(packet.Outbound), datagram(client, server, packed(f, query)), datagram(server, client, packed(f, answer)))
	f.Fuzz(func(t *testing.T, direction uint8, first, second []byte) {
		w := NewWatcher(Options{Names: NewNames(10), Observers: []Observer{func(l *Lookup) {
			if l.Duration < 0 || strings.ContainsRune(string(l.Name), 0) {
				t.Errorf("%+v", l)
			}
		}}})
		for range 2 {
			w.Packet(&packet.Packet{Time: start, Direction: packet.Direction(direction % 3), Data: first, Length: len(first)})
			w.Packet(&packet.Packet{Time: start, Direction: packet.Inbound, Data: second, Length: len(second)})
		}
		w.Expire(start.Add(time.Hour))
		if w.pending.order.Oldest() != lru.None || w.pending.order.Newest() != lru.None || len(w.pending.index) != 0 {
			t.Error("queries that never expire")
		}
	})
}

func exchangeOf(b *testing.B) (query, answer *packet.Packet) {
	m := new(dns.Msg)
	m.SetQuestion("www.example.com.", dns.TypeA)
	q := datagram(client, server, packed(b, m))
	a := datagram(server, client, packed(b, reply(b, m.Id, "www.example.com.", dns.TypeA, "www.example.com. 20 CNAME cdn.example.net.", "cdn.example.net. 60 A 192.0.2.1")))
	return &packet.Packet{Time: start, Direction: packet.Outbound, Data: q, Length: len(q)}, &packet.Packet{Time: start, Direction: packet.Inbound, Data: a, Length: len(a)}
}

// The cost of a query and its answer.
func BenchmarkWatcher(b *testing.B) {
	w := NewWatcher(Options{Names: NewNames(DefaultNames), Observers: []Observer{func(*Lookup) {}}})
	query, answer := exchangeOf(b)
	b.ReportAllocs()
	for b.Loop() {
		query.Time = query.Time.Add(time.Millisecond)
		answer.Time = query.Time
		w.Packet(query)
		w.Packet(answer)
	}
}

// The cost of an unsolicited answer.
func BenchmarkWatcherUnasked(b *testing.B) {
	w := NewWatcher(Options{Names: NewNames(DefaultNames)})
	_, answer := exchangeOf(b)
	b.ReportAllocs()
	for b.Loop() {
		w.Packet(answer)
	}
}
