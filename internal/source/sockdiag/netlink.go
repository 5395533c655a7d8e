// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// struct nlmsghdr of <linux/netlink.h>.
const (
	headerLen = 16

	msgNoop  = 1
	msgError = 2
	msgDone  = 3

	// A dump that was asked for by TCPDIAG_GETSOCK is answered by messages of
	// that type, one by SOCK_DIAG_BY_FAMILY likewise.
	msgTCPDiagGetSock   = 18
	msgSockDiagByFamily = 20

	flagRequest         = 0x1
	flagDump            = 0x300 // NLM_F_ROOT | NLM_F_MATCH
	flagDumpInterrupted = 0x10
)

// decoder turns the datagrams of one dump into sockets.
type decoder struct {
	socket      tcp.Socket // reused for every record
	ownFIN      tcp.OwnFIN // of the record, if it is a notice
	namespace   uint64
	zone        func(ifindex uint32) string
	names       source.Interner
	losses      source.Losses
	interrupted bool
	storage     *Storage // nil: none
}

// begin forgets the last dump.
func (d *decoder) begin() {
	d.losses.Reset()
	d.interrupted = false
}

// datagram visits the sockets of one datagram and tells whether the dump ended
// with it. Messages of another sequence number are left-overs and passed over.
// What is malformed is noted in d.losses; the rest is visited.
func (d *decoder) datagram(b []byte, seq uint32, visit func(*tcp.Socket) error) (done bool, err error) {
	for len(b) >= headerLen {
		var (
			length = binary.NativeEndian.Uint32(b)
			typ    = binary.NativeEndian.Uint16(b[4:])
			flags  = binary.NativeEndian.Uint16(b[6:])
			msgSeq = binary.NativeEndian.Uint32(b[8:])
		)
		if length < headerLen || uint64(length) > uint64(len(b)) {
			// Without a length there is no next message to go on with.
			d.losses.Decode(fmt.Errorf("netlink message of length %d with %d bytes left", length, len(b)))
			return false, nil
		}
		payload := b[headerLen:length]
		b = b[min(int(length+3)&^3, len(b)):]
		if msgSeq != seq {
			continue
		}
		if flags&flagDumpInterrupted != 0 {
			d.interrupted = true
		}
		switch typ {
		case msgTCPDiagGetSock, msgSockDiagByFamily:
			if err := d.record(payload); err != nil {
				d.losses.Decode(err)
				if !errors.Is(err, errAttributes) {
					continue
				}
			}
			if err := visit(&d.socket); err != nil {
				return false, err
			}
		case msgDone:
			// Kernels since 4.15 say here how the dump went.
			return true, errnoOf(payload)
		case msgError:
			if len(payload) < 4 {
				return true, errors.New("netlink error message without an error number")
			}
			return true, errnoOf(payload)
		case msgNoop:
		default:
			d.losses.Decode(fmt.Errorf("netlink message of unknown type %d", typ))
		}
	}
	if len(b) > 0 {
		d.losses.Decode(fmt.Errorf("%d bytes after the last netlink message", len(b)))
	}
	return false, nil
}

// errnoOf reads the negative error number that a message begins with.
func errnoOf(payload []byte) error {
	if len(payload) < 4 {
		return nil
	}
	if code := int32(binary.NativeEndian.Uint32(payload)); code < 0 {
		return syscall.Errno(-code)
	}
	return nil
}
