package bpf

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// identify makes an identity in place of the socket cookie, for which programs
// cannot ask before Linux 5.12: of the endpoints, as package procfs does and
// for the same reasons, and of the inode where several listeners may have the same
// endpoint. It holds for one opened source.
func identify(seed maphash.Seed, s *tcp.Socket) uint64 {
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
