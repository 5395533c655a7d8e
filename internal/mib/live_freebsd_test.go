// SPDX-License-Identifier: Apache-2.0

package mib

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestReadsTheKernel(t *testing.T) {
	version, err := Version()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, version, 1300000)

	v, err := New("kern.osreldate")
	require.NoError(t, err)
	b, err := v.Read(t.Context())
	require.NoError(t, err)
	require.Len(t, b, 4)
	assert.Equal(t, version, int(binary.NativeEndian.Uint32(b)))

	// A list, from a buffer that is far too small for it.
	files, err := New("kern.file")
	require.NoError(t, err)
	files.buf = make([]byte, 16)
	b, err = files.Read(t.Context())
	require.NoError(t, err)
	assert.Zero(t, len(b)%128)
	assert.NotEmpty(t, b)

	// One by its numbers: CTL_KERN, KERN_OSRELDATE.
	b, err = Numbered("kern.osreldate", 1, 24).Read(t.Context())
	require.NoError(t, err)
	assert.Equal(t, version, int(binary.NativeEndian.Uint32(b)))
	_, err = Numbered("nothing", 1, 1<<30).Read(t.Context())
	require.ErrorIs(t, err, unix.ENOENT)
	assert.ErrorContains(t, err, "nothing")

	boot, err := Timeval("kern.boottime")
	require.NoError(t, err)
	up := time.Since(time.UnixMicro(boot))
	assert.True(t, 0 < up && up < 365*24*time.Hour, "up for %s", up)

	jailed, err := Int("security.jail.jailed")
	require.NoError(t, err)
	assert.Contains(t, []int32{0, 1}, jailed)
}

func TestUnknownVariable(t *testing.T) {
	v, err := New("kern.there_is_no_such_variable")
	require.NoError(t, err)
	_, err = v.Read(t.Context())
	require.ErrorIs(t, err, unix.ENOENT)
	assert.ErrorContains(t, err, "kern.there_is_no_such_variable")
	_, err = New("a\x00b")
	assert.Error(t, err)
}

func TestReadsProcesses(t *testing.T) {
	var buf [4096]byte
	pid := int32(os.Getpid())
	info, err := ProcessInfo.Read(pid, buf[:])
	require.NoError(t, err)
	assert.Len(t, info, 1088)
	args, err := ProcessArgs.Read(pid, buf[:])
	require.NoError(t, err)
	assert.Contains(t, string(args), os.Args[0]+"\x00")
	path, err := ProcessPathname.Read(pid, buf[:])
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	assert.Equal(t, exe+"\x00", string(path))

	_, err = ProcessInfo.Read(99999, buf[:]) // PID_MAX is 99999, and no shell counts so far
	require.ErrorIs(t, err, unix.ESRCH)
	assert.ErrorContains(t, err, "kern.proc.pid.99999")
	cut, err := ProcessInfo.Read(pid, buf[:100])
	require.NoError(t, err)
	assert.LessOrEqual(t, len(cut), 100)
}

func BenchmarkReadProcess(b *testing.B) {
	var buf [4096]byte
	pid := int32(os.Getpid())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ProcessInfo.Read(pid, buf[:]); err != nil {
			b.Fatal(err)
		}
	}
}
