// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// vm.zone_stats, the stream that memstat(3) reads (<vm/uma.h>): struct
// uma_stream_header, then for each zone a struct uma_type_header and a struct
// uma_percpu_stat for each CPU.
const (
	zoneVersion   = 1 // UMA_STREAM_VERSION
	zoneStreamLen = 16
	zoneLen       = 120
	zoneCPULen    = 64
	zoneMaxCPUs   = 1 << 16

	atZoneCPUs, atZoneCount = 4, 8

	zoneNameLen = 32 // UTH_MAX_NAME
	atZoneLimit = 48 // uth_limit, 32 bits; those below have 64
	atKegFree   = 56 // uth_keg_free, 32 bits
	atZoneFree  = 60 // uth_zone_free, 32 bits
	atAllocs    = 72
	atFrees     = 80
	atFails     = 88
	atSleeps    = 96

	atCPUAllocs, atCPUFrees, atCPUFree = 0, 8, 16
)

// Names of zones of <sys/mbuf.h>, of sys/net/route/route_rtentry.c and nhop_ctl.c.
const (
	packetZone  = "mbuf_packet" // mbufs that have a cluster
	clusterZone = "mbuf_cluster"
	routeZone   = "rtentry"
	nexthopZone = "routing nhops"
)

// mbufZones are the zones of network memory.
var mbufZones = []string{"mbuf", packetZone, clusterZone, "mbuf_jumbo_page", "mbuf_jumbo_9k", "mbuf_jumbo_16k"}

// zone is one zone of the kernel's memory.
type zone struct {
	name   []byte
	used   uint64 // items that somebody has
	cached uint64 // items that nobody has, but the zone's caches
	limit  uint64
	fails  uint64
	sleeps uint64
}

// parseZones visits all zones.
func parseZones(raw []byte, visit func(*zone)) error {
	if len(raw) < zoneStreamLen {
		return fmt.Errorf("a stream of %d bytes: %w", len(raw), errLayout)
	}
	u32 := func(at int) uint64 { return uint64(binary.NativeEndian.Uint32(raw[at:])) }
	version, cpus, count := u32(0), u32(atZoneCPUs), u32(atZoneCount)
	each := zoneLen + cpus*zoneCPULen
	if version != zoneVersion || cpus > zoneMaxCPUs || uint64(len(raw)-zoneStreamLen) != count*each {
		return fmt.Errorf("a stream of version %d with %d zones and %d CPUs in %d bytes: %w", version, count, cpus, len(raw), errLayout)
	}
	for at := zoneStreamLen; at < len(raw); at += int(each) {
		z := parseZone(raw[at : at+int(each)])
		visit(&z)
	}
	return nil
}

func parseZone(b []byte) zone {
	u32 := func(at int) uint64 { return uint64(binary.NativeEndian.Uint32(b[at:])) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
	name, _, _ := bytes.Cut(b[:zoneNameLen], []byte{0})
	z := zone{name: name, limit: u32(atZoneLimit), fails: u64(atFails), sleeps: u64(atSleeps), cached: u32(atZoneFree)}
	allocs, frees := u64(atAllocs), u64(atFrees)
	for at := zoneLen; at < len(b); at += zoneCPULen {
		allocs += u64(at + atCPUAllocs)
		frees += u64(at + atCPUFrees)
		z.cached += u64(at + atCPUFree)
	}
	// Each CPU counts for itself, and they are read while they count.
	z.used = allocs - min(allocs, frees)
	return z
}

// zones sets what is wanted of the zones.
func (n *Numbers) zones(raw []byte, want Parts) error {
	var routes Routes
	mbufs := make([]MbufZone, len(mbufZones))
	var packets uint64 // cached ones, each of which has a cluster
	err := parseZones(raw, func(z *zone) {
		switch string(z.name) {
		case routeZone:
			routes.Routes += z.used // each network stack has a zone
		case nexthopZone:
			routes.Nexthops += z.used
		case packetZone:
			packets = z.cached
		}
		for i, name := range mbufZones {
			if string(z.name) == name {
				mbufs[i] = MbufZone{Name: name, Usage: z.used, Limit: z.limit, Denied: z.fails, Delayed: z.sleeps}
			}
		}
	})
	if err != nil {
		return err
	}
	if want&Routing != 0 {
		n.Routes = &routes
	}
	if want&Memory == 0 {
		return nil
	}
	for i := range mbufs {
		if mbufs[i].Name == clusterZone {
			mbufs[i].Usage -= min(mbufs[i].Usage, packets)
		}
		if mbufs[i].Name != "" {
			n.Mbufs = append(n.Mbufs, mbufs[i])
		}
	}
	return nil
}
