// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var (
	errLayout    = errors.New("unknown layout (build the module and the collector from the same release)")
	errTruncated = errors.New("cut off before its end")
)

// header is a walk's struct tcpstats_header.
type header struct {
	headerLen, recordLen, trailerLen int
	vnet                             uint32
	count                            uint64
}

func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerLenV1 {
		return h, fmt.Errorf("header of %d bytes, wants %d: %w", len(b), headerLenV1, errTruncated)
	}
	if m := binary.NativeEndian.Uint32(b[atHeaderMagic:]); m != magic {
		return h, fmt.Errorf("magic %#x, wants %#x: %w", m, uint32(magic), errLayout)
	}
	if v := binary.NativeEndian.Uint16(b[atHeaderVersion:]); v < minVersion {
		return h, fmt.Errorf("version %d, wants %d or later: %w", v, minVersion, errLayout)
	}
	h = header{
		headerLen:  int(binary.NativeEndian.Uint16(b[atHeaderLen:])),
		recordLen:  int(binary.NativeEndian.Uint16(b[atHeaderRecordLen:])),
		trailerLen: int(binary.NativeEndian.Uint16(b[atHeaderTrailerLen:])),
		vnet:       binary.NativeEndian.Uint32(b[atHeaderVnet:]),
		count:      binary.NativeEndian.Uint64(b[atHeaderCount:]),
	}
	if h.headerLen < headerLenV1 || h.recordLen < recordLenV1 || h.trailerLen < trailerLenV1 {
		return h, fmt.Errorf("header, records and trailer of %d, %d and %d bytes, wants %d, %d and %d or more: %w",
			h.headerLen, h.recordLen, h.trailerLen, headerLenV1, recordLenV1, trailerLenV1, errLayout)
	}
	return h, nil
}

// Trailer is what a walk sums up.
type Trailer struct {
	// Seen is the sum of Records, Withheld, Cut and Fresh.
	Seen     uint64
	Records  uint64
	Withheld uint64 // by credentials
	Cut      uint64 // beyond what there was room for
	Fresh    uint64 // younger than the walk, or being freed
	// Syncache is how many handshakes are under way that have no socket yet, and
	// so no record.
	Syncache uint64
}

func parseTrailer(b []byte) (t Trailer, err error) {
	if len(b) < trailerLenV1 {
		return t, fmt.Errorf("trailer of %d bytes, wants %d: %w", len(b), trailerLenV1, errTruncated)
	}
	if m := binary.NativeEndian.Uint32(b[atTrailerMagic:]); m != trailerMagic {
		return t, fmt.Errorf("magic of the trailer %#x, wants %#x: %w", m, uint32(trailerMagic), errLayout)
	}
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
	return Trailer{
		Seen: u64(atTrailerSeen), Records: u64(atTrailerRecords), Withheld: u64(atTrailerWithheld),
		Cut: u64(atTrailerCut), Fresh: u64(atTrailerFresh),
		Syncache: u64(atTrailerSyncache),
	}, nil
}

// walk decodes one walk, piece by piece.
type walk struct {
	dec     *Decoder
	visit   func(*tcp.Socket) error
	losses  source.Losses
	header  header
	started bool // the header has been read
	left    uint64
	done    bool // the trailer has been read
	trailer Trailer
}

func (d *Decoder) newWalk(visit func(*tcp.Socket) error) walk {
	return walk{dec: d, visit: visit}
}

// feed decodes what is whole of b and returns how much of it that was.
func (w *walk) feed(b []byte) (used int, err error) {
	if !w.started {
		if len(b) < headerLenV1 {
			return 0, nil
		}
		if w.header, err = parseHeader(b); err != nil {
			return 0, err
		}
		if len(b) < w.header.headerLen {
			return 0, nil
		}
		w.started, w.left, w.dec.vnet = true, w.header.count, w.header.vnet
		used = w.header.headerLen
	}
	for n := w.header.recordLen; w.left > 0; w.left-- {
		if len(b)-used < n {
			return used, nil
		}
		if err := w.dec.record(b[used : used+n]); err != nil {
			w.losses.Decode(err)
		} else if err := w.visit(&w.dec.socket); err != nil {
			return used, err
		}
		used += n
	}
	if w.done || len(b)-used < w.header.trailerLen {
		return used, nil
	}
	if w.trailer, err = parseTrailer(b[used:]); err != nil {
		return used, err
	}
	w.done = true
	return used + w.header.trailerLen, nil
}

// end ends a walk of which there is no more to read.
func (w *walk) end() error {
	switch {
	case !w.done:
		return fmt.Errorf("%d of %d records are missing, or the trailer: %w", w.left, w.header.count, errTruncated)
	case w.trailer.Records != w.header.count:
		return fmt.Errorf("header of %d records, trailer of %d: %w", w.header.count, w.trailer.Records, errLayout)
	}
	if w.trailer.Cut > 0 {
		w.losses.Truncated(fmt.Errorf("%d connections came while the kernel walked, more than it had room for", w.trailer.Cut))
	}
	return w.losses.Err()
}
