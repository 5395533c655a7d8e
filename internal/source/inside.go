// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Inside returns a source that is read inside something else, as in another
// network namespace: do calls a function there and returns its error.
func Inside(do func(func() error) error, src Source) Source { return inside{src, do} }

type inside struct {
	Source
	do func(func() error) error
}

func (s inside) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	return s.do(func() error { return s.Source.Sockets(ctx, visit) })
}

func (s inside) Counters(ctx context.Context) (counters tcp.Counters, err error) {
	// What could be read comes with the error.
	err = s.do(func() (err error) {
		counters, err = s.Source.Counters(ctx)
		return err
	})
	return counters, err
}

// Close closes the source inside as well, or where it is called if there is no way
// in any more: what is held is given back in any case.
func (s inside) Close() error {
	entered := false
	err := s.do(func() error {
		entered = true
		return s.Source.Close()
	})
	if !entered {
		return errors.Join(err, s.Source.Close())
	}
	return err
}

// Narrow implements Narrower, to no effect for a source that is none.
func (s inside) Narrow(f *Filter, counted bool) error {
	if n, ok := s.Source.(Narrower); ok {
		return n.Narrow(f, counted)
	}
	return nil
}

// Closes implements CloseNotifier: those of a source that is none are not asked
// for, since it does not have the capability. A stream belongs to the namespace that
// it was opened in, so it is read and closed from outside.
func (s inside) Closes() (stream CloseStream, err error) {
	err = s.do(func() (err error) {
		stream, err = s.Source.(CloseNotifier).Closes()
		return err
	})
	return stream, err
}
