// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Whatever their sizes, reads give whole records or say EINVAL.
func TestReadsOfEverySize(t *testing.T) {
	module(t)
	pair(t, "tcp", "127.0.0.1:0", nil)
	for _, size := range []int{recordLenV1, recordLenV1 + 1, 3*recordLenV1 - 1, 64 << 10, 1 << 20, 256 << 20} {
		_, err := takeWalk(openDevice(t), size)
		require.NoError(t, err, "in reads of %d bytes", size)
	}
	f := openDevice(t)
	for _, size := range []int{1, 8, headerLenV1 - 1} {
		_, err := f.Read(make([]byte, size))
		assert.ErrorIs(t, err, unix.EINVAL, "a read of %d bytes", size)
	}
	n, err := f.Read(make([]byte, headerLenV1))
	require.NoError(t, err)
	assert.Equal(t, headerLenV1, n)
	_, err = f.Read(make([]byte, recordLenV1-1))
	assert.ErrorIs(t, err, unix.EINVAL, "after the header, before the first record")
	_, err = f.Read(make([]byte, recordLenV1))
	assert.ErrorIs(t, err, unix.EINVAL, "after an error there is only rewinding")
	_, err = takeWalk(f, bufferLen)
	require.NoError(t, err)
	n, err = f.Read(make([]byte, 10))
	assert.Equal(t, 0, n)
	assert.ErrorIs(t, err, io.EOF, "after the trailer")

	// Text has no records.
	text, err := os.Open(deviceText)
	require.NoError(t, err)
	defer text.Close()
	var slow []byte
	for b := make([]byte, 7); ; {
		n, err := text.Read(b)
		slow = append(slow, b[:n]...)
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
	}
	assert.Equal(t, byte('\n'), slow[len(slow)-1])
	assert.Contains(t, string(slow), "ESTABLISHED")
}

func TestOffsetsInTheDevice(t *testing.T) {
	module(t)
	f := openDevice(t)
	b := make([]byte, 4096)
	for _, offset := range []int64{1, 64, 1 << 40} {
		_, err := f.ReadAt(b, offset)
		assert.ErrorIs(t, err, unix.EINVAL, "nothing was read, so nothing goes on at %d", offset)
	}
	_, err := unix.Pread(int(f.Fd()), b, -1)
	assert.Error(t, err)
	n, err := unix.Pread(int(f.Fd()), b, 0)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, n, headerLenV1)
	_, err = takeWalk(f, bufferLen)
	require.NoError(t, err)
}

func TestBadMemory(t *testing.T) {
	module(t)
	f := openDevice(t)
	_, _, errno := unix.Syscall(unix.SYS_READ, f.Fd(), 8, 1<<20)
	assert.Equal(t, unix.EFAULT, errno)
	_, _, errno = unix.Syscall(unix.SYS_IOCTL, f.Fd(), requestVnet, 8)
	assert.Equal(t, unix.EFAULT, errno)
	_, _, errno = unix.Syscall(unix.SYS_READ, f.Fd(), ^uintptr(0)-1<<20, 1<<20)
	assert.Equal(t, unix.EFAULT, errno)
	_, _, errno = unix.Syscall(unix.SYS_IOCTL, f.Fd(), requestVnet, 8)
	assert.Equal(t, unix.EFAULT, errno)
	// A page that ends in the middle of a record.
	page, err := unix.Mmap(-1, 0, 2*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(page)) }()
	require.NoError(t, unix.Mprotect(page[4096:], unix.PROT_NONE))
	pair(t, "tcp", "127.0.0.1:0", nil)
	_, _, errno = unix.Syscall(unix.SYS_READ, f.Fd(), uintptr(unsafe.Pointer(&page[4096-headerLenV1-100])), headerLenV1+4096)
	assert.Equal(t, unix.EFAULT, errno)
	_, _, errno = unix.Syscall(unix.SYS_IOCTL, f.Fd(), requestVnet, 8)
	assert.Equal(t, unix.EFAULT, errno)
	_, err = takeWalk(f, bufferLen)
	require.NoError(t, err)
}

