// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// However much of a list there is, the handshakes in it are those of the whole.
func TestEmbryos(t *testing.T) {
	eachKernel(t, func(t *testing.T, osreldate int) {
		whole := fixture(t, osreldate, "pcblist")
		d := decoder(osreldate)
		var want []tcp.Socket
		require.NoError(t, d.List(whole, func(s *tcp.Socket) error {
			if s.ID.Cookie>>63 != 0 {
				want = append(want, *s)
			}
			return nil
		}))
		require.NotEmpty(t, want, "the fixture has handshakes")
		for _, records := range []int{len(want), len(want) + 1, len(want) + 10} {
			var got []tcp.Socket
			require.NoError(t, d.embryos(whole[:xinpgenLen+records*xtcpcbLen+100], func(s *tcp.Socket) error {
				got = append(got, *s)
				return nil
			}))
			assert.Equal(t, want, got)
		}
		none := append(append([]byte{}, whole[:xinpgenLen]...), whole[len(whole)-xinpgenLen:]...)
		require.NoError(t, d.embryos(none, func(*tcp.Socket) error { return errors.New("there is none") }))
		stop := errors.New("stop")
		assert.Equal(t, stop, d.embryos(whole, func(*tcp.Socket) error { return stop }))

		require.ErrorIs(t, d.embryos(whole[:10], nil), errTruncated)
		odd := append([]byte{}, whole...)
		odd[xinpgenLen]++
		require.ErrorIs(t, d.embryos(odd, nil), errLayout)
	})
}

func FuzzEmbryos(f *testing.F) {
	for _, osreldate := range fixtures {
		f.Add(fixture(f, osreldate, "pcblist")[:xinpgenLen+3*xtcpcbLen])
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		_ = NewDecoder().embryos(list, func(s *tcp.Socket) error {
			if s.State >= tcp.NumStates || !s.Local.IsValid() || !s.Peer.IsValid() {
				t.Fatalf("bad socket: %+v", s)
			}
			return nil
		})
	})
}
