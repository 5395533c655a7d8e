// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// maxHolders is how many processes are remembered, so that all their connections
// share one value.
const maxHolders = 4096

// commLen is MAXCOMLEN + 1: a name of 19 bytes may be cut.
const commLen = 20

// EndDecoder decodes what a read of /dev/tcpstats.ends returns.
type EndDecoder struct {
	Decoder
	notice  tcp.Notice // reused for every end
	holders map[holderKey]*tcp.Holder
	losses  source.Losses
	lost    uint64 // as of the last read, since the device was opened

	// Of the last read.
	header endsHeader
	left   []byte // ends that are yet to be visited
}

type holderKey struct {
	started  uint64
	pid, uid uint32
	comm     [commLen]byte
}

// NewEndDecoder returns a decoder for one open of the device.
func NewEndDecoder() *EndDecoder {
	return &EndDecoder{Decoder: *NewDecoder(), holders: make(map[holderKey]*tcp.Holder)}
}

// endsHeader is a read's struct tcpstats_ends_header.
type endsHeader struct {
	headerLen, endLen, recordLen int
	count                        uint32
	lost                         uint64
	osreldate                    uint32
	vnet                         uint32
	boot                         time.Time // the origin of times since boot
}

func parseEndsHeader(b []byte) (h endsHeader, err error) {
	if len(b) < endsHeaderLenV1 {
		return h, fmt.Errorf("header of %d bytes, wants %d: %w", len(b), endsHeaderLenV1, errTruncated)
	}
	u16 := func(at int) int { return int(binary.NativeEndian.Uint16(b[at:])) }
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
	if m := u32(atEndsMagic); m != endsMagic {
		return h, fmt.Errorf("magic %#x, wants %#x: %w", m, uint32(endsMagic), errLayout)
	}
	if v := u16(atEndsVersion); v < minEndsVersion {
		return h, fmt.Errorf("version %d, wants %d or later: %w", v, minEndsVersion, errLayout)
	}
	h = endsHeader{
		headerLen: u16(atEndsHeaderLen), endLen: u16(atEndsEndLen), recordLen: u16(atEndsRecordLen),
		count: u32(atEndsCount), lost: u64(atEndsLost), osreldate: u32(atEndsOsreldate), vnet: u32(atEndsVnet),
		boot: time.Unix(0, int64(u64(atEndsRealtime)-u64(atEndsUptime))),
	}
	if h.headerLen < endsHeaderLenV1 || h.recordLen < recordLenV1 || h.endLen-h.recordLen < endTailLenV1 {
		return h, fmt.Errorf("header, records and ends of %d, %d and %d bytes, wants %d, %d and %d or more: %w",
			h.headerLen, h.recordLen, h.endLen, endsHeaderLenV1, recordLenV1, endLenV1, errLayout)
	}
	return h, nil
}

// Read visits the ends that one read returned. It returns how many more were lost
// since the last one.
func (d *EndDecoder) Read(b []byte, visit func(*tcp.Notice) error) (lost uint64, err error) {
	d.losses.Reset()
	if lost, err = d.begin(b); err != nil {
		return lost, err
	}
	if err := d.next(visit); err != nil {
		return lost, err
	}
	return lost, d.losses.Err()
}

// begin takes what one read returned, for next to visit, and returns how many ends
// were lost since the last one.
func (d *EndDecoder) begin(b []byte) (lost uint64, err error) {
	h, err := parseEndsHeader(b)
	if err != nil {
		return 0, err
	}
	lost = h.lost - min(d.lost, h.lost)
	d.lost, d.vnet, d.header = h.lost, h.vnet, h
	if uint64(len(b)) < uint64(h.headerLen)+uint64(h.count)*uint64(h.endLen) {
		return lost, fmt.Errorf("%d bytes for %d ends: %w", len(b), h.count, errTruncated)
	}
	d.left = b[h.headerLen : h.headerLen+int(h.count)*h.endLen]
	return lost, nil
}

