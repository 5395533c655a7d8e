// SPDX-License-Identifier: Apache-2.0

package tcx

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// decode turns a record of the ring into a packet, which keeps the record's bytes.
// boot is when the clock of the records was at 0.
func decode(record []byte, boot time.Time, p *packet.Packet) error {
	if len(record) < recordHeader {
		return fmt.Errorf("record of a packet of %d bytes, wants %d", len(record), recordHeader)
	}
	captured := uint64(binary.NativeEndian.Uint32(record[recordCaptured:]))
	if captured > uint64(len(record)-recordHeader) {
		return fmt.Errorf("record of a packet of %d bytes with room for %d", captured, len(record)-recordHeader)
	}
	*p = packet.Packet{
		Time:      boot.Add(time.Duration(binary.NativeEndian.Uint64(record[recordTime:]) & (1<<63 - 1))),
		Interface: binary.NativeEndian.Uint32(record[recordInterface:]),
		Direction: packet.Direction(record[recordDirection]),
		Link:      packet.Link(record[recordLink]),
		Length:    max(int(binary.NativeEndian.Uint32(record[recordLength:])), int(captured)),
		Data:      record[recordHeader : recordHeader+captured],
	}
	return nil
}
