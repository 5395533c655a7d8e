// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// truth is what is known of a recorded kernel from elsewhere.
type truth struct {
	OSRelDate int
	PID       int32     // of the process that had a bpf device of lo0
	Closed    [2]uint64 // datagrams sent to ports that nobody had, IPv4 and IPv6
	Open      uint64    // datagrams sent to a port that somebody had, of each
	Routes    uint64    // in the routing table
	Clusters  uint64    // kern.ipc.nmbclusters
	IPQueue   uint64    // net.inet.ip.intr_queue_maxlen
	Zones     map[string]zoneTruth
}

// zoneTruth is what vm.uma says of a zone.
type zoneTruth struct{ Current, Fails uint64 }

// kernels are those in testdata.
var kernels = []string{"1302001", "1501000"}

// recorded returns what a kernel said.
func recorded(t testing.TB, kernel, name string) []byte {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("what was recorded is little-endian, this machine is not")
	}
	f, err := os.Open(filepath.Join("testdata", "freebsd", kernel, name+".bin.gz"))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	b, err := io.ReadAll(z)
	require.NoError(t, err)
	return b
}

func readTruth(t testing.TB, kernel string) (known truth) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "freebsd", kernel, "truth.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &known))
	return known
}

func each(t *testing.T, test func(t *testing.T, kernel string, known truth)) {
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) { test(t, kernel, readTruth(t, kernel)) })
	}
}

func parseProtocols(t testing.TB, kernel string, osreldate int) (n Numbers) {
	t.Helper()
	all := structures()
	for i := range all {
		require.NoError(t, all[i].parse(recorded(t, kernel, all[i].variable), osreldate, &n))
	}
	return n
}

func TestProtocols(t *testing.T) {
	each(t, func(t *testing.T, kernel string, known truth) {
		n := parseProtocols(t, kernel, known.OSRelDate)
		both := known.Closed[0] + known.Closed[1]
		for number, want := range map[Number]uint64{
			UDPNoPort: both, UDPSent: both + 2*known.Open, UDPReceived: 2 * known.Open, UDPReceiveBuffer: 0, UDPChecksum: 0,
		} {
			v, ok := n.Get(BothIP, number)
			assert.True(t, ok)
			assert.Equal(t, want, v, "number %d", number)
		}
		_, ok := n.Get(BothIP, UDPSendBuffer)
		assert.False(t, ok, "FreeBSD does not count it")
		for family, closed := range known.Closed {
			family := Family(family)
			_, ok := n.Get(family, UDPNoPort)
			assert.False(t, ok)
			for _, number := range []Number{ICMPUnreachablesReceived, ICMPUnreachablesSent} {
				v, ok := n.Get(family, number)
				assert.True(t, ok)
				assert.Equal(t, closed, v, "family %d, number %d", family, number)
			}
			for _, number := range []Number{ICMPReceived, ICMPSent} {
				v, _ := n.Get(family, number)
				assert.GreaterOrEqual(t, v, closed) // IPv6 looks for its neighbours, too
				assert.Less(t, v, closed+10)
			}
			for _, number := range []Number{IPReceived, IPSent} {
				v, _ := n.Get(family, number)
				assert.GreaterOrEqual(t, v, 2*closed+known.Open)
				assert.Less(t, v, 2*closed+known.Open+30)
			}
			for _, number := range []Number{IPSendDrops, IPNoRoutes, IPFragmentationFailures, IPReassemblyFailures, ICMPReceiveErrors} {
				v, ok := n.Get(family, number)
				assert.True(t, ok)
				assert.Zero(t, v, "number %d", number)
			}
			for _, number := range []Number{IPReceiveDrops, ICMPSendErrors} {
				_, ok := n.Get(family, number)
				assert.False(t, ok, "FreeBSD does not count it")
			}
		}
	})
}

