// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	name = "kmod"
	rank = 20

	// Device is where the module shows itself.
	Device = "/dev/tcpstats"

	// Closes and Namespaces come with what there is, and who asks.
	capabilities = source.RTT | source.Bytes | source.Processes

	// endsSuffix is what the name of the device of ends has after Device's. It is
	// not there where the kernel was built without options TCP_HHOOK.
	endsSuffix = ".ends"

	// bufferLen holds the longest record that a header can announce, and some
	// hundred of today's.
	bufferLen = 128 << 10
)

// Host is what the device does not have.
type Host interface {
	source.StateCounter
	source.Confined
	Counters(ctx context.Context) (tcp.Counters, error)
	// CountersOf decodes the counters and states of another network stack than the
	// host's own, as net.inet.tcp.stats and net.inet.tcp.states show them there.
	CountersOf(stats, states []byte) (tcp.Counters, tcp.States, error)
	// Embryos visits handshakes that have no socket yet, about count of them.
	Embryos(ctx context.Context, count uint64, visit func(*tcp.Socket) error) error
}

// factory makes sources that read the device at path.
func factory(path string, host func(context.Context) (Host, error)) source.Factory {
	return source.Factory{
		Name:         name,
		Rank:         rank,
		Capabilities: capabilities | source.Closes | source.Namespaces,
		Open: func(ctx context.Context) (source.Source, error) {
			h, err := host(ctx)
			if err != nil {
				return nil, err
			}
			s, err := Open(ctx, path, h)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
	}
}

// Source reads a device.
type Source struct {
	Host
	file  *os.File
	gives source.Capabilities
	spans bool // every network stack is read
	dec   *Decoder
	buf   []byte
}

// Open opens the device at path and tries it with one walk.
func Open(ctx context.Context, path string, host Host) (*Source, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, advice(err)
	}
	s := &Source{Host: host, file: file, gives: capabilities, dec: NewDecoder(), buf: make([]byte, bufferLen)}
	s.dec.Zone = source.NewZones().Name
	if _, err := os.Stat(path + endsSuffix); err == nil {
		s.gives |= source.Closes
	}
	if maySpan(file) {
		s.gives |= source.Namespaces
	}
	err = s.Sockets(ctx, func(*tcp.Socket) error { return nil })
	if err != nil && !isPartial(err) {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Name implements source.Source.
func (*Source) Name() string { return name }

// Capabilities implements source.Source.
func (s *Source) Capabilities() source.Capabilities { return s.gives }

// Span implements source.Spanning.
func (s *Source) Span() error {
	if s.spans {
		return nil
	}
	err := span(s.file)
	s.spans = err == nil
	return err
}

// Sockets implements source.Source. The kernel walks when the first piece is
// read; what is read after that is of the same walk.
func (s *Source) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind %s: %w", s.file.Name(), err)
	}
	w := s.dec.newWalk(visit)
	for have := 0; ; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read %s, cut short: %w", s.file.Name(), err)
		}
		n, err := s.file.Read(s.buf[have:])
		if err != nil && !errors.Is(err, io.EOF) {
			return advice(err)
		}
		if n == 0 {
			break
		}
		have += n
		used, err := w.feed(s.buf[:have])
		if err != nil {
			return s.wrong(err)
		}
		have = copy(s.buf, s.buf[used:have])
	}
	err := w.end()
	if err != nil && !isPartial(err) {
		return s.wrong(err)
	}
	if w.trailer.Syncache > 0 {
		embryos := s.Embryos(ctx, w.trailer.Syncache, visit)
		if err == nil {
			return embryos
		}
		err = errors.Join(err, embryos)
	}
	return err
}

// Close implements source.Source. Of a device whose module was unloaded there is
// nothing left to close.
func (s *Source) Close() error {
	if err := s.file.Close(); err != nil && !gone(err) && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

func isPartial(err error) bool {
	var partial *source.PartialError
	return errors.As(err, &partial)
}

// gone tells whether an error says that the module was unloaded. FreeBSD 13 says
// EIO; the module never does.
func gone(err error) bool { return errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EIO) }

// wrong says where something wrong was read. Errors of the visitor stay as they
// are, and so do losses.
func (s *Source) wrong(err error) error {
	if errors.Is(err, errLayout) || errors.Is(err, errTruncated) {
		return fmt.Errorf("read %s: %w", s.file.Name(), err)
	}
	return err
}

// advice adds to an error of the device what to do about it.
func advice(err error) error {
	var what string
	switch {
	case errors.Is(err, fs.ErrNotExist):
		what = "kldload tcpstats"
	case errors.Is(err, fs.ErrPermission):
		what = "add the user to group network, or show the device in the jail; see docs/freebsd.md"
	case gone(err):
		what = "the module was unloaded; kldload tcpstats"
	case errors.Is(err, syscall.ENOBUFS):
		what = "raise net.inet.tcp.tcpstats.max_records"
	case errors.Is(err, syscall.ESTALE):
		what = "the walk was given up for another reader: read on sooner, or raise net.inet.tcp.tcpstats.max_records"
	default:
		return err
	}
	return fmt.Errorf("%w (%s)", err, what)
}
