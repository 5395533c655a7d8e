// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// struct xfile of <sys/file.h>, of which kern.file has one for each descriptor
// of each process (sysctl_kern_file in sys/kern/kern_descrip.c).
const (
	xfileLen    = 128
	atFilePID   = 8
	atFileFD    = 16
	atFileType  = 32
	atFileData  = 56 // where the kernel has what the descriptor is
	dtypeSocket = 2  // DTYPE_SOCKET

	maxXfileLen = 1 << 12
)

var errKernFile = errors.New("malformed kern.file")

// parseKernFile visits the descriptors in kern.file that are sockets: of which
// process, which number, and where the kernel has the socket. It returns how many
// descriptors of how many processes there were; a process's come together.
func parseKernFile(files []byte, found func(pid, fd int32, socket uint64) error) (descriptors, processes int, err error) {
	for last := int32(-1); len(files) > 0; {
		if len(files) < 8 {
			return descriptors, processes, fmt.Errorf("%w: %d bytes are left for a struct xfile", errKernFile, len(files))
		}
		n := binary.NativeEndian.Uint64(files)
		switch {
		case n < xfileLen || n > maxXfileLen:
			return descriptors, processes, fmt.Errorf("%w: struct xfile of %d bytes, not %d: a layout that is not known", errKernFile, n, xfileLen)
		case n > uint64(len(files)):
			return descriptors, processes, fmt.Errorf("%w: %d bytes are left for a struct xfile of %d", errKernFile, len(files), n)
		}
		file := files[:n]
		files = files[n:]
		pid, fd := int32(binary.NativeEndian.Uint32(file[atFilePID:])), int32(binary.NativeEndian.Uint32(file[atFileFD:]))
		if descriptors++; pid != last {
			last = pid
			processes++
		}
		socket := binary.NativeEndian.Uint64(file[atFileData:])
		if binary.NativeEndian.Uint16(file[atFileType:]) != dtypeSocket || socket == 0 {
			continue
		}
		if err := found(pid, fd, socket); err != nil {
			return descriptors, processes, err
		}
	}
	return descriptors, processes, nil
}