// Each number comes from its own place: counters that are all different.
func TestPositions(t *testing.T) {
	counters := func(n int) []byte {
		b := make([]byte, 8*n)
		for i := range n {
			binary.NativeEndian.PutUint64(b[8*i:], uint64(i))
		}
		return b
	}
	all := structures()
	udp, ip, ip6, icmp, icmp6 := &all[0], &all[1], &all[2], &all[3], &all[4]
	for _, c := range []struct {
		s    *structure
		n    int
		want map[Number]uint64
	}{
		// <netinet/udp_var.h>: more was lost than came, which no kernel says.
		{udp, 14, map[Number]uint64{UDPReceived: 0, UDPNoPort: 5, UDPReceiveBuffer: 7, UDPSent: 10, UDPChecksum: 2}},
		{ip, 29, map[Number]uint64{
			IPReceived: 0, IPSent: 15 + 24, IPSendDrops: 16, IPNoRoutes: 22, IPFragmentationFailures: 20, IPReassemblyFailures: 7 + 8,
		}},
		{ip6, 415, map[Number]uint64{
			IPReceived: 0, IPSent: 11, IPSendDrops: 12, IPNoRoutes: 19, IPFragmentationFailures: 17, IPReassemblyFailures: 4 + 5 + 6,
		}},
		{icmp, 94, map[Number]uint64{
			ICMPSent: (3 + 43) * 41 / 2, ICMPReceiveErrors: 44 + 45 + 46 + 47, ICMPReceived: (49+89)*41/2 + 46,
			ICMPUnreachablesSent: 3 + 3, ICMPUnreachablesReceived: 49 + 3,
		}},
		{icmp6, 578, map[Number]uint64{
			ICMPSent: (3 + 258) * 256 / 2, ICMPReceiveErrors: 259 + 260 + 261 + 262, ICMPReceived: (264+519)*256/2 + 261,
			ICMPUnreachablesSent: 3 + 1, ICMPUnreachablesReceived: 264 + 1,
		}},
		{icmp6, 579, map[Number]uint64{ // one more before the second histogram
			ICMPSent: (3 + 258) * 256 / 2, ICMPReceiveErrors: 259 + 260 + 261 + 262, ICMPReceived: (265+520)*256/2 + 261,
			ICMPUnreachablesSent: 3 + 1, ICMPUnreachablesReceived: 265 + 1,
		}},
	} {
		var n Numbers
		require.NoError(t, c.s.parse(counters(c.n), 1500000, &n))
		got := make(map[Number]uint64)
		for number := range NumNumbers {
			if v, ok := n.Get(c.s.family, number); ok {
				got[number] = v
			}
		}
		assert.Equal(t, c.want, got, "%s of %d", c.s.name, c.n)
	}
}

// A layout that is not known gives no number.
func TestUnknownLayouts(t *testing.T) {
	each(t, func(t *testing.T, kernel string, known truth) {
		all := structures()
		for i := range all {
			s := &all[i]
			raw := recorded(t, kernel, s.variable)
			var n Numbers
			for _, wrong := range [][]byte{nil, raw[:8], raw[:len(raw)-16], append(slices.Clone(raw), make([]byte, 8*64)...)} {
				err := s.parse(wrong, known.OSRelDate, &n)
				require.ErrorIs(t, err, errLayout)
				assert.ErrorContains(t, err, s.name)
			}
			require.ErrorIs(t, s.parse(raw, newestKnown, &n), errLayout)
			assert.Equal(t, Numbers{}, n)
		}
		for name, parse := range map[string]func(raw []byte, n *Numbers) error{
			"vm.zone_stats": func(raw []byte, n *Numbers) error { return n.zones(raw, AllParts) },
			"net.isr.proto": func(raw []byte, n *Numbers) error { return n.netISR(raw, nil) },
			"net.isr.work":  func(raw []byte, n *Numbers) error { return n.netISR(nil, raw) },
			"net.bpf.stats": func(raw []byte, n *Numbers) error { return make(devices).parse(raw, n) },
		} {
			raw := recorded(t, kernel, name)
			other := slices.Clone(raw)
			other[0]++ // the version, or the length of the first struct
			for what, wrong := range map[string][]byte{"cut": raw[:len(raw)-8], "longer": append(slices.Clone(raw), 1), "another version": other} {
				var n Numbers
				require.ErrorIs(t, parse(wrong, &n), errLayout, "%s, %s", name, what)
				assert.Equal(t, Numbers{}, n)
			}
		}
	})
}

