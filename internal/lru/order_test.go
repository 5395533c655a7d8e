// SPDX-License-Identifier: Apache-2.0

package lru

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOrder compares an order with a slice that is kept in the same order.
func TestOrder(t *testing.T) {
	o, want, size := NewOrder(), []int32(nil), int32(0)
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		switch at := random.IntN(len(want) + 1); {
		case at == len(want) || len(want) < 3:
			free := int(size) > len(want)
			i := o.Add()
			require.NotContains(t, want, i)
			if !free {
				require.Equal(t, size, i, "the slice grows by one")
				size++
			}
			require.Less(t, i, size)
			want = append(want, i)
		case random.IntN(3) == 0:
			o.Drop(want[at])
			want = slices.Delete(want, at, at+1)
		default:
			i := want[at]
			o.Renew(i)
			want = append(slices.Delete(want, at, at+1), i)
		}
		var got []int32
		for i := o.Oldest(); i != None; i = o.Newer(i) {
			got = append(got, i)
		}
		require.Equal(t, want, got)
		newest := None
		if len(want) > 0 {
			newest = want[len(want)-1]
		}
		require.Equal(t, newest, o.Newest())
	}
	assert.Greater(t, size, int32(3))
}
