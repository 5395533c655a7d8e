// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/procfs"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const name = "sock_diag"

// Source reads the sockets of one network namespace.
type Source struct {
	dial         func() (conn, error)
	conn         conn // nil: to be dialed
	seq          uint32
	clean        bool // the last dump was read to its end
	buf          []byte
	request      []byte
	dec          decoder
	zones        *source.Zones
	capabilities source.Capabilities
	counters     *procfs.CounterReader
	quiet        quiet

	// What Narrow asks for.
	narrowed *source.Filter
	states   uint32
	bytecode []byte
}

// newSource returns a source of the namespace whose files are in dir. It dials when
// it dumps.
func newSource(dir string, dial func() (conn, error)) *Source {
	zones := source.NewZones()
	return &Source{
		dial:     dial,
		buf:      make([]byte, bufferLen),
		dec:      decoder{namespace: procfs.Namespace(dir), zone: zones.Name, names: make(source.Interner)},
		zones:    zones,
		counters: procfs.NewCounters(dir),
		quiet:    quiet{activity: procfs.NewActivity(dir)},
		states:   allStates,
	}
}

// Name implements source.Source.
func (s *Source) Name() string { return name }

// Capabilities implements source.Source. Kernels before 4.19 do not count the
// bytes sent, kernels before 4.4 do not tell of closes.
func (s *Source) Capabilities() source.Capabilities { return s.capabilities }

// Narrow implements source.Narrower. What the kernel leaves out cannot be counted.
func (s *Source) Narrow(f *source.Filter, counted bool) error {
	if counted {
		f = nil
	}
	if f == s.narrowed {
		return nil
	}
	s.narrowed, s.states, s.bytecode = f, allStates, nil
	if f == nil {
		return nil
	}
	s.bytecode = compile(f)
	if len(f.States) > 0 {
		s.states = 0
		for number := range uint64(stateLimit) {
			if state, ok := tcp.LinuxState(number); ok && slices.Contains(f.States, state) {
				s.states |= 1 << number
			}
		}
	}
	return nil
}

// Sockets implements source.Source.
func (s *Source) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	if s.narrowed != nil {
		s.quiet.forget()
		return s.listenersFirst(ctx, s.states, s.bytecode, visit, func() bool { return false })
	}
	before, same := s.quiet.unchanged()
	var listeners, others uint64
	count := func(socket *tcp.Socket) error {
		if socket.State == tcp.Listen {
			listeners++
		} else {
			others++
		}
		return visit(socket)
	}
	if same {
		err := s.listenersFirst(ctx, allStates, nil, count, func() bool { return listeners == before.Sockets })
		s.quiet.dumped(before, err == nil && others == 0)
		return err
	}
	err := s.dump(ctx, allStates, nil, count)
	s.quiet.dumped(before, err == nil && others == 0)
	return err
}

// listenersFirst dumps the listeners, which are in a table of their own and pass
// every filter, and unless those are all the connections.
func (s *Source) listenersFirst(ctx context.Context, states uint32, bytecode []byte, visit func(*tcp.Socket) error, all func() bool) error {
	errListeners := s.dump(ctx, 1<<stateListen, nil, visit)
	if errListeners != nil && len(source.Partials(errListeners)) == 0 || all() {
		return errListeners
	}
	err := s.dump(ctx, states&^(1<<stateListen), bytecode, visit)
	if err != nil && len(source.Partials(err)) == 0 {
		return err // the worse one
	}
	return errors.Join(errListeners, err)
}

// Counters implements source.Source by way of /proc/net: netlink has none.
func (s *Source) Counters(ctx context.Context) (tcp.Counters, error) { return s.counters.Read(ctx) }

// Close implements source.Source.
func (s *Source) Close() error {
	if s.conn == nil {
		return nil
	}
	c := s.conn
	s.conn = nil
	if err := c.close(); err != nil {
		return fmt.Errorf("close sock_diag: %w", err)
	}
	return nil
}