// next visits what is left of the last read. After an error of visit the rest stays
// for the next call.
func (d *EndDecoder) next(visit func(*tcp.Notice) error) error {
	for len(d.left) > 0 {
		b := d.left[:d.header.endLen]
		d.left = d.left[d.header.endLen:]
		if err := d.end(&d.header, b); err != nil {
			d.losses.Decode(err)
		} else if err := visit(&d.notice); err != nil {
			return err
		}
	}
	return nil
}

// end decodes one end into d.notice.
func (d *EndDecoder) end(h *endsHeader, b []byte) error {
	if err := d.record(b[:h.recordLen]); err != nil {
		return err
	}
	tail := b[h.recordLen:]
	e := ending{
		left:      d.socket.State,
		states:    binary.NativeEndian.Uint32(tail[atEndStates:]),
		flags:     binary.NativeEndian.Uint32(tail[atEndFlags:]),
		info:      binary.NativeEndian.Uint32(tail[atEndInfo:]),
		err:       binary.NativeEndian.Uint32(tail[atEndError:]),
		softErr:   binary.NativeEndian.Uint32(b[atError:]),
		backOff:   b[atRxtshift],
		allCauses: h.osreldate >= allCauses,
	}
	if e.flags&endTaken == 0 {
		// The module followed it from its beginning, past all that is 32 bits wide.
		s := &d.socket
		s.BytesReceived = binary.NativeEndian.Uint64(tail[atEndReceived:])
		s.Low32 = 0
		d.sent(b, binary.NativeEndian.Uint64(tail[atEndSent:]))
		s.Fields = s.Fields.With(tcp.FieldBytesReceived).With(tcp.FieldBytesSent).
			With(tcp.FieldBytesRetransmitted).With(tcp.FieldBytesAcked)
	}
	d.notice = tcp.Notice{Socket: d.socket, Left: e.left, WithoutFINs: true}
	n := &d.notice
	n.State, n.Inode, n.Role = tcp.Closed, 0, e.role()
	if n.NeverEstablished = e.neverEstablished(); n.NeverEstablished {
		n.Failure = e.failure()
	} else {
		n.Cause = e.cause()
	}
	d.times(h, tail)
	if n.Holder = d.holder(tail[atEndLast:]); n.Holder == nil {
		n.Holder = d.holder(tail[atEndFirst:])
	}
	return nil
}

// times fills in when what was.
func (d *EndDecoder) times(h *endsHeader, tail []byte) {
	sinceBoot := func(at int) time.Duration {
		return time.Duration(min(binary.NativeEndian.Uint64(tail[at:]), math.MaxInt64))
	}
	n := &d.notice
	began, established, ended := sinceBoot(atEndBegan), sinceBoot(atEndEstablished), sinceBoot(atEndEnded)
	if ended > 0 {
		n.Ended = h.boot.Add(ended)
	}
	if established == 0 || n.NeverEstablished {
		return
	}
	n.Established = h.boot.Add(established)
	if ended >= established {
		n.Age, n.Fields = ended-established, n.Fields.With(tcp.FieldAge)
	}
	if began > 0 && established > began {
		n.Handshake = established - began
	}
}

// holder returns the process of a struct tcpstats_process, nil if there is none.
func (d *EndDecoder) holder(b []byte) *tcp.Holder {
	key := holderKey{
		started: binary.NativeEndian.Uint64(b[atProcessStarted:]),
		pid:     binary.NativeEndian.Uint32(b[atProcessPID:]),
		uid:     binary.NativeEndian.Uint32(b[atProcessUID:]),
		comm:    [commLen]byte(b[atProcessComm:]),
	}
	if key.pid == 0 || key.pid > math.MaxInt32 {
		return nil
	}
	if h, ok := d.holders[key]; ok {
		return h
	}
	if len(d.holders) >= maxHolders {
		clear(d.holders)
	}
	name, _, _ := bytes.Cut(key.comm[:], []byte{0})
	h := &tcp.Holder{
		PID:        int32(key.pid),
		UID:        key.uid,
		Started:    time.Duration(min(key.started, math.MaxInt64)),
		Executable: tcp.Name(name, commLen-1),
		IsComm:     len(name) >= commLen-1, // the file's name may be longer
	}
	d.holders[key] = h
	return h
}
