// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// keeping decodes a record of a connection with these storages.
func keeping(t testing.TB, storages []byte) (kept [][]byte) {
	t.Helper()
	d := newDecoder()
	d.storage = &Storage{Decode: func(value []byte, s *tcp.Socket) {
		kept = append(kept, value)
		s.Role = tcp.Server
	}}
	sockets, _ := decode(t, d, message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 1, attribute(attrStorages, storages))))
	require.Len(t, sockets, 1)
	assert.Equal(t, len(kept) == 1, sockets[0].Role == tcp.Server)
	return kept
}

func TestStorage(t *testing.T) {
	value := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	// As the kernel aligns it: with the map's number and padding in front.
	inner := append(attribute(2, []byte{9, 0, 0, 0}), attribute(1, nil)...)
	inner = append(inner, attribute(attrStorageValue, value)...)
	assert.Equal(t, [][]byte{value}, keeping(t, attribute(attrStorage, inner)))
	assert.Empty(t, keeping(t, nil), "nothing is kept with it")
	assert.Empty(t, keeping(t, attribute(attrStorage, nil)))
	assert.Empty(t, keeping(t, attribute(attrStorage, inner)[:10]), "cut short")

	d := newDecoder()
	sockets, _ := decode(t, d, message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 1, attribute(attrStorages, attribute(attrStorage, inner)))))
	assert.Equal(t, tcp.NoRole, sockets[0].Role, "nobody asked")
}

func TestStorageRequest(t *testing.T) {
	b := (&Storage{Map: 7}).appendRequest(nil)
	require.Len(t, b, 12)
	assert.Equal(t, uint16(12), binary.NativeEndian.Uint16(b))
	assert.Equal(t, uint16(attrRequestStorages|attrNested), binary.NativeEndian.Uint16(b[2:]))
	assert.Equal(t, uint16(8), binary.NativeEndian.Uint16(b[4:]))
	assert.Equal(t, uint16(attrStorageMap), binary.NativeEndian.Uint16(b[6:]))
	assert.Equal(t, uint32(7), binary.NativeEndian.Uint32(b[8:]))
}

func FuzzStorage(f *testing.F) {
	f.Add(attribute(attrStorage, attribute(attrStorageValue, []byte{1, 2, 3})))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 60_000 {
			return
		}
		for _, value := range keeping(t, b) {
			if len(value) > len(b) {
				t.Fatal("more than there is")
			}
		}
	})
}
