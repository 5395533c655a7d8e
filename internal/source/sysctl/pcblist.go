// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// net.inet.tcp.pcblist is a struct xinpgen, a struct xtcpcb for each socket,
// and a struct xinpgen again (tcp_pcblist in sys/netinet/tcp_subr.c). Each
// begins with its own length, 8 bytes.
const (
	xinpgenLen    = 64
	xinpgenGen    = 16 // xig_gen: how many sockets the vnet has made and destroyed
	maxRecordSize = 1 << 16
)

var (
	errLayout    = errors.New("unknown layout")
	errTruncated = errors.New("cut off before its end")
)

// Decoder decodes lists of sockets. It keeps the names it has seen, so that a
// list of the same names allocates nothing.
type Decoder struct {
	// Zone names the interface of a link-local address.
	Zone func(index uint32) string
	// DSACK says that struct xtcpcb has t_dsack_*: from 14 on.
	DSACK bool

	socket tcp.Socket
	names  source.Interner
	seed   maphash.Seed
	losses source.Losses
}

// NewDecoder returns a decoder.
func NewDecoder() *Decoder {
	return &Decoder{names: make(source.Interner), seed: maphash.MakeSeed()}
}

// generations returns the vnet's generation before and after a list was made.
// Where they are equal, no socket came or went meanwhile.
func generations(list []byte) (before, after uint64, err error) {
	if len(list) < 2*xinpgenLen {
		return 0, 0, fmt.Errorf("net.inet.tcp.pcblist of %d bytes: %w", len(list), errTruncated)
	}
	head, tail := list[:xinpgenLen], list[len(list)-xinpgenLen:]
	for _, generation := range [...][]byte{head, tail} {
		if n := binary.NativeEndian.Uint64(generation); n != xinpgenLen {
			return 0, 0, fmt.Errorf("net.inet.tcp.pcblist: struct xinpgen of %d bytes, not %d: %w", n, xinpgenLen, errLayout)
		}
	}
	return binary.NativeEndian.Uint64(head[xinpgenGen:]), binary.NativeEndian.Uint64(tail[xinpgenGen:]), nil
}

// List visits the sockets of a list. Those that cannot be decoded are reported
// by a [source.PartialError] and cost no others. The count in the header is of
// no use: it is of the whole vnet, also for those who may see but a part of it.
func (d *Decoder) List(list []byte, visit func(*tcp.Socket) error) error {
	if _, _, err := generations(list); err != nil {
		return err
	}
	d.losses.Reset()
	for rest := list[xinpgenLen : len(list)-xinpgenLen]; len(rest) > 0; {
		if len(rest) < 8 {
			return fmt.Errorf("net.inet.tcp.pcblist: %d bytes are left for a record: %w", len(rest), errTruncated)
		}
		n := binary.NativeEndian.Uint64(rest)
		if n < 8 || n > maxRecordSize {
			return fmt.Errorf("net.inet.tcp.pcblist: a record of %d bytes: %w", n, errLayout)
		}
		if n > uint64(len(rest)) {
			return fmt.Errorf("net.inet.tcp.pcblist: %d bytes are left for a record of %d: %w", len(rest), n, errTruncated)
		}
		var record []byte
		record, rest = rest[:n], rest[n:]
		if err := d.record(record); err != nil {
			d.losses.Decode(err)
			continue
		}
		if err := visit(&d.socket); err != nil {
			return err
		}
	}
	return d.losses.Err()
}
