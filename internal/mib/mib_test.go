// SPDX-License-Identifier: Apache-2.0

package mib

import (
	"context"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kernel answers like sysctl(3) for a list of some length.
type kernel struct {
	length int
	told   int // what it says of the length; 0: the truth
	grows  int // by so much at each call
	calls  int
	fails  error
}

func (k *kernel) call(dst []byte) (int, error) {
	k.calls++
	if k.fails != nil {
		return 0, k.fails
	}
	if dst == nil {
		if k.told > 0 {
			return k.told, nil
		}
		return k.length, nil
	}
	k.length += k.grows
	if len(dst) < k.length {
		return 0, syscall.ENOMEM
	}
	for i := range dst[:k.length] {
		dst[i] = byte(i)
	}
	return k.length, nil
}

func (k *kernel) variable() *Variable { return &Variable{name: "a.list", call: k.call} }

func TestReadsTwiceWithOneBuffer(t *testing.T) {
	k := &kernel{length: 1000}
	v := k.variable()
	first, err := v.Read(t.Context())
	require.NoError(t, err)
	assert.Len(t, first, 1000)
	assert.Equal(t, byte(999%256), first[999])
	assert.Equal(t, 2, k.calls, "the length, then the list")

	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := v.Read(context.Background()); err != nil {
			t.Error(err)
		}
	}))
}

func TestGrowsWithTheList(t *testing.T) {
	for name, k := range map[string]*kernel{
		"more than before":              {length: 1 << 16},
		"more at each call":             {length: 4096, grows: 700},
		"the kernel's guess is too low": {length: 1 << 16, told: 100},
	} {
		t.Run(name, func(t *testing.T) {
			v := k.variable()
			v.buf = make([]byte, 8)
			got, err := v.Read(t.Context())
			require.NoError(t, err)
			assert.Len(t, got, k.length)
		})
	}
}

func TestGivesBackTheBufferOfABurst(t *testing.T) {
	k := &kernel{length: 8 * slack}
	v := k.variable()
	_, err := v.Read(t.Context())
	require.NoError(t, err)
	k.length = 100
	got, err := v.Read(t.Context())
	require.NoError(t, err)
	assert.Len(t, got, 100)
	_, err = v.Read(t.Context())
	require.NoError(t, err)
	assert.Less(t, len(v.buf), slack)
}

func TestGivesUp(t *testing.T) {
	k := &kernel{length: 1000, grows: 1 << 29}
	_, err := k.variable().Read(t.Context())
	assert.ErrorContains(t, err, "sysctl a.list: ")
	assert.ErrorContains(t, err, "are more than the 1073741824 that are read at most")

	// A buffer that may not be wired: ENOMEM whatever its length.
	v := &Variable{name: "a.list", call: func(dst []byte) (int, error) {
		if dst == nil {
			return 8, nil
		}
		return 0, syscall.ENOMEM
	}}
	_, err = v.Read(t.Context())
	require.ErrorIs(t, err, syscall.ENOMEM)
	assert.ErrorContains(t, err, "vm.max_user_wired")

	k = &kernel{fails: syscall.ENOENT}
	_, err = k.variable().Read(t.Context())
	require.ErrorIs(t, err, syscall.ENOENT)
	assert.ErrorContains(t, err, "a.list")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = (&kernel{}).variable().Read(ctx)
	assert.ErrorIs(t, err, context.Canceled)
}
