// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// conn is a netlink socket of sock_diag, one method for each system call. There are
// two: the kernel's, and the one of the tests. Errors of the calls are of type
// [syscall.Errno].
type conn interface {
	// write sends one request.
	write(b []byte) error
	// read reads one datagram. It returns the whole length, which is more than
	// len(b) if the datagram did not fit. EAGAIN: none came within receiveTimeout.
	read(b []byte) (int, error)
	close() error
}

const (
	// bufferLen is what the kernel fills at most in one read, about 62 sockets;
	// see "cb->min_dump_alloc" and 32 KiB in net/netlink/af_netlink.c.
	bufferLen = 32 << 10

	// receiveTimeout bounds one read. A dump is made while it is read, so the
	// kernel is never slow to answer; only a lost end of the dump comes here.
	receiveTimeout = 5 // seconds

	// allStates are the states 1 to 11. Bit 3 brings the embryos (NEW_SYN_RECV)
	// too; bit 13 (bound, not connected) is left out: it walks another table and
	// costs 12 %.
	allStates  = 0xfff
	stateLimit = 12
)

// struct inet_diag_req of <linux/inet_diag.h>: the older request. The newer
// one (SOCK_DIAG_BY_FAMILY) dumps one address family, this one dumps both in
// one pass over the socket table, 7 to 11 % cheaper than two.
const (
	requestLen       = 60
	requestExtension = headerLen + 3
	requestStates    = headerLen + 52

	extensions = 1<<(attrInfo-1) | 1<<(attrCongestion-1) | 1<<(attrSockMemory-1)

	attrBytecode = 1 // INET_DIAG_REQ_BYTECODE

	stateListen = 10 // TCP_LISTEN of <net/tcp_states.h>
)

func (s *Source) dump(ctx context.Context, states uint32, bytecode []byte, visit func(*tcp.Socket) error) error {
	// What an unfinished dump left in the socket would be taken for this one's,
	// and the kernel answers EBUSY while one is under way.
	if !s.clean || s.conn == nil {
		if err := s.Close(); err != nil {
			return err
		}
		c, err := s.dial()
		if err != nil {
			return err
		}
		s.conn = c
	}
	s.clean = false
	s.seq++
	s.dec.begin()
	if err := s.send(states, bytecode); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("dump of sock_diag cut short: %w", err)
		}
		n, err := read(s.conn, s.buf)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return fmt.Errorf("read sock_diag: the dump did not end, and nothing came for %d s: %w", receiveTimeout, err)
		case err != nil:
			return fmt.Errorf("read sock_diag: %w", err)
		}
		if n > len(s.buf) {
			s.dec.losses.Truncated(fmt.Errorf("netlink datagram of %d bytes for a buffer of %d", n, len(s.buf)))
			n = len(s.buf)
		}
		done, err := s.dec.datagram(s.buf[:n], s.seq, visit)
		if done {
			s.clean = true
			return s.verdict(err)
		}
		if err != nil {
			return err
		}
	}
}

// verdict is what a dump returns that was read to its end.
func (s *Source) verdict(err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("sock_diag does not know TCP: %w (modprobe tcp_diag, or build the kernel with CONFIG_INET_DIAG)", err)
	case err != nil:
		return fmt.Errorf("dump of sock_diag: %w", err)
	case s.dec.interrupted:
		return source.ErrInterrupted
	}
	return s.dec.losses.Err()
}

func (s *Source) send(states uint32, bytecode []byte) error {
	b := append(s.request[:0], make([]byte, headerLen+requestLen)...)
	if len(bytecode) > 0 {
		b = binary.NativeEndian.AppendUint16(b, uint16(attrHeaderLen+len(bytecode)))
		b = binary.NativeEndian.AppendUint16(b, attrBytecode)
		b = append(b, bytecode...)
	}
	if s.dec.storage != nil {
		b = s.dec.storage.appendRequest(b)
	}
	s.request = b
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], msgTCPDiagGetSock)
	binary.NativeEndian.PutUint16(b[6:], flagRequest|flagDump)
	binary.NativeEndian.PutUint32(b[8:], s.seq)
	b[requestExtension] = extensions
	binary.NativeEndian.PutUint32(b[requestStates:], states)
	for {
		err := s.conn.write(b)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("ask sock_diag for a dump: %w", err)
		}
	}
}

// read is c.read, again after a signal.
func read(c interface{ read([]byte) (int, error) }, b []byte) (int, error) {
	for {
		n, err := c.read(b)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
