// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// eachKernel runs a test on the fixtures of each kernel.
func eachKernel(t *testing.T, test func(t *testing.T, osreldate int)) {
	for _, osreldate := range fixtures {
		t.Run(fmt.Sprint(osreldate), func(t *testing.T) { test(t, osreldate) })
	}
}

// Every socket that a process of the host owns is in the list, as the process
// knows it.
func TestListAgainstOwners(t *testing.T) {
	eachKernel(t, func(t *testing.T, osreldate int) {
		tr := readTruth(t, osreldate)
		vnet := map[int32]bool{}
		for _, p := range tr.Processes {
			vnet[p.PID] = p.JID == 2
		}
		for _, as := range []string{"pcblist", "pcblist_uid1001"} {
			sockets := list(t, decoder(osreldate), fixture(t, osreldate, as))
			compared := 0
			for _, want := range tr.Sockets {
				if want.FDClosed || vnet[want.PID] {
					continue
				}
				got, ok := sockets[expected(want.Local, want.Remote)]
				if !assert.True(t, ok, "%s: %s %v %v", as, want.Name, want.Local, want.Remote) {
					continue
				}
				compared++
				assert.Equal(t, stateName(want.State), got.State.String(), want.Name)
				assert.Equal(t, want.CC, got.CongestionControl, want.Name)
				assert.Equal(t, want.Stack, got.Stack, want.Name)
				assert.NotZero(t, got.Inode, want.Name)
				if got.State != tcp.Listen {
					assert.True(t, got.Has(tcp.FieldReceiveBufferUsage) && got.Has(tcp.FieldSendBufferUsage), want.Name)
					assert.Equal(t, want.FIONREAD, got.ReceiveBufferUsage, want.Name)
					assert.Equal(t, want.FIONWRITE, got.SendBufferUsage, want.Name)
				}
			}
			assert.Greater(t, compared, 60, as)
		}
	})
}

// Ordinary users see of others' sockets what security.bsd lets them, jails
// their own, and a vnet is a world of its own.
func TestListIsWhatOneMaySee(t *testing.T) {
	eachKernel(t, func(t *testing.T, osreldate int) {
		tr := readTruth(t, osreldate)
		owned := func(owner func(pid, uid, jail int32) bool) map[pair]bool {
			pairs := map[pair]bool{}
			for _, s := range tr.Sockets {
				for _, p := range tr.Processes {
					if s.PID == p.PID && !s.FDClosed && owner(p.PID, p.UID, p.JID) {
						pairs[expected(s.Local, s.Remote)] = true
					}
				}
			}
			return pairs
		}
		for file, owner := range map[string]func(pid, uid, jail int32) bool{
			"pcblist_uid1001_noseeother": func(_, uid, _ int32) bool { return uid == 1001 },
			"pcblist_jail":               func(_, _, jail int32) bool { return jail == 1 },
			"pcblist_vnetjail":           func(_, _, jail int32) bool { return jail == 2 },
		} {
			want := owned(owner)
			require.NotEmpty(t, want, file)
			got := list(t, decoder(osreldate), fixture(t, osreldate, file))
			for key, s := range got {
				// TIME_WAIT has no descriptor any more, but still its user.
				assert.True(t, want[key] || s.State == tcp.TimeWait, "%s has %v, which is another's", file, key)
			}
			for key := range want {
				assert.Contains(t, got, key, file)
			}
		}
	})
}

// What nobody owns has nothing to join by, save for an orphan of 15.
func TestNotOwned(t *testing.T) {
	eachKernel(t, func(t *testing.T, osreldate int) {
		tr := readTruth(t, osreldate)
		sockets := list(t, decoder(osreldate), fixture(t, osreldate, "pcblist"))

		embryo := sockets[pair{netip.MustParseAddrPort("10.0.2.15:18083"), netip.MustParseAddrPort("10.0.2.201:40001")}]
		assert.Equal(t, tcp.SynReceived, embryo.State)
		assert.Zero(t, embryo.Fields)
		assert.Zero(t, embryo.Inode)
		assert.NotZero(t, embryo.ID.Cookie>>63, "an identity of its own")

		for _, s := range tr.Sockets {
			switch s.Name {
			case "queued.c": // the other end of it waits to be accepted
				queued, ok := sockets[expected(s.Remote, s.Local)]
				require.True(t, ok)
				assert.Equal(t, tcp.Established, queued.State)
				assert.Zero(t, queued.Inode)
			case "orphan.c":
				orphan, ok := sockets[expected(s.Local, s.Remote)]
				require.True(t, ok)
				assert.Equal(t, tcp.FinWait2, orphan.State)
				// 15 does not say that no descriptor refers to it.
				assert.Equal(t, osreldate < 1400000, orphan.Inode == 0)
			case "tw.s", "tw6.c":
				tw, ok := sockets[expected(s.Local, s.Remote)]
				require.True(t, ok)
				assert.Equal(t, tcp.TimeWait, tw.State)
				assert.Zero(t, tw.Inode)
				if osreldate < 1400000 {
					assert.Zero(t, tw.Fields)
				} else {
					assert.False(t, tw.Has(tcp.FieldCongestionWindow), "of the moment, and nobody's")
					assert.True(t, tw.Has(tcp.FieldRetransmits))
				}
			}
		}
	})
}

