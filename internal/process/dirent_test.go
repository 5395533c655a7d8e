// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dirent builds one struct linux_dirent64.
func dirent(name string) []byte {
	size := (direntName + len(name) + 1 + 7) &^ 7
	b := make([]byte, size)
	binary.NativeEndian.PutUint16(b[direntReclen:], uint16(size))
	copy(b[direntName:], name)
	return b
}

func TestNextEntry(t *testing.T) {
	buf := append(append(dirent("."), dirent("1")...), dirent("cpuinfo-with-a-long-name")...)
	var names []string
	for len(buf) > 0 {
		var name []byte
		var err error
		name, _, buf, err = nextEntry(buf)
		require.NoError(t, err)
		names = append(names, string(name))
	}
	assert.Equal(t, []string{".\x00", "1\x00", "cpuinfo-with-a-long-name\x00"}, names)
}

func TestNextEntryRefuses(t *testing.T) {
	whole := dirent("12345")
	long := dirent("12345")
	binary.NativeEndian.PutUint16(long[direntReclen:], uint16(len(long)+1))
	short := dirent("12345")
	binary.NativeEndian.PutUint16(short[direntReclen:], direntName-1)
	endless := dirent("1234") // 24 bytes, one of them the NUL
	endless[len(endless)-1] = 'x'
	for name, buf := range map[string][]byte{
		"nothing":        nil,
		"cut header":     whole[:direntName-1],
		"cut name":       whole[:direntName+2],
		"beyond the end": long,
		"into itself":    short,
		"no NUL":         endless,
	} {
		_, _, _, err := nextEntry(buf)
		assert.ErrorIs(t, err, errDirent, name)
	}
}

func TestParseID(t *testing.T) {
	for name, want := range map[string]int32{"0\x00": 0, "7\x00": 7, "4194304\x00": 4194304, "2147483647\x00": 1<<31 - 1} {
		id, ok := parseID([]byte(name))
		assert.True(t, ok, name)
		assert.Equal(t, want, id, name)
	}
	for _, name := range []string{"", "\x00", "7", ".\x00", "..\x00", "self\x00", "-1\x00", "+1\x00", "1a\x00", "2147483648\x00", "99999999999999999999\x00"} {
		_, ok := parseID([]byte(name))
		assert.False(t, ok, name)
	}
}

func FuzzNextEntry(f *testing.F) {
	f.Add(append(append(dirent("."), dirent("1")...), dirent("4194304")...))
	f.Add(dirent("12345")[:20])
	f.Add([]byte{16: 255, 17: 255, 18: 0, 300: 0})
	f.Fuzz(func(t *testing.T, buf []byte) {
		for len(buf) > 0 {
			name, _, rest, err := nextEntry(buf)
			if err != nil {
				return
			}
			require.Less(t, len(rest), len(buf))
			require.NotEmpty(t, name)
			require.Zero(t, name[len(name)-1])
			id, ok := parseID(name)
			require.True(t, !ok || id >= 0)
			buf = rest
		}
	})
}
