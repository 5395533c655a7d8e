// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestKinfo(t *testing.T) {
	for _, osreldate := range bsdKernels {
		t.Run(fmt.Sprint(osreldate), func(t *testing.T) {
			tr := readBSDTruth(t, osreldate)
			processes := bsdProcesses(t, osreldate, "kern_proc_proc", tr.boot(t))
			for _, want := range tr.Processes {
				got, ok := processes[want.PID]
				require.True(t, ok, want.PID)
				assert.Equal(t, want.PPID, got.parent)
				assert.Equal(t, uint32(want.UID), got.uid)
				assert.Equal(t, want.JID, got.jail)
				assert.Equal(t, path.Base(want.Exe), got.name())
				up := time.Duration(got.start) * time.Microsecond
				assert.True(t, 0 < up && up < time.Minute, "started %s after boot", up)
			}
		})
	}
}

// A process that a source saw is known by its start and by comm, which is cut.
func TestKinfoIsOf(t *testing.T) {
	k := kinfo{start: 5_000_001}
	copy(k.comm[:], "a-name-of-19-bytes-")
	seen := tcp.Holder{Started: 5*time.Second + 1900*time.Nanosecond, Executable: "a-name-of-19-bytes-", IsComm: true}
	assert.True(t, k.isOf(&seen, "a-name-of-19-bytes-and-more"))
	other := seen
	other.Started += time.Microsecond
	assert.False(t, k.isOf(&other, "a-name-of-19-bytes-and-more"), "another process")
	other = seen
	other.Executable = "sh"
	assert.False(t, k.isOf(&other, "a-name-of-19-bytes-and-more"), "it ran another program then")
}

// The same process is the same, whatever the clock was set to.
func TestKinfoWhenTheClockIsSet(t *testing.T) {
	raw := bsdFixture(t, 1501000, "kern_proc_proc")[:kinfoLen]
	tr := readBSDTruth(t, 1501000)
	boot := tr.boot(t)
	_, before, _, err := parseKinfo(raw, boot)
	require.NoError(t, err)
	set := append([]byte(nil), raw...)
	binary.NativeEndian.PutUint64(set[atKinfoStart:], binary.NativeEndian.Uint64(raw[atKinfoStart:])+3600)
	_, after, _, err := parseKinfo(set, boot+3600e6)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestKinfoMalformed(t *testing.T) {
	raw := func(change func(b []byte)) []byte {
		b := append([]byte(nil), bsdFixture(t, 1501000, "kern_proc_proc")[:kinfoLen]...)
		change(b)
		return b
	}
	for says, b := range map[string][]byte{
		"malformed kinfo_proc: 0 bytes, not 1088":                                                    nil,
		"malformed kinfo_proc: 1087 bytes, not 1088":                                                 raw(func([]byte) {})[:kinfoLen-1],
		"malformed kinfo_proc: it says that it has 1096 bytes, not 1088: a layout that is not known": raw(func(b []byte) { binary.NativeEndian.PutUint32(b, 1096) }),
		"malformed kinfo_proc: ki_start: struct timeval of -1 s and 0 µs": raw(func(b []byte) {
			binary.NativeEndian.PutUint64(b[atKinfoStart:], math.MaxUint64)
			binary.NativeEndian.PutUint64(b[atKinfoStart+8:], 0)
		}),
	} {
		_, _, _, err := parseKinfo(b, 0)
		assert.EqualError(t, err, says)
	}
	_, k, hollow, err := parseKinfo(raw(func(b []byte) {
		b[atKinfoStat] = zombie
		for i := range commLen {
			b[atKinfoComm+i] = 0xff
		}
	}), 0)
	require.NoError(t, err)
	assert.True(t, hollow)
	assert.Equal(t, "\uFFFD", k.name(), "no NUL, no UTF-8")

	_, err = parseTimeval(make([]byte, 8))
	assert.EqualError(t, err, "struct timeval of 8 bytes, not 16")
	boot := time.Unix(1_000_000, 0)
	assert.Equal(t, boot, (&kinfo{start: -5}).created(boot), "before boot: nobody can")
	assert.True(t, (&kinfo{start: math.MaxInt64}).created(boot).After(boot))
}

func FuzzParseKinfo(f *testing.F) {
	for _, osreldate := range bsdKernels {
		raw := bsdFixture(f, osreldate, "kern_proc_proc")
		for at := 0; at < len(raw); at += 5 * kinfoLen {
			f.Add(raw[at:at+kinfoLen], int64(1795245363_436780))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, boot int64) {
		_, k, _, err := parseKinfo(raw, boot)
		if err != nil && (k != kinfo{} || !errors.Is(err, errKinfo)) {
			t.Fatal(k, err)
		}
		if !utf8.ValidString(k.name()) {
			t.Fatalf("%q", k.name())
		}
		if boot := time.Unix(1e9, 0); k.created(boot).Before(boot) {
			t.Fatal(k.created(boot))
		}
	})
}