// Differences of counters that are not read at one moment do not fall.
func TestHighest(t *testing.T) {
	var h highest
	for _, c := range []struct{ of, value, want uint64 }{{10, 8, 8}, {12, 7, 8}, {12, 9, 9}, {3, 1, 1}, {5, 5, 5}} {
		assert.Equal(t, c.want, h.take(c.of, c.value), "%v", c)
	}
}

func TestZones(t *testing.T) {
	each(t, func(t *testing.T, kernel string, known truth) {
		raw := recorded(t, kernel, "vm.zone_stats")
		var cached uint64
		used := make(map[string]zone)
		require.NoError(t, parseZones(raw, func(z *zone) {
			used[string(z.name)] = *z
			if string(z.name) == packetZone {
				cached = z.cached
			}
		}))
		for name, z := range known.Zones {
			assert.InDelta(t, z.Current, used[name].used, 4, name) // it was read a moment later
			assert.Equal(t, z.Fails, used[name].fails, name)
		}
		var n Numbers
		require.NoError(t, n.zones(raw, AllParts))
		require.Len(t, n.Mbufs, len(mbufZones))
		for _, z := range n.Mbufs {
			if z.Name == clusterZone {
				assert.Equal(t, known.Clusters, z.Limit)
				assert.Equal(t, used[clusterZone].used-cached, z.Usage)
			}
		}
		assert.Equal(t, &Routes{Routes: known.Routes, Nexthops: used[nexthopZone].used}, n.Routes)
		assert.Positive(t, n.Routes.Nexthops)

		n = Numbers{}
		require.NoError(t, n.zones(raw, Memory))
		assert.Nil(t, n.Routes)
		n = Numbers{}
		require.NoError(t, n.zones(raw, Routing))
		assert.Empty(t, n.Mbufs)
	})
}

// zoneStream makes a stream of zones with two CPUs.
func zoneStream(zones ...map[int]uint64) []byte {
	const cpus = 2
	b := make([]byte, zoneStreamLen)
	for i, v := range []uint32{zoneVersion, cpus, uint32(len(zones))} {
		binary.NativeEndian.PutUint32(b[4*i:], v)
	}
	for _, z := range zones {
		one := make([]byte, zoneLen+cpus*zoneCPULen)
		for at, v := range z {
			switch {
			case at < zoneNameLen:
				copy(one, mbufZones[v])
			case at < atAllocs:
				binary.NativeEndian.PutUint32(one[at:], uint32(v))
			default:
				binary.NativeEndian.PutUint64(one[at:], v)
			}
		}
		b = append(b, one...)
	}
	return b
}

// All CPUs count, packets that nobody has hold no clusters, and what fails is told.
func TestZonesOfCPUs(t *testing.T) {
	raw := zoneStream(
		map[int]uint64{
			0: 2, atZoneLimit: 1000, atKegFree: 7, atAllocs: 100, atFrees: 20, atFails: 3, atSleeps: 4,
			zoneLen + atCPUAllocs: 30, zoneLen + atCPUFrees: 5, zoneLen + zoneCPULen + atCPUAllocs: 6, zoneLen + zoneCPULen + atCPUFrees: 1,
		},
		map[int]uint64{0: 1, atZoneFree: 11, zoneLen + atCPUFree: 3, zoneLen + zoneCPULen + atCPUFree: 6, atAllocs: 1, atFrees: 2},
	)
	var n Numbers
	require.NoError(t, n.zones(raw, Memory))
	assert.Equal(t, []MbufZone{
		{Name: packetZone}, // more frees than allocations, seen while they were counted
		{Name: clusterZone, Usage: 100 + 30 + 6 - 20 - 5 - 1 - 11 - 3 - 6, Limit: 1000, Denied: 3, Delayed: 4},
	}, n.Mbufs)
}

