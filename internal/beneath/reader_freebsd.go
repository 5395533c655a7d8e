// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/mib"
)

// Reader reads what the collector's own network stack (vnet) counts, and of what all
// stacks share, the host's.
type Reader struct {
	structures []structure
	variables  map[string]*mib.Variable
	devices    devices
}

// NewReader returns a reader.
func NewReader() *Reader {
	return &Reader{structures: structures(), variables: make(map[string]*mib.Variable), devices: make(devices)}
}

// ifList are the numbers of the list of interfaces: CTL_NET, AF_ROUTE, 0, AF_LINK,
// NET_RT_IFLISTL and 0 for all. No address is of AF_LINK, so there are none in it.
var ifList = []int32{4, 17, 0, 18, 5, 0}

// Read returns what is wanted. With an error, which names what could not be read or
// understood, it returns the rest. What the host does not have is no error.
func (r *Reader) Read(ctx context.Context, want Parts) (Numbers, error) {
	var n Numbers
	var errs []error
	read := func(name string, parse func(raw []byte) error) {
		raw, err := r.variable(ctx, name)
		if err == nil {
			if err = parse(raw); err != nil {
				err = fmt.Errorf("sysctl %s: %w", name, err)
			}
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
	}
	if want&Protocols != 0 {
		osreldate, err := mib.Version()
		if err != nil {
			return n, err
		}
		for i := range r.structures {
			s := &r.structures[i]
			read(s.variable, func(raw []byte) error { return s.parse(raw, osreldate, &n) })
		}
	}
	if want&Queues != 0 {
		read("net.isr.proto", func(protocols []byte) error {
			work, err := r.variable(ctx, "net.isr.work")
			if err != nil {
				return err
			}
			return n.netISR(protocols, work)
		})
	}
	if jailed, err := mib.Int("security.jail.jailed"); err == nil && jailed != 0 {
		want &^= Routing // the routes are those of all network stacks
	}
	if want&(Memory|Routing) != 0 {
		read("vm.zone_stats", func(raw []byte) error { return n.zones(raw, want) })
	}
	if want&Captures != 0 {
		read("net.bpf.stats", func(raw []byte) error { return r.devices.parse(raw, &n) })
	}
	if want&Interfaces != 0 {
		read(interfaceList, func(raw []byte) error { return parseMessages(raw, &n) })
	}
	return n, errors.Join(errs...)
}

const interfaceList = "net.routetable.0.link.iflistl"

// variable reads a variable.
func (r *Reader) variable(ctx context.Context, name string) ([]byte, error) {
	v := r.variables[name]
	if v == nil {
		var err error
		if name == interfaceList {
			v = mib.Numbered(name, ifList...)
		} else if v, err = mib.New(name); err != nil {
			return nil, err
		}
		r.variables[name] = v
	}
	raw, err := v.Read(ctx)
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w (only root may read it)", err)
	}
	return raw, err
}
