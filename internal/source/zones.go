// SPDX-License-Identifier: Apache-2.0

package source

import (
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
)

// Zones are the interfaces that link-local addresses belong to. A source and its
// notices may share them.
type Zones struct {
	interfaces func() ([]net.Interface, error)
	now        func() time.Time
	// namespace is where the interfaces are.
	namespace uint64

	mu sync.Mutex
	// names are those of the interfaces as they were at a time, and the numbers of
	// those that were asked for and had none.
	names map[uint32]string
	at    time.Time
}

// maxZoneAge is how long a name is believed: interfaces are renamed, and the number
// of one that is gone may be given to another.
const maxZoneAge = 10 * time.Second

// NewZones returns the zones of the calling thread's network namespace. None is
// named yet.
func NewZones() *Zones {
	z := &Zones{interfaces: net.Interfaces, now: time.Now, names: make(map[uint32]string)}
	z.namespace, _ = netns.Own() // 0 where there are none
	return z
}

// Name names an interface. One that has no name (any more) keeps its number, which
// netip.ParseAddr reads as well. Names are read in the calling thread's network
// namespace; on a thread in another one Name is Known.
func (z *Zones) Name(ifindex uint32) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := z.now()
	name, ok := z.names[ifindex]
	if ok && now.Sub(z.at) < maxZoneAge {
		return name
	}
	if here, err := netns.Own(); err != nil || here != z.namespace {
		return z.known(ifindex)
	}
	z.read(now)
	name = z.known(ifindex)
	z.names[ifindex] = name
	return name
}

// read reads the names that interfaces have now, and at the end of their time
// forgets those that none has. What cannot be read stays as it was.
func (z *Zones) read(now time.Time) {
	expired := now.Sub(z.at) >= maxZoneAge
	if expired {
		z.at = now
	}
	interfaces, err := z.interfaces()
	if err != nil {
		return
	}
	if expired {
		clear(z.names)
	}
	for _, ifi := range interfaces {
		z.names[uint32(ifi.Index)] = ifi.Name
	}
}

// Known is Name for a thread in any namespace: an interface that nobody has
// named has its number.
func (z *Zones) Known(ifindex uint32) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.known(ifindex)
}

func (z *Zones) known(ifindex uint32) string {
	if name, ok := z.names[ifindex]; ok {
		return name
	}
	return strconv.FormatUint(uint64(ifindex), 10)
}

// IPv6 makes an address of the 16 bytes that an IPv6 socket has, as it is on the
// wire: IPv4 where it is mapped, and with its zone if it has one. ifindex 0 says
// that it has none.
func IPv6(b [16]byte, ifindex uint32, zone func(ifindex uint32) string) netip.Addr {
	addr := netip.AddrFrom16(b)
	switch {
	case addr.Is4In6():
		return addr.Unmap()
	case ifindex != 0 && addr.IsLinkLocalUnicast():
		return addr.WithZone(zone(ifindex))
	}
	return addr
}