func TestNetISR(t *testing.T) {
	each(t, func(t *testing.T, kernel string, known truth) {
		var n Numbers
		require.NoError(t, n.netISR(recorded(t, kernel, "net.isr.proto"), recorded(t, kernel, "net.isr.work")))
		names := make(map[string]NetISR)
		for _, p := range n.NetISR {
			names[p.Protocol] = p
			assert.Positive(t, p.Limit, p.Protocol)
			assert.LessOrEqual(t, p.Watermark, p.Limit, p.Protocol)
		}
		for _, name := range []string{"ip", "ip6", "arp", "ether", "rtsock"} {
			assert.Contains(t, names, name)
		}
		assert.Equal(t, known.IPQueue, names["ip"].Limit)
		assert.GreaterOrEqual(t, names["ip"].Handled, 2*known.Closed[0]+known.Open)
		assert.GreaterOrEqual(t, names["ip6"].Handled, 2*known.Closed[1]+known.Open)
		assert.Positive(t, names["ip"].Watermark)
		assert.Equal(t, &Softnet{}, n.Softnet)
	})
}

// CPUs are added up, but for the queues, of which the longest counts; messages for
// routing sockets are not packets.
func TestNetISROfCPUs(t *testing.T) {
	proto := func(name string, number, limit uint32) []byte {
		b := make([]byte, protoLen)
		binary.NativeEndian.PutUint32(b, protoLen)
		copy(b[atProtoName:], name)
		binary.NativeEndian.PutUint32(b[atProto:], number)
		binary.NativeEndian.PutUint32(b[atProtoLimit:], limit)
		return b
	}
	work := func(number, queue, watermark uint32, drops, handled uint64) []byte {
		b := make([]byte, workLen)
		for at, v := range map[int]uint32{0: workLen, atWorkProto: number, atWorkQueue: queue, atWatermark: watermark} {
			binary.NativeEndian.PutUint32(b[at:], v)
		}
		binary.NativeEndian.PutUint64(b[atWorkDrops:], drops)
		binary.NativeEndian.PutUint64(b[atWorkHandled:], handled)
		return b
	}
	var n Numbers
	require.NoError(t, n.netISR(slices.Concat(proto("ip", 1, 256), proto(routingMessages, 3, 1024)),
		slices.Concat(work(1, 5, 200, 10, 1000), work(3, 1, 2, 7, 30), work(1, 9, 100, 20, 2000), work(6, 1, 1, 1, 1))))
	assert.Equal(t, []NetISR{
		{Protocol: "ip", number: 1, Limit: 256, Longest: 9, Watermark: 200, Drops: 30, Handled: 3000},
		{Protocol: routingMessages, number: 3, Limit: 1024, Longest: 1, Watermark: 2, Drops: 7, Handled: 30},
	}, n.NetISR)
	assert.Equal(t, &Softnet{Drops: 30}, n.Softnet)
}

func TestDevicesRecorded(t *testing.T) {
	each(t, func(t *testing.T, kernel string, known truth) {
		var n Numbers
		require.NoError(t, make(devices).parse(recorded(t, kernel, "net.bpf.stats"), &n))
		require.Len(t, n.Devices, 1)
		d := n.Devices[0]
		assert.Equal(t, "lo0", d.Interface)
		assert.Equal(t, known.PID, d.PID)
		sent := 2*known.Closed[0] + 2*known.Closed[1] + 2*known.Open // with the answers
		assert.GreaterOrEqual(t, d.Received, sent)
		assert.Less(t, d.Received, sent+30)
		assert.Positive(t, d.Dropped)
		assert.Less(t, d.Dropped, d.Received)
	})
}