// Identities are the kernel's generation: each its own, and none above the
// header's.
func TestIdentities(t *testing.T) {
	eachKernel(t, func(t *testing.T, osreldate int) {
		raw := fixture(t, osreldate, "pcblist")
		before, after, err := generations(raw)
		require.NoError(t, err)
		assert.Equal(t, before, after)
		seen := map[tcp.Identity]bool{}
		for key, s := range list(t, decoder(osreldate), raw) {
			assert.False(t, seen[s.ID], "%v", key)
			seen[s.ID] = true
			if s.State != tcp.SynReceived {
				assert.LessOrEqual(t, s.ID.Cookie, before)
				assert.NotZero(t, s.ID.Cookie)
			}
		}
		// The same sockets have the same identities in the next list.
		again := list(t, decoder(osreldate), fixture(t, osreldate, "pcblist_uid1001"))
		for _, s := range again {
			assert.True(t, seen[s.ID] || s.State == tcp.SynReceived)
		}
	})
}

func TestValues(t *testing.T) {
	eachKernel(t, func(t *testing.T, osreldate int) {
		sockets := list(t, decoder(osreldate), fixture(t, osreldate, "pcblist"))
		find := func(name string) tcp.Socket {
			for _, s := range readTruth(t, osreldate).Sockets {
				if s.Name == name {
					return sockets[expected(s.Local, s.Remote)]
				}
			}
			t.Fatalf("no socket %s", name)
			return tcp.Socket{}
		}
		has := func(s tcp.Socket, fields ...tcp.Field) {
			for _, f := range fields {
				assert.True(t, s.Has(f), "field %d", f)
			}
		}

		full := find("flood.s")
		has(full, tcp.FieldCongestionWindow, tcp.FieldSendMSS, tcp.FieldSendWindow, tcp.FieldReceiveWindow,
			tcp.FieldSinceDataReceived, tcp.FieldReceiveBufferLimit, tcp.FieldRetransmits, tcp.FieldOutOfOrder, tcp.FieldZeroWindows)
		assert.Equal(t, uint32(16344), full.SendMSS)
		assert.Equal(t, uint64(32664), full.CongestionWindow)
		assert.Equal(t, map[int]uint32{1302001: 122580, 1501000: 81720}[osreldate], full.ReceiveBufferLimit)
		assert.Equal(t, 720*time.Millisecond, full.SinceDataReceived.Round(40*time.Millisecond))
		assert.False(t, full.Has(tcp.FieldSlowStartThreshold), "infinite")
		assert.Equal(t, osreldate >= 1400000, full.Has(tcp.FieldSpuriousRetransmits))
		for _, f := range []tcp.Field{tcp.FieldSmoothedRTT, tcp.FieldMinRTT, tcp.FieldRTO, tcp.FieldBytesSent, tcp.FieldBytesReceived, tcp.FieldDeliveryRate, tcp.FieldReceiveMSS} {
			assert.False(t, full.Has(f), "field %d, which sysctl does not know", f)
		}

		listener := find("lwild")
		assert.Equal(t, uint32(1), listener.QueueLength)
		assert.Equal(t, tcp.FreeBSDQueueLimit(5), listener.QueueLimit)
		assert.Equal(t, tcp.Fields(0).With(tcp.FieldQueueLength).With(tcp.FieldQueueLimit), listener.Fields)

		dual := find("ldual")
		assert.Equal(t, "[::]:18082", dual.Local.String())
		assert.False(t, dual.IsIPv4())
		assert.Equal(t, "127.0.0.1:18082", find("a4map.s").Local.String(), "IPv4 in IPv6 is IPv4 on the wire")

		calling := find("synsent.c")
		assert.False(t, calling.Has(tcp.FieldCongestionWindow) || calling.Has(tcp.FieldSendMSS) || calling.Has(tcp.FieldSendWindow))
		assert.Equal(t, uint32(1001), find("b4-0.c").UID)
	})
}

// patched is a list of one socket of 15, changed.
func patched(t testing.TB, change func(record []byte)) []byte {
	raw := fixture(t, 1501000, "pcblist")
	one := append([]byte(nil), raw[:xinpgenLen]...)
	one = append(one, raw[xinpgenLen+xtcpcbLen:xinpgenLen+2*xtcpcbLen]...)
	one = append(one, raw[len(raw)-xinpgenLen:]...)
	change(one[xinpgenLen : xinpgenLen+xtcpcbLen])
	return one
}

