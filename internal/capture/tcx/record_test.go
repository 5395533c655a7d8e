// SPDX-License-Identifier: Apache-2.0

package tcx

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

func record(captured, length int, data string) []byte {
	b := make([]byte, recordHeader, recordHeader+len(data))
	binary.NativeEndian.PutUint64(b[recordTime:], uint64(5*time.Second))
	binary.NativeEndian.PutUint32(b[recordCaptured:], uint32(captured))
	binary.NativeEndian.PutUint32(b[recordLength:], uint32(length))
	binary.NativeEndian.PutUint32(b[recordInterface:], 7)
	b[recordDirection], b[recordLink] = byte(packet.Outbound), byte(packet.Ethernet)
	return append(b, data...)
}

func TestRecord(t *testing.T) {
	boot := time.Unix(1_700_000_000, 0)
	var p packet.Packet
	require.NoError(t, decode(record(3, 60, "dns and what was there before"), boot, &p))
	assert.Equal(t, packet.Packet{Time: boot.Add(5 * time.Second), Interface: 7, Direction: packet.Outbound, Link: packet.Ethernet, Length: 60, Data: []byte("dns")}, p)
	require.EqualError(t, decode(make([]byte, 23), boot, &p), "record of a packet of 23 bytes, wants 24")
	require.EqualError(t, decode(record(4, 60, "dns"), boot, &p), "record of a packet of 4 bytes with room for 3")
}

// message is a message of rtnetlink about an interface.
func message(typ uint16, family byte, kind uint16, index int32) []byte {
	b := make([]byte, messageHeader+infoLen)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], typ)
	b[messageHeader] = family
	binary.NativeEndian.PutUint16(b[messageHeader+infoType:], kind)
	binary.NativeEndian.PutUint32(b[messageHeader+infoIndex:], uint32(index))
	return b
}

func TestChanges(t *testing.T) {
	var all []byte
	for _, m := range [][]byte{
		message(newLink, 0, arpLoopback, 1), message(newLink, 0, arpEther, 2), message(newLink, 0, 65534, 3),
		message(delLink, 7, arpEther, 2), // of a bridge
		message(delLink, 0, arpEther, 4), message(99, 0, 0, 0), {20, 0, 0, 0, messageDone, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		all = append(all, m...)
	}
	var got []change
	done, err := changes(all, func(c change) { got = append(got, c) })
	require.NoError(t, err)
	assert.True(t, done)
	assert.Equal(t, []change{{1, packet.Ethernet, false}, {2, packet.Ethernet, false}, {3, packet.Raw, false}, {4, packet.Ethernet, true}}, got)

	short := message(newLink, 0, arpEther, 2)
	binary.NativeEndian.PutUint32(short, messageHeader+4)
	_, err = changes(short, func(change) {})
	require.EqualError(t, err, "message about an interface of 4 bytes, wants 16")
	binary.NativeEndian.PutUint32(short, 100)
	_, err = changes(short, func(change) {})
	require.EqualError(t, err, "message about interfaces of length 100 with 32 bytes left")
	failed := message(messageError, 0xff, 0xffff, 0) // -1
	failed[messageHeader+1] = 0xff
	_, err = changes(failed, func(change) {})
	require.EqualError(t, err, "list interfaces: operation not permitted")
}

func FuzzRecord(f *testing.F) {
	f.Add(record(3, 60, "dns"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p packet.Packet
		if decode(b, time.Unix(0, 0), &p) == nil && (len(p.Data) > len(b) || p.Length < len(p.Data)) {
			t.Errorf("%d bytes of %d", len(p.Data), p.Length)
		}
	})
}

func FuzzChanges(f *testing.F) {
	f.Add(append(message(newLink, 0, arpEther, 2), message(delLink, 0, arpEther, 4)...))
	f.Add(message(messageError, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = changes(b, func(c change) {
			if c.index <= 0 {
				t.Errorf("interface %d", c.index)
			}
		})
	})
}
