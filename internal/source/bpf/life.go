package bpf

import (
	"encoding/binary"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// struct life of program/life.h, which the programs keep with each connection.
const (
	lifeRole        = 30
	lifeCounted     = 31
	lifeRetransmits = 36
	lifeLen         = 56
)

// life takes what the programs keep with a connection into a sample that is
// sock_diag's: as fill_life of program/life.h does into one that is the iterator's.
func life(value []byte, s *tcp.Socket) {
	if len(value) < lifeLen {
		return
	}
	s.Role = role(0, value[lifeRole])
	if value[lifeCounted] == 0 {
		return
	}
	for i := range s.RetransmitsBy {
		s.RetransmitsBy[i] = uint64(binary.LittleEndian.Uint32(value[lifeRetransmits+4*i:]))
	}
	s.Fields = s.Fields.With(tcp.FieldRetransmitsBy)
}
