// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The index agrees with a map, with hashes of which many are alike.
func TestIndexAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var x index
	hashOf := func(number int32) uint64 { return uint64(number) * 7 % 97 }
	model := make(map[int32]bool)
	for range 20_000 {
		number := int32(random.IntN(400))
		found, ok := x.find(hashOf(number), func(n int32) bool { return n == number })
		require.Equal(t, model[number], ok)
		switch {
		case !ok && random.IntN(2) == 0:
			x.add(hashOf(number), number, hashOf)
			model[number] = true
		case ok && random.IntN(3) == 0:
			assert.Equal(t, number, found)
			x.remove(hashOf(number), number, hashOf)
			delete(model, number)
		}
		require.Equal(t, len(model), x.used)
	}
	for number := range model {
		_, ok := x.find(hashOf(number), func(n int32) bool { return n == number })
		assert.True(t, ok, number)
	}
}

// Texts are there as long as they are used, also after they have moved.
func TestArena(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	a := newArena()
	type use struct {
		text   int32
		string string
	}
	var uses []use
	compacted := 0
	for i := range 50_000 {
		if len(uses) > 0 && (len(uses) > 2000 || random.IntN(3) == 0) {
			k := random.IntN(len(uses))
			a.drop(uses[k].text)
			uses[k] = uses[len(uses)-1]
			uses = uses[:len(uses)-1]
		}
		s := fmt.Sprintf("%d.%s", random.IntN(3000), strings.Repeat("x", random.IntN(60)))
		uses = append(uses, use{a.use([]byte(s)), s})
		if a.gappy() {
			move := a.compact()
			for k := range uses {
				uses[k].text = move(uses[k].text)
			}
			compacted++
		}
		if i%1000 == 0 {
			different, bytes := make(map[string]bool), 0
			for _, u := range uses {
				require.Equal(t, u.string, string(a.bytesOf(u.text)))
				require.Equal(t, u.string, a.string(u.text))
				require.Equal(t, u.text, a.find([]byte(u.string)))
				if !different[u.string] {
					different[u.string] = true
					bytes += textLen(len(u.string))
				}
			}
			require.Equal(t, len(different), a.index.used)
			require.Equal(t, bytes, a.bytes)
			require.LessOrEqual(t, len(a.pieces)*pieceLen, bytes+bytes/4+bytes/8+3*pieceLen, "gaps are bounded")
		}
	}
	assert.Greater(t, compacted, 3)
	for _, u := range uses {
		a.drop(u.text)
	}
	assert.Zero(t, a.bytes)
	assert.Zero(t, a.index.used)
}

// Names are in order after months, and after the clock was set.
func TestNamesForMonths(t *testing.T) {
	n := NewNames(10)
	const day = 24 * 3600
	for when := 0; when < 400*day; when += day / 2 {
		add(n, "a.example", "192.0.2.1", 7*day, 1, when)
		add(n, "b.example", "192.0.2.1", 7*day, 2, when+10)
		assert.Equal(t, "a.example", n.Lookup(netip.MustParseAddr("192.0.2.1"), at(when+9), 0), when)
		assert.Equal(t, "b.example", n.Lookup(netip.MustParseAddr("192.0.2.1"), at(when+11), 0), when)
		assert.Equal(t, "a.example", n.Lookup(netip.MustParseAddr("192.0.2.1"), at(when+11), 1), when)
		assert.Equal(t, "b.example", n.Lookup(netip.MustParseAddr("192.0.2.1"), at(when+6*day), 0), when)
	}
	n.Expire(at(500 * day))
	assert.Zero(t, n.Counts().Addresses)

	// A clock that was wrong at boot.
	n = NewNames(10)
	n.Add([]byte("a.example"), addresses("192.0.2.1", 60), 0, time.Unix(100, 0))
	add(n, "b.example", "192.0.2.1", 60, 0, 0)
	assert.Equal(t, "b.example", n.Lookup(netip.MustParseAddr("192.0.2.1"), at(1), 0))
	n.Add([]byte("c.example"), addresses("192.0.2.2", 60), 0, time.Unix(100, 0))
	assert.Equal(t, "c.example", n.Lookup(netip.MustParseAddr("192.0.2.2"), time.Unix(101, 0), 0))
}

// Two names of one millisecond: the one that was given last counts.
func TestNamesOfOneMillisecond(t *testing.T) {
	n := NewNames(10)
	for _, name := range []string{"a.example", "b.example", "a.example"} {
		n.Add([]byte(name), addresses("192.0.2.1", 60), 0, start.Add(time.Microsecond))
		assert.Equal(t, name, n.Lookup(netip.MustParseAddr("192.0.2.1"), at(1), 0))
	}
}

// The heap of 100,000 names, of lengths as on real hosts: from 6 bytes to 80, 28 on
// average.
func BenchmarkNamesHeap(b *testing.B) {
	random := rand.New(rand.NewPCG(7, 8))
	names := make([][]byte, DefaultNames)
	bytes := 0
	for i := range names {
		length := min(6+int(random.ExpFloat64()*22), 80)
		names[i] = fmt.Appendf(nil, "%06d%s", i, strings.Repeat("n", max(0, length-6)))
		bytes += len(names[i])
	}
	var n *Names
	var took uint64
	for b.Loop() {
		n = nil
		before := heap()
		n = NewNames(DefaultNames)
		for i, name := range names {
			n.Add(name, []Address{{addr4(i), time.Minute}}, 0, start)
		}
		took = heap() - before
	}
	b.ReportMetric(float64(took)/(1<<20), "MiB")
	b.ReportMetric(float64(took)/float64(n.Counts().Addresses), "B/name")
	b.ReportMetric(float64(bytes)/DefaultNames, "B/text")
}
