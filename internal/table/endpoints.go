package source

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// EndpointCookie makes a number in place of the kernel's own for a socket, of its
// endpoints and, since listeners with SO_REUSEPORT have the same, of a listener's
// inode.
func EndpointCookie(seed maphash.Seed, s *tcp.Socket) uint64 {
	var key [16 + 2 + 16 + 2 + 8]byte
	local, peer := s.Local.Addr().As16(), s.Peer.Addr().As16()
	copy(key[0:], local[:])
	binary.NativeEndian.PutUint16(key[16:], s.Local.Port())
	copy(key[18:], peer[:])
	binary.NativeEndian.PutUint16(key[34:], s.Peer.Port())
	if s.State == tcp.Listen {
		binary.NativeEndian.PutUint64(key[36:], s.Inode)
	}
	return maphash.Bytes(seed, key[:])
}
