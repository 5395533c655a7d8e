// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"encoding/binary"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Storage is what a BPF program keeps with sockets, a map of type
// BPF_MAP_TYPE_SK_STORAGE. Since Linux 5.8 a dump shows it to whoever has CAP_BPF, and
// takes half as long again.
type Storage struct {
	// Map is the descriptor of the map. It stays open as long as the source.
	Map int
	// Decode takes the value that is kept with a connection into its sample, of which
	// it touches nothing that the kernel itself reports. It is not called where nothing
	// is kept.
	Decode func(value []byte, s *tcp.Socket)
}

// Show has the dumps to come show what is kept with each connection; nil: nothing.
func (s *Source) Show(storage *Storage) { s.dec.storage = storage }

// The request names the map, and the answer nests its value, enum
// SK_DIAG_BPF_STORAGE_* of <linux/sock_diag.h>.
const (
	attrRequestStorages = 2 // INET_DIAG_REQ_SK_BPF_STORAGES of <linux/inet_diag.h>
	attrStorageMap      = 1 // SK_DIAG_BPF_STORAGE_REQ_MAP_FD
	attrStorage         = 1 // SK_DIAG_BPF_STORAGE, one for each map
	attrStorageValue    = 3 // SK_DIAG_BPF_STORAGE_MAP_VALUE

	attrNested = 1 << 15 // NLA_F_NESTED
)

// appendRequest appends the attribute that asks for it.
func (s *Storage) appendRequest(b []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, 2*attrHeaderLen+4)
	b = binary.NativeEndian.AppendUint16(b, attrRequestStorages|attrNested)
	b = binary.NativeEndian.AppendUint16(b, attrHeaderLen+4)
	b = binary.NativeEndian.AppendUint16(b, attrStorageMap)
	return binary.NativeEndian.AppendUint32(b, uint32(s.Map))
}

// storages decodes what was asked for: one map's value.
func (d *decoder) storages(b []byte) {
	if d.storage == nil {
		return
	}
	if value, ok := nested(b, attrStorage); ok {
		if value, ok = nested(value, attrStorageValue); ok {
			d.storage.Decode(value, &d.socket)
		}
	}
}

// nested finds an attribute among others.
func nested(b []byte, typ uint16) (value []byte, ok bool) {
	for len(b) >= attrHeaderLen {
		length := int(binary.NativeEndian.Uint16(b))
		if length < attrHeaderLen || length > len(b) {
			return nil, false
		}
		if binary.NativeEndian.Uint16(b[2:])&attrTypeMask == typ {
			return b[attrHeaderLen:length], true
		}
		b = b[min((length+3)&^3, len(b)):]
	}
	return nil, false
}
