// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/netpulse/tcpstatsreceiver/internal/mib"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	name         = "sysctl"
	rank         = 10
	capabilities = source.Processes
)

// Factory makes sysctl sources.
func Factory() source.Factory {
	return source.Factory{
		Name:         name,
		Rank:         rank,
		Capabilities: capabilities,
		Lacks:        "RTT and bytes need the tcpstats module",
		Open: func(ctx context.Context) (source.Source, error) {
			s, err := Open(ctx)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
	}
}

// Source reads the sockets and counters of the collector's own vnet.
type Source struct {
	*CounterReader
	list *mib.Variable
	dec  *Decoder
}

// Open opens the source and reads each of its variables once.
func Open(ctx context.Context) (*Source, error) {
	counters, err := NewCounters(ctx)
	if err != nil {
		return nil, err
	}
	list, err := mib.New("net.inet.tcp.pcblist")
	if err != nil {
		return nil, err
	}
	s := &Source{CounterReader: counters, list: list, dec: NewDecoder()}
	s.dec.DSACK = counters.major >= 14
	s.dec.Zone = source.NewZones().Name
	err = s.Sockets(ctx, func(*tcp.Socket) error { return nil })
	if partial := (*source.PartialError)(nil); err != nil && !errors.As(err, &partial) {
		return nil, err
	}
	return s, nil
}

// Name implements source.Source.
func (*Source) Name() string { return name }

// Capabilities are the same on every host.
func (*Source) Capabilities() source.Capabilities { return capabilities }

// Sockets implements source.Source.
//
// The kernel tells when sockets came or went while it made the list. What was
// there all the while is in the list nevertheless (tcp_pcblist walks a list to
// whose front alone it adds), so a list is made again only as long as another
// one may well be in time; then the last is taken, and a
// [source.PartialError] says so.
func (s *Source) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	list, changes, err := settled(ctx, s.list.Read)
	if err != nil {
		return fmt.Errorf("list TCP sockets: %w", err)
	}
	// An error of visit is the caller's, whatever it is.
	var stopped error
	err = s.dec.List(list, func(sock *tcp.Socket) error {
		stopped = visit(sock)
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	if partial := (*source.PartialError)(nil); err != nil && !errors.As(err, &partial) {
		return fmt.Errorf("list TCP sockets: %w", err)
	}
	return errors.Join(err, unsettled(changes))
}

// Confined implements source.Confined: a jail that shares the host's network, and
// an ordinary user where security(7) hides others, see their own sockets, but
// the counters of all. The kernel module shows what pcblist shows.
func (*CounterReader) Confined() bool {
	is := func(variable string, value int32) bool {
		v, err := mib.Int(variable)
		return err == nil && v == value
	}
	if is("security.jail.jailed", 1) && is("security.jail.vnet", 0) {
		return true
	}
	return os.Geteuid() != 0 && (is("security.bsd.see_other_uids", 0) || is("security.bsd.see_other_gids", 0) || is("security.bsd.see_jail_proc", 0))
}

// Close implements source.Source: nothing is open between two reads.
func (*Source) Close() error { return nil }

// CounterReader reads the numbers of the collector's own vnet, also for sources
// that read the sockets elsewhere. It is used by one goroutine at a time.
type CounterReader struct {
	stats, states *mib.Variable
	osreldate     int
	major         int // of the kernel's version; of osreldate if its tcpstat is not known
}

// NewCounters returns a reader and tries it. That the layout of the counters is
// not known is no error here: some can be read nevertheless.
func NewCounters(ctx context.Context) (*CounterReader, error) {
	r := &CounterReader{}
	var err error
	if r.osreldate, err = mib.Version(); err != nil {
		return nil, err
	}
	if r.stats, err = mib.New("net.inet.tcp.stats"); err != nil {
		return nil, err
	}
	if r.states, err = mib.New("net.inet.tcp.states"); err != nil {
		return nil, err
	}
	raw, err := r.stats.Read(ctx)
	if err != nil {
		return nil, err
	}
	r.major = r.osreldate / 100000
	if stats, err := parseStat(raw, r.osreldate); err == nil {
		r.major = 13 + stats.column
	}
	return r, nil
}

// Counters returns the counters that this kernel has. With an error it returns
// those that could be read.
func (r *CounterReader) Counters(ctx context.Context) (tcp.Counters, error) {
	raw, err := r.stats.Read(ctx)
	if err != nil {
		return tcp.Counters{}, err
	}
	cs, err := counters(raw, r.osreldate)
	first, errFirst := mib.Int("net.inet.ip.portrange.first")
	last, errLast := mib.Int("net.inet.ip.portrange.last")
	if errRange := errors.Join(errFirst, errLast); errRange != nil {
		return cs, errors.Join(err, fmt.Errorf("range of ephemeral ports: %w", errRange))
	}
	setPorts(&cs, first, last)
	return cs, err
}

// CountersOf decodes the counters and states of another network stack.
func (r *CounterReader) CountersOf(stats, states []byte) (tcp.Counters, tcp.States, error) {
	return countersOf(stats, states, r.osreldate)
}

// States implements source.StateCounter.
func (r *CounterReader) States(ctx context.Context) (tcp.States, error) {
	raw, err := r.states.Read(ctx)
	if err != nil {
		return tcp.States{}, err
	}
	return states(raw)
}
