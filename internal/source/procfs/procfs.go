// SPDX-License-Identifier: Apache-2.0

// Package procfs reads Linux's /proc/net: the sockets in tcp and tcp6, and the
// system-wide counters in snmp, netstat and sockstat.
//
// It wants no privilege and no netlink, so it is the source to fall back on.
// It knows endpoints, state, buffers, user and inode of a socket, but nothing
// of struct tcp_info: no times, no bytes, no losses. Sockets that live shorter
// than the scrape interval are never seen. The counters are complete, and
// [CounterReader] gives them alone to sources that read sockets elsewhere.
//
// Everything is plain files and text, so the package builds and its parsers are
// tested on any system.
package procfs

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// DefaultDir is where Linux shows the network namespace of the calling thread.
// /proc/net shows that of the first thread of its process.
const DefaultDir = "/proc/thread-self/net"

const (
	name         = "procfs"
	rank         = 10
	capabilities = source.Processes | source.Namespaces
)

// bufferSize also bounds the length of a line, which has some 150 bytes. It
// does not make reading faster: a read of a /proc file gives a page at most
// (fs/seq_file.c seq_read_iter).
const bufferSize = 64 << 10

// Factory makes sources that read [DefaultDir].
func Factory() source.Factory {
	return source.Factory{
		Name:         name,
		Rank:         rank,
		Capabilities: capabilities,
		Open: func(ctx context.Context) (source.Source, error) {
			s, err := Open(ctx, DefaultDir)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
	}
}

// Source reads the sockets and counters of one network namespace.
type Source struct {
	dir   string
	order byteOrder
	// namespace is the inode of the network namespace. Sockets have no cookies:
	// /proc/net does not show any.
	namespace uint64
	lines     *bufio.Reader
	socket    tcp.Socket
	losses    source.Losses

	counters *CounterReader
}

// Open returns a source that reads dir: [DefaultDir] for the calling process's network
// namespace, /proc/<pid>/net for another one's. It reads the header of dir's
// tcp to see that there will be something to read.
func Open(ctx context.Context, dir string) (*Source, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := probe(dir + "/tcp"); err != nil {
		return nil, err
	}
	return &Source{
		dir:       dir,
		order:     hostOrder(),
		namespace: Namespace(dir),
		lines:     bufio.NewReaderSize(nil, bufferSize),
		counters:  NewCounters(dir),
	}, nil
}

func probe(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%w (needs Linux's /proc, mounted without subset=pid; under systemd, ProcSubset=all)", err)
	}
	defer f.Close()
	var head [64]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && err != io.ErrUnexpectedEOF {
		return fmt.Errorf("reading the header of %s: %w", path, err)
	}
	if !isHeader(head[:n]) {
		return fmt.Errorf("reading the header of %s: got %q, which is not Linux's", path, head[:n])
	}
	return nil
}

// isHeader tells whether a file or its first line begins as net/ipv4/tcp_ipv4.c
// tcp4_seq_show and net/ipv6/tcp_ipv6.c tcp6_seq_show have it.
func isHeader(line []byte) bool { return bytes.HasPrefix(line, []byte("  sl  local_address ")) }

// Name is "procfs".
func (*Source) Name() string { return name }

// Capabilities lack Namespaces where these may not be entered.
func (*Source) Capabilities() source.Capabilities {
	if netns.Supported() != nil {
		return capabilities &^ source.Namespaces
	}
	return capabilities
}

// Counters returns the system-wide numbers. See [CounterReader.Read].
func (s *Source) Counters(ctx context.Context) (tcp.Counters, error) { return s.counters.Read(ctx) }

// Close does nothing: files are open only while they are read.
func (*Source) Close() error { return nil }
