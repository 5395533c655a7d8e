// SPDX-License-Identifier: Apache-2.0

package tpacket

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

// What the parser takes for granted is what the kernel's headers say.
func TestLayout(t *testing.T) {
	var header unix.Tpacket3Hdr
	var address unix.RawSockaddrLinklayer
	assert.EqualValues(t, headerLen, unsafe.Sizeof(header))
	assert.EqualValues(t, headerNext, unsafe.Offsetof(header.Next_offset))
	assert.EqualValues(t, headerSeconds, unsafe.Offsetof(header.Sec))
	assert.EqualValues(t, headerNanoseconds, unsafe.Offsetof(header.Nsec))
	assert.EqualValues(t, headerCaptured, unsafe.Offsetof(header.Snaplen))
	assert.EqualValues(t, headerLength, unsafe.Offsetof(header.Len))
	assert.EqualValues(t, headerMAC, unsafe.Offsetof(header.Mac))
	assert.EqualValues(t, addressLen, unsafe.Sizeof(address))
	assert.EqualValues(t, addressInterface, headerLen+unsafe.Offsetof(address.Ifindex))
	assert.EqualValues(t, addressType, headerLen+unsafe.Offsetof(address.Pkttype))
	assert.EqualValues(t, outgoing, unix.PACKET_OUTGOING)
	var described unix.TpacketBlockDesc
	var v1 unix.TpacketHdrV1
	assert.EqualValues(t, blockLen, unsafe.Sizeof(described))
	assert.EqualValues(t, blockStatus, unsafe.Offsetof(described.Hdr)+unsafe.Offsetof(v1.Block_status))
	assert.EqualValues(t, blockPackets, unsafe.Offsetof(described.Hdr)+unsafe.Offsetof(v1.Num_pkts))
	assert.EqualValues(t, blockFirst, unsafe.Offsetof(described.Hdr)+unsafe.Offsetof(v1.Offset_to_first_pkt))
}