func TestOpeningForOtherThings(t *testing.T) {
	module(t)
	for _, path := range []string{Device, deviceText} {
		for _, flags := range []int{os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_APPEND} {
			f, err := os.OpenFile(path, flags, 0)
			if err == nil {
				require.NoError(t, f.Close())
			}
			if flags != os.O_RDONLY|os.O_APPEND {
				assert.ErrorIs(t, err, unix.EPERM, "flags %#x", flags)
			}
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		require.NoError(t, err)
		_, err = unix.Read(fd, make([]byte, 1<<20))
		assert.NoError(t, err, "there is always something to read")
		require.NoError(t, unix.Close(fd))
	}
}

func TestGarbageIoctls(t *testing.T) {
	module(t)
	f := openDevice(t)
	require.NoError(t, setAllVnets(f, 0))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), requestAllVnets, 8)
	assert.Equal(t, unix.EFAULT, errno)
	_, _, errno = unix.Syscall(unix.SYS_IOCTL, f.Fd(), requestVnet, 8)
	assert.Equal(t, unix.EFAULT, errno)
	for range 2000 {
		// A command of any group, number and length, each direction.
		what := uintptr(rand.Uint32())
		b := make([]byte, 8192)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		_ = request(f, what, unsafe.Pointer(&b[0]))
	}
	require.NoError(t, setAllVnets(f, 0))
	_, err := takeWalk(f, bufferLen)
	require.NoError(t, err)
}

// Memory has a bound, for all readers together, and comes back.
func TestMemoryBound(t *testing.T) {
	module(t)
	for range 30 {
		pair(t, "tcp", "127.0.0.1:0", nil)
	}
	setSysctl(t, "net.inet.tcp.tcpstats.max_records", 20)
	f := openDevice(t)
	_, err := f.Read(make([]byte, bufferLen))
	assert.ErrorIs(t, err, unix.ENOBUFS)
	assert.Zero(t, number(t, "held_records"))
	_, err = Open(t.Context(), Device, anyHost{})
	assert.ErrorContains(t, err, "(raise net.inet.tcp.tcpstats.max_records)")

	// What one holds the other cannot have, for a while.
	require.NoError(t, writeSysctl("net.inet.tcp.tcpstats.max_records", []byte{100, 0, 0, 0, 0, 0, 0, 0}))
	holder, other := openDevice(t), openDevice(t)
	_, err = holder.Read(make([]byte, headerLenV1))
	require.NoError(t, err)
	held := number(t, "held_records")
	assert.NotZero(t, held)
	_, err = other.Read(make([]byte, bufferLen))
	assert.ErrorIs(t, err, unix.ENOBUFS)
	setSysctl(t, "net.inet.tcp.tcpstats.max_idle", 1)
	time.Sleep(1100 * time.Millisecond)
	_, err = takeWalk(other, bufferLen)
	assert.NoError(t, err, "who stopped reading has given up")
	assert.Zero(t, number(t, "held_records"), "read to its end")
	_, err = holder.Read(make([]byte, bufferLen))
	assert.ErrorIs(t, err, unix.ESTALE)
	_, err = takeWalk(holder, bufferLen)
	assert.NoError(t, err, "from its beginning it goes on")

	_, err = unix.Pread(int(holder.Fd()), make([]byte, headerLenV1), 0)
	require.NoError(t, err)
	assert.NotZero(t, number(t, "held_records"))
	require.NoError(t, holder.Close())
	assert.Zero(t, number(t, "held_records"))
}

func TestCountsOfItself(t *testing.T) {
	module(t)
	assert.Equal(t, uint64(1), number(t, "version"))
	opens, open, reads, walks, records, failed := number(t, "opens"), number(t, "open"), number(t, "reads"), number(t, "walks"), number(t, "records"), number(t, "errors")
	f := openDevice(t)
	assert.Equal(t, open+1, number(t, "open"))
	s, err := takeWalk(f, 1<<20)
	require.NoError(t, err)
	_, err = f.ReadAt(make([]byte, 100), 1)
	require.Error(t, err)
	require.NoError(t, f.Close())
	assert.Equal(t, opens+1, number(t, "opens"))
	assert.Equal(t, open, number(t, "open"))
	assert.Equal(t, reads+3, number(t, "reads"))
	assert.Equal(t, walks+1, number(t, "walks"))
	assert.Equal(t, records+uint64(len(s.records)), number(t, "records"))
	assert.Equal(t, failed+1, number(t, "errors"))
	assert.True(t, errors.Is(writeSysctl("net.inet.tcp.tcpstats.reads", make([]byte, 8)), unix.EPERM), "counters are not written")
}
