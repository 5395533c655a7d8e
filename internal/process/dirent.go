// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// struct linux_dirent64, getdents64(2): d_ino u64, d_off s64, d_reclen u16,
// d_type u8, d_name with its NUL, padded to 8 bytes; host byte order.
const (
	direntNext   = 8
	direntReclen = 16
	direntName   = 19
)

var errDirent = errors.New("malformed directory entry")

// nextEntry splits the first directory entry off buf. The name includes its
// NUL, so that it can go back to the kernel as it is. next is the offset in the
// directory of the entry after it.
func nextEntry(buf []byte) (name []byte, next int64, rest []byte, err error) {
	if len(buf) < direntName {
		return nil, 0, nil, errDirent
	}
	size := int(binary.NativeEndian.Uint16(buf[direntReclen:]))
	if size < direntName || size > len(buf) {
		return nil, 0, nil, errDirent
	}
	name = buf[direntName:size]
	end := bytes.IndexByte(name, 0)
	if end < 0 {
		return nil, 0, nil, errDirent
	}
	return name[:end+1], int64(binary.NativeEndian.Uint64(buf[direntNext:])), buf[size:], nil
}

// parseID parses the name of a process or a descriptor, NUL included. ok is
// false for every other name.
func parseID(name []byte) (id int32, ok bool) {
	if len(name) < 2 || name[len(name)-1] != 0 {
		return 0, false
	}
	n, ok := parseUint(name[:len(name)-1])
	return int32(n), ok && n <= 1<<31-1
}
