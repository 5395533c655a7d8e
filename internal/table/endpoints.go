// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// identify makes an identity for a socket of a source whose kernel interface
// shows none, out of its endpoints and, since listeners with SO_REUSEPORT have the
// same, of a listener's inode.
//
// A connection has no inode before it is accepted, nor once its process has
// closed it, and must stay itself all the while. So a new connection that takes
// the endpoints of an old one is told from it by what else changed, see
// replacedBy. Two connections with the same endpoints at the same time, each
// bound to a device of its own, look like one.
//
// The seed is the table's own, so that no peer can choose ports that make two
// connections look the same, and lasts when a source is opened again.
func (t *Table) identify(s *tcp.Socket) {
	if s.ID.Cookie != 0 {
		return
	}
	var key [16 + 2 + 16 + 2 + 8]byte
	local, peer := s.Local.Addr().As16(), s.Peer.Addr().As16()
	copy(key[0:], local[:])
	binary.NativeEndian.PutUint16(key[16:], s.Local.Port())
	copy(key[18:], peer[:])
	binary.NativeEndian.PutUint16(key[34:], s.Peer.Port())
	if s.State == tcp.Listen {
		binary.NativeEndian.PutUint64(key[36:], s.Inode)
	}
	s.ID.Cookie = maphash.Bytes(t.seed, key[:])
}
