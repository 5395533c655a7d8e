// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func ends(source, destination string) tuple {
	return tuple{netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)}
}

// reply is what the kernel says of a connection: the tuples are as it writes them,
// which is as they are asked for.
func reply(seq uint32, original, back tuple) []byte {
	b := request(nil, seq, original)
	other := request(nil, seq, back)[netlinkHeader+genHeader:]
	binary.NativeEndian.PutUint16(other[2:], tupleReply|attrNested)
	b = append(b, other...)
	b = attribute(b, 3, func(b []byte) []byte { return append(b, 0, 0, 1, 0x8e) }) // CTA_STATUS
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], conntrackNew)
	return b
}

func refused(seq uint32, code syscall.Errno) []byte {
	b := make([]byte, netlinkHeader+20)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], messageError)
	binary.NativeEndian.PutUint32(b[8:], seq)
	binary.NativeEndian.PutUint32(b[netlinkHeader:], uint32(-int32(code)))
	return b
}

func TestRequest(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("written down on a little-endian machine")
	}
	// As conntrack -G writes it.
	want := "4800000001010100070000000000000002000000" + "34000180" +
		"14000180" + "080001000a000001" + "080002000a000002" +
		"1c000280" + "0500010006000000" + "060002009c400000" + "0600030001bb0000"
	assert.Equal(t, want, hex.EncodeToString(request(nil, 7, ends("10.0.0.1:40000", "10.0.0.2:443"))))
}

func TestAnswer(t *testing.T) {
	for _, test := range []struct{ original, back tuple }{
		{ends("10.0.0.1:40000", "10.0.0.2:443"), ends("192.0.2.1:8443", "10.0.0.1:40000")},
		{ends("[fd00::1]:40000", "[fd00::2]:443"), ends("[2001:db8::1]:8443", "[fd00::1]:40000")},
	} {
		original, back, ok, err := answer(reply(7, test.original, test.back), 7)
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Equal(t, test.original, original)
		assert.Equal(t, test.back, back)
	}
	whole := reply(7, ends("10.0.0.1:40000", "10.0.0.2:443"), ends("192.0.2.1:8443", "10.0.0.1:40000"))
	_, _, ok, err := answer(whole, 8)
	require.NoError(t, err)
	assert.False(t, ok, "of another question")
	_, _, _, err = answer(refused(7, syscall.ENOENT), 7)
	require.ErrorIs(t, err, errUntracked)
	_, _, _, err = answer(refused(7, syscall.EPERM), 7)
	require.ErrorIs(t, err, syscall.EPERM)
	for _, lie := range [][]byte{refused(7, 0), whole[:40], request(nil, 7, tuple{})} {
		binary.NativeEndian.PutUint16(lie[4:], max(binary.NativeEndian.Uint16(lie[4:]), 2)&^1)
		_, _, _, err = answer(lie, 7)
		require.ErrorIs(t, err, errConntrack)
	}
}

func TestBehind(t *testing.T) {
	local, peer, real := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:443"), netip.MustParseAddrPort("192.0.2.1:8443")
	for name, test := range map[string]struct {
		original, reply tuple
		want            netip.AddrPort
	}{
		"as it seems":           {tuple{local, peer}, tuple{peer, local}, netip.AddrPort{}},
		"DNAT":                  {tuple{local, peer}, tuple{real, local}, real},
		"DNAT and SNAT":         {tuple{local, peer}, tuple{real, netip.MustParseAddrPort("203.0.113.1:5")}, real},
		"accepted":              {tuple{peer, local}, tuple{local, peer}, netip.AddrPort{}},
		"accepted, SNAT":        {tuple{real, local}, tuple{local, peer}, real},
		"accepted, redirection": {tuple{peer, real}, tuple{local, peer}, netip.AddrPort{}},
	} {
		assert.Equal(t, test.want, behind(local, peer, test.original, test.reply), name)
	}
}

// One request for each new connection to an address that is translated, and none
// for the others after the first.
func TestTranslations(t *testing.T) {
	asked := 0
	var failure error
	closed := false
	tr := newTranslations(func(c tuple) (tuple, tuple, error) {
		asked++
		back := tuple{c.destination, c.source}
		switch c.destination.Addr().As4()[3] {
		case 1:
			back.source = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(asked))
		case 2:
			return tuple{}, tuple{}, errUntracked
		}
		return c, back, failure
	}, func() error { closed = true; return nil })
	now := time.Unix(1_700_000_000, 0)
	lookup := func(peer string) netip.AddrPort {
		return tr.Lookup(netip.MustParseAddrPort("10.0.0.9:40000"), netip.MustParseAddrPort(peer), now)
	}
	for i := range 3 {
		assert.Equal(t, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i+1)), lookup("10.0.0.1:443"))
	}
	assert.Equal(t, 3, asked)
	for range 3 {
		assert.False(t, lookup("10.0.0.2:443").IsValid())
		assert.False(t, lookup("10.0.0.3:443").IsValid())
		assert.False(t, lookup("[fd00::1]:443").IsValid(), "of another family")
	}
	assert.Equal(t, 5, asked)
	now = now.Add(untrackedFor)
	lookup("10.0.0.2:443")
	lookup("10.0.0.3:443")
	assert.Equal(t, 6, asked)
	now = now.Add(untranslatedFor)
	lookup("10.0.0.3:443")
	assert.Equal(t, 7, asked)
	assert.Equal(t, TranslationCounts{Requests: 7, Translated: 3}, tr.Counts())

	failure = errors.New("no buffer space")
	assert.False(t, lookup("10.0.0.1:443").IsValid())
	assert.Equal(t, uint64(1), tr.Counts().Failed)
	failure = nil
	assert.True(t, lookup("10.0.0.1:443").IsValid())
	for i := range 2 * maxUntranslated {
		tr.Lookup(netip.MustParseAddrPort("10.0.0.9:40000"), netip.AddrPortFrom(netip.MustParseAddr("10.0.0.4"), uint16(i)), now.Add(time.Duration(i)))
		tr.Lookup(netip.MustParseAddrPort("10.0.0.9:40000"), netip.AddrPortFrom(netip.MustParseAddr("10.0.0.5"), uint16(i)), now.Add(time.Duration(i)))
	}
	assert.LessOrEqual(t, len(tr.untranslated), maxUntranslated)
	require.NoError(t, tr.Close())
	assert.True(t, closed)
}

func FuzzConntrack(f *testing.F) {
	f.Add(reply(7, ends("10.0.0.1:40000", "10.0.0.2:443"), ends("192.0.2.1:8443", "10.0.0.1:40000")))
	f.Add(reply(7, ends("[fd00::1]:40000", "[fd00::2]:443"), ends("[2001:db8::1]:8443", "[fd00::1]:40000")))
	f.Add(refused(7, syscall.ENOENT))
	f.Fuzz(func(t *testing.T, b []byte) {
		original, back, ok, err := answer(b, 7)
		if ok && err == nil && !(original.source.IsValid() && back.source.IsValid()) {
			t.Errorf("%v %v", original, back)
		}
	})
}