func TestLinkLocalHasAZone(t *testing.T) {
	// fe80:3::1 is what the kernel has of fe80::1%if3.
	raw := patched(t, func(b []byte) {
		b[atVersions] = versionIPv6
		copy(b[atLocal:], []byte{0xfe, 0x80, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
		copy(b[atPeer:], []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2})
		binary.NativeEndian.PutUint32(b[atZone:], 4)
	})
	for _, s := range list(t, decoder(1501000), raw) {
		assert.Equal(t, netip.MustParseAddr("fe80::1%if3"), s.Local.Addr())
		assert.Equal(t, netip.MustParseAddr("fe80::2%if4"), s.Peer.Addr())
	}
}

func TestUnknownLayouts(t *testing.T) {
	put := func(at int, v uint64) func([]byte) {
		return func(b []byte) { binary.NativeEndian.PutUint64(b[at:], v) }
	}
	for name, c := range map[string]struct {
		raw  []byte
		says string
	}{
		"xinpcb":  {patched(t, put(atXinpcbLen, 408)), "struct xinpcb of 408 bytes and xsocket of 240, not 400 and 240: unknown layout"},
		"xsocket": {patched(t, put(atXsocketLen, 248)), "struct xinpcb of 400 bytes and xsocket of 248, not 400 and 240: unknown layout"},
		"state":   {patched(t, func(b []byte) { b[atState] = 11 }), "struct xtcpcb of TCP state 11"},
		"xtcpcb": {func() []byte {
			raw := patched(t, put(0, xtcpcbLen+8))
			tail := append(make([]byte, 8), raw[len(raw)-xinpgenLen:]...)
			return append(raw[:len(raw)-xinpgenLen], tail...)
		}(), "struct xtcpcb of 752 bytes, not 744: unknown layout"},
	} {
		t.Run(name, func(t *testing.T) {
			err := decoder(1501000).List(c.raw, func(*tcp.Socket) error { t.Error("visited"); return nil })
			var partial *source.PartialError
			require.ErrorAs(t, err, &partial)
			assert.Equal(t, source.ErrorDecode, partial.Type)
			assert.Equal(t, 1, partial.Count)
			assert.ErrorContains(t, err, c.says)
		})
	}
	for name, c := range map[string]struct {
		raw  []byte
		says string
	}{
		"nothing":          {nil, "net.inet.tcp.pcblist of 0 bytes: cut off"},
		"xinpgen":          {make([]byte, 2*xinpgenLen), "struct xinpgen of 0 bytes, not 64: unknown layout"},
		"no length":        {patched(t, put(0, 0)), "a record of 0 bytes: unknown layout"},
		"absurd length":    {patched(t, put(0, 1<<60)), "a record of 1152921504606846976 bytes: unknown layout"},
		"beyond the end":   {patched(t, put(0, xtcpcbLen+1)), "744 bytes are left for a record of 745: cut off"},
		"rest of a record": {patched(t, put(0, xtcpcbLen-4)), "4 bytes are left for a record: cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.ErrorContains(t, decoder(1501000).List(c.raw, func(*tcp.Socket) error { return nil }), c.says)
		})
	}
}

func TestNamesAreBounded(t *testing.T) {
	d := NewDecoder()
	for i := range 10 * source.MaxNames {
		d.names.Of(fmt.Appendf(nil, "name%d\x00", i))
	}
	assert.Len(t, d.names, source.MaxNames)
	assert.Equal(t, "\uFFFD", NewDecoder().names.Of([]byte{0xff, 0}))
	assert.Equal(t, "full", NewDecoder().names.Of([]byte("full")), "no NUL where the name fills its field")
}

func TestListAllocatesNothing(t *testing.T) {
	raw := fixture(t, 1501000, "pcblist")
	d := decoder(1501000)
	visit := func(*tcp.Socket) error { return nil }
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if err := d.List(raw, visit); err != nil {
			t.Error(err)
		}
	}))
}

func BenchmarkList(b *testing.B) {
	for _, osreldate := range fixtures {
		b.Run(fmt.Sprint(osreldate), func(b *testing.B) {
			raw := fixture(b, osreldate, "pcblist")
			d := decoder(osreldate)
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				if err := d.List(raw, func(*tcp.Socket) error { n++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "sockets/s")
		})
	}
}

func FuzzList(f *testing.F) {
	for _, osreldate := range fixtures {
		for _, file := range []string{"pcblist_jail", "pcblist_vnetjail", "pcblist_uid1001_noseeother"} {
			f.Add(fixture(f, osreldate, file))
		}
		f.Add(fixture(f, osreldate, "pcblist")[:xinpgenLen+3*xtcpcbLen])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := decoder(1501000)
		most, n := len(raw)/xtcpcbLen, 0
		err := d.List(raw, func(s *tcp.Socket) error {
			n++
			if s.State >= tcp.NumStates || !s.Local.IsValid() || !s.Peer.IsValid() || s.Local.Addr().Is4In6() {
				t.Fatalf("%+v", s)
			}
			return nil
		})
		if n > most {
			t.Fatalf("%d sockets in %d bytes: %v", n, len(raw), err)
		}
	})
}
