package source

import (
	"net"
	"net/netip"
	"strconv"
	"sync"
)

// Zones are the interfaces that link-local addresses belong to. A source and its
// notices may share them.
type Zones struct {
	mu    sync.Mutex
	names map[uint32]string
}

// NewZones returns zones of which none is named yet.
func NewZones() *Zones { return &Zones{names: make(map[uint32]string)} }

// Name names an interface of the calling thread's network namespace. One that
// has no name (any more) keeps its number, which netip.ParseAddr reads as well.
func (z *Zones) Name(ifindex uint32) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	if name, ok := z.names[ifindex]; ok {
		return name
	}
	name := number(ifindex)
	if ifi, err := net.InterfaceByIndex(int(ifindex)); err == nil {
		name = ifi.Name
	}
	z.names[ifindex] = name
	return name
}

// Known is Name for a thread in any namespace: an interface that nobody has
// named has its number.
func (z *Zones) Known(ifindex uint32) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	if name, ok := z.names[ifindex]; ok {
		return name
	}
	return number(ifindex)
}

func number(ifindex uint32) string { return strconv.FormatUint(uint64(ifindex), 10) }

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
