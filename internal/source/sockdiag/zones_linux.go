package sockdiag

import (
	"net"
	"strconv"
	"sync"
)

// zones are the interfaces that link-local addresses belong to. The source and
// its notices share them.
type zones struct {
	mu    sync.Mutex
	names map[uint32]string
}

// name names an interface of the calling thread's network namespace. One that
// has no name (any more) keeps its number, which netip.ParseAddr reads as well.
func (z *zones) name(ifindex uint32) string {
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

// known is name for a thread in any namespace: an interface that nobody has
// named has its number.
func (z *zones) known(ifindex uint32) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	if name, ok := z.names[ifindex]; ok {
		return name
	}
	return number(ifindex)
}

func number(ifindex uint32) string { return strconv.FormatUint(uint64(ifindex), 10) }
