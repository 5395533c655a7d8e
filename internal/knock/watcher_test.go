// SPDX-License-Identifier: Apache-2.0

package knock

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

var (
	start   = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	here    = netip.MustParseAddr("192.0.2.10")
	here6   = netip.MustParseAddr("2001:db8::10")
	scanner = netip.MustParseAddrPort("198.51.100.66:50000")
)

const synACK = packet.FlagSYN | packet.FlagACK

// segment is a TCP segment without payload, over IPv4 or IPv6.
func segment(from, to netip.AddrPort, flags byte) []byte {
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp, from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	tcp[12], tcp[13] = 5<<4, flags
	source, destination := from.Addr().AsSlice(), to.Addr().AsSlice()
	if from.Addr().Is4() {
		ip := []byte{0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, packet.TCP, 0, 0}
		return append(append(append(ip, source...), destination...), tcp...)
	}
	ip := []byte{0x60, 0, 0, 0, 0, 20, packet.TCP, 64}
	return append(append(append(ip, source...), destination...), tcp...)
}

type watched struct {
	*Watcher
	now      time.Time
	attempts []Attempt
}

func watch() *watched {
	w := &watched{now: start}
	w.Watcher = NewWatcher(Options{
		Namespace: 7,
		IsLocal:   func(a netip.Addr, _ time.Time) bool { return a == here || a == here6 },
		Observers: []Observer{func(a *Attempt) { w.attempts = append(w.attempts, *a) }},
	})
	return w
}

func (w *watched) see(direction packet.Direction, from, to netip.AddrPort, flags byte) {
	data := segment(from, to, flags)
	w.Packet(&packet.Packet{Time: w.now, Direction: direction, Data: data, Length: len(data)})
}

func at(addr netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr, port) }

// A SYN that nothing answers is an attempt, once, however often it is sent; one that is
// answered is none.
func TestAttempts(t *testing.T) {
	for name, direction := range map[string][2]packet.Direction{
		"with directions":    {packet.Inbound, packet.Outbound},
		"without directions": {packet.UnknownDirection, packet.UnknownDirection},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch()
			w.see(direction[0], scanner, at(here, 22), packet.FlagSYN)
			w.see(direction[1], at(here, 22), scanner, synACK) // open
			w.see(direction[0], scanner, at(here, 23), packet.FlagSYN)
			w.see(direction[1], at(here, 23), scanner, packet.FlagRST|packet.FlagACK) // closed
			w.see(direction[0], scanner, at(here, 24), packet.FlagSYN)                // hidden
			v6 := netip.MustParseAddrPort("[2001:db8:1::1]:50000")
			w.see(direction[0], v6, at(here6, 25), packet.FlagSYN)
			w.now = w.now.Add(time.Second)
			w.see(direction[0], scanner, at(here, 24), packet.FlagSYN) // again
			w.Expire(start.Add(Patience - time.Millisecond))
			require.Empty(t, w.attempts, "the answer may come")
			w.Expire(start.Add(Patience))
			assert.Equal(t, []Attempt{
				{start, at(here, 23), scanner, 7}, {start, at(here, 24), scanner, 7}, {start, at(here6, 25), v6, 7},
			}, w.attempts)
			assert.Equal(t, Counts{Attempts: 3, Answered: 1}, w.Counts())
			w.Expire(start.Add(time.Hour))
			assert.Len(t, w.attempts, 3)
		})
	}
}

// What is no attempt from outside at this host.
func TestNoAttempts(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("198.51.100.1:443")
	for name, see := range map[string]func(*watched){
		"an own connection":   func(w *watched) { w.see(packet.Outbound, at(here, 40000), elsewhere, packet.FlagSYN) },
		"an own one, unknown": func(w *watched) { w.see(packet.UnknownDirection, at(here, 40000), elsewhere, packet.FlagSYN) },
		"forwarded":           func(w *watched) { w.see(packet.Inbound, scanner, elsewhere, packet.FlagSYN) },
		"within this host":    func(w *watched) { w.see(packet.Inbound, at(here, 40000), at(here, 22), packet.FlagSYN) },
		"loopback": func(w *watched) {
			w.see(packet.UnknownDirection, netip.MustParseAddrPort("127.0.0.1:5000"), at(here, 22), packet.FlagSYN)
		},
		"an answer":           func(w *watched) { w.see(packet.Inbound, elsewhere, at(here, 40000), synACK) },
		"a later segment":     func(w *watched) { w.see(packet.Inbound, scanner, at(here, 22), packet.FlagACK) },
		"SYN and RST":         func(w *watched) { w.see(packet.Inbound, scanner, at(here, 22), packet.FlagSYN|packet.FlagRST) },
		"something malformed": func(w *watched) { w.Packet(&packet.Packet{Time: w.now, Direction: packet.Inbound, Data: []byte{0x45}}) },
	} {
		w := watch()
		see(w)
		w.Expire(start.Add(time.Hour))
		assert.Empty(t, w.attempts, name)
	}
}

// An inbound SYN-ACK with the same ends is no answer of this host.
func TestForgedAnswer(t *testing.T) {
	w := watch()
	w.see(packet.Inbound, scanner, at(here, 22), packet.FlagSYN)
	w.see(packet.Inbound, at(here, 22), scanner, synACK)
	w.Expire(start.Add(Patience))
	assert.Len(t, w.attempts, 1)
}

// A flood takes no more memory than there is room for, and what is given up is counted.
func TestFlood(t *testing.T) {
	w := watch()
	for n := range 3 * maxPending {
		w.see(packet.Inbound, at(netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)}), 50000), at(here, uint16(n)), packet.FlagSYN)
	}
	assert.Len(t, w.all, maxPending)
	assert.Equal(t, Counts{Overflowed: 2 * maxPending}, w.Counts())
	w.Expire(start.Add(Patience))
	assert.Len(t, w.attempts, maxPending)
	assert.Empty(t, w.index)
}

func FuzzWatcher(f *testing.F) {
	f.Add(uint8(packet.Inbound), segment(scanner, at(here, 22), packet.FlagSYN), segment(at(here, 22), scanner, synACK))
	f.Fuzz(func(t *testing.T, direction uint8, first, second []byte) {
		w := watch()
		w.Packet(&packet.Packet{Time: start, Direction: packet.Direction(direction % 3), Data: first, Length: len(first)})
		w.Packet(&packet.Packet{Time: start, Direction: packet.Outbound, Data: second, Length: len(second)})
		w.Expire(start.Add(Patience))
		for _, a := range w.attempts {
			if a.Local.Addr() != here && a.Local.Addr() != here6 || a.Peer.Addr() == a.Local.Addr() {
				t.Errorf("%+v", a)
			}
		}
		if len(w.index) != 0 {
			t.Errorf("%d are left", len(w.index))
		}
	})
}

// The cost of a SYN and its answer.
func BenchmarkWatcher(b *testing.B) {
	w := watch()
	syn, answer := segment(scanner, at(here, 22), packet.FlagSYN), segment(at(here, 22), scanner, synACK)
	in := &packet.Packet{Time: start, Direction: packet.Inbound, Data: syn, Length: len(syn)}
	out := &packet.Packet{Time: start, Direction: packet.Outbound, Data: answer, Length: len(answer)}
	b.ReportAllocs()
	for b.Loop() {
		w.Packet(in)
		w.Packet(out)
	}
}