// The counts of a process never fall, whichever of its devices go.
func TestDevicesThatGo(t *testing.T) {
	one := func(pid int32, name string, received, dropped uint64) []byte {
		b := make([]byte, deviceLen)
		binary.NativeEndian.PutUint32(b, deviceLen)
		binary.NativeEndian.PutUint64(b[atDeviceReceived:], received)
		binary.NativeEndian.PutUint64(b[atDeviceDropped:], dropped)
		binary.NativeEndian.PutUint32(b[atDevicePID:], uint32(pid))
		copy(b[atDeviceName:], name)
		return b
	}
	d := make(devices)
	for i, step := range []struct {
		raw  []byte
		want []Device
	}{
		{slices.Concat(one(7, "em0", 100, 10), one(7, "em0", 50, 5), one(7, "lo0", 1, 0), one(6, "em0", 2, 1)),
			[]Device{{"em0", 6, 2, 1}, {"em0", 7, 150, 15}, {"lo0", 7, 1, 0}}},
		{one(7, "em0", 60, 6), []Device{{"em0", 7, 150, 15}}},
		{one(7, "em0", 70, 8), []Device{{"em0", 7, 160, 17}}},
		{nil, nil},
		{one(7, "em0", 3, 0), []Device{{"em0", 7, 3, 0}}}, // another process, maybe
	} {
		var n Numbers
		require.NoError(t, d.parse(step.raw, &n))
		assert.Equal(t, step.want, n.Devices, "step %d", i)
	}
}

func TestInterfacesRecorded(t *testing.T) {
	each(t, func(t *testing.T, kernel string, _ truth) {
		raw := recorded(t, kernel, "net.routetable.0.link.iflistl")
		var n Numbers
		require.NoError(t, parseMessages(raw, &n))
		assert.Equal(t, []Interface{{Name: "lo0"}}, n.Interfaces)

		// Numbers in their places, and a message of another type between two.
		data := binary.NativeEndian.Uint16(raw[atDataOffset:])
		changed := slices.Clone(raw)
		for i, at := range []int{atReceiveErrors, atSendErrors, atReceiveDrops, atSendDrops} {
			binary.NativeEndian.PutUint64(changed[int(data)+at:], uint64(i+1))
		}
		address := []byte{0, 0, messageVersion, 0x0c, 1, 2, 3, 4}
		binary.NativeEndian.PutUint16(address, uint16(len(address)))
		require.NoError(t, parseMessages(slices.Concat(raw, address, changed), &n))
		assert.Equal(t, []Interface{{Name: "lo0"}, {Name: "lo0", Errors: [2]uint64{1, 2}, Drops: [2]uint64{3, 4}}}, n.Interfaces)

		wrong := slices.Clone(raw)
		wrong[int(data)+atDataLen]++
		require.ErrorIs(t, parseMessages(wrong, &n), errLayout)
		wrong = slices.Clone(raw)
		wrong[atVersion]++
		require.ErrorIs(t, parseMessages(wrong, &n), errLayout)
		for length := 1; length < len(raw); length++ {
			require.Error(t, parseMessages(raw[:length], &n), "cut to %d", length)
			short := slices.Clone(raw[:length])
			if length >= 4 { // a message that says that it is so short
				binary.NativeEndian.PutUint16(short, uint16(length))
				if err := parseMessages(short, &n); length < int(data)+dataLen+atName+len("lo0") {
					require.Error(t, err, "said to be of %d", length)
				}
			}
		}
	})
}

func FuzzFreeBSD(f *testing.F) {
	all := structures()
	names := []string{"vm.zone_stats", "net.isr.proto", "net.isr.work", "net.bpf.stats", "net.routetable.0.link.iflistl"}
	for _, s := range all {
		names = append(names, s.variable)
	}
	for _, kernel := range kernels {
		for _, name := range names {
			f.Add(recorded(f, kernel, name))
		}
	}
	protocols := recorded(f, kernels[0], "net.isr.proto")
	f.Fuzz(func(t *testing.T, raw []byte) {
		var n Numbers
		all := structures()
		for i := range all {
			_ = all[i].parse(raw, 1500000, &n)
		}
		d := make(devices)
		for _, err := range []error{
			n.zones(raw, AllParts), n.netISR(raw, raw), n.netISR(protocols, raw), d.parse(raw, &n), parseMessages(raw, &n),
		} {
			_ = err
		}
		for i := range n.Devices {
			for j := range i {
				if n.Devices[i].Interface == n.Devices[j].Interface && n.Devices[i].PID == n.Devices[j].PID {
					t.Fatal(fmt.Sprint("twice: ", n.Devices[i]))
				}
			}
		}
	})
}
