// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// localFor is how long a list of this host's addresses is used before an address
// that is not in it makes it be read again.
const localFor = 10 * time.Second

// Local knows the addresses of a host, for engines that do not know the direction
// of packets. Any goroutine may use it.
type Local struct {
	list func() ([]net.Addr, error)

	mu   sync.Mutex
	read time.Time
	all  map[netip.Addr]struct{}
}

// NewLocal returns the addresses of a network namespace or vnet. in calls a function
// there and returns its error; nil: every thread is in it.
func NewLocal(in func(func() error) error) *Local {
	return &Local{list: func() (all []net.Addr, err error) {
		if in == nil {
			return net.InterfaceAddrs()
		}
		err = in(func() (err error) {
			all, err = net.InterfaceAddrs()
			return err
		})
		return all, err
	}}
}

// Has reports whether an address belongs to the host now. While addresses cannot be
// listed, those of the last list do.
func (l *Local) Has(addr netip.Addr, now time.Time) bool {
	addr = addr.Unmap().WithZone("")
	if addr.IsLoopback() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.all[addr]; ok {
		return true
	}
	if since := now.Sub(l.read); since >= 0 && since < localFor {
		return false
	}
	l.read = now
	listed, err := l.list()
	if err != nil {
		return false
	}
	l.all = make(map[netip.Addr]struct{}, len(listed))
	for _, one := range listed {
		if network, ok := one.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(network.IP); ok {
				l.all[a.Unmap()] = struct{}{}
			}
		}
	}
	_, ok := l.all[addr]
	return ok
}
