// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// maxQuote is how many bytes of a malformed line its error quotes.
const maxQuote = 200

var (
	errLineTooLong = fmt.Errorf("longer than %d bytes", bufferSize)
	errLineCutOff  = errors.New("cut off before its end")
)

// Sockets visits the sockets of tcp and tcp6. A host without IPv6 has no tcp6.
//
// The kernel walks its hash table a few sockets at a time (net/ipv4/tcp_ipv4.c
// tcp_seek_last_pos) and does not say when it changed meanwhile: under churn a
// socket may be missed or come twice. Link-local addresses come without a zone.
// Malformed lines are reported by a [source.PartialError]; they cost no others.
func (s *Source) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	s.losses.Reset()
	defer s.lines.Reset(nil) // lets go of ctx and of visit's file
	for _, file := range [...]struct {
		path     string
		optional bool
	}{{s.dir + "/tcp", false}, {s.dir + "/tcp6", true}} {
		f, err := os.Open(file.path)
		if file.optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("listing TCP sockets: %w", err)
		}
		err = s.readSockets(ctx, f, file.path, visit)
		f.Close() // was only read: there is nothing to lose
		if err != nil {
			return err
		}
	}
	return s.losses.Err()
}

// readSockets visits the sockets in one file.
func (s *Source) readSockets(ctx context.Context, r io.Reader, path string, visit func(*tcp.Socket) error) error {
	s.lines.Reset(contextReader{ctx, r})
	for number := 1; ; number++ {
		line, err := s.nextLine()
		switch {
		case err == io.EOF && number == 1:
			return fmt.Errorf("listing TCP sockets: %s is empty, without even a header", path)
		case err == io.EOF:
			return nil
		case number == 1 && err == nil && isHeader(line):
			continue
		case err == nil:
			err = parseSocket(line, s.order, &s.socket)
		case err != errLineTooLong && err != errLineCutOff:
			return fmt.Errorf("listing TCP sockets: reading %s: %w", path, err)
		}
		if err != nil {
			s.losses.Decode(fmt.Errorf("line %d of %s, %q: %w", number, path, line[:min(len(line), maxQuote)], err))
			continue
		}
		s.socket.ID = tcp.Identity{Namespace: s.namespace}
		if err := visit(&s.socket); err != nil {
			return err
		}
	}
}

// nextLine returns the next line without its newline, good until the next call.
// Beside io.EOF at the end and what reading returns, its error is errLineTooLong
// or errLineCutOff: the line is not whole, and reading can go on.
func (s *Source) nextLine() ([]byte, error) {
	line, err := s.lines.ReadSlice('\n')
	switch {
	case err == nil:
		return line[:len(line)-1], nil
	case err == io.EOF && len(line) > 0:
		// The last number could be any.
		return line, errLineCutOff
	case err != bufio.ErrBufferFull:
		return nil, err
	}
	for err == bufio.ErrBufferFull {
		line, err = s.lines.ReadSlice('\n')
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	return line, errLineTooLong
}

// contextReader stops between chunks once the context is done. A page of
// sockets is read in well under a millisecond.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
