// SPDX-License-Identifier: Apache-2.0

package bpf

import "encoding/binary"

// struct holding of program/holders.bpf.c, little-endian.
const (
	holdingPID   = 0
	holdingFD    = 4
	holdingInode = 8
	holdingLen   = 16
)

// holdings visits the descriptors of all records that are whole and returns how
// many bytes those are.
func holdings(b []byte, visit func(pid, fd int32, inode uint64) error) (done int, err error) {
	for ; len(b)-done >= holdingLen; done += holdingLen {
		h := (*[holdingLen]byte)(b[done:])
		pid, fd := binary.LittleEndian.Uint32(h[holdingPID:]), binary.LittleEndian.Uint32(h[holdingFD:])
		if err := visit(int32(pid), int32(fd), binary.LittleEndian.Uint64(h[holdingInode:])); err != nil {
			return done, err
		}
	}
	return done, nil
}
