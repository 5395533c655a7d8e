// SPDX-License-Identifier: Apache-2.0

package process

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseUID(t *testing.T) {
	for file, want := range map[string]uint32{"status_root": 0, "status_nobody": 65534, "status_hostile_comm": 0} {
		uid, err := parseUID(fixture(t, file))
		require.NoError(t, err, file)
		assert.Equal(t, want, uid, file)
	}
	uid, err := parseUID([]byte("Uid:\t4294967295\t0\t0\t0"))
	require.NoError(t, err)
	assert.Equal(t, uint32(1<<32-1), uid)
	for _, status := range []string{"", "Name:\tx\n", "Uid:\n", "Uid:\t\n", "Uid:\tx\n", "Uid:\t4294967296\t0\n", "Name:\tUid:\t0\n"} {
		_, err := parseUID([]byte(status))
		assert.ErrorIs(t, err, errStatus, status)
	}
}

func FuzzParseUID(f *testing.F) {
	f.Add(fixture(f, "status_nobody"))
	f.Add([]byte("Uid:\t4294967296"))
	f.Fuzz(func(t *testing.T, status []byte) {
		uid, err := parseUID(status)
		require.True(t, err == nil || uid == 0)
	})
}
